//! The Rust side of the registries: associated consts, and tables to look names up in.

use std::fmt::Write;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::Registries;

/// The text of `generated.rs`, as rustfmt would leave it.
pub(crate) fn generate(registries: &Registries) -> Result<String, String> {
    let mut out = String::from(
        "//! Code points, made by `cargo xtask codes` from `spec/registries/*.toml`. Edit those, never this file.\n\n\
         use crate::codes::{Class, ErrorCode, StreamType};\nuse crate::frame::FrameType;\n",
    );
    errors(registries, &mut out);
    frames(registries, &mut out);
    streams(registries, &mut out);
    contexts(registries, &mut out);
    applications(registries, &mut out);
    extensions(registries, &mut out);
    format(&out)
}

fn errors(registries: &Registries, out: &mut String) {
    out.push_str("\nimpl ErrorCode {\n");
    for error in &registries.errors {
        let _ = writeln!(out, "    /// {}", error.meaning);
        let _ = writeln!(out, "    pub const {}: ErrorCode = ErrorCode({:#04x});", error.name, error.code);
    }
    out.push_str("}\n\n/// Every registered error code with its name and meaning, in ascending order.\n");
    out.push_str("pub const ERROR_CODES: &[(ErrorCode, &str, &str)] = &[\n");
    for error in &registries.errors {
        entry(out, &format!("ErrorCode::{}", error.name), &error.name, &error.meaning);
    }
    out.push_str("];\n\nimpl Class {\n    /// The class the number `code` belongs to.\n");
    out.push_str("    pub const fn of(code: u32) -> Class {\n        match code {\n");
    for class in &registries.classes {
        let _ =
            writeln!(out, "            {} => Class::{},", range(class.first, class.last), camel(&class.name));
    }
    out.push_str("        }\n    }\n\n    /// The code an unknown code of this class is treated as.\n");
    out.push_str("    pub const fn generic(self) -> ErrorCode {\n        match self {\n");
    for class in &registries.classes {
        let _ = writeln!(out, "            Class::{} => ErrorCode::{},", camel(&class.name), class.generic);
    }
    out.push_str("        }\n    }\n}\n");
}

fn frames(registries: &Registries, out: &mut String) {
    out.push_str("\nimpl FrameType {\n");
    for frame in &registries.frames {
        let _ = writeln!(out, "    /// {}", frame.meaning);
        let _ = writeln!(out, "    pub const {}: FrameType = FrameType({:#04x});", frame.name, frame.r#type);
    }
    out.push_str("}\n\n/// Every registered frame type with its name and meaning, in ascending order.\n");
    out.push_str("pub const FRAME_TYPES: &[(FrameType, &str, &str)] = &[\n");
    for frame in &registries.frames {
        entry(out, &format!("FrameType::{}", frame.name), &frame.name, &frame.meaning);
    }
    out.push_str("];\n");
}

fn streams(registries: &Registries, out: &mut String) {
    out.push_str("\nimpl StreamType {\n");
    for stream in &registries.streams {
        let _ = writeln!(out, "    /// {}", stream.meaning);
        let _ =
            writeln!(out, "    pub const {}: StreamType = StreamType({:#04x});", stream.name, stream.r#type);
    }
    out.push_str("}\n\n/// Every registered type of unidirectional stream with its name and meaning, in ascending order.\n");
    out.push_str("pub const STREAM_TYPES: &[(StreamType, &str, &str)] = &[\n");
    for stream in &registries.streams {
        entry(out, &format!("StreamType::{}", stream.name), &stream.name, &stream.meaning);
    }
    out.push_str("];\n");
}

fn contexts(registries: &Registries, out: &mut String) {
    out.push_str("\n/// Signature contexts: what precedes the bytes that are signed.\npub mod context {\n");
    for context in &registries.contexts {
        let _ = writeln!(out, "    /// {} Signed with the {}.", context.meaning, context.signer);
        let _ =
            writeln!(out, "    pub const {}: &[u8] = b\"hikyaku/1 {}\\0\";", context.name, context.purpose);
    }
    out.push_str("}\n");
}

fn applications(registries: &Registries, out: &mut String) {
    out.push_str("\n/// Names of application protocols, as OPEN carries them.\npub mod application {\n");
    for application in &registries.applications {
        let _ = writeln!(out, "    /// {} Chapter {}.", application.meaning, application.chapter);
        let _ = writeln!(out, "    pub const {}: &str = \"{}\";", application.ident, application.name);
    }
    out.push_str("}\n");
}

fn extensions(registries: &Registries, out: &mut String) {
    out.push_str("\n/// Every registered extension id with its name, in ascending order.\n");
    if registries.extensions.is_empty() {
        out.push_str("pub const EXTENSIONS: &[(u64, &str)] = &[];\n");
        return;
    }
    out.push_str("pub const EXTENSIONS: &[(u64, &str)] = &[\n");
    for extension in &registries.extensions {
        let _ = writeln!(out, "    ({:#04x}, \"{}\"),", extension.id, extension.name);
    }
    out.push_str("];\n");
}

/// One row of a table.
fn entry(out: &mut String, value: &str, name: &str, meaning: &str) {
    let _ = writeln!(out, "    ({value}, \"{name}\", \"{meaning}\"),");
}

/// `source` as `cargo fmt` would leave it.
fn format(source: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot run rustfmt: {error}");
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(super::root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = rustfmt.stdin.take() {
        input.write_all(source.as_bytes()).map_err(failed)?;
    }
    let output = rustfmt.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err("rustfmt refuses the generated code".into());
    }
    String::from_utf8(output.stdout).map_err(|error| format!("rustfmt: {error}"))
}

fn range(first: u32, last: u32) -> String {
    match last {
        u32::MAX => format!("{first:#04x}.."),
        _ => format!("{first:#04x}..={last:#04x}"),
    }
}

fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
