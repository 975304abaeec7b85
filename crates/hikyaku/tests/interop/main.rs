//! The library against QMux by other people: the crate `qmux`, over TLS 1.3 with keys and certificates as chapter 6 has
//! them, as client and as server. `stranger` makes the peer; the scenes say what must hold whoever wrote the other end.
//!
//! Where the two differ, draft-ietf-quic-qmux-02 and RFC 9000 decide. What was found in `qmux` 0.6.6:
//!
//! - It gives a peer's stream back (MAX_STREAMS) when its receiving half is dropped, before its sending half has ended.
//!   RFC 9000 4.6 leaves the moment to the receiver; we wait for both halves.
//! - It keeps back up to a third of its stream limit until more streams have ended. A limit says how many may be open, so
//!   it may.
//! - It says `reset_stream_at` (RESET_STREAM_AT), an extension that the draft permits and we do not have: the parameter is
//!   ignored, as S2.21 says, and the frame does not come, since we did not say it.
//! - It sheds datagrams when its writer is busy, and answers that they were sent; ours says `Blocked`. Either may be
//!   done to a datagram (RFC 9221, 5).
//! - It does not check that STREAM frames continue where the last one ended (draft, 4.1), and takes a RESET_STREAM whose
//!   final size is smaller than what arrived (RFC 9000 4.5); we close the connection (S2.18, S2.26).
//! - By its source it never counts as read what had arrived when a reader was dropped, so that the connection's credit
//!   shrinks; S2.24 wants it given back. Scenes here read to the end where that would matter.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod limits;
mod many;
#[path = "../connections/raw.rs"]
mod raw;
mod stall;
mod stranger;
mod talk;
