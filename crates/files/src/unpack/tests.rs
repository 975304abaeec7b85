//! Links by their text; files that are not made.

use hikyaku_wire::bundle::FileEnd;

use super::applying::leads_out;
use super::*;
use crate::bundle::Writer;

#[test]
fn a_link_leads_out_when_its_text_may_lead_above_the_top() {
    for (target, depth, out) in [
        ("/", 5, true),
        ("/etc/passwd", 5, true),
        ("a", 0, false),
        ("a/b/c", 0, false),
        ("./a//b/.", 0, false),
        ("..", 0, true),
        ("..", 1, false),
        ("../..", 1, true),
        ("../../x", 2, false),
        ("./../x", 0, true),
        // "a" may be a link to anywhere inside; what lies above where it points is not known.
        ("a/..", 3, true),
        ("a/../../..", 3, true),
        ("..a/b..", 0, false),
        ("...", 0, false),
    ] {
        assert_eq!(leads_out(target.as_bytes(), depth), out, "{target} at depth {depth}");
    }
}

/// A file after another one that has the same name for those who keep names distinct: it is not made, and what is said
/// of it does not reach the one before it.
#[test]
fn the_bytes_of_a_file_that_is_not_made_reach_no_other_file_and_neither_does_its_end() {
    let temp = tempfile::tempdir().unwrap();
    let options = UnpackOptions {
        dots: Dots::Refused,
        all_links: false,
        synced: Synced::None,
        distinct: true,
        aside: false,
        prints: false,
    };
    for failed in [None, Some(Reason::CHANGED)] {
        let at = temp.path().join(if failed.is_some() { "failed" } else { "whole" });
        std::fs::create_dir(&at).unwrap();
        let mut writer = Writer::default();
        for (name, bytes, failed) in [("A", "first", None), ("a", "second, and longer", failed)] {
            let (name, size) = (name.as_bytes().to_vec(), bytes.len() as u64);
            writer.file(&FileHead { name, size, meta: None, attributes: None, from: None });
            let said = writer.bytes(bytes.len(), |to| {
                to.copy_from_slice(bytes.as_bytes());
                Ok::<_, std::convert::Infallible>(true)
            });
            assert_eq!(said, Ok(true));
            writer.end(&FileEnd { failed });
        }
        let mut unpacker = Unpacker::new(Dir::open(&at).unwrap(), options);
        let split = writer.written().len() - 2;
        unpacker.take(&writer.written()[..split], &Progress::none(), &mut Waiting::none()).unwrap();
        let state = unpacker.state();
        assert!(state.is_none_or(|state| state.file_skipped || state.position.file().is_none()));
        unpacker.take(&writer.written()[split..], &Progress::none(), &mut Waiting::none()).unwrap();
        assert_eq!(unpacker.offset_in_file(), 0, "no file is at hand");
        assert_eq!(std::fs::read(at.join("A")).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 1);
        let missing: Vec<_> = unpacker.report.missing.iter().map(|(path, _)| path.as_slice()).collect();
        assert_eq!(missing.first(), Some(&&b"a"[..]));
    }
}

/// A file that is not made, a break, and the rest.
//= S5.51 (test)
#[test]
fn what_was_missing_before_a_break_is_named_after_it() {
    let temp = tempfile::tempdir().unwrap();
    let options = UnpackOptions {
        dots: Dots::Refused,
        all_links: false,
        synced: Synced::None,
        distinct: true,
        aside: false,
        prints: false,
    };
    let mut writer = Writer::default();
    for name in ["A", "a", "b"] {
        let (name, size, failed) = (name.as_bytes().to_vec(), 0, (name == "A").then_some(Reason::CHANGED));
        writer.file(&FileHead { name, size, meta: None, attributes: None, from: None });
        writer.end(&FileEnd { failed });
    }
    let mut unpacker = Unpacker::new(Dir::open(temp.path()).unwrap(), options);
    unpacker.take(writer.written(), &Progress::none(), &mut Waiting::none()).unwrap();
    let missing = unpacker.report.missing.clone();
    assert!(!missing.is_empty());
    let state = hikyaku_wire::cbor::encode(&unpacker.state().unwrap());
    let state: UnpackState = minicbor::decode(&state).unwrap();
    let again = Unpacker::resume(Dir::open(temp.path()).unwrap(), options, state).unwrap();
    assert_eq!((again.report.missing_count, again.report.missing), (missing.len() as u64, missing));
}

#[test]
fn as_much_as_has_room_is_remembered_and_the_rest_is_counted() {
    let mut report = Report::default();
    assert_eq!(report.remembered(), None);
    let reasons = (0..5).map(|reason| Missing::Source(Reason(reason)));
    let whys = [Missing::Exists, Missing::Collides, Missing::Aside, Missing::LinkOut, Missing::LinkTarget]
        .into_iter()
        .chain([Missing::Attributes, Missing::Unknown])
        .chain(reasons);
    whys.for_each(|why| report.add(b"a/path".to_vec(), why));
    let mut again = Report::default();
    again.recall(report.missing_count, &report.remembered().unwrap());
    assert_eq!(again, report, "every reason is known again by its words");
    (0..100).for_each(|_| report.add(vec![b'x'; 255], Missing::LinkOut));
    let named = report.remembered().unwrap();
    assert!(named.len() > 20 && named.len() < 40, "{}", named.len());
    assert!(hikyaku_wire::cbor::encode(&named).len() < 6 * 1024);
}
