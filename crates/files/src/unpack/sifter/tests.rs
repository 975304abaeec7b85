//! Senders that list one thing and send another.

use hikyaku_wire::bundle::{Done, Enter, FileEnd, FileHead, Leave, PIECE_LEN};
use hikyaku_wire::files::{List, Listed, MAX_AHEAD, MAX_LISTED, Synced, Verdict, Wants};
use hikyaku_wire::parcel::{Metadata, Root};

use super::{Policy, Sifter};
use crate::bundle::Writer;
use crate::error::{FilesError, Result};
use crate::jail::Dir;
use crate::names::Dots;
use crate::pause::Waiting;
use crate::progress::Progress;
use crate::sift::Chain;
use crate::unpack::{UnpackOptions, Unpacker};

/// "t/same" is there, with 5 bytes of the first second of 1970.
struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("there/t")).unwrap();
        std::fs::create_dir(temp.path().join("made")).unwrap();
        let same = temp.path().join("there/t/same");
        std::fs::write(&same, b"bytes").unwrap();
        let file = std::fs::File::options().write(true).open(same).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        Self { temp }
    }

    fn unpacker(&self) -> Unpacker {
        self.unpacker_for(Policy::default())
    }

    fn unpacker_for(&self, policy: Policy) -> Unpacker {
        let dir = |name| Dir::open(&self.temp.path().join(name)).unwrap();
        let options = UnpackOptions {
            dots: Dots::Refused,
            all_links: false,
            synced: Synced::Batch,
            distinct: false,
            aside: false,
            prints: false,
        };
        let sifter = Sifter::new(Some(dir("there")), None, None, policy, &options).unwrap();
        Unpacker::sifting(dir("made"), options, sifter)
    }
}

fn file(name: &str) -> Listed {
    let name = name.as_bytes().to_vec();
    Listed::File {
        name,
        size: 5,
        mtime: 0,
        mtime_ns: 0,
        mode: 0o644,
        links: false,
        root: None,
        attributes: None,
    }
}

fn list(first: u64, entries: Vec<Listed>) -> List {
    List { first, entries, last: None }
}

fn enter(name: &str) -> Listed {
    Listed::Enter(name.as_bytes().to_vec())
}

/// Everything of the tree "t" with the files "new" and "same".
fn whole() -> List {
    List { last: Some(true), ..list(0, vec![enter("t"), file("new"), file("same"), Listed::Leave]) }
}

fn chain() -> Chain {
    let mut chain = Chain::default();
    chain.push(b"same", 5, (0, 0), (None, None));
    chain
}

/// The bundle that answers ask for, changed by `change`.
fn bundle(change: impl FnOnce(&mut Writer)) -> Writer {
    let mut writer = Writer::default();
    writer.enter(&Enter { name: b"t".to_vec() });
    change(&mut writer);
    writer
}

fn content(writer: &mut Writer, name: &str, from: Option<u64>) {
    let meta = Some(Metadata { mode: Some(0o644), mtime: Some(0), mtime_ns: Some(0) });
    writer.file(&FileHead { name: name.into(), size: 5, meta, attributes: None, from });
    let filled: Result<bool> = writer.bytes(5, |into| {
        into.copy_from_slice(b"bytes");
        Ok(true)
    });
    filled.unwrap();
    writer.end(&FileEnd::default());
}

fn end(writer: &mut Writer, kept: Option<u64>, chain: Option<Chain>) {
    writer.leave(&Leave::default());
    let done = Done { entries: 2, bytes: 5, left_out: 0, kept, chain: chain.map(Chain::value) };
    writer.done(&done);
}

fn take(place: &Place, writer: &Writer) -> Result<()> {
    let mut unpacker = place.unpacker();
    unpacker.answer(whole())?;
    unpacker.take(writer.written(), &Progress::none(), &mut Waiting::none())
}

//= S5.62 (test)
//= S5.64 (test)
#[test]
fn a_bundle_of_what_is_wanted_is_taken() {
    let place = Place::new();
    let mut unpacker = place.unpacker();
    let wants = unpacker.answer(whole()).unwrap();
    let verdicts = vec![Verdict::NEW.0, Verdict::SAME.0];
    assert_eq!(wants, Some(Wants { first: 0, verdicts, from: None, older: Vec::new() }));
    let bundle = bundle(|writer| {
        content(writer, "new", None);
        writer.kept(1);
        end(writer, Some(1), Some(chain()));
    });
    unpacker.take(bundle.written(), &Progress::none(), &mut Waiting::none()).unwrap();
    let (_, report) = unpacker.finish().unwrap();
    assert_eq!((report.kept, report.counts.entries, report.counts.bytes), ((1, 5), 3, 10));
    assert_eq!(std::fs::read(place.temp.path().join("made/t/new")).unwrap(), b"bytes");
}

//= S5.68 (test)
#[test]
fn content_is_compared_for_who_asked_for_it_and_for_nobody_who_only_names_a_root() {
    let place = Place::new();
    for (checksum, content, verdict) in [
        (false, b"bytes", Verdict::TAKEN),
        (false, b"other", Verdict::TAKEN),
        (true, b"bytes", Verdict::SAME),
        (true, b"other", Verdict::TAKEN),
    ] {
        let mut asked = file("same");
        if let Listed::File { root, mtime, .. } = &mut asked {
            (*root, *mtime) = (Some(Root(*blake3::hash(content).as_bytes())), 7);
        }
        let mut unpacker = place.unpacker_for(Policy { checksum, ..Policy::default() });
        let wants = unpacker.answer(list(0, vec![enter("t"), asked])).unwrap().unwrap();
        assert_eq!(wants.verdicts, [verdict.0], "{checksum} {content:?}");
    }
}

//= S5.60 (test)
//= S5.63 (test)
//= S5.64 (test)
#[test]
fn a_bundle_that_is_not_what_was_listed_and_wanted_is_refused() {
    let place = Place::new();
    let mut other = chain();
    other.push(b"more", 1, (0, 0), (None, None));
    let lies: [(&str, Writer); 9] = [
        ("what was not listed", bundle(|writer| content(writer, "another", None))),
        (
            "what is not wanted",
            bundle(|writer| {
                content(writer, "new", None);
                content(writer, "same", None);
            }),
        ),
        ("nothing of what is wanted", bundle(|writer| writer.kept(2))),
        ("a rest that nobody asked for", bundle(|writer| content(writer, "new", Some(PIECE_LEN)))),
        ("the end before all came", bundle(|writer| end(writer, None, None))),
        (
            "more than was kept",
            bundle(|writer| {
                content(writer, "new", None);
                writer.kept(2);
            }),
        ),
        (
            "two runs",
            bundle(|writer| {
                content(writer, "new", None);
                writer.kept(1);
                writer.kept(1);
            }),
        ),
        (
            "another chain",
            bundle(|writer| {
                content(writer, "new", None);
                writer.kept(1);
                end(writer, Some(1), Some(other));
            }),
        ),
        (
            "no chain",
            bundle(|writer| {
                content(writer, "new", None);
                writer.kept(1);
                end(writer, Some(1), None);
            }),
        ),
    ];
    for (what, bundle) in lies {
        assert!(take(&place, &bundle).is_err(), "{what}");
    }
    let mut plain = crate::bundle::Reader::new(Dots::Refused);
    let mut kept = Writer::default();
    kept.kept(1);
    assert!(plain.next(&mut kept.written()).is_err(), "nothing is kept without a listing");
}

//= S5.61 (test)
#[test]
fn a_listing_that_is_not_in_order_or_too_far_ahead_is_refused() {
    let place = Place::new();
    let lies = [
        ("an evil name", list(0, vec![enter("..")])),
        ("a hidden top", list(0, vec![enter(".ssh")])),
        ("a name with a slash", list(0, vec![file("a/b")])),
        ("names out of order", list(0, vec![file("b"), file("a")])),
        ("a name twice", list(0, vec![file("a"), Listed::Other(b"a".to_vec())])),
        ("a directory left that was not entered", list(0, vec![Listed::Leave])),
        ("another count", list(1, vec![file("a")])),
        ("an end inside", List { last: Some(true), ..list(0, vec![enter("d")]) }),
    ];
    for (what, list) in lies {
        assert!(place.unpacker().answer(list).is_err(), "{what}");
    }
    let mut ended = place.unpacker();
    ended.answer(List { last: Some(true), ..list(0, vec![]) }).unwrap();
    assert!(ended.answer(list(0, vec![file("a")])).is_err(), "more after the end");

    let mut unpacker = place.unpacker();
    let others =
        |from: usize| (from..from + MAX_LISTED).map(|name| Listed::Other(format!("{name:06}").into()));
    for from in (0..MAX_AHEAD).step_by(MAX_LISTED) {
        unpacker.answer(list(0, others(from).collect())).unwrap();
    }
    let error = unpacker.answer(list(0, vec![Listed::Other(b"x".to_vec())])).unwrap_err();
    assert!(matches!(error, FilesError::Limit { name: "MAX_AHEAD", limit: 16_384 }), "{error}");
}
