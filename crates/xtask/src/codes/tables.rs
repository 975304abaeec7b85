//! The chapter's side of the registries: Markdown tables between `<!-- registry:NAME -->` and `<!-- /registry -->`.

use std::fmt::Write;

use super::Registries;

const END: &str = "<!-- /registry -->";

/// Replaces what stands between each pair of markers in `text` by the registry's table.
pub(crate) fn fill(text: &str, registries: &Registries) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!-- registry:") {
        let (name, after) = after.split_once(" -->").ok_or("a registry marker does not end with ` -->`")?;
        let (_, after) = after.split_once(END).ok_or_else(|| format!("registry:{name} has no `{END}`"))?;
        let _ = write!(out, "{before}<!-- registry:{name} -->\n{}{END}", table(name, registries)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn table(name: &str, registries: &Registries) -> Result<String, String> {
    match name {
        "classes" => classes(registries),
        "errors" => errors(registries),
        "frames" => Ok(frames(registries)),
        "streams" => Ok(streams(registries)),
        "contexts" => Ok(contexts(registries)),
        "applications" => Ok(applications(registries)),
        "extensions" => Ok(extensions(registries)),
        _ => Err(format!("there is no registry `{name}`")),
    }
}

fn classes(registries: &Registries) -> Result<String, String> {
    let mut out = String::from("| class | codes | an unknown one is treated as | use |\n|---|---|---|---|\n");
    for class in &registries.classes {
        let (first, last) = (class.first, class.last);
        let _ = writeln!(
            out,
            "| {} | `{first:#04x}`–`{last:#04x}` | {} | {} |",
            class.name, class.generic, class.meaning
        );
    }
    Ok(out)
}

fn errors(registries: &Registries) -> Result<String, String> {
    let mut out = String::from("| code | name | class | meaning |\n|---|---|---|---|\n");
    for error in &registries.errors {
        let class = match registries.owner_of(error.code) {
            Some(application) => &application.name,
            None => &registries.class_of(error.code)?.name,
        };
        let _ = writeln!(out, "| `{:#04x}` | {} | {class} | {} |", error.code, error.name, error.meaning);
    }
    Ok(out)
}

fn frames(registries: &Registries) -> String {
    let mut out = String::from("| type | name | on | payload | meaning |\n|---|---|---|---|---|\n");
    for frame in &registries.frames {
        let (stream, payload) = (&frame.stream, &frame.payload);
        let _ = writeln!(
            out,
            "| `{:#04x}` | {} | {stream} | {payload} | {} |",
            frame.r#type, frame.name, frame.meaning
        );
    }
    out
}

fn streams(registries: &Registries) -> String {
    let mut out = String::from("| type | name | meaning |\n|---|---|---|\n");
    for stream in &registries.streams {
        let _ = writeln!(out, "| `{:#04x}` | {} | {} |", stream.r#type, stream.name, stream.meaning);
    }
    out
}

fn contexts(registries: &Registries) -> String {
    let mut out = String::from("| context | signed with | meaning |\n|---|---|---|\n");
    for context in &registries.contexts {
        let _ = writeln!(
            out,
            "| `hikyaku/1 {}\\0` | {} | {} |",
            context.purpose, context.signer, context.meaning
        );
    }
    out
}

fn applications(registries: &Registries) -> String {
    let mut out = String::from("| name | error codes | chapter | meaning |\n|---|---|---|---|\n");
    for application in &registries.applications {
        let (first, last) = (application.first_error, application.last_error);
        let _ = writeln!(
            out,
            "| `{}` | `{first:#04x}`–`{last:#04x}` | {} | {} |",
            application.name, application.chapter, application.meaning
        );
    }
    out
}

fn extensions(registries: &Registries) -> String {
    if registries.extensions.is_empty() {
        return "No extension is assigned.\n".into();
    }
    let mut out = String::from("| id | name | chapter | meaning |\n|---|---|---|---|\n");
    for extension in &registries.extensions {
        let _ = writeln!(
            out,
            "| `{:#04x}` | {} | {} | {} |",
            extension.id, extension.name, extension.chapter, extension.meaning
        );
    }
    out
}
