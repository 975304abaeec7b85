//! A peer made of bytes: says exactly what a test wants, and reads what the connection answers.

use bytes::Bytes;
use hikyaku_mux::{CloseReason, Config, Connection, Side, TransportCode};
use hikyaku_wire::varint;
use std::time::Instant;

pub(crate) const QX_TRANSPORT_PARAMETERS: u64 = 0x3f51_5330_0d0a_0d0a;
pub(crate) const QX_PING: u64 = 0x348c_6752_9ef8_c7bd;
pub(crate) const QX_PONG: u64 = 0x348c_6752_9ef8_c7be;
pub(crate) const MAX_RECORD_SIZE: u64 = 0x0571_c594_29cd_0845;

/// Varints, one after another.
pub(crate) fn varints(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        varint::encode(*value, &mut out);
    }
    out
}

/// A record of these frames.
pub(crate) fn record(frames: &[u8]) -> Vec<u8> {
    let mut out = varints(&[frames.len() as u64]);
    out.extend_from_slice(frames);
    out
}

/// QX_TRANSPORT_PARAMETERS with integer parameters.
pub(crate) fn parameters(pairs: &[(u64, u64)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in pairs {
        payload.extend(varints(&[*id, varint::len(*value) as u64, *value]));
    }
    parameters_of(&payload)
}

pub(crate) fn parameters_of(payload: &[u8]) -> Vec<u8> {
    let mut frame = varints(&[QX_TRANSPORT_PARAMETERS, payload.len() as u64]);
    frame.extend_from_slice(payload);
    frame
}

/// What a generous peer declares.
pub(crate) fn generous() -> Vec<u8> {
    parameters(&[
        (0x04, 1 << 30),
        (0x05, 1 << 30),
        (0x06, 1 << 30),
        (0x07, 1 << 30),
        (0x08, 100),
        (0x09, 100),
        (0x20, 16_382),
    ])
}

/// STREAM with offset and length.
pub(crate) fn stream(id: u64, offset: u64, payload: &[u8], fin: bool) -> Vec<u8> {
    let mut frame = varints(&[0x0e | u64::from(fin), id, offset, payload.len() as u64]);
    frame.extend_from_slice(payload);
    frame
}

/// A server that has heard `frames` from a generous client, each in a record of its own.
pub(crate) fn server_hearing(config: Config, frames: &[Vec<u8>]) -> Connection {
    let now = Instant::now();
    let mut server = Connection::new(Side::Server, config, now);
    let mut out = Vec::new();
    while server.poll_transmit(now, &mut out, 65_536) {}
    server.handle_input(now, Bytes::from(record(&generous())));
    assert_eq!(server.close_reason(), None);
    for frame in frames {
        server.handle_input(now, Bytes::from(record(frame)));
    }
    server
}

/// The transport error with which the connection closed, found on this side.
#[track_caller]
pub(crate) fn refusal(connection: &Connection) -> TransportCode {
    match connection.close_reason() {
        Some(CloseReason::Transport { code, local: true, .. }) => *code,
        other => panic!("the connection should have been refused, not {other:?}"),
    }
}

/// Everything the connection says now, as frames without their record headers.
pub(crate) fn said(connection: &mut Connection) -> Vec<u8> {
    let mut out = Vec::new();
    while connection.poll_transmit(Instant::now(), &mut out, 65_536) {}
    let mut frames = Vec::new();
    let mut rest = &out[..];
    while !rest.is_empty() {
        let (size, length) = varint::decode(rest).expect("a record");
        let end = length + size as usize;
        frames.extend_from_slice(&rest[length..end]);
        rest = &rest[end..];
    }
    frames
}

/// CONNECTION_CLOSE as it is on the wire: type, code, frame type.
pub(crate) fn close_frame(frames: &[u8]) -> (u64, u64, Option<u64>) {
    let (ty, at) = varint::decode(frames).expect("a type");
    let (code, length) = varint::decode(&frames[at..]).expect("a code");
    let frame_type = (ty == 0x1c).then(|| varint::decode(&frames[at + length..]).expect("a frame type").0);
    (ty, code, frame_type)
}
