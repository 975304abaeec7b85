//! What the CBOR profile promises: a table of what is outside it, and a second, naive implementation to differ from.

use std::collections::HashSet;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use proptest::prelude::*;

use super::*;

fn error_of(bytes: &[u8]) -> CborError {
    check(bytes, &Limits::default()).expect_err("outside the profile")
}

fn forbidden(bytes: &[u8]) -> &'static str {
    match error_of(bytes) {
        CborError::Forbidden { what, .. } => what,
        other => panic!("{bytes:02x?}: {other}"),
    }
}

//= S3.80 (test)
#[test]
fn what_the_profile_leaves_out_is_refused_by_name() {
    for (bytes, what) in [
        (&[0x9f, 0xff][..], "an indefinite length"),
        (&[0xbf, 0xff], "an indefinite length"),
        (&[0x5f, 0x41, 0x00, 0xff], "an indefinite length"),
        (&[0x7f, 0x61, 0x61, 0xff], "an indefinite length"),
        (&[0xff], "an indefinite length"),
        (&[0x81, 0xff], "an indefinite length"),
        (&[0xf9, 0x3c, 0x00], "a float"),
        (&[0xfa, 0x3f, 0x80, 0x00, 0x00], "a float"),
        (&[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], "a float"),
        (&[0xc0, 0x00], "a tag"),
        (&[0xc2, 0x41, 0x01], "a tag"),
        (&[0xd9, 0xd9, 0xf7, 0x00], "a tag"),
        (&[0xe0], "a simple value other than false, true and null"),
        (&[0xf7], "a simple value other than false, true and null"),
        (&[0xf8, 0x20], "a simple value other than false, true and null"),
        (&[0x1c], "a reserved length"),
        (&[0x5e], "a reserved length"),
        (&[0xa1, 0x20, 0x00], "a map key that is neither an unsigned integer nor text"),
        (&[0xa1, 0x41, 0x00, 0x00], "a map key that is neither an unsigned integer nor text"),
        (&[0xa1, 0x80, 0x00], "a map key that is neither an unsigned integer nor text"),
        (&[0xa1, 0xa0, 0x00], "a map key that is neither an unsigned integer nor text"),
        (&[0xa1, 0xf5, 0x00], "a map key that is neither an unsigned integer nor text"),
    ] {
        assert_eq!(forbidden(bytes), what, "{bytes:02x?}");
    }
}

//= S3.80 (test)
#[test]
fn a_number_longer_than_it_need_be_is_refused() {
    for bytes in [
        &[0x18, 0x17][..],
        &[0x19, 0x00, 0xff],
        &[0x1a, 0x00, 0x00, 0xff, 0xff],
        &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x38, 0x00],
        &[0x58, 0x01, 0x00],
        &[0x78, 0x01, 0x61],
        &[0x98, 0x01, 0x00],
        &[0xb8, 0x01, 0x00, 0x00],
    ] {
        assert_eq!(error_of(bytes), CborError::NotShortest { offset: 0 }, "{bytes:02x?}");
    }
    for bytes in
        [&[0x18, 0x18][..], &[0x19, 0x01, 0x00], &[0x1a, 0, 1, 0, 0], &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0]]
    {
        assert_eq!(check(bytes, &Limits::default()), Ok(()), "{bytes:02x?}");
    }
}

//= S3.80 (test)
#[test]
fn integers_end_at_two_to_the_53_minus_one_either_side_of_zero() {
    let permitted = [
        [0x1b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        [0x3b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
    ];
    for bytes in permitted {
        assert_eq!(check(&bytes, &Limits::default()), Ok(()), "{bytes:02x?}");
    }
    let beyond = [
        [0x1b, 0, 0x20, 0, 0, 0, 0, 0, 0],
        [0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        [0x3b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        [0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    for bytes in beyond {
        assert_eq!(error_of(&bytes), CborError::IntegerRange { offset: 0 }, "{bytes:02x?}");
    }
}

//= S3.80 (test)
#[test]
fn a_key_may_be_there_once_whatever_the_order() {
    for bytes in [
        &[0xa2, 0x00, 0x01, 0x00, 0x02][..],
        &[0xa3, 0x05, 0x01, 0x00, 0x02, 0x05, 0x00],
        &[0xa3, 0x61, 0x61, 0x01, 0x00, 0x02, 0x61, 0x61, 0x00],
    ] {
        assert_eq!(error_of(bytes), CborError::DuplicateKey { offset: 0 }, "{bytes:02x?}");
    }
    let inside = [0x81, 0xa2, 0x01, 0xa3, 0x02, 0x00, 0x01, 0x00, 0x02, 0x00, 0x00, 0x00];
    assert_eq!(error_of(&inside), CborError::DuplicateKey { offset: 3 });
    let same_key_in_two_maps = [0xa2, 0x01, 0xa1, 0x01, 0x00, 0x00, 0xa1, 0x01, 0x00];
    assert_eq!(check(&same_key_in_two_maps, &Limits::default()), Ok(()));
    assert!(!is_sorted(&same_key_in_two_maps), "accepted, but not what a sender owes");
}

//= S3.80 (test)
//= S3.84 (test)
#[test]
fn what_is_not_all_there_is_refused_however_much_it_claims() {
    for bytes in [
        &[][..],
        &[0x18],
        &[0x19, 0x01],
        &[0x41],
        &[0x81],
        &[0xa1, 0x00],
        &[0x9b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x7b, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x9a, 0xff, 0xff, 0xff, 0xff, 0x00],
    ] {
        assert_eq!(error_of(bytes), CborError::Truncated { offset: 0 }, "{bytes:02x?}");
    }
    assert_eq!(error_of(&[0x00, 0x00]), CborError::Trailing { offset: 1 });
    assert_eq!(error_of(&[0x80, 0xff]), CborError::Trailing { offset: 1 });
}

//= S3.80 (test)
#[test]
fn text_is_utf_8() {
    for bytes in [&[0x61, 0xff][..], &[0x62, 0xc3, 0x28], &[0x63, 0xed, 0xa0, 0x80], &[0x62, 0xc0, 0x80]] {
        assert_eq!(error_of(bytes), CborError::Utf8 { offset: 0 }, "{bytes:02x?}");
    }
    assert_eq!(error_of(&[0xa1, 0x61, 0xff, 0x00]), CborError::Utf8 { offset: 1 }, "keys too");
    assert_eq!(check(&[0x43, 0xff, 0xfe, 0xfd], &Limits::default()), Ok(()), "bytes are any");
}

//= S3.80 (test)
#[test]
fn sixteen_levels_are_permitted_and_seventeen_are_not() {
    let nested = |levels: usize, opener: &[u8]| [opener.repeat(levels), vec![0x00]].concat();
    for opener in [&[0x81][..], &[0xa1, 0x00]] {
        assert_eq!(check(&nested(16, opener), &Limits::default()), Ok(()));
        let error = error_of(&nested(17, opener));
        assert_eq!(error, CborError::Limit { name: "depth", limit: 16 });
        assert_eq!(error.code(), ErrorCode::LIMIT);
    }
    assert!(check(&[0x80].repeat(17), &Limits::default()).is_err());
    let beside = [vec![0x98, 0x20], vec![0x80; 32]].concat();
    assert_eq!(check(&beside, &Limits::default()), Ok(()), "beside each other is not deeper");
    assert_eq!(error_of(&vec![0x81; 1_000_000]), CborError::Limit { name: "depth", limit: 16 });
    let shallow = Limits { depth: 1, ..Limits::default() };
    assert!(check(&[0x81, 0x00], &shallow).is_ok() && check(&[0x81, 0x80], &shallow).is_err());
    assert!(check(&[0x80], &Limits { depth: 99, ..shallow }).is_ok(), "a depth beyond 16 is 16");
}

//= S3.80 (test)
#[test]
fn the_number_of_items_is_limited() {
    let limits = Limits { items: 4, ..Limits::default() };
    assert_eq!(check(&[0x83, 0, 0, 0], &limits), Ok(()));
    assert_eq!(check(&[0x84, 0, 0, 0, 0], &limits), Err(CborError::Limit { name: "items", limit: 4 }));
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
struct Sample {
    #[n(0)]
    number: u64,
    #[n(1)]
    text: Option<String>,
    #[cbor(n(2), with = "crate::cbor::blob", has_nil)]
    blob: Option<Bytes>,
    #[cbor(n(3), with = "crate::cbor::blob", has_nil)]
    required: Bytes,
}

//= S3.81 (test)
//= S3.82 (test)
#[test]
fn unknown_keys_are_ignored_and_absent_ones_are_none() {
    let sample = Sample { number: 7, text: None, blob: None, required: Bytes::from_static(b"x") };
    assert_eq!(encode(&sample), [0xa2, 0x00, 0x07, 0x03, 0x41, b'x']);
    let greased = [0xa4, 0x18, 0x21, 0x82, 0x01, 0xa0, 0x03, 0x41, b'x', 0x18, 0x40, 0xf6, 0x00, 0x07];
    assert_eq!(decode::<Sample>(&greased, &Limits::default()), Ok(sample));
    let full = Sample {
        number: 1 << 40,
        text: Some("飛脚".into()),
        blob: Some(Bytes::new()),
        required: Bytes::new(),
    };
    assert_eq!(decode::<Sample>(&encode(&full), &Limits::default()), Ok(full));
}

#[test]
fn a_message_of_another_shape_is_an_error_that_says_so() {
    for bytes in
        [&[0xa1, 0x00, 0x07][..], &[0x00], &[0xa2, 0x00, 0x20, 0x03, 0x40], &[0xa2, 0x00, 0x00, 0x03, 0x60]]
    {
        let error = decode::<Sample>(bytes, &Limits::default()).unwrap_err();
        assert!(matches!(error, CborError::Shape { .. }), "{error}");
        assert_eq!(error.code(), ErrorCode::INVALID_MESSAGE);
    }
}

/// The profile once more, recursive and wasteful: the rest behind one item, `None` when the item is outside.
fn naive(bytes: &[u8], depth: usize, is_key: bool) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    let (major, info) = (first / 32, first % 32);
    if major == 7 {
        return ((20..=22).contains(&info) && !is_key).then_some(rest);
    }
    let size = match info {
        0..=23 => 0,
        24..=27 => [1, 2, 4, 8][usize::from(info) - 24],
        _ => return None,
    };
    if rest.len() < size {
        return None;
    }
    let (digits, rest) = rest.split_at(size);
    let mut padded = [0; 8];
    padded[8 - size..].copy_from_slice(digits);
    let value = if size == 0 { u64::from(info) } else { u64::from_be_bytes(padded) };
    let shortest = match value {
        0..=23 => 0,
        24..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    if size != shortest {
        return None;
    }
    match major {
        0 => (value < 1 << 53).then_some(rest),
        1 => (value < (1 << 53) - 1 && !is_key).then_some(rest),
        2 | 3 => {
            let length = usize::try_from(value).ok().filter(|length| *length <= rest.len())?;
            let (string, rest) = rest.split_at(length);
            let right = if major == 3 { std::str::from_utf8(string).is_ok() } else { !is_key };
            right.then_some(rest)
        }
        4 | 5 if depth < 16 && !is_key && value <= rest.len() as u64 => {
            let mut keys = HashSet::new();
            let mut rest = rest;
            for _ in 0..value {
                if major == 5 {
                    let behind = naive(rest, depth + 1, true)?;
                    if !keys.insert(&rest[..rest.len() - behind.len()]) {
                        return None;
                    }
                    rest = behind;
                }
                rest = naive(rest, depth + 1, false)?;
            }
            Some(rest)
        }
        _ => None,
    }
}

/// Bytes that are often CBOR: small heads of every major type, with short strings and numbers.
fn cbor_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![0x00, 0x01, 0x17, 0x20, 0x40, 0x60, 0x80, 0xa0, 0xf4, 0xf6]).prop_map(|b| vec![b]),
        4 => prop::sample::select(vec![0x81, 0x82, 0x83, 0xa1, 0xa2, 0xa3]).prop_map(|b| vec![b]),
        2 => (0..4_u8, any::<[u8; 3]>()).prop_map(|(n, s)| [&[0x40 + n], &s[..usize::from(n)]].concat()),
        2 => "[a-cé]{0,3}".prop_map(|s| [&[0x60 + s.len() as u8], s.as_bytes()].concat()),
        1 => any::<u8>().prop_map(|n| vec![0x18, n]),
        1 => any::<u8>().prop_map(|n| vec![n]),
    ];
    prop::collection::vec(piece, 1..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8000))]

    //= S3.80 (test)
    #[test]
    fn the_walk_agrees_with_a_naive_reading(bytes in cbor_like()) {
        // Most random bytes have something behind the first item; cut there, so that acceptance is tested too.
        let end = naive(&bytes, 0, false).map_or(bytes.len(), |rest| bytes.len() - rest.len());
        for bytes in [&bytes[..], &bytes[..end]] {
            let expected = naive(bytes, 0, false).is_some_and(<[u8]>::is_empty);
            let found = check(bytes, &Limits::default());
            prop_assert_eq!(found.is_ok(), expected, "{:02x?}: {:?}", bytes, found);
            prop_assert!(expected || !is_sorted(bytes));
            if expected {
                prop_assert!(minicbor::decode::<Anything>(bytes).is_ok());
            }
        }
    }
}

/// Whatever item; decoding skips it.
struct Anything;

impl<'b, C> Decode<'b, C> for Anything {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        decoder.skip().map(|()| Anything)
    }
}
