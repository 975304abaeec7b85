//! A hostile header claims much and brings nothing: it costs at most 4 KiB, whatever it claims.

use bytes::Bytes;
use hikyaku::machines::{Control, Inbound, key_of_certificate};
use hikyaku_chat::Event;
use hikyaku_files::journal::Contents;
use hikyaku_files::tree::Tree;
use hikyaku_mux::{Config, Connection, Side};
use hikyaku_wire::cbor::{self, Limits};
use hikyaku_wire::exchange::{Failure, Goaway, Open};
use hikyaku_wire::frame::{self, Decoder, FrameLimits, FrameType};
use hikyaku_wire::hello::Hello;
use hikyaku_wire::{accounts, chat, enroll, files, parcel, varint};

use crate::{alone, peak};

/// What a header may cost.
const HEADER: usize = 4 * 1024;

#[track_caller]
fn costs_nothing(what: &str, act: impl Fn()) {
    // Once before, for what is made once for the whole process.
    act();
    let peak = peak(&act);
    assert!(peak <= HEADER, "{what} costs {peak} bytes");
}

/// As much as the limits allow, and as much as a varint can say.
const CLAIMS: [u64; 7] = [4_096, 65_536, 1 << 20, 16 << 20, 1 << 31, u32::MAX as u64, varint::MAX];

#[test]
fn a_frame_that_claims_much_costs_nothing_until_it_comes() {
    let _alone = alone();
    let types = [FrameType::HELLO, FrameType::OPEN, FrameType::MESSAGE, FrameType::DATA, FrameType::ERROR];
    for ty in types.into_iter().chain([FrameType::GOAWAY, FrameType::END, FrameType(0x21), FrameType(0x3f)]) {
        for length in CLAIMS {
            let mut head = Vec::new();
            frame::encode_header(ty, length, &mut head);
            head.push(0xa0);
            let head = Bytes::from(head);
            costs_nothing(&format!("{ty} of {length} bytes"), || {
                let mut decoder =
                    Decoder::new(FrameLimits { max_message: u64::MAX, ..FrameLimits::default() });
                decoder.push(head.clone());
                while let Ok(Some(_)) = decoder.next() {}
                for mut inbound in [
                    Inbound::answering(FrameLimits::default(), None),
                    Inbound::asking(FrameLimits::default()),
                    Inbound::answering(FrameLimits::STRANGER, Some(3)),
                ] {
                    inbound.push(head.clone());
                    while let Ok(Some(_)) = inbound.next() {}
                    let _ = inbound.end_of_stream();
                }
                let mut decoder = Decoder::new(FrameLimits::default());
                decoder.push(head.clone());
                let mut control = Control::default();
                while let Ok(Some(piece)) = decoder.next() {
                    if control.hear(piece).is_err() {
                        break;
                    }
                }
            });
        }
    }
}

/// Heads of CBOR items that claim to be long: bytes, text, arrays and maps, behind each of the first keys.
fn cbor_heads() -> Vec<Vec<u8>> {
    let mut heads = Vec::new();
    for major in [0x40u8, 0x60, 0x80, 0xa0] {
        for length in CLAIMS {
            let mut item = vec![major | 27];
            item.extend(length.to_be_bytes());
            if let Ok(length) = u32::try_from(length) {
                item = vec![major | 26];
                item.extend(length.to_be_bytes());
            }
            for key in 0..8u8 {
                heads.push([&[0xa1, key], &item[..]].concat());
                heads.push([&[0x82, key], &item[..]].concat());
            }
            heads.push(item);
        }
    }
    heads
}

/// Reads it as every kind of message.
fn read_as_everything(head: &[u8]) {
    macro_rules! read {
        ($($message:ty)*) => {$(
            // Even without the check that comes first.
            let _ = minicbor::decode::<$message>(head);
        )*};
    }
    read! {
        enroll::Redeem enroll::Welcome accounts::Me accounts::CreateInvite accounts::InviteDevice
        accounts::CreatedInvite accounts::ListInvites accounts::Invites accounts::CancelInvite accounts::ListDevices
        accounts::Devices accounts::RenameDevice accounts::RevokeDevice accounts::RevokeUser accounts::Revoked
        accounts::ListUsers accounts::Users chat::Envelope chat::Record chat::Create chat::Created chat::List
        chat::Rooms chat::Resolve chat::History chat::Page chat::Send chat::Sent chat::Follow chat::Update chat::ChangeMember
        chat::Membership chat::ListMembers chat::Members chat::MarkRead chat::Retain chat::Trim
        parcel::Parcel parcel::ParcelEnd files::Offer files::Answer files::Step files::Request files::Head
    }
    let _ = cbor::check(head, &Limits::default());
    let _ = Hello::decode(head);
    let _ = Open::decode(head);
    let _ = Failure::decode(head);
    let _ = Goaway::decode(head);
    let _ = Event::from_record(head);
}

#[test]
fn a_message_that_claims_much_costs_nothing() {
    let _alone = alone();
    for head in cbor_heads() {
        costs_nothing(&format!("{head:02x?}"), || read_as_everything(&head));
    }
}

/// Messages that are long arrays of the shortest items there are, wherever an array may stand.
fn dense() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    // 0, "", h'', and an id.
    let id = [0x50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6];
    for item in [&[0x00][..], &[0x60], &[0x40], &id] {
        let count = 6_000u16;
        let mut items = vec![0x99];
        items.extend(count.to_be_bytes());
        items.extend(item.repeat(usize::from(count)));
        for key in 0..10u8 {
            // In a map; in an alternative in a map; in a map in an array in a map.
            messages.push([&[0xa1, key], &items[..]].concat());
            messages.push([&[0xa1, key, 0x82, 0x01], &items[..]].concat());
            messages.push([&[0xa1, 0x00, 0x81, 0xa1, key], &items[..]].concat());
            messages.push([&[0x82, key], &items[..]].concat());
            messages.push([&[0x82, 0x00, 0xa1, key], &items[..]].concat());
        }
    }
    messages
}

/// What a decoder builds stays in proportion to what was sent, also when it is made of nothing but small items.
#[test]
fn a_dense_message_costs_four_times_its_length_and_64_kib() {
    let _alone = alone();
    for message in dense() {
        let peak = peak(|| read_as_everything(&message));
        let most = 4 * message.len() + 64 * 1024;
        let head = &message[..10];
        assert!(
            peak <= most,
            "{head:02x?} and so on, {} bytes, cost {peak}, more than {most}",
            message.len()
        );
    }
}

/// A server's connection that has met its peer, and a QMux record.
fn met() -> Connection {
    let now = std::time::Instant::now();
    let [mut client, mut server] =
        [Side::Client, Side::Server].map(|side| Connection::new(side, Config::default(), now));
    for _ in 0..2 {
        let mut out = Vec::new();
        client.poll_transmit(now, &mut out, 16_384);
        server.handle_input(now, out.into());
        let mut out = Vec::new();
        server.poll_transmit(now, &mut out, 16_384);
        client.handle_input(now, out.into());
    }
    while server.poll_event().is_some() {}
    server
}

#[test]
fn a_record_or_a_mux_frame_that_claims_much_costs_nothing() {
    let _alone = alone();
    let now = std::time::Instant::now();
    let mut inputs = Vec::new();
    for length in CLAIMS.into_iter().chain([16_382, 16_383, 16_384]) {
        // The record itself, and every frame with a length in it within a record that is whole.
        let mut record = Vec::new();
        varint::encode(length, &mut record);
        inputs.push(record.clone());
        record.extend([0x0a, 0x00, 0x44]);
        inputs.push(record);
        for mut frame in [vec![0x0a, 0], vec![0x0e, 0, 1], vec![0x31], vec![0x1d, 0], vec![0x1c, 0, 0]] {
            varint::encode(length, &mut frame);
            frame.push(7);
            let mut record = Vec::new();
            varint::encode(frame.len() as u64, &mut record);
            inputs.push([record, frame].concat());
        }
    }
    for input in inputs {
        let input = Bytes::from(input);
        // Making a connection is not what is counted: it is made before, and once more for each time.
        let mut servers = [met(), met()];
        let servers = std::cell::RefCell::new(servers.iter_mut());
        costs_nothing(&format!("{input:02x?}"), || {
            let mut servers = servers.borrow_mut();
            servers.next().unwrap().handle_input(now, input.clone());
        });
    }
}

#[test]
fn a_stored_or_a_sent_form_that_claims_much_costs_nothing() {
    let _alone = alone();
    for length in CLAIMS {
        let [_, _, _, _, a, b, c, d] = length.to_be_bytes();
        // A DER sequence, a journal's record, a tree of so many groups.
        let certificate = [0x30, 0x84, a, b, c, d, 0x30, 0x84, a, b, c, d, 0xa0, 3, 2, 1, 2];
        costs_nothing("a certificate", || assert_eq!(key_of_certificate(&certificate), None));
        let journal = [a, b, c, d, 1, 0x61, 0x62];
        costs_nothing("a journal", || drop(Contents::parse(&journal)));
        let tree = [&length.to_be_bytes()[..], &[1; 64]].concat();
        costs_nothing("a tree", || drop(Tree::decode(&tree)));
    }
}
