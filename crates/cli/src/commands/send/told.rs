//! What a `send` tells: the receipt, what was not kept, what failed.

use std::path::PathBuf;
use std::time::Duration;

use hikyaku_files::{Missing, escape};
use hikyaku_wire::files::{Receipt, Synced, Target};
use serde::Serialize;

use super::source::Source;
use crate::event;
use crate::exit::{Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};

#[derive(Default, Serialize)]
struct JsonSent {
    v: u32,
    r#type: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    synced: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<u8>,
}

#[derive(Serialize)]
struct JsonMissing {
    v: u32,
    r#type: &'static str,
    path: String,
    why: String,
}

/// Tells the receipt.
pub(super) fn sent(
    paths: &[PathBuf],
    target: &Target,
    receipt: &Receipt,
    took: Duration,
    json: bool,
) -> Result {
    let reference = reference(target, receipt);
    // A tree's size is that of its files: the bundle's is nobody's concern.
    let bytes = receipt.tree.as_ref().map_or(receipt.size, |tree| tree.bytes);
    if json {
        return output::json(&JsonSent {
            v: JSON_VERSION,
            r#type: "sent",
            path: shown(paths),
            reference,
            name: receipt.name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned()),
            root: Some(receipt.root.to_string()),
            bytes: Some(bytes),
            entries: receipt.tree.as_ref().map(|tree| tree.entries),
            missing: receipt.tree.as_ref().map(|tree| tree.missing),
            synced: Some(match receipt.synced {
                Synced::None => "none",
                Synced::Batch => "batch",
                Synced::Each => "each",
            }),
            seconds: Some(took.as_secs_f64()),
            ..JsonSent::default()
        });
    }
    let place = reference.as_deref().unwrap_or("sent");
    let (place, size) = (escape(place.as_bytes()), event::bytes(bytes));
    match &receipt.tree {
        Some(tree) => {
            output::line(format_args!("{place}  {} entries  {size}  {}", tree.entries, receipt.root))
        }
        None => output::line(format_args!("{place}  {size}  {}", receipt.root)),
    }
}

/// Tells what was not carried or not made; the exit code that follows from it.
pub(super) fn not_kept(source: &Source, receipt: &Receipt, json: bool) -> Result<Option<Exit>> {
    let (troubles, left_out) = source.troubles();
    let ours =
        troubles.into_iter().map(|trouble| (trouble.path, Missing::Source(trouble.reason).to_string()));
    let (theirs, missing) = match &receipt.tree {
        Some(tree) => (tree.first.clone(), tree.missing),
        None => (Vec::new(), 0),
    };
    // A receiver that unpacks names what the sender left out as well.
    let listed: Vec<(Vec<u8>, String)> = if receipt.tree.is_some() {
        theirs.into_iter().map(|entry| (entry.path, entry.why)).collect()
    } else {
        ours.collect()
    };
    let count = if receipt.tree.is_some() { missing } else { left_out };
    for (path, why) in &listed {
        let (path, why) = (escape(path).to_string(), hikyaku::printable(why).to_string());
        if json {
            output::json(&JsonMissing { v: JSON_VERSION, r#type: "missing", path, why })?;
        } else {
            output::note(format_args!("{path}: {why}"));
        }
    }
    let more = count.saturating_sub(listed.len() as u64);
    if more > 0 && !json {
        output::note(format_args!("… and {more} more"));
    }
    Ok((count > 0).then_some(Exit::PartlyFailed))
}

/// Tells that nothing came of it.
pub(super) fn failed(paths: &[PathBuf], trouble: &Trouble) -> Result {
    output::json(&JsonSent {
        v: JSON_VERSION,
        r#type: "failed",
        path: shown(paths),
        error: Some(trouble.to_string()),
        exit: Some(trouble.exit as u8),
        ..JsonSent::default()
    })
}

fn shown(paths: &[PathBuf]) -> String {
    paths.first().map(|path| path.display().to_string()).unwrap_or_default()
}

fn reference(target: &Target, receipt: &Receipt) -> Option<String> {
    match (&receipt.event, target, &receipt.name) {
        (Some(event), ..) => Some(format!("#{}:{}", event.room, event.seq)),
        (None, Target::Drop(directory), Some(name)) => {
            let parts = directory.iter().map(|part| part.0.as_slice()).chain([name.as_slice()]);
            Some(format!(":{}", String::from_utf8_lossy(&parts.collect::<Vec<_>>().join(&b'/'))))
        }
        _ => None,
    }
}
