//! Reading in place and decoding are one thing said twice.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::chat::Record;

const LIMITS: cbor::Limits = cbor::Limits { depth: cbor::Limits::MAX_DEPTH, items: 65_536 };

/// An error without the names of types of ours.
fn nameless(error: CborError) -> CborError {
    match error {
        CborError::Shape { reason } => CborError::Shape { reason: reason.replace("View::", "::") },
        other => other,
    }
}

/// Both ways of reading a record, for any bytes.
fn same_record(bytes: &[u8]) -> Result<(), TestCaseError> {
    let decoded = cbor::decode::<Record>(bytes, &LIMITS);
    let owned = |slice: Option<&[u8]>| slice.map(|slice| Octets::from(slice.to_vec()));
    let viewed = RecordView::read(bytes).map(|view| Record {
        envelope: view.envelope().to_vec().into(),
        salt: view.salt,
        body: owned(view.body()),
        digest: view.digest,
        signature: owned(view.signature()),
    });
    prop_assert_eq!(decoded.map_err(nameless), viewed.map_err(nameless), "{:02x?}", bytes);
    Ok(())
}

/// Both ways of reading an envelope, for any bytes.
fn same_envelope(bytes: &[u8]) -> Result<(), TestCaseError> {
    let viewed = EnvelopeView::read(bytes).map(EnvelopeView::into_owned);
    let decoded = cbor::decode::<Envelope>(bytes, &LIMITS);
    prop_assert_eq!(decoded.map_err(nameless), viewed.map_err(nameless), "{:02x?}", bytes);
    Ok(())
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let numbers = (any::<u16>(), 0..=cbor::MAX_INTEGER, 0..300_u64);
    let lists = (prop::collection::vec(0..70_000_u64, 0..3), prop::collection::vec(any::<u8>(), 0..3));
    ("\\PC{0,30}", numbers, lists, prop::option::weighted(0.1, Just(Octets(Bytes::from_static(b"sealed")))))
        .prop_map(|(name, (kind, ts_ms, count), (refs, mentions), sealed)| Envelope {
            kind: Kind(kind),
            author: UserId([1; 16]),
            name,
            device: DeviceId([2; 32]),
            id: MessageId([3; 16]),
            ts_ms,
            count,
            refs,
            mentions: mentions.into_iter().map(|number| UserId([number; 16])).collect(),
            sealed,
        })
}

fn record() -> impl Strategy<Value = Record> {
    let octets = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Octets::from);
    let parts =
        (any::<bool>(), prop::option::of(octets()), any::<bool>(), prop::option::weighted(0.1, octets()));
    (octets(), parts).prop_map(|(envelope, (salt, body, digest, signature))| Record {
        envelope,
        salt: salt.then_some(Salt([4; 16])),
        body,
        digest: digest.then_some(Digest([5; 32])),
        signature,
    })
}

/// What becomes of bytes on their way: mostly nothing, or something small at one place.
fn damage() -> impl Strategy<Value = (u8, usize, u8)> {
    (
        0..6_u8,
        any::<usize>(),
        prop_oneof![any::<u8>(), prop::sample::select(vec![0x00, 0x07, 0x18, 0x19, 0xa8, 0xf6])],
    )
}

fn damaged(mut bytes: Vec<u8>, (how, at, byte): (u8, usize, u8)) -> Vec<u8> {
    let at = at % bytes.len();
    match how {
        0 => {}
        1 => bytes[at] = byte,
        2 => bytes.insert(at, byte),
        3 => drop(bytes.remove(at)),
        4 => bytes.push(byte),
        _ => bytes.truncate(at),
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    //= S3.80 (test)
    //= S3.82 (test)
    #[test]
    fn reading_in_place_agrees_with_decoding(
        envelope in envelope(), record in record(), damage in damage(), head in any::<bool>(),
    ) {
        // The first bytes hold most of the shape.
        let (how, at, byte) = damage;
        let damage = (how, if head { at % 60 } else { at }, byte);
        same_envelope(&damaged(cbor::encode(&envelope), damage))?;
        same_record(&damaged(cbor::encode(&record), damage))?;
    }
}

#[test]
fn what_senders_write_is_read_in_one_pass_and_what_others_may_write_is_read_too() {
    let envelope = Envelope {
        kind: Kind::REPLY,
        author: UserId([1; 16]),
        name: "kai".into(),
        device: DeviceId([2; 32]),
        id: MessageId([3; 16]),
        ts_ms: 1_700_000_000_000,
        count: 7,
        refs: vec![300],
        mentions: vec![UserId([4; 16])],
        sealed: None,
    };
    let bytes = cbor::encode(&envelope);
    assert_eq!(EnvelopeView::usual(&bytes).map(EnvelopeView::into_owned).as_ref(), Some(&envelope));
    // A key that nobody knows yet, at the end: no longer usual, and permitted.
    let mut greased = bytes;
    greased[0] += 1;
    greased.extend([0x18, 0x21, 0x80]);
    assert_eq!(EnvelopeView::usual(&greased), None);
    assert_eq!(EnvelopeView::read(&greased).map(EnvelopeView::into_owned), Ok(envelope));
}
