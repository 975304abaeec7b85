//! What lies in the vault's directories, whoever uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::facts::Look;
use super::sources::Sources;
use crate::tree::names;

/// Looks at the vault of a data directory.
pub(super) fn look(
    data: &Path,
    sources: &Sources,
    after: &'static str,
    at: String,
    collections: u64,
) -> Look {
    let vault = data.join("vault");
    let objects = vault.join("objects");
    let size = |name: &str| fs::metadata(objects.join(name)).map_or(0, |metadata| metadata.len());
    let mut seen = Look { at, after, collections, ..Look::default() };
    for name in names(&objects) {
        seen.stored += size(&name);
        if name.ends_with(".tree") {
            continue;
        }
        let values = objects.join(format!("{name}.tree"));
        if !values.exists() || sources.is_damaged(&name, &objects.join(&name)) {
            seen.damaged.push(name.clone());
        }
        seen.objects.insert(name.clone(), size(&name));
    }
    let references = names(&vault.join("refs")).into_iter().map(|root| {
        let transfers: BTreeSet<String> = names(&vault.join("refs").join(&root)).into_iter().collect();
        (root, transfers)
    });
    seen.references = references.collect::<BTreeMap<_, _>>();
    let stem = |name: String| name.split('.').next().map(str::to_owned);
    seen.unfinished = names(&vault.join("partials")).into_iter().filter_map(stem).collect();
    seen
}
