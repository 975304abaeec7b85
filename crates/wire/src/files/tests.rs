use proptest::prelude::*;

use super::*;
use crate::parcel::{EndStatus, Parcel, ParcelEnd};

fn back<T>(value: &T) -> T
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    let bytes = minicbor::to_vec(value).unwrap();
    let mut decoder = Decoder::new(&bytes);
    let value = decoder.decode().unwrap();
    assert_eq!(decoder.position(), bytes.len(), "everything was read");
    value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn offer() -> Offer {
    Offer {
        transfer: TransferId([7; 16]),
        target: Target::Drop(vec![Component(b"in".to_vec())]),
        name: b"a\xff\n".to_vec(),
        kind: EntryKind::File,
        size: Some(3),
        meta: Some(Metadata { mode: Some(0o644), mtime: Some(-1), mtime_ns: Some(5) }),
        options: Some(PutOptions {
            overwrite: Some(Overwrite::Rename),
            all_links: Some(true),
            ..PutOptions::default()
        }),
        tops: None,
    }
}

#[test]
fn every_message_reads_back_as_it_was_written() {
    assert_eq!(back(&offer()), offer());
    let bare = Offer { target: Target::Room("ops".into()), size: None, meta: None, options: None, ..offer() };
    assert_eq!(back(&bare), bare);
    let accept = Answer::Accept(Accept {
        transfer: TransferId([1; 16]),
        from: GROUP_LEN,
        prefix: Some(Root([2; 32])),
        max_block: Some(BLOCK_LEN),
        list: Some(true),
        roots: Some(true),
        known: vec![Root([3; 32]); MAX_KNOWN],
        older: Some(Older { size: 1 << 31, average: MIN_AVERAGE, key: [5; 32] }),
        packed: Some(true),
    });
    assert_eq!(back(&accept), accept);
    let receipt = Answer::Receipt(Receipt {
        transfer: TransferId([1; 16]),
        root: Root([3; 32]),
        size: 9,
        synced: Synced::Each,
        name: Some(b"x".to_vec()),
        event: Some(EventRef { room: "ops".into(), epoch: Some(1), seq: 17 }),
        tree: Some(TreeReceipt::default()),
    });
    assert_eq!(back(&receipt), receipt);
    let block = Step::Block(Block { entry: None, offset: 0, len: 1, cvs: vec![0; 32] });
    assert_eq!(back(&block), block);
    let Step::Block(block) = block else { unreachable!() };
    let parts = vec![Part { at: 0, len: 1, from: 1 << 40 }; MAX_PARTS];
    let packed = Step::Packed(Packed { block: block.clone(), parts: parts.clone(), len: 7 });
    assert_eq!(back(&packed), packed);
    let packed = Step::Packed(Packed { block: block.clone(), parts: Vec::new(), len: 7 });
    assert_eq!(back(&packed), packed);
    let composed = Step::Composed(Composed { block, parts });
    assert_eq!(back(&composed), composed);
    let pieces = Answer::Pieces(Pieces { first: 9, pieces: vec![1; 2 * PIECE_LEN], last: Some(true) });
    assert_eq!(back(&pieces), pieces);
    let close = Step::Close(Close { entry: Some(2), size: 1, root: Root([9; 32]) });
    assert_eq!(back(&close), close);
    let request = Request { from: Some(65_536), ..Request::live(Wanted::Transfer(TransferId([4; 16]))) };
    assert_eq!(back(&request), request);
    let listing = Request { list: Some(true), ..request };
    assert_eq!(back(&listing), listing);
    let head = Head {
        transfer: TransferId([4; 16]),
        name: b"n".to_vec(),
        kind: EntryKind::File,
        size: Some(0),
        root: Some(Root([0; 32])),
        meta: None,
        arrival: None,
        before: None,
    };
    assert_eq!(back(&head), head);
    let parcel = Parcel {
        transfer: TransferId([4; 16]),
        name: b"n".to_vec(),
        kind: EntryKind::Tree,
        bytes: None,
        entries: Some(3),
        meta: None,
        device: Some(crate::parcel::Addressee { id: crate::chat::DeviceId([5; 32]), name: "laptop".into() }),
    };
    assert_eq!(back(&parcel), parcel);
    let one = Offer { target: Target::Device("@ben".into(), "laptop".into()), ..offer() };
    assert_eq!(back(&one), one);
    let end = ParcelEnd { parcel: 17, status: EndStatus::Aborted, root: None, bytes: None, entries: None };
    assert_eq!(back(&end), end);
}

#[test]
fn the_bytes_of_an_offer_and_of_a_block_are_these() {
    assert_eq!(
        hex(&minicbor::to_vec(offer()).unwrap()),
        "a7005007070707070707070707070707070707018201814269 6e024361ff0a03000403\
         05a3001901a40120020506a2000302f5"
            .replace(' ', "")
    );
    let block = Step::Block(Block { entry: None, offset: 65_536, len: 2, cvs: vec![0xab; 2] });
    assert_eq!(hex(&minicbor::to_vec(block).unwrap()), "8200a3011a00010000020203 42abab".replace(' ', ""));
}

//= S5.103 (test)
#[test]
fn more_parts_than_the_bound_are_not_read_and_what_is_left_of_a_block_is_counted() {
    let block = Block { entry: None, offset: 100, len: 50, cvs: vec![0; 32] };
    let of = |parts: &[(u64, u64)]| Composed {
        block: block.clone(),
        parts: parts.iter().map(|&(at, len)| Part { at, len, from: 0 }).collect(),
    };
    let many = Step::Composed(of(&[(100, 1); MAX_PARTS + 1]));
    assert!(minicbor::decode::<Step>(&minicbor::to_vec(&many).unwrap()).is_err());
    for (parts, carried) in [
        (&[(100, 50)][..], Some(0)),
        (&[(100, 10), (110, 10)], Some(30)),
        (&[(149, 1)], Some(49)),
        (&[], Some(50)),
        (&[(99, 2)], None),
        (&[(149, 2)], None),
        (&[(120, 0)], None),
        (&[(120, 10), (125, 10)], None),
        (&[(120, u64::MAX)], None),
        (&[(u64::MAX, 1)], None),
    ] {
        assert_eq!(of(parts).carried(), carried, "{parts:?}");
    }
    let beyond = Block { offset: u64::MAX, len: 2, ..block.clone() };
    assert_eq!(Composed { block: beyond, parts: Vec::new() }.carried(), None);
}

//= S5.4 (test)
#[test]
fn an_answer_of_a_later_version_is_a_value_and_a_broken_one_is_not() {
    let mut later = vec![0x82, 0x07, 0xa1, 0x00, 0x01];
    assert_eq!(minicbor::decode::<Answer>(&later).unwrap(), Answer::Unknown(7));
    later[0] = 0x83;
    assert!(minicbor::decode::<Answer>(&later).is_err());
    assert!(minicbor::decode::<Answer>(&[0x82, 0x07, 0x01]).is_err());
}

#[test]
fn unknown_keys_are_ignored_and_unknown_steps_are_refused() {
    let close =
        [&[0x82, 0x01, 0xa3, 0x01, 0x05, 0x02, 0x58, 0x20][..], &[0; 32], &[0x18, 0x63, 0xf5]].concat();
    let read = minicbor::decode::<Step>(&close).unwrap();
    assert_eq!(read, Step::Close(Close { entry: None, size: 5, root: Root([0; 32]) }));
    assert!(minicbor::decode::<Step>(&[0x82, 0x09, 0xa0]).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = minicbor::decode::<Offer>(&bytes);
        let _ = minicbor::decode::<Answer>(&bytes);
        let _ = minicbor::decode::<Step>(&bytes);
        let _ = minicbor::decode::<Request>(&bytes);
        let _ = minicbor::decode::<Head>(&bytes);
        let _ = minicbor::decode::<Parcel>(&bytes);
        let _ = minicbor::decode::<ParcelEnd>(&bytes);
    }

    #[test]
    fn any_offer_reads_back(transfer: [u8; 16], name in proptest::collection::vec(any::<u8>(), 0..300),
                            size in proptest::option::of(0..1u64 << 53), room in "\\PC{0,40}") {
        let offer = Offer { transfer: TransferId(transfer), target: Target::Room(room), name, options: None, tops: None,
                            kind: EntryKind::File, size, meta: None };
        prop_assert_eq!(back(&offer), offer);
    }
}
