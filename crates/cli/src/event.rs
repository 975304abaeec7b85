//! Events of a room as lines for people and as JSON for programs. Everything in them that a person chose is escaped.

use std::fmt::Write as _;

use hikyaku::printable;
use hikyaku_chat::Event;
use hikyaku_chat::client::Delivery;
use hikyaku_wire::cbor;
use hikyaku_wire::chat::Kind;
use hikyaku_wire::parcel::{EndStatus, Parcel, ParcelEnd};
use serde::Serialize;

use crate::output::JSON_VERSION;
use crate::time;

/// An event with its place.
pub(crate) struct Shown<'a> {
    pub(crate) room: &'a str,
    pub(crate) epoch: u32,
    pub(crate) seq: u64,
    event: Option<Event>,
}

/// One event as JSON; version 1.
#[derive(Debug, Serialize)]
pub(crate) struct JsonEvent {
    v: u32,
    r#type: &'static str,
    room: String,
    epoch: u32,
    seq: u64,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refs: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parcel: Option<JsonParcel>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unreadable: bool,
}

#[derive(Debug, Serialize)]
struct JsonParcel {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl<'a> Shown<'a> {
    /// An event as it was delivered; one that cannot be read is shown as such.
    pub(crate) fn delivered(room: &'a str, delivery: &Delivery) -> Self {
        Self { room, epoch: delivery.epoch, seq: delivery.seq, event: delivery.event().ok() }
    }

    /// An event as a page of history has it.
    pub(crate) fn record(room: &'a str, epoch: u32, seq: u64, record: &[u8]) -> Self {
        Self { room, epoch, seq, event: Event::from_record(record).ok() }
    }

    /// `#ops:17  2026-11-22 20:03:12  ana: deploy done`
    pub(crate) fn line(&self) -> String {
        let ts_ms = self.event.as_ref().map_or(0, |event| event.envelope.ts_ms);
        format!("#{}:{}  {}  {}", self.room, self.seq, time::local(ts_ms), self.said())
    }

    /// `20:03 ana: deploy done`
    pub(crate) fn short_line(&self) -> String {
        let ts_ms = self.event.as_ref().map_or(0, |event| event.envelope.ts_ms);
        format!("{} {}", time::clock(ts_ms), self.said())
    }

    /// `ana: deploy done`, or what else happened. Later lines of a text are indented, so that none can pretend to be
    /// another event.
    fn said(&self) -> String {
        let Some(event) = &self.event else { return "(an event that this version cannot read)".to_owned() };
        let name = printable(&event.envelope.name);
        let kind = event.envelope.kind;
        match kind {
            Kind::PARCEL => match self.parcel() {
                Some(parcel) => {
                    let size = parcel.bytes.map_or_else(|| "?".to_owned(), bytes);
                    format!("{name} sends {} ({size})", hikyaku_files::escape(&parcel.name))
                }
                None => format!("{name} sends something that cannot be read"),
            },
            Kind::PARCEL_END => format!("{name}: {}", self.ending()),
            _ => {
                let mut text = format!("{name}: ");
                if !matches!(kind, Kind::MESSAGE | Kind::REPLY) {
                    // Kinds that this version does not know are shown by name.
                    let _ = write!(text, "[{kind}] ");
                }
                match self.text() {
                    None => text.push_str("(erased)"),
                    Some(body) => {
                        for (index, line) in body.lines().enumerate() {
                            let _ = write!(text, "{}{}", if index == 0 { "" } else { "\n    " }, whole(line));
                        }
                    }
                }
                text
            }
        }
    }

    fn ending(&self) -> String {
        match self.parcel_end() {
            None => "a parcel ended in a way that cannot be read".to_owned(),
            Some(end) => {
                let parcel = format!("#{}:{}", self.room, end.parcel);
                match end.status {
                    EndStatus::Settled => format!("{parcel} is here, {}", bytes(end.bytes.unwrap_or(0))),
                    EndStatus::Aborted => format!("{parcel} was given up"),
                    EndStatus::Expired => format!("{parcel} has expired"),
                }
            }
        }
    }

    fn text(&self) -> Option<String> {
        let body = self.event.as_ref()?.body.as_ref()?;
        Some(String::from_utf8_lossy(body).into_owned())
    }

    fn parcel(&self) -> Option<Parcel> {
        cbor::decode(self.event.as_ref()?.body.as_ref()?, &cbor::Limits::default()).ok()
    }

    fn parcel_end(&self) -> Option<ParcelEnd> {
        cbor::decode(self.event.as_ref()?.body.as_ref()?, &cbor::Limits::default()).ok()
    }

    /// The event as JSON.
    pub(crate) fn json(&self) -> JsonEvent {
        let envelope = self.event.as_ref().map(|event| &event.envelope);
        let kind = envelope.map(|envelope| envelope.kind);
        let parcel = match kind {
            Some(Kind::PARCEL) => self.parcel().map(|parcel| JsonParcel {
                name: Some(String::from_utf8_lossy(&parcel.name).into_owned()),
                transfer: Some(parcel.transfer.to_string()),
                status: None,
                root: None,
                bytes: parcel.bytes,
            }),
            Some(Kind::PARCEL_END) => self.parcel_end().map(|end| JsonParcel {
                name: None,
                transfer: None,
                status: Some(match end.status {
                    EndStatus::Settled => "settled",
                    EndStatus::Aborted => "aborted",
                    EndStatus::Expired => "expired",
                }),
                root: end.root.map(|root| root.to_string()),
                bytes: end.bytes,
            }),
            _ => None,
        };
        JsonEvent {
            v: JSON_VERSION,
            r#type: "event",
            room: self.room.to_owned(),
            epoch: self.epoch,
            seq: self.seq,
            kind: kind.map_or_else(|| "unknown".to_owned(), |kind| kind.to_string()),
            author: envelope.map(|envelope| envelope.name.clone()),
            user: envelope.map(|envelope| envelope.author.to_string()),
            device: envelope.map(|envelope| hikyaku::KeyId::from_bytes(envelope.device.0).to_string()),
            id: envelope.map(|envelope| envelope.id.to_string()),
            ts: envelope.map(|envelope| time::utc(envelope.ts_ms)),
            refs: envelope.map(|envelope| envelope.refs.clone()).unwrap_or_default(),
            text: if parcel.is_some() { None } else { self.text() },
            parcel,
            unreadable: self.event.is_none(),
        }
    }
}

/// A line of a peer's text, escaped and not cut: messages have a limit of their own.
fn whole(line: &str) -> String {
    line.chars().fold(String::with_capacity(line.len()), |mut out, character| {
        if hikyaku::is_hostile(character) && character != '\t' {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
        out
    })
}

/// A number of bytes for people: `3.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_of_a_peer_reaches_a_terminal() {
        assert_eq!(whole("a\u{1b}[2Jb\u{202e}c\td"), "a\\u{1b}[2Jb\\u{202e}c\td");
    }
}
