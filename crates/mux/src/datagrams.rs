//! Datagrams that wait: to be sent (bounded, never dropped) and to be taken (bounded, the oldest dropped and counted).

use bytes::Bytes;
use std::collections::VecDeque;

/// What a datagram costs beyond its bytes, so that empty ones are bounded too.
const OVERHEAD: usize = 32;

/// An empty queue larger than this gives its memory back.
const SMALL_QUEUE: usize = 8;

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct Queue {
    waiting: VecDeque<Bytes>,
    held: usize,
}

impl Queue {
    /// Adds a datagram if it fits `limit` (an empty queue takes one of any size).
    pub(crate) fn offer(&mut self, payload: Bytes, limit: usize) -> bool {
        let cost = payload.len() + OVERHEAD;
        let fits = self.waiting.is_empty() || self.held + cost <= limit;
        if fits {
            self.held += cost;
            self.waiting.push_back(payload);
        }
        fits
    }

    /// Adds a datagram and drops older ones until `limit` holds or no other is left; returns how many were dropped.
    pub(crate) fn force(&mut self, payload: Bytes, limit: usize) -> u64 {
        let cost = payload.len() + OVERHEAD;
        let mut dropped = 0;
        while self.held + cost > limit && self.pop().is_some() {
            dropped += 1;
        }
        self.held += cost;
        self.waiting.push_back(payload);
        dropped
    }

    pub(crate) fn front(&self) -> Option<&Bytes> {
        self.waiting.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let payload = self.waiting.pop_front()?;
        self.held -= payload.len() + OVERHEAD;
        if self.waiting.is_empty() && self.waiting.capacity() > SMALL_QUEUE {
            self.waiting = VecDeque::new();
        }
        Some(payload)
    }

    /// Bytes held, overhead included.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
