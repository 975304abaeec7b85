use std::sync::{Mutex, PoisonError};

use super::*;

/// Time that passes only when somebody waits, and everything that was told.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

pub(crate) struct State {
    now: Instant,
    pub(crate) told: Vec<Option<Full>>,
    /// How many looks until nobody wants it any more.
    wanted: u32,
    /// Whether the way to the other side is blocked.
    pub(crate) deaf: bool,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { now: Instant::now(), told: vec![], wanted: u32::MAX, deaf: false })))
    }

    pub(crate) fn waiting(&self, patience: Duration) -> Waiting {
        Waiting::amid(patience, Box::new(self.clone()))
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Around for Fake {
    fn now(&self) -> Instant {
        self.state().now
    }

    fn wait(&mut self, time: Duration) {
        let mut state = self.state();
        state.now += time;
        state.wanted -= 1;
    }

    fn tell(&mut self, full: Option<Full>) -> bool {
        let mut state = self.state();
        if !state.deaf {
            state.told.push(full);
        }
        !state.deaf
    }

    fn is_wanted(&self) -> bool {
        self.state().wanted > 0
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// A disk that is full for so many looks. How it ended, and how often it was looked.
fn full(waiting: &mut Waiting, mut looks: u32) -> (bool, u32) {
    let mut tries = 0;
    let done = waiting.until_room(|| {
        tries += 1;
        let Some(left) = looks.checked_sub(1) else { return Ok(()) };
        looks = left;
        Err(VaultError::Full { free: 7, needed: 1 << 20 }.into())
    });
    (done.is_ok(), tries)
}

//= S5.26 (test)
#[test]
fn a_full_disk_is_waited_for_and_told_of_every_ten_seconds_and_its_end_too() {
    let fake = Fake::new();
    let mut waiting = fake.waiting(MINUTE);
    assert_eq!(full(&mut waiting, 0), (true, 1));
    assert_eq!(fake.state().told, [], "there was room");
    // 21 seconds, five looks each.
    assert_eq!(full(&mut waiting, 105), (true, 106));
    let at = |seconds| Some(Full { needed: 1 << 20, free: 7, left: MINUTE - Duration::from_secs(seconds) });
    assert_eq!(fake.state().told, [at(0), at(10), at(20), None]);
    // Another time begins anew.
    assert_eq!(full(&mut waiting, 1), (true, 2));
    assert_eq!(fake.state().told[4..], [at(0), None]);
}

//= S5.26 (test)
#[test]
fn patience_ends_to_the_moment_and_nobody_waits_for_a_sender_that_is_gone() {
    let fake = Fake::new();
    assert_eq!(full(&mut fake.waiting(MINUTE), 1_000), (false, 301));
    assert_eq!(full(&mut fake.waiting(Duration::ZERO), 1), (false, 1), "without patience it fails at once");
    assert_eq!(full(&mut Waiting::none(), 1), (false, 1));
    fake.state().wanted = 3;
    assert_eq!(full(&mut fake.waiting(MINUTE), 1_000), (false, 4));
}

#[test]
fn who_could_not_be_told_is_told_as_soon_as_it_can_be() {
    let fake = Fake::new();
    fake.state().deaf = true;
    let (mut waiting, mut tries) = (fake.waiting(MINUTE), 0);
    waiting
        .until_room(|| {
            tries += 1;
            fake.state().deaf = tries < 4;
            if tries < 10 { Err(VaultError::Full { free: 0, needed: 0 }.into()) } else { Ok(()) }
        })
        .unwrap();
    let left = MINUTE - 3 * LOOK;
    assert_eq!(fake.state().told, [Some(Full { needed: LITTLE, free: 0, left }), None]);
}

#[test]
fn only_a_full_disk_is_waited_for() {
    let fake = Fake::new();
    let mut tries = 0;
    let done: Result<()> = fake.waiting(MINUTE).until_room(|| {
        tries += 1;
        Err(VaultError::Io(std::io::ErrorKind::StorageFull.into()).into())
    });
    assert!(done.is_err());
    assert_eq!(tries, 1, "what a synchronisation lost does not come back");
}

#[test]
fn what_is_told_is_what_is_heard() {
    let full = Full { needed: 5, free: 3, left: Duration::from_millis(1_500) };
    let transfer = TransferId([1; 16]);
    assert_eq!(heard(&said(transfer, Some(full))), Some(full));
    assert_eq!(heard(&said(transfer, None)), None);
}
