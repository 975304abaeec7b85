//! The registry files as data, and the rules their numbers obey.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// All registries.
pub(crate) struct Registries {
    pub(crate) classes: Vec<Class>,
    pub(crate) errors: Vec<Entry>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) contexts: Vec<Context>,
    pub(crate) applications: Vec<Application>,
    pub(crate) extensions: Vec<Extension>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Class {
    pub(crate) name: String,
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) generic: String,
    pub(crate) meaning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) code: u32,
    pub(crate) name: String,
    pub(crate) meaning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frame {
    pub(crate) r#type: u64,
    pub(crate) name: String,
    pub(crate) stream: String,
    pub(crate) payload: String,
    pub(crate) meaning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    pub(crate) r#type: u64,
    pub(crate) name: String,
    pub(crate) meaning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) purpose: String,
    pub(crate) name: String,
    pub(crate) signer: String,
    pub(crate) meaning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) ident: String,
    pub(crate) first_error: u32,
    pub(crate) last_error: u32,
    pub(crate) chapter: u32,
    pub(crate) meaning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extension {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) chapter: u32,
    pub(crate) meaning: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    class: Vec<Class>,
    error: Vec<Entry>,
    frame: Vec<Frame>,
    stream: Vec<Stream>,
    context: Vec<Context>,
    application: Vec<Application>,
    extension: Vec<Extension>,
}

impl Registries {
    /// Reads every registry under `directory` and checks its numbers.
    pub(crate) fn load(directory: &Path) -> Result<Registries, String> {
        let file = |name: &str| parse::<File>(&directory.join(name));
        let errors = file("errors.toml")?;
        let registries = Registries {
            classes: errors.class,
            errors: errors.error,
            frames: file("frames.toml")?.frame,
            streams: file("streams.toml")?.stream,
            contexts: file("contexts.toml")?.context,
            applications: file("applications.toml")?.application,
            extensions: file("extensions.toml")?.extension,
        };
        registries.check()?;
        Ok(registries)
    }

    /// The class a code belongs to.
    pub(crate) fn class_of(&self, code: u32) -> Result<&Class, String> {
        let class = self.classes.iter().find(|class| (class.first..=class.last).contains(&code));
        class.ok_or_else(|| format!("error code {code:#x} belongs to no class"))
    }

    /// The error codes of the request class and of applications belong to these applications, by range.
    pub(crate) fn owner_of(&self, code: u32) -> Option<&Application> {
        self.applications.iter().find(|app| (app.first_error..=app.last_error).contains(&code))
    }

    fn check(&self) -> Result<(), String> {
        ascending("errors.toml", self.errors.iter().map(|e| (u64::from(e.code), e.name.as_str())))?;
        ascending("frames.toml", self.frames.iter().map(|f| (f.r#type, f.name.as_str())))?;
        ascending("streams.toml", self.streams.iter().map(|s| (s.r#type, s.name.as_str())))?;
        ascending("extensions.toml", self.extensions.iter().map(|e| (e.id, e.name.as_str())))?;
        for class in &self.classes {
            let generic = self.errors.iter().find(|error| error.name == class.generic);
            generic.ok_or_else(|| {
                format!("class {}: generic code {} does not exist", class.name, class.generic)
            })?;
        }
        for error in &self.errors {
            let class = self.class_of(error.code)?;
            if class.name == "private" {
                return Err(format!("{}: private codes are never registered", error.name));
            }
            if class.name == "application" && self.owner_of(error.code).is_none() {
                return Err(format!("{}: {:#x} is in no application's range", error.name, error.code));
            }
        }
        let mut purposes = BTreeSet::new();
        match self.contexts.iter().find(|context| !purposes.insert(&context.purpose)) {
            Some(twice) => Err(format!("contexts.toml: `{}` is there twice", twice.purpose)),
            None => Ok(()),
        }
    }
}

/// Numbers rise, names are unique, and no number is a grease number.
fn ascending<'a>(file: &str, entries: impl Iterator<Item = (u64, &'a str)>) -> Result<(), String> {
    let mut last = None;
    let mut names = BTreeSet::new();
    for (number, name) in entries {
        if last.is_some_and(|last| number <= last) {
            return Err(format!("{file}: {name} ({number:#x}) is out of order or there twice"));
        }
        if number >= 0x21 && (number - 0x21).is_multiple_of(0x1f) {
            return Err(format!("{file}: {name} ({number:#x}) is a grease number"));
        }
        if !names.insert(name) {
            return Err(format!("{file}: {name} is there twice"));
        }
        last = Some(number);
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = super::read(path)?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}
