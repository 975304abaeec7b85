use hikyaku::Identity;
use hikyaku_wire::chat::{DeviceId, RoomId, UserId};
use hikyaku_wire::parcel::{Root, TransferId};

use super::*;
use crate::receipts::{signed, verify};

fn receipt() -> SignedReceipt {
    let device = Identity::generate().unwrap();
    let statement = Statement {
        host: [1; 32],
        room: RoomId([2; 16]),
        epoch: 1,
        seq: 97,
        transfer: TransferId([3; 16]),
        root: Root([4; 32]),
        size: 5,
        user: UserId([6; 16]),
        device: DeviceId(*device.id().as_bytes()),
        at_ms: 7,
        kept: None,
        missing: Some(8),
    };
    signed(&device, &statement)
}

fn line(receipt: &SignedReceipt) -> Vec<u8> {
    let said = verify(receipt).unwrap();
    serde_json::to_vec(&Printed::new(1, "receipt", receipt, Ok(&said))).unwrap()
}

#[test]
fn what_is_printed_is_read_again_and_nothing_else_of_a_line_is_believed() {
    let receipt = receipt();
    let printed = line(&receipt);
    assert_eq!(Printed::read(&printed).unwrap(), receipt);
    let mut lying: serde_json::Value = serde_json::from_slice(&printed).unwrap();
    lying["said"]["root"] = "another".into();
    lying["error"] = "none".into();
    lying["more"] = 1.into();
    assert_eq!(Printed::read(lying.to_string().as_bytes()).unwrap(), receipt);
    let told = |key: &str, value: &str| {
        let mut wrong: serde_json::Value = serde_json::from_slice(&printed).unwrap();
        wrong[key] = value.into();
        Printed::read(wrong.to_string().as_bytes()).unwrap_err().to_string()
    };
    assert_eq!(told("key", "xy"), "'key' is not hexadecimal");
    assert_eq!(told("signature", "00"), "'signature' has another length");
}

#[test]
fn a_line_has_a_bound_and_after_an_error_nothing_is_read() {
    let receipt = receipt();
    let mut good = line(&receipt);
    good.push(b'\n');
    let spaced = |len: usize| [&good[..good.len() - 1], &vec![b' '; len - good.len()], b"\n"].concat();
    let at_the_bound = [b"\n  \n", &spaced(MAX_LINE)[..], &good].concat();
    let found: Result<Vec<_>, _> = Receipts::of(&at_the_bound[..]).collect();
    assert_eq!(found.unwrap(), [receipt.clone(), receipt]);
    let beyond = [&good[..], &spaced(MAX_LINE + 1), &good].concat();
    let found: Vec<_> = Receipts::of(&beyond[..]).collect();
    assert!(matches!(&found[..], [Ok(_), Err(Unreadable::TooLong)]), "{found:?}");
    let found: Vec<_> = Receipts::of(&[b"{}\n", &good[..]].concat()[..]).collect();
    assert!(matches!(&found[..], [Err(Unreadable::Json(_))]), "{found:?}");
}
