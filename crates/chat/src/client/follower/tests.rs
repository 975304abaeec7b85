//! The follower against a model server, under every kind of disconnection.

use std::collections::VecDeque;

use hikyaku_wire::chat::Records;
use proptest::prelude::*;

use super::*;

const OPS: RoomId = RoomId([1; 16]);

/// A server that keeps one log of numbered texts and sends what its cursor says, in pieces of any size.
struct Model {
    epoch: u32,
    epochs: Vec<(u32, u64)>,
    first: u64,
    log: Vec<String>,
    said: u64,
    /// The connection: what the client asked and was not read, and what was sent and did not arrive.
    asked: VecDeque<Follow>,
    cursor: Option<(u32, u64)>,
    live: bool,
    flight: VecDeque<Update>,
}

impl Model {
    fn new() -> Self {
        Self {
            epoch: 1,
            epochs: Vec::new(),
            first: 1,
            log: Vec::new(),
            said: 0,
            asked: VecDeque::new(),
            cursor: None,
            live: false,
            flight: VecDeque::new(),
        }
    }

    fn last(&self) -> u64 {
        self.log.len() as u64
    }

    fn head(&self, knows: u32) -> Head {
        let later = self.epochs.iter().filter(|(epoch, _)| *epoch > knows).map(|(_, first)| *first);
        Head {
            room: OPS,
            epoch: self.epoch,
            first: self.first,
            last: self.last(),
            count: 0,
            ts_ms: 0,
            chain: Digest([0; 32]),
            rewound: if knows == 0 { None } else { later.min() },
        }
    }

    fn say(&mut self) {
        self.said += 1;
        self.log.push(format!("{}:{}", self.epoch, self.said));
    }

    fn read_wish(&mut self) {
        let Some(follow) = self.asked.pop_front() else { return };
        for cursor in follow.subscribe {
            let head = self.head(cursor.epoch);
            let next = cursor.next.min(head.rewound.unwrap_or(u64::MAX)).min(self.last() + 1);
            self.cursor = Some((self.epoch, next));
            self.live = false;
            self.flight.push_back(Update { heads: vec![head], ..Update::default() });
        }
    }

    /// Sends up to `count` events; `skip` makes it lose some, as a broken server would.
    fn produce(&mut self, count: u64, skip: u64) {
        let Some((_, next)) = &mut self.cursor else { return };
        let mut update = Update::default();
        if *next < self.first {
            let through = self.first - 1;
            update.trimmed.push(Trimmed { room: OPS, epoch: self.epoch, through, chain: None });
            *next = self.first;
        }
        *next = (*next + skip).min(self.log.len() as u64 + 1);
        let first = *next;
        let mut records = Records::new();
        while *next <= self.log.len() as u64 && records.len() < count {
            records.push(self.log[*next as usize - 1].as_bytes());
            *next += 1;
        }
        if !records.is_empty() {
            update.batches.push(Batch { room: OPS, epoch: self.epoch, first, records });
        }
        if *next > self.log.len() as u64 && !std::mem::replace(&mut self.live, true) {
            update.live.push(Live { room: OPS, epoch: self.epoch, through: *next - 1 });
        }
        self.flight.push_back(update);
    }

    /// Throws away what follows this many events, and tells a reader that is connected.
    fn rewind(&mut self, to: u8) {
        let keep = self.log.len().min(usize::from(to)).max(self.first as usize - 1);
        self.log.truncate(keep);
        self.epoch += 1;
        self.epochs.push((self.epoch, keep as u64 + 1));
        if let Some((epoch, next)) = self.cursor {
            let head = self.head(epoch);
            self.cursor = Some((self.epoch, next.min(head.rewound.unwrap_or(u64::MAX)).min(self.last() + 1)));
            self.live = false;
            self.flight.push_back(Update { heads: vec![head], ..Update::default() });
        }
    }

    fn cut(&mut self) {
        self.asked.clear();
        self.flight.clear();
        self.cursor = None;
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Say(u8),
    Cut,
    Wish,
    ReadWish,
    Produce {
        count: u64,
        skip: u64,
    },
    Deliver,
    /// The server is stopped, its history rewound to this many events, and started again.
    Restore(u8),
    /// The same under a running connection.
    Rewind(u8),
    Trim(u8),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let skip = prop_oneof![9 => Just(0u64), 1 => 1u64..4];
    let one = prop_oneof![
        3 => (1u8..6).prop_map(Happening::Say),
        1 => Just(Happening::Cut),
        4 => Just(Happening::Wish),
        4 => Just(Happening::ReadWish),
        4 => (1u64..5, skip).prop_map(|(count, skip)| Happening::Produce { count, skip }),
        6 => Just(Happening::Deliver),
        1 => any::<u8>().prop_map(Happening::Restore),
        1 => any::<u8>().prop_map(Happening::Rewind),
        1 => any::<u8>().prop_map(Happening::Trim),
    ];
    prop::collection::vec(one, 1..150)
}

/// An application: what it has, by sequence number; `None` where it learned that events are gone.
#[derive(Default)]
struct Application {
    has: Vec<Option<String>>,
}

impl Application {
    fn take(&mut self, news: Vec<News>) {
        for news in news {
            let next = self.has.len() as u64 + 1;
            match news {
                News::Event(delivery) => {
                    assert_eq!(delivery.seq, next, "no gap, no repetition");
                    self.has.push(Some(String::from_utf8(delivery.record.to_vec()).unwrap()));
                }
                News::Rewound { from, .. } => self.has.truncate(from as usize - 1),
                News::Trimmed { from, through, .. } => {
                    assert_eq!(from, next);
                    self.has.resize(through as usize, None);
                }
                News::Live { through, .. } => assert_eq!(through + 1, next, "live is said when it is true"),
                News::Head(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    //= S4.60 (test)
    //= S4.61 (test)
    //= S4.62 (test)
    #[test]
    fn every_event_once_and_in_order_whatever_connections_do(happenings in happenings()) {
        let (mut server, mut follower, mut application) = (Model::new(), Follower::new(), Application::default());
        follower.follow(OPS, Position::START, Mode::Live);
        for happening in happenings {
            match happening {
                Happening::Say(count) => (0..count).for_each(|_| server.say()),
                Happening::Cut => {
                    server.cut();
                    follower.disconnected();
                }
                Happening::Wish => server.asked.extend(follower.wishes()),
                Happening::ReadWish => server.read_wish(),
                Happening::Produce { count, skip } => server.produce(count, skip),
                Happening::Deliver => if let Some(update) = server.flight.pop_front() {
                    application.take(follower.update(update));
                },
                Happening::Restore(to) => {
                    server.cut();
                    follower.disconnected();
                    server.rewind(to);
                }
                Happening::Rewind(to) => server.rewind(to),
                Happening::Trim(to) => server.first = server.first.max(u64::from(to).min(server.last() + 1)).max(1),
            }
        }
        // The network heals.
        server.cut();
        follower.disconnected();
        for _ in 0..4 {
            server.asked.extend(follower.wishes());
            server.read_wish();
            server.produce(u64::MAX, 0);
            while let Some(update) = server.flight.pop_front() {
                application.take(follower.update(update));
            }
        }
        prop_assert_eq!(application.has.len(), server.log.len(), "it has everything");
        for (has, is) in application.has.iter().zip(&server.log) {
            prop_assert!(has.as_ref().is_none_or(|has| has == is), "{:?} is {}", has, is);
        }
        let kept = application.has.iter().skip(server.first as usize - 1);
        prop_assert!(kept.clone().all(Option::is_some), "what is not trimmed is there");
        prop_assert_eq!(follower.position(&OPS).map(|position| position.next), Some(server.last() + 1));
    }
}

//= S4.60 (test)
#[test]
fn an_event_is_applied_ignored_or_shows_a_gap() {
    let mut position = Position { epoch: 1, next: 5 };
    assert_eq!(position.accept(4), Accept::Ignore);
    assert_eq!(position.accept(6), Accept::Gap);
    assert_eq!(position.accept(5), Accept::Apply);
    assert_eq!(position.accept(5), Accept::Ignore);
    assert_eq!(position.next, 6);
}

//= S4.61 (test)
#[test]
fn nothing_is_taken_before_the_head_that_answers_nor_from_another_epoch() {
    let batch = |epoch| Update {
        batches: vec![Batch {
            room: OPS,
            epoch,
            first: 3,
            records: [Bytes::from_static(b"x")].into_iter().collect(),
        }],
        live: vec![Live { room: OPS, epoch, through: 2 }],
        ..Update::default()
    };
    let mut follower = Follower::new();
    follower.follow(OPS, Position { epoch: 1, next: 3 }, Mode::Live);
    assert_eq!(follower.update(batch(1)), [], "nobody has asked yet");
    follower.wishes();
    assert_eq!(follower.update(batch(1)), [], "this answers an older cursor");
    let head = Head { last: 3, ..Model::new().head(0) };
    assert_eq!(
        follower.update(Update { heads: vec![head.clone()], ..Update::default() }),
        [News::Head(head)]
    );
    assert_eq!(follower.update(batch(2)), [], "of an epoch that no head has announced");
    assert_eq!(follower.update(batch(1)).len(), 1);
    assert_eq!(follower.position(&OPS), Some(Position { epoch: 1, next: 4 }));
}

#[test]
fn many_rooms_are_asked_for_in_messages_of_bounded_size() {
    let mut follower = Follower::new();
    for n in 0..2_500u16 {
        let room = RoomId([[0; 14].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap());
        follower.follow(room, Position::START, Mode::Live);
    }
    let mut asked = 0;
    while let Some(follow) = follower.wishes() {
        assert!(follow.subscribe.len() <= 1_024);
        asked += follow.subscribe.len();
    }
    assert_eq!(asked, 2_500);
}

#[test]
fn a_room_that_was_left_gives_no_news() {
    let (mut server, mut follower) = (Model::new(), Follower::new());
    server.say();
    follower.follow(OPS, Position::START, Mode::Live);
    server.asked.extend(follower.wishes());
    server.read_wish();
    server.produce(9, 0);
    follower.leave(OPS);
    assert_eq!(follower.wishes().map(|follow| follow.unsubscribe), Some(vec![OPS]));
    while let Some(update) = server.flight.pop_front() {
        assert_eq!(follower.update(update), []);
    }
}

#[test]
fn whoever_begins_at_the_end_sees_only_what_comes() {
    let (mut server, mut follower) = (Model::new(), Follower::new());
    (0..3).for_each(|_| server.say());
    follower.follow(OPS, Position::END, Mode::Live);
    server.asked.extend(follower.wishes());
    server.read_wish();
    server.produce(9, 0);
    server.say();
    server.produce(9, 0);
    let news: Vec<News> = server.flight.into_iter().flat_map(|update| follower.update(update)).collect();
    let seqs: Vec<u64> = news
        .iter()
        .filter_map(|news| match news {
            News::Event(delivery) => Some(delivery.seq),
            _ => None,
        })
        .collect();
    assert_eq!(seqs, [4]);
}
