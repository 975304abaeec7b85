//! Rules of this project that no other tool knows. Each rule is one function over one file.
//!
//! Broken rules fail the step, all of them told at once. Sizes are reported, and fail only when a file is so long
//! that nobody can be expected to read it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::claims;
use super::source::Source;
use crate::Outcome;
use crate::workspace::Workspace;

/// Above this a file is reported (STYLE: one topic per file).
const FILE_LINES: usize = 500;
/// Above this a file is refused, unless it holds only tests or was generated.
const FILE_LINES_MOST: usize = 700;
/// Above this a function is reported.
const FUNCTION_LINES: usize = 60;

/// One file as the rules see it.
struct File {
    /// Relative to the project.
    path: PathBuf,
    text: String,
    source: Source,
    /// Holds nothing but tests.
    is_test: bool,
    is_generated: bool,
}

pub(super) fn run(workspace: &Workspace) -> Outcome<String> {
    let files = files(&workspace.root)?;
    let mut broken = Vec::new();
    let mut sizes = Vec::new();
    for file in &files {
        for rule in [unfinished, ignored_tests, unwraps, invisible_characters, crate_root, too_long] {
            rule(file, &mut broken);
        }
        report_sizes(file, &mut sizes);
    }
    let tests = files.iter().flat_map(|file| claims::tests(&file.source.code)).collect();
    let security = std::fs::read_to_string(workspace.root.join("SECURITY.md"));
    let security = security.map_err(|error| format!("SECURITY.md could not be read: {error}"))?;
    broken.extend(claims::broken(&security, &tests));
    for page in ["README.md", "spec/README.md", "spec/4-chat.md"] {
        let text = std::fs::read_to_string(workspace.root.join(page));
        let text = text.map_err(|error| format!("{page} could not be read: {error}"))?;
        broken.extend(claims::missing(page, &text, &tests));
    }
    for line in &sizes {
        println!("long: {line}");
    }
    for line in &broken {
        println!("broken rule: {line}");
    }
    if !broken.is_empty() {
        return Err(format!("{} house rules are broken; each is named above", broken.len()));
    }
    Ok(format!("{} files, {} of them or their functions long", files.len(), sizes.len()))
}

/// Every Rust source that belongs to the project, in a fixed order.
fn files(root: &Path) -> Outcome<Vec<File>> {
    let mut paths = Vec::new();
    for directory in ["crates", "fuzz", "bench", "tests"] {
        let directory = root.join(directory);
        if directory.is_dir() {
            collect(&directory, &mut paths)?;
        }
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{} could not be read: {error}", path.display()))?;
        files.push(File::new(path.strip_prefix(root).unwrap_or(&path).to_path_buf(), text));
    }
    Ok(files)
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Outcome {
    let cannot = |error| format!("{} could not be listed: {error}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let path = entry.path();
        let is_directory = entry.file_type().map_err(cannot)?.is_dir();
        if is_directory && entry.file_name() != "target" {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

impl File {
    fn new(path: PathBuf, text: String) -> Self {
        let named = |name: &str| path.components().any(|part| part.as_os_str() == name);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_test = named("tests") || stem == "tests" || stem.ends_with("_tests");
        let is_generated = text.lines().take(5).any(|line| line.contains("@generated"));
        let source = Source::new(&text);
        Self { path, text, source, is_test, is_generated }
    }

    fn says(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path.display(), line + 1)
    }
}

/// Nothing half-built is checked in.
fn unfinished(file: &File, broken: &mut Vec<String>) {
    for (line, code) in file.source.code.iter().enumerate() {
        for name in ["todo!", "unimplemented!", "dbg!"] {
            let starts_a_word =
                |at: usize| !code[..at].ends_with(|symbol: char| symbol.is_alphanumeric() || symbol == '_');
            if code.match_indices(name).any(|(at, _)| starts_a_word(at)) {
                broken.push(file.says(line, &format!("{name} has no place in a checked-in file")));
            }
        }
    }
}

/// A test that does not run says why.
fn ignored_tests(file: &File, broken: &mut Vec<String>) {
    for (line, code) in file.source.code.iter().enumerate() {
        if code.replace(' ', "").contains("#[ignore]") {
            broken.push(file.says(line, "#[ignore] needs its reason: #[ignore = \"…\"]"));
        }
    }
}

/// What a peer can reach never panics: no `unwrap` where bytes of a peer are handled, not even an allowed one.
fn unwraps(file: &File, broken: &mut Vec<String>) {
    let path = file.path.to_string_lossy();
    let reachable = ["crates/wire/src/", "crates/mux/src/"].iter().any(|start| path.starts_with(start))
        || path.contains("/src/protocol");
    if !reachable || file.is_test {
        return;
    }
    let tests = file.source.test_lines();
    for (line, code) in file.source.code.iter().enumerate() {
        let in_test = tests.get(line).copied().unwrap_or(false);
        if !in_test && (code.contains(".unwrap()") || code.contains("clippy::unwrap_used")) {
            broken.push(file.says(line, "unwrap in code that a peer can reach"));
        }
    }
}

/// Source that reads otherwise than it compiles (CVE-2021-42574) is refused, and so are control characters.
fn invisible_characters(file: &File, broken: &mut Vec<String>) {
    for (line, text) in file.source.lines.iter().enumerate() {
        for symbol in text.chars().filter(|symbol| is_invisible(*symbol)) {
            let code = u32::from(symbol);
            broken.push(file.says(line, &format!("invisible character U+{code:04X}; write it as an escape")));
        }
    }
}

/// Controls, soft hyphens, zero-width characters, line separators, bidirectional controls, tags.
fn is_invisible(symbol: char) -> bool {
    symbol.is_control()
        || matches!(symbol,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Every crate of ours is free of unsafe code, and says so itself.
fn crate_root(file: &File, broken: &mut Vec<String>) {
    let is_root = file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs");
    if is_root && !file.source.code.iter().any(|code| code.trim() == "#![forbid(unsafe_code)]") {
        broken.push(file.says(0, "a crate begins with #![forbid(unsafe_code)]"));
    }
}

fn too_long(file: &File, broken: &mut Vec<String>) {
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MOST && !file.is_test && !file.is_generated {
        broken.push(file.says(0, &format!("{lines} lines; {FILE_LINES_MOST} is the most a file may have")));
    }
}

fn report_sizes(file: &File, sizes: &mut Vec<String>) {
    if file.is_test || file.is_generated {
        return;
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES {
        sizes.push(file.says(0, &format!("{lines} lines; the aim is {FILE_LINES}")));
    }
    let tests = file.source.test_lines();
    for function in file.source.functions() {
        if function.length > FUNCTION_LINES && !tests.get(function.line).copied().unwrap_or(false) {
            let mut what = String::new();
            let _ = write!(what, "{}: {} lines; the aim is {FUNCTION_LINES}", function.name, function.length);
            sizes.push(file.says(function.line, &what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that a file of this text at this path breaks.
    fn broken_by(rule: fn(&File, &mut Vec<String>), path: &str, text: &str) -> usize {
        let mut broken = Vec::new();
        rule(&File::new(path.into(), text.into()), &mut broken);
        broken.len()
    }

    #[test]
    fn unfinished_code_is_refused_but_may_be_spoken_of() {
        let text = concat!("fn f() { todo", "!() }\n// todo! in a comment\nlet x = \"todo!\";\nnot_todo!();");
        assert_eq!(broken_by(unfinished, "crates/a/src/a.rs", text), 1);
    }

    #[test]
    fn an_ignored_test_needs_a_reason() {
        assert_eq!(broken_by(ignored_tests, "a.rs", "#[test]\n#[ignore]\nfn a() {}"), 1);
        assert_eq!(broken_by(ignored_tests, "a.rs", "#[test]\n#[ignore = \"needs root\"]\nfn a() {}"), 0);
    }

    #[test]
    fn unwrap_is_refused_in_reachable_code_and_allowed_in_its_tests() {
        let text = "fn a() { b().unwrap() }\n#[cfg(test)]\nmod tests {\n    fn c() { d().unwrap() }\n}";
        assert_eq!(broken_by(unwraps, "crates/wire/src/a.rs", text), 1);
        assert_eq!(broken_by(unwraps, "crates/wire/src/a/tests.rs", text), 0);
        assert_eq!(broken_by(unwraps, "crates/chat/src/protocol/send.rs", text), 1);
        assert_eq!(broken_by(unwraps, "crates/cli/src/a.rs", text), 0);
    }

    #[test]
    fn invisible_characters_are_refused_and_kanji_are_not() {
        assert_eq!(broken_by(invisible_characters, "a.rs", "// 飛脚 §\n"), 0);
        for hidden in ['\u{202e}', '\u{200b}', '\u{feff}', '\u{1b}', '\t', '\r'] {
            assert_eq!(broken_by(invisible_characters, "a.rs", &format!("a{hidden}b")), 1, "{hidden:?}");
        }
    }

    #[test]
    fn a_crate_root_without_forbid_is_refused() {
        assert_eq!(broken_by(crate_root, "crates/a/src/lib.rs", "//! #![forbid(unsafe_code)]\n"), 1);
        assert_eq!(broken_by(crate_root, "crates/a/src/lib.rs", "#![forbid(unsafe_code)]\n"), 0);
    }

    #[test]
    fn a_file_of_seven_hundred_lines_passes_and_one_more_does_not() {
        assert_eq!(broken_by(too_long, "crates/a/src/a.rs", &"x\n".repeat(700)), 0);
        assert_eq!(broken_by(too_long, "crates/a/src/a.rs", &"x\n".repeat(701)), 1);
        assert_eq!(broken_by(too_long, "crates/a/tests/a.rs", &"x\n".repeat(701)), 0);
    }
}
