//! What a peer may say next on an exchange: a pure state machine over decoded frames. Spec: chapter 3, "Exchanges".
//!
//! ```text
//!             OPEN                 MESSAGE | DATA                     END | ERROR
//!   Opening ───────▶ Speaking ◀──────────────────▶ Speaking ─────────────────────▶ Over ───(FIN)──▶ done
//!   (initiators' answers begin in Speaking)            │
//!                                                      └──────(FIN)──▶ TRUNCATED
//! ```

use bytes::Bytes;
use hikyaku_wire::cbor::{self, CborError};
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{Failure, Open};
use hikyaku_wire::frame::{Decoder, FrameLimits, FrameType, Piece};

use crate::error::Error;

/// Frames of a stream's own rules: decoding, order, and how many.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Inbound {
    decoder: Decoder,
    phase: Phase,
    /// Frames still accepted; only strangers have a number here.
    frames_left: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Speaking,
    InData,
    Over,
}

/// What the peer said.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// The first frame of an exchange.
    Open(Open),
    /// One CBOR item that keeps the profile.
    Message(Bytes),
    /// A piece of a DATA frame; `last` closes the frame.
    Data {
        /// The piece.
        chunk: Bytes,
        /// The frame ends here.
        last: bool,
    },
    /// The peer has said everything and succeeded.
    End,
    /// The peer gave up, with a reason.
    Failed(Failure),
}

impl Inbound {
    /// The frames of an exchange that the peer opens.
    pub fn answering(limits: FrameLimits, frames: Option<u64>) -> Self {
        Self { decoder: Decoder::new(limits), phase: Phase::Opening, frames_left: frames }
    }

    /// The frames that answer an exchange opened here.
    pub fn asking(limits: FrameLimits) -> Self {
        Self { decoder: Decoder::new(limits), phase: Phase::Speaking, frames_left: None }
    }

    /// Takes the stream's next bytes. Call [`Inbound::next`] until it gives nothing.
    pub fn push(&mut self, chunk: Bytes) {
        self.decoder.push(chunk);
    }

    /// The next thing the peer said, if it is complete.
    #[expect(clippy::should_implement_trait, reason = "an Iterator would hide the error's finality")]
    pub fn next(&mut self) -> Result<Option<Said>, Error> {
        let Some(piece) = self.decoder.next()? else { return Ok(None) };
        match piece {
            Piece::Data { chunk, last } => self.data(chunk, last).map(Some),
            Piece::Frame { ty, payload } => self.frame(ty, payload).map(Some),
        }
    }

    /// Bytes held of what the peer said and nobody has asked for yet.
    pub(crate) fn held(&self) -> u64 {
        self.decoder.buffered() as u64
    }

    /// Frames so far that carried nothing.
    pub(crate) fn void_frames(&self) -> u64 {
        self.decoder.void_frames()
    }

    /// Whether the peer has begun a frame, other than DATA, that is not whole yet.
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.decoder.is_inside_frame()
    }

    /// Forgets what is held: nothing more will be read.
    pub(crate) fn give_up(&mut self) {
        self.decoder = Decoder::new(FrameLimits::default());
    }

    /// The stream ended: an exchange that had no END or ERROR was cut.
    //= S3.45
    pub fn end_of_stream(&self) -> Result<(), Error> {
        match self.phase {
            Phase::Over => Ok(()),
            Phase::Opening | Phase::Speaking | Phase::InData => Err(Error::Truncated),
        }
    }

    /// The state's name in the specification's table.
    #[cfg(test)]
    pub(super) fn name(&self) -> &'static str {
        match self.phase {
            Phase::Opening => "opening",
            Phase::Speaking => "speaking",
            Phase::InData => "inside DATA",
            Phase::Over => "ended",
        }
    }

    //= S3.40
    //= S3.43
    fn frame(&mut self, ty: FrameType, payload: Bytes) -> Result<Said, Error> {
        self.count_frame()?;
        let said = match (self.phase, ty) {
            (Phase::Opening, FrameType::OPEN) => {
                self.phase = Phase::Speaking;
                Said::Open(Open::decode(&payload)?)
            }
            (Phase::Speaking, FrameType::MESSAGE) => {
                cbor::check(&payload, &cbor::Limits::default())?;
                Said::Message(payload)
            }
            (Phase::Speaking, FrameType::END) => {
                self.phase = Phase::Over;
                Said::End
            }
            (Phase::Speaking, FrameType::ERROR) => {
                self.phase = Phase::Over;
                //= S3.61
                Said::Failed(Failure::decode(&payload).map_err(|error| malformed("ERROR", &error))?)
            }
            (phase, ty) => return Err(unexpected(phase, ty)),
        };
        Ok(said)
    }

    fn data(&mut self, chunk: Bytes, last: bool) -> Result<Said, Error> {
        match self.phase {
            Phase::Speaking => self.count_frame()?,
            Phase::InData => {}
            phase @ (Phase::Opening | Phase::Over) => return Err(unexpected(phase, FrameType::DATA)),
        }
        self.phase = if last { Phase::Speaking } else { Phase::InData };
        Ok(Said::Data { chunk, last })
    }

    //= S6.21
    fn count_frame(&mut self) -> Result<(), Error> {
        let Some(left) = &mut self.frames_left else { return Ok(()) };
        *left = left.checked_sub(1).ok_or_else(|| {
            Error::protocol(ErrorCode::STRANGER_LIMIT, "a stranger sent more frames than one enrolment takes")
        })?;
        Ok(())
    }
}

/// What only the session itself reads is malformed.
pub(crate) fn malformed(what: &str, error: &CborError) -> Error {
    Error::protocol(ErrorCode::MESSAGE_ERROR, format!("{what}: {error}"))
}

fn unexpected(phase: Phase, ty: FrameType) -> Error {
    let place = match phase {
        Phase::Opening => "before OPEN",
        Phase::Speaking => "after OPEN",
        Phase::InData => "inside DATA",
        Phase::Over => "after END or ERROR",
    };
    Error::protocol(ErrorCode::FRAME_UNEXPECTED, format!("{ty} {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikyaku_wire::frame;
    use proptest::prelude::*;

    fn frames(list: &[(FrameType, &[u8])]) -> Bytes {
        let mut out = Vec::new();
        for (ty, payload) in list {
            frame::encode(*ty, payload, &mut out);
        }
        out.into()
    }

    fn open() -> Vec<u8> {
        Open::new("chat/1", "send").encode()
    }

    fn all(inbound: &mut Inbound, bytes: Bytes) -> Result<Vec<Said>, Error> {
        inbound.push(bytes);
        std::iter::from_fn(|| inbound.next().transpose()).collect()
    }

    fn answering() -> Inbound {
        Inbound::answering(FrameLimits::default(), None)
    }

    #[test]
    fn a_whole_exchange_is_heard_in_order_and_ends_well() {
        let mut inbound = answering();
        let bytes = frames(&[
            (FrameType::OPEN, &open()),
            (FrameType::MESSAGE, &[0x01]),
            (FrameType::DATA, b"bulk"),
            (FrameType::MESSAGE, &[0x02]),
            (FrameType::END, &[]),
        ]);
        let said = all(&mut inbound, bytes).unwrap();
        assert_eq!(said.len(), 5);
        assert_eq!(said[2], Said::Data { chunk: Bytes::from_static(b"bulk"), last: true });
        assert!(inbound.end_of_stream().is_ok());
    }

    /// No order of frames but OPEN (MESSAGE | DATA)* (END | ERROR) is accepted, and none panics.
    //= S3.40 (test)
    //= S3.43 (test)
    #[test]
    fn every_frame_out_of_its_place_is_refused_with_frame_unexpected() {
        let failure = Failure::new(ErrorCode::DENIED, "no").encode();
        let (open, message, data) =
            ((FrameType::OPEN, open()), (FrameType::MESSAGE, vec![1]), (FrameType::DATA, vec![1]));
        let (end, error, hello) =
            ((FrameType::END, vec![]), (FrameType::ERROR, failure), (FrameType::HELLO, vec![1]));
        let wrong: &[&[&(FrameType, Vec<u8>)]] = &[
            &[&message],
            &[&data],
            &[&end],
            &[&error],
            &[&hello],
            &[&open, &open],
            &[&open, &hello],
            &[&open, &end, &message],
            &[&open, &end, &data],
            &[&open, &end, &end],
            &[&open, &error, &end],
            &[&open, &error, &message],
        ];
        for case in wrong {
            let list: Vec<_> = case.iter().map(|(ty, payload)| (*ty, payload.as_slice())).collect();
            let result = all(&mut answering(), frames(&list));
            assert_eq!(result.unwrap_err().code(), ErrorCode::FRAME_UNEXPECTED, "{list:?}");
        }
    }

    //= S3.45 (test)
    #[test]
    fn a_stream_that_ends_without_end_or_error_is_truncated() {
        for list in [
            &[][..],
            &[(FrameType::OPEN, &open()[..])],
            &[(FrameType::OPEN, &open()[..]), (FrameType::DATA, b"x")],
        ] {
            let mut inbound = answering();
            all(&mut inbound, frames(list)).unwrap();
            assert!(matches!(inbound.end_of_stream(), Err(Error::Truncated)));
        }
    }

    #[test]
    fn a_stranger_gets_as_many_frames_as_it_was_granted_and_not_one_more() {
        let list = [(FrameType::OPEN, &open()[..]), (FrameType::MESSAGE, &[1]), (FrameType::END, &[])];
        let granted = |count| all(&mut Inbound::answering(FrameLimits::STRANGER, Some(count)), frames(&list));
        assert!(granted(3).is_ok());
        assert_eq!(granted(2).unwrap_err().code(), ErrorCode::STRANGER_LIMIT);
    }

    proptest! {
        #[test]
        fn nothing_a_peer_sends_panics(bytes in prop::collection::vec(any::<u8>(), 0..256), cut in 0usize..256) {
            let mut inbound = answering();
            let bytes = Bytes::from(bytes);
            let cut = cut.min(bytes.len());
            for chunk in [bytes.slice(..cut), bytes.slice(cut..)] {
                inbound.push(chunk);
                while let Ok(Some(_)) = inbound.next() {}
            }
            let _ = inbound.end_of_stream();
        }
    }
}
