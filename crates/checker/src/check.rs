//! The ten invariants, over a [`History`]. Sorting and scanning only: the server gave every event its place.
//!
//! | | |
//! |---|---|
//! | I1 | no loss: what was acknowledged is in the log where it was said to be, and every member has it, also before anything wakes it up again |
//! | I2 | no duplicate: an application sees each place at most once |
//! | I3 | same order, no gap: places rise one by one, times never fall, and a place means the same event to everybody |
//! | I4 | idempotent send: one id has at most one place, however often it is sent |
//! | I5 | real time: what was acknowledged before another was sent comes before it |
//! | I6 | unknown: what was not acknowledged is there once or not at all |
//! | I7 | no phantom: everything delivered was sent |
//! | I8 | durability: what anybody saw before a crash is in the log after it, and no place is given twice |
//! | I9 | history is the stream: pages of the log hold what live members saw |
//! | I10 | authority: nothing new reaches a revoked device, and nothing new comes from it |

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::history::{Event, History, Line, What};

/// How long after a revocation its device's connections may still be closing, in nanoseconds.
const CLOSING: u64 = 5_000_000_000;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: 1 to 10.
    pub invariant: u8,
    /// What was found.
    pub says: String,
}

/// What a history came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Everything that is wrong with the program.
    pub violations: Vec<Violation>,
    /// Everything for which the run proves nothing.
    pub vacuous: Vec<String>,
    /// Sends that were acknowledged.
    pub acknowledged: u64,
    /// Events that applications have.
    pub delivered: u64,
    /// Events in the logs.
    pub logged: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections made over another transport than the one before.
    pub switches: u64,
    /// Connections that a client broke on purpose.
    pub disconnects: u64,
}

impl Report {
    /// Whether the run proves something, and nothing bad.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.vacuous.is_empty()
    }

    fn breaks(&mut self, invariant: u8, says: String) {
        self.violations.push(Violation { invariant, says });
    }
}

/// What a run must have done to prove anything.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Acknowledged sends, at least.
    pub acknowledged: u64,
    /// Connections of each client, at least.
    pub connections: u64,
    /// Connections of all clients over another transport than the one before, at least.
    pub switches: u64,
    /// Connections broken on purpose by all clients, at least.
    pub disconnects: u64,
    /// Each kind of fault, at least so often.
    pub faults: BTreeMap<&'static str, u64>,
}

/// Checks everything.
pub fn check(history: &History, demands: &Demands) -> Report {
    let mut report = Report::default();
    let facts = Facts::of(history);
    facts.logs(&mut report);
    facts.acknowledged(&mut report);
    facts.sent(&mut report);
    for (who, lines) in &history.journals {
        facts.delivered(who, lines, &mut report);
    }
    facts.real_time(&mut report);
    facts.authority(&mut report);
    history.asleep.iter().for_each(|what| report.breaks(1, what.clone()));
    history.lost.iter().for_each(|what| report.breaks(8, what.clone()));
    guards(history, demands, &mut report);
    report
}

struct Invoked<'a> {
    who: &'a str,
    at: u64,
    room: &'a str,
    text: &'a str,
}

/// When a message was acknowledged first, and every place that was ever said: epoch and sequence number.
type Ack = (u64, BTreeSet<(u32, u64)>);

/// Everything by id and by place.
struct Facts<'a> {
    history: &'a History,
    invoked: HashMap<&'a str, Invoked<'a>>,
    /// By id: when acknowledged first, and every place that was ever said.
    acks: BTreeMap<&'a str, Ack>,
    /// By room and place: the log at the end.
    places: HashMap<(&'a str, u64), &'a Event>,
}

impl<'a> Facts<'a> {
    fn of(history: &'a History) -> Self {
        let (mut invoked, mut acks) = (HashMap::new(), BTreeMap::new());
        for (who, lines) in &history.journals {
            for Line { t, what } in lines {
                match what {
                    What::Invoke { room, id, text } => {
                        invoked.entry(id.as_str()).or_insert(Invoked { who, at: *t, room, text });
                    }
                    What::Ack { id, epoch, seq } => {
                        let ack = acks.entry(id.as_str()).or_insert((*t, BTreeSet::new()));
                        ack.1.insert((*epoch, *seq));
                    }
                    _ => {}
                }
            }
        }
        let places = history.logs.values().flatten().map(|event| ((event.room.as_str(), event.seq), event));
        Self { history, invoked, acks, places: places.collect() }
    }

    /// The logs by themselves: dense, and each id once.
    fn logs(&self, report: &mut Report) {
        for (room, log) in &self.history.logs {
            let mut ids: BTreeMap<&str, u64> = BTreeMap::new();
            for (expected, event) in (1..).zip(log) {
                if event.seq != expected {
                    report
                        .breaks(3, format!("#{room}: the log has {} where {expected} should be", event.seq));
                    break;
                }
                if let Some(first) = ids.insert(&event.id, event.seq) {
                    let says = format!("#{room}: {} is in the log at {first} and at {}", event.id, event.seq);
                    // What nobody acknowledged may be there once, what was acknowledged has one place.
                    let invariant = if self.acks.contains_key(event.id.as_str()) { 4 } else { 6 };
                    report.breaks(invariant, says);
                }
                report.logged += 1;
            }
        }
        for (room, times) in &self.history.times {
            let falls = (1..).zip(times.windows(2)).find(|(_, pair)| pair.first() > pair.last());
            if let Some((seq, pair)) = falls {
                report.breaks(3, format!("#{room}: time falls after {seq}: {}", pair.join(", then ")));
            }
        }
    }

    fn acknowledged(&self, report: &mut Report) {
        for (id, (_, places)) in &self.acks {
            report.acknowledged += 1;
            if places.len() > 1 {
                report.breaks(4, format!("{id} was acknowledged at several places: {places:?}"));
            }
            let Some(invoked) = self.invoked.get(id) else {
                report.breaks(7, format!("{id} was acknowledged and never sent"));
                continue;
            };
            for (_, seq) in places {
                match self.places.get(&(invoked.room, *seq)) {
                    Some(event) if event.id == *id => {}
                    Some(event) => {
                        let says = format!(
                            "#{}:{seq} was acknowledged for {id} and holds {}",
                            invoked.room, event.id
                        );
                        report.breaks(8, says);
                    }
                    None => report.breaks(
                        1,
                        format!("#{}:{seq} was acknowledged for {id} and is not in the log", invoked.room),
                    ),
                }
            }
        }
    }

    /// Everything in the log and in the applications was sent as it is there.
    fn sent(&self, report: &mut Report) {
        let delivered = self.history.journals.values().flatten().filter_map(|line| match &line.what {
            What::Deliver(event) => Some(event),
            _ => None,
        });
        let all: BTreeSet<&Event> = self.history.logs.values().flatten().chain(delivered).collect();
        for event in all {
            let Some(text) = &event.text else { continue };
            let sent = self.invoked.get(event.id.as_str());
            if sent.is_none_or(|sent| (sent.room, sent.text) != (&event.room, text)) {
                report
                    .breaks(7, format!("#{}:{} says '{text}', which nobody sent so", event.room, event.seq));
            }
        }
    }

    /// One application: its own order, the others' view, the log's.
    fn delivered(&self, who: &str, lines: &[Line], report: &mut Report) {
        let mut next: BTreeMap<&str, u64> = self.history.logs.keys().map(|room| (room.as_str(), 1)).collect();
        for line in lines {
            let What::Deliver(event) = &line.what else { continue };
            report.delivered += 1;
            let (room, seq) = (event.room.as_str(), event.seq);
            let expected = next.entry(room).or_insert(1);
            match seq.cmp(expected) {
                std::cmp::Ordering::Less => report.breaks(2, format!("{who} has #{room}:{seq} twice")),
                std::cmp::Ordering::Greater => {
                    report.breaks(3, format!("{who} has #{room}:{seq} where {expected} should be"));
                    *expected = seq + 1;
                }
                std::cmp::Ordering::Equal => *expected += 1,
            }
            match self.places.get(&(room, seq)) {
                Some(logged) if *logged == event => {}
                Some(logged) => {
                    report.breaks(3, format!("{who} has {event:?}, the log {logged:?}"));
                    report.breaks(9, format!("pages of #{room} differ from what {who} saw at {seq}"));
                }
                None => {
                    report.breaks(8, format!("{who} has #{room}:{seq}, which is not in the log any more"))
                }
            }
        }
        if self.history.revoked.contains_key(who) {
            return;
        }
        for (room, next) in next {
            let last = self.history.logs.get(room).and_then(|log| log.last()).map_or(0, |event| event.seq);
            if next <= last {
                report.breaks(1, format!("{who} has nothing of #{room} from {next} to {last}"));
            }
        }
    }

    fn real_time(&self, report: &mut Report) {
        for room in self.history.logs.keys() {
            let mut sends: Vec<(u64, u64, &str)> = Vec::new();
            let mut acks: Vec<(u64, u64, &str)> = Vec::new();
            for (id, (acked, places)) in &self.acks {
                let Some(invoked) = self.invoked.get(id).filter(|invoked| invoked.room == room) else {
                    continue;
                };
                let Some((_, seq)) = places.first() else { continue };
                sends.push((invoked.at, *seq, id));
                acks.push((*acked, *seq, id));
            }
            sends.sort_unstable();
            acks.sort_unstable();
            let mut before = acks.iter().peekable();
            let mut newest: (u64, &str) = (0, "");
            for (at, seq, id) in sends {
                while let Some((_, acked, by)) = before.next_if(|(acked, ..)| *acked < at) {
                    newest = newest.max((*acked, by));
                }
                if newest.0 >= seq && newest.1 != id {
                    let says = format!(
                        "#{room}: {id} at {seq} was sent after {} at {} was acknowledged",
                        newest.1, newest.0
                    );
                    report.breaks(5, says);
                }
            }
        }
    }

    fn authority(&self, report: &mut Report) {
        for (who, revoked) in &self.history.revoked {
            let late =
                |id: &str, grace: u64| self.invoked.get(id).is_some_and(|sent| sent.at > revoked + grace);
            for event in self.history.logs.values().flatten() {
                let own = self.invoked.get(event.id.as_str()).is_some_and(|sent| sent.who == who);
                if own && late(&event.id, 0) {
                    report.breaks(
                        10,
                        format!("#{}:{} was sent by {who}, who was revoked before", event.room, event.seq),
                    );
                }
            }
            let lines = self.history.journals.get(who).into_iter().flatten();
            for line in lines {
                if let What::Deliver(event) = &line.what
                    && late(&event.id, CLOSING)
                {
                    report.breaks(
                        10,
                        format!("#{}:{} reached {who}, who was revoked before", event.room, event.seq),
                    );
                }
            }
        }
    }
}

/// A run that did nothing proves nothing.
fn guards(history: &History, demands: &Demands, report: &mut Report) {
    if report.acknowledged < demands.acknowledged {
        report
            .vacuous
            .push(format!("{} of {} sends acknowledged", report.acknowledged, demands.acknowledged));
    }
    report.vacuous.extend(history.stuck.iter().map(|why| format!("the run was stuck: {why}")));
    if report.delivered == 0 {
        report.vacuous.push("nothing was delivered".to_owned());
    }
    for (what, wanted) in &demands.faults {
        let done = history.faults.get(what).copied().unwrap_or(0);
        if done < *wanted {
            report.vacuous.push(format!("{what}: {done} of {wanted}"));
        }
    }
    for (who, lines) in &history.journals {
        let (mut connections, mut before): (u64, Option<&str>) = (0, None);
        for Line { what, .. } in lines {
            match what {
                What::Connected { over } => {
                    connections += 1;
                    report.switches += u64::from(before.is_some_and(|before| before != over));
                    before = Some(over);
                }
                What::Broken => report.disconnects += 1,
                _ => {}
            }
        }
        report.connections += connections;
        if history.revoked.contains_key(who) {
            continue;
        }
        if connections < demands.connections {
            report.vacuous.push(format!("{who} connected {connections} times of {}", demands.connections));
        }
        if !matches!(lines.last().map(|line| &line.what), Some(What::Done)) {
            report.vacuous.push(format!("{who} did not end connected and with everything"));
        }
    }
    let counts = [
        ("connections over another transport", report.switches, demands.switches),
        ("connections broken on purpose", report.disconnects, demands.disconnects),
    ];
    for (what, done, wanted) in counts {
        if done < wanted {
            report.vacuous.push(format!("{what}: {done} of {wanted}"));
        }
    }
}

#[cfg(test)]
mod tests;
