//! What is done with hostile bytes in the crate `hikyaku-chat`: stored events, and a server that says anything at all to
//! a reader.

use std::collections::BTreeMap;

use bytes::Bytes;
use hikyaku_chat::{Chain, Event, Follower, News, Position, erase};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Batch, Digest, Head, Live, Mode, Records, Refused, RoomId, Trimmed, Update};

use crate::input::Input;

/// A record is an event or refused; erasing it leaves who said it and the chain, and takes the body.
pub fn event(record: &[u8]) {
    let Ok(event) = Event::from_record(record) else { return };
    let erased = erase(record).expect("what can be read can be erased");
    let after = Event::from_record(&erased).expect("what was erased can be read");
    assert_eq!((&after.envelope, &after.body), (&event.envelope, &None));
    let chain = Chain::genesis(ROOMS[0]);
    assert_eq!(event.link(chain), after.link(chain), "erasing leaves the chain as it was");
    assert_eq!(erase(&erased).as_deref(), Ok(&erased[..]), "nothing is left to erase");
}

const ROOMS: [RoomId; 3] = [RoomId([1; 16]), RoomId([2; 16]), RoomId([3; 16])];

/// A server sends whatever the input says, over connections that break whenever it says. The application sees every
/// event once and in order, and hears of everything that is missing. The first byte `0xff` makes the rest one update in
/// its encoded form instead.
pub fn follower(data: &[u8]) {
    let mut reader = Reader::default();
    if let Some((0xff, encoded)) = data.split_first() {
        ROOMS.iter().for_each(|room| reader.follow(*room, Position::START));
        reader.wishes();
        if let Ok(update) = cbor::decode::<Update>(encoded, &cbor::Limits::default()) {
            reader.update(update);
        }
        return;
    }
    let mut input = Input::new(data);
    while !input.is_empty() {
        match input.below(16) {
            0 => {
                let room = room(&mut input);
                reader.follow(room, position(&mut input));
            }
            1 => reader.leave(room(&mut input)),
            2 => reader.follower.disconnected(),
            3 | 4 => reader.wishes(),
            _ => reader.update(update(&mut input)),
        }
    }
}

fn room(input: &mut Input<'_>) -> RoomId {
    ROOMS[usize::from(input.byte()) % ROOMS.len()]
}

fn position(input: &mut Input<'_>) -> Position {
    match input.below(4) {
        0 => Position::END,
        1 => Position::START,
        _ => Position { epoch: epoch(input), next: 1 + input.below(12) },
    }
}

fn epoch(input: &mut Input<'_>) -> u32 {
    u32::from(input.byte() % 4)
}

/// A sequence number: a small one, or now and then one of the largest that the profile lets through.
fn seq(input: &mut Input<'_>) -> u64 {
    match input.byte() {
        byte @ 0..=250 => u64::from(byte % 16),
        byte => cbor::MAX_INTEGER - u64::from(byte - 251),
    }
}

fn update(input: &mut Input<'_>) -> Update {
    let mut update = Update::default();
    for _ in 0..=input.below(3) {
        let (room, epoch) = (room(input), epoch(input));
        match input.below(5) {
            0 => update.heads.push(Head {
                room,
                epoch,
                first: seq(input),
                last: seq(input),
                count: 0,
                ts_ms: 0,
                chain: Digest([0; 32]),
                rewound: Some(seq(input)).filter(|_| input.below(2) == 0),
            }),
            1 => update.trimmed.push(Trimmed { room, epoch, through: seq(input), chain: None }),
            2 => {
                let (first, count) = (seq(input), input.below(5));
                let records: Records = (0..count).map(|number| Bytes::from(vec![number as u8])).collect();
                update.batches.push(Batch { room, epoch, first, records });
            }
            3 => update.live.push(Live { room, epoch, through: seq(input) }),
            _ => update.refused.push(Refused { room, code: 0x81, message: String::new() }),
        }
    }
    update
}

/// A follower and an application that believes nothing but its news.
#[derive(Default)]
struct Reader {
    follower: Follower,
    /// Where the application stands, by the news alone.
    stands: BTreeMap<RoomId, Position>,
}

impl Reader {
    fn follow(&mut self, room: RoomId, position: Position) {
        self.follower.follow(room, position, Mode::Live);
        self.stands.insert(room, position);
    }

    fn leave(&mut self, room: RoomId) {
        self.follower.leave(room);
        self.stands.remove(&room);
    }

    fn wishes(&mut self) {
        while let Some(follow) = self.follower.wishes() {
            for cursor in follow.subscribe {
                let stands = self.stands.get(&cursor.room).expect("only what is followed is asked for");
                assert_eq!((cursor.epoch, cursor.next), (stands.epoch, stands.next));
            }
        }
        assert!(!self.follower.has_wishes());
    }

    fn update(&mut self, update: Update) {
        for news in self.follower.update(update) {
            self.hear(news);
        }
        for room in ROOMS {
            assert_eq!(self.follower.position(&room), self.stands.get(&room).copied());
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Event(delivery) => {
                let stands = self.at(delivery.room);
                assert_eq!((delivery.epoch, delivery.seq), (stands.epoch, stands.next), "once and in order");
                stands.next += 1;
            }
            News::Trimmed { room, from, through, .. } => {
                let stands = self.at(room);
                assert_eq!(from, stands.next);
                assert!(through >= from);
                stands.next = through + 1;
            }
            News::Rewound { room, epoch, from } => {
                let stands = self.at(room);
                assert!(epoch > stands.epoch && from < stands.next);
                (stands.epoch, stands.next) = (epoch, from);
            }
            News::Head(head) => {
                let stands = self.at(head.room);
                assert!(head.epoch >= stands.epoch, "an epoch never falls");
                if stands.epoch == 0 {
                    // Nothing was read yet: reading begins behind the newest event at the latest.
                    stands.next = stands.next.min(head.last + 1);
                }
                stands.epoch = head.epoch;
            }
            News::Live { room, through } => assert_eq!(through + 1, self.at(room).next, "nothing is missing"),
            News::Refused(refused) => drop(self.stands.remove(&refused.room)),
            other => panic!("{other:?} is not for a follower to say"),
        }
    }

    fn at(&mut self, room: RoomId) -> &mut Position {
        self.stands.get_mut(&room).expect("news of rooms that are followed, only")
    }
}
