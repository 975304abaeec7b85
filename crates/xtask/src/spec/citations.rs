//! Where code and tests cite rules.

use std::collections::BTreeMap;
use std::path::Path;

use crate::codes::read;

/// Rule numbers and the places that cite them.
#[derive(Debug, Default)]
pub(crate) struct Citations {
    pub(crate) code: BTreeMap<String, Vec<String>>,
    pub(crate) tests: BTreeMap<String, Vec<String>>,
}

impl Citations {
    /// Reads every Rust file of the project.
    pub(crate) fn load(root: &Path) -> Result<Citations, String> {
        let mut citations = Citations::default();
        for directory in ["crates", "fuzz", "tests"] {
            let path = root.join(directory);
            if path.is_dir() {
                citations.walk(root, &path)?;
            }
        }
        Ok(citations)
    }

    fn walk(&mut self, root: &Path, directory: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                self.walk(root, &path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                self.read_file(&name, &read(&path)?);
            }
        }
        Ok(())
    }

    /// Adds the citations of one file: lines that begin with `//= S` and a number.
    pub(crate) fn read_file(&mut self, name: &str, text: &str) {
        for (index, line) in text.lines().enumerate() {
            let Some(cited) = line.trim().strip_prefix("//= ") else { continue };
            let (id, list) = match cited.strip_suffix("(test)") {
                Some(id) => (id, &mut self.tests),
                None => (cited, &mut self.code),
            };
            list.entry(id.trim().to_owned()).or_default().push(format!("{name}:{}", index + 1));
        }
    }
}
