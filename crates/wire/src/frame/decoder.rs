//! Reading frames: incremental, without I/O, and never holding more than one incomplete frame that is not DATA.
//!
//! A header claims a length; nothing is reserved for it. What is buffered grows with the bytes that have arrived,
//! and a payload that arrived in one piece is a slice of that piece.

use bytes::{Buf, Bytes, BytesMut};

use super::{FrameError, FrameLimits, FrameType, MAX_HEADER};
use crate::varint;

/// What a stream consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole frame of a known type other than DATA.
    Frame {
        /// Its type; one of the registered ones.
        ty: FrameType,
        /// Its whole payload.
        payload: Bytes,
    },
    /// Some bytes of a DATA frame, in order.
    Data {
        /// The bytes: a slice of what was pushed. Empty only for an empty DATA frame.
        chunk: Bytes,
        /// Whether the DATA frame ends here.
        last: bool,
    },
}

/// Where the decoder is in the stream.
///
/// ```text
///            header complete                        payload complete
///   Header ──────┬── HELLO GOAWAY OPEN MESSAGE END ERROR ──▶ Payload ──▶ Header   (Piece::Frame)
///                ├── DATA ────────────────────────────────▶ Data ─────▶ Header   (Piece::Data, one per chunk)
///                ├── unknown ─────────────────────────────▶ Skip ─────▶ Header   (nothing)
///                └── not shortest, too long ──────────────▶ Failed               (the same error for ever)
/// ```
#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Payload { ty: FrameType, length: usize },
    Data { remaining: u64 },
    Skip { ty: FrameType, remaining: u64 },
    Failed(FrameError),
}

/// Reads the frames of one stream.
///
/// [`push`](Decoder::push) a chunk, then call [`next`](Decoder::next) until it gives `None`; after the stream's end,
/// [`finish`](Decoder::finish) tells whether the last frame was whole.
///
/// ```
/// use bytes::Bytes;
/// use hikyaku_wire::frame::{Decoder, FrameLimits, FrameType, Piece};
///
/// let mut decoder = Decoder::new(FrameLimits::default());
/// decoder.push(Bytes::from_static(&[0x11, 0x02, 0x18]));
/// assert_eq!(decoder.next(), Ok(None));
/// decoder.push(Bytes::from_static(&[0x64, 0x13, 0x00]));
/// let payload = Bytes::from_static(&[0x18, 0x64]);
/// assert_eq!(decoder.next(), Ok(Some(Piece::Frame { ty: FrameType::MESSAGE, payload })));
/// assert_eq!(decoder.next(), Ok(Some(Piece::Frame { ty: FrameType::END, payload: Bytes::new() })));
/// assert_eq!(decoder.finish(), Ok(()));
/// ```
//= S3.8
#[derive(Clone, Debug)]
pub struct Decoder {
    limits: FrameLimits,
    state: State,
    /// What was pushed and not yet read.
    input: Bytes,
    /// Frames begun that carry nothing: of unknown types, and DATA without bytes.
    void: u64,
    /// The beginning of a header (at most [`MAX_HEADER`] bytes) or of a payload, from earlier chunks.
    held: BytesMut,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new(limits: FrameLimits) -> Self {
        Decoder { limits, state: State::Header, input: Bytes::new(), void: 0, held: BytesMut::new() }
    }

    /// Changes the limits, from the next header on. They rise when a peer turns out to be more than a stranger.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// Gives the decoder the stream's next bytes. Call it when [`next`](Decoder::next) has given `None`;
    /// earlier, what is left over is copied together with the new chunk.
    pub fn push(&mut self, chunk: Bytes) {
        if self.input.is_empty() {
            self.input = chunk;
        } else if !chunk.is_empty() {
            self.input = [self.input.as_ref(), chunk.as_ref()].concat().into();
        }
    }

    /// The stream's next piece; `None` when more bytes are needed.
    ///
    /// Not an iterator: an error is final, and every later call repeats it.
    //= S3.17
    #[expect(clippy::should_implement_trait, reason = "an Iterator would hide the error's finality")]
    pub fn next(&mut self) -> Result<Option<Piece>, FrameError> {
        loop {
            let piece = match self.state {
                State::Header => {
                    let Some((ty, length)) =
                        self.header().inspect_err(|error| self.state = State::Failed(*error))?
                    else {
                        return Ok(None);
                    };
                    self.state =
                        self.begin(ty, length).inspect_err(|error| self.state = State::Failed(*error))?;
                    self.void +=
                        u64::from(matches!(self.state, State::Skip { .. } | State::Data { remaining: 0 }));
                    continue;
                }
                State::Payload { ty, length } => self.payload(ty, length),
                State::Data { remaining } => self.data(remaining),
                State::Skip { ty, remaining } => {
                    if self.skip(ty, remaining) {
                        continue;
                    }
                    None
                }
                State::Failed(error) => return Err(error),
            };
            return Ok(piece);
        }
    }

    /// Whether the stream may end here: between two frames, and with everything read.
    //= S3.16
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.state {
            State::Failed(error) => Err(error),
            State::Header if self.held.is_empty() && self.input.is_empty() => Ok(()),
            State::Header => Err(FrameError::Truncated { ty: None }),
            State::Payload { ty, .. } | State::Skip { ty, .. } => Err(FrameError::Truncated { ty: Some(ty) }),
            State::Data { .. } => Err(FrameError::Truncated { ty: Some(FrameType::DATA) }),
        }
    }

    /// How many bytes the decoder holds of a frame that is not complete; at most the largest limit.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// How many frames so far carried nothing: those of unknown types, and DATA without bytes.
    pub fn void_frames(&self) -> u64 {
        self.void
    }

    /// How many bytes the decoder holds in all: of an incomplete frame, and what was pushed and not yet read.
    pub fn buffered(&self) -> usize {
        self.held.len() + self.input.len()
    }

    /// Whether a frame other than DATA has begun and is not whole yet.
    pub fn is_inside_frame(&self) -> bool {
        match self.state {
            State::Header => !self.held.is_empty(),
            State::Payload { .. } | State::Skip { .. } => true,
            State::Data { .. } | State::Failed(_) => false,
        }
    }

    /// Reads a header, across chunks if need be.
    fn header(&mut self) -> Result<Option<(FrameType, u64)>, FrameError> {
        if self.held.is_empty()
            && let Some((ty, length, size)) = parse_header(&self.input)?
        {
            self.input.advance(size);
            return Ok(Some((ty, length)));
        }
        // Byte by byte from here: a header cut by the end of a chunk is rare, and at most 16 bytes long.
        while self.held.len() < MAX_HEADER && self.input.has_remaining() {
            self.held.extend_from_slice(&[self.input.get_u8()]);
            if let Some((ty, length, _)) = parse_header(&self.held)? {
                self.held.clear();
                return Ok(Some((ty, length)));
            }
        }
        Ok(None)
    }

    /// What follows a header.
    //= S3.13
    //= S3.15
    fn begin(&self, ty: FrameType, length: u64) -> Result<State, FrameError> {
        let (limit, limit_name) = match ty {
            FrameType::DATA => (self.limits.max_data_frame, "max_data_frame"),
            FrameType::MESSAGE => (self.limits.max_message, "max_message"),
            FrameType::END if length > 0 => return Err(FrameError::EndNotEmpty { length }),
            FrameType::END => (0, "max_metadata"),
            FrameType::HELLO | FrameType::GOAWAY | FrameType::OPEN | FrameType::ERROR => {
                (self.limits.max_metadata, "max_metadata")
            }
            _ => (self.limits.max_skipped, "max_skipped"),
        };
        let too_long = FrameError::TooLong { ty, length, limit, limit_name };
        if length > limit {
            return Err(too_long);
        }
        match (ty, ty.name()) {
            (FrameType::DATA, _) => Ok(State::Data { remaining: length }),
            (_, None) => Ok(State::Skip { ty, remaining: length }),
            _ => Ok(State::Payload { ty, length: usize::try_from(length).map_err(|_| too_long)? }),
        }
    }

    //= S3.12
    fn payload(&mut self, ty: FrameType, length: usize) -> Option<Piece> {
        let payload = if self.held.is_empty() && self.input.len() >= length {
            self.input.split_to(length)
        } else {
            let missing = length.saturating_sub(self.held.len());
            let arrived = self.input.split_to(missing.min(self.input.len()));
            self.held.extend_from_slice(&arrived);
            if self.held.len() < length {
                return None;
            }
            std::mem::take(&mut self.held).freeze()
        };
        self.state = State::Header;
        Some(Piece::Frame { ty, payload })
    }

    //= S3.11
    fn data(&mut self, remaining: u64) -> Option<Piece> {
        if self.input.is_empty() && remaining > 0 {
            return None;
        }
        let chunk = self.take(remaining);
        let remaining = remaining.saturating_sub(chunk.len() as u64);
        self.state = if remaining == 0 { State::Header } else { State::Data { remaining } };
        Some(Piece::Data { chunk, last: remaining == 0 })
    }

    /// Throws away what has arrived of an unknown frame; whether it is over.
    //= S3.10
    //= S3.95
    fn skip(&mut self, ty: FrameType, remaining: u64) -> bool {
        let remaining = remaining.saturating_sub(self.take(remaining).len() as u64);
        self.state = if remaining == 0 { State::Header } else { State::Skip { ty, remaining } };
        remaining == 0
    }

    /// At most `limit` bytes of what has arrived, uncopied.
    fn take(&mut self, limit: u64) -> Bytes {
        let length = usize::try_from(limit).unwrap_or(usize::MAX).min(self.input.len());
        self.input.split_to(length)
    }
}

/// Reads `type` and `length` from the front of `bytes`; `None` when they are not all there. A type that is not in
/// its shortest form is refused even before its length has arrived.
//= S3.9
fn parse_header(bytes: &[u8]) -> Result<Option<(FrameType, u64, usize)>, FrameError> {
    let Some((ty, ty_size)) = shortest("type", bytes)? else { return Ok(None) };
    let Some((length, length_size)) = shortest("length", bytes.get(ty_size..).unwrap_or_default())? else {
        return Ok(None);
    };
    Ok(Some((FrameType(ty), length, ty_size + length_size)))
}

fn shortest(field: &'static str, bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    match varint::decode(bytes) {
        Some((value, size)) if !varint::is_shortest(value, size) => {
            Err(FrameError::NotShortest { field, value })
        }
        decoded => Ok(decoded),
    }
}
