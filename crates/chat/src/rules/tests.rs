//! The rules against a model: a list of messages and nothing else.

mod kinds;
mod members;

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::chain::Chain;
use crate::event::Event;
use crate::member::Author;
use hikyaku_wire::chat as wire;
use hikyaku_wire::chat::{DeviceId, Salt};

const ROOM: RoomId = RoomId([7; 16]);

fn author(n: u8) -> Author {
    Author { id: UserId([n; 16]), name: format!("user {n}"), device: DeviceId([n; 32]) }
}

fn proposal(user: u8, id: u8, body: &str) -> Proposal {
    Proposal {
        author: author(user),
        id: MessageId([id; 16]),
        kind: Kind::MESSAGE,
        body: Bytes::copy_from_slice(body.as_bytes()),
        refs: Vec::new(),
        mentions: Vec::new(),
        expect_last: None,
        epoch: None,
        salt: Salt([user ^ id; 16]),
        wish: None,
    }
}

fn open_room() -> RoomRecord {
    RoomRecord {
        name: "ops".to_owned(),
        creator: UserId([0; 16]),
        created_ms: 0,
        trimmed: None,
        private: false,
        members: 1,
        owners: 1,
        retention: None,
    }
}

fn new(proposal: &Proposal) -> Case<'_> {
    Case { proposal, known: None, standing: Ok(Standing::Member), facts: Facts::default() }
}

fn decide_one(log: &Log, proposal: &Proposal) -> Result<Sent, Refusal> {
    decide(log, &open_room(), [new(proposal)], &Limits::default(), 1).verdicts.remove(0)
}

/// A store of the simplest kind: what decisions say, kept.
#[derive(Default)]
struct Kept {
    log: Option<Log>,
    receipts: HashMap<Key, Receipt>,
    keys: HashMap<Key, Bytes>,
    events: Vec<NewEvent>,
}

impl Kept {
    fn log(&self) -> Log {
        self.log.clone().unwrap_or_else(|| Log::empty(ROOM))
    }

    fn send(&mut self, proposals: &[Proposal], now_ms: u64) -> Vec<Result<Sent, Refusal>> {
        self.send_as(proposals, Standing::Member, now_ms)
    }

    fn send_as(
        &mut self,
        proposals: &[Proposal],
        standing: Standing,
        now_ms: u64,
    ) -> Vec<Result<Sent, Refusal>> {
        let cases = proposals.iter().map(|proposal| Case {
            known: self.receipts.get(&receipt_key(ROOM, proposal.author.id, proposal.id)).cloned(),
            standing: Ok(standing),
            facts: self.facts(proposal),
            ..new(proposal)
        });
        let decision = decide(&self.log(), &open_room(), cases, &Limits::default(), now_ms);
        for (key, value) in decision.receipts.clone() {
            let before = self.receipts.insert(key, stored::decode(&value).unwrap());
            assert_eq!(before, None, "a receipt is written once");
        }
        for (key, value) in decision.puts() {
            match (key.as_bytes().starts_with(b"m/"), value) {
                (true, Some(value)) => {
                    self.receipts.insert(key, stored::decode(&value).unwrap());
                }
                (_, Some(value)) => {
                    self.keys.insert(key, value);
                }
                (_, None) => {
                    self.keys.remove(&key);
                }
            }
        }
        for erasure in decision.erasures {
            let event = &mut self.events[erasure.seq as usize - 1];
            assert_eq!(event.record, erasure.before);
            event.record = erasure.after;
        }
        self.events.extend(decision.events);
        self.log = Some(decision.log);
        decision.verdicts
    }

    fn facts(&self, proposal: &Proposal) -> Facts {
        let Some(seq) = proposal.target() else { return Facts::default() };
        let edits = self.keys.get(&edits_key(ROOM, seq));
        let edited_at: Vec<u64> = edits.map_or(Vec::new(), |edits| stored::decode(edits).unwrap());
        let edits = edited_at.iter().filter_map(|edit| self.stored(*edit)).collect();
        Facts { target: self.stored(seq), edits, edited_at, ..Facts::default() }
    }

    fn stored(&self, seq: u64) -> Option<Stored> {
        let record = self.events.get(usize::try_from(seq).ok()?.checked_sub(1)?)?.record.clone();
        let envelope = Event::from_record(&record).unwrap().envelope;
        let receipt = self.receipts.get(&receipt_key(ROOM, envelope.author, envelope.id)).cloned();
        Some(Stored { seq, record, receipt })
    }

    fn event(&self, seq: u64) -> Event {
        Event::from_record(&self.events[seq as usize - 1].record).unwrap()
    }

    /// The chain as whoever reads the events computes it.
    fn chain(&self) -> Chain {
        let link = |chain, event: &NewEvent| Event::from_record(&event.record).unwrap().link(chain);
        self.events.iter().fold(Chain::genesis(ROOM), link)
    }
}

/// Few users, ids and bodies, so that repetitions happen.
fn proposals() -> impl Strategy<Value = Vec<Vec<Proposal>>> {
    let one = (0u8..3, 0u8..12, "[ab]", prop::option::of(0u64..6), prop::bool::weighted(0.2)).prop_map(
        |(user, id, body, expect_last, reply)| Proposal {
            expect_last: expect_last.filter(|_| id % 3 == 0),
            kind: if reply { Kind::REPLY } else { Kind::MESSAGE },
            refs: if reply { vec![u64::from(id % 5)] } else { Vec::new() },
            ..proposal(user, id, &body)
        },
    );
    prop::collection::vec(prop::collection::vec(one, 1..6), 1..20)
}

proptest! {
    //= S4.10 (test)
    #[test]
    fn sequence_numbers_are_dense_from_one_whatever_is_sent(batches in proposals()) {
        let mut kept = Kept::default();
        let mut given = Vec::new();
        for batch in &batches {
            for sent in kept.send(batch, 5).into_iter().flatten() {
                if !sent.duplicate {
                    given.push(sent.seq);
                }
            }
        }
        let expected: Vec<u64> = (1..=given.len() as u64).collect();
        prop_assert_eq!(&given, &expected);
        prop_assert_eq!(kept.events.len(), given.len());
        prop_assert_eq!(kept.log().last, given.len() as u64);
    }

    //= S4.32 (test)
    //= S4.33 (test)
    #[test]
    fn one_id_of_one_author_is_one_event_for_ever(batches in proposals()) {
        let mut kept = Kept::default();
        let mut first: HashMap<(UserId, MessageId), (Sent, Proposal)> = HashMap::new();
        for batch in &batches {
            let verdicts = kept.send(batch, 5);
            for (proposal, verdict) in batch.iter().zip(verdicts) {
                let id = (proposal.author.id, proposal.id);
                match first.get(&id) {
                    None => if let Ok(sent) = verdict {
                        prop_assert!(!sent.duplicate);
                        first.insert(id, (sent, proposal.clone()));
                    },
                    Some((sent, before)) => {
                        let same = (before.kind, &before.body, &before.refs)
                            == (proposal.kind, &proposal.body, &proposal.refs);
                        let expected = if same { Ok(Sent { duplicate: true, ..sent.clone() }) }
                            else { Err(Refusal::IdReused { seq: sent.seq }) };
                        prop_assert_eq!(verdict, expected);
                    }
                }
            }
        }
    }

    //= S4.12 (test)
    #[test]
    fn time_never_falls_though_the_clock_does(clocks in prop::collection::vec(0u64..100, 1..30)) {
        let mut kept = Kept::default();
        let (mut previous, mut highest) = (0, 0);
        for (n, now) in clocks.into_iter().enumerate() {
            highest = highest.max(now);
            let sent = kept.send(&[proposal(1, n as u8, "x")], now).remove(0).unwrap();
            prop_assert!(sent.ts_ms >= previous);
            prop_assert_eq!(sent.ts_ms, highest);
            previous = sent.ts_ms;
        }
    }

    //= S4.11 (test)
    //= S4.13 (test)
    #[test]
    fn the_log_in_batches_is_the_log_one_by_one(batches in proposals()) {
        let (mut together, mut apart) = (Kept::default(), Kept::default());
        for batch in &batches {
            together.send(batch, 5);
            for one in batch {
                apart.send(std::slice::from_ref(one), 5);
            }
        }
        prop_assert_eq!(&together.events, &apart.events);
        prop_assert_eq!(together.log(), apart.log());
        let (mut chain, mut count) = (Chain::genesis(ROOM), 0);
        for event in &together.events {
            let event = Event::from_record(&event.record).unwrap();
            chain = event.link(chain);
            count += u64::from(event.envelope.kind.counts());
            prop_assert_eq!(event.envelope.count, count);
        }
        prop_assert_eq!(chain, together.log().chain, "the chain is recomputed by whoever reads the events");
    }
}

//= S4.35 (test)
#[test]
fn expect_last_holds_within_a_batch_too() {
    let log = Log { last: 4, ..Log::empty(ROOM) };
    let expecting = |id, last| Proposal { expect_last: Some(last), ..proposal(1, id, "x") };
    let (one, two, three, four) = (expecting(1, 4), expecting(2, 4), expecting(3, 5), expecting(4, 9));
    let cases = [new(&one), new(&two), new(&three), new(&four)];
    let verdicts = decide(&log, &open_room(), cases, &Limits::default(), 1).verdicts;
    assert_eq!(verdicts[0].as_ref().map(|sent| sent.seq), Ok(5));
    assert_eq!(verdicts[1], Err(Refusal::Moved { expected: 4, last: 5 }));
    assert_eq!(verdicts[2].as_ref().map(|sent| sent.seq), Ok(6));
    assert_eq!(
        verdicts[3],
        Err(Refusal::Moved { expected: 9, last: 6 }),
        "what is still to come is not there"
    );
}

//= S4.33 (test)
#[test]
fn an_id_used_again_for_another_kind_or_other_references_is_refused() {
    let mut kept = Kept::default();
    kept.send(&[proposal(1, 1, "x"), proposal(1, 2, "y")], 1);
    let again = proposal(1, 2, "y");
    let kind = Proposal { kind: Kind(0x80), ..again.clone() };
    let refs = Proposal { refs: vec![1], ..again.clone() };
    for other in [kind, refs] {
        assert_eq!(kept.send(&[other], 1).remove(0), Err(Refusal::IdReused { seq: 2 }));
    }
    // Whom a text means may depend on who is there when it is said again.
    let mentions = Proposal { mentions: vec![UserId([3; 16])], ..again };
    assert_eq!(kept.send(&[mentions], 1).remove(0).map(|sent| (sent.seq, sent.duplicate)), Ok((2, true)));
}

//= S4.43 (test)
#[test]
fn a_reader_keeps_what_no_epoch_since_its_own_has_replaced() {
    let epochs = |epochs: &[(u32, u64)]| {
        let epoch = epochs.last().map_or(1, |(epoch, _)| *epoch);
        Log { epoch, last: 20, epochs: Arc::new(epochs.to_vec()), ..Log::empty(ROOM) }
    };
    let log = epochs(&[(2, 5), (3, 3), (4, 9)]);
    let rewound = [0, 1, 2, 3, 4, 5].map(|epoch| log.rewound_since(epoch));
    assert_eq!(rewound, [None, Some(3), Some(3), Some(9), None, None]);
    // An epoch that this history never had: another history was shown, and nobody knows since when.
    assert_eq!(epochs(&[(3, 4)]).rewound_since(2), Some(1));
}

//= S4.32 (test)
#[test]
fn a_repeated_send_is_answered_though_the_room_has_moved_and_the_author_may_no_longer() {
    let mut kept = Kept::default();
    let first = Proposal { expect_last: Some(0), ..proposal(1, 1, "x") };
    let sent = kept.send(std::slice::from_ref(&first), 1).remove(0).unwrap();
    kept.send(&[proposal(2, 2, "y")], 1);
    let again = Case {
        proposal: &first,
        known: kept.receipts.get(&receipt_key(ROOM, first.author.id, first.id)).cloned(),
        standing: Err(Refusal::Denied("write in this room")),
        facts: Facts::default(),
    };
    assert_eq!(
        decide(&kept.log(), &open_room(), [again], &Limits::default(), 9).verdicts[0],
        Ok(Sent { duplicate: true, ..sent })
    );
}

//= S4.31 (test)
#[test]
fn the_same_id_of_two_authors_is_two_events() {
    let mut kept = Kept::default();
    let verdicts = kept.send(&[proposal(1, 1, "x"), proposal(2, 1, "y")], 1);
    let seqs: Vec<u64> = verdicts.into_iter().map(|verdict| verdict.unwrap().seq).collect();
    assert_eq!(seqs, [1, 2]);
}

#[test]
fn a_refused_send_leaves_no_trace() {
    let log = Log { last: 4, ..Log::empty(ROOM) };
    let one = proposal(1, 1, "x");
    let denied = Case { standing: Err(Refusal::Denied("write in this room")), ..new(&one) };
    let decision = decide(&log, &open_room(), [denied], &Limits::default(), 1);
    assert_eq!(decision.log, log);
    assert!(decision.events.is_empty() && decision.receipts.is_empty());
}

//= S4.16 (test)
#[test]
fn a_reference_to_an_event_that_is_not_there_is_refused() {
    let log = Log { first: 3, last: 4, ..Log::empty(ROOM) };
    let about = |seq| Proposal { kind: Kind(0x80), refs: vec![seq], ..proposal(1, 1, "x") };
    assert!(decide_one(&log, &about(4)).is_ok());
    assert_eq!(decide_one(&log, &about(5)), Err(Refusal::RefUnknown { seq: 5, last: 4 }));
    assert_eq!(decide_one(&log, &about(0)), Err(Refusal::RefUnknown { seq: 0, last: 4 }));
    assert_eq!(decide_one(&log, &about(2)), Err(Refusal::RefTrimmed { seq: 2, first: 3 }));
}

fn wire_send(kind: Kind, body: usize) -> wire::Send {
    wire::Send {
        room: ROOM.into(),
        id: MessageId([1; 16]),
        kind,
        body: vec![b'x'; body].into(),
        refs: Vec::new(),
        mentions: Vec::new(),
        expect_last: None,
        sealed: None,
        signature: None,
        epoch: None,
    }
}

fn propose(send: wire::Send) -> Result<(), Refusal> {
    Proposal::from_member(send, author(1), Salt([0; 16]), &Limits::default()).map(|_| ())
}

//= S4.14 (test)
#[test]
fn members_cannot_make_the_servers_events() {
    for kind in wire::RESERVED_FOR_THE_SERVER {
        assert_eq!(propose(wire_send(Kind(kind), 1)), Err(Refusal::KindReserved(Kind(kind))));
    }
    assert_eq!(propose(wire_send(Kind(0x80), 1)), Ok(()), "applications' own kinds are relayed");
    assert_eq!(propose(wire_send(Kind(10), 1)), Err(Refusal::KindUnsupported(Kind(10))));
    assert_eq!(propose(wire_send(Kind(63), 1)), Err(Refusal::KindUnsupported(Kind(63))));
}

//= S4.15 (test)
#[test]
fn what_is_too_large_is_refused_by_the_name_of_the_limit() {
    let limits = Limits::default();
    assert_eq!(propose(wire_send(Kind::MESSAGE, limits.body)), Ok(()));
    let refusal = propose(wire_send(Kind::MESSAGE, limits.body + 1)).unwrap_err();
    assert_eq!(refusal, Refusal::BodyTooLarge { size: limits.body + 1, limit: limits.body });
    assert!(refusal.to_string().contains(&limits.body.to_string()), "{refusal}");

    let many = |refs, mentions| wire::Send {
        refs: vec![1; refs],
        mentions: vec![UserId([0; 16]); mentions],
        ..wire_send(Kind::MESSAGE, 1)
    };
    assert_eq!(propose(many(limits.refs, limits.mentions)), Ok(()));
    assert!(matches!(propose(many(limits.refs + 1, 0)), Err(Refusal::Limit { .. })));
    assert!(matches!(propose(many(0, limits.mentions + 1)), Err(Refusal::Limit { .. })));
}

//= S4.17 (test)
#[test]
fn what_is_reserved_for_later_is_refused_rather_than_dropped() {
    let sealed = wire::Send { sealed: Some(vec![1].into()), ..wire_send(Kind::MESSAGE, 1) };
    let signed = wire::Send { signature: Some(vec![1].into()), ..wire_send(Kind::MESSAGE, 1) };
    assert!(matches!(propose(sealed), Err(Refusal::Unsupported(_))));
    assert!(matches!(propose(signed), Err(Refusal::Unsupported(_))));
}
