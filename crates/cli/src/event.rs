//! Events of a room as lines for people and as JSON for programs. Everything in them that a person chose is escaped.

mod json;

use std::fmt::Write as _;

use hikyaku::printable;
use hikyaku_chat::Event;
use hikyaku_chat::client::{About, Delivery, Fold};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Kind, Membership};
use hikyaku_wire::files::Arrival;
use hikyaku_wire::files::receipts::Hands;
use hikyaku_wire::parcel::{EndStatus, EntryKind, Parcel, ParcelEnd};

use crate::hands;
use crate::reference::place;
use crate::time;

/// The columns of a bar.
const BAR: usize = 12;

/// An event with its place.
#[derive(Clone)]
pub(crate) struct Shown<'a> {
    pub(crate) room: &'a str,
    pub(crate) epoch: u32,
    pub(crate) seq: u64,
    pub(crate) event: Option<Event>,
    /// What later events say about it, where that is known.
    pub(crate) about: Option<About>,
    /// Of a parcel: in how many hands it is, where that is known.
    pub(crate) hands: Option<Hands>,
}

impl<'a> Shown<'a> {
    /// An event as it was delivered; one that cannot be read is shown as such.
    pub(crate) fn delivered(room: &'a str, delivery: &Delivery) -> Self {
        let event = delivery.event().ok();
        Self { room, epoch: delivery.epoch, seq: delivery.seq, event, about: None, hands: None }
    }

    /// An event as a page of history has it.
    pub(crate) fn record(room: &'a str, epoch: u32, seq: u64, record: &[u8]) -> Self {
        Self { room, epoch, seq, event: Event::from_record(record).ok(), about: None, hands: None }
    }

    /// The event that this one only changes.
    pub(crate) fn folds_into(&self) -> Option<u64> {
        let envelope = &self.event.as_ref()?.envelope;
        envelope.refs.first().copied().filter(|_| Fold::is_folded(envelope.kind))
    }

    /// `#ops:17  2026-11-22 20:03:12  ana: deploy done`
    pub(crate) fn line(&self) -> String {
        self.long(Drawn::No)
    }

    /// The same, for a terminal on which it is written again as it changes.
    pub(crate) fn drawn_line(&self) -> String {
        self.long(Drawn::Yes)
    }

    fn long(&self, drawn: Drawn) -> String {
        format!("{}:{}  {}  {}", place(self.room), self.seq, time::local(self.ts_ms()), self.said(drawn))
    }

    /// `20:03 ana: deploy done`
    pub(crate) fn short_line(&self) -> String {
        self.short(Drawn::No)
    }

    /// The same, for a terminal on which it is written again as it changes.
    pub(crate) fn drawn_short_line(&self) -> String {
        self.short(Drawn::Yes)
    }

    fn short(&self, drawn: Drawn) -> String {
        let kind = self.event.as_ref().map(|event| event.envelope.kind);
        // Whoever wants it has to name it.
        let reference = match kind {
            Some(Kind::PARCEL) => format!("{}:{} ", place(self.room), self.seq),
            _ => String::new(),
        };
        format!("{} {reference}{}", time::clock(self.ts_ms()), self.said(drawn))
    }

    fn ts_ms(&self) -> u64 {
        self.event.as_ref().map_or(0, |event| event.envelope.ts_ms)
    }

    /// `ana: deploy done`, or what else happened, with what was said about it since.
    fn said(&self, drawn: Drawn) -> String {
        let Some(event) = &self.event else { return "(an event that this version cannot read)".to_owned() };
        let mut said = self.sentence(event, drawn);
        let Some(about) = &self.about else { return said };
        if about.edited.is_some() {
            said.push_str(" (edited)");
        }
        if about.pinned {
            said.push_str(" (pinned)");
        }
        for (word, who) in &about.reactions {
            let names: Vec<String> = who.iter().map(|(_, name)| printable(name).to_string()).collect();
            let _ = write!(said, " [{} {}]", printable(word), names.join(", "));
        }
        said
    }

    fn sentence(&self, event: &Event, drawn: Drawn) -> String {
        let name = printable(&event.envelope.name);
        let target =
            event.envelope.refs.first().map(|seq| format!("{}:{seq}", place(self.room))).unwrap_or_default();
        match event.envelope.kind {
            Kind::MESSAGE => format!("{name}: {}", self.words()),
            Kind::REPLY => format!("{name} (to {target}): {}", self.words()),
            Kind::EDIT => format!("{name} edits {target}: {}", self.words()),
            Kind::DELETE => format!("{name} deletes {target}"),
            Kind::REACTION => format!("{name} reacts to {target}: {}", self.words()),
            Kind::UNREACT => format!("{name} takes back from {target}: {}", self.words()),
            Kind::PIN => format!("{name} pins {target}"),
            Kind::UNPIN => format!("{name} unpins {target}"),
            Kind::TOPIC => format!("{name}: [topic] {}", self.words()),
            Kind::JOIN | Kind::LEAVE | Kind::INVITE | Kind::ROLE => self.membership_line(event),
            Kind::PARCEL => match self.parcel() {
                Some(parcel) => {
                    let (end, arrival) = (self.ended(), self.hands.and_then(|hands| hands.arrival));
                    // Before it is whole, nobody can have it.
                    let hands = self.hands.as_ref().filter(|hands| end.is_some() || hands.hands > 0);
                    let hands = hands.and_then(hands::said);
                    let hands = hands.map_or_else(String::new, |hands| format!(", {hands}"));
                    format!("{name} sends {}{hands}", card(&parcel, end.as_ref(), arrival, drawn))
                }
                None => format!("{name} sends something that cannot be read"),
            },
            Kind::PARCEL_END => format!("{name}: {}", self.ending()),
            // Kinds that this version does not know are shown by name.
            kind => format!("{name}: [{kind}] {}", self.words()),
        }
    }

    /// The text, the one that has taken its place, or what became of it. Later lines are indented, so that none can
    /// pretend to be another event.
    fn words(&self) -> String {
        let about = self.about.as_ref();
        if let Some(by) = about.and_then(|about| about.deleted_by.as_deref()) {
            return format!("(deleted by {})", printable(by));
        }
        let edited = about.and_then(|about| about.edited.as_deref());
        let text = edited.map(|text| String::from_utf8_lossy(text).into_owned());
        let Some(text) = text.or_else(|| self.text()) else { return "(deleted)".to_owned() };
        let mut words = String::with_capacity(text.len());
        for (index, line) in text.lines().enumerate() {
            let _ = write!(words, "{}{}", if index == 0 { "" } else { "\n    " }, whole(line));
        }
        words
    }

    fn membership_line(&self, event: &Event) -> String {
        let name = printable(&event.envelope.name);
        let Some(Membership { user, name: whom, role }) = self.membership() else {
            return format!("{name}: [{}] in a way that cannot be read", event.envelope.kind);
        };
        let whom = printable(&whom);
        match (event.envelope.kind, role) {
            (Kind::JOIN, _) => format!("{whom} joins"),
            (Kind::LEAVE, _) if user == event.envelope.author => format!("{whom} leaves"),
            (Kind::LEAVE, _) => format!("{name} removes {whom}"),
            (Kind::ROLE, Some(role)) => format!("{name} makes {whom} {}", role.name()),
            _ => format!("{name} invites {whom}"),
        }
    }

    fn ending(&self) -> String {
        match self.parcel_end() {
            None => "a parcel ended in a way that cannot be read".to_owned(),
            Some(end) => {
                let parcel = format!("{}:{}", place(self.room), end.parcel);
                match end.status {
                    EndStatus::Settled => format!("{parcel} is here, {}", bytes(end.bytes.unwrap_or(0))),
                    EndStatus::Aborted => format!("{parcel} was given up"),
                    EndStatus::Expired => format!("{parcel} has expired"),
                }
            }
        }
    }

    /// How a parcel ended, where a later event has said so.
    fn ended(&self) -> Option<ParcelEnd> {
        let end = self.about.as_ref()?.ended.as_ref()?;
        cbor::decode(end, &cbor::Limits::default()).ok()
    }

    fn text(&self) -> Option<String> {
        let body = self.event.as_ref()?.body.as_ref()?;
        Some(String::from_utf8_lossy(body).into_owned())
    }

    fn membership(&self) -> Option<Membership> {
        cbor::decode(self.event.as_ref()?.body.as_ref()?, &cbor::Limits::default()).ok()
    }

    fn parcel(&self) -> Option<Parcel> {
        cbor::decode(self.event.as_ref()?.body.as_ref()?, &cbor::Limits::default()).ok()
    }

    fn parcel_end(&self) -> Option<ParcelEnd> {
        cbor::decode(self.event.as_ref()?.body.as_ref()?, &cbor::Limits::default()).ok()
    }
}

/// Whether a bar is drawn, which is for what will be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drawn {
    Yes,
    No,
}

/// `dataset/ (3.2 GiB in 812 entries), here`: what a parcel is, and how far it is where that is known.
pub(crate) fn card(
    parcel: &Parcel,
    end: Option<&ParcelEnd>,
    arrival: Option<Arrival>,
    drawn: Drawn,
) -> String {
    let arrival = arrival.filter(|_| end.is_none());
    let size = match (end.and_then(|end| end.bytes).or(parcel.bytes), arrival) {
        (Some(size), _) => bytes(size),
        (None, Some(arrival)) => format!("{} so far", bytes(arrival.bytes)),
        (None, None) => "?".to_owned(),
    };
    let entries = end.and_then(|end| end.entries).or(parcel.entries);
    let entries = match entries.filter(|_| parcel.kind == EntryKind::Tree) {
        None => String::new(),
        Some(1) => " in 1 entry".to_owned(),
        Some(entries) => format!(" in {entries} entries"),
    };
    let sign = if parcel.kind == EntryKind::Tree { "/" } else { "" };
    let far = match end.map(|end| end.status) {
        None => arrival.map_or_else(String::new, |arrival| far(arrival, parcel.bytes, drawn)),
        Some(EndStatus::Settled) => ", here".to_owned(),
        Some(EndStatus::Aborted) => ", given up".to_owned(),
        Some(EndStatus::Expired) => ", expired".to_owned(),
    };
    let whom = parcel.device.as_ref();
    let whom = whom.map_or_else(String::new, |device| format!(" for {}", printable(&device.name)));
    format!("{}{sign} ({size}{entries}){whom}{far}", hikyaku_files::escape(&parcel.name))
}

/// How far a parcel is: `, ━━━━╸─────── 41 %`.
fn far(arrival: Arrival, size: Option<u64>, drawn: Drawn) -> String {
    let share = size.filter(|size| *size > 0).map(|size| arrival.bytes.min(size) as f64 / size as f64);
    let share = share.map(|share| {
        let done = (share * BAR as f64) as usize;
        let bar = match (drawn, BAR - done) {
            (Drawn::No, _) => String::new(),
            (Drawn::Yes, 0) => format!("{} ", "━".repeat(done)),
            (Drawn::Yes, left) => format!("{}╸{} ", "━".repeat(done), "─".repeat(left - 1)),
        };
        format!(", {bar}{:.0} %", (share * 100.0).floor())
    });
    let away = if arrival.sending { "" } else { ", the sender is away" };
    share.unwrap_or_default() + away
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
    fn a_parcels_card_says_what_it_is_and_how_far() {
        let parcel = |kind, bytes, entries| Parcel {
            transfer: hikyaku_wire::parcel::TransferId([1; 16]),
            name: b"da\x1bta".to_vec(),
            kind,
            bytes,
            entries,
            meta: None,
            device: None,
        };
        let end = |status, bytes, entries| ParcelEnd { parcel: 1, status, root: None, bytes, entries };
        let drawn = |parcel: &Parcel, bytes, sending| {
            card(parcel, None, Some(Arrival { bytes, sending }), Drawn::Yes)
        };
        let (file, tree) = (parcel(EntryKind::File, Some(2048), None), parcel(EntryKind::Tree, None, None));
        assert_eq!(drawn(&file, 0, true), "da\\u{1b}ta (2.00 KiB), ╸─────────── 0 %");
        assert_eq!(drawn(&file, 1024, true), "da\\u{1b}ta (2.00 KiB), ━━━━━━╸───── 50 %");
        assert_eq!(drawn(&file, 2048, true), "da\\u{1b}ta (2.00 KiB), ━━━━━━━━━━━━ 100 %");
        assert_eq!(
            drawn(&file, 2047, false),
            "da\\u{1b}ta (2.00 KiB), ━━━━━━━━━━━╸ 99 %, the sender is away"
        );
        assert_eq!(drawn(&tree, 1024, true), "da\\u{1b}ta/ (1.00 KiB so far)");
        let plain = Some(Arrival { bytes: 1024, sending: false });
        assert_eq!(card(&file, None, plain, Drawn::No), "da\\u{1b}ta (2.00 KiB), 50 %, the sender is away");
        let card = |parcel, end: Option<ParcelEnd>| {
            card(&parcel, end.as_ref(), plain.filter(|_| end.is_some()), Drawn::No)
        };
        assert_eq!(card(parcel(EntryKind::File, Some(6), None), None), "da\\u{1b}ta (6 B)");
        let settled = end(EndStatus::Settled, Some(2048), Some(3));
        assert_eq!(card(parcel(EntryKind::Tree, None, None), None), "da\\u{1b}ta/ (?)");
        assert_eq!(
            card(parcel(EntryKind::Tree, None, None), Some(settled)),
            "da\\u{1b}ta/ (2.00 KiB in 3 entries), here"
        );
        let given_up = end(EndStatus::Aborted, None, None);
        assert_eq!(
            card(parcel(EntryKind::File, Some(6), None), Some(given_up)),
            "da\\u{1b}ta (6 B), given up"
        );
    }

    #[test]
    fn no_control_character_of_a_peer_reaches_a_terminal() {
        assert_eq!(whole("a\u{1b}[2Jb\u{202e}c\td"), "a\\u{1b}[2Jb\\u{202e}c\td");
    }
}
