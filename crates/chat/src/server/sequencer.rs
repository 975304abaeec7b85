//! One sequencer per room: it gives sends their place, many with one commit.
//!
//! While a commit runs, further sends wait in the room's queue; the next commit takes them all. There is a task only
//! while there is something to commit. A send is answered after the commit that holds it, never before, and readers
//! learn of it after that commit, too. Spec: chapter 4, "Sending".

use std::collections::BTreeMap;
use std::sync::Arc;

use hikyaku_storage::{Append, Batch, Conflict, Guard, Key, Replace, StoreError};
use hikyaku_wire::chat::Sent;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::chain_at;
use super::core::Core;
use super::ring::Chunk;
use super::room::{LiveRoom, News, Unseen, Versioned};
use crate::member::{Ask, Member, Operation, Permit};
use crate::refusal::Refusal;
use crate::rules::{Case, Decision, Erasure, Log, Proposal, Standing, decide};
use crate::stored::{self, Receipt, receipt_key, room_key, store_room};

/// A send in the queue.
pub(crate) struct Waiting {
    pub(crate) proposal: Proposal,
    /// Who is asked whether the author may; `None` for what the server itself does.
    pub(crate) member: Option<Arc<dyn Member>>,
    pub(crate) answer: oneshot::Sender<Result<Sent, Refusal>>,
    /// Its share of the bytes that may wait.
    pub(crate) bytes: OwnedSemaphorePermit,
}

/// The answer to a send, once it is there.
pub(crate) type Pending = oneshot::Receiver<Result<Sent, Refusal>>;

impl Core {
    /// Puts a send into its room's queue; sends of one caller keep their order. Waits while too many bytes wait.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        room: Arc<LiveRoom>,
        proposal: Proposal,
        member: Option<Arc<dyn Member>>,
    ) -> Result<Pending, Refusal> {
        let weight = u32::try_from(proposal.body.len().max(1)).unwrap_or(u32::MAX);
        let bytes =
            self.bytes_waiting.clone().acquire_many_owned(weight).await.map_err(|_| Refusal::Stopping)?;
        let (answer, pending) = oneshot::channel();
        let start = {
            let mut queue = room.queue();
            let (waiting, limit) = (queue.waiting.len(), self.limits.sends_waiting);
            if waiting >= limit {
                return Err(Refusal::Busy { waiting, limit });
            }
            queue.waiting.push_back(Waiting { proposal, member, answer, bytes });
            !std::mem::replace(&mut queue.committing, true)
        };
        if start {
            let core = self.clone();
            tokio::spawn(async move { core.commit_all(&room).await });
        }
        Ok(pending)
    }

    /// Commits until nothing waits. Before each commit everybody has a turn who is ready to send: what they say comes into
    /// the same one.
    async fn commit_all(&self, room: &LiveRoom) {
        let _committing = Committing(room);
        tokio::task::yield_now().await;
        while let Some(batch) = self.next_batch(room) {
            self.commit(room, batch).await;
            if !room.queue().waiting.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// What goes into the next commit; `None` ends the task, decided under the lock that senders take.
    fn next_batch(&self, room: &LiveRoom) -> Option<Vec<Waiting>> {
        let mut queue = room.queue();
        let mut bytes = 0;
        let fitting = queue.waiting.iter().take(self.limits.commit_events.max(1)).take_while(|waiting| {
            bytes += waiting.proposal.body.len();
            bytes <= self.limits.commit_bytes && !waiting.proposal.is_alone()
        });
        let count = fitting.count().max(1).min(queue.waiting.len());
        if count == 0 {
            queue.committing = false;
            return None;
        }
        Some(queue.waiting.drain(..count).collect())
    }

    async fn commit(&self, room: &LiveRoom, batch: Vec<Waiting>) {
        match self.place(room, &batch).await {
            Ok((verdicts, unseen)) => {
                for (waiting, verdict) in batch.into_iter().zip(verdicts) {
                    drop(waiting.bytes);
                    // Whoever does not wait any more asks again with the same id.
                    let _ = waiting.answer.send(verdict);
                }
                // After the answers: an author who reads the room too has answer and event in one write.
                if let Some(unseen) = unseen {
                    room.show(&unseen);
                }
            }
            Err(refusal) => {
                for waiting in batch {
                    let _ = waiting.answer.send(Err(refusal.clone()));
                }
            }
        }
    }

    /// Decides and commits until nothing has moved in between. What readers are still to be shown comes with the verdicts.
    ///
    /// The first attempt rests on what is remembered and assumes that no message was sent before; the commit checks
    /// that. Anything else than "all of them are new" is decided again with everything read.
    //= S4.30
    //= S4.34
    async fn place(
        &self,
        room: &LiveRoom,
        batch: &[Waiting],
    ) -> Result<(Vec<Result<Sent, Refusal>>, Option<Unseen>), Refusal> {
        let mut fresh = false;
        for _ in 0..self.limits.commit_attempts {
            if fresh {
                self.refresh(room).await?;
            }
            let (record, log) = (room.record(), room.log());
            let mut checks = Checks::default();
            let standings = self.standings(&record, batch, fresh, &mut checks).await;
            let known = if fresh { self.known(room, batch).await? } else { vec![None; batch.len()] };
            let mut cases = Vec::with_capacity(batch.len());
            for ((waiting, standing), known) in batch.iter().zip(standings).zip(known) {
                let mut facts = self.facts(&log, &waiting.proposal).await?;
                let mut standing = standing;
                if let Some(wish) = &waiting.proposal.wish {
                    let member = waiting.member.as_deref();
                    match self.roles(member, &record, wish, fresh, &mut checks).await {
                        Ok(roles) => facts.roles = roles,
                        Err(refusal) => standing = Err(refusal),
                    }
                }
                cases.push(Case { proposal: &waiting.proposal, known, standing, facts });
            }
            let decision = decide(&log, &record.record, cases, &self.limits, self.now_ms());
            if !fresh && decision.verdicts.iter().any(Result::is_err) {
                fresh = true;
                continue;
            }
            if decision.events.is_empty() {
                return Ok((decision.verdicts, None));
            }
            let Some(checks) = checks.into_consistent() else {
                fresh = true;
                continue;
            };
            match self.store.commit(store_batch(&log, &record, checks, &decision)).await {
                Ok(committed) => {
                    let unseen = room.publish(news(&log, &decision, committed.version), &self.limits);
                    return Ok((decision.verdicts, Some(unseen)));
                }
                Err(StoreError::Conflict(conflict)) => {
                    log_conflict(&conflict);
                    fresh = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Contended)
    }

    /// Asks what each author is in the room; neighbours of one member and kind share the answer.
    async fn standings(
        &self,
        record: &Versioned,
        batch: &[Waiting],
        fresh: bool,
        checks: &mut Checks,
    ) -> Vec<Result<Standing, Refusal>> {
        let mut answers: Vec<Result<Standing, Refusal>> = Vec::with_capacity(batch.len());
        let mut previous: Option<&Waiting> = None;
        for waiting in batch {
            let answer = match (&waiting.member, previous.filter(|previous| same_question(previous, waiting)))
            {
                (None, _) => Ok(Standing::Server),
                (Some(_), Some(_)) => answers.last().cloned().unwrap_or(Err(Refusal::Stopping)),
                // What somebody may do about members is asked of the rules for members.
                (Some(member), None) if waiting.proposal.wish.is_some() => {
                    let operation = Operation::Append(waiting.proposal.kind);
                    let ask = Ask { operation, room: Some(record.room), fresh };
                    member.permit(ask).await.map(|permit| {
                        checks.add(permit);
                        Standing::Member
                    })
                }
                (Some(member), None) => {
                    self.standing(&**member, record, waiting.proposal.kind, fresh, checks).await
                }
            };
            answers.push(answer);
            previous = Some(waiting);
        }
        answers
    }

    /// What became of messages with these ids.
    async fn known(&self, room: &LiveRoom, batch: &[Waiting]) -> Result<Vec<Option<Receipt>>, Refusal> {
        let keys =
            batch.iter().map(|waiting| receipt_key(room.id, waiting.proposal.author.id, waiting.proposal.id));
        let found = self.store.get_many(keys.collect()).await?;
        found.into_iter().map(|found| found.map(|found| stored::decode(&found.value)).transpose()).collect()
    }
}

fn same_question(one: &Waiting, other: &Waiting) -> bool {
    let same_member = match (&one.member, &other.member) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    };
    same_member && one.proposal.kind == other.proposal.kind
}

/// What readers learn from a decision that was committed.
fn news(before: &Log, decision: &Decision, version: u64) -> News {
    let records = decision.events.iter().map(|event| &event.record);
    let record = decision.record.clone();
    News {
        log: decision.log.clone(),
        chunk: Chunk::new(before.last + 1, records),
        erases: !decision.erasures.is_empty(),
        record: record.map(|record| Versioned::new(before.room, version, record)),
        mentioned: decision.mentioned.keys().copied().collect(),
    }
}

/// Appending, remembering the ids and checking everything the decision rests on: one transaction.
//= S4.37
fn store_batch(log: &Log, record: &Versioned, permissions: BTreeMap<Key, u64>, decision: &Decision) -> Batch {
    let room = store_room(log.room);
    let mut batch = Batch::new().check(room_key(log.room), record.version);
    for (key, version) in permissions {
        if key != room_key(log.room) {
            batch = batch.check(key, version);
        }
    }
    for (key, receipt) in &decision.receipts {
        batch = batch.check(key.clone(), 0).put(key.clone(), receipt.clone());
    }
    if let Some((key, value)) = chain_at::kept(log, decision) {
        batch = batch.put(key, value);
    }
    if let Some(record) = &decision.record {
        batch = batch.put(room_key(log.room), stored::encode(record));
    }
    for (key, value) in decision.puts() {
        batch = match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        };
    }
    for Erasure { seq, before, after } in &decision.erasures {
        let (epoch, seq, expect, record) = (log.epoch_of(*seq), *seq, before.clone(), after.clone());
        batch = batch.replace(Replace { room, epoch, seq, expect, record });
    }
    let guard = Guard { epoch: log.epoch, expect_last: log.last };
    let (events, state) = (decision.events.clone(), decision.log.state());
    batch.append(Append { room, guard, events, state })
}

/// The keys that permissions rest on.
#[derive(Default)]
pub(crate) struct Checks {
    keys: BTreeMap<Key, u64>,
    contradiction: bool,
}

impl Checks {
    pub(crate) fn add(&mut self, permit: Permit) {
        for (key, version) in permit.checks {
            let before = *self.keys.entry(key).or_insert(version);
            self.contradiction |= before != version;
        }
    }

    /// `None` if two permits rest on different versions of one key: one of them is old.
    fn into_consistent(self) -> Option<BTreeMap<Key, u64>> {
        (!self.contradiction).then_some(self.keys)
    }
}

fn log_conflict(conflict: &Conflict) {
    tracing::debug!(%conflict, "deciding again");
}

/// Should the task end in a panic or with its runtime, the next send starts another, and those that wait are told.
struct Committing<'a>(&'a LiveRoom);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        if std::thread::panicking() {
            queue.committing = false;
            queue.waiting.clear();
        }
    }
}
