//! The checker finds what it is for: each history here has one thing wrong with it.

use super::*;

/// Two clients and one room: `a` sends the messages `one` and `two`, both see both.
struct Scene(History);

fn event(seq: u64, id: &str) -> Event {
    Event { room: "ops".into(), epoch: 1, seq, id: id.into(), text: Some(format!("text of {id}")) }
}

impl Scene {
    fn good() -> Self {
        let mut scene = Self(History::default());
        scene.invoke("a", 10, "one").ack("a", 20, "one", 1).invoke("a", 30, "two").ack("a", 40, "two", 2);
        scene.0.logs.insert("ops".into(), vec![event(1, "one"), event(2, "two")]);
        for who in ["a", "b"] {
            scene.add(who, 5, What::Connected { over: "tcp".into() });
            scene.add(who, 50, What::Deliver(event(1, "one"))).add(who, 51, What::Deliver(event(2, "two")));
            scene.add(who, 90, What::Done);
        }
        scene
    }

    fn add(&mut self, who: &str, t: u64, what: What) -> &mut Self {
        let journal = self.0.journals.entry(who.into()).or_default();
        // Before the end that every journal has.
        let at = if matches!(journal.last(), Some(Line { what: What::Done, .. })) {
            journal.len() - 1
        } else {
            journal.len()
        };
        journal.insert(at, Line { t, what });
        self
    }

    fn invoke(&mut self, who: &str, t: u64, id: &str) -> &mut Self {
        self.add(who, t, What::Invoke { room: "ops".into(), id: id.into(), text: format!("text of {id}") })
    }

    fn ack(&mut self, who: &str, t: u64, id: &str, seq: u64) -> &mut Self {
        self.add(who, t, What::Ack { id: id.into(), epoch: 1, seq })
    }

    fn log(&mut self) -> &mut Vec<Event> {
        self.0.logs.get_mut("ops").unwrap()
    }

    fn journal(&mut self, who: &str) -> &mut Vec<Line> {
        self.0.journals.get_mut(who).unwrap()
    }

    #[track_caller]
    fn breaks(&self, invariants: &[u8]) {
        let report = check(&self.0, &Demands::default());
        let found: BTreeSet<u8> = report.violations.iter().map(|violation| violation.invariant).collect();
        assert_eq!(found, invariants.iter().copied().collect(), "{:#?}", report.violations);
    }
}

fn is_delivery(seq: u64) -> impl Fn(&Line) -> bool {
    move |line| matches!(&line.what, What::Deliver(event) if event.seq == seq)
}

#[test]
fn a_good_history_is_good() {
    let report = check(&Scene::good().0, &Demands { acknowledged: 2, connections: 1, ..Demands::default() });
    assert!(report.is_good(), "{report:#?}");
    assert_eq!((report.acknowledged, report.delivered, report.logged, report.connections), (2, 4, 2, 2));
}

#[test]
fn an_acknowledged_message_that_is_lost_breaks_1_and_who_has_it_8() {
    let mut scene = Scene::good();
    scene.log().pop();
    scene.breaks(&[1, 8]);
    scene.journal("a").retain(|line| !is_delivery(2)(line));
    scene.journal("b").retain(|line| !is_delivery(2)(line));
    scene.breaks(&[1]);
}

#[test]
fn a_member_who_lacks_the_end_breaks_1_and_one_who_lacks_the_middle_3() {
    let mut scene = Scene::good();
    scene.journal("b").retain(|line| !is_delivery(2)(line));
    scene.breaks(&[1]);
    let mut scene = Scene::good();
    scene.journal("b").retain(|line| !is_delivery(1)(line));
    scene.breaks(&[3]);
}

#[test]
fn a_member_who_is_told_nothing_until_something_wakes_it_breaks_1() {
    let mut scene = Scene::good();
    scene.0.asleep.push("b was not told of #ops:2".into());
    scene.breaks(&[1]);
}

#[test]
fn a_store_that_is_gone_breaks_8_and_what_was_acknowledged_1() {
    let mut scene = Scene::good();
    scene.log().clear();
    scene.0.lost.push("#ops cannot be read".into());
    scene.breaks(&[1, 8]);
}

#[test]
fn time_that_falls_breaks_3() {
    let mut scene = Scene::good();
    let times = |times: &[&str]| times.iter().map(|time| (*time).to_owned()).collect();
    scene.0.times.insert("ops".into(), times(&["2026-11-23T10:00:00.001Z", "2026-11-23T10:00:00.001Z"]));
    scene.breaks(&[]);
    scene.0.times.insert("ops".into(), times(&["2026-11-23T10:00:00.001Z", "2026-11-22T23:59:59.999Z"]));
    scene.breaks(&[3]);
}

#[test]
fn the_same_event_twice_in_an_application_breaks_2() {
    let mut scene = Scene::good();
    scene.add("b", 52, What::Deliver(event(2, "two")));
    scene.breaks(&[2]);
}

#[test]
fn another_event_at_the_same_place_breaks_3_and_9() {
    let mut scene = Scene::good();
    scene.invoke("b", 35, "three");
    let place = scene.journal("b").iter().position(is_delivery(2)).unwrap();
    scene.journal("b")[place].what = What::Deliver(event(2, "three"));
    scene.breaks(&[3, 9]);
}

#[test]
fn one_id_at_two_places_breaks_4() {
    let mut scene = Scene::good();
    scene.log().push(event(3, "one"));
    for who in ["a", "b"] {
        scene.add(who, 60, What::Deliver(event(3, "one")));
    }
    scene.breaks(&[4]);
    let mut scene = Scene::good();
    scene.ack("a", 60, "two", 1);
    scene.breaks(&[4, 5, 8]);
}

#[test]
fn what_was_acknowledged_before_another_was_sent_and_comes_after_it_breaks_5() {
    let mut scene = Scene::good();
    // `one` was acknowledged at 20, long before `two` was sent at 30, and yet stands behind it.
    *scene.log() = vec![event(1, "two"), event(2, "one")];
    for who in ["a", "b"] {
        for line in scene.journal(who) {
            match &mut line.what {
                What::Ack { seq, .. } => *seq = 3 - *seq,
                What::Deliver(event) => event.id = if event.seq == 1 { "two" } else { "one" }.to_owned(),
                _ => {}
            }
            if let What::Deliver(event) = &mut line.what {
                event.text = Some(format!("text of {}", event.id));
            }
        }
    }
    scene.breaks(&[5]);
}

#[test]
fn an_unknown_message_may_be_there_once_or_not_at_all_but_not_twice() {
    let mut scene = Scene::good();
    scene.invoke("a", 41, "three").add("a", 42, What::Unknown { id: "three".into() });
    scene.breaks(&[]);
    for seq in [3, 4] {
        scene.log().push(event(seq, "three"));
        for who in ["a", "b"] {
            scene.add(who, 60, What::Deliver(event(seq, "three")));
        }
        scene.breaks(if seq == 3 { &[] } else { &[6] });
    }
}

#[test]
fn what_nobody_sent_breaks_7() {
    let mut scene = Scene::good();
    scene.log().push(event(3, "forged"));
    for who in ["a", "b"] {
        scene.add(who, 60, What::Deliver(event(3, "forged")));
    }
    scene.breaks(&[7]);
}

#[test]
fn a_place_given_twice_breaks_8() {
    let mut scene = Scene::good();
    // After a crash another message got the place that had been acknowledged, and the first came again behind it.
    scene.invoke("b", 55, "three").ack("b", 56, "three", 2);
    *scene.log() = vec![event(1, "one"), event(2, "three")];
    scene.breaks(&[3, 5, 8, 9]);
}

#[test]
fn a_revoked_device_neither_sends_nor_receives_what_is_new() {
    let mut scene = Scene::good();
    scene.0.revoked.insert("b".into(), 60);
    scene.breaks(&[]);
    scene.invoke("b", 70, "three").ack("b", 71, "three", 3);
    scene.log().push(event(3, "three"));
    scene.add("a", 72, What::Deliver(event(3, "three")));
    scene.breaks(&[10]);

    let mut scene = Scene::good();
    scene.0.revoked.insert("b".into(), 60);
    let later = 61 + CLOSING;
    scene.invoke("a", later, "three").ack("a", later + 1, "three", 3);
    scene.log().push(event(3, "three"));
    scene.add("a", later + 2, What::Deliver(event(3, "three")));
    scene.breaks(&[]);
    scene.add("b", later + 3, What::Deliver(event(3, "three")));
    scene.breaks(&[10]);
}

#[test]
fn a_run_that_did_too_little_proves_nothing() {
    let scene = Scene::good();
    let faults = BTreeMap::from([("kill server", 1)]);
    let demands = Demands { acknowledged: 3, connections: 2, switches: 1, disconnects: 1, faults };
    let report = check(&scene.0, &demands);
    assert!(report.violations.is_empty() && !report.is_good());
    assert_eq!(report.vacuous.len(), 6, "{:?}", report.vacuous);

    let mut scene = Scene::good();
    scene.journal("b").pop();
    let report = check(&scene.0, &Demands::default());
    assert_eq!(report.vacuous, ["b did not end connected and with everything"]);
}
