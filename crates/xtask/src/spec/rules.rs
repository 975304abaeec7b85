//! The rules of the specification, read from its chapters.

use std::collections::BTreeMap;
use std::path::Path;

use crate::codes::read;

/// One numbered paragraph.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Where it stands: `spec/3-session.md:41`.
    pub(crate) place: String,
    /// How it begins.
    pub(crate) beginning: String,
    /// Whether it has a MUST and therefore has to be cited.
    pub(crate) binds: bool,
}

/// Reads every chapter in `directory`; the second part is what is wrong with them.
pub(crate) fn load(directory: &Path) -> Result<(BTreeMap<String, Rule>, Vec<String>), String> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()
        })
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    files.sort();
    let (mut rules, mut problems) = (BTreeMap::new(), Vec::new());
    for file in files {
        let name = file.to_string_lossy();
        // Chapters begin with their number; the README explains the words and has no rules.
        let Some((chapter, _)) = name.split_once('-').filter(|_| name.ends_with(".md")) else { continue };
        chapter_rules(&name, chapter, &read(&directory.join(&file))?, &mut rules, &mut problems);
    }
    Ok((rules, problems))
}

/// Adds the rules of one chapter.
pub(crate) fn chapter_rules(
    file: &str,
    chapter: &str,
    text: &str,
    rules: &mut BTreeMap<String, Rule>,
    problems: &mut Vec<String>,
) {
    let (mut current, mut code): (Option<String>, bool) = (None, false);
    for (index, line) in text.lines().enumerate() {
        let place = format!("spec/{file}:{}", index + 1);
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        if line.trim().is_empty() {
            current = None;
        }
        if let Some((id, rest)) = rule_start(line) {
            if id.strip_prefix('S').and_then(|id| id.split_once('.')).map(|(found, _)| found) != Some(chapter)
            {
                problems.push(format!("{place}: {id} is not a number of chapter {chapter}"));
            }
            let beginning = rest.trim().chars().take(90).collect();
            let rule = Rule { place: place.clone(), beginning, binds: false };
            if let Some(first) = rules.insert(id.clone(), rule) {
                problems.push(format!("{place}: {id} is taken ({})", first.place));
            }
            current = Some(id);
        }
        if line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "MUST") {
            match current.as_ref().and_then(|id| rules.get_mut(id)) {
                Some(rule) => rule.binds = true,
                None => problems.push(format!("{place}: a MUST without a number")),
            }
        }
    }
}

/// The number and the rest of a line that begins a rule: `**S2.14** The …`, also in a list.
fn rule_start(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start().trim_start_matches(['-', '*', ' ']);
    let (id, rest) = line.split_once("**")?;
    let (chapter, number) = id.strip_prefix('S')?.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(chapter) && digits(number)).then(|| (id.to_owned(), rest))
}
