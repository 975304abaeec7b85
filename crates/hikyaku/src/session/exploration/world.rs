//! Two sessions and what is on its way between them: every step that may come next, and what must hold at the end.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{Goaway, Open};
use hikyaku_wire::frame::{self, Decoder, FrameLimits, FrameType};
use hikyaku_wire::hello::{Hello, HelloLimits};

use crate::events::By;
use crate::session::control::{Control, Heard};
use crate::session::inbound::{Inbound, Said};
use crate::session::lifecycle::Lifecycle;

/// The streams: one control stream of each side, and the exchanges by number.
type Number = usize;
const CONTROL: Number = usize::MAX;

/// What goes over a stream.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum Parcel {
    Bytes(Vec<u8>),
    Fin,
    Reset(u32),
    Stop(u32),
    Close(u32),
}

/// One exchange as one side sees it.
#[derive(Clone, Debug)]
struct View {
    inbound: Inbound,
    /// This side's half is over: ended, or given up.
    spoken: bool,
    /// The other half is: END and FIN, a reset, or nobody listens.
    heard: bool,
    /// It still counts in the lifecycle.
    entered: bool,
    /// END arrived, and then FIN.
    whole: bool,
    refused: bool,
    given_up: bool,
    /// The answerer's last frames wait for the transport's word that they arrived.
    undelivered: bool,
}

#[derive(Clone, Debug)]
struct Session {
    lifecycle: Lifecycle,
    control: Control,
    greeted: bool,
    views: BTreeMap<Number, View>,
    left: u8,
    drained: bool,
    closed: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) exchanges: usize,
    pub(super) events: [u8; 2],
    /// One pipe each way, or one for each stream.
    pub(super) ordered: bool,
    /// The link may break, and the time of a drain may run out.
    pub(super) disturbed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    scenario: Scenario,
    sides: [Session; 2],
    /// By sender and, where streams are apart, by stream; the close has a pipe of its own.
    pipes: [BTreeMap<Number, VecDeque<(Number, Parcel)>>; 2],
    openers: Vec<usize>,
    forced: bool,
    lost: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Ask(usize),
    Finish(usize, Number),
    Cancel(usize, Number),
    Drain(usize),
    Arrive(usize, Number),
    /// The rule S3.73.
    Close(usize),
    /// The time that GOAWAY gave is over.
    GraceOver(usize),
    Lose,
}

fn frames(list: &[(FrameType, Vec<u8>)]) -> Parcel {
    let mut out = Vec::new();
    list.iter().for_each(|(ty, payload)| frame::encode(*ty, payload, &mut out));
    Parcel::Bytes(out)
}

impl World {
    pub(super) fn new(scenario: Scenario) -> Self {
        let session = |left| Session {
            lifecycle: Lifecycle::default(),
            control: Control::default(),
            greeted: false,
            views: BTreeMap::new(),
            left,
            drained: false,
            closed: None,
        };
        let sides = scenario.events.map(session);
        let mut world = Self {
            scenario,
            sides,
            pipes: Default::default(),
            openers: Vec::new(),
            forced: false,
            lost: false,
        };
        let limits = HelloLimits { max_message: 1 << 16, max_metadata: 4096, max_datagram: 0 };
        let hello = Hello { limits, extensions: vec![], agent: String::new() }.encode();
        for side in 0..2 {
            world.send(side, CONTROL, frames(&[(FrameType::HELLO, hello.clone())]));
        }
        world
    }

    fn send(&mut self, from: usize, stream: Number, parcel: Parcel) {
        if self.lost {
            return;
        }
        let pipe = match (self.scenario.ordered, &parcel) {
            (true, _) => 0,
            // Nothing keeps the close from overtaking.
            (false, Parcel::Close(_)) => CONTROL - 1,
            (false, _) => stream,
        };
        self.pipes[from].entry(pipe).or_default().push_back((stream, parcel));
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (side, session) in self.sides.iter().enumerate() {
            steps.extend(self.pipes[side].keys().map(|pipe| Step::Arrive(side, *pipe)));
            if session.closed.is_some() {
                continue;
            }
            if session.lifecycle.may_close() {
                steps.push(Step::Close(side));
            }
            if session.drained && self.scenario.disturbed {
                steps.push(Step::GraceOver(side));
            }
            if session.left == 0 {
                continue;
            }
            //= S3.25
            if self.openers.len() < self.scenario.exchanges && session.greeted {
                steps.push(Step::Ask(side));
            }
            if !session.drained {
                steps.push(Step::Drain(side));
            }
            for (number, view) in &session.views {
                if !view.spoken {
                    steps.push(Step::Finish(side, *number));
                }
                if view.entered && !(view.spoken && view.heard) {
                    steps.push(Step::Cancel(side, *number));
                }
            }
        }
        if self.scenario.disturbed && !self.lost {
            steps.push(Step::Lose);
        }
        steps
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Ask(side) => self.ask(side),
            Step::Finish(side, number) => self.finish(side, number),
            Step::Cancel(side, number) => self.give_up(side, number, ErrorCode::CANCELLED),
            Step::Drain(side) => {
                self.sides[side].drained = true;
                self.sides[side].lifecycle.say_goaway();
                let goaway = Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 1, message: String::new() };
                self.send(side, CONTROL, frames(&[(FrameType::GOAWAY, goaway.encode())]));
            }
            Step::Arrive(from, pipe) => self.arrive(from, pipe),
            Step::Close(side) => self.close(side, ErrorCode::NO_ERROR),
            Step::GraceOver(side) => {
                self.forced = true;
                self.close(side, ErrorCode::GOING_AWAY);
            }
            Step::Lose => {
                (self.lost, self.forced) = (true, true);
                self.pipes = Default::default();
                for session in &mut self.sides {
                    session.closed.get_or_insert(u32::MAX);
                }
            }
        }
        if let Step::Ask(side) | Step::Finish(side, _) | Step::Cancel(side, _) | Step::Drain(side) = step {
            self.sides[side].left = self.sides[side].left.saturating_sub(1);
        }
    }

    fn ask(&mut self, side: usize) {
        let number = self.openers.len();
        self.openers.push(side);
        let mut view = View::new(Inbound::asking(FrameLimits::default()));
        if self.sides[side].lifecycle.enter(By::Us) {
            self.send(side, number, frames(&[(FrameType::OPEN, Open::new("a/1", "").encode())]));
        } else {
            // `Connection::open` says that it was refused, and lets go at once; nothing went over the wire.
            (view.spoken, view.heard, view.refused) = (true, true, true);
        }
        self.sides[side].views.insert(number, view);
        self.let_go(side, number);
    }

    fn finish(&mut self, side: usize, number: Number) {
        let answers = self.openers[number] != side;
        let apart = !self.scenario.ordered;
        let view = self.view(side, number);
        view.spoken = true;
        view.undelivered = answers && apart;
        self.send(side, number, frames(&[(FrameType::END, vec![])]));
        self.send(side, number, Parcel::Fin);
        if answers && !self.view(side, number).heard {
            // A handler that has answered listens no more (S3.47).
            self.view(side, number).heard = true;
            self.send(side, number, Parcel::Stop(ErrorCode::CANCELLED.0));
        }
        self.let_go(side, number);
    }

    fn give_up(&mut self, side: usize, number: Number, code: ErrorCode) {
        let view = self.view(side, number);
        let (spoken, heard) = (view.spoken, view.heard);
        (view.spoken, view.heard, view.given_up) = (true, true, true);
        view.undelivered = false;
        if !spoken {
            self.send(side, number, Parcel::Reset(code.0));
        }
        if !heard {
            self.send(side, number, Parcel::Stop(code.0));
        }
        self.let_go(side, number);
    }

    /// What `ExchangeGuard` does when both directions are gone.
    fn let_go(&mut self, side: usize, number: Number) {
        let view = self.view(side, number);
        if view.entered && view.spoken && view.heard && !view.undelivered {
            view.entered = false;
            self.sides[side].lifecycle.leave();
        }
    }

    fn view(&mut self, side: usize, number: Number) -> &mut View {
        self.sides[side].views.get_mut(&number).expect("the exchange is known")
    }

    fn close(&mut self, side: usize, code: ErrorCode) {
        assert!(self.sides[side].closed.is_none(), "closed twice");
        self.sides[side].closed = Some(code.0);
        self.send(side, CONTROL, Parcel::Close(code.0));
    }

    fn arrive(&mut self, from: usize, pipe: Number) {
        let queue = self.pipes[from].get_mut(&pipe).expect("only pipes that hold something are asked");
        let (stream, parcel) = queue.pop_front().expect("nor are empty ones kept");
        if queue.is_empty() {
            self.pipes[from].remove(&pipe);
        }
        let (to, fin) = (1 - from, parcel == Parcel::Fin);
        if self.sides[to].closed.is_none() {
            match (stream, parcel) {
                (_, Parcel::Close(code)) => self.sides[to].closed = Some(code),
                (CONTROL, Parcel::Bytes(bytes)) => self.hear_control(to, bytes.into()),
                (number, parcel) => self.hear_exchange(to, number, parcel),
            }
        }
        // The transport's acknowledgement, where the sender is there to hear it.
        if fin && self.sides[from].closed.is_none() {
            self.view(from, stream).undelivered = false;
            self.let_go(from, stream);
        }
    }

    fn hear_control(&mut self, to: usize, bytes: Bytes) {
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.push(bytes);
        while let Some(piece) = decoder.next().expect("honest") {
            match self.sides[to].control.hear(piece).expect("nobody breaks a rule") {
                Heard::Hello(_) => self.sides[to].greeted = true,
                Heard::Goaway(_) => self.sides[to].lifecycle.hear_goaway(),
            }
        }
    }

    fn hear_exchange(&mut self, to: usize, number: Number, parcel: Parcel) {
        let session = &mut self.sides[to];
        if !session.views.contains_key(&number) {
            let mut view = View::new(Inbound::answering(FrameLimits::default(), None));
            let admitted = session.lifecycle.enter(By::Peer);
            view.refused = !admitted;
            session.views.insert(number, view);
            if !admitted {
                self.give_up(to, number, ErrorCode::REFUSED);
            }
        }
        let answers = self.openers[number] != to;
        let view = self.view(to, number);
        match parcel {
            Parcel::Stop(_) if !view.spoken => {
                view.spoken = true;
                // S2.27; and whoever works on it is told (S3.49).
                self.send(to, number, Parcel::Reset(ErrorCode::CANCELLED.0));
                if answers {
                    let view = self.view(to, number);
                    view.given_up = true;
                    view.heard = true;
                }
            }
            Parcel::Stop(_) => {}
            _ if view.heard => {}
            Parcel::Bytes(bytes) => {
                view.inbound.push(bytes.into());
                while let Some(said) = view.inbound.next().expect("nobody breaks a rule") {
                    assert!(matches!(said, Said::Open(_) | Said::End), "{said:?}");
                }
            }
            Parcel::Fin => {
                view.inbound.end_of_stream().expect("END comes before FIN");
                (view.heard, view.whole) = (true, true);
                // Once its answer is whole an opener that still speaks gives that up: it is of no use any more.
                if !answers && !view.spoken {
                    view.spoken = true;
                    self.send(to, number, Parcel::Reset(ErrorCode::CANCELLED.0));
                }
            }
            Parcel::Reset(code) => {
                view.heard = true;
                view.refused |= code == ErrorCode::REFUSED.0;
                view.given_up |= code != ErrorCode::REFUSED.0;
                if !view.spoken {
                    view.spoken = true;
                    self.send(to, number, Parcel::Reset(ErrorCode::CANCELLED.0));
                }
            }
            Parcel::Close(_) => unreachable!("handled before"),
        }
        self.let_go(to, number);
    }

    pub(super) fn fingerprint(&self) -> u128 {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, &self.pipes, &self.openers, self.forced, self.lost).hash(&mut hasher);
            for session in &self.sides {
                (session.lifecycle, &session.control, session.greeted).hash(&mut hasher);
                (session.left, session.drained, session.closed).hash(&mut hasher);
                for (number, view) in &session.views {
                    (number, view.inbound.name(), view.spoken, view.heard, view.entered).hash(&mut hasher);
                    (view.whole, view.refused, view.given_up, view.undelivered).hash(&mut hasher);
                }
            }
            hasher.finish()
        };
        u128::from(hash(0)) << 64 | u128::from(hash(1))
    }

    /// Everything that may still happen by itself, happens; answers that are owed are given.
    pub(super) fn settle(mut self) {
        for _ in 0..200 {
            let automatic = |step: &Step| matches!(step, Step::Arrive(..) | Step::Close(_));
            let next = self.steps().into_iter().find(automatic).or_else(|| {
                let owed = |side: usize| {
                    let session = &self.sides[side];
                    let mut views = session.views.iter().filter(|_| session.closed.is_none());
                    views.find(|(_, view)| !view.spoken).map(|(number, _)| Step::Finish(side, *number))
                };
                owed(0).or_else(|| owed(1))
            });
            match next {
                Some(step) => self.take(step),
                None => return self.check_settled(),
            }
        }
        panic!("it never ends: {self:?}");
    }

    fn check_settled(&self) {
        let [one, other] = &self.sides;
        assert_eq!(one.closed.is_some(), other.closed.is_some(), "one side does not know: {self:?}");
        if self.forced {
            return;
        }
        let drained = one.drained || other.drained;
        assert_eq!(one.closed.is_some(), drained, "closed for no reason, or never: {self:?}");
        if drained {
            assert_eq!((one.closed, other.closed), (Some(0), Some(0)), "{self:?}");
        }
        for (number, opener) in self.openers.iter().enumerate() {
            let asked = &self.sides[*opener].views[&number];
            let Some(answered) = self.sides[1 - *opener].views.get(&number) else {
                // Who drains may have opened it too late: its peer had nothing open, and closed (S3.73).
                let too_late = self.sides[*opener].drained && !asked.whole;
                assert!(asked.refused || asked.given_up || too_late, "{number} never arrived: {self:?}");
                continue;
            };
            assert!(
                asked.whole || asked.refused || asked.given_up || answered.given_up,
                "{number}: its opener does not know what became of it: {self:?}"
            );
            let kept = !answered.refused && !answered.given_up && !asked.given_up;
            assert!(!kept || asked.whole, "{number} was taken, and its answer was lost: {self:?}");
            // Where both leave, the close of one may overtake its refusal.
            let overtaken = one.drained && other.drained && !self.scenario.ordered;
            let told = asked.refused || asked.given_up || overtaken;
            assert!(!answered.refused || told, "{number} was refused, and nobody was told: {self:?}");
        }
    }
}

impl View {
    fn new(inbound: Inbound) -> Self {
        let (spoken, heard, whole, refused, given_up, undelivered) =
            (false, false, false, false, false, false);
        Self { inbound, spoken, heard, entered: true, whole, refused, given_up, undelivered }
    }
}
