//! Samples of chapter 3.

use std::time::Duration;

use bytes::Bytes;
use hikyaku_wire::cbor::MAX_INTEGER;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{Failure, Goaway, Open, Retry};
use hikyaku_wire::hello::{Hello, HelloLimits};

use super::{Sample, sample};

/// A HELLO as one of ours would send it, with a grease extension.
pub(crate) fn hello() -> Hello {
    Hello {
        limits: HelloLimits { max_message: 1 << 20, max_metadata: 4096, max_datagram: 1000 },
        extensions: vec![0x1f * 7 + 0x21],
        agent: "hikyaku/0.1.0".into(),
    }
}

pub(super) fn samples() -> Vec<Sample> {
    let least = Hello {
        limits: HelloLimits { max_message: 4096, max_metadata: 4096, max_datagram: 0 },
        extensions: vec![],
        agent: String::new(),
    };
    let full = Open {
        protocol: "chat/1".into(),
        method: "send".into(),
        deadline_ms: Some(1500),
        metadata: Some(Bytes::from_static(b"\x01\x02")),
    };
    let longest = Open { deadline_ms: Some(MAX_INTEGER), ..Open::new("p".repeat(64), "m".repeat(64)) };
    let going = Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 10_000, message: "shutting down".into() };
    let mut out = vec![
        sample("hello", "ours", &hello()),
        sample("hello", "what a stranger is told", &least),
        sample("open", "as short as can be", &Open::new("hello/1", "")),
        sample("open", "with deadline and metadata", &full),
        sample("open", "the longest names and the longest deadline", &longest),
        sample("goaway", "a server that shuts down", &going),
    ];
    let busy = Failure::new(ErrorCode::BUSY, "too many requests");
    for (name, failure) in [
        ("without a retry", Failure::new(ErrorCode::DENIED, "")),
        ("to be asked again on this connection", busy.clone().with_retry(Retry::SameConnection)),
        ("to be asked again on a new connection", busy.clone().with_retry(Retry::NewConnection)),
        ("to be asked again after some time", busy.with_retry(Retry::After(Duration::from_millis(250)))),
        ("with details", Failure::new(ErrorCode::ROOM_UNKNOWN, "飛脚").with_details(&b"\xa0"[..])),
    ] {
        out.push(Sample { ty: "failure", name, bytes: failure.encode() });
    }
    out
}
