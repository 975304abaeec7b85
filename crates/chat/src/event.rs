//! One event: from what its author said to the bytes that are stored and relayed, and back.
//!
//! The record's bytes are made once, by the server, and never again: what is stored is what every reader gets.
//! Spec: chapter 4, "Events".

use bytes::Bytes;
use hikyaku_wire::cbor::{self, CborError};
use hikyaku_wire::chat::{Digest, Envelope, EnvelopeView, Octets, Record, RecordView, Salt};

use crate::chain::{Chain, digest};

/// An event as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who said what kind of thing when.
    pub envelope: Envelope,
    /// What was said; `None` once it was erased.
    pub body: Option<Bytes>,
    /// What the chain covers in the body's place.
    covered: Covered,
    /// The envelope's bytes as stored.
    encoded: Bytes,
}

/// An event read where its record lies: nothing is copied or kept. For readers who look at every event of busy rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventView<'a> {
    /// Who said what kind of thing when.
    pub envelope: EnvelopeView<'a>,
    /// What was said; `None` once it was erased.
    pub body: Option<&'a [u8]>,
    covered: Covered,
    encoded: &'a [u8],
}

/// From what the digest of the body is had. Most readers never ask for it, and hashing is most of reading an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Covered {
    /// The body is there, and this is its salt.
    Body(Salt),
    /// The body was erased; its digest stays.
    Erased(Digest),
}

/// Why bytes are no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Not the CBOR it should be.
    #[error("an event is not readable: {0}")]
    Cbor(#[from] CborError),
    /// Salt, body and digest do not fit together.
    #[error("an event has neither a salt with a body nor a digest alone")]
    Parts,
}

impl Event {
    /// Reads a stored record. What is kept is one copy of it.
    pub fn from_record(record: &[u8]) -> Result<Self, EventError> {
        let record = Bytes::copy_from_slice(record);
        let EventView { envelope, body, covered, encoded } = EventView::of(&record)?;
        let (body, encoded) = (body.map(|body| record.slice_ref(body)), record.slice_ref(encoded));
        Ok(Self { envelope: envelope.into_owned(), body, covered, encoded })
    }

    /// The digest of the body, whether the body is still there or not.
    pub(crate) fn digest(&self) -> Digest {
        match self.covered {
            Covered::Body(salt) => digest(&salt, self.body.as_deref().unwrap_or_default()),
            Covered::Erased(digest) => digest,
        }
    }

    /// The chain's value after this event, given the value before it.
    pub fn link(&self, chain: Chain) -> Chain {
        chain.link(&self.encoded, &self.digest())
    }
}

impl<'a> EventView<'a> {
    /// Reads a stored record.
    //= S4.21
    pub fn of(record: &'a [u8]) -> Result<Self, EventError> {
        let record = RecordView::read(record)?;
        let envelope = EnvelopeView::read(record.envelope())?;
        let (body, covered) = match (record.salt, record.body(), record.digest) {
            (Some(salt), Some(body), None) => (Some(body), Covered::Body(salt)),
            (None, None, Some(digest)) => (None, Covered::Erased(digest)),
            _ => return Err(EventError::Parts),
        };
        Ok(Self { envelope, body, covered, encoded: record.envelope() })
    }
}

/// The bytes to store for a new event, and the chain's value after it.
//= S4.20
pub(crate) fn compose(envelope: &Envelope, salt: Salt, body: &Bytes, chain: Chain) -> (Bytes, Chain) {
    let encoded = cbor::encode(envelope);
    let chain = chain.link(&encoded, &digest(&salt, body));
    let record = Record {
        envelope: encoded.into(),
        salt: Some(salt),
        body: Some(body.clone().into()),
        digest: None,
        signature: None,
    };
    (cbor::encode(&record).into(), chain)
}

/// The record of the same event without its body: the digest takes the place of salt and body, the envelope's
/// bytes stay as they are.
//= S4.24
pub fn erase(record: &[u8]) -> Result<Bytes, EventError> {
    let event = Event::from_record(record)?;
    let record = Record {
        digest: Some(event.digest()),
        envelope: Octets(event.encoded),
        salt: None,
        body: None,
        signature: None,
    };
    Ok(cbor::encode(&record).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikyaku_wire::chat::{DeviceId, Kind, MessageId, RoomId, UserId};
    use proptest::prelude::*;

    fn envelope(kind: u16, name: &str) -> Envelope {
        Envelope {
            kind: Kind(kind),
            author: UserId([1; 16]),
            name: name.into(),
            device: DeviceId([2; 32]),
            id: MessageId([3; 16]),
            ts_ms: 1_700_000_000_000,
            count: 7,
            refs: vec![1, 2],
            mentions: vec![UserId([4; 16])],
            sealed: None,
        }
    }

    const ROOM: RoomId = RoomId([8; 16]);

    proptest! {
        //= S4.20 (test)
        //= S4.23 (test)
        #[test]
        fn a_reader_sees_what_was_composed_and_finds_the_same_chain(
            kind in any::<u16>(), name in "\\PC{0,20}", body in prop::collection::vec(any::<u8>(), 0..200), salt: [u8; 16],
        ) {
            let (body, before) = (Bytes::from(body), Chain::genesis(ROOM));
            let envelope = envelope(kind, &name);
            let (record, after) = compose(&envelope, Salt(salt), &body, before);
            let event = Event::from_record(&record).unwrap();
            prop_assert_eq!(&event.envelope, &envelope);
            prop_assert_eq!(event.body.as_ref(), Some(&body));
            prop_assert_eq!(event.link(before), after);
        }

        //= S4.24 (test)
        #[test]
        fn an_erased_body_is_gone_and_the_chain_stays_valid(body in prop::collection::vec(any::<u8>(), 32..200)) {
            let (body, before) = (Bytes::from(body), Chain::genesis(ROOM));
            let (record, after) = compose(&envelope(1, "kai"), Salt([9; 16]), &body, before);
            let erased = erase(&record).unwrap();
            let event = Event::from_record(&erased).unwrap();
            prop_assert_eq!(&event.body, &None);
            prop_assert_eq!(event.link(before), after);
            prop_assert!(!erased.windows(body.len()).any(|window| window == body));
            prop_assert!(!erased.windows(16).any(|window| window == [9; 16]), "the salt would allow guessing");
            prop_assert_eq!(erase(&erased).unwrap(), erased, "erasing again changes nothing");
        }
    }

    //= S4.22 (test)
    #[test]
    fn a_digest_is_blake3_of_salt_then_body() {
        let joined = [[5u8; 16].as_slice(), b"text"].concat();
        assert_eq!(digest(&Salt([5; 16]), b"text").0, *blake3::hash(&joined).as_bytes());
    }

    //= S4.23 (test)
    #[test]
    fn another_envelope_body_order_or_room_is_another_chain() {
        let start = Chain::genesis(ROOM);
        let (one, two) = (Digest([1; 32]), Digest([2; 32]));
        assert_ne!(start.link(b"a", &one), start.link(b"b", &one));
        assert_ne!(start.link(b"a", &one), start.link(b"a", &two));
        assert_ne!(start.link(b"a", &one).link(b"b", &two), start.link(b"b", &two).link(b"a", &one));
        assert_ne!(start, Chain::genesis(RoomId([9; 16])));
    }

    //= S4.21 (test)
    #[test]
    fn a_record_with_half_its_parts_is_no_event() {
        let whole = Record {
            envelope: cbor::encode(&envelope(1, "kai")).into(),
            salt: Some(Salt([0; 16])),
            body: Some(Octets::from(Bytes::from_static(b"x"))),
            digest: None,
            signature: None,
        };
        let parse = |record: &Record| Event::from_record(&cbor::encode(record));
        assert!(parse(&whole).is_ok());
        assert_eq!(parse(&Record { salt: None, ..whole.clone() }), Err(EventError::Parts));
        assert_eq!(parse(&Record { body: None, ..whole.clone() }), Err(EventError::Parts));
        assert_eq!(parse(&Record { digest: Some(Digest([0; 32])), ..whole }), Err(EventError::Parts));
    }
}
