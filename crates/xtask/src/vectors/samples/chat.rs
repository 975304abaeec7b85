//! Samples of chapter 4: `chat/1`.

use bytes::Bytes;
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{
    Batch, Change, ChangeMember, Create, Created, Cursor, DeviceId, Digest, Doing, Envelope, Follow, Head,
    History, Kind, List, ListMembers, Live, Look, MarkRead, Member, MemberRole, Members, Membership,
    MessageId, Mode, Page, Present, ReadPosition, Record, Records, Refused, Resolve, Retain, Retention, Room,
    RoomId, RoomRef, Rooms, Salt, Send, Sent, Someone, State, Trim, Trimmed, Update, UserId,
};
use hikyaku_wire::codes::ErrorCode;

use super::{Sample, counting, sample};

/// 2026-11-22T00:00Z, in milliseconds.
const NOW: u64 = 1_795_305_600_000;

pub(super) fn samples() -> Vec<Sample> {
    let mut out = events();
    out.extend(rooms());
    out.extend(members());
    out.extend(sending());
    out.extend(following());
    out.extend(presence());
    out
}

fn room_id() -> RoomId {
    RoomId(counting(0x40))
}

fn head() -> Head {
    Head {
        room: room_id(),
        epoch: 1,
        first: 1,
        last: 17,
        count: 12,
        ts_ms: NOW,
        chain: Digest(counting(0x80)),
        rewound: None,
    }
}

fn room() -> Room {
    Room {
        name: "ops".into(),
        head: head(),
        private: false,
        role: None,
        topic: None,
        pins: vec![],
        read: None,
        retention: None,
    }
}

fn envelope() -> Envelope {
    Envelope {
        kind: Kind::MESSAGE,
        author: UserId(counting(0x10)),
        name: "ada".into(),
        device: DeviceId(counting(0x20)),
        id: MessageId(counting(0x60)),
        ts_ms: NOW,
        count: 12,
        refs: vec![],
        mentions: vec![],
        sealed: None,
    }
}

fn record() -> Record {
    Record {
        envelope: cbor::encode(&envelope()).into(),
        salt: Some(Salt(counting(0x90))),
        body: Some(Bytes::from_static(b"deploy done").into()),
        digest: None,
        signature: None,
    }
}

fn position() -> ReadPosition {
    ReadPosition { room: room_id(), epoch: 1, seq: 15, count: 10, mentions: 1 }
}

fn members() -> Vec<Sample> {
    let (user, room) = (UserId(counting(0x18)), RoomRef::Name("ops".into()));
    let join = ChangeMember {
        room: room.clone(),
        id: MessageId(counting(0x60)),
        change: Change::Join,
        user: None,
        role: None,
    };
    let (change, role) = (Change::Role, Some(MemberRole::Moderator));
    let promote = ChangeMember { change, user: Some(user), role, ..join.clone() };
    let left = Membership { user, name: "ben".into(), role: None };
    let member = Member { user, name: "ben".into(), role: MemberRole::Member, since_ms: NOW };
    let retention =
        Retention { age_ms: Some(7_776_000_000), events: Some(10_000), files_ms: Some(2_592_000_000) };
    vec![
        sample("change-member", "joining", &join),
        sample("change-member", "a new role", &promote),
        sample(
            "membership",
            "of one who has joined",
            &Membership { role: Some(MemberRole::Member), ..left.clone() },
        ),
        sample("membership", "of one who has left", &left),
        sample("list-members", "from the beginning", &ListMembers { room: room.clone(), after: None }),
        sample("list-members", "after somebody", &ListMembers { room: room.clone(), after: Some(user) }),
        sample(
            "members",
            "one, and more behind",
            &Members { members: vec![member.clone()], more: Some(user) },
        ),
        sample("member", "of a room", &member),
        sample("mark-read", "up to an event", &MarkRead { room: room.clone(), epoch: 1, seq: 15 }),
        sample("read-position", "with a mention unread", &position()),
        sample("retain", "three months and 10,000 events", &Retain { room: room.clone(), retention }),
        sample("retain", "for ever", &Retain { room: room.clone(), retention: Retention::default() }),
        sample("trim", "up to an event", &Trim { room, epoch: 1, through: 9 }),
    ]
}

fn records() -> Records {
    [Bytes::from(cbor::encode(&record()))].into_iter().collect()
}

fn events() -> Vec<Sample> {
    let full = Envelope {
        kind: Kind::REPLY,
        refs: vec![3, 16],
        mentions: vec![UserId(counting(0x18))],
        sealed: Some(Bytes::from_static(b"\x01").into()),
        ..envelope()
    };
    let unknown = Envelope { kind: Kind(0x1234), ..envelope() };
    let erased = Record { salt: None, body: None, digest: Some(Digest(counting(0xb0))), ..record() };
    let signed = Record { signature: Some(vec![0x77; 64].into()), ..record() };
    vec![
        sample("envelope", "a message", &envelope()),
        sample("envelope", "a reply with everything", &full),
        sample("envelope", "of a kind nobody knows", &unknown),
        sample("record", "with its body", &record()),
        sample("record", "with its body erased", &erased),
        sample("record", "with a signature", &signed),
    ]
}

fn rooms() -> Vec<Sample> {
    let create = Create { room: room_id(), name: "ops".into(), topic: None, private: false };
    let private = Create { private: true, ..create.clone() };
    let full = Room {
        private: true,
        role: Some(MemberRole::Owner),
        topic: Some("what runs, and what does not".into()),
        pins: vec![3, 11],
        read: Some(position()),
        retention: Some(Retention { age_ms: Some(7_776_000_000), ..Retention::default() }),
        ..room()
    };
    let described = Create { topic: Some("what runs, and what does not".into()), ..create.clone() };
    let empty = Head { first: 1, last: 0, count: 0, ts_ms: 0, ..head() };
    let rewound = Head { epoch: 2, rewound: Some(15), ..head() };
    let page = Page { head: head(), first: 17, records: records(), chain: None };
    let chained = Page { chain: Some(Digest(counting(0xc0))), ..page.clone() };
    vec![
        sample("create-room", "with a name", &create),
        sample("create-room", "with a topic", &described),
        sample("create-room", "for its members alone", &private),
        sample("created-room", "by an earlier attempt", &Created { room: room(), duplicate: true }),
        sample("room-head", "of a room with events", &head()),
        sample("room-head", "of an empty room", &empty),
        sample("room-head", "of a rewound room", &rewound),
        sample("room", "a name and a head", &room()),
        sample("room", "with everything", &full),
        sample("list-rooms", "from the beginning", &List::default()),
        sample("list-rooms", "the next ten", &List { after: Some("ops".into()), limit: Some(10) }),
        sample("rooms", "none", &Rooms::default()),
        sample("rooms", "one, and more behind it", &Rooms { rooms: vec![room()], more: Some("ops".into()) }),
        sample("resolve-room", "by name", &Resolve { room: RoomRef::Name("ops".into()) }),
        sample("resolve-room", "by id", &Resolve { room: room_id().into() }),
        sample("history", "everything", &history(None, None, None)),
        sample("history", "from an event on", &history(Some(4812), None, Some(100))),
        sample("history", "from a time on", &history(None, Some(NOW), None)),
        sample("history", "with the chain", &History { chain: true, ..history(Some(4812), None, None) }),
        sample("history-page", "one event", &page),
        sample("history-page", "one event and the chain before it", &chained),
        sample("history-page", "no event", &Page { first: 18, records: Records::new(), ..page.clone() }),
    ]
}

fn history(from: Option<u64>, since_ms: Option<u64>, limit: Option<u32>) -> History {
    History { room: RoomRef::Name("ops".into()), from, since_ms, limit, chain: false }
}

fn sending() -> Vec<Sample> {
    let least = Send {
        room: RoomRef::Name("ops".into()),
        id: MessageId(counting(0x60)),
        kind: Kind::MESSAGE,
        body: Bytes::from_static(b"deploy done").into(),
        refs: vec![],
        mentions: vec![],
        expect_last: None,
        sealed: None,
        signature: None,
        epoch: None,
    };
    let full = Send {
        room: room_id().into(),
        kind: Kind::REPLY,
        refs: vec![16],
        mentions: vec![UserId(counting(0x18))],
        expect_last: Some(16),
        sealed: Some(Bytes::new().into()),
        signature: Some(vec![0x77; 64].into()),
        epoch: Some(2),
        ..least.clone()
    };
    let reaction = Send {
        kind: Kind::REACTION,
        body: Bytes::from_static("\u{1f44d}".as_bytes()).into(),
        refs: vec![16],
        ..least.clone()
    };
    let delete = Send { kind: Kind::DELETE, body: Bytes::new().into(), refs: vec![16], ..least.clone() };
    let sent = Sent { room: room_id(), epoch: 1, seq: 17, ts_ms: NOW, duplicate: false };
    vec![
        sample("send", "a message", &least),
        sample("send", "a reply with everything", &full),
        sample("send", "a reaction", &reaction),
        sample("send", "a deletion", &delete),
        sample("sent", "a new event", &sent),
        sample("sent", "an event that was there", &Sent { duplicate: true, ..sent }),
    ]
}

fn following() -> Vec<Sample> {
    let (room, epoch) = (room_id(), 1);
    let cursor = Cursor { room, epoch, next: 18, mode: Mode::Live };
    let heads_only = Cursor { epoch: 0, next: 1, mode: Mode::Heads, ..cursor };
    let trimmed = Trimmed { room, epoch, through: 9, chain: Some(Digest(counting(0x80))) };
    let batch = Batch { room, epoch, first: 17, records: records() };
    let live = Live { room, epoch, through: 17 };
    let refused = Refused { room, code: ErrorCode::ROOM_UNKNOWN.0, message: "there is no such room".into() };
    let full = Update {
        heads: vec![head()],
        trimmed: vec![trimmed.clone()],
        batches: vec![batch.clone()],
        live: vec![live],
        refused: vec![refused.clone()],
        reads: vec![position()],
    };
    vec![
        sample("follow", "nothing more", &Follow::default()),
        sample(
            "follow",
            "one room, not another",
            &Follow { subscribe: vec![cursor], unsubscribe: vec![room] },
        ),
        sample("cursor", "of a reader that has everything", &cursor),
        sample("cursor", "of a reader that has nothing and wants heads", &heads_only),
        sample("update", "nothing", &Update::default()),
        sample("update", "with everything", &full),
        sample("trimmed", "with the chain", &trimmed),
        sample("trimmed", "without the chain", &Trimmed { chain: None, ..trimmed }),
        sample("batch", "one event", &batch),
        sample("live", "a reader that has everything", &live),
        sample("refused", "an unknown room", &refused),
    ]
}

fn presence() -> Vec<Sample> {
    let someone =
        |first, name: &str, state| Someone { user: UserId(counting(first)), name: name.into(), state };
    let (ada, eve) = (someone(0x10, "ada", State::Typing), someone(0x50, "eve", State::Gone));
    let room = room_id();
    vec![
        sample("look", "at a room by name", &Look { room: RoomRef::Name("ops".into()) }),
        sample("doing", "looking", &Doing { state: State::Here }),
        sample("doing", "typing", &Doing { state: State::Typing }),
        sample("present", "nobody", &Present { room, count: 0, someone: vec![] }),
        sample(
            "present",
            "one types, one has gone",
            &Present { room, count: 1, someone: vec![ada.clone(), eve] },
        ),
        sample("someone", "who types", &ada),
    ]
}
