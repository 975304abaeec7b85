//! What is done with hostile bytes in the crate `hikyaku-wire`: numbers, frames, CBOR and every message.

use bytes::Bytes;
use hikyaku_wire::cbor::{self, Limits};
use hikyaku_wire::exchange::{self, Failure, Goaway, Open};
use hikyaku_wire::frame::{Decoder, FrameError, FrameLimits, FrameType, Piece};
use hikyaku_wire::hello::Hello;
use hikyaku_wire::{accounts, bundle, chat, enroll, files, parcel, varint};
use minicbor::{Decode, Encode};

/// A varint is a value of the length its first byte says, and its shortest form reads as the same value.
pub fn varint(data: &[u8]) {
    let Some((value, length)) = varint::decode(data) else {
        assert!(data.first().is_none_or(|first| data.len() < varint::encoded_len(*first)));
        return;
    };
    let mut shortest = Vec::new();
    varint::encode(value, &mut shortest);
    assert_eq!(varint::decode(&shortest), Some((value, shortest.len())));
    assert_eq!(varint::is_shortest(value, length), shortest == data[..length]);
    assert!(shortest.len() <= length);
}

/// A stream has the same frames whole and in pieces, and the decoder never holds more than its limits say. The first
/// byte says how the stream is cut.
pub fn frame_decoder(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = frames(stream, usize::MAX);
    assert_eq!(frames(stream, usize::from(*cut) + 1), whole);
}

/// Type, payload and whether the frame is complete.
type Seen = Vec<(FrameType, Vec<u8>, bool)>;

fn frames(stream: &[u8], cut: usize) -> (Seen, Result<(), FrameError>) {
    let limits = FrameLimits { max_message: 300, max_metadata: 200, max_data_frame: 1000, max_skipped: 100 };
    let mut decoder = Decoder::new(limits);
    let mut seen = Seen::new();
    for chunk in stream.chunks(cut) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            let (ty, bytes, last) = match decoder.next() {
                Ok(None) => break,
                Ok(Some(Piece::Frame { ty, payload })) => (ty, payload, true),
                Ok(Some(Piece::Data { chunk, last })) => (FrameType::DATA, chunk, last),
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error), "an error is final");
                    return (seen, Err(error));
                }
            };
            match seen.last_mut() {
                Some((_, open, whole)) if !*whole => {
                    open.extend_from_slice(&bytes);
                    *whole = last;
                }
                _ => seen.push((ty, bytes.to_vec(), last)),
            }
        }
        assert!(decoder.held() <= 300, "held {} bytes", decoder.held());
    }
    (seen, decoder.finish())
}

/// What the profile accepts, a decoder can walk to its end; what is sorted is accepted; limits only narrow.
pub fn cbor_check(data: &[u8]) {
    let roomy = Limits { items: usize::MAX, ..Limits::default() };
    let accepted = cbor::check(data, &roomy);
    if accepted.is_ok() {
        let mut decoder = minicbor::Decoder::new(data);
        decoder.skip().expect("an accepted item can be skipped");
        assert_eq!(decoder.position(), data.len());
    }
    assert!(accepted.is_ok() || !cbor::is_sorted(data));
    for limits in [Limits { depth: 2, ..roomy }, Limits { items: 8, ..roomy }, Limits::default()] {
        assert!(accepted.is_ok() || cbor::check(data, &limits).is_err());
    }
}

/// No bytes make the decoder of a session's message panic, and a message that was read survives being written.
pub fn session_messages(data: &[u8]) {
    if let Ok(hello) = Hello::decode(data) {
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }
    if let Ok(open) = Open::decode(data) {
        assert_eq!(Open::decode(&open.encode()), Ok(open));
    }
    if let Ok(failure) = Failure::decode(data) {
        assert_eq!(Failure::decode(&failure.encode()), Ok(failure));
    }
    if let Ok(goaway) = Goaway::decode(data) {
        assert_eq!(Goaway::decode(&goaway.encode()), Ok(goaway));
    }
    if let Some((number, payload)) = exchange::decode_datagram(Bytes::copy_from_slice(data)) {
        let mut out = Vec::new();
        exchange::encode_datagram(number, &payload, &mut out);
        assert_eq!(out, data);
    }
}

/// The same for `enroll/1` and `accounts/1`.
pub fn account_messages(data: &[u8]) {
    again::<enroll::Redeem>(data);
    again::<enroll::Welcome>(data);
    again::<accounts::Nothing>(data);
    again::<accounts::Me>(data);
    again::<accounts::CreateInvite>(data);
    again::<accounts::InviteDevice>(data);
    again::<accounts::CreatedInvite>(data);
    again::<accounts::ListInvites>(data);
    again::<accounts::Invites>(data);
    again::<accounts::CancelInvite>(data);
    again::<accounts::ListDevices>(data);
    again::<accounts::Devices>(data);
    again::<accounts::RenameDevice>(data);
    again::<accounts::RevokeDevice>(data);
    again::<accounts::RevokeUser>(data);
    again::<accounts::Revoked>(data);
    again::<accounts::ListUsers>(data);
    again::<accounts::Users>(data);
}

/// The same for `chat/1`.
pub fn chat_messages(data: &[u8]) {
    again::<chat::Envelope>(data);
    again::<chat::Record>(data);
    again::<chat::Create>(data);
    again::<chat::Created>(data);
    again::<chat::List>(data);
    again::<chat::Rooms>(data);
    again::<chat::Resolve>(data);
    again::<chat::History>(data);
    again::<chat::Page>(data);
    again::<chat::Send>(data);
    again::<chat::Sent>(data);
    again::<chat::Follow>(data);
    again::<chat::Update>(data);
    again::<chat::ChangeMember>(data);
    again::<chat::Membership>(data);
    again::<chat::ListMembers>(data);
    again::<chat::Members>(data);
    again::<chat::MarkRead>(data);
    again::<chat::ReadPosition>(data);
    again::<chat::Retain>(data);
    again::<chat::Trim>(data);
    again::<chat::Look>(data);
    again::<chat::Doing>(data);
    again::<chat::Present>(data);
}

/// The same for `files/1` and for parcels in rooms.
pub fn file_messages(data: &[u8]) {
    again::<parcel::Parcel>(data);
    again::<parcel::ParcelEnd>(data);
    again::<files::Offer>(data);
    again::<files::Answer>(data);
    again::<files::Step>(data);
    again::<files::Request>(data);
    again::<files::Head>(data);
    again::<files::quotas::AskQuotas>(data);
    again::<files::quotas::Quota>(data);
    again::<files::mending::MendRequest>(data);
    again::<files::mending::Lacking>(data);
    again::<files::mending::Mended>(data);
    again::<files::receipts::Statement>(data);
    again::<files::receipts::SignedReceipt>(data);
    again::<files::receipts::Given>(data);
    again::<files::receipts::ListReceipts>(data);
    again::<files::receipts::Receipts>(data);
    again::<files::receipts::AskHands>(data);
    again::<files::receipts::Hands>(data);
    again::<bundle::Enter>(data);
    again::<bundle::Leave>(data);
    again::<bundle::FileHead>(data);
    again::<bundle::FileEnd>(data);
    again::<bundle::Symlink>(data);
    again::<bundle::HardLink>(data);
    again::<bundle::LeftOut>(data);
    again::<bundle::Done>(data);
}

/// Reads a message and, if that succeeds, writes it: within the profile, and readable as a message that writes the same.
fn again<T: Encode<()> + for<'b> Decode<'b, ()>>(data: &[u8]) {
    let limits = Limits::default();
    let Ok(message) = cbor::decode::<T>(data, &limits) else { return };
    let written = cbor::encode(&message);
    assert!(cbor::is_sorted(&written), "outside the profile: {written:02x?}");
    match cbor::decode::<T>(&written, &limits) {
        Ok(message) => assert_eq!(cbor::encode(&message), written),
        Err(error) => panic!("{written:02x?} was written and cannot be read: {error}"),
    }
}
