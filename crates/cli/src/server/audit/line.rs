//! The lines of the audit record. Everything that a peer names is bounded before it stands in one: a room has a room's name or
//! is `?`, and names, paths and reasons are cut.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use hikyaku_accounts::Session;
use hikyaku_chat::RoomName;
use hikyaku_files::escape;
use hikyaku_files::rooms::{Deed, Fetch, Mend, Outcome};
use hikyaku_wire::files::{Component, Receipt, Target, Wanted};
use hikyaku_wire::parcel::{EntryKind, EventRef};
use serde::Serialize;

use crate::output::JSON_VERSION;
use crate::reference::place;
use crate::time;

/// Bytes of a name: as many as a name on a disk has.
const NAME: usize = 255;
/// Bytes of a path, escaped, and of a reason.
const TEXT: usize = 1024;

/// What every line says.
#[derive(Serialize)]
pub(super) struct Line<What> {
    v: u32,
    r#type: &'static str,
    ts: String,
    outcome: &'static str,
    transfer: Option<String>,
    user: Option<String>,
    user_id: Option<String>,
    device: String,
    device_name: Option<String>,
    address: Option<String>,
    #[serde(flatten)]
    what: What,
    error: Option<String>,
}

/// What was offered.
#[derive(Serialize)]
pub(super) struct Sent {
    to: String,
    name: String,
    kind: &'static str,
    /// As offered, or as received.
    bytes: Option<u64>,
    root: Option<String>,
    synced: Option<&'static str>,
    missing: Option<u64>,
    /// Files of a tree that were there and are not part of the root, and their bytes.
    kept: Option<u64>,
    kept_bytes: Option<u64>,
}

/// What was asked for.
#[derive(Serialize)]
pub(super) struct Fetched {
    from: Option<String>,
    name: Option<String>,
    kind: Option<&'static str>,
    /// All of it, as far as that is known.
    bytes: Option<u64>,
    /// In this exchange.
    sent: u64,
    root: Option<String>,
}

/// What was to be mended.
#[derive(Serialize)]
pub(super) struct Mended {
    from: Option<String>,
    name: Option<String>,
    kind: Option<&'static str>,
    /// All of it, as far as that is known.
    bytes: Option<u64>,
    /// What had decayed, as far as it is named at once.
    lacking: Option<u64>,
    /// What of that came and was right.
    mended: u64,
    hashes: bool,
    root: Option<String>,
}

/// How many refusals of one user have no line of their own.
#[derive(Serialize)]
pub(super) struct More {
    v: u32,
    r#type: &'static str,
    ts: String,
    user: Option<String>,
    #[serde(flatten)]
    whose: Whose,
    more: u64,
}

/// Whose refusals are counted together: a user's, or those of the operator.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Whose {
    user_id: Option<String>,
}

impl Whose {
    pub(super) fn of(session: &Session) -> Self {
        Self { user_id: session.user.map(|user| user.to_string()) }
    }

    /// What is said of so many of them, with what the user is called.
    pub(super) fn more(self, user: Option<String>, more: u64) -> More {
        let ts = time::utc(hikyaku_accounts::system_time());
        More { v: JSON_VERSION, r#type: "refused", ts, user, whose: self, more }
    }
}

impl<What> Line<What> {
    pub(super) fn of(
        kind: &'static str,
        session: &Session,
        (transfer, address): (Option<String>, Option<SocketAddr>),
        outcome: &Outcome<'_>,
        what: What,
    ) -> Self {
        let (outcome, error) = match outcome {
            Outcome::Accepted => ("accepted", None),
            Outcome::Refused(why) => ("refused", Some(cut(why, TEXT))),
            Outcome::Failed(why) => ("failed", Some(cut(why, TEXT))),
            Outcome::Finished(_) | Outcome::Done => ("finished", None),
        };
        Self {
            v: JSON_VERSION,
            r#type: kind,
            ts: time::utc(hikyaku_accounts::system_time()),
            outcome,
            transfer,
            user: session.name.as_ref().map(ToString::to_string),
            user_id: session.user.map(|user| user.to_string()),
            device: session.device.to_string(),
            device_name: session.device_name.as_ref().map(ToString::to_string),
            address: address.map(|address| address.to_string()),
            what,
            error,
        }
    }
}

impl Sent {
    pub(super) fn of(deed: &Deed<'_>) -> Self {
        let (offer, receipt) = (deed.offer, receipt(&deed.outcome));
        let tree = receipt.and_then(|receipt| receipt.tree.as_ref());
        let to = match &offer.target {
            Target::Room(name) => room(name),
            Target::Device(name, device) => {
                format!("{}/{}", room(name), cut(hikyaku::printable(device), NAME))
            }
            Target::Drop(path) => cut(Below(path), TEXT),
        };
        Self {
            to,
            name: named(&offer.name),
            kind: kind(offer.kind),
            bytes: receipt.map(|receipt| receipt.size).or(offer.size),
            root: receipt.map(|receipt| receipt.root.to_string()),
            synced: receipt.map(|receipt| match receipt.synced {
                hikyaku_wire::files::Synced::None => "none",
                hikyaku_wire::files::Synced::Batch => "batch",
                hikyaku_wire::files::Synced::Each => "each",
            }),
            missing: tree.map(|tree| tree.missing),
            kept: tree.and_then(|tree| tree.kept),
            kept_bytes: tree.and_then(|tree| tree.kept_bytes),
        }
    }
}

impl Fetched {
    pub(super) fn of(fetch: &Fetch<'_>) -> Self {
        let (found, receipt) = (fetch.found, receipt(&fetch.outcome));
        let from = asked_for(fetch.wanted);
        let root = receipt.map(|receipt| receipt.root).or(found.and_then(|found| found.root));
        Self {
            from,
            name: found.map(|found| named(&found.name)),
            kind: found.map(|found| kind(found.kind)),
            bytes: receipt.map(|receipt| receipt.size).or(found.and_then(|found| found.size)),
            sent: fetch.sent,
            root: root.map(|root| root.to_string()),
        }
    }
}

impl Mended {
    pub(super) fn of(mend: &Mend<'_>) -> Self {
        let found = mend.found;
        Self {
            from: asked_for(mend.wanted),
            name: found.map(|found| named(&found.name)),
            kind: found.map(|found| kind(found.kind)),
            bytes: found.and_then(|found| found.size),
            lacking: mend.lacking,
            mended: mend.mended,
            hashes: mend.values,
            root: found.and_then(|found| found.root).map(|root| root.to_string()),
        }
    }
}

/// A parcel as it was asked for; nothing where that was by its transfer.
fn asked_for(wanted: &Wanted) -> Option<String> {
    match wanted {
        Wanted::Event(EventRef { room: name, epoch: None, seq }) => Some(format!("{}:{seq}", room(name))),
        Wanted::Event(EventRef { room: name, epoch: Some(epoch), seq }) => {
            Some(format!("{}:{epoch}.{seq}", room(name)))
        }
        Wanted::Transfer(_) => None,
    }
}

fn receipt<'a>(outcome: &Outcome<'a>) -> Option<&'a Receipt> {
    if let Outcome::Finished(receipt) = outcome { Some(receipt) } else { None }
}

fn kind(kind: EntryKind) -> &'static str {
    if kind == EntryKind::Tree { "tree" } else { "file" }
}

/// A room as it was named, if that can be the name of one.
fn room(name: &str) -> String {
    RoomName::parse_any(name).map_or_else(|_| "?".to_owned(), |name| place(name.as_str()))
}

/// A file's name, all of it if it can be the name of one.
fn named(name: &[u8]) -> String {
    let Some(longer) = name.get(..=NAME) else { return escape(name).to_string() };
    // Not in the middle of a character.
    let end = longer.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(NAME);
    format!("{}…", escape(longer.get(..end).unwrap_or_default()))
}

/// A path in the server's directory.
struct Below<'a>(&'a [Component]);

impl fmt::Display for Below<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, component)| {
            let before = if index == 0 { ":" } else { "/" };
            write!(f, "{before}{}", escape(&component.0))
        })?;
        if self.0.is_empty() { f.write_char(':') } else { Ok(()) }
    }
}

/// At most so many bytes of what is shown, with `…` behind it if that is not all. No more is written than is kept.
fn cut(shown: impl fmt::Display, most: usize) -> String {
    let mut bounded = Bounded { text: String::new(), most };
    if write!(bounded, "{shown}").is_err() {
        bounded.text.push('…');
    }
    bounded.text
}

/// A text that takes no more than so many bytes.
struct Bounded {
    text: String,
    most: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.most.saturating_sub(self.text.len());
        let fits = more.floor_char_boundary(room);
        self.text.push_str(more.get(..fits).unwrap_or_default());
        if fits == more.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_names_is_cut_between_characters_and_it_is_seen() {
        assert_eq!(cut("plan.pdf", 8), "plan.pdf");
        assert_eq!(cut("plan.pdf.", 8), "plan.pdf…");
        assert_eq!(cut("飛脚", 5), "飛…");
        assert_eq!(cut(escape(&vec![0xff; 1 << 20]), 8), "\\xff\\xff…");
        assert_eq!(named(&[b'\n'; 255]), "\\n".repeat(255));
        assert_eq!(named(&[b'a'; 256]), "a".repeat(255) + "…");
        assert_eq!(named("飛".repeat(86).as_bytes()), "飛".repeat(85) + "…");
        assert_eq!(named(("a".repeat(254) + "é").as_bytes()), "a".repeat(254) + "…");
        let path = |name: &[u8]| Below(&[Component(name.to_vec()), Component(b"b".to_vec())]).to_string();
        assert_eq!((path(b"a"), Below(&[]).to_string()), (":a/b".to_owned(), ":".to_owned()));
    }

    #[test]
    fn what_is_no_room_is_not_named() {
        assert_eq!(["OPS", "@ben", "@ben+ana", "a b", "@"].map(room), ["#ops", "@ben", "@ana+ben", "?", "?"]);
        assert_eq!((room(""), room(&"x".repeat(1 << 20))), ("?".to_owned(), "?".to_owned()));
    }
}
