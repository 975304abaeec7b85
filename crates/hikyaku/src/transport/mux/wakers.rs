//! Who waits for something on a stream: at most one task for each thing.

use std::task::Waker;

use hikyaku_mux::StreamId;

/// A list with room for more than this gives back what it has not needed for long.
const SMALL: usize = 16;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Bytes to read, or the end of them.
    Read,
    /// Room to write.
    Write,
    /// The end of what was written being handed to the byte stream.
    End,
}

/// The tasks that wait, by stream and thing. A sorted list: a connection that is silent has two entries, and a table of a
/// thousand would not be found much faster.
#[derive(Default)]
pub(super) struct Wakers(Vec<(u64, Waker)>);

impl Wakers {
    /// From now on this task waits, instead of whoever did.
    pub(super) fn put(&mut self, id: StreamId, what: Wait, waker: &Waker) {
        let key = key(id, what);
        match self.find(key) {
            Ok(at) => {
                if let Some((_, old)) = self.0.get_mut(at) {
                    old.clone_from(waker);
                }
            }
            Err(at) => self.0.insert(at, (key, waker.clone())),
        }
    }

    /// It has come: nobody waits for it any more.
    pub(super) fn wake(&mut self, id: StreamId, what: Wait) {
        if let Some(waker) = self.take(id, what) {
            waker.wake();
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, id: StreamId, what: Wait) {
        self.take(id, what);
    }

    /// Nothing of it will ever come.
    pub(super) fn wake_all(&mut self) {
        std::mem::take(&mut self.0).into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// How many wait for this.
    pub(super) fn count(&self, what: Wait) -> usize {
        self.0.iter().filter(|(key, _)| key & 3 == what as u64).count()
    }

    fn take(&mut self, id: StreamId, what: Wait) -> Option<Waker> {
        let at = self.find(key(id, what)).ok()?;
        let (_, waker) = self.0.remove(at);
        // By halves, so that what comes and goes is not moved each time. It is never empty: two tasks always listen.
        let room = self.0.capacity();
        if room > SMALL && self.0.len() <= room / 4 {
            self.0.shrink_to(room / 2);
        }
        Some(waker)
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |(key, _)| *key)
    }
}

/// A stream's number has 62 bits.
fn key(id: StreamId, what: Wait) -> u64 {
    u64::from(id) << 2 | what as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), count.into())
    }

    #[test]
    fn who_waits_is_woken_once_by_what_it_waits_for_and_by_nothing_else() {
        let mut wakers = Wakers::default();
        let waits = [Wait::Read, Wait::Write, Wait::End];
        let all: Vec<_> = (0..40_u64)
            .flat_map(|n| waits.map(|what| (StreamId::from(n * 7 % 40), what, counted())))
            .collect();
        // As on every connection: one task reads the peer's control stream, and one waits for the end of ours.
        let (always, listens) = (StreamId::from(1 << 40), counted().1);
        wakers.put(always, Wait::Read, &listens);
        for (id, what, (_, waker)) in &all {
            let (replaced, before) = counted();
            wakers.put(*id, *what, &before);
            wakers.put(*id, *what, waker);
            assert_eq!(Arc::strong_count(&replaced), 2, "who waited before is forgotten");
        }
        for (at, (id, what, (count, _))) in all.iter().enumerate() {
            if at % 3 == 0 {
                wakers.forget(*id, *what);
            }
            wakers.wake(*id, *what);
            wakers.wake(*id, *what);
            assert_eq!(count.0.load(Ordering::Relaxed), usize::from(at % 3 != 0));
            let others: usize = all.iter().map(|(_, _, (count, _))| count.0.load(Ordering::Relaxed)).sum();
            assert_eq!(others, at - at / 3, "nobody else was woken");
        }
        assert_eq!(waits.map(|what| wakers.count(what)), [1, 0, 0]);
        assert!(wakers.0.capacity() <= SMALL, "a list that was long gives its memory back");
    }

    #[test]
    fn a_connection_that_ends_wakes_everybody() {
        let (mut wakers, (count, waker)) = (Wakers::default(), counted());
        wakers.put(StreamId::from(3), Wait::Read, &waker);
        wakers.put(StreamId::from((1 << 62) - 1), Wait::End, &waker);
        assert_eq!([Wait::Read, Wait::Write, Wait::End].map(|what| wakers.count(what)), [1, 0, 1]);
        wakers.wake_all();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert_eq!(wakers.count(Wait::Read), 0);
    }
}
