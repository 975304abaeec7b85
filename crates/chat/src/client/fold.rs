//! What a room looks like to people: edits in their places, reactions beside what they are about, deletions by name.
//!
//! A fold of the log and nothing else: the same events give the same picture to everybody, and it can be made again at
//! any time. It knows as much as it was given; what lies before the first event it saw is unknown to it.
//! Spec: chapter 4, "The log".

use std::collections::BTreeMap;

use bytes::Bytes;
use hikyaku_wire::chat::{Kind, UserId};

use crate::event::Event;

/// What later events say about the events of a room.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    about: BTreeMap<u64, About>,
}

/// What later events say about one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The newest text that took the place of the first.
    pub edited: Option<Bytes>,
    /// The name of whoever deleted it.
    pub deleted_by: Option<String>,
    /// Whether it is kept in view.
    pub pinned: bool,
    /// How it ended, if it is a parcel that has: the body of its end.
    pub ended: Option<Bytes>,
    /// Who reacted with which word, by name, each once; in the order of the words.
    pub reactions: BTreeMap<String, Vec<(UserId, String)>>,
}

impl Fold {
    /// Takes in the next event.
    pub fn take(&mut self, event: &Event) {
        let envelope = &event.envelope;
        let Some(&target) = envelope.refs.first().filter(|_| Self::is_folded(envelope.kind)) else { return };
        let about = self.about.entry(target).or_default();
        let (user, name) = (envelope.author, envelope.name.clone());
        match envelope.kind {
            // An edit without a text was erased with what it edited.
            Kind::EDIT => about.edited = event.body.clone().or(about.edited.take()),
            Kind::DELETE => *about = About { deleted_by: Some(name), ..About::default() },
            Kind::PARCEL_END => about.ended = event.body.clone(),
            Kind::PIN => about.pinned = true,
            Kind::UNPIN => about.pinned = false,
            _ => {
                let Some(word) = event.body.as_deref().map(String::from_utf8_lossy) else { return };
                let who = about.reactions.entry(word.into_owned()).or_default();
                who.retain(|(other, _)| *other != user);
                if envelope.kind == Kind::REACTION {
                    who.push((user, name));
                }
                about.reactions.retain(|_, who| !who.is_empty());
            }
        }
    }

    /// What is known about an event.
    pub fn about(&self, seq: u64) -> Option<&About> {
        self.about.get(&seq)
    }

    /// Whether events of this kind show only in what they are about.
    pub fn is_folded(kind: Kind) -> bool {
        matches!(
            kind,
            Kind::EDIT
                | Kind::DELETE
                | Kind::REACTION
                | Kind::UNREACT
                | Kind::PIN
                | Kind::UNPIN
                | Kind::PARCEL_END
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::event::compose;
    use hikyaku_wire::chat::{DeviceId, Envelope, MessageId, RoomId, Salt};

    fn event(user: u8, kind: Kind, refs: &[u64], body: &str) -> Event {
        let envelope = Envelope {
            kind,
            author: UserId([user; 16]),
            name: format!("user {user}"),
            device: DeviceId([0; 32]),
            id: MessageId([0; 16]),
            ts_ms: 0,
            count: 0,
            refs: refs.to_vec(),
            mentions: Vec::new(),
            sealed: None,
        };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let (record, _) = compose(&envelope, Salt([0; 16]), &body, Chain::genesis(RoomId([0; 16])));
        Event::from_record(&record).unwrap()
    }

    fn fold(events: &[Event]) -> About {
        let mut fold = Fold::default();
        events.iter().for_each(|event| fold.take(event));
        fold.about(1).cloned().unwrap_or_default()
    }

    #[test]
    fn the_newest_edit_is_the_text_and_a_deletion_leaves_a_name() {
        let (one, two) = (event(1, Kind::EDIT, &[1], "one"), event(1, Kind::EDIT, &[1], "two"));
        assert_eq!(fold(&[one.clone(), two.clone()]).edited.as_deref(), Some(&b"two"[..]));
        let deleted = fold(&[one, two, event(2, Kind::DELETE, &[1], "")]);
        assert_eq!(deleted, About { deleted_by: Some("user 2".to_owned()), ..About::default() });
    }

    #[test]
    fn a_reaction_counts_once_for_each_user_and_word_until_it_is_taken_back() {
        let react = |user, word| event(user, Kind::REACTION, &[1], word);
        let about = fold(&[react(1, "+"), react(1, "+"), react(2, "+"), react(1, "-")]);
        let counts = about.reactions.iter().map(|(word, who)| (word.as_str(), who.len()));
        assert_eq!(counts.collect::<Vec<_>>(), [("+", 2), ("-", 1)]);
        let back =
            fold(&[react(1, "+"), event(2, Kind::UNREACT, &[1], "+"), event(1, Kind::UNREACT, &[1], "+")]);
        assert_eq!(back, About::default());
    }

    #[test]
    fn how_a_parcel_ended_is_said_of_the_parcel() {
        let about = fold(&[event(1, Kind::REACTION, &[1], "+"), event(1, Kind::PARCEL_END, &[1], "settled")]);
        assert_eq!((about.ended.as_deref(), about.reactions.len()), (Some(&b"settled"[..]), 1));
        assert!(Fold::is_folded(Kind::PARCEL_END) && !Fold::is_folded(Kind::PARCEL));
    }

    #[test]
    fn what_is_said_about_other_events_or_in_other_kinds_changes_nothing() {
        let others = [
            event(1, Kind::EDIT, &[2], "x"),
            event(1, Kind::REPLY, &[1], "x"),
            event(1, Kind(0x1234), &[1], "x"),
            event(1, Kind::MESSAGE, &[], "x"),
        ];
        assert_eq!(fold(&others), About::default());
    }
}
