//! The two halves of a stream, and the wait for its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hikyaku_mux as qmux;
use qmux::StreamId;

use super::Shared;
use super::wakers::Wait;
use crate::transport::StreamError;

/// The sending half of a stream.
pub(crate) struct MuxSend {
    shared: Arc<Shared>,
    id: StreamId,
    ended: bool,
    hurried: bool,
}

impl MuxSend {
    pub(super) fn new(shared: &Arc<Shared>, id: StreamId) -> Self {
        Self { shared: shared.clone(), id, ended: false, hurried: false }
    }

    /// What is written from here on leaves as soon as the writer pauses.
    pub(in super::super) fn hurry(&mut self) {
        self.hurried = true;
    }

    pub(in super::super) fn id(&self) -> u64 {
        self.id.into()
    }

    pub(in super::super) async fn write(&mut self, chunk: &mut Bytes) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_write(cx, chunk)).await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), StreamError>> {
        let mut state = self.shared.lock();
        while !chunk.is_empty() {
            match state.connection.write(self.id, chunk) {
                Ok(_) => {
                    state.hurried |= self.hurried;
                    state.wake_driver();
                }
                Err(qmux::WriteError::Blocked) => {
                    if let Some(closed) = &state.closed {
                        return Poll::Ready(Err(StreamError::Lost(closed.clone())));
                    }
                    state.wakers.put(self.id, Wait::Write, cx.waker());
                    return Poll::Pending;
                }
                Err(qmux::WriteError::Stopped(code)) => return Poll::Ready(Err(StreamError::Stopped(code))),
                Err(qmux::WriteError::Closed) => return Poll::Ready(Err(state.lost())),
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(in super::super) fn finish(&mut self) {
        self.ended = true;
        let mut state = self.shared.lock();
        // The only error is that the stream is over already, which is what was asked for.
        let _ = state.connection.finish(self.id);
        state.wake_driver();
    }

    pub(in super::super) fn reset(&mut self, code: u32) {
        self.ended = true;
        let mut state = self.shared.lock();
        state.connection.reset(self.id, code.into());
        state.wake_driver();
    }

    pub(in super::super) fn set_priority(&mut self, priority: i32) {
        self.shared.lock().connection.set_priority(self.id, priority);
    }

    /// One task at a time may wait.
    pub(in super::super) fn done(&self) -> Done {
        Done { shared: self.shared.clone(), id: self.id, waiting: false }
    }
}

/// Waits until a stream's sending half is over.
pub(crate) struct Done {
    shared: Arc<Shared>,
    id: StreamId,
    waiting: bool,
}

impl Future for Done {
    type Output = Result<(), StreamError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        let done = match state.connection.send_status(this.id) {
            qmux::SendStatus::Stopped(code) => Some(Err(StreamError::Stopped(code))),
            qmux::SendStatus::Over if state.closed.is_none() => Some(Ok(())),
            _ => state.closed.clone().map(|closed| Err(StreamError::Lost(closed))),
        };
        if done.is_none() {
            this.waiting = true;
            state.wakers.put(this.id, Wait::End, cx.waker());
        }
        done.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if self.waiting {
            self.shared.lock().wakers.forget(self.id, Wait::End);
        }
    }
}

impl Drop for MuxSend {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.wakers.forget(self.id, Wait::Write);
        if !self.ended {
            state.connection.reset(self.id, 0);
            state.wake_driver();
        }
    }
}

/// The receiving half of a stream.
pub(crate) struct MuxRecv {
    shared: Arc<Shared>,
    id: StreamId,
    ended: bool,
}

impl MuxRecv {
    pub(super) fn new(shared: &Arc<Shared>, id: StreamId) -> Self {
        Self { shared: shared.clone(), id, ended: false }
    }

    pub(in super::super) async fn read(&mut self, max: usize) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.poll_read(cx, max)).await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, StreamError>> {
        let mut state = self.shared.lock();
        let read = match state.connection.read(self.id, max) {
            Ok(Some(chunk)) => {
                // Reading gives credit back, which the driver has to tell the peer.
                state.wake_driver_for_credit();
                return Poll::Ready(Ok(Some(chunk)));
            }
            Ok(None) => Ok(None),
            Err(qmux::ReadError::Blocked) => {
                if let Some(closed) = &state.closed {
                    return Poll::Ready(Err(StreamError::Lost(closed.clone())));
                }
                state.wakers.put(self.id, Wait::Read, cx.waker());
                return Poll::Pending;
            }
            Err(qmux::ReadError::Reset(code)) => Err(StreamError::Reset(code)),
            Err(qmux::ReadError::Closed) => Err(state.lost()),
        };
        // A stream that is over makes room for another one, and whoever waits for it may have nothing else to say.
        state.wake_driver_for_credit();
        drop(state);
        self.ended = true;
        Poll::Ready(read)
    }

    pub(in super::super) fn stop(&mut self, code: u32) {
        self.ended = true;
        let mut state = self.shared.lock();
        state.connection.stop(self.id, code.into());
        state.wake_driver();
    }
}

impl Drop for MuxRecv {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.wakers.forget(self.id, Wait::Read);
        if !self.ended {
            state.connection.stop(self.id, 0);
            state.wake_driver();
        }
    }
}
