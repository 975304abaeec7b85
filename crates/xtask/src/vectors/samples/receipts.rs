//! Samples of section 5.9: signed receipts. The signature is a real one: of the Ed25519 key whose private half is 32 times
//! the byte 7, over `hikyaku/1 receipt`, a zero byte, and the statement.

use hikyaku_wire::cbor;
use hikyaku_wire::chat::{DeviceId, RoomId, UserId};
use hikyaku_wire::files::Arrival;
use hikyaku_wire::files::receipts::{
    After, AskHands, Given, Hands, KeptReceipt, ListReceipts, Receipts, SignedReceipt, Statement,
};

use super::files::{event, root, transfer};
use super::{Sample, counting, sample};

const KEY: [u8; 32] = [
    0xea, 0x4a, 0x6c, 0x63, 0xe2, 0x9c, 0x52, 0x0a, 0xbe, 0xf5, 0x50, 0x7b, 0x13, 0x2e, 0xc5, 0xf9, 0x95,
    0x47, 0x76, 0xae, 0xbe, 0xbe, 0x7b, 0x92, 0x42, 0x1e, 0xea, 0x69, 0x14, 0x46, 0xd2, 0x2c,
];

/// SHA-256 of the key's SubjectPublicKeyInfo.
const DEVICE: [u8; 32] = [
    0x32, 0x4b, 0xe2, 0xde, 0xa8, 0xbc, 0x44, 0x46, 0x1b, 0x02, 0x33, 0xe5, 0x1f, 0xa4, 0x89, 0x02, 0xed,
    0x6b, 0x1c, 0xc6, 0x71, 0xe7, 0x73, 0x9a, 0xf2, 0x55, 0x1e, 0x0b, 0xfe, 0x68, 0xf5, 0x4e,
];

const SIGNATURE: [u8; 64] = [
    0x8c, 0x8a, 0xba, 0xb6, 0xc7, 0xa9, 0xd9, 0x06, 0xd6, 0x10, 0x76, 0x34, 0xb2, 0xe9, 0x69, 0xa0, 0xab,
    0x00, 0xa7, 0x02, 0x54, 0xc9, 0xd0, 0x15, 0xce, 0xb8, 0x9e, 0x49, 0x6e, 0xbd, 0xca, 0x96, 0xc6, 0x82,
    0x3a, 0xd5, 0x04, 0x9d, 0x3c, 0x24, 0xb8, 0x65, 0x6f, 0xcd, 0x82, 0xac, 0xec, 0xc1, 0xa8, 0xbc, 0xea,
    0x15, 0x57, 0xc0, 0x99, 0x58, 0x4a, 0xba, 0x41, 0xe2, 0x2e, 0x2b, 0x9f, 0x07,
];

fn statement() -> Statement {
    Statement {
        host: counting(0x10),
        room: RoomId(counting(0x30)),
        epoch: 2,
        seq: 97,
        transfer: transfer(),
        root: root(),
        size: 1 << 40,
        user: UserId(counting(0x70)),
        device: DeviceId(DEVICE),
        at_ms: 1_795_305_600_123,
        kept: None,
        missing: None,
    }
}

pub(super) fn samples() -> Vec<Sample> {
    let statement = statement();
    let tree = Statement { kept: Some(9_998), missing: Some(2), ..statement.clone() };
    let receipt = SignedReceipt { statement: cbor::encode(&statement), key: KEY, signature: SIGNATURE };
    let kept = KeptReceipt { receipt: receipt.clone(), name: "ben".into(), got_ms: 1_795_305_600_456 };
    let place = After { user: statement.user, device: statement.device };
    let ask = AskHands { room: "lab".into(), parcels: vec![97], follow: None };
    vec![
        sample("receipt-statement", "of a file", &statement),
        sample("receipt-statement", "of a tree of which most was there", &tree),
        sample("signed-receipt", "of a file, with a signature that can be checked", &receipt),
        sample("receipt-given", "it is kept", &Given { hands: 3 }),
        sample("list-receipts", "from the beginning", &ListReceipts { parcel: event(), after: None }),
        sample("list-receipts", "the next", &ListReceipts { parcel: event(), after: Some(place) }),
        sample("receipts", "none", &Receipts { receipts: Vec::new(), more: None }),
        sample("receipts", "one, and more", &Receipts { receipts: vec![kept.clone()], more: Some(place) }),
        sample("kept-receipt", "what the server has", &kept),
        sample("ask-hands", "once", &ask),
        sample(
            "ask-hands",
            "and go on",
            &AskHands { follow: Some(true), parcels: Vec::new(), ..ask.clone() },
        ),
        sample("hands", "of five others", &Hands { seq: 97, hands: 3, of: Some(5), arrival: None }),
        sample(
            "hands",
            "in a room that is open to everybody",
            &Hands { seq: 97, hands: 3, of: None, arrival: None },
        ),
        sample(
            "hands",
            "of a parcel that is still being sent",
            &Hands {
                seq: 98,
                hands: 0,
                of: Some(5),
                arrival: Some(Arrival { bytes: 1 << 30, sending: true }),
            },
        ),
    ]
}
