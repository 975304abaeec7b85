//! Everything a member can make grow, and how far. Spec: chapter 4, "Limits".

use std::time::Duration;

use crate::presence::PresenceLimits;
use crate::refusal::Refusal;

/// The limits of a chat server. Reaching one gives an error that names it; nothing is dropped silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one body.
    pub body: usize,
    /// Bytes of a topic given when a room is created.
    pub topic: usize,
    /// Bytes of a reaction.
    pub reaction: usize,
    /// Edits of one event.
    pub edits: usize,
    /// Events a room keeps in view; [`MAX_STATE`](hikyaku_storage::limits::MAX_STATE) has room for a hundred.
    pub pins: usize,
    /// Users who belong to one room.
    pub members: usize,
    /// Members in one answer to `room.members`.
    pub members_listed: usize,
    /// Mentions of one user in one room that are remembered as unread.
    pub mentioned: usize,
    /// Events that one transaction trims.
    pub trimmed_at_once: usize,
    /// Events one event may be about.
    pub refs: usize,
    /// Users one event may mention.
    pub mentions: usize,
    /// Rooms on the server.
    pub rooms: u64,
    /// Rooms in one answer to `room.list`.
    pub listed: usize,
    /// Rooms one `sync` exchange may follow.
    pub subscriptions: usize,
    /// Sends of one exchange that may wait for their answer.
    pub sends_in_flight: usize,
    /// Sends that may wait in one room.
    pub sends_waiting: usize,
    /// Bytes of bodies that may wait in all rooms together; at least one body, or that body never goes.
    pub bytes_waiting: usize,
    /// Events in one commit.
    pub commit_events: usize,
    /// Bytes of bodies in one commit.
    pub commit_bytes: usize,
    /// Events a room keeps in memory for its readers.
    pub ring_events: usize,
    /// Bytes a room keeps in memory for its readers.
    pub ring_bytes: usize,
    /// Bytes all rooms together keep in memory; beyond it each keeps only its newest commit.
    pub rings_bytes: usize,
    /// Bytes of records in one update or page, except that one record always fits.
    //= S4.70
    pub update_bytes: usize,
    /// Events in one update or page.
    pub update_events: usize,
    /// How long a room that is not on screen may wait for its new head.
    pub head_delay: Duration,
    /// How often a reader is told heads it could have missed.
    pub heads_every: Duration,
    /// How often a commit is tried again when others keep changing what it rests on.
    pub commit_attempts: usize,
    /// Of who looks at rooms, and who types.
    pub presence: PresenceLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 << 10,
            topic: 1 << 10,
            reaction: 64,
            edits: 256,
            pins: 50,
            members: 10_000,
            members_listed: 1_024,
            mentioned: 100,
            trimmed_at_once: 1_000,
            refs: 16,
            mentions: 64,
            rooms: 100_000,
            listed: 256,
            subscriptions: 4_096,
            sends_in_flight: 256,
            sends_waiting: 4_096,
            bytes_waiting: 64 << 20,
            commit_events: 256,
            commit_bytes: 4 << 20,
            ring_events: 8_192,
            ring_bytes: 1 << 20,
            rings_bytes: 64 << 20,
            update_bytes: 64 << 10,
            update_events: 1_024,
            head_delay: Duration::from_secs(1),
            heads_every: Duration::from_secs(30),
            commit_attempts: 16,
            presence: PresenceLimits::default(),
        }
    }
}

/// `Ok` up to and including `limit`; beyond it the refusal that names it.
pub(crate) fn within(what: &'static str, size: usize, limit: usize) -> Result<(), Refusal> {
    if size <= limit { Ok(()) } else { Err(Refusal::Limit { what, size, limit }) }
}
