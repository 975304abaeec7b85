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
