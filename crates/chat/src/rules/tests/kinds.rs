//! Kinds that are about another event: who may make them, of what, and what they leave behind.

use super::*;

/// An event about `seq` by `user`, with an id of its own.
fn about(user: u8, id: u8, kind: Kind, seq: u64, body: &str) -> Proposal {
    Proposal { kind, refs: vec![seq], ..proposal(user, id, body) }
}

impl Kept {
    fn one(&mut self, proposal: Proposal) -> Result<u64, Refusal> {
        self.one_as(proposal, Standing::Member)
    }

    fn one_as(&mut self, proposal: Proposal, standing: Standing) -> Result<u64, Refusal> {
        self.send_as(&[proposal], standing, 1).remove(0).map(|sent| sent.seq)
    }
}

/// Event 1 by user 1 says "x".
fn room_with_a_message() -> Kept {
    let mut kept = Kept::default();
    assert_eq!(kept.one(proposal(1, 1, "x")), Ok(1));
    kept
}

//= S4.26 (test)
#[test]
fn an_edit_is_its_authors_alone_a_deletion_moderators_too_pins_and_topics_only_theirs() {
    use Standing::{Member, Moderator};
    let rows = [
        // kind, the author, somebody, a moderator
        (Kind::REPLY, true, true, true),
        (Kind::EDIT, true, false, false),
        (Kind::DELETE, true, false, true),
        (Kind::REACTION, true, true, true),
        (Kind::UNREACT, true, true, true),
        (Kind::PIN, false, false, true),
        (Kind::TOPIC, false, false, true),
    ];
    for (kind, author, somebody, moderator) in rows {
        let body = if matches!(kind, Kind::DELETE | Kind::PIN) { "" } else { "y" };
        for (user, standing, may) in [(1, Member, author), (2, Member, somebody), (3, Moderator, moderator)] {
            let done = room_with_a_message().one_as(about(user, 9, kind, 1, body), standing);
            assert_eq!(done.is_ok(), may, "{kind} by {user}: {done:?}");
            assert!(may || matches!(done, Err(Refusal::Denied(_))), "{kind} by {user}: {done:?}");
        }
    }
}

//= S4.27 (test)
#[test]
fn each_kind_is_about_an_event_that_suits_it() {
    let server = Standing::Server;
    let mut kept = room_with_a_message();
    assert_eq!(kept.one_as(Proposal { kind: Kind::PARCEL, ..proposal(1, 2, "p") }, server), Ok(2));
    assert_eq!(kept.one_as(Proposal { kind: Kind::JOIN, ..proposal(1, 3, "j") }, server), Ok(3));
    assert_eq!(kept.one(about(1, 4, Kind::EDIT, 1, "z")), Ok(4));
    let refused = |kind, target| Err(Refusal::RefKind { kind, target });
    let moderator = Standing::Moderator;
    for (kind, seq, target) in [
        (Kind::EDIT, 2, Kind::PARCEL),
        (Kind::EDIT, 4, Kind::EDIT),
        (Kind::DELETE, 2, Kind::PARCEL),
        (Kind::DELETE, 3, Kind::JOIN),
        (Kind::DELETE, 4, Kind::EDIT),
        (Kind::PIN, 3, Kind::JOIN),
        (Kind::REACTION, 4, Kind::EDIT),
    ] {
        assert_eq!(kept.one_as(about(1, 9, kind, seq, ""), moderator), refused(kind, target));
    }
    assert!(kept.one(about(2, 5, Kind::REACTION, 2, "ok")).is_ok());
    assert!(kept.one(about(2, 6, Kind::REPLY, 3, "welcome")).is_ok());
}

//= S4.25 (test)
#[test]
fn deleting_erases_the_text_its_edits_and_what_would_let_anybody_guess_it() {
    let mut kept = Kept::default();
    let secret = proposal(1, 1, "the first secret");
    kept.one(secret.clone()).unwrap();
    kept.one(proposal(2, 1, "what stays")).unwrap();
    let edit = about(1, 2, Kind::EDIT, 1, "the second secret");
    assert_eq!(kept.one(edit.clone()), Ok(3));
    assert_eq!(kept.one(about(1, 3, Kind::DELETE, 1, "")), Ok(4));
    assert_eq!(kept.event(1).body, None);
    assert_eq!(kept.event(3).body, None, "an edit has what was deleted in it");
    assert!(kept.event(2).body.is_some());
    assert_eq!(kept.chain(), kept.log().chain, "erasing leaves the chain valid");
    for (key, receipt) in &kept.receipts {
        let erased = *key == receipt_key(ROOM, secret.author.id, secret.id)
            || *key == receipt_key(ROOM, edit.author.id, edit.id);
        assert_eq!(receipt.salt.is_none(), erased, "{receipt:?}");
    }
    assert!(kept.keys.is_empty(), "nothing is left of where it was edited");
    // The id still names the place, and tells nobody whether another text is the one that was erased.
    let guess = Proposal { body: "another guess".into(), ..secret };
    assert_eq!(kept.send(&[guess], 9).remove(0).map(|sent| (sent.seq, sent.duplicate)), Ok((1, true)));
}

//= S4.27 (test)
#[test]
fn what_was_deleted_cannot_be_edited_answered_reacted_to_pinned_or_deleted_again() {
    let mut kept = room_with_a_message();
    kept.one(about(1, 2, Kind::DELETE, 1, "")).unwrap();
    for kind in [Kind::REPLY, Kind::EDIT, Kind::DELETE, Kind::REACTION, Kind::UNREACT, Kind::PIN] {
        let refused = kept.one_as(about(1, 9, kind, 1, ""), Standing::Moderator);
        assert_eq!(refused, Err(Refusal::RefErased { seq: 1 }), "{kind}");
    }
}

//= S4.28 (test)
#[test]
fn a_room_knows_its_topic_and_its_pins() {
    let mut kept = room_with_a_message();
    let topic = |id, text| Proposal { kind: Kind::TOPIC, ..proposal(1, id, text) };
    assert_eq!(kept.one_as(topic(2, "one"), Standing::Moderator), Ok(2));
    assert_eq!(kept.one_as(topic(3, "two"), Standing::Moderator), Ok(3));
    assert_eq!(kept.log().marks.topic, 3);
    let pin = |id, kind, seq| about(1, id, kind, seq, "");
    assert_eq!(kept.one_as(pin(4, Kind::PIN, 1), Standing::Moderator), Ok(4));
    assert_eq!(kept.log().marks.pins, [1]);
    assert_eq!(kept.one_as(pin(5, Kind::PIN, 1), Standing::Moderator), Err(Refusal::Pinned { seq: 1 }));
    assert_eq!(kept.one_as(pin(6, Kind::UNPIN, 1), Standing::Moderator), Ok(5));
    assert_eq!(kept.one_as(pin(7, Kind::UNPIN, 1), Standing::Moderator), Err(Refusal::NotPinned { seq: 1 }));
    assert_eq!(kept.one_as(pin(8, Kind::PIN, 1), Standing::Moderator), Ok(6));
    assert_eq!(kept.one(pin(9, Kind::DELETE, 1)), Ok(7));
    assert_eq!(kept.log().marks.pins, [0; 0], "what is deleted is not kept in view");
    assert_eq!(kept.one(pin(10, Kind::DELETE, 3)), Ok(8));
    assert_eq!(kept.log().marks.topic, 0);
    let read = Log::read(ROOM, Some(&stored_head(&kept.log()))).unwrap();
    assert_eq!(read, kept.log(), "the store gives back what it was given");
}

fn stored_head(log: &Log) -> hikyaku_storage::Head {
    let (last, last_ts, state) = (log.last, log.ts_ms, log.state());
    hikyaku_storage::Head { epoch: 1, first: 1, last, last_ts, state, epochs: Vec::new() }
}

//= S4.28 (test)
#[test]
fn one_pin_or_edit_too_many_is_refused_by_the_name_of_the_limit() {
    let limits = Limits { pins: 2, edits: 3, ..Limits::default() };
    let mut log = Log { last: 9, ..Log::empty(ROOM) };
    log.marks = Arc::new(Marks { topic: 0, pins: vec![2, 3] });
    let room = room_with_a_message();
    let decide_with = |proposal: &Proposal, facts| {
        let case = Case { standing: Ok(Standing::Moderator), facts, ..new(proposal) };
        decide(&log, &open_room(), [case], &limits, 1).verdicts.remove(0).map(|sent| sent.seq)
    };
    let pin = about(1, 9, Kind::PIN, 1, "");
    let limit = |what, size, limit| Err(Refusal::Limit { what, size, limit });
    assert_eq!(decide_with(&pin, room.facts(&pin)), limit("pinned events of a room", 3, 2));
    let edit = about(1, 9, Kind::EDIT, 1, "y");
    let edited = |times| Facts { edited_at: vec![5; times], ..room.facts(&edit) };
    assert_eq!(decide_with(&edit, edited(2)), Ok(10));
    assert_eq!(decide_with(&edit, edited(3)), limit("edits of one event", 4, 3));
    // As many pins as are allowed by default fit into the room's head.
    let pins = Limits::default().pins;
    let full = Log { marks: Arc::new(Marks { topic: 1 << 52, pins: vec![1 << 52; pins] }), ..log.clone() };
    assert!(full.state().len() <= hikyaku_storage::limits::MAX_STATE);
}

//= S4.18 (test)
#[test]
fn a_body_is_what_its_kind_says() {
    let send = |kind, body: &[u8]| wire::Send {
        kind,
        body: body.to_vec().into(),
        refs: vec![1],
        ..wire_send(kind, 0)
    };
    let propose = |kind, body: &[u8]| {
        Proposal::from_member(send(kind, body), author(1), Salt([0; 16]), &Limits::default()).map(|_| ())
    };
    for kind in [Kind::MESSAGE, Kind::REPLY, Kind::EDIT, Kind::TOPIC, Kind::REACTION, Kind::UNREACT] {
        assert_eq!(propose(kind, "\u{1f44d}".as_bytes()), Ok(()));
        assert!(matches!(propose(kind, b"\xff"), Err(Refusal::Body(..))), "{kind}");
    }
    for kind in [Kind::DELETE, Kind::PIN, Kind::UNPIN] {
        assert_eq!(propose(kind, b""), Ok(()));
        assert!(matches!(propose(kind, b"x"), Err(Refusal::Body(..))), "{kind}");
    }
    for wrong in ["", "a\nb", "\u{1b}[2J"] {
        assert!(matches!(propose(Kind::REACTION, wrong.as_bytes()), Err(Refusal::Body(..))));
    }
    assert_eq!(propose(Kind::REACTION, &[b'x'; 64]), Ok(()));
    assert!(matches!(propose(Kind::REACTION, &[b'x'; 65]), Err(Refusal::Limit { limit: 64, .. })));
    assert!(matches!(propose(Kind::TOPIC, &[b'x'; 1_025]), Err(Refusal::Limit { limit: 1_024, .. })));
    assert_eq!(propose(Kind(0x80), b"\xff"), Ok(()), "applications' bodies are theirs");
    for kind in [Kind::REPLY, Kind::EDIT, Kind::DELETE, Kind::REACTION, Kind::PIN] {
        for refs in [vec![], vec![1, 2]] {
            let send = wire::Send { refs, ..send(kind, b"") };
            let proposed = Proposal::from_member(send, author(1), Salt([0; 16]), &Limits::default());
            assert_eq!(proposed.map(|_| ()), Err(Refusal::RefsMissing(kind)));
        }
    }
}

//= S4.19 (test)
#[test]
fn numbers_of_another_epoch_are_refused() {
    let log = Log { epoch: 2, last: 4, ..Log::empty(ROOM) };
    let meant = |epoch| Proposal { epoch, ..proposal(1, 1, "x") };
    assert!(decide_one(&log, &meant(Some(2))).is_ok());
    assert!(decide_one(&log, &meant(None)).is_ok());
    for epoch in [1, 3] {
        assert_eq!(decide_one(&log, &meant(Some(epoch))), Err(Refusal::Rewound { epoch: 2, last: 4 }));
    }
}
