//! What somebody wants in the log, judged as far as that goes without the log.

use bytes::Bytes;
use hikyaku_wire::cbor;
use hikyaku_wire::chat as wire;
use hikyaku_wire::chat::{Digest, Kind, MessageId, RoomRef, Salt, UserId};

use super::kinds::{About, demands};
use super::members::Wish;
use crate::chain::digest;
use crate::limits::{Limits, within};
use crate::member::Author;
use crate::refusal::Refusal;

/// An event somebody wants in the log. What can be judged without the log has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) author: Author,
    pub(crate) id: MessageId,
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
    pub(crate) refs: Vec<u64>,
    pub(crate) mentions: Vec<UserId>,
    pub(crate) expect_last: Option<u64>,
    /// The epoch that `refs` and `expect_last` belong to.
    pub(crate) epoch: Option<u32>,
    pub(crate) salt: Salt,
    /// The change of a membership that the event says.
    pub(crate) wish: Option<Wish>,
}

impl Proposal {
    /// Judges what a member sent, as far as that goes without the log.
    pub(crate) fn from_member(
        send: wire::Send,
        author: Author,
        salt: Salt,
        limits: &Limits,
    ) -> Result<(RoomRef, Self), Refusal> {
        //= S4.17
        if send.sealed.is_some() {
            return Err(Refusal::Unsupported("sealed bodies"));
        }
        if send.signature.is_some() {
            return Err(Refusal::Unsupported("signed events"));
        }
        let demands = demands(send.kind)?;
        if matches!(demands.about, About::One(_)) && send.refs.len() != 1 {
            return Err(Refusal::RefsMissing(send.kind));
        }
        let wire::Send { room, id, kind, body, refs, mentions, expect_last, epoch, .. } = send;
        let proposal =
            Self { author, id, kind, body: body.0, refs, mentions, expect_last, epoch, salt, wish: None };
        proposal.check_size(limits)?;
        demands.body.check(kind, &proposal.body, limits)?;
        Ok((room, proposal))
    }

    /// The event that says of a membership what somebody wants of it.
    pub(crate) fn of_wish(wish: Wish, author: Author, id: MessageId, salt: Salt) -> Result<Self, Refusal> {
        wish.check(author.id)?;
        let said = wire::Membership { user: wish.subject, name: wish.name.clone(), role: wish.becomes() };
        Ok(Self {
            author,
            id,
            kind: wish.kind(),
            body: cbor::encode(&said).into(),
            refs: Vec::new(),
            mentions: Vec::new(),
            expect_last: None,
            epoch: None,
            salt,
            wish: Some(wish),
        })
    }

    /// Judges sizes: the server's own events keep them too.
    //= S4.15
    pub(crate) fn check_size(&self, limits: &Limits) -> Result<(), Refusal> {
        if self.body.len() > limits.body {
            return Err(Refusal::BodyTooLarge { size: self.body.len(), limit: limits.body });
        }
        within("references of an event", self.refs.len(), limits.refs)?;
        within("mentions in an event", self.mentions.len(), limits.mentions)
    }

    /// Whether it changes more than the end of the log. Such an event is decided alone, on what is stored: nothing
    /// that it rests on is in the same commit.
    pub(crate) fn is_alone(&self) -> bool {
        self.wish.is_some()
            || matches!(self.kind, Kind::EDIT | Kind::DELETE | Kind::PIN | Kind::UNPIN | Kind::TOPIC)
    }

    /// The one event it is about, if its kind has one.
    pub(crate) fn target(&self) -> Option<u64> {
        match demands(self.kind) {
            Ok(demands) if matches!(demands.about, About::One(_)) => self.refs.first().copied(),
            _ => None,
        }
    }

    /// Equal for equal content under the same salt.
    pub(crate) fn fingerprint(&self, salt: &Salt) -> Digest {
        fingerprint(&digest(salt, &self.body), self.kind, &self.refs)
    }
}

/// Equal for equal content: from a digest, so that it can be told of an erased body too. Mentions are not compared:
/// whom a text means may depend on who is there when it is said again.
pub(crate) fn fingerprint(body: &Digest, kind: Kind, refs: &[u64]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&body.0);
    hasher.update(&cbor::encode(&(kind, refs, [0_u8; 0])));
    Digest(hasher.finalize().into())
}
