//! Mending in its place, with every call to the disk failing once in every way: no group that was right is ever another
//! one, nobody is told of what is not durable, and whoever comes next finishes. What could not be made durable is read as if it
//! were, also by the next process, and is promised only after it was written again.

use hikyaku_wire::files::mending::Span;

use super::*;
use crate::mending::{Stitching, Survey};
use crate::pause::Gone;

/// Five groups, of which the second, the third and the last one decay.
const LEN: usize = 4 * tree::GROUP + 1_000;
const DECAYED: [usize; 3] = [tree::GROUP, 2 * tree::GROUP + 5, LEN - 1];

fn root() -> Root {
    Root(*blake3::hash(&content(LEN)).as_bytes())
}

fn object(at: &Path, suffix: &str) -> PathBuf {
    at.join(format!("vault/objects/{}{suffix}", root()))
}

/// An object that is sealed, and then decays.
fn begin(at: &Path, decay: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) {
    let vault = FsVault::open(&at.join("vault"), 0).unwrap();
    let Ok(Reserved::Open(mut partial)) = vault.reserve(Transfer([1; 16]), Some(LEN as u64)) else {
        panic!("a new transfer")
    };
    let mut receiving = work(&content(LEN), 0);
    while let Ok(Work::Block(block, pieces)) = receiving.try_recv() {
        partial.write(block.offset, &pieces[0], block.offset / tree::GROUP_LEN * 32, &block.cvs).unwrap();
    }
    partial.seal(ObjectId(root().0), LEN as u64, Reference([1; 16])).unwrap();
    let (mut data, mut values) = (fs::read(object(at, "")).unwrap(), fs::read(object(at, ".tree")).unwrap());
    decay(&mut data, &mut values);
    for (suffix, bytes) in [("", data), (".tree", values)] {
        fs::remove_file(object(at, suffix)).unwrap();
        fs::write(object(at, suffix), bytes).unwrap();
    }
}

fn attempt(at: &Path) -> Result<()> {
    let vault = FsVault::open(&at.join("vault"), 0).map_err(hikyaku_storage::vault::VaultError::Io)?;
    let object = vault.mend(ObjectId(root().0))?;
    let survey = Survey::of(&*object, root(), LEN as u64, &Gone::default())?;
    let (spans, data) = (survey.spans(), content(LEN));
    let mut stitching = Stitching::new(object, survey);
    for Span { offset, len } in spans {
        let begin = usize::try_from(offset).unwrap();
        let bytes = &data[begin..begin + usize::try_from(len).unwrap()];
        let cvs = vec![0; bytes.len().div_ceil(tree::GROUP) * 32];
        stitching.take(&Block { entry: None, offset, len, cvs }, bytes)?;
    }
    stitching.finish(root(), LEN as u64).map(drop)
}

/// What was right is right, and everything once it was said to be.
fn check(at: &Path, done: bool, harmless: impl Fn(usize) -> bool) {
    let (data, good) = (fs::read(object(at, "")).unwrap(), content(LEN));
    for (number, (found, good)) in data.chunks(tree::GROUP).zip(good.chunks(tree::GROUP)).enumerate() {
        assert!(found == good || !done && !harmless(number), "group {number}");
    }
    if done {
        let vault = FsVault::open(&at.join("vault"), 0).unwrap();
        let object = vault.open(ObjectId(root().0)).unwrap();
        assert!(Survey::of(&*object, root(), LEN as u64, &Gone::default()).unwrap().is_whole());
        assert_eq!(vault.stored().unwrap(), LEN as u64 + 5 * 32);
    }
}

//= S5.122 (test)
#[test]
fn what_is_mended_is_durable_before_it_is_said_and_nothing_gets_worse() {
    let decay = |data: &mut Vec<u8>, _: &mut Vec<u8>| DECAYED.into_iter().for_each(|at| data[at] ^= 1);
    let is_right = |number| ![1, 2, 4].contains(&number);
    let begin = |at: &Path| begin(at, decay);
    let faults = every_call_and_then(begin, attempt, |at, done| check(at, done, is_right), |seen| seen);
    assert!(faults.values().sum::<u64>() > 20, "{faults:?}");
}

//= S5.120 (test)
#[test]
fn chaining_values_are_made_anew_wherever_that_breaks_off() {
    for length in [5 * 32, 33, 0] {
        let decay = |_: &mut Vec<u8>, values: &mut Vec<u8>| {
            values.truncate(length);
            values.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        };
        let begin = |at: &Path| begin(at, decay);
        every_call_and_then(begin, attempt, |at, done| check(at, done, |_| true), |seen| seen);
    }
}

/// What of an object that has decayed is not durable although it can be read, after a synchronisation of its content failed.
fn after_a_failed_synchronisation(at: &Path) -> Seen {
    let decay = |data: &mut Vec<u8>, _: &mut Vec<u8>| DECAYED.into_iter().for_each(|at| data[at] ^= 1);
    begin(at, decay);
    for call in 0.. {
        let (done, seen) = run(Some((call, Fault::Broken)), &Seen::default(), || attempt(at));
        if done.is_err() && seen.lost.len() > 10 {
            return seen;
        }
        assert!(seen.fired, "no synchronisation of the content was reached");
        fs::remove_dir_all(at.join("vault")).unwrap();
        begin(at, decay);
    }
    unreachable!()
}

//= S5.122 (test)
#[test]
fn what_a_disk_could_not_make_durable_is_written_again_by_the_next_process_and_not_taken_for_known() {
    let place = place();
    let seen = after_a_failed_synchronisation(place.path());
    let vault = FsVault::open(&place.path().join("vault"), 0).unwrap();
    let id = ObjectId(root().0);
    let object = vault.mend(id).unwrap();
    assert!(object.is_doubtful());
    let survey = Survey::of(&*object, root(), LEN as u64, &Gone::default()).unwrap();
    assert!(survey.is_whole(), "reading does not show it");
    drop(object);
    // Nobody is told that the vault has it.
    let Ok(Reserved::Open(partial)) = vault.reserve(Transfer([2; 16]), Some(LEN as u64)) else {
        panic!("a new transfer")
    };
    let refused = partial.adopt(id, LEN as u64, Reference([2; 16])).unwrap_err();
    assert!(matches!(refused, hikyaku_storage::vault::VaultError::NotFound), "{refused}");
    // Who looks and goes leaves it so, and so does who mends a part and breaks off.
    let mut object = vault.mend(id).unwrap();
    let group = &content(LEN)[tree::GROUP..2 * tree::GROUP];
    object.write(tree::GROUP_LEN, group, 32, &tree::group(tree::GROUP_LEN, group).cv).unwrap();
    drop(object);
    assert!(vault.mend(id).unwrap().is_doubtful());
    drop(vault);
    let (done, seen) = run(None, &seen, || attempt(place.path()));
    done.unwrap();
    assert_eq!((seen.early, seen.lost.len()), (Vec::<String>::new(), 0));
    let vault = FsVault::open(&place.path().join("vault"), 0).unwrap();
    assert!(!vault.mend(id).unwrap().is_doubtful());
}

#[test]
fn content_that_is_sent_again_is_in_no_doubt_and_a_mark_goes_with_its_object() {
    let place = place();
    after_a_failed_synchronisation(place.path());
    let vault = FsVault::open(&place.path().join("vault"), 0).unwrap();
    let (id, marks) = (ObjectId(root().0), place.path().join("vault/mending"));
    let left = || fs::read_dir(&marks).unwrap().count();
    assert_eq!(left(), 1);
    let Ok(Reserved::Open(mut partial)) = vault.reserve(Transfer([2; 16]), Some(LEN as u64)) else {
        panic!("a new transfer")
    };
    let data = content(LEN);
    let cvs = data.chunks(tree::GROUP).enumerate();
    let cvs: Vec<u8> = cvs.flat_map(|(at, group)| tree::group((at * tree::GROUP) as u64, group).cv).collect();
    partial.write(0, &data, 0, &cvs).unwrap();
    partial.seal(id, LEN as u64, Reference([2; 16])).unwrap();
    assert_eq!(left(), 0);
    assert!(!vault.mend(id).unwrap().is_doubtful());
    // Of one that is gone, a crash may leave it.
    fs::write(marks.join(root().to_string()), "").unwrap();
    fs::write(marks.join("ab".repeat(32)), "").unwrap();
    vault.collect().unwrap();
    assert_eq!(left(), 1, "one is referenced");
    [1, 2].into_iter().for_each(|number| vault.release(id, Reference([number; 16])).unwrap());
    vault.collect().unwrap();
    assert_eq!((left(), vault.stored().unwrap()), (0, 0));
}
