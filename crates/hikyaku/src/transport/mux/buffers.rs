//! Buffers that a thread's drivers read into.
//!
//! What is read is handed on in slices, so a buffer comes back when the last of them was used up. Some are remembered until
//! then and read into again: a fresh one from the system costs a page fault for each of its pages, and more than decrypting
//! into it. With every turn that moves little the thread gives one of them up: one on which hardly anything is said soon keeps none. (One
//! on which nothing at all is said any more keeps what it had, 4 MiB at most.)

use std::collections::VecDeque;

use bytes::BytesMut;

/// Bytes asked from the byte stream at once. Large reads keep the hash and the disk behind them in big blocks.
const READ_CHUNK: usize = 128 * 1024;
/// Free room below which another buffer is taken: one more TLS record must always fit.
const READ_MINIMUM: usize = 20 * 1024;
/// Buffers that are remembered: as many as lie between a connection and a disk that keeps up with it.
const MOST: usize = 32;

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct Buffers {
    /// What is left of the one that was read into last.
    at_hand: Option<BytesMut>,
    /// What is left of others, parts of which may still be held; in the order in which they were used up.
    used: VecDeque<BytesMut>,
}

impl Buffers {
    /// An empty buffer to read into, with room for a record at least.
    pub(super) fn take(&mut self) -> BytesMut {
        if let Some(at_hand) = self.at_hand.take() {
            if at_hand.capacity() >= READ_MINIMUM {
                return at_hand;
            }
            if self.used.len() < MOST {
                self.used.push_back(at_hand);
            }
        }
        // One that is held for long must not hide those behind it.
        for _ in 0..self.used.len() {
            let Some(mut buffer) = self.used.pop_front() else { break };
            if buffer.try_reclaim(READ_CHUNK) {
                return buffer;
            }
            self.used.push_back(buffer);
        }
        BytesMut::with_capacity(READ_CHUNK)
    }

    /// Gives back what is left of a buffer after what was read was taken out of it.
    pub(super) fn put_back(&mut self, rest: BytesMut) {
        debug_assert!(rest.is_empty(), "everything that was read is handed on");
        self.at_hand = Some(rest);
    }

    /// Gives one up: little is moved.
    pub(super) fn rest(&mut self) {
        self.used.pop_front();
        if self.used.is_empty() && self.used.capacity() > 0 {
            self.used = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn read(buffers: &mut Buffers, len: usize, value: u8) -> Bytes {
        let mut buffer = buffers.take();
        assert!(buffer.is_empty() && buffer.capacity() >= READ_MINIMUM);
        buffer.resize(len.min(buffer.capacity()), value);
        let bytes = buffer.split().freeze();
        buffers.put_back(buffer);
        bytes
    }

    #[test]
    fn a_buffer_is_read_into_again_once_nobody_holds_a_part_of_it() {
        let mut buffers = Buffers::default();
        let first = read(&mut buffers, READ_CHUNK, 1);
        let place = first.as_ptr();
        let second = read(&mut buffers, READ_CHUNK, 2);
        assert_ne!(second.as_ptr(), place, "it is held");
        drop(first);
        assert_eq!(read(&mut buffers, READ_CHUNK, 3).as_ptr(), place);
        assert_ne!(read(&mut buffers, READ_CHUNK, 4).as_ptr(), second.as_ptr());
    }

    #[test]
    fn a_thread_at_rest_gives_its_buffers_up() {
        let mut buffers = Buffers::default();
        let held: Vec<Bytes> = (0..2 * MOST).map(|_| read(&mut buffers, READ_CHUNK, 0)).collect();
        assert_eq!(buffers.used.len(), MOST, "no more are remembered");
        drop(held);
        (0..MOST).for_each(|_| buffers.rest());
        assert_eq!(buffers.used.capacity(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is read, held and let go of: what somebody holds never changes.
        #[test]
        fn nothing_that_is_held_is_read_into(
            steps in prop::collection::vec((1..=READ_CHUNK, 0usize..4, 0usize..8, any::<u8>()), 1..80),
        ) {
            let (mut buffers, mut held) = (Buffers::default(), Vec::new());
            for (len, action, which, value) in steps {
                let bytes = read(&mut buffers, len, value);
                // What is held is often a small part of what was read.
                held.push((value, bytes.slice(bytes.len() / 2..)));
                if action > 0 && which < held.len() {
                    held.swap_remove(which);
                }
                if action == 3 {
                    buffers.rest();
                }
                prop_assert!(buffers.used.len() <= MOST);
                for (value, bytes) in &held {
                    prop_assert!(bytes.iter().step_by(997).all(|byte| byte == value));
                }
            }
        }
    }
}
