use std::io::Write;

use super::*;

fn file(len: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
    let mut data = vec![0; len];
    blake3::Hasher::new().update(b"source").finalize_xof().fill(&mut data);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&data).unwrap();
    (file, data)
}

fn outgoing(path: &Path) -> Outgoing {
    Outgoing::new(path, Some(b"name"), Target::Drop(vec![])).unwrap()
}

fn read_all(mut reading: Reading) -> (Vec<u8>, Result<Close>) {
    let mut all = Vec::new();
    while let Some((block, bytes)) = reading.next(&Meter::default()).unwrap() {
        assert_eq!(block.len, bytes.len() as u64);
        all.extend_from_slice(&bytes);
    }
    (all, reading.close())
}

#[test]
fn a_source_is_read_whole_with_its_root() {
    for len in [0, 1, GROUP, GROUP + 1, 8 * GROUP, 8 * GROUP + 1, 30 * GROUP + 17] {
        let (file, data) = file(len);
        let (all, close) = read_all(outgoing(file.path()).read_from(0, None).unwrap());
        let close = close.unwrap();
        assert_eq!((all, close.size), (data.clone(), len as u64));
        assert_eq!(close.root.0, *blake3::hash(&data).as_bytes());
    }
}

//= S5.16 (test)
#[test]
fn reading_goes_on_from_every_group_and_from_another_process() {
    let (file, data) = file(12 * GROUP + 3);
    let outgoing = outgoing(file.path());
    for groups in 0..=12 {
        let from = groups * GROUP;
        let prefix = (from > 0).then(|| Root(*blake3::hash(&data[..from]).as_bytes()));
        let other = Outgoing::decode(&outgoing.encode()).unwrap();
        let (all, close) = read_all(other.read_from(from as u64, prefix).unwrap());
        assert_eq!(all, data[from..]);
        assert_eq!(close.unwrap().root.0, *blake3::hash(&data).as_bytes());
    }
}

//= S5.10 (test)
//= S5.16 (test)
#[test]
fn a_receiver_that_has_something_else_is_found_out_at_once() {
    let (file, _) = file(3 * GROUP);
    let error = outgoing(file.path()).read_from(GROUP_LEN, Some(Root([1; 32]))).err().unwrap();
    assert!(matches!(error, FilesError::SourceChanged(_)));
    for from in [1, GROUP_LEN - 1, 4 * GROUP_LEN, u64::MAX] {
        assert!(matches!(outgoing(file.path()).read_from(from, None), Err(FilesError::Range { .. })));
    }
}

//= S5.19 (test)
#[test]
fn a_source_that_changes_while_it_is_read_is_not_closed() {
    let (mut file, _) = file(9 * GROUP);
    let mut reading = outgoing(file.path()).read_from(0, None).unwrap();
    reading.next(&Meter::default()).unwrap();
    file.write_all(b"more").unwrap();
    assert!(matches!(read_all(reading).1, Err(FilesError::SourceChanged(_))));
}

//= S5.19 (test)
#[test]
fn a_source_that_shrinks_is_noticed_at_its_end() {
    let (file, _) = file(9 * GROUP);
    let mut reading = outgoing(file.path()).read_from(0, None).unwrap();
    reading.next(&Meter::default()).unwrap();
    file.as_file().set_len(8 * GROUP_LEN + 5).unwrap();
    assert!(matches!(reading.next(&Meter::default()), Err(FilesError::SourceChanged(_))));
}

//= S5.19 (test)
#[test]
fn a_source_written_to_between_two_tries_is_noticed_before_a_byte_is_sent() {
    let (file, _) = file(GROUP);
    let outgoing = outgoing(file.path());
    let later = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    file.as_file().set_times(later).unwrap();
    assert!(matches!(outgoing.read_from(0, None), Err(FilesError::SourceChanged(_))));
}

#[test]
fn milestones_stay_few_and_the_last_one_before_an_offset_is_found() {
    let mut milestones = Milestones { stride: GROUP_LEN, trees: Vec::new() };
    let mut tree = Tree::new();
    for _ in 0..5_000 {
        tree.push(&tree::group(GROUP_LEN, b"x"));
        milestones.pass(&tree);
        assert!(milestones.trees.len() < MAX_MILESTONES);
    }
    for offset in (0..5_000 * GROUP_LEN).step_by(77 * GROUP_LEN as usize) {
        let found = milestones.before(offset).groups() * GROUP_LEN;
        assert!(
            found <= offset && offset - found <= milestones.stride * 2,
            "{offset} {found} {}",
            milestones.stride
        );
    }
    assert!(milestones.stride <= 64 * GROUP_LEN);
}

#[test]
fn buffers_are_used_again_once_nobody_holds_them() {
    let (file, _) = file(40 * GROUP);
    let mut reading = outgoing(file.path()).read_from(0, None).unwrap();
    let mut place = None;
    while let Some((_, bytes)) = reading.next(&Meter::default()).unwrap() {
        assert_eq!(*place.get_or_insert(bytes.as_ptr()), bytes.as_ptr());
    }
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_hanging() {
    let temp = tempfile::tempdir().unwrap();
    let fifo = temp.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for path in [fifo.as_path(), temp.path(), Path::new("/dev/null"), Path::new("/nowhere/at/all")] {
        assert!(matches!(Outgoing::new(path, None, Target::Drop(vec![])), Err(FilesError::Source { .. })));
    }
}
