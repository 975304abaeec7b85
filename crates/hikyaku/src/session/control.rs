//! Control streams: HELLO and GOAWAY. Spec: chapter 3, "The control stream".

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hikyaku_wire::codes::{ErrorCode, StreamType};
use hikyaku_wire::exchange::{Goaway, MAX_DATAGRAM, milliseconds};
use hikyaku_wire::frame::{self, Decoder, FrameLimits, FrameType, Piece};
use hikyaku_wire::hello::{Hello, HelloLimits};
use hikyaku_wire::varint;

use crate::connection::Inner;
use crate::error::{Error, Result};
use crate::events::{By, event};
use crate::session::inbound::malformed;
use crate::transport::{Done, RecvStream, StreamError};

/// Code points nobody will ever define, sent so that peers keep ignoring what they do not know (RFC 9170).
const GREASE_EXTENSION: u64 = 0x1f * 7 + 0x21;
const GREASE_FRAME: FrameType = FrameType(0x1f * 5 + 0x21);

/// Opens this side's control stream, says HELLO, and takes care that the peer keeps the stream.
//= S3.20
pub(super) async fn greet(inner: &Inner) {
    // Boxed, because it is over soon and what comes behind it stays for as long as the connection.
    let Some(done) = Box::pin(say_hello(inner)).await else { return };
    //= S3.23
    if let Err(StreamError::Stopped(_)) = done.await {
        let reason = "the peer wants no control stream";
        inner.link().close(ErrorCode::CONTROL_STREAM_CLOSED.0, reason);
    }
}

/// `None` if the connection ended before that; everybody hears of it.
async fn say_hello(inner: &Inner) -> Option<Done> {
    let mut stream = inner.link().open_uni().await.ok()?;
    let mut out = BytesMut::new();
    varint::encode(StreamType::CONTROL.0, &mut out);
    frame::encode(FrameType::HELLO, &hello(inner).encode(), &mut out);
    frame::encode(GREASE_FRAME, b"grease", &mut out);
    stream.write(&mut out.freeze()).await.ok()?;
    let done = stream.done();
    *inner.control.lock().await = Some(stream);
    inner.set_greeted();
    Some(done)
}

/// No extension is spoken: the one that is listed is grease.
//= S3.31
fn hello(inner: &Inner) -> Hello {
    let limits = inner.frame_limits();
    Hello {
        limits: HelloLimits {
            max_message: limits.max_message,
            max_metadata: limits.max_metadata.saturating_sub(FrameLimits::METADATA_OVERHEAD),
            max_datagram: MAX_DATAGRAM as u64,
        },
        extensions: vec![GREASE_EXTENSION],
        agent: concat!("hikyaku/", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// Says that no new exchange is taken.
pub(super) async fn send_goaway(inner: &Inner, grace: Duration) {
    let goaway = Goaway {
        code: ErrorCode::GOING_AWAY,
        grace_ms: milliseconds(grace),
        message: "the peer is going away".to_owned(),
    };
    let mut out = BytesMut::new();
    frame::encode(FrameType::GOAWAY, &goaway.encode(), &mut out);
    event!(inner.events, GoawaySent { grace_ms: goaway.grace_ms });
    // HELLO comes first, also when the connection is very young.
    inner.when(|inner| inner.has_greeted() || inner.link().close_reason().is_some()).await;
    if let Some(stream) = inner.control.lock().await.as_mut() {
        let _ = stream.write(&mut out.freeze()).await;
    }
}

/// Closes a connection whose peer does not say HELLO in time.
//= S3.24
pub(super) async fn expect_hello(inner: Arc<Inner>) {
    let limit = inner.limits.handshake_timeout;
    let hello = inner.when(|inner| inner.has_hello() || inner.link().close_reason().is_some());
    if tokio::time::timeout(limit, hello).await.is_err() {
        let (value, owner) = (milliseconds(limit), By::Us);
        event!(inner.events, LimitReached { limit: "handshake_timeout", value, owner });
        let reason = format!("no HELLO within our handshake_timeout of {limit:?}");
        inner.link().close(ErrorCode::HANDSHAKE_TIMEOUT.0, &reason);
    }
}

/// Reads a unidirectional stream of the peer: its control stream, or one of a kind unknown here.
pub(super) async fn take(inner: Arc<Inner>, mut stream: RecvStream) {
    match read(&inner, &mut stream).await {
        Ok(()) => {}
        // The connection is gone already.
        Err(Error::Closed(_)) => {}
        Err(error) => inner.link().close(error.code().0, &error.to_string()),
    }
}

async fn read(inner: &Inner, stream: &mut RecvStream) -> Result<()> {
    let mut head = BytesMut::new();
    let kind = loop {
        if let Some((kind, length)) = varint::decode(&head) {
            let _ = head.split_to(length);
            break kind;
        }
        match stream.read(1024).await {
            Ok(Some(chunk)) => head.extend_from_slice(&chunk),
            // A stream that ends before its type says nothing, and harms nobody.
            Ok(None) | Err(_) => return Ok(()),
        }
    };
    //= S3.21
    //= S3.95
    if kind != StreamType::CONTROL.0 {
        stream.stop(ErrorCode::UNKNOWN_STREAM_TYPE.0);
        return Ok(());
    }
    //= S3.23
    if !inner.claim_peer_control() {
        return Err(Error::protocol(ErrorCode::PROTOCOL_VIOLATION, "a second control stream"));
    }
    let mut decoder = Decoder::new(inner.frame_limits());
    decoder.push(head.freeze());
    let mut rules = Control::default();
    let mut void = 0;
    loop {
        while let Some(piece) = decoder.next()? {
            match rules.hear(piece)? {
                Heard::Hello(hello) => take_hello(inner, hello),
                Heard::Goaway(goaway) => {
                    let (code, grace_ms) = (goaway.code, goaway.grace_ms);
                    event!(inner.events, GoawayReceived { code, grace_ms });
                    inner.set_peer_going_away();
                }
            }
        }
        let new = decoder.void_frames() - std::mem::replace(&mut void, decoder.void_frames());
        if new > 0 {
            inner.count_void(new)?;
        }
        match stream.read(16 * 1024).await {
            Ok(Some(chunk)) => decoder.push(chunk),
            Err(StreamError::Lost(closed)) => return Err(Error::Closed(closed)),
            //= S3.23
            Ok(None) | Err(_) => {
                return Err(Error::protocol(ErrorCode::CONTROL_STREAM_CLOSED, "the control stream ended"));
            }
        }
    }
}

fn take_hello(inner: &Inner, Hello { limits, agent, .. }: Hello) {
    let HelloLimits { max_message, max_metadata, max_datagram } = limits;
    event!(
        inner.events,
        HelloReceived { agent: agent.as_str().into(), max_message, max_metadata, max_datagram }
    );
    inner.set_hello(limits, &agent);
}

/// What may be said on a control stream: HELLO once and first, then GOAWAY. Pure.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, Hash))]
pub struct Control {
    greeted: bool,
}

/// What the peer said on its control stream.
#[derive(Debug)]
pub enum Heard {
    /// The first frame.
    Hello(Hello),
    /// No exchange is taken any more.
    Goaway(Goaway),
}

impl Control {
    /// Takes the next frame. An error ends the connection.
    //= S3.22
    pub fn hear(&mut self, piece: Piece) -> Result<Heard> {
        let (ty, payload) = match piece {
            Piece::Frame { ty, payload } => (ty, payload),
            Piece::Data { .. } => (FrameType::DATA, Default::default()),
        };
        match (self.greeted, ty) {
            (false, FrameType::HELLO) => {
                self.greeted = true;
                Ok(Heard::Hello(Hello::decode(&payload).map_err(|error| malformed("HELLO", &error))?))
            }
            (false, _) => Err(Error::protocol(
                ErrorCode::HELLO_MISSING,
                format!("{ty} before HELLO on the control stream"),
            )),
            (true, FrameType::GOAWAY) => {
                Ok(Heard::Goaway(Goaway::decode(&payload).map_err(|error| malformed("GOAWAY", &error))?))
            }
            (true, _) => {
                Err(Error::protocol(ErrorCode::FRAME_UNEXPECTED, format!("{ty} on the control stream")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(ty: FrameType) -> Piece {
        let payload = match ty {
            FrameType::HELLO => Hello {
                limits: HelloLimits { max_message: 1, max_metadata: 1, max_datagram: 1 },
                extensions: vec![GREASE_EXTENSION],
                agent: String::new(),
            }
            .encode(),
            FrameType::GOAWAY => {
                Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 1, message: String::new() }.encode()
            }
            _ => Vec::new(),
        };
        Piece::Frame { ty, payload: payload.into() }
    }

    //= S3.22 (test)
    #[test]
    fn hello_comes_first_and_once() {
        for ty in [FrameType::GOAWAY, FrameType::OPEN, FrameType::MESSAGE, FrameType::END] {
            let error = Control::default().hear(piece(ty)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::HELLO_MISSING, "{ty}");
        }
        let mut control = Control::default();
        control.hear(piece(FrameType::HELLO)).unwrap();
        for ty in [FrameType::HELLO, FrameType::OPEN, FrameType::ERROR] {
            assert_eq!(control.hear(piece(ty)).unwrap_err().code(), ErrorCode::FRAME_UNEXPECTED, "{ty}");
        }
        assert!(matches!(control.hear(piece(FrameType::GOAWAY)), Ok(Heard::Goaway(_))));
    }

    #[test]
    fn the_greased_code_points_are_reserved_ones() {
        assert!(GREASE_FRAME.is_reserved());
        assert_eq!((GREASE_EXTENSION - 0x21) % 0x1f, 0);
    }
}
