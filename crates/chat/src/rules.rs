//! The rules of the room log, as functions: what a send means, given where the log stands.
//!
//! No I/O, no clock, no randomness: `now` and salts are passed in. The caller commits the [`Decision`] in one
//! conditional batch and, if something has moved meanwhile, asks again. Spec: chapter 4, "Sending".

use std::collections::HashMap;

use bytes::Bytes;
use hikyaku_storage::{Head as StoredHead, Key, NewEvent};
use hikyaku_wire::cbor;
use hikyaku_wire::chat as wire;
use hikyaku_wire::chat::{Digest, Envelope, Kind, MessageId, RoomId, RoomRef, Salt, Sent, UserId};

use crate::chain::{Chain, digest};
use crate::event::compose;
use crate::limits::{Limits, within};
use crate::member::Author;
use crate::refusal::Refusal;
use crate::stored::{self, Receipt, State, receipt_key};

/// Where a room's log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) room: RoomId,
    pub(crate) epoch: u32,
    /// The first event still there; `last + 1` if there is none.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) ts_ms: u64,
    pub(crate) count: u64,
    pub(crate) chain: Chain,
}

impl Log {
    /// The log of a room nobody has written in.
    pub(crate) fn empty(room: RoomId) -> Self {
        Self { room, epoch: 1, first: 1, last: 0, ts_ms: 0, count: 0, chain: Chain::genesis(room) }
    }

    /// From what the store says.
    pub(crate) fn read(room: RoomId, head: Option<&StoredHead>) -> Result<Self, Refusal> {
        let Some(head) = head else { return Ok(Self::empty(room)) };
        let state: State = stored::decode(&head.state)?;
        Ok(Self {
            room,
            epoch: head.epoch,
            first: head.first,
            last: head.last,
            ts_ms: head.last_ts,
            count: state.count,
            chain: Chain(state.chain),
        })
    }

    /// What the store is to keep in the head.
    pub(crate) fn state(&self) -> Bytes {
        stored::encode(&State { chain: self.chain.0, count: self.count })
    }

    /// What readers are told.
    pub(crate) fn head(&self, rewound: Option<u64>) -> wire::Head {
        wire::Head {
            room: self.room,
            epoch: self.epoch,
            first: self.first,
            last: self.last,
            count: self.count,
            ts_ms: self.ts_ms,
            chain: self.chain.0,
            rewound,
        }
    }

    /// Whether `other` is the same log at a later moment, or this one.
    pub(crate) fn is_not_after(&self, other: &Log) -> bool {
        (self.epoch, self.last, self.first) <= (other.epoch, other.last, other.first)
    }
}

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
    pub(crate) salt: Salt,
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
        check_kind(send.kind, send.refs.len())?;
        let wire::Send { room, id, kind, body, refs, mentions, expect_last, .. } = send;
        let proposal = Self { author, id, kind, body: body.0, refs, mentions, expect_last, salt };
        proposal.check_size(limits)?;
        Ok((room, proposal))
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

    /// Equal for equal content under the same salt.
    fn fingerprint(&self, salt: &Salt) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&digest(salt, &self.body).0);
        hasher.update(&cbor::encode(&(self.kind, &self.refs, &self.mentions)));
        Digest(hasher.finalize().into())
    }
}

/// Which kinds members may send in this version.
//= S4.14
fn check_kind(kind: Kind, refs: usize) -> Result<(), Refusal> {
    match kind {
        Kind::MESSAGE | Kind::TOPIC => Ok(()),
        Kind::REPLY if refs == 1 => Ok(()),
        Kind::REPLY => Err(Refusal::RefsMissing(kind)),
        Kind(number) if wire::RESERVED_FOR_THE_SERVER.contains(&number) => Err(Refusal::KindReserved(kind)),
        Kind(number) if number > *wire::RESERVED_FOR_THE_SERVER.end() => Ok(()),
        _ => Err(Refusal::KindUnsupported(kind)),
    }
}

/// A proposal and what was found out about it.
#[derive(Clone, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) proposal: &'a Proposal,
    /// What became of the same author's message with the same id, where it is known.
    pub(crate) known: Option<Receipt>,
    /// The answer to whether the author may.
    pub(crate) permit: Result<(), Refusal>,
}

/// What is to be answered and, before that, to be committed.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// One for each case, in order.
    pub(crate) verdicts: Vec<Result<Sent, Refusal>>,
    /// The events to append.
    pub(crate) events: Vec<NewEvent>,
    /// Keys that must be absent, and what to write there.
    pub(crate) receipts: Vec<(Key, Bytes)>,
    /// The log afterwards.
    pub(crate) log: Log,
}

/// Decides about sends in the order they came.
pub(crate) fn decide<'a>(log: &Log, cases: impl IntoIterator<Item = Case<'a>>, now_ms: u64) -> Decision {
    let mut deciding = Deciding {
        decision: Decision {
            verdicts: Vec::new(),
            events: Vec::new(),
            receipts: Vec::new(),
            log: log.clone(),
        },
        here: HashMap::new(),
        now_ms,
    };
    for case in cases {
        let verdict = deciding.case(case);
        deciding.decision.verdicts.push(verdict);
    }
    deciding.decision
}

struct Deciding {
    decision: Decision,
    /// Messages that this very decision appends.
    here: HashMap<(UserId, MessageId), Receipt>,
    now_ms: u64,
}

impl Deciding {
    fn case(&mut self, case: Case<'_>) -> Result<Sent, Refusal> {
        let proposal = case.proposal;
        let id = (proposal.author.id, proposal.id);
        // Known before anything else: a repeated send gets the answer of the first, whatever has happened since.
        //= S4.32
        if let Some(receipt) = case.known.as_ref().or_else(|| self.here.get(&id)) {
            return repeat(self.decision.log.room, proposal, receipt);
        }
        case.permit?;
        let last = self.decision.log.last;
        //= S4.35
        if let Some(expected) = proposal.expect_last.filter(|expected| *expected != last) {
            return Err(Refusal::Moved { expected, last });
        }
        //= S4.16
        if let Some(&seq) = proposal.refs.iter().find(|seq| !(1..=last).contains(*seq)) {
            return Err(Refusal::RefUnknown { seq, last });
        }
        Ok(self.append(proposal))
    }

    //= S4.10
    //= S4.11
    //= S4.12
    //= S4.13
    fn append(&mut self, proposal: &Proposal) -> Sent {
        let log = &mut self.decision.log;
        log.last += 1;
        log.ts_ms = log.ts_ms.max(self.now_ms);
        log.count += u64::from(proposal.kind.counts());
        let envelope = Envelope {
            kind: proposal.kind,
            author: proposal.author.id,
            name: proposal.author.name.clone(),
            device: proposal.author.device,
            id: proposal.id,
            ts_ms: log.ts_ms,
            count: log.count,
            refs: proposal.refs.clone(),
            mentions: proposal.mentions.clone(),
            sealed: None,
        };
        let (record, chain) = compose(&envelope, proposal.salt, &proposal.body, log.chain);
        log.chain = chain;
        let receipt = Receipt {
            epoch: log.epoch,
            seq: log.last,
            ts_ms: log.ts_ms,
            salt: Some(proposal.salt),
            fingerprint: proposal.fingerprint(&proposal.salt),
        };
        let sent = sent(log.room, &receipt, false);
        let key = receipt_key(log.room, proposal.author.id, proposal.id);
        self.decision.events.push(NewEvent { ts_ms: log.ts_ms, record });
        self.decision.receipts.push((key, stored::encode(&receipt)));
        self.here.insert((proposal.author.id, proposal.id), receipt);
        sent
    }
}

//= S4.32
//= S4.33
fn repeat(room: RoomId, proposal: &Proposal, receipt: &Receipt) -> Result<Sent, Refusal> {
    // Without the salt the body was erased: nothing is left to compare, and it is the author who asks.
    match receipt.salt {
        Some(salt) if proposal.fingerprint(&salt) != receipt.fingerprint => {
            Err(Refusal::IdReused { seq: receipt.seq })
        }
        _ => Ok(sent(room, receipt, true)),
    }
}

fn sent(room: RoomId, receipt: &Receipt, duplicate: bool) -> Sent {
    Sent { room, epoch: receipt.epoch, seq: receipt.seq, ts_ms: receipt.ts_ms, duplicate }
}

#[cfg(test)]
mod tests;
