//! What a device may do that nobody knows: one enrolment, little of everything. Spec: chapter 6.3.

use std::time::Duration;

use hikyaku::{Admission, ErrorCode, Identity, Limits, Server};
use hikyaku_mux::Dir;
use hikyaku_wire::exchange::Open;
use hikyaku_wire::frame::FrameType;
use hikyaku_wire::varint;
use tokio::io::AsyncReadExt as _;

use super::raw::*;
use crate::common::echo;

/// A server that knows nobody. `enroll/1` here is an echo.
async fn server(limits: Limits) -> Server {
    Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .authorize(|_| async { Ok(Admission::Stranger(())) })
        .router(echo_router().stranger_route("enroll/1", echo))
        .start()
        .await
        .unwrap()
}

/// An item of `length` bytes: one byte string.
fn item(length: usize) -> Vec<u8> {
    let content = u16::try_from(length - 3).unwrap().to_be_bytes();
    [&[0x59][..], &content, &vec![0; length - 3]].concat()
}

/// How a stranger fares that says `bytes` on one exchange.
async fn fares(bytes: &[u8]) -> Ended {
    let server = server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    raw.say(Dir::Bi, bytes).await;
    raw.ended().await
}

#[tokio::test]
async fn a_stranger_may_enrol() {
    let server = server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    // Three frames, one of them as long as it may be.
    let said = [(FrameType::MESSAGE, &item(4096)[..]), (FrameType::END, &[])];
    let id = raw.ask(&exchange("enroll/1", &said)).await;
    assert_eq!(raw.hear(id).await.unwrap(), frames(&said));
}

//= S6.20 (test)
#[tokio::test]
async fn a_stranger_hears_enroll_required_whether_or_not_the_protocol_exists() {
    for protocol in ["echo/1", "nothing/7"] {
        let server = server(Limits::default()).await;
        let mut raw = Raw::greeted(server.address()).await;
        let id = raw.ask(&exchange(protocol, &[(FrameType::END, &[])])).await;
        let failure = raw.hear_failure(id).await;
        assert_eq!(failure.code, ErrorCode::ENROLL_REQUIRED);
        assert!(!failure.message.contains(protocol), "{}", failure.message);
    }
}

//= S6.21 (test)
#[tokio::test]
async fn a_strangers_second_exchange_ends_its_connection() {
    let server = server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    let id = raw.ask(&exchange("enroll/1", &[(FrameType::END, &[])])).await;
    raw.hear(id).await.unwrap();
    raw.say(Dir::Bi, &exchange("enroll/1", &[])).await;
    let ended = raw.ended().await;
    assert_eq!(ended.code, ErrorCode::STRANGER_LIMIT, "{ended:?}");
}

//= S6.21 (test)
#[tokio::test]
async fn a_strangers_fourth_frame_ends_its_connection() {
    let message = (FrameType::MESSAGE, &[0x07][..]);
    // Unknown frames do not count.
    let grease = (FrameType(0x21), &[0x07][..]);
    let said = [grease, message, grease, message, (FrameType::END, &[][..])];
    let ended = fares(&exchange("enroll/1", &said)).await;
    assert_eq!(ended.code, ErrorCode::STRANGER_LIMIT);
}

//= S6.25 (test)
#[tokio::test]
async fn a_strangers_frame_of_4097_bytes_ends_its_connection() {
    let ended = fares(&exchange("enroll/1", &[(FrameType::MESSAGE, &item(4097))])).await;
    assert_eq!(ended.code, ErrorCode::LIMIT_EXCEEDED);
    assert!(ended.reason.contains("4097") && ended.reason.contains("4096"), "{ended:?}");
    let open = Open { metadata: Some(vec![0; 4096].into()), ..Open::new("enroll/1", "redeem") }.encode();
    let ended = fares(&frames(&[(FrameType::OPEN, &open)])).await;
    assert_eq!(ended.code, ErrorCode::LIMIT_EXCEEDED);
}

//= S6.25 (test)
#[tokio::test]
async fn a_strangers_data_ends_its_connection() {
    let ended = fares(&exchange("enroll/1", &[(FrameType::DATA, &[0x07])])).await;
    assert_eq!(ended.code, ErrorCode::LIMIT_EXCEEDED);
}

//= S6.21 (test)
#[tokio::test]
async fn a_stranger_that_stays_is_closed_and_told_the_limit() {
    let limits = Limits { stranger_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = server(limits).await;
    let mut raw = Raw::greeted(server.address()).await;
    let ended = raw.ended().await;
    assert_eq!(ended.code, ErrorCode::STRANGER_LIMIT);
    assert!(ended.reason.contains("stranger_timeout of 300ms"), "{ended:?}");
}

//= S6.22 (test)
#[tokio::test]
async fn a_stranger_gets_one_stream_of_each_kind_and_no_more_credit_than_16_kib() {
    let server = server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    // Nobody reads here: an answerer that waits for the rest of one message.
    let half = [0x11, 0x50, 0x00];
    raw.say(Dir::Bi, &[&exchange("enroll/1", &[])[..], &half].concat()).await;
    raw.ping().await;
    assert_eq!((raw.mux.open(Dir::Bi), raw.mux.open(Dir::Uni)), (None, None));
    // As it is declared before anybody has been looked up, to strangers and members alike.
    let mut stream = tls_to(server.address(), client_tls(Some(&Key::new()), &[ALPN])).await.unwrap();
    let declared = parameters(&mut stream).await;
    assert_eq!(declared(0x04), Some(16_384), "initial_max_data");
    assert_eq!((declared(0x08), declared(0x09)), (Some(1), Some(1)), "initial_max_streams");
}

//= S2.5 (test)
#[tokio::test]
async fn datagrams_of_1200_bytes_are_offered() {
    let server = echo_server(Limits::default()).await;
    let mut stream = tls_to(server.address(), client_tls(Some(&Key::new()), &[ALPN])).await.unwrap();
    assert!(parameters(&mut stream).await(0x20).unwrap() >= 1200, "max_datagram_frame_size over QMux");
    let quic =
        hikyaku::connect(server.address(), server.id()).transport(hikyaku::Transport::Quic).await.unwrap();
    let mut exchange = quic.open("echo/1", "").await.unwrap();
    exchange.flush().await.unwrap();
    exchange.datagrams().send(&[0; 1000]).unwrap();
}

/// The transport parameters with which the peer begins.
async fn parameters(stream: &mut ClientStream) -> impl Fn(u64) -> Option<u64> {
    let mut heard = vec![0; 4096];
    let count = soon(stream.read(&mut heard)).await.unwrap();
    let mut rest = &heard[..count];
    let number = |rest: &mut &[u8]| {
        let (value, length) = varint::decode(rest).unwrap();
        *rest = &rest[length..];
        value
    };
    // The record's size, the frame's type, its length.
    let (_, ty, length) = (number(&mut rest), number(&mut rest), number(&mut rest));
    assert_eq!(ty, 0x3f51_5330_0d0a_0d0a);
    let mut list = &rest[..length as usize];
    let mut found = Vec::new();
    while !list.is_empty() {
        let (id, length) = (number(&mut list), number(&mut list) as usize);
        let (value, rest) = list.split_at(length);
        found.push((id, varint::decode(value).map(|(value, _)| value)));
        list = rest;
    }
    move |id| found.iter().find(|(of, _)| *of == id).and_then(|(_, value)| *value)
}
