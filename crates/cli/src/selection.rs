//! What of the named paths is sent: `--include` and `--exclude` in the syntax of .gitignore, `--files-from` a list.
//!
//! The last pattern that matches decides. Where the first pattern given is an `--include`, nothing is sent that no
//! pattern matches; otherwise everything is. A pattern with a slash inside is relative to each PATH of the command.

mod list;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use hikyaku_files::{Distinct, Pick, WalkOptions};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::exit::{Result, Trouble};

pub(crate) use list::{List, Listed};

/// `--include` and `--exclude`, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    include: bool,
    pattern: String,
}

const NAMES: [&str; 2] = ["include", "exclude"];

impl Args for Rules {
    fn augment_args(command: Command) -> Command {
        let rule = |name, help: &'static str| {
            Arg::new(name).long(name).value_name("PATTERN").action(ArgAction::Append).help(help)
        };
        command
            .arg(rule(
                "include",
                "Send what matches, as in .gitignore; given first: nothing else; may be repeated",
            ))
            .arg(rule(
                "exclude",
                "Do not send what matches; of several patterns that match, the last one decides",
            ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Rules {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut rules = Vec::new();
        for name in NAMES {
            let patterns = matches.get_many::<String>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            let rule = |pattern: &String| Rule { include: name == "include", pattern: pattern.clone() };
            rules.extend(places.zip(patterns.map(rule)));
        }
        rules.sort_by_key(|(place, _)| *place);
        Ok(Self(rules.into_iter().map(|(_, rule)| rule).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Rules {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the patterns.
    pub(crate) fn compile(&self) -> Result<Patterns> {
        let wrong = |error: ignore::Error| Trouble::usage(hikyaku::printable(&error.to_string()).to_string());
        let mut builder = GitignoreBuilder::new("");
        for rule in &self.0 {
            if rule.pattern.starts_with('!') {
                return Err(Trouble::usage(
                    "a pattern is not turned round by '!': use --include or --exclude",
                ));
            }
            let line = if rule.include { format!("!{}", rule.pattern) } else { rule.pattern.clone() };
            builder.add_line(None, &line).map_err(wrong)?;
        }
        let only = self.0.first().is_some_and(|rule| rule.include);
        Ok(Patterns { matcher: builder.build().map_err(wrong)?, only })
    }

    fn key(&self) -> String {
        self.0.iter().fold(String::new(), |mut key, rule| {
            let _ = write!(key, "{}{}\0", if rule.include { '+' } else { '-' }, rule.pattern);
            key
        })
    }
}

/// Patterns, ready to be asked.
#[derive(Debug)]
pub(crate) struct Patterns {
    matcher: Gitignore,
    /// Only what is included is sent.
    only: bool,
}

impl Patterns {
    /// Decides on a path, relative to what the user named.
    pub(crate) fn pick(&self, path: &Path, is_dir: bool) -> Pick {
        if !self.only {
            // What lies in a directory that is left out is never asked about.
            return if self.matcher.matched(path, is_dir).is_ignore() { Pick::Leave } else { Pick::Carry };
        }
        match self.matcher.matched_path_or_any_parents(path, is_dir) {
            Match::Whitelist(_) => Pick::Carry,
            Match::None if is_dir => Pick::Through,
            Match::None | Match::Ignore(_) => Pick::Leave,
        }
    }
}

/// How the paths are walked.
pub(crate) fn walk(rules: &Rules, list: Option<List>, attributes: bool) -> Result<WalkOptions> {
    let mut options = WalkOptions { attributes, ..WalkOptions::default() };
    if rules.is_empty() && list.is_none() {
        return Ok(options);
    }
    let patterns = rules.compile()?;
    options.filter_key = rules.key().into_bytes();
    options.filter_key.extend(list.as_ref().map(List::key).unwrap_or_default());
    options.filter = Some(Arc::new(move |path, is_dir| {
        let Some(list) = &list else { return patterns.pick(within(path), is_dir) };
        match (list.pick(path), patterns.pick(path, is_dir)) {
            (Pick::Leave, _) | (_, Pick::Leave) => Pick::Leave,
            (Pick::Through, _) | (_, Pick::Through) => Pick::Through,
            (Pick::Carry, Pick::Carry) => Pick::Carry,
        }
    }));
    Ok(options)
}

/// The same walk, where nothing is sent but what the list names too.
pub(crate) fn narrowed(options: &WalkOptions, list: List) -> WalkOptions {
    let before = options.filter.clone();
    let mut narrow = options.clone();
    narrow.filter_key.extend(list.key());
    narrow.filter = Some(Arc::new(move |path, is_dir| {
        let before = before.as_ref().map_or(Pick::Carry, |filter| filter(path, is_dir));
        match (list.pick(path), before) {
            (Pick::Leave, _) | (_, Pick::Leave) => Pick::Leave,
            (Pick::Through, _) | (_, Pick::Through) => Pick::Through,
            (Pick::Carry, Pick::Carry) => Pick::Carry,
        }
    }));
    narrow
}

/// What becomes of the later one of two names that differ by case or by how letters are composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Twins {
    /// It is not made
    Refuse,
    /// It gets another name
    Rename,
}

impl Twins {
    /// As a part of this program is told.
    pub(crate) fn distinct(self) -> Distinct {
        match self {
            Self::Refuse => Distinct::Refused,
            Self::Rename => Distinct::Renamed,
        }
    }
}

/// The path below the one that the user named; that one's own name, when it is itself.
fn within(path: &Path) -> &Path {
    let mut parts = path.components();
    parts.next();
    if parts.as_path().as_os_str().is_empty() { path } else { parts.as_path() }
}

#[cfg(test)]
mod tests;
