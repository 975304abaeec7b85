//! Buffers for blocks that are read and sent: those that came back are used again.
//!
//! A block is given away as [`Bytes`] and comes back when whoever sends it has let go of it. A buffer for each block would be
//! asked from the system and given back to it, with all of its pages, each time.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Buffers of one transfer. No more are remembered than it was made for; one that does not come back is forgotten.
#[derive(Debug)]
pub(crate) struct Buffers {
    given: VecDeque<Bytes>,
    most: usize,
}

impl Buffers {
    /// Remembers so many at most.
    pub(crate) fn new(most: usize) -> Self {
        Self { given: VecDeque::new(), most }
    }

    /// A buffer of this length: one that came back, or a new one. What is in it is of no use.
    pub(crate) fn take(&mut self, len: usize) -> BytesMut {
        // They come back in the order in which they were given away, so the first tells for all that are held.
        match self.given.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(mut buffer)) if buffer.capacity() >= len => {
                buffer.resize(len, 0);
                buffer
            }
            Some(Err(held)) => {
                self.given.push_front(held);
                BytesMut::zeroed(len)
            }
            _ => BytesMut::zeroed(len),
        }
    }

    /// Gives a buffer away.
    pub(crate) fn give(&mut self, buffer: BytesMut) -> Bytes {
        let bytes = buffer.freeze();
        self.given.push_back(bytes.clone());
        if self.given.len() > self.most {
            self.given.pop_front();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_buffer_that_came_back_is_used_again_and_one_that_is_held_is_not() {
        let mut buffers = Buffers::new(2);
        let first = buffers.take(100);
        let (place, first) = (first.as_ptr(), buffers.give(first));
        assert_ne!(buffers.take(100).as_ptr(), place, "it is held");
        drop(first);
        assert_eq!(buffers.take(60).as_ptr(), place);
    }

    proptest! {
        /// Whatever is taken, given and let go of: what somebody holds never changes, and no more is remembered than was said.
        #[test]
        fn nothing_that_is_held_is_written_to(
            steps in prop::collection::vec((1usize..64, any::<bool>(), any::<u8>()), 1..200),
            most in 0usize..6,
        ) {
            let (mut buffers, mut held) = (Buffers::new(most), VecDeque::new());
            for (len, lets_go, value) in steps {
                let mut buffer = buffers.take(len);
                prop_assert_eq!(buffer.len(), len);
                buffer.fill(value);
                held.push_back((value, len, buffers.give(buffer)));
                prop_assert!(buffers.given.len() <= most);
                if lets_go {
                    held.pop_front();
                }
                for (value, len, bytes) in &held {
                    prop_assert_eq!(&bytes[..], &vec![*value; *len][..]);
                }
            }
        }
    }
}
