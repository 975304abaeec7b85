//! What the session's messages promise.

use super::*;
use crate::hello::{Hello, HelloLimits};

//= S3.41 (test)
#[test]
fn an_open_keeps_to_its_limits() {
    let open = |protocol: usize, method: usize, metadata: usize| Open {
        protocol: "p".repeat(protocol),
        method: "m".repeat(method),
        deadline_ms: Some(1500),
        metadata: Some(vec![1; metadata].into()),
    };
    let largest = open(64, 64, 4096);
    assert_eq!(Open::decode(&largest.encode()), Ok(largest));
    for (wrong, name) in
        [(open(65, 0, 0), "protocol"), (open(1, 65, 0), "method"), (open(1, 0, 4097), "metadata")]
    {
        let error = Open::decode(&wrong.encode()).unwrap_err();
        assert!(matches!(error, CborError::Limit { name: found, .. } if found == name), "{error}");
    }
    assert!(Open::decode(&open(0, 0, 0).encode()).is_err(), "a protocol has a name");
}

#[test]
fn what_is_left_out_of_an_open_is_not_on_the_wire() {
    let open = Open::new("hello/1", "");
    assert_eq!(open.encode(), b"\xa2\x00\x67hello/1\x01\x60");
    assert_eq!(Open::decode(&open.encode()), Ok(open));
}

//= S3.62 (test)
#[test]
fn every_retry_hint_survives_and_an_unknown_one_means_no() {
    for retry in
        [Retry::No, Retry::SameConnection, Retry::NewConnection, Retry::After(Duration::from_millis(250))]
    {
        let failure =
            Failure::new(ErrorCode::BUSY, "one at a time").with_retry(retry).with_details(vec![1, 2]);
        assert_eq!(Failure::decode(&failure.encode()), Ok(failure));
    }
    let unknown = [0xa3, 0x00, 0x18, 0x85, 0x01, 0x18, 0x99, 0x03, 0x60];
    assert_eq!(Failure::decode(&unknown), Ok(Failure::new(ErrorCode::BUSY, "")));
    let after_nothing = [0xa3, 0x00, 0x18, 0x85, 0x01, 0x03, 0x03, 0x60];
    assert_eq!(Failure::decode(&after_nothing).map(|failure| failure.retry), Ok(Retry::No));
}

//= S3.61 (test)
#[test]
fn a_failure_can_always_be_told() {
    let long = Failure {
        code: ErrorCode::FAILED,
        retry: Retry::After(Duration::MAX),
        message: "é".repeat(600),
        details: vec![0; 4097].into(),
    };
    let told = Failure::decode(&long.encode()).unwrap();
    assert_eq!(told.message.len(), 1024);
    assert!(told.details.is_empty());
    let mut odd = long.clone();
    odd.message.insert(0, 'x');
    assert_eq!(Failure::decode(&odd.encode()).unwrap().message.len(), 1023, "cut between characters");
    assert_eq!(Failure::new(ErrorCode::FAILED, "é".repeat(600)).message.len(), 1024);
    let goaway = Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 10_000, message: "x".repeat(2000) };
    assert_eq!(Goaway::decode(&goaway.encode()).unwrap().message.len(), 1024);
}

//= S3.61 (test)
#[test]
fn a_peers_failure_that_is_too_long_is_refused() {
    let wire = |message: usize, details: usize| WireFailure {
        code: ErrorCode::FAILED,
        retry: 0,
        after_ms: None,
        message: "m".repeat(message),
        details: Some(vec![0; details].into()),
    };
    assert!(Failure::decode(&cbor::encode(&wire(1024, 4096))).is_ok());
    assert!(Failure::decode(&cbor::encode(&wire(1025, 0))).is_err());
    assert!(Failure::decode(&cbor::encode(&wire(0, 4097))).is_err());
}

//= S3.32 (test)
#[test]
fn a_hello_keeps_to_its_limits_and_ignores_what_it_does_not_know() {
    let limits = HelloLimits { max_message: 1 << 20, max_metadata: 8192, max_datagram: 1000 };
    let hello = |extensions: usize, agent: usize| Hello {
        limits,
        extensions: (0..extensions as u64).map(|n| 0x1f * n + 0x21).collect(),
        agent: "a".repeat(agent),
    };
    assert_eq!(Hello::decode(&hello(64, 256).encode()), Ok(hello(64, 256)));
    assert!(Hello::decode(&hello(65, 0).encode()).is_err());
    assert!(Hello::decode(&hello(0, 257).encode()).is_err());
    let mut greased = hello(0, 0).encode();
    greased[0] = 0xa4;
    greased.extend([0x18, 0x5f, 0x81, 0xa0]);
    assert_eq!(Hello::decode(&greased), Ok(hello(0, 0)));
}

//= S3.51 (test)
#[test]
fn the_exchange_number_keeps_the_initiator() {
    for (stream, number) in [(0, 0), (1, 1), (4, 2), (5, 3), (8, 4), (9, 5), ((1 << 62) - 4, (1 << 61) - 2)] {
        assert_eq!(exchange_number(stream), number);
        assert_eq!(stream_id(number), Some(stream));
    }
    assert_eq!(stream_id(1 << 61), None);
}

//= S3.52 (test)
#[test]
fn a_datagram_names_its_exchange_in_the_shortest_form() {
    let mut out = Vec::new();
    encode_datagram(300, b"typing", &mut out);
    assert_eq!(decode_datagram(out.into()), Some((300, Bytes::from_static(b"typing"))));
    for bytes in [&[][..], &[0x40], &[0x40, 0x01, 0xff]] {
        assert_eq!(decode_datagram(Bytes::copy_from_slice(bytes)), None);
    }
}

#[test]
fn a_deadline_is_rounded_up_to_whole_milliseconds() {
    assert_eq!(milliseconds(Duration::from_micros(1)), 1);
    assert_eq!(milliseconds(Duration::from_millis(1500)), 1500);
    assert_eq!(milliseconds(Duration::MAX), cbor::MAX_INTEGER);
}
