//! The suite every [`Store`] must pass: one function per promise, each on a fresh store, no runtime demanded.
//!
//! A backend implements [`Backend`] in its tests and calls [`all`]; a failing check panics, and the line printed
//! last names it. [`follows_the_model`] compares a backend with the in-memory model over any script of bytes, so
//! that a property test can invent and shrink scripts.

mod batches;
mod history;
mod keys;
mod limits;
mod model;
mod restart;
mod rooms;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;

pub use model::follows_the_model;

use crate::error::{Conflict, StoreError};
use crate::store::Store;
use crate::types::{Append, Batch, Guard, Key, NewEvent, RoomId, Versioned};

/// How a test makes and reopens the stores of one backend.
pub trait Backend {
    /// The store under test.
    type Store: Store;

    /// A new, empty store, sharing nothing with those made before.
    fn create(&self) -> impl Future<Output = Self::Store>;

    /// Closes a store and opens what it left behind.
    fn reopen(&self, store: Self::Store) -> impl Future<Output = Self::Store>;
}

macro_rules! checks {
    ($($module:ident::$name:ident,)*) => {
        /// Runs every check.
        pub async fn all<B: Backend>(backend: &B) {
            $(
                eprintln!("conformance: {}", stringify!($name));
                $module::$name(backend).await;
            )*
        }
    };
}

checks! {
    keys::a_key_is_absent_until_written,
    keys::a_version_rises_with_every_write,
    keys::a_version_is_never_reused_after_a_deletion,
    keys::deleting_an_absent_key_changes_nothing,
    keys::several_keys_are_read_in_the_order_asked,
    keys::a_scan_gives_a_prefix_in_byte_order,
    keys::a_scan_pages_without_gap_or_repetition,
    batches::an_empty_batch_is_accepted,
    batches::a_batch_changes_keys_and_rooms_together,
    batches::a_failed_check_applies_nothing,
    batches::a_failed_guard_applies_nothing,
    batches::version_zero_demands_absence,
    batches::a_check_alone_reports_whether_it_holds,
    batches::a_key_twice_in_one_batch_is_refused,
    batches::a_room_twice_in_one_batch_is_refused,
    batches::of_two_racing_writers_one_wins,
    rooms::an_unknown_room_has_no_head_and_no_events,
    rooms::sequence_numbers_are_dense_from_one,
    rooms::the_guard_compares_epoch_and_last,
    rooms::the_head_keeps_the_state_of_the_last_append,
    rooms::an_append_without_events_changes_only_the_state,
    rooms::racing_appenders_lose_nothing_and_leave_no_hole,
    rooms::events_are_bounded_by_count_and_bytes,
    rooms::rooms_do_not_see_each_other,
    rooms::heads_are_given_in_the_order_asked,
    rooms::seq_at_finds_the_first_event_at_or_after_a_time,
    rooms::a_falling_time_is_refused,
    history::a_trimmed_prefix_is_answered_as_trimmed,
    history::a_trim_leaves_numbers_times_state_and_keys,
    history::a_room_trimmed_to_nothing_goes_on_where_it_was,
    history::a_trim_is_refused_once_the_room_has_moved,
    history::a_trim_outside_what_is_kept_is_refused,
    history::a_trim_counts_what_it_removes,
    history::a_replaced_record_keeps_its_place_and_time,
    history::a_record_is_replaced_only_as_it_was_read,
    history::an_erasure_and_its_event_are_one_change,
    history::of_two_racing_erasures_one_wins,
    history::a_new_epoch_begins_after_the_last_event,
    history::an_epoch_is_raised_only_as_the_room_was_read,
    history::an_epoch_never_falls,
    history::who_appends_in_the_old_epoch_is_refused,
    history::epochs_are_counted,
    history::one_batch_may_do_everything_at_once,
    history::an_event_or_room_named_twice_is_refused,
    limits::a_key_at_the_limit_is_kept_and_above_it_refused,
    limits::a_value_at_the_limit_is_kept_and_above_it_refused,
    limits::a_record_at_the_limit_is_kept_and_above_it_refused,
    limits::a_state_at_the_limit_is_kept_and_above_it_refused,
    limits::a_batch_at_the_limit_is_applied_and_above_it_refused,
    limits::a_time_above_the_limit_is_refused,
    limits::a_read_of_too_many_items_is_refused,
    restart::what_was_committed_survives_a_reopening,
    restart::trims_erasures_and_epochs_survive_a_reopening,
    restart::versions_go_on_rising_after_a_reopening,
}

/// The value of a call that must succeed.
#[track_caller]
fn ok<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("the store must do this, but: {error}"))
}

/// Demands that a call named the limit it ran into.
#[track_caller]
fn assert_limit<T: std::fmt::Debug>(result: Result<T, StoreError>, over: u64, at: usize) {
    let at = u64::try_from(at).unwrap_or(u64::MAX);
    match result {
        Err(StoreError::Limit { size, limit, .. }) => assert_eq!((size, limit), (over, at)),
        other => panic!("expected a limit of {at}, found {other:?}"),
    }
}

/// Demands that a call was refused for this key.
#[track_caller]
fn assert_key_conflict<T: std::fmt::Debug>(
    result: Result<T, StoreError>,
    name: &str,
    expected: u64,
    found: u64,
) {
    let conflict = Conflict::Key { key: key(name), expected, found };
    match result {
        Err(StoreError::Conflict(given)) => assert_eq!(given, conflict),
        other => panic!("expected {conflict:?}, found {other:?}"),
    }
}

/// Demands that a call was refused for this room.
#[track_caller]
fn assert_room_conflict<T: std::fmt::Debug>(
    result: Result<T, StoreError>,
    number: u8,
    expected: Guard,
    found: Guard,
) {
    let conflict = Conflict::Room { room: room(number), expected, found };
    match result {
        Err(StoreError::Conflict(given)) => assert_eq!(given, conflict),
        other => panic!("expected {conflict:?}, found {other:?}"),
    }
}

fn key(name: &str) -> Key {
    Key::from(name)
}

fn room(number: u8) -> RoomId {
    RoomId([number; 16])
}

fn guard(epoch: u32, expect_last: u64) -> Guard {
    Guard { epoch, expect_last }
}

/// An append to `room(number)` in epoch 1: the events' times are their sequence numbers, the state names the last.
fn append(number: u8, expect_last: u64, records: &[&str]) -> Append {
    let events = (expect_last + 1..).zip(records);
    let events =
        events.map(|(ts_ms, record)| NewEvent { ts_ms, record: Bytes::copy_from_slice(record.as_bytes()) });
    let events: Vec<_> = events.collect();
    let state = Bytes::from(format!("state after {} and {}", expect_last, records.len()));
    Append { room: room(number), guard: guard(1, expect_last), events, state }
}

async fn put(store: &impl Store, name: &str, value: &str) -> u64 {
    ok(store.commit(Batch::new().put(key(name), value.to_owned())).await).version
}

async fn read(store: &impl Store, name: &str) -> Option<Versioned> {
    ok(store.get(&key(name)).await)
}

/// All records of a room, with the demand that their sequence numbers are dense from 1.
async fn records(store: &impl Store, number: u8) -> Vec<Bytes> {
    let mut all = Vec::new();
    loop {
        let from = u64::try_from(all.len()).unwrap_or(u64::MAX) + 1;
        let page = ok(store.events(room(number), from, 100, usize::MAX).await).events;
        if page.is_empty() {
            return all;
        }
        for (expected, event) in (from..).zip(page) {
            assert_eq!(event.seq, expected, "sequence numbers must be dense");
            all.push(event.record);
        }
    }
}

/// Runs futures side by side on this task.
async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, slot) in running.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *slot = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Lets the other futures of [`join_all`] run once.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
