//! The test vectors of the specification, read by this implementation: each message decodes to a value that encodes to
//! the same bytes, each stream has the frames it should, and everything malformed is refused for the right reason.

#![allow(clippy::unwrap_used, reason = "a vector that is not there is a failed test")]

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use hikyaku_wire::cbor::{self, CborError, Limits};
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{self, Failure, Goaway, Open};
use hikyaku_wire::frame::{Decoder, FrameLimits, FrameType, Piece};
use hikyaku_wire::hello::Hello;
use hikyaku_wire::{accounts, bundle, chat, enroll, files, parcel, varint};
use minicbor::{Decode, Encode};
use serde_json::Value;

/// The vectors of one file.
fn vectors(file: &str) -> Vec<Value> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(file).with_extension("json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table: Value = serde_json::from_str(&text).unwrap();
    table["vectors"].as_array().unwrap().clone()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{vector} has no text `{field}`"))
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    let hex = text(vector, field);
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Decodes and encodes a message by the name of its CDDL type.
type Reader = fn(&[u8]) -> Result<Vec<u8>, CborError>;

fn again<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<Vec<u8>, CborError> {
    cbor::decode::<T>(bytes, &Limits::default()).map(|message| cbor::encode(&message))
}

const SESSION: &[(&str, Reader)] = &[
    ("hello", |bytes| Hello::decode(bytes).map(|hello| hello.encode())),
    ("open", |bytes| Open::decode(bytes).map(|open| open.encode())),
    ("goaway", |bytes| Goaway::decode(bytes).map(|goaway| goaway.encode())),
    ("failure", |bytes| Failure::decode(bytes).map(|failure| failure.encode())),
];

const ACCOUNTS: &[(&str, Reader)] = &[
    ("redeem", again::<enroll::Redeem>),
    ("welcome", again::<enroll::Welcome>),
    ("nothing", again::<accounts::Nothing>),
    ("me", again::<accounts::Me>),
    ("create-invite", again::<accounts::CreateInvite>),
    ("invite-device", again::<accounts::InviteDevice>),
    ("created-invite", again::<accounts::CreatedInvite>),
    ("list-invites", again::<accounts::ListInvites>),
    ("invite", again::<accounts::Invite>),
    ("invites", again::<accounts::Invites>),
    ("cancel-invite", again::<accounts::CancelInvite>),
    ("list-devices", again::<accounts::ListDevices>),
    ("device", again::<accounts::Device>),
    ("devices", again::<accounts::Devices>),
    ("rename-device", again::<accounts::RenameDevice>),
    ("revoke-device", again::<accounts::RevokeDevice>),
    ("revoke-user", again::<accounts::RevokeUser>),
    ("grant-user", again::<accounts::GrantUser>),
    ("revoked", again::<accounts::Revoked>),
    ("list-users", again::<accounts::ListUsers>),
    ("user", again::<accounts::User>),
    ("users", again::<accounts::Users>),
];

const CHAT: &[(&str, Reader)] = &[
    ("envelope", again::<chat::Envelope>),
    ("record", again::<chat::Record>),
    ("create-room", again::<chat::Create>),
    ("created-room", again::<chat::Created>),
    ("room-head", again::<chat::Head>),
    ("room", again::<chat::Room>),
    ("list-rooms", again::<chat::List>),
    ("rooms", again::<chat::Rooms>),
    ("resolve-room", again::<chat::Resolve>),
    ("history", again::<chat::History>),
    ("history-page", again::<chat::Page>),
    ("send", again::<chat::Send>),
    ("sent", again::<chat::Sent>),
    ("follow", again::<chat::Follow>),
    ("cursor", again::<chat::Cursor>),
    ("update", again::<chat::Update>),
    ("trimmed", again::<chat::Trimmed>),
    ("batch", again::<chat::Batch>),
    ("live", again::<chat::Live>),
    ("refused", again::<chat::Refused>),
    ("change-member", again::<chat::ChangeMember>),
    ("list-members", again::<chat::ListMembers>),
    ("mark-read", again::<chat::MarkRead>),
    ("member", again::<chat::Member>),
    ("members", again::<chat::Members>),
    ("membership", again::<chat::Membership>),
    ("read-position", again::<chat::ReadPosition>),
    ("retain", again::<chat::Retain>),
    ("trim", again::<chat::Trim>),
    ("look", again::<chat::Look>),
    ("doing", again::<chat::Doing>),
    ("present", again::<chat::Present>),
    ("someone", again::<chat::Someone>),
];

const FILES: &[(&str, Reader)] = &[
    ("parcel", again::<parcel::Parcel>),
    ("parcel-end", again::<parcel::ParcelEnd>),
    ("metadata", again::<parcel::Metadata>),
    ("event-ref", again::<parcel::EventRef>),
    ("offer", again::<files::Offer>),
    ("answer", again::<files::Answer>),
    ("step", again::<files::Step>),
    ("arrival", again::<files::Arrival>),
    ("file-request", again::<files::Request>),
    ("file-head", again::<files::Head>),
    ("ask-quotas", again::<files::quotas::AskQuotas>),
    ("quota", again::<files::quotas::Quota>),
    ("mend-request", again::<files::mending::MendRequest>),
    ("lacking", again::<files::mending::Lacking>),
    ("mended", again::<files::mending::Mended>),
    ("receipt-statement", again::<files::receipts::Statement>),
    ("signed-receipt", again::<files::receipts::SignedReceipt>),
    ("receipt-given", again::<files::receipts::Given>),
    ("list-receipts", again::<files::receipts::ListReceipts>),
    ("receipts", again::<files::receipts::Receipts>),
    ("kept-receipt", again::<files::receipts::KeptReceipt>),
    ("ask-hands", again::<files::receipts::AskHands>),
    ("hands", again::<files::receipts::Hands>),
    ("bundle-enter", again::<bundle::Enter>),
    ("bundle-leave", again::<bundle::Leave>),
    ("bundle-file", again::<bundle::FileHead>),
    ("bundle-end", again::<bundle::FileEnd>),
    ("bundle-symlink", again::<bundle::Symlink>),
    ("bundle-hard-link", again::<bundle::HardLink>),
    ("bundle-left-out", again::<bundle::LeftOut>),
    ("bundle-done", again::<bundle::Done>),
];

//= S3.81 (test)
#[test]
fn every_message_decodes_and_encodes_to_the_same_bytes() {
    for (file, readers) in [("session", SESSION), ("accounts", ACCOUNTS), ("chat", CHAT), ("files", FILES)] {
        let mut missing: BTreeSet<&str> = readers.iter().map(|(ty, _)| *ty).collect();
        for vector in vectors(file) {
            let ty = text(&vector, "type");
            let (_, read) =
                readers.iter().find(|(name, _)| *name == ty).unwrap_or_else(|| panic!("{ty} is new here"));
            let bytes = bytes(&vector, "hex");
            assert_eq!(read(&bytes).as_deref(), Ok(&bytes[..]), "{ty}: {}", text(&vector, "name"));
            assert!(cbor::is_sorted(&bytes), "{ty}: {}", text(&vector, "name"));
            missing.remove(ty);
        }
        assert!(missing.is_empty(), "{file}.json has no vector for {missing:?}");
    }
}

//= S3.82 (test)
#[test]
fn every_message_that_is_a_map_ignores_a_key_it_does_not_know() {
    for (file, readers) in [("session", SESSION), ("accounts", ACCOUNTS), ("chat", CHAT), ("files", FILES)] {
        for vector in vectors(file) {
            let plain = bytes(&vector, "hex");
            let (ty, read) = readers.iter().find(|(name, _)| *name == text(&vector, "type")).unwrap();
            let Some(entries @ 0xa0..0xb7) = plain.first().copied() else { continue };
            // The grease key 0x5f with a nested value, behind all others.
            let greased =
                [&[entries + 1], &plain[1..], &[0x18, 0x5f, 0x82, 0xa1, 0x00, 0xf6, 0x41, 0xff]].concat();
            assert_eq!(read(&greased).as_deref(), Ok(&plain[..]), "{ty}: {}", text(&vector, "name"));
        }
    }
}

//= S3.80 (test)
#[test]
fn a_message_cut_short_or_with_a_byte_behind_it_is_refused() {
    for (file, readers) in [("session", SESSION), ("accounts", ACCOUNTS), ("chat", CHAT), ("files", FILES)] {
        for vector in vectors(file) {
            let whole = bytes(&vector, "hex");
            let (ty, read) = readers.iter().find(|(name, _)| *name == text(&vector, "type")).unwrap();
            for cut in 0..whole.len() {
                assert!(read(&whole[..cut]).is_err(), "{ty} cut at {cut}: {}", text(&vector, "name"));
            }
            assert!(read(&[&whole[..], &[0x00]].concat()).is_err(), "{ty}");
        }
    }
}

//= S3.80 (test)
#[test]
fn the_profile_accepts_and_refuses_what_the_vectors_say() {
    for vector in vectors("cbor") {
        let accepted = cbor::check(&bytes(&vector, "hex"), &Limits::default()).is_ok();
        assert_eq!(Some(accepted), vector["accepted"].as_bool(), "{}", text(&vector, "why"));
    }
}

//= S2.1 (test)
//= S2.2 (test)
#[test]
fn every_varint_has_the_value_it_should() {
    for vector in vectors("varint") {
        let bytes = bytes(&vector, "hex");
        let decoded = varint::decode(&bytes);
        if vector.get("error").is_some() {
            assert_eq!(decoded, None, "{vector}");
            continue;
        }
        let value: u64 = text(&vector, "value").parse().unwrap();
        assert_eq!(decoded, Some((value, bytes.len())));
        assert_eq!(Some(varint::is_shortest(value, bytes.len())), vector["shortest"].as_bool());
        if vector["shortest"] == true {
            let mut out = Vec::new();
            varint::encode(value, &mut out);
            assert_eq!(out, bytes);
        }
    }
}

//= S3.9 (test)
//= S3.10 (test)
//= S3.13 (test)
#[test]
fn every_stream_has_the_frames_it_should() {
    for vector in vectors("frames") {
        let name = text(&vector, "name");
        let bytes = bytes(&vector, "hex");
        let skip = usize::from(name.starts_with("a control stream"));
        for cut in [1, 2, 5, bytes.len().max(1)] {
            let found = read(&bytes[skip..], cut);
            match vector.get("error") {
                Some(code) => {
                    let expected = code.as_str();
                    assert_eq!(found.map_err(|code| code.name()).unwrap_err(), expected, "{name}");
                }
                None => {
                    let expected: Vec<(u64, Vec<u8>)> =
                        vector["frames"].as_array().unwrap().iter().map(frame).collect();
                    assert_eq!(found, Ok(expected), "{name} in pieces of {cut}");
                }
            }
        }
    }
}

fn frame(frame: &Value) -> (u64, Vec<u8>) {
    let ty = text(frame, "type").strip_prefix("0x").unwrap();
    (u64::from_str_radix(ty, 16).unwrap(), bytes(frame, "payload"))
}

fn read(bytes: &[u8], cut: usize) -> Result<Vec<(u64, Vec<u8>)>, ErrorCode> {
    let mut decoder = Decoder::new(FrameLimits::default());
    let mut frames = Vec::new();
    let mut data = Vec::new();
    for chunk in bytes.chunks(cut) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(piece) = decoder.next().map_err(|error| error.code())? {
            match piece {
                Piece::Frame { ty, payload } => frames.push((ty.0, payload.to_vec())),
                Piece::Data { chunk, last } => {
                    data.extend_from_slice(&chunk);
                    if last {
                        frames.push((FrameType::DATA.0, std::mem::take(&mut data)));
                    }
                }
            }
        }
    }
    decoder.finish().map_err(|error| error.code())?;
    Ok(frames)
}

//= S3.51 (test)
//= S3.52 (test)
#[test]
fn every_datagram_belongs_to_the_exchange_it_should() {
    for vector in vectors("datagrams") {
        let datagram = Bytes::from(bytes(&vector, "hex"));
        let decoded = exchange::decode_datagram(datagram.clone());
        if vector.get("error").is_some() {
            assert_eq!(decoded, None, "{vector}");
            continue;
        }
        let number: u64 = text(&vector, "exchange").parse().unwrap();
        let stream: u64 = text(&vector, "stream").parse().unwrap();
        let payload = bytes(&vector, "payload");
        assert_eq!(exchange::exchange_number(stream), number);
        assert_eq!(decoded, Some((number, payload.clone().into())));
        let mut out = Vec::new();
        exchange::encode_datagram(number, &payload, &mut out);
        assert_eq!(out, datagram);
    }
}

//= S3.64 (test)
#[test]
fn every_error_code_has_its_name_and_class() {
    for vector in vectors("errors") {
        let frames = read(&bytes(&vector, "frame"), 3).unwrap();
        let [(ty, payload)] = &frames[..] else { panic!("one frame: {vector}") };
        assert_eq!(*ty, FrameType::ERROR.0);
        let failure = Failure::decode(payload).unwrap();
        assert_eq!(format!("{:#04x}", failure.code.0), text(&vector, "code"));
        assert_eq!(failure.code.name(), vector["name"].as_str());
        assert_eq!(failure.code.class().to_string(), text(&vector, "class"));
        assert_eq!(failure.code.generic().name(), vector["treated_as"].as_str());
        assert_eq!(failure.encode(), *payload);
    }
}
