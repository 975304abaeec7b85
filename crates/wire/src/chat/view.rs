//! Records and envelopes read where they lie: nothing is copied, and the usual form is checked and read in one pass.
//!
//! A reader of a busy room does this for every event. Whatever is not in the usual form (unknown keys, another order)
//! is checked and decoded like every other message; both ways agree.

use minicbor::Decode;
use minicbor::bytes::ByteSlice;

use super::event::{Envelope, Kind, MAX_REFS};
use super::ids::{DeviceId, Digest, MessageId, Octets, Salt, UserId};
use crate::cbor::{self, CborError, Usual};

/// A [`Record`](super::Record) within the bytes it was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Decode)]
#[cbor(map)]
pub struct RecordView<'b> {
    /// An encoded [`Envelope`].
    #[b(0)]
    envelope: Slice<'b>,
    /// Hashed before the body.
    #[n(1)]
    pub salt: Option<Salt>,
    /// The content, opaque here.
    #[b(2)]
    body: Option<Slice<'b>>,
    /// BLAKE3(salt ‖ body) of an erased body.
    #[n(3)]
    pub digest: Option<Digest>,
    /// Reserved: the device's signature.
    #[b(4)]
    signature: Option<Slice<'b>>,
}

impl<'b> RecordView<'b> {
    /// Reads a record.
    //= S3.80
    //= S3.82
    pub fn read(record: &'b [u8]) -> Result<Self, CborError> {
        match Self::usual(record) {
            Some(view) => Ok(view),
            None => decode(record),
        }
    }

    fn usual(record: &'b [u8]) -> Option<Self> {
        let (mut view, mut whole) = (Self::default(), false);
        entries(record, |key, rest| {
            match key {
                0 => (view.envelope, whole) = (Slice(rest.bytes()?), true),
                1 => view.salt = Some(Salt(rest.exactly()?)),
                2 => view.body = Some(Slice(rest.bytes()?)),
                3 => view.digest = Some(Digest(rest.exactly()?)),
                4 => view.signature = Some(Slice(rest.bytes()?)),
                _ => return None,
            }
            Some(())
        })?;
        whole.then_some(view)
    }

    /// The envelope's bytes.
    pub fn envelope(&self) -> &'b [u8] {
        self.envelope.0
    }

    /// The content; `None` once it was erased.
    pub fn body(&self) -> Option<&'b [u8]> {
        self.body.map(|body| body.0)
    }

    /// Reserved: the device's signature.
    pub fn signature(&self) -> Option<&'b [u8]> {
        self.signature.map(|signature| signature.0)
    }
}

/// An [`Envelope`] within the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq, Decode)]
#[cbor(map)]
pub struct EnvelopeView<'b> {
    /// What the event is.
    #[n(0)]
    pub kind: Kind,
    /// Who made it, as the server authenticated them.
    #[n(1)]
    pub author: UserId,
    /// The author's name at that moment.
    #[b(2)]
    pub name: &'b str,
    /// The device it came from.
    #[n(3)]
    pub device: DeviceId,
    /// The author's id for it.
    #[n(4)]
    pub id: MessageId,
    /// Milliseconds since 1970 by the server's clock, never less than the previous event's.
    #[n(5)]
    pub ts_ms: u64,
    /// How many events of this room up to and including this one [count](Kind::counts) as unread.
    #[n(6)]
    pub count: u64,
    /// Sequence numbers of the events this one is about.
    #[cbor(n(7), decode_with = "crate::cbor::few::<_, _, MAX_REFS>", default)]
    pub refs: Vec<u64>,
    /// Users whose attention is asked for.
    #[cbor(n(8), decode_with = "crate::cbor::few::<_, _, MAX_REFS>", default)]
    pub mentions: Vec<UserId>,
    /// Reserved: how the body is sealed against the server.
    #[b(9)]
    sealed: Option<Slice<'b>>,
}

impl<'b> EnvelopeView<'b> {
    /// Reads an envelope.
    //= S3.80
    //= S3.82
    pub fn read(envelope: &'b [u8]) -> Result<Self, CborError> {
        match Self::usual(envelope) {
            Some(view) => Ok(view),
            None => decode(envelope),
        }
    }

    /// The first seven keys, and refs or mentions if there are any.
    fn usual(envelope: &'b [u8]) -> Option<Self> {
        let mut rest = Usual::new(envelope);
        let entries = rest.map().filter(|entries| (7..=9).contains(entries))?;
        let key = |rest: &mut Usual<'b>, key| (rest.number()? == key).then_some(());
        let mut view = Self {
            kind: key(&mut rest, 0).and_then(|()| Some(Kind(rest.number()?.try_into().ok()?)))?,
            author: key(&mut rest, 1).and_then(|()| rest.exactly().map(UserId))?,
            name: key(&mut rest, 2).and_then(|()| rest.text())?,
            device: key(&mut rest, 3).and_then(|()| rest.exactly().map(DeviceId))?,
            id: key(&mut rest, 4).and_then(|()| rest.exactly().map(MessageId))?,
            ts_ms: key(&mut rest, 5).and_then(|()| rest.number())?,
            count: key(&mut rest, 6).and_then(|()| rest.number())?,
            refs: Vec::new(),
            mentions: Vec::new(),
            sealed: None,
        };
        let mut before = 6;
        for _ in 7..entries {
            match rest.number()? {
                7 if before < 7 => {
                    view.refs = (0..rest.array(MAX_REFS)?).map(|_| rest.number()).collect::<Option<_>>()?;
                    before = 7;
                }
                8 if before < 8 => {
                    let users = (0..rest.array(MAX_REFS)?).map(|_| rest.exactly().map(UserId));
                    view.mentions = users.collect::<Option<_>>()?;
                    before = 8;
                }
                _ => return None,
            }
        }
        rest.is_empty().then_some(view)
    }

    /// Reserved: how the body is sealed against the server. Absent: it is not.
    pub fn sealed(&self) -> Option<&'b [u8]> {
        self.sealed.map(|sealed| sealed.0)
    }

    /// The same, to keep without the bytes it was read from.
    pub fn into_owned(self) -> Envelope {
        Envelope {
            kind: self.kind,
            author: self.author,
            name: self.name.to_owned(),
            device: self.device,
            id: self.id,
            ts_ms: self.ts_ms,
            count: self.count,
            sealed: self.sealed().map(|sealed| Octets::from(sealed.to_vec())),
            refs: self.refs,
            mentions: self.mentions,
        }
    }
}

/// A byte string of any length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Slice<'b>(&'b [u8]);

impl<'b, C> Decode<'b, C> for Slice<'b> {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        <&'b ByteSlice>::decode(d, ctx).map(|bytes| Self(bytes))
    }
}

impl std::fmt::Debug for Slice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Walks over a whole message that is one map with ascending numbers as keys; `value` reads what belongs to a key.
fn entries<'b>(bytes: &'b [u8], mut value: impl FnMut(u64, &mut Usual<'b>) -> Option<()>) -> Option<()> {
    let mut rest = Usual::new(bytes);
    let mut least = 0;
    for _ in 0..rest.map()? {
        let key = rest.number().filter(|key| *key >= least)?;
        least = key + 1;
        value(key, &mut rest)?;
    }
    rest.is_empty().then_some(())
}

/// The long way: the profile first, then the shape.
fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, CborError> {
    cbor::check(bytes, &cbor::Limits::default())?;
    minicbor::decode(bytes).map_err(|error| CborError::Shape { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
