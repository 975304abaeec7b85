//! Recordings: a copy of everything a connection carries, decrypted, in a file for `hikyaku inspect`.
//!
//! It is taken below the session: over TCP the bytes of the byte stream under QMux, over QUIC the bytes of each stream
//! and the datagrams (quinn does not show its packets). Writing is plain blocking I/O on the tasks of the connections:
//! a tool for looking, not for every day. Format: `docs/recording.md`.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use hikyaku_wire::recording::{Entry, Kind, MAGIC, MAX_BYTES};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{Closed, Error, Result};
use crate::key_log::open_private;

/// Where connections are recorded. Cloning shares it; the last clone gone, the file is complete.
///
/// ```no_run
/// # async fn example(pin: hikyaku::KeyId) -> hikyaku::Result<()> {
/// let recording = hikyaku::Recording::to_file("connection.rec")?;
/// let connection = hikyaku::connect("chat.example:4747", pin).record(&recording).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Recording(Arc<Shared>);

struct Shared {
    since: Instant,
    file: Mutex<Output>,
}

struct Output {
    /// Not buffered: a program that ends, however it does, leaves whole entries.
    to: Box<dyn io::Write + Send>,
    entry: Vec<u8>,
    failed: bool,
}

impl Recording {
    /// Writes to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made, or exists already.
    pub fn to_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |error| Error::io(format!("the recording {}", path.display()), error);
        let file = open_private(path, OpenOptions::new().write(true).create_new(true)).map_err(io)?;
        Self::to_writer(file).map_err(io)
    }

    /// Writes to `to`.
    pub fn to_writer(to: impl io::Write + Send + 'static) -> io::Result<Self> {
        let mut to: Box<dyn io::Write + Send> = Box::new(to);
        to.write_all(MAGIC)?;
        let file = Mutex::new(Output { to, entry: Vec::new(), failed: false });
        Ok(Self(Arc::new(Shared { since: Instant::now(), file })))
    }

    /// Begins to record a connection.
    pub(crate) fn begin(&self, connection: u64, what: String) -> Tap {
        let tap = Tap { recording: self.clone(), connection };
        tap.put(|entry| entry.text = Some(what), Kind::Begin, false);
        tap
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

/// One connection's way into the recording.
#[derive(Clone)]
pub(crate) struct Tap {
    recording: Recording,
    connection: u64,
}

impl Tap {
    /// Bytes of the byte stream, or of one of the streams.
    pub(crate) fn bytes(&self, received: bool, stream: Option<u64>, bytes: &[u8]) {
        let kind = if stream.is_some() { Kind::Stream } else { Kind::Records };
        for chunk in bytes.chunks(MAX_BYTES) {
            let fill = |entry: &mut Entry| {
                entry.stream = stream;
                entry.bytes = Some(Bytes::copy_from_slice(chunk));
            };
            self.put(fill, kind, received);
        }
    }

    pub(crate) fn datagram(&self, received: bool, datagram: &Bytes) {
        self.put(|entry| entry.bytes = Some(datagram.clone()), Kind::Datagram, received);
    }

    /// A stream's end in one direction: FIN, or RESET and STOP with their codes.
    pub(crate) fn stream_over(&self, received: bool, stream: u64, kind: Kind, code: Option<u64>) {
        let fill = |entry: &mut Entry| {
            entry.stream = Some(stream);
            entry.code = code;
        };
        self.put(fill, kind, received);
    }

    pub(crate) fn end(&self, closed: &Closed) {
        let fill = |entry: &mut Entry| {
            entry.code = Some(u64::from(closed.code.0));
            entry.text = Some(closed.to_string());
        };
        self.put(fill, Kind::End, closed.by != crate::ClosedBy::Us);
    }

    fn put(&self, fill: impl FnOnce(&mut Entry), kind: Kind, received: bool) {
        let at = u64::try_from(self.recording.0.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut entry = Entry::new(at, self.connection, kind, received);
        fill(&mut entry);
        let mut output = self.recording.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        let output = &mut *output;
        if output.failed {
            return;
        }
        output.entry.clear();
        entry.encode(&mut output.entry);
        let written = output.to.write_all(&output.entry);
        output.note(written);
    }
}

impl Output {
    /// The connection goes on, whatever happens to its recording. Said once.
    fn note(&mut self, written: io::Result<()>) {
        if let (Err(error), false) = (written, self.failed) {
            tracing::error!(%error, "the recording could not be written and is not complete");
            self.failed = true;
        }
    }
}

/// A byte stream of which everything is recorded.
pub(crate) struct Tapped<S> {
    pub(crate) io: S,
    pub(crate) tap: Tap,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.tap.bytes(true, None, read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buffer))?;
        self.tap.bytes(false, None, buffer.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
