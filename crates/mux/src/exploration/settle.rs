//! Once all events are spent: everybody says and reads what is left, and only when there is reason to, until both have
//! come to their end. Who waits for an event that never comes stays behind, and is found.

use super::end::End;
use super::world::{SIDES, Step, World};

/// More rounds than any small world needs.
const ROUNDS: usize = 100;

impl World {
    pub(super) fn settle(mut self) {
        let before = self.clone();
        for _ in 0..ROUNDS {
            let mut moved = false;
            for side in SIDES {
                moved |= self.finish_and_read(side as usize);
                moved |= self.take(Step::Speak(side));
                moved |= self.take(Step::Arrive(side));
                moved |= self.take(Step::NoticeCut(side));
            }
            if !moved {
                return self.check_settled(&before);
            }
        }
        panic!("the two never stop talking\n{before:?}");
    }

    fn finish_and_read(&mut self, side: usize) -> bool {
        let (end, halves) = (&mut self.ends[side], &mut self.halves);
        let mut moved = false;
        for id in end.known.clone() {
            let own = halves.entry((id, side)).or_default().clone();
            if end.is_open() && end.sends(id) && !own.released {
                end.finish(id, halves);
                moved = true;
            }
            let theirs = halves.entry((id, 1 - side)).or_default();
            if end.receives(id) && !theirs.stopped && !theirs.over && !end.blocked.contains(&id) {
                while end.read(id, halves) {}
                moved = true;
            }
        }
        end.listen();
        moved
    }

    fn check_settled(&self, before: &World) {
        let [client, server] = &self.ends;
        self.check();
        assert_eq!(
            client.closed.is_some(),
            server.closed.is_some(),
            "one side does not know that it is over: {:?} {:?}\n{before:?}",
            client.closed,
            server.closed
        );
        for end in &self.ends {
            let left = end.connection.stream_count();
            assert_eq!(left, 0, "streams that never end: {:?}\n{before:?}", end.connection);
            assert!(end.closed.is_none() || end.hung_up, "it never hangs up: {end:?}\n{before:?}");
        }
        if client.closed.is_none() {
            self.check_whole(client, before);
            self.check_whole(server, before);
        }
    }

    /// The connection lives: nothing of what was to be said was lost, and all credit is back.
    fn check_whole(&self, end: &End, before: &World) {
        for ((id, writer), half) in &self.halves {
            let of_this_reader = *writer != end.side as usize && end.receives(*id) && end.known.contains(id);
            if of_this_reader && !half.stopped {
                assert!(half.over, "{id}: nobody was told how it ended\n{before:?}");
                let whole = half.given_up || half.read == half.written;
                assert!(whole, "{id}: {half:?}\n{before:?}");
            }
        }
        assert!(end.connection.is_all_consumed(), "credit was lost: {:?}\n{before:?}", end.connection);
        assert_eq!(end.wants, [false; 2], "nobody said that streams are available again\n{before:?}");
    }
}
