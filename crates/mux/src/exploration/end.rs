//! One side of the world: its connection, and what its application knows and wants.

use crate::{CloseReason, Connection, Dir, Event, ReadError, Side, StreamId, WriteError};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What one direction of one stream carried, as its two applications see it.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Half {
    pub(super) written: u64,
    pub(super) read: u64,
    /// The writer has finished.
    pub(super) finished: bool,
    /// The writer gave up, or was told to.
    pub(super) given_up: bool,
    /// The writer has ended it, and will not be heard of again.
    pub(super) released: bool,
    /// The reader gave up.
    pub(super) stopped: bool,
    /// The reader knows how it ended.
    pub(super) over: bool,
}

/// By stream and writer.
pub(super) type Halves = BTreeMap<(StreamId, usize), Half>;

#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) side: Side,
    pub(super) connection: Connection,
    /// Events that it may still cause.
    pub(super) left: u8,
    pub(super) known: Vec<StreamId>,
    /// Streams whose next read waits for `Event::Readable`.
    pub(super) blocked: BTreeSet<StreamId>,
    /// Waits for `Event::Available`.
    pub(super) wants: [bool; 2],
    /// What `Event::Closed` said.
    pub(super) closed: Option<CloseReason>,
    /// It has said all, and its direction of the transport has ended.
    pub(super) hung_up: bool,
    /// It was told that the other direction has ended.
    pub(super) heard_end: bool,
}

/// The code of every reset, stop and close: each side has its own.
pub(super) fn code(side: Side) -> u64 {
    7 + side as u64
}

/// The byte at `offset` of a direction: any mistake shows.
fn byte(id: StreamId, writer: Side, offset: u64) -> u8 {
    (offset * 31 + u64::from(id) * 77 + writer as u64 * 64) as u8
}

impl End {
    pub(super) fn new(side: Side, connection: Connection, left: u8) -> Self {
        let (known, blocked, wants) = (Vec::new(), BTreeSet::new(), [false; 2]);
        let (closed, hung_up, heard_end) = (None, false, false);
        Self { side, connection, left, known, blocked, wants, closed, hung_up, heard_end }
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Whether it sends on this stream.
    pub(super) fn sends(&self, id: StreamId) -> bool {
        id.dir() == Dir::Bi || id.initiator() == self.side
    }

    pub(super) fn receives(&self, id: StreamId) -> bool {
        id.dir() == Dir::Bi || id.initiator() != self.side
    }

    pub(super) fn open(&mut self, dir: Dir) -> bool {
        let opened = self.connection.open(dir);
        self.known.extend(opened);
        self.wants[dir.slot()] = opened.is_none();
        true
    }

    pub(super) fn write(&mut self, id: StreamId, halves: &mut Halves) {
        let half = halves.entry((id, self.side as usize)).or_default();
        let bytes: Vec<u8> = (half.written..half.written + 2).map(|at| byte(id, self.side, at)).collect();
        match self.connection.write(id, &mut Bytes::from(bytes)) {
            Ok(taken) => {
                assert_eq!(taken, 2, "the send buffer has room");
                assert!(!half.finished && !half.given_up, "{id}: a write after the end");
                half.written += 2;
            }
            Err(WriteError::Stopped(stopped)) => {
                assert_eq!(stopped, code(self.side.peer()));
                half.given_up = true;
            }
            Err(error) => panic!("{id}: {error}"),
        }
    }

    pub(super) fn finish(&mut self, id: StreamId, halves: &mut Halves) {
        let half = halves.entry((id, self.side as usize)).or_default();
        match self.connection.finish(id) {
            Ok(()) => half.finished = true,
            Err(WriteError::Stopped(_)) => half.given_up = true,
            Err(error) => panic!("{id}: {error}"),
        }
        half.released = true;
    }

    pub(super) fn reset(&mut self, id: StreamId, halves: &mut Halves) {
        self.connection.reset(id, code(self.side));
        let half = halves.entry((id, self.side as usize)).or_default();
        (half.given_up, half.released) = (true, true);
    }

    pub(super) fn stop(&mut self, id: StreamId, halves: &mut Halves) {
        self.connection.stop(id, code(self.side));
        self.blocked.remove(&id);
        halves.entry((id, self.side.peer() as usize)).or_default().stopped = true;
    }

    /// Reads once; true when there may be more.
    pub(super) fn read(&mut self, id: StreamId, halves: &mut Halves) -> bool {
        let writer = self.side.peer();
        let half = halves.entry((id, writer as usize)).or_default();
        match self.connection.read(id, 1) {
            Ok(Some(piece)) => {
                assert!(!half.over && !half.stopped, "{id}: bytes after the end");
                for got in &piece {
                    assert_eq!(*got, byte(id, writer, half.read), "{id}: lost, doubled or swapped");
                    half.read += 1;
                }
                assert!(half.read <= half.written, "{id}: more than was written");
                return true;
            }
            Ok(None) => {
                assert!(half.finished && !half.over, "{id}: an end nobody said");
                assert_eq!(half.read, half.written, "{id}: the end came early");
                half.over = true;
            }
            Err(ReadError::Reset(_)) => {
                assert!(half.given_up && !half.over, "{id}: a reset nobody said");
                half.over = true;
            }
            Err(ReadError::Blocked) => {
                self.blocked.insert(id);
            }
            Err(ReadError::Closed) => {
                assert!(half.over || half.stopped || !self.is_open(), "{id} closed by itself");
                half.over = true;
            }
        }
        false
    }

    /// Takes in what the connection has to tell.
    pub(super) fn listen(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            assert!(self.closed.is_none(), "{event:?} after the end");
            match event {
                Event::Readable(id) => {
                    assert!(self.blocked.remove(&id), "{id}: nobody waits");
                }
                Event::Available(dir) => {
                    assert!(std::mem::take(&mut self.wants[dir.slot()]), "{dir}: nobody waits");
                }
                Event::Closed(reason) => {
                    self.blocked.clear();
                    self.wants = [false; 2];
                    self.closed = Some(reason);
                }
                _ => {}
            }
        }
        for dir in Dir::ALL {
            while let Some(id) = self.connection.accept(dir) {
                assert!(!self.known.contains(&id), "{id} was accepted twice");
                self.known.push(id);
            }
        }
        assert_eq!(
            self.closed.as_ref(),
            self.connection.close_reason(),
            "the reason changed, or nobody was told"
        );
    }

    /// The next bytes, if any, and whether its direction ends behind them.
    pub(super) fn speak(&mut self, now: Instant) -> (Option<Bytes>, bool) {
        let mut out = Vec::new();
        let spoke = self.connection.poll_transmit(now, &mut out, 1 << 16);
        assert!(!spoke || !self.hung_up, "something was said after the end");
        let hangs_up = self.connection.is_drained() && !self.hung_up;
        self.hung_up |= hangs_up;
        (spoke.then(|| Bytes::from(out)), hangs_up)
    }
}
