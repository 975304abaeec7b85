//! What a walk says of sources that are not as they were.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use hikyaku_wire::bundle::Reason;

use super::{Pick, Walk, WalkOptions};
use crate::bundle::{Item, Reader};
use crate::names::Dots;

fn walk(at: &Path, options: WalkOptions) -> Walk {
    Walk::new(Arc::from([(b"t".to_vec(), at.to_owned())]), options)
}

/// Every item as text.
fn items(bytes: &[u8]) -> Vec<String> {
    let (mut reader, mut input, mut out) = (Reader::new(Dots::Refused), bytes, Vec::new());
    while let Some(item) = reader.next(&mut input).unwrap() {
        out.push(match item {
            Item::Enter(name) => format!("enter {name}"),
            Item::Leave(_) => "leave".into(),
            Item::File(name, head) => format!("file {name} {}", head.size),
            Item::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Item::Hole(len) => format!("hole {len}"),
            Item::End(end) => format!("end {:?}", end.failed),
            Item::LeftOut(name, left_out) => format!("left out {name} {:?}", left_out.reason),
            other => format!("{other:?}"),
        });
    }
    assert!(reader.is_done());
    out
}

//= S5.19 (test)
#[test]
fn a_file_that_changes_while_it_is_read_fails_alone() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), vec![1; 200_000]).unwrap();
    fs::write(temp.path().join("b"), b"calm").unwrap();
    let mut walk = walk(temp.path(), WalkOptions::default());
    for _ in 0..3 {
        walk.step().unwrap();
    }
    fs::OpenOptions::new().write(true).open(temp.path().join("a")).unwrap().set_len(70_000).unwrap();
    while !walk.is_finished() {
        walk.step().unwrap();
    }
    let said = items(walk.written());
    let changed = format!("end {:?}", Some(Reason::CHANGED));
    assert_eq!(said[..4], ["enter t", "file a 200000", "65536 bytes", changed.as_str()]);
    assert_eq!(said[4..7], ["file b 4", "4 bytes", "end None"]);
    let (troubles, count) = walk.troubles();
    assert_eq!((troubles[0].path.as_slice(), troubles[0].reason, count), (&b"t/a"[..], Reason::CHANGED, 1));
}

#[test]
fn a_file_written_to_behind_the_reader_fails_at_its_end() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), vec![1; 100_000]).unwrap();
    let mut walk = walk(temp.path(), WalkOptions::default());
    for _ in 0..4 {
        walk.step().unwrap();
    }
    std::os::unix::fs::FileExt::write_all_at(
        &fs::OpenOptions::new().write(true).open(temp.path().join("a")).unwrap(),
        b"x",
        3,
    )
    .unwrap();
    while !walk.is_finished() {
        walk.step().unwrap();
    }
    assert!(items(walk.written()).contains(&format!("end {:?}", Some(Reason::CHANGED))));
}

#[test]
fn what_vanishes_or_cannot_be_read_is_left_out_by_name() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(temp.path().join(name), name).unwrap();
    }
    let mut walk = walk(temp.path(), WalkOptions::default());
    walk.step().unwrap();
    fs::remove_file(temp.path().join("b")).unwrap();
    fs::remove_file(temp.path().join("c")).unwrap();
    std::os::unix::fs::symlink("a", temp.path().join("c")).unwrap();
    while !walk.is_finished() {
        walk.step().unwrap();
    }
    let said = items(walk.written());
    assert!(said.contains(&format!("left out b {:?}", Reason::VANISHED)), "{said:?}");
    assert!(said.contains(&format!("left out c {:?}", Reason::CHANGED)), "never followed: {said:?}");
}

#[test]
fn zeros_are_holes_whether_the_disk_has_them_or_not() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("dense"), vec![0; 300_000]).unwrap();
    fs::File::create(temp.path().join("sparse")).unwrap().set_len(300_000).unwrap();
    let mut walk = walk(temp.path(), WalkOptions::default());
    while !walk.is_finished() {
        walk.step().unwrap();
    }
    let said = items(walk.written());
    let content = |name: &str| {
        let at = said.iter().position(|item| item == name).unwrap();
        said[at + 1..at + 4].to_vec()
    };
    assert_eq!(content("file dense 300000"), ["hole 262144", "37856 bytes", "end None"]);
    assert_eq!(content("file sparse 300000"), content("file dense 300000"));
}

#[test]
fn a_huge_hole_costs_one_record() {
    let temp = tempfile::tempdir().unwrap();
    fs::File::create(temp.path().join("huge")).unwrap().set_len(100 << 30).unwrap();
    let mut walk = walk(temp.path(), WalkOptions::default());
    let mut steps = 0;
    while !walk.is_finished() {
        walk.step().unwrap();
        steps += 1;
    }
    assert!(steps < 10, "{steps} steps");
    assert!(items(walk.written()).contains(&format!("hole {}", 100_u64 << 30)));
}

#[test]
fn a_filter_decides_what_is_carried() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("target/deep")).unwrap();
    fs::write(temp.path().join("kept"), b"").unwrap();
    fs::write(temp.path().join("kept.o"), b"").unwrap();
    let filter = |path: &Path, is_dir: bool| {
        let left = is_dir && path.ends_with("target") || path.extension().is_some_and(|is| is == "o");
        if left { Pick::Leave } else { Pick::Carry }
    };
    let options = WalkOptions { filter: Some(Arc::new(filter)), ..WalkOptions::default() };
    let mut walk = walk(temp.path(), options);
    while !walk.is_finished() {
        walk.step().unwrap();
    }
    let said = items(walk.written());
    assert_eq!(said[..4], ["enter t", "file kept 0", "end None", "leave"]);
    assert_eq!(walk.troubles().1, 0, "what was not asked for is not missing");
}

/// Directories are carried for what is in them alone, files when they end in `rs`.
fn only_rs(path: &Path, is_dir: bool) -> Pick {
    match (is_dir, path.extension().is_some_and(|is| is == "rs")) {
        (true, _) => Pick::Through,
        (false, true) => Pick::Carry,
        (false, false) => Pick::Leave,
    }
}

fn nested(temp: &Path) -> WalkOptions {
    for directory in ["a/empty", "b/deep", "c"] {
        fs::create_dir_all(temp.join(directory)).unwrap();
    }
    fs::write(temp.join("a/note"), b"no").unwrap();
    fs::write(temp.join("b/deep/x.rs"), vec![7; 200_000]).unwrap();
    fs::write(temp.join("b/y.rs"), b"yes").unwrap();
    WalkOptions { filter: Some(Arc::new(only_rs)), ..WalkOptions::default() }
}

#[test]
fn directories_without_anything_that_is_picked_are_not_carried() {
    let temp = tempfile::tempdir().unwrap();
    let mut walk = walk(temp.path(), nested(temp.path()));
    while !walk.is_finished() {
        walk.step().unwrap();
    }
    let mut said = items(walk.written());
    said.retain(|item| !item.ends_with("bytes") && item != "end None");
    assert_eq!(said[..3], ["enter t", "enter b", "enter deep"]);
    assert_eq!(said[3..8], ["file x.rs 200000", "leave", "file y.rs 3", "leave", "leave"]);
    assert_eq!(walk.counts().entries, 5);
}

#[test]
fn a_walk_that_goes_on_at_any_place_writes_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let options = nested(temp.path());
    let mut whole = walk(temp.path(), options.clone());
    let mut places = vec![whole.place()];
    while !whole.is_finished() {
        whole.step().unwrap();
        places.push(whole.place());
    }
    places.pop();
    for place in places {
        let mut rest = Walk::resume(whole.tops.clone(), options.clone(), &place).unwrap();
        while !rest.is_finished() {
            rest.step().unwrap();
        }
        let begin = usize::try_from(place.offset).unwrap();
        assert!(rest.written() == &whole.written()[begin..], "from {place:?}");
        assert_eq!(rest.counts(), whole.counts(), "from {place:?}");
    }
}

#[test]
fn the_mode_of_a_directory_that_cannot_be_entered_is_no_reason_to_stop() {
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root may enter every directory");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("closed")).unwrap();
    fs::set_permissions(temp.path().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut walk = walk(temp.path(), WalkOptions::default());
    while !walk.is_finished() {
        walk.step().unwrap();
    }
    assert!(items(walk.written()).contains(&format!("left out closed {:?}", Reason::UNREADABLE)));
}
