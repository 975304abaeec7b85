//! Two ends and the pipes between them, and what may happen next.

use super::end::{End, Half, Halves, code};
use crate::{CloseReason, Config, Connection, Dir, Side, StreamId};
use bytes::Bytes;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub(super) const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// Time stands still: one moment for everything, and one in which every connection is idle.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
const LATER: Duration = Duration::from_secs(3600);

/// What an application may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    OpenBi,
    OpenUni,
    Write,
    Finish,
    Reset,
    Stop,
    Read,
    Ping,
    Datagram,
    Close,
}

/// How large a search is.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// Streams of both sides together.
    pub(super) streams: usize,
    pub(super) alphabets: [&'static [Kind]; 2],
    pub(super) events: [u8; 2],
    /// Bytes unread on one stream, and on all.
    pub(super) windows: (u64, u64),
    /// Streams of each direction that a peer may have open.
    pub(super) concurrent: u64,
    /// The transport may be cut.
    pub(super) loss: bool,
    /// Either side may find the connection idle.
    pub(super) idle: bool,
    /// The two have not met yet.
    pub(super) strangers: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            streams: 1,
            alphabets: [&[], &[]],
            events: [0, 0],
            windows: (100, 100),
            concurrent: 3,
            loss: false,
            idle: false,
            strangers: false,
        }
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Act(Side, Kind, Option<StreamId>),
    /// What this side has to say goes into its pipe.
    Speak(Side),
    /// The next of what this side said arrives.
    Arrive(Side),
    /// The transport is cut; first half of what was to arrive next still does, or not.
    Cut {
        half: bool,
    },
    /// This side notices that the transport was cut.
    NoticeCut(Side),
    Idle(Side),
}

#[derive(Clone, Debug)]
pub(super) enum Parcel {
    /// The transport parameters, which hold a random number.
    Introduction(Bytes),
    Bytes(Bytes),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) ends: [End; 2],
    pub(super) halves: Halves,
    pub(super) pipes: [VecDeque<Parcel>; 2],
    pub(super) cut: bool,
    scenario: Scenario,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let config = Config {
            stream_receive_window: scenario.windows.0,
            receive_window: scenario.windows.1,
            max_concurrent_bidi_streams: scenario.concurrent,
            max_concurrent_uni_streams: scenario.concurrent,
            ..Config::default()
        };
        let ends = SIDES
            .map(|side| End::new(side, Connection::new(side, config, *NOW), scenario.events[side as usize]));
        let (halves, pipes, scenario) = (Halves::new(), Default::default(), scenario.clone());
        let mut world = Self { ends, halves, pipes, cut: false, scenario };
        for side in SIDES {
            // As soon as the transport is there (S2.15).
            let (said, _) = world.ends[side as usize].speak(*NOW);
            world.pipes[side as usize].push_back(Parcel::Introduction(said.expect("everybody begins so")));
        }
        if !world.scenario.strangers {
            for side in SIDES {
                assert!(world.take(Step::Arrive(side)));
            }
        }
        world
    }

    pub(super) fn fingerprint(&self) -> u128 {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            for end in &self.ends {
                end.connection.fingerprint(&mut hasher);
                (end.left, &end.known, &end.blocked, end.wants).hash(&mut hasher);
                (&end.closed, end.hung_up, end.heard_end).hash(&mut hasher);
            }
            (&self.halves, self.cut).hash(&mut hasher);
            for pipe in &self.pipes {
                pipe.len().hash(&mut hasher);
                for parcel in pipe {
                    match parcel {
                        Parcel::Introduction(_) => 0_u8.hash(&mut hasher),
                        Parcel::Bytes(bytes) => (1_u8, bytes).hash(&mut hasher),
                        Parcel::End => 2_u8.hash(&mut hasher),
                    }
                }
            }
            hasher.finish()
        };
        u128::from(hash(0)) << 64 | u128::from(hash(1))
    }

    /// What may happen now; some of it may turn out to be nothing.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for side in SIDES {
            self.acts(side, &mut steps);
            steps.push(Step::Speak(side));
            steps.push(Step::Arrive(side));
            steps.push(Step::NoticeCut(side));
            if self.scenario.idle {
                steps.push(Step::Idle(side));
            }
        }
        if self.scenario.loss && !self.cut {
            steps.extend([Step::Cut { half: false }, Step::Cut { half: true }]);
        }
        steps
    }

    fn acts(&self, side: Side, steps: &mut Vec<Step>) {
        let end = &self.ends[side as usize];
        if end.left == 0 {
            return;
        }
        let opened =
            self.ends.iter().flat_map(|end| end.known.iter().filter(|id| id.initiator() == end.side));
        let room = opened.count() < self.scenario.streams;
        for kind in self.scenario.alphabets[side as usize] {
            match kind {
                Kind::OpenBi if !room || end.wants[0] || !end.is_open() => {}
                Kind::OpenUni if !room || end.wants[1] || !end.is_open() => {}
                Kind::OpenBi | Kind::OpenUni => steps.push(Step::Act(side, *kind, None)),
                Kind::Ping | Kind::Datagram | Kind::Close if !end.is_open() => {}
                Kind::Ping | Kind::Datagram | Kind::Close => steps.push(Step::Act(side, *kind, None)),
                Kind::Write | Kind::Finish | Kind::Reset | Kind::Stop | Kind::Read => {
                    let makes_sense = |id: &&StreamId| self.makes_sense(end, *kind, **id);
                    let streams = end.known.iter().filter(makes_sense);
                    steps.extend(streams.map(|id| Step::Act(side, *kind, Some(*id))));
                }
            }
        }
    }

    fn makes_sense(&self, end: &End, kind: Kind, id: StreamId) -> bool {
        let half = |writer: Side| self.halves.get(&(id, writer as usize)).cloned().unwrap_or_default();
        match kind {
            Kind::Read | Kind::Stop => {
                let Half { stopped, over, .. } = half(end.side.peer());
                // After the connection's end there is nothing left to stop.
                let open = kind == Kind::Read || end.is_open();
                open && end.receives(id)
                    && !stopped
                    && !over
                    && !(kind == Kind::Read && end.blocked.contains(&id))
            }
            Kind::Reset => end.is_open() && end.sends(id) && !half(end.side).given_up,
            _ => {
                let Half { released, given_up, .. } = half(end.side);
                // Who was told to stop may still end the stream, and must.
                end.is_open() && end.sends(id) && !released && !(kind == Kind::Write && given_up)
            }
        }
    }

    /// Does it; false when there was nothing to do.
    pub(super) fn take(&mut self, step: Step) -> bool {
        let happened = match step {
            Step::Act(side, kind, id) => {
                self.ends[side as usize].left -= 1;
                self.act(side, kind, id);
                true
            }
            Step::Speak(side) => self.speak(side),
            Step::Arrive(side) => self.arrive(side),
            Step::Cut { half } => self.cut(half),
            Step::NoticeCut(side) => {
                let end = &mut self.ends[side as usize];
                let news = self.cut && !end.heard_end;
                if news {
                    end.heard_end = true;
                    end.connection.handle_end(*NOW);
                }
                news
            }
            Step::Idle(side) => {
                let end = &mut self.ends[side as usize];
                let open = end.is_open();
                end.connection.handle_timeout(*NOW + LATER);
                open
            }
        };
        self.ends.iter_mut().for_each(End::listen);
        happened
    }

    fn act(&mut self, side: Side, kind: Kind, id: Option<StreamId>) {
        let (end, halves) = (&mut self.ends[side as usize], &mut self.halves);
        match (kind, id) {
            (Kind::OpenBi, _) => drop(end.open(Dir::Bi)),
            (Kind::OpenUni, _) => drop(end.open(Dir::Uni)),
            (Kind::Write, Some(id)) => end.write(id, halves),
            (Kind::Finish, Some(id)) => end.finish(id, halves),
            (Kind::Reset, Some(id)) => end.reset(id, halves),
            (Kind::Stop, Some(id)) => end.stop(id, halves),
            (Kind::Read, Some(id)) => drop(end.read(id, halves)),
            (Kind::Ping, _) => end.connection.ping(*NOW),
            (Kind::Datagram, _) => drop(end.connection.send_datagram(Bytes::from_static(b"d"))),
            (Kind::Close, _) => end.connection.close(*NOW, code(side), Bytes::new()),
            (kind, None) => panic!("{kind:?} needs a stream"),
        }
    }

    pub(super) fn speak(&mut self, side: Side) -> bool {
        let (said, hung_up) = self.ends[side as usize].speak(*NOW);
        let spoke = said.is_some() || hung_up;
        if !self.cut {
            self.pipes[side as usize].extend(said.map(Parcel::Bytes));
            self.pipes[side as usize].extend(hung_up.then_some(Parcel::End));
        }
        spoke
    }

    pub(super) fn arrive(&mut self, from: Side) -> bool {
        let Some(parcel) = self.pipes[from as usize].pop_front() else { return false };
        let to = &mut self.ends[from.peer() as usize];
        match parcel {
            Parcel::Introduction(bytes) | Parcel::Bytes(bytes) => to.connection.handle_input(*NOW, bytes),
            Parcel::End => {
                to.heard_end = true;
                to.connection.handle_end(*NOW);
            }
        }
        true
    }

    fn cut(&mut self, half: bool) -> bool {
        if half && self.pipes.iter().all(VecDeque::is_empty) {
            return false;
        }
        self.cut = true;
        for from in SIDES {
            let next = std::mem::take(&mut self.pipes[from as usize]).pop_front();
            if let Some(Parcel::Bytes(bytes) | Parcel::Introduction(bytes)) = next.filter(|_| half) {
                let bytes = bytes.slice(..bytes.len() / 2);
                self.ends[from.peer() as usize].connection.handle_input(*NOW, bytes);
            }
        }
        true
    }

    /// What holds at every moment.
    pub(super) fn check(&self) {
        let [client, server] = &self.ends;
        for (own, peer) in [(client, server), (server, client)] {
            own.connection.check_accounts(&peer.connection);
            match &own.closed {
                Some(CloseReason::Transport { .. }) => panic!("an accusation: {:?}", own.closed),
                Some(CloseReason::Application { code: said, .. }) => {
                    assert_eq!(*said, code(peer.side));
                    let local = matches!(peer.closed, Some(CloseReason::Local { code, .. }) if code == *said);
                    assert!(local, "a close nobody said: {:?}", peer.closed);
                }
                Some(CloseReason::TransportEnded) => {
                    assert!(own.heard_end, "an end nobody saw");
                    // Who closes says so (S2.30); only an idle connection ends without a word.
                    let wordless = self.cut || peer.closed == Some(CloseReason::Idle);
                    assert!(wordless, "it was closed and not told: {:?}", peer.closed);
                }
                Some(CloseReason::Local { .. } | CloseReason::Idle) | None => {}
            }
        }
    }
}
