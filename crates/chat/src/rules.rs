//! The rules of the room log, as functions: what a send means, given where the log stands.
//!
//! No I/O, no clock, no randomness: `now`, salts and what is stored are passed in. The caller commits the [`Decision`]
//! in one conditional batch and, if something has moved meanwhile, asks again. Spec: chapter 4, "Sending".

mod erase;
mod kinds;
mod log;
mod members;
mod proposal;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hikyaku_storage::{Key, NewEvent};
use hikyaku_wire::chat::{Envelope, Kind, MessageId, RoomId, Sent, UserId};

pub(crate) use self::erase::Erasure;
use self::kinds::{About, By, Demands, demands};
pub(crate) use self::log::{Log, Marks};
pub(crate) use self::members::{Roles, Wish};
pub(crate) use self::proposal::Proposal;
use crate::event::{Event, compose};
use crate::limits::{Limits, within};
use crate::refusal::Refusal;
use crate::stored::{
    self, MemberRecord, Receipt, RoomRecord, edits_key, member_key, mentions_key, receipt_key, topic_key,
};

/// What somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// May write.
    Member,
    /// May also delete what others wrote, pin, and set the topic.
    Moderator,
    /// The server itself: its events have no author who would need a permission.
    Server,
}

/// Whether it can depend on moderating who may make an event of this kind.
pub(crate) fn asks_for_moderators(kind: Kind) -> bool {
    demands(kind).is_ok_and(|demands| matches!(demands.by, By::Moderators | By::AuthorOrModerators))
}

/// What the store has about the event that a proposal is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The event; `None` if it is not in the store.
    pub(crate) target: Option<Stored>,
    /// What edits it, if that is wanted.
    pub(crate) edits: Vec<Stored>,
    /// Where those are.
    pub(crate) edited_at: Vec<u64>,
    /// For each user mentioned, where they were mentioned before.
    pub(crate) mentioned: Vec<(UserId, Vec<u64>)>,
    /// What those are whom a change of membership concerns.
    pub(crate) roles: Roles,
}

/// An event as it is stored, and the receipt of its sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) record: Bytes,
    pub(crate) receipt: Option<Receipt>,
}

/// A proposal and what was found out about it.
#[derive(Clone, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) proposal: &'a Proposal,
    /// What became of the same author's message with the same id, where it is known.
    pub(crate) known: Option<Receipt>,
    /// What the author is in the room, or why they may not write there.
    pub(crate) standing: Result<Standing, Refusal>,
    /// What is stored about the event it is about.
    pub(crate) facts: Facts,
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
    /// Keys to write or delete. Nobody else writes them: that the log is as it was read covers them.
    pub(crate) puts: Vec<(Key, Option<Bytes>)>,
    /// Records to replace.
    pub(crate) erasures: Vec<Erasure>,
    /// Who was mentioned, and where by now.
    pub(crate) mentioned: HashMap<UserId, Vec<u64>>,
    /// The room's record, if it changes.
    pub(crate) record: Option<RoomRecord>,
    /// The log afterwards.
    pub(crate) log: Log,
}

impl Decision {
    /// Keys to write or delete, for what is not covered by a version of their own.
    pub(crate) fn puts(&self) -> impl Iterator<Item = (Key, Option<Bytes>)> + '_ {
        let mentioned = self.mentioned.iter();
        let mentioned =
            mentioned.map(|(user, at)| (mentions_key(self.log.room, *user), Some(stored::encode(at))));
        self.puts.iter().cloned().chain(mentioned)
    }
}

/// Decides about sends in the order they came.
pub(crate) fn decide<'a>(
    log: &Log,
    record: &RoomRecord,
    cases: impl IntoIterator<Item = Case<'a>>,
    limits: &Limits,
    now_ms: u64,
) -> Decision {
    let mut deciding = Deciding {
        decision: Decision {
            verdicts: Vec::new(),
            events: Vec::new(),
            receipts: Vec::new(),
            puts: Vec::new(),
            erasures: Vec::new(),
            mentioned: HashMap::new(),
            record: None,
            log: log.clone(),
        },
        record,
        here: HashMap::new(),
        new: HashMap::new(),
        limits,
        now_ms,
    };
    for case in cases {
        let verdict = deciding.case(case);
        deciding.decision.verdicts.push(verdict);
    }
    deciding.decision
}

struct Deciding<'a> {
    decision: Decision,
    record: &'a RoomRecord,
    /// Messages that this very decision appends.
    here: HashMap<(UserId, MessageId), Receipt>,
    /// Their kinds and authors, by sequence number.
    new: HashMap<u64, (Kind, UserId)>,
    limits: &'a Limits,
    now_ms: u64,
}

impl Deciding<'_> {
    fn case(&mut self, case: Case<'_>) -> Result<Sent, Refusal> {
        let Case { proposal, known, standing, facts } = case;
        let id = (proposal.author.id, proposal.id);
        // Known before anything else: a repeated send gets the answer of the first, whatever has happened since.
        //= S4.32
        if let Some(receipt) = known.as_ref().or_else(|| self.here.get(&id)) {
            return repeat(self.decision.log.room, proposal, receipt);
        }
        let standing = standing?;
        self.check_place(proposal)?;
        if let Ok(demands) = demands(proposal.kind) {
            self.check_demands(demands, proposal, standing, &facts)?;
        }
        self.change(proposal, &facts)?;
        self.change_member(proposal, &facts)?;
        self.mention(proposal, facts);
        Ok(self.append(proposal))
    }

    /// What an event changes about who belongs to the room.
    fn change_member(&mut self, proposal: &Proposal, facts: &Facts) -> Result<(), Refusal> {
        let Some(wish) = &proposal.wish else { return Ok(()) };
        let record = wish.apply(facts.roles, proposal.author.id, self.record, self.limits)?;
        let member = wish.becomes().map(|role| {
            let since_ms = self.decision.log.ts_ms.max(self.now_ms);
            stored::encode(&MemberRecord { role, name: wish.name.clone(), since_ms })
        });
        self.decision.puts.push((member_key(self.decision.log.room, wish.subject), member));
        self.decision.record = Some(record);
        Ok(())
    }

    /// Who is mentioned finds it among their newest mentions.
    //= S4.92
    fn mention(&mut self, proposal: &Proposal, facts: Facts) {
        let next = self.decision.log.last + 1;
        for (user, before) in facts.mentioned {
            if user != proposal.author.id {
                let at = self.decision.mentioned.entry(user).or_insert(before);
                at.push(next);
                at.drain(..at.len().saturating_sub(self.limits.mentioned.max(1)));
            }
        }
    }

    /// Whether the numbers it names mean what the author thinks.
    fn check_place(&self, proposal: &Proposal) -> Result<(), Refusal> {
        let Log { epoch, first, last, .. } = self.decision.log;
        //= S4.19
        if proposal.epoch.is_some_and(|meant| meant != epoch) {
            return Err(Refusal::Rewound { epoch, last });
        }
        //= S4.35
        if let Some(expected) = proposal.expect_last.filter(|expected| *expected != last) {
            return Err(Refusal::Moved { expected, last });
        }
        //= S4.16
        for &seq in &proposal.refs {
            if !(1..=last).contains(&seq) {
                return Err(Refusal::RefUnknown { seq, last });
            }
            if seq < first {
                return Err(Refusal::RefTrimmed { seq, first });
            }
        }
        Ok(())
    }

    /// Whether the author may do this to the event it is about.
    fn check_demands(
        &self,
        demands: Demands,
        proposal: &Proposal,
        standing: Standing,
        facts: &Facts,
    ) -> Result<(), Refusal> {
        //= S4.27
        let (kind, moderates) = (proposal.kind, standing >= Standing::Moderator);
        let mut own = false;
        if let (About::One(suits), Some(&seq)) = (demands.about, proposal.refs.first()) {
            let (target, author) = self.target(seq, facts)?;
            if !suits(target) {
                return Err(Refusal::RefKind { kind, target });
            }
            own = author == proposal.author.id;
        }
        //= S4.26
        match demands.by {
            By::Author if !own => Err(Refusal::Denied("edit what others wrote")),
            By::AuthorOrModerators if !own && !moderates => Err(Refusal::Denied("delete what others wrote")),
            By::Moderators if !moderates && kind == Kind::TOPIC => {
                Err(Refusal::Denied("set the topic of this room; its moderators may"))
            }
            By::Moderators if !moderates => Err(Refusal::Denied("pin in this room; its moderators may")),
            _ => Ok(()),
        }
    }

    /// Kind and author of the event in question, as long as it was not erased.
    fn target(&self, seq: u64, facts: &Facts) -> Result<(Kind, UserId), Refusal> {
        if let Some(new) = self.new.get(&seq) {
            return Ok(*new);
        }
        let stored = facts.target.as_ref().filter(|stored| stored.seq == seq).ok_or(Refusal::Corrupt)?;
        let event = Event::from_record(&stored.record).map_err(|_| Refusal::Corrupt)?;
        match event.body {
            Some(_) => Ok((event.envelope.kind, event.envelope.author)),
            None => Err(Refusal::RefErased { seq }),
        }
    }

    /// What an event changes besides the end of the log.
    //= S4.28
    fn change(&mut self, proposal: &Proposal, facts: &Facts) -> Result<(), Refusal> {
        let (room, next) = (self.decision.log.room, self.decision.log.last + 1);
        let Some(target) = proposal.refs.first().copied().or((proposal.kind == Kind::TOPIC).then_some(next))
        else {
            return Ok(());
        };
        let mut marks = Marks::clone(&self.decision.log.marks);
        match proposal.kind {
            Kind::TOPIC => {
                marks.topic = next;
                self.decision.puts.push((topic_key(room), Some(proposal.body.clone())));
            }
            Kind::EDIT => {
                within("edits of one event", facts.edited_at.len() + 1, self.limits.edits)?;
                let edits: Vec<u64> = facts.edited_at.iter().copied().chain([next]).collect();
                self.decision.puts.push((edits_key(room, target), Some(stored::encode(&edits))));
            }
            Kind::DELETE => {
                erase::erase_all(&mut self.decision, target, facts)?;
                marks.pins.retain(|pin| *pin != target);
                if marks.topic == target {
                    marks.topic = 0;
                    self.decision.puts.push((topic_key(room), None));
                }
            }
            Kind::PIN if marks.pins.contains(&target) => return Err(Refusal::Pinned { seq: target }),
            Kind::PIN => {
                marks.pins.push(target);
                within("pinned events of a room", marks.pins.len(), self.limits.pins)?;
            }
            Kind::UNPIN if !marks.pins.contains(&target) => {
                return Err(Refusal::NotPinned { seq: target });
            }
            Kind::UNPIN => marks.pins.retain(|pin| *pin != target),
            _ => return Ok(()),
        }
        if marks != *self.decision.log.marks {
            self.decision.log.marks = Arc::new(marks);
        }
        Ok(())
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
        self.new.insert(log.last, (proposal.kind, proposal.author.id));
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
