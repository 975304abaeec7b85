//! What is done with hostile bytes in the session: frames of exchanges and control streams, in every order and cut
//! anywhere, and datagrams for exchanges that come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku::ErrorCode;
use hikyaku::machines::{Control, Demux, Fate, Heard, Inbound, Said};
use hikyaku_wire::exchange::encode_datagram;
use hikyaku_wire::frame::{self, Decoder, FrameLimits, FrameType};

use crate::input::Input;

/// Limits small enough to be reached.
const LIMITS: FrameLimits =
    FrameLimits { max_message: 300, max_metadata: 200, max_data_frame: 1000, max_skipped: 100 };

/// An exchange is heard the same whole and in pieces, and only in the one order that the specification allows. The
/// first byte says who hears (bit 0: whoever asked; bit 1: a server that does not know the peer), the second how the
/// stream is cut.
pub fn inbound(data: &[u8]) {
    let Some(([role, cut], stream)) = data.split_first_chunk::<2>() else { return };
    let (heard, outcome) = hear(*role, stream, usize::MAX);
    assert_eq!(hear(*role, stream, usize::from(*cut) + 1), (heard.clone(), outcome));
    in_order(&heard, *role, outcome);
    if outcome.is_ok() {
        // What was heard, said again, is heard again.
        let mut again = Vec::new();
        heard.iter().for_each(|(ty, payload)| frame::encode(*ty, payload, &mut again));
        assert_eq!(hear(*role, &again, usize::MAX), (heard, outcome));
    }
}

/// What was heard, as frames: type and payload, each in the form that a sender would give it.
type Frames = Vec<(FrameType, Vec<u8>)>;

/// What an exchange says, and how the stream ends: well, or with the code that tells the peer.
fn hear(role: u8, stream: &[u8], cut: usize) -> (Frames, Result<(), ErrorCode>) {
    let mut inbound = match role & 3 {
        0 => Inbound::answering(LIMITS, None),
        1 => Inbound::asking(LIMITS),
        _ => Inbound::answering(LIMITS, Some(3)),
    };
    let (mut frames, mut in_data) = (Frames::new(), false);
    for chunk in stream.chunks(cut) {
        inbound.push(Bytes::copy_from_slice(chunk));
        loop {
            let (ty, payload) = match inbound.next() {
                Ok(None) => break,
                Err(error) => return (frames, Err(error.code())),
                Ok(Some(Said::Open(open))) => (FrameType::OPEN, open.encode()),
                Ok(Some(Said::Message(message))) => (FrameType::MESSAGE, message.to_vec()),
                Ok(Some(Said::End)) => (FrameType::END, Vec::new()),
                Ok(Some(Said::Failed(failure))) => (FrameType::ERROR, failure.encode()),
                Ok(Some(Said::Data { chunk, last })) => {
                    match frames.last_mut() {
                        Some((_, payload)) if in_data => payload.extend_from_slice(&chunk),
                        _ => frames.push((FrameType::DATA, chunk.to_vec())),
                    }
                    in_data = !last;
                    continue;
                }
            };
            assert!(!in_data, "{ty} inside DATA");
            frames.push((ty, payload));
        }
    }
    (frames, inbound.end_of_stream().map_err(|error| error.code()))
}

/// OPEN (MESSAGE | DATA)* (END | ERROR), the first only from those who ask; and only that is a good end.
fn in_order(frames: &Frames, role: u8, outcome: Result<(), ErrorCode>) {
    let asked = role & 3 != 1;
    let ends = |ty: FrameType| matches!(ty, FrameType::END | FrameType::ERROR);
    for (at, (ty, payload)) in frames.iter().enumerate() {
        assert_eq!(*ty == FrameType::OPEN, asked && at == 0, "{ty} at {at}");
        assert!(!ends(*ty) || at + 1 == frames.len(), "something after {ty}");
        assert!(*ty != FrameType::DATA || payload.len() <= 1000);
        assert!(*ty != FrameType::MESSAGE || payload.len() <= 300);
    }
    assert!(role & 2 == 0 || frames.len() <= 3, "a stranger said {} frames", frames.len());
    if outcome.is_ok() {
        assert!(frames.last().is_some_and(|(ty, _)| ends(*ty)), "a good end without END or ERROR");
    }
}

/// A control stream is heard the same whole and in pieces: HELLO first and once, then GOAWAY. The first byte says how
/// the stream is cut.
pub fn control(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let (heard, outcome) = greetings(stream, usize::MAX);
    assert_eq!(greetings(stream, usize::from(*cut) + 1), (heard.clone(), outcome));
    for (at, (ty, _)) in heard.iter().enumerate() {
        assert_eq!(*ty, if at == 0 { FrameType::HELLO } else { FrameType::GOAWAY });
    }
}

fn greetings(stream: &[u8], cut: usize) -> (Frames, Result<(), ErrorCode>) {
    let (mut decoder, mut rules) = (Decoder::new(LIMITS), Control::default());
    let mut frames = Frames::new();
    for chunk in stream.chunks(cut) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            let piece = match decoder.next() {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => return (frames, Err(error.code())),
            };
            match rules.hear(piece) {
                Ok(Heard::Hello(hello)) => frames.push((FrameType::HELLO, hello.encode())),
                Ok(Heard::Goaway(goaway)) => frames.push((FrameType::GOAWAY, goaway.encode())),
                Err(error) => return (frames, Err(error.code())),
            }
        }
    }
    (frames, Ok(()))
}

/// Datagrams that one queue holds in this target.
const QUEUE: usize = 3;

/// The datagram with this number, for an exchange.
fn datagram(exchange: u64, number: u64, length: usize) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(length, 0);
    let mut datagram = Vec::new();
    encode_datagram(exchange, &payload, &mut datagram);
    datagram.into()
}

/// Datagrams arrive for exchanges that come and go. Each is delivered once and in order, or counted; no more wait than
/// the limits say.
pub fn datagrams(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut demux, mut now) = (Demux::new(QUEUE), Instant::now());
    let (mut readers, mut newest) = (BTreeMap::<u64, u32>::new(), BTreeMap::<u64, u64>::new());
    let (mut arrived, mut taken) = (0u64, 0u64);
    while !input.is_empty() {
        let (operation, exchange) = (input.below(6), input.below(7));
        match operation {
            0 => {
                arrived += 1;
                let length = if input.byte() == 7 { 1000 } else { 8 };
                let fate = demux.arrive(datagram(exchange, arrived, length), now);
                match readers.contains_key(&exchange) {
                    true => assert!(matches!(fate, Fate::Queued(_) | Fate::QueueFull), "{fate:?}"),
                    false => assert_eq!(fate, Fate::Held),
                }
            }
            1 => {
                // Bytes as they are: nothing that they say may break the count. A number of an exchange of ours would
                // put a payload into it that this target did not write.
                let raw = input.counted();
                let of_ours = hikyaku_wire::varint::decode(raw).is_some_and(|(number, _)| number < 7);
                if !of_ours {
                    arrived += 1;
                    demux.arrive(Bytes::copy_from_slice(raw), now);
                }
            }
            2 => {
                *readers.entry(exchange).or_default() += 1;
                demux.register(exchange, now);
            }
            3 => {
                if let Some(count) = readers.get_mut(&exchange) {
                    *count -= 1;
                    demux.unregister(exchange);
                }
                readers.retain(|_, count| *count > 0);
            }
            4 => {
                if let Some(payload) = demux.take(exchange) {
                    taken += 1;
                    let number = payload.first_chunk().map(|number| u64::from_be_bytes(*number));
                    let number = number.expect("it is one of this target's");
                    let before = newest.insert(exchange, number).unwrap_or(0);
                    assert!(before < number && number <= arrived, "{number} after {before}");
                    assert!(readers.contains_key(&exchange), "nobody asked for it");
                }
            }
            _ => now += Duration::from_millis(10 * input.below(256)),
        }
        let waiting = arrived - taken - demux.dropped(now);
        // Four full queues, and those held for exchanges that may still come.
        assert!(waiting <= 4 * QUEUE as u64 + 16, "{waiting} datagrams wait");
    }
    for (exchange, count) in readers {
        (0..count).for_each(|_| demux.unregister(exchange));
    }
    let dropped = demux.dropped(now + Duration::from_secs(1));
    assert_eq!(arrived, taken + dropped, "every datagram was delivered or counted");
}
