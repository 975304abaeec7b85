//! The rules of a bundle, in pieces of every size.

use hikyaku_wire::bundle::{
    Attribute, Done, Enter, FileEnd, FileHead, HardLink, Leave, PIECE_LEN, Reason, Symlink,
};
use hikyaku_wire::files::Component;
use hikyaku_wire::parcel::Root;
use proptest::prelude::*;

use super::{BundleError, Item, MAX_LAST, Reader, Writer, last};
use crate::names::Dots;

const PIECE: usize = PIECE_LEN as usize;

/// What a test writes, without regard for the rules.
#[derive(Clone, Debug)]
enum Step {
    Enter(Vec<u8>),
    Leave,
    File(Vec<u8>, u64),
    Bytes(usize),
    Hole(u64),
    End(Option<Reason>),
    Link(Vec<u8>, Vec<u8>),
    Hard(Vec<u8>, Vec<Vec<u8>>),
    Done(u64, u64, u64),
}

fn write(steps: &[Step]) -> Vec<u8> {
    let mut writer = Writer::default();
    for step in steps.iter().cloned() {
        match step {
            Step::Enter(name) => writer.enter(&Enter { name }),
            Step::Leave => writer.leave(&Leave::default()),
            Step::File(name, size) => {
                writer.file(&FileHead { name, size, meta: None, attributes: None, from: None })
            }
            Step::Bytes(len) => {
                let kept = writer.bytes(len, |buffer| {
                    buffer.fill(7);
                    Ok::<_, std::convert::Infallible>(true)
                });
                assert_eq!(kept, Ok(true));
            }
            Step::Hole(len) => writer.hole(len),
            Step::End(failed) => writer.end(&FileEnd { failed }),
            Step::Link(name, target) => writer.symlink(&Symlink { name, target, meta: None }),
            Step::Hard(name, to) => {
                let to = to.into_iter().map(Component).collect();
                writer.hard_link(&HardLink { name, to });
            }
            Step::Done(entries, bytes, left_out) => {
                writer.done(&Done { entries, bytes, left_out, ..Done::default() })
            }
        }
    }
    writer.written().to_vec()
}

/// Reads a bundle in pieces of the given size, and says what came, content joined.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, BundleError> {
    let mut reader = Reader::new(Dots::Refused);
    let (mut out, mut content) = (Vec::new(), 0);
    for mut input in bytes.chunks(piece) {
        while let Some(item) = reader.next(&mut input)? {
            match item {
                Item::Bytes(bytes) => content += bytes.len(),
                item => {
                    if content > 0 {
                        out.push(format!("{} bytes", std::mem::take(&mut content)));
                    }
                    out.push(format!("{item:?}"));
                }
            }
        }
    }
    assert!(reader.is_done(), "the end was read");
    Ok(out)
}

fn name(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// A tree with one of everything, canonical.
fn everything() -> Vec<Step> {
    let end = || Step::End(None);
    vec![
        Step::Enter(name("a")),
        Step::File(name("big"), 3 * PIECE_LEN + 5),
        Step::Bytes(PIECE),
        Step::Hole(PIECE_LEN),
        Step::Bytes(PIECE),
        Step::Bytes(5),
        end(),
        Step::File(name("empty"), 0),
        end(),
        Step::Enter(name("inner")),
        Step::Link(name(".hikyaku"), name("../big")),
        Step::Leave,
        Step::File(name("torn"), 10),
        Step::End(Some(Reason::CHANGED)),
        Step::Leave,
        Step::Hard(name("b"), vec![name("a"), name("big")]),
        Step::Done(6, 3 * PIECE_LEN + 5, 1),
    ]
}

//= S5.40 (test)
#[test]
fn a_bundle_reads_the_same_in_pieces_of_every_size() {
    let bytes = write(&everything());
    let whole = read(&bytes, bytes.len()).unwrap();
    assert_eq!(whole.len(), 16);
    for piece in [1, 2, 3, 7, 100, PIECE - 1, PIECE, PIECE + 1] {
        assert_eq!(read(&bytes, piece).unwrap(), whole, "in pieces of {piece}");
    }
}

#[test]
fn a_reader_goes_on_from_every_place_between_headers() {
    let bytes = write(&everything());
    let mut first = Reader::new(Dots::Refused);
    let mut places = 0;
    for cut in (0..bytes.len()).filter(|cut| cut % 997 == 0 || *cut < 300 || bytes.len() - cut < 300) {
        let mut reader = Reader::new(Dots::Refused);
        let mut before = &bytes[..cut];
        while reader.next(&mut before).unwrap().is_some() {}
        let Some(position) = reader.position() else { continue };
        places += 1;
        assert_eq!(position.offset, cut as u64);
        let stored = hikyaku_wire::cbor::encode(position);
        let mut resumed = Reader::resume(Dots::Refused, minicbor::decode(&stored).unwrap());
        let (mut left, mut right) = (&bytes[cut..], &bytes[cut..]);
        loop {
            let (ours, theirs) = (reader.next(&mut left).unwrap(), resumed.next(&mut right).unwrap());
            assert_eq!(ours, theirs);
            if ours.is_none() {
                break;
            }
        }
        assert!(resumed.is_done());
    }
    assert!(places > 100, "{places} places");
    assert!(first.next(&mut bytes.as_slice()).is_ok());
}

/// Every way to break a rule, and what is said of it.
//= S5.41 (test)
//= S5.42 (test)
//= S5.43 (test)
//= S5.44 (test)
//= S5.45 (test)
//= S5.46 (test)
//= S5.48 (test)
#[test]
fn what_is_not_canonical_is_refused() {
    let file = |len| Step::File(name("f"), len);
    let deep = |depth: usize| -> Vec<Step> { (0..depth).map(|_| Step::Enter(name("d"))).collect() };
    let long: Vec<Step> = (0..17).map(|_| Step::Enter(vec![b'n'; 250])).collect();
    let cases: Vec<(&str, Vec<Step>, &str)> = vec![
        ("a slash", vec![Step::Enter(name("a/b"))], "slash"),
        ("the directory above", vec![Step::Enter(name(".."))], "directory itself"),
        ("no name", vec![file(0), Step::End(None), Step::Enter(vec![])], "empty name"),
        ("a hidden top", vec![Step::Enter(name(".ssh"))], "begins with a dot"),
        ("our own at the top", vec![Step::Enter(name(".hikyaku-x"))], "kept for the program"),
        ("a zero byte", vec![Step::Enter(b"a\0".to_vec())], "NUL"),
        (
            "names that fall",
            vec![Step::Link(name("b"), name("x")), Step::Link(name("a"), name("x"))],
            "follow",
        ),
        (
            "the same name twice",
            vec![Step::Link(name("a"), name("x")), file(0), Step::End(None), file(0)],
            "follow",
        ),
        ("a name of a directory again", vec![Step::Enter(name("f")), Step::Leave, file(0)], "follow"),
        ("too deep", deep(65), "65 components"),
        ("too long", long, "bytes (at most 4096)"),
        ("a directory in a file", vec![file(1), Step::Enter(name("g"))], "without its end"),
        ("bytes in no file", vec![Step::Bytes(1)], "outside a file"),
        ("a hole in no file", vec![Step::Hole(PIECE_LEN)], "outside a file"),
        ("an end in no file", vec![Step::End(None)], "outside a file"),
        ("too many bytes", vec![file(3), Step::Bytes(4)], "next piece"),
        ("too few bytes", vec![file(3), Step::Bytes(2)], "next piece"),
        ("bytes in an empty file", vec![file(0), Step::Bytes(1)], "next piece"),
        ("a file that is short", vec![file(3), Step::End(None)], "before its size"),
        ("a hole of half a piece", vec![file(2 * PIECE_LEN), Step::Hole(PIECE_LEN / 2)], "whole pieces"),
        ("a hole of nothing", vec![file(2 * PIECE_LEN), Step::Hole(0)], "whole pieces"),
        ("a hole too long", vec![file(PIECE_LEN), Step::Hole(2 * PIECE_LEN)], "whole pieces"),
        ("two holes", vec![file(2 * PIECE_LEN), Step::Hole(PIECE_LEN), Step::Hole(PIECE_LEN)], "two holes"),
        ("a link to nowhere", vec![Step::Link(name("l"), vec![])], "points to no path"),
        ("a link too far", vec![Step::Link(name("l"), vec![b'x'; 4096])], "points to no path"),
        (
            "a second name of what is to come",
            vec![Step::Hard(name("a"), vec![name("b")])],
            "did not come before",
        ),
        ("a second name of itself", vec![Step::Hard(name("a"), vec![name("a")])], "did not come before"),
        (
            "a second name out of the tree",
            vec![Step::Hard(name("z"), vec![name(".."), name("x")])],
            "directory itself",
        ),
        ("a second name of a hidden top", vec![Step::Hard(name("z"), vec![name(".ssh"), name("x")])], "dot"),
        ("one end too many", vec![Step::Leave], "never began"),
        ("an end inside", vec![Step::Enter(name("d")), Step::Done(1, 0, 0)], "inside a directory"),
        ("a wrong count", vec![Step::Done(1, 0, 0)], "counts something else"),
        ("something behind the end", vec![Step::Done(0, 0, 0), Step::Leave], "after the end"),
    ];
    for (what, steps, said) in cases {
        let bytes = write(&steps);
        for piece in [1, bytes.len()] {
            let error = read(&bytes, piece).expect_err(what).to_string();
            assert!(error.contains(said), "{what}: {error}");
        }
    }
}

//= S5.47 (test)
#[test]
fn a_header_is_bounded_before_it_comes_and_unknown_records_are_passed_over() {
    let mut bytes = vec![0x01];
    hikyaku_wire::varint::encode(hikyaku_wire::bundle::MAX_HEADER + 1, &mut bytes);
    let error = Reader::new(Dots::Refused).next(&mut bytes.as_slice()).unwrap_err();
    assert_eq!(error, BundleError::Limit { name: "header (bytes)", limit: 128 * 1024 });
    let mut bytes = vec![0x40, 0x40, 3, 1, 2, 3];
    bytes.extend(write(&[Step::Done(0, 0, 1)]));
    assert_eq!(read(&bytes, 1).unwrap()[0], "Unknown(64)");
}

//= S5.47 (test)
#[test]
fn an_entry_has_256_extended_attributes_and_not_one_more() {
    let attributes = |count: usize| {
        let one = |nth: usize| Attribute { name: format!("user.{nth:03}").into_bytes(), value: vec![7] };
        Some((0..count).map(one).collect::<Vec<_>>())
    };
    let file = |count| {
        let mut writer = Writer::default();
        let attributes = attributes(count);
        writer.file(&FileHead { name: name("f"), size: 0, meta: None, attributes, from: None });
        Reader::new(Dots::Refused).next(&mut writer.written()).map(|item| match item {
            Some(Item::File(_, head)) => head.attributes.map(|list| list.len()),
            other => panic!("{other:?}"),
        })
    };
    let directory = |count| {
        let mut writer = Writer::default();
        writer.enter(&Enter { name: name("d") });
        writer.leave(&Leave { meta: None, attributes: attributes(count) });
        let (mut reader, mut input) = (Reader::new(Dots::Refused), writer.written());
        assert!(matches!(reader.next(&mut input), Ok(Some(Item::Enter(_)))));
        reader.next(&mut input).map(|item| match item {
            Some(Item::Leave(leave)) => leave.attributes.map(|list| list.len()),
            other => panic!("{other:?}"),
        })
    };
    for read in [&file as &dyn Fn(usize) -> _, &directory] {
        assert_eq!(read(256), Ok(Some(256)));
        let error = read(257).unwrap_err().to_string();
        assert!(error.contains("257 items; 256 are the most"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic_or_hold_more_than_a_header(bytes in proptest::collection::vec(any::<u8>(), 0..400),
                                                              cut in 0..17_usize) {
        let mut start = write(&everything()[..cut]);
        start.extend(bytes);
        let mut reader = Reader::new(Dots::Allowed);
        for mut input in start.chunks(13) {
            while let Ok(Some(_)) = reader.next(&mut input) {}
        }
    }
}

#[test]
fn the_end_says_how_much_came_before_it() {
    let done = Done { entries: 812, bytes: 10, left_out: 2, ..Done::default() };
    let mut writer = Writer::default();
    writer.enter(&Enter { name: b"a".to_vec() });
    writer.leave(&Leave::default());
    writer.done(&done);
    let bundle = writer.written().to_vec();
    assert_eq!(last(&bundle), Some(done));
    let long = [&[10; 4 * MAX_LAST][..], &bundle].concat();
    assert_eq!(last(&long[long.len() - MAX_LAST..]), Some(done), "out of its last bytes alone");
    let counted = Done { kept: Some(u64::from(u32::MAX)), chain: Some(Root([0x0a; 32])), ..done };
    let mut writer = Writer::default();
    writer.done(&counted);
    assert_eq!(last(writer.written()), Some(counted));
    for end in 0..bundle.len() {
        assert_eq!(last(&bundle[..end]), None, "cut at {end}");
    }
    assert_eq!(last(&[&bundle[..], &[0]].concat()), None);
}
