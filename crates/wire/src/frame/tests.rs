//! What frames promise, against a model that has the whole stream at once.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// Small limits, so that random frames reach them.
const LIMITS: FrameLimits =
    FrameLimits { max_message: 40, max_metadata: 20, max_data_frame: 80, max_skipped: 30 };

/// A frame, however its payload arrived. `whole` is false for a DATA frame the stream ends in.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    ty: FrameType,
    payload: Vec<u8>,
    whole: bool,
}

/// Everything a stream of `bytes` consists of, and how it ends: the specification, written with all bytes at hand.
fn model(mut bytes: &[u8], limits: FrameLimits) -> (Vec<Seen>, Result<(), FrameError>) {
    let mut seen = Vec::new();
    let number = |bytes: &mut &[u8], field| match varint::decode(bytes) {
        None => Err(FrameError::Truncated { ty: None }),
        Some((value, size)) => {
            *bytes = &bytes[size..];
            if size == varint::len(value) { Ok(value) } else { Err(FrameError::NotShortest { field, value }) }
        }
    };
    while !bytes.is_empty() {
        let header = number(&mut bytes, "type").and_then(|ty| Ok((ty, number(&mut bytes, "length")?)));
        let (ty, length) = match header {
            Ok((ty, length)) => (FrameType(ty), length),
            Err(error) => return (seen, Err(error)),
        };
        let (limit, limit_name) = match ty.0 {
            0x11 => (limits.max_message, "max_message"),
            0x12 => (limits.max_data_frame, "max_data_frame"),
            0x13 if length > 0 => return (seen, Err(FrameError::EndNotEmpty { length })),
            0x01 | 0x02 | 0x10 | 0x13 | 0x14 => (limits.max_metadata, "max_metadata"),
            _ => (limits.max_skipped, "max_skipped"),
        };
        if length > limit {
            return (seen, Err(FrameError::TooLong { ty, length, limit, limit_name }));
        }
        let whole = bytes.len() as u64 >= length;
        let (payload, rest) = bytes.split_at(bytes.len().min(length as usize));
        bytes = rest;
        if ty.name().is_some() && (whole || ty == FrameType::DATA && !payload.is_empty()) {
            seen.push(Seen { ty, payload: payload.to_vec(), whole });
        }
        if !whole {
            return (seen, Err(FrameError::Truncated { ty: Some(ty) }));
        }
    }
    (seen, Ok(()))
}

/// The same through the decoder, with `bytes` cut into chunks of the given lengths.
fn decoded(bytes: &[u8], limits: FrameLimits, cuts: &[usize]) -> (Vec<Seen>, Result<(), FrameError>) {
    let mut decoder = Decoder::new(limits);
    let mut seen: Vec<Seen> = Vec::new();
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let length = cuts.next().map_or(rest.len(), |cut| (*cut).min(rest.len()));
        decoder.push(rest.split_to(length));
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Piece::Frame { ty, payload })) => {
                    seen.push(Seen { ty, payload: payload.to_vec(), whole: true });
                }
                Ok(Some(Piece::Data { chunk, last })) => match seen.last_mut() {
                    Some(open) if !open.whole => {
                        open.payload.extend_from_slice(&chunk);
                        open.whole = last;
                    }
                    _ => seen.push(Seen { ty: FrameType::DATA, payload: chunk.to_vec(), whole: last }),
                },
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error), "an error is final");
                    return (seen, Err(error));
                }
            }
        }
        assert!(decoder.held() <= 40, "held {} bytes", decoder.held());
    }
    (seen, decoder.finish())
}

fn frame_type() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14]),
        (0..1_000_000_u64).prop_map(|n| 0x1f * n + 0x21),
        0..0x30_u64,
        0..=varint::MAX,
    ]
}

/// One frame, mostly well formed; sometimes with a length that is not its payload's or a header in a long form.
fn frame_bytes() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..50);
    (frame_type(), payload, 0..60_u8, any::<u64>()).prop_map(|(ty, payload, mishap, wrong)| {
        let mut out = Vec::new();
        match mishap {
            0 => encode_header(FrameType(ty), wrong >> 2, &mut out),
            1 => out.extend([0x40, (ty & 0x3f) as u8, 0x00]),
            2 => out.extend([0x11, 0x80, 0x00, 0x00, payload.len() as u8]),
            3 => encode_header(FrameType(ty), wrong % 100, &mut out),
            _ if ty == 0x13 => return vec![0x13, 0x00],
            _ => encode_header(FrameType(ty), payload.len() as u64, &mut out),
        }
        out.extend(payload);
        out
    })
}

fn stream_bytes() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(frame_bytes(), 0..8), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(frames, at, cut)| {
            let mut bytes = frames.concat();
            if cut && !bytes.is_empty() {
                bytes.truncate(at.index(bytes.len()));
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    //= S3.8 (test)
    //= S3.10 (test)
    //= S3.16 (test)
    //= S3.17 (test)
    #[test]
    fn any_split_of_a_stream_gives_the_frames_the_whole_stream_has(
        bytes in stream_bytes(),
        cuts in prop::collection::vec(1..20_usize, 1..12),
    ) {
        let expected = model(&bytes, LIMITS);
        prop_assert_eq!(&decoded(&bytes, LIMITS, &[usize::MAX]), &expected, "in one piece");
        prop_assert_eq!(&decoded(&bytes, LIMITS, &[1]), &expected, "byte by byte");
        prop_assert_eq!(&decoded(&bytes, LIMITS, &cuts), &expected);
    }

    #[test]
    fn what_is_encoded_is_read_back(
        frames in prop::collection::vec((prop::sample::select(vec![0x01_u64, 0x10, 0x11, 0x12, 0x14]),
                                         prop::collection::vec(any::<u8>(), 0..20)), 0..10),
    ) {
        let mut out = Vec::new();
        for (ty, payload) in &frames {
            encode(FrameType(*ty), payload, &mut out);
        }
        let (seen, end) = decoded(&out, LIMITS, &[7]);
        prop_assert_eq!(end, Ok(()));
        let seen: Vec<_> = seen.into_iter().map(|seen| (seen.ty.0, seen.payload)).collect();
        prop_assert_eq!(seen, frames);
    }

    //= S3.10 (test)
    //= S3.95 (test)
    #[test]
    fn grease_between_frames_changes_nothing(
        types in prop::collection::vec(0..u64::from(u32::MAX), 1..6),
        payload in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut plain = Vec::new();
        let mut greased = Vec::new();
        for n in types {
            let grease = FrameType(0x1f * n + 0x21);
            prop_assert!(grease.is_reserved());
            encode(grease, &payload, &mut greased);
            for out in [&mut plain, &mut greased] {
                encode(FrameType::MESSAGE, &payload, out);
            }
        }
        prop_assert_eq!(decoded(&greased, LIMITS, &[3]), decoded(&plain, LIMITS, &[5]));
    }

    #[test]
    fn random_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1..30_usize) {
        prop_assert_eq!(decoded(&bytes, LIMITS, &[cut]), model(&bytes, LIMITS));
    }
}

//= S3.13 (test)
//= S3.90 (test)
#[test]
fn every_limit_holds_at_n_and_is_named_at_n_plus_one() {
    for (ty, limit, limit_name) in [
        (FrameType::MESSAGE, LIMITS.max_message, "max_message"),
        (FrameType::DATA, LIMITS.max_data_frame, "max_data_frame"),
        (FrameType::HELLO, LIMITS.max_metadata, "max_metadata"),
        (FrameType::GOAWAY, LIMITS.max_metadata, "max_metadata"),
        (FrameType::OPEN, LIMITS.max_metadata, "max_metadata"),
        (FrameType::ERROR, LIMITS.max_metadata, "max_metadata"),
        (FrameType(0x21), LIMITS.max_skipped, "max_skipped"),
    ] {
        let mut bytes = Vec::new();
        encode(ty, &vec![7; limit as usize], &mut bytes);
        assert_eq!(decoded(&bytes, LIMITS, &[11]).1, Ok(()), "{ty} of {limit} bytes");
        let mut bytes = Vec::new();
        encode_header(ty, limit + 1, &mut bytes);
        let error = decoded(&bytes, LIMITS, &[11]).1.unwrap_err();
        assert_eq!(error, FrameError::TooLong { ty, length: limit + 1, limit, limit_name });
        assert_eq!(error.code(), ErrorCode::LIMIT_EXCEEDED);
        assert!(error.to_string().contains(limit_name), "{error}");
    }
}

//= S3.12 (test)
#[test]
fn a_claimed_length_costs_nothing_until_its_bytes_arrive() {
    let huge = FrameLimits { max_message: u64::MAX, ..FrameLimits::default() };
    let mut decoder = Decoder::new(huge);
    let mut header = Vec::new();
    encode_header(FrameType::MESSAGE, varint::MAX, &mut header);
    decoder.push(header.into());
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.held(), 0);
    decoder.push(Bytes::from_static(&[1; 10]));
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.held(), 10);
}

//= S3.11 (test)
#[test]
fn data_is_passed_on_uncopied_and_never_held() {
    let mut bytes = Vec::new();
    encode_header(FrameType::DATA, 1000, &mut bytes);
    bytes.extend([9; 600]);
    let chunk = Bytes::from(bytes);
    let range = chunk.as_ptr_range();
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.push(chunk.clone());
    let Ok(Some(Piece::Data { chunk: first, last: false })) = decoder.next() else {
        panic!("600 bytes of data")
    };
    assert_eq!(first.len(), 600);
    assert!(range.contains(&first.as_ptr()));
    assert_eq!(decoder.held(), 0);
    assert_eq!(decoder.finish(), Err(FrameError::Truncated { ty: Some(FrameType::DATA) }));
}

#[test]
fn a_message_that_arrived_whole_is_a_slice_of_the_chunk() {
    let mut bytes = Vec::new();
    encode(FrameType::MESSAGE, &[1; 100], &mut bytes);
    let chunk = Bytes::from(bytes);
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.push(chunk.clone());
    let Ok(Some(Piece::Frame { payload, .. })) = decoder.next() else { panic!("a message") };
    assert!(chunk.as_ptr_range().contains(&payload.as_ptr()));
}

//= S3.9 (test)
#[test]
fn a_long_form_is_refused_before_the_rest_of_the_header_arrives() {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.push(Bytes::from_static(&[0x40, 0x11]));
    let error = decoder.next().unwrap_err();
    assert_eq!(error, FrameError::NotShortest { field: "type", value: 0x11 });
    assert_eq!(error.code(), ErrorCode::FRAME_ERROR);
    decoder.push(Bytes::from_static(&[0x13, 0x00]));
    assert_eq!(decoder.next(), Err(error), "nothing can be read after it");
}

//= S3.15 (test)
#[test]
fn an_end_with_a_payload_is_malformed() {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.push(Bytes::from_static(&[0x13, 0x01, 0x00]));
    assert_eq!(decoder.next().unwrap_err().code(), ErrorCode::FRAME_ERROR);
}

//= S3.16 (test)
#[test]
fn a_stream_that_ends_inside_a_frame_is_truncated() {
    for bytes in [&[0x11_u8][..], &[0x11, 0x02, 0x00], &[0x12, 0x02, 0x00], &[0x21, 0x02, 0x00], &[0x40]] {
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.push(Bytes::copy_from_slice(bytes));
        while let Ok(Some(_)) = decoder.next() {}
        assert_eq!(decoder.finish().unwrap_err().code(), ErrorCode::TRUNCATED, "{bytes:02x?}");
    }
}

//= S6.25 (test)
#[test]
fn a_stranger_is_held_to_small_frames_and_no_data() {
    for (ty, length, permitted) in [
        (FrameType::MESSAGE, 4096, true),
        (FrameType::MESSAGE, 4097, false),
        (FrameType::OPEN, 4096, true),
        (FrameType::OPEN, 4097, false),
        (FrameType::DATA, 1, false),
        (FrameType(0x21), 4097, false),
    ] {
        let mut bytes = Vec::new();
        encode_header(ty, length, &mut bytes);
        let mut decoder = Decoder::new(FrameLimits::STRANGER);
        decoder.push(bytes.into());
        assert_eq!(decoder.next().is_ok(), permitted, "{ty} of {length} bytes");
    }
}
