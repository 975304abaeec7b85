//! Encodings that other implementations rely on.

use bytes::Bytes;

use super::*;

fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

fn round_trip<T>(value: T)
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> + PartialEq + std::fmt::Debug,
{
    let bytes = encode(&value);
    assert_eq!(minicbor::decode::<T>(&bytes).unwrap(), value);
}

fn head() -> Head {
    Head {
        room: RoomId([1; 16]),
        epoch: 1,
        first: 1,
        last: 3,
        count: 2,
        ts_ms: 5,
        chain: Digest([9; 32]),
        rewound: None,
    }
}

fn read() -> ReadPosition {
    ReadPosition { room: RoomId([1; 16]), epoch: 1, seq: 3, count: 2, mentions: 1 }
}

fn room() -> Room {
    Room {
        name: "ops".into(),
        head: head(),
        private: true,
        role: Some(MemberRole::Owner),
        topic: Some("on call".into()),
        pins: vec![1, 2],
        read: Some(read()),
        retention: Some(Retention { age_ms: Some(5), events: None, files_ms: None }),
    }
}

#[test]
fn every_message_decodes_to_what_was_encoded() {
    round_trip(head());
    round_trip(Create {
        room: RoomId([1; 16]),
        name: "ops".into(),
        topic: Some("on call".into()),
        private: true,
    });
    round_trip(Created { room: room(), duplicate: true });
    round_trip(Members { members: vec![], more: Some(UserId([1; 16])) });
    round_trip(List { after: Some("a".into()), limit: Some(3) });
    round_trip(Rooms { rooms: vec![room()], more: None });
    round_trip(Resolve { room: RoomRef::Name("ops".into()) });
    round_trip(History {
        room: RoomId([1; 16]).into(),
        from: Some(3),
        since_ms: None,
        limit: Some(10),
        chain: true,
    });
    round_trip(Page {
        head: head(),
        first: 1,
        records: [Bytes::from_static(b"x")].into_iter().collect(),
        chain: None,
    });
    round_trip(Sent { room: RoomId([1; 16]), epoch: 1, seq: 4, ts_ms: 7, duplicate: false });
    round_trip(Follow {
        subscribe: vec![Cursor { room: RoomId([1; 16]), epoch: 1, next: 2, mode: Mode::Heads }],
        unsubscribe: vec![RoomId([2; 16])],
    });
    round_trip(Update {
        heads: vec![head()],
        trimmed: vec![Trimmed { room: RoomId([1; 16]), epoch: 1, through: 4, chain: Some(Digest([3; 32])) }],
        batches: vec![Batch {
            room: RoomId([1; 16]),
            epoch: 1,
            first: 5,
            records: [Bytes::from_static(b"a"), Bytes::from_static(b"bc")].into_iter().collect(),
        }],
        live: vec![Live { room: RoomId([1; 16]), epoch: 1, through: 6 }],
        refused: vec![Refused { room: RoomId([1; 16]), code: 0x1101, message: "no".into() }],
        reads: vec![read()],
    });
}

#[test]
fn who_is_here_fits_into_datagrams() {
    round_trip(Look { room: RoomRef::Name("ops".into()) });
    round_trip(Doing { state: State::Typing });
    assert_eq!(encode(&Doing { state: State::Here }), [0xa1, 0x00, 0x01]);
    let someone = |n| Someone { user: UserId([n; 16]), name: "ana".into(), state: State::Here };
    round_trip(Present { room: RoomId([1; 16]), count: 2, someone: vec![someone(1), someone(2)] });
    let many = Present { room: RoomId([1; 16]), count: 0, someone: vec![someone(1); MAX_SOMEONE + 1] };
    assert!(minicbor::decode::<Present>(&encode(&many)).is_err(), "more than one message names");
}

#[test]
fn a_room_is_named_by_text_or_by_bytes() {
    assert_eq!(encode(&RoomRef::Name("ops".into())), b"\x63ops");
    assert_eq!(encode(&RoomRef::Id(RoomId([7; 16])))[0], 0x50);
    assert!(minicbor::decode::<RoomRef>(&[0x01]).is_err(), "a number is no room");
    assert!(minicbor::decode::<RoomRef>(&[0x41, 0x01]).is_err(), "an id has 16 bytes");
}

#[test]
fn absent_lists_take_no_bytes() {
    assert_eq!(encode(&Update::default()), [0xa0]);
    assert_eq!(encode(&Follow::default()), [0xa0]);
}

#[test]
fn keys_from_a_newer_peer_are_skipped() {
    // {0: h'07…', 1: 2, 2: 3, 3: 0, 9: [1, 2]}
    let mut bytes = vec![0xa5, 0x00, 0x50];
    bytes.extend([7; 16]);
    bytes.extend([0x01, 0x02, 0x02, 0x03, 0x03, 0x00, 0x09, 0x82, 0x01, 0x02]);
    let cursor: Cursor = minicbor::decode(&bytes).unwrap();
    assert_eq!(cursor, Cursor { room: RoomId([7; 16]), epoch: 2, next: 3, mode: Mode::Live });
}

#[test]
fn records_give_back_the_bytes_they_were_given() {
    let mut records = Records::new();
    records.push(b"one");
    records.push(&[0; 300]);
    let (mut piece, given) = (Vec::new(), [b"two".as_slice(), b"", b"three"]);
    for record in given {
        Records::encode_one(record, &mut piece);
    }
    records.push_encoded(3, piece.into());
    let bytes = encode(&records);
    let back: Records = minicbor::decode(&bytes).unwrap();
    assert_eq!(back.len(), 5);
    let back: Vec<_> = back.iter().map(|record| record.to_vec()).collect();
    assert_eq!(back, [b"one".to_vec(), vec![0; 300], b"two".to_vec(), Vec::new(), b"three".to_vec()]);
}

#[test]
fn records_that_are_not_byte_strings_are_refused() {
    assert!(minicbor::decode::<Records>(&[0x81, 0x01]).is_err());
    assert!(minicbor::decode::<Records>(&[0x9f, 0x41, 0x00, 0xff]).is_err(), "indefinite length");
    assert!(
        minicbor::decode::<Records>(&[0x9b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err(),
        "claimed, not sent"
    );
}

#[test]
fn kinds_have_their_registered_numbers() {
    let kinds = [
        (1, "message"),
        (2, "reply"),
        (3, "edit"),
        (4, "delete"),
        (5, "reaction"),
        (6, "pin"),
        (7, "topic"),
        (8, "unreact"),
        (9, "unpin"),
        (0x40, "join"),
        (0x41, "leave"),
        (0x42, "invite"),
        (0x43, "role"),
        (0x44, "parcel"),
        (0x45, "parcel-end"),
    ];
    for (number, name) in kinds {
        assert_eq!(Kind(number).name(), Some(name));
    }
    assert_eq!(Kind(0x1234).to_string(), "kind-4660", "an unknown kind is shown as such");
}
