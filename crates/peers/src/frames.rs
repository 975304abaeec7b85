//! Frames of the session, as far as a test wants to say them. Spec: chapter 3.

use hikyaku_wire::exchange::Open;
use hikyaku_wire::frame::{self, FrameType};
use hikyaku_wire::hello::{Hello, HelloLimits};

/// Frames, one after another.
pub fn frames(list: &[(FrameType, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (ty, payload) in list {
        frame::encode(*ty, payload, &mut out);
    }
    out
}

/// The bytes of a control stream: its type, and frames.
pub fn control(list: &[(FrameType, &[u8])]) -> Vec<u8> {
    [&[0x00][..], &frames(list)].concat()
}

/// OPEN and what follows it.
pub fn exchange(protocol: &str, method: &str, list: &[(FrameType, &[u8])]) -> Vec<u8> {
    [frames(&[(FrameType::OPEN, &Open::new(protocol, method).encode())]), frames(list)].concat()
}

/// A decent HELLO.
pub fn hello() -> Hello {
    let limits = HelloLimits { max_message: 1 << 20, max_metadata: 4096, max_datagram: 1000 };
    Hello { limits, extensions: vec![], agent: "raw".to_owned() }
}
