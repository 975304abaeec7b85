//! What has decayed is named, what is given back is proved, and nothing gets worse.

use std::sync::{Arc, Mutex};

use hikyaku_storage::vault::VaultError;

use super::*;

const KIB: usize = 1024;

/// An object in memory, whose bytes can be changed; clones share it.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

impl Held {
    fn new(data: &[u8]) -> Self {
        let groups = data.chunks(GROUP).enumerate();
        let values = groups.flat_map(|(at, group)| tree::group((at * GROUP) as u64, group).cv).collect();
        Self(Arc::new(Mutex::new((data.to_vec(), values))))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) {
        let (data, values) = &mut *self.0.lock().unwrap();
        change(data, values);
    }

    fn is(&self, other: &Self) -> bool {
        *self.0.lock().unwrap() == *other.0.lock().unwrap()
    }
}

impl Object for Held {
    fn size(&self) -> u64 {
        self.0.lock().unwrap().0.len() as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(copy(&self.0.lock().unwrap().0, offset, into))
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(copy(&self.0.lock().unwrap().1, offset, into))
    }
}

impl Mending for Held {
    fn is_doubtful(&self) -> bool {
        false
    }

    fn write(&mut self, at: u64, data: &[u8], values_at: u64, values: &[u8]) -> Result<(), VaultError> {
        self.change(|whole, all| {
            place(whole, at, data);
            place(all, values_at, values);
        });
        Ok(())
    }

    fn sync(&mut self, size: u64, values: u64) -> Result<(), VaultError> {
        self.change(|whole, all| {
            whole.truncate(usize::try_from(size).unwrap());
            all.truncate(usize::try_from(values).unwrap());
        });
        Ok(())
    }
}

fn copy(all: &[u8], offset: u64, into: &mut [u8]) -> usize {
    let rest = all.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
    let count = rest.len().min(into.len());
    into[..count].copy_from_slice(&rest[..count]);
    count
}

fn place(all: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    if !bytes.is_empty() {
        all.resize(all.len().max(at + bytes.len()), 0);
        all[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn content(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&len.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

fn root(data: &[u8]) -> Root {
    Root(*blake3::hash(data).as_bytes())
}

fn survey(object: &Held, data: &[u8]) -> Result<Survey> {
    Survey::of(object, root(data), data.len() as u64, &Gone::default())
}

fn block(data: &[u8], at: u64, len: u64) -> (Block, Vec<u8>) {
    let begin = usize::try_from(at).unwrap();
    let bytes = data[begin..begin + usize::try_from(len).unwrap()].to_vec();
    let cvs = vec![7; bytes.len().div_ceil(GROUP) * 32];
    (Block { entry: None, offset: at, len, cvs }, bytes)
}

/// Gives back what is named; how many bytes that were, and whether values were made anew.
fn mend(object: &Held, data: &[u8]) -> Result<(u64, bool)> {
    let survey = survey(object, data)?;
    let spans = survey.spans();
    let mut stitching = Stitching::new(Box::new(object.clone()), survey);
    for Span { offset, len } in spans {
        for at in (offset..offset + len).step_by(8 * GROUP) {
            let (block, bytes) = block(data, at, (8 * GROUP_LEN).min(offset + len - at));
            stitching.take(&block, &bytes)?;
        }
    }
    let bytes = stitching.bytes();
    Ok((bytes, stitching.finish(root(data), data.len() as u64)?))
}

/// What happens to data and values of an object.
type Decay = fn(&mut Vec<u8>, &mut Vec<u8>);

//= S5.120 (test)
#[test]
fn whatever_decays_is_named_and_mended_with_no_more_than_that() {
    let flip: Decay = |data, _| data[200 * KIB] ^= 1;
    let cases: [(&str, usize, Decay, u64, bool); 14] = [
        ("nothing", 1000 * KIB, |_, _| {}, 0, false),
        ("a bit", 1000 * KIB, flip, 64, false),
        (
            "two neighbours and the end",
            1000 * KIB,
            |data, _| {
                [64 * KIB, 128 * KIB, 999 * KIB].into_iter().for_each(|at| data[at] ^= 1);
            },
            64 + 64 + 40,
            false,
        ),
        ("the values", 1000 * KIB, |_, values| values[33] ^= 1, 0, true),
        ("the values are cut", 1000 * KIB, |_, values| values.truncate(40), 0, true),
        ("the values are gone", 1000 * KIB, |_, values| values.clear(), 0, true),
        ("there are more values", 1000 * KIB, |_, values| values.extend([0; 32]), 0, true),
        ("it is cut", 1000 * KIB, |data, _| data.truncate(700 * KIB), 1000 - 640, false),
        ("it is gone", 1000 * KIB, |data, _| data.clear(), 1000, false),
        ("there is more", 1000 * KIB, |data, _| data.extend([0; 100]), 0, false),
        ("one group", 50 * KIB, |data, _| data[7] ^= 1, 50, false),
        (
            "one group and its value",
            50 * KIB,
            |data, values| (data[7], values[7]) = (!data[7], !values[7]),
            50,
            false,
        ),
        ("the value of one group", 50 * KIB, |_, values| values[7] ^= 1, 0, true),
        (
            "nothing of nothing",
            0,
            |data, values| {
                data.push(1);
                values.push(1);
            },
            0,
            false,
        ),
    ];
    for (name, len, decay, kib, values) in cases {
        let data = content(len);
        let (object, whole) = (Held::new(&data), Held::new(&data));
        object.change(decay);
        let was_whole = object.is(&whole);
        assert_eq!(survey(&object, &data).unwrap().is_whole(), was_whole, "{name}");
        assert_eq!(mend(&object, &data).unwrap(), (kib * KIB as u64, values), "{name}");
        assert!(object.is(&whole), "{name}");
        assert!(survey(&object, &data).unwrap().is_whole(), "{name}");
    }
}

//= S5.120 (test)
#[test]
fn where_content_and_values_have_decayed_nobody_can_say_what_is_right() {
    let data = content(300 * KIB);
    let object = Held::new(&data);
    object.change(|data, values| (data[0], values[0]) = (!data[0], !values[0]));
    let lost = survey(&object, &data).unwrap_err();
    assert!(matches!(lost, FilesError::Lost { size } if size == data.len() as u64), "{lost}");
    assert!(Survey::of(&Held::default(), root(&data), 0, &Gone::default()).is_err());
}

/// An object on a disk with sectors that cannot be read.
struct Unreadable<'a>(&'a Held, std::ops::Range<u64>);

impl Object for Unreadable<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        if offset < self.1.end && self.1.start < offset + into.len() as u64 {
            return Err(std::io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()).into());
        }
        self.0.read(offset, into)
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        self.0.read_outboard(offset, into)
    }
}

//= S5.120 (test)
#[test]
fn a_group_that_the_disk_cannot_read_is_named_and_the_others_are_not() {
    let data = content(300 * KIB);
    let held = Held::new(&data);
    let disk = Unreadable(&held, 70_000..70_001);
    let found = Survey::of(&disk, root(&data), data.len() as u64, &Gone::default()).unwrap();
    assert_eq!(found.spans(), [Span { offset: GROUP_LEN, len: GROUP_LEN }]);
}

#[test]
fn nobody_reads_on_for_one_who_is_gone() {
    let data = content(300 * KIB);
    let gone = Gone::default();
    drop(gone.on_drop());
    let read = Survey::of(&Held::new(&data), root(&data), data.len() as u64, &gone);
    assert!(matches!(read, Err(FilesError::Exchange(hikyaku::Error::Truncated))), "{read:?}");
}

//= S5.122 (test)
#[test]
fn a_liar_mends_nothing_and_what_was_right_before_stays() {
    let data = content(1000 * KIB);
    let object = Held::new(&data);
    object.change(|data, _| [0, 64 * KIB, 320 * KIB].into_iter().for_each(|at| data[at] ^= 1));
    let found = survey(&object, &data).unwrap();
    let named = [Span { offset: 0, len: 2 * GROUP_LEN }, Span { offset: 5 * GROUP_LEN, len: GROUP_LEN }];
    assert_eq!(found.spans(), named);
    let mut stitching = Stitching::new(Box::new(object.clone()), found);
    let (first, mut bytes) = block(&data, 0, 2 * GROUP_LEN);
    // The second group is not what it was, whatever the block says of itself.
    bytes[100 * KIB] ^= 1;
    let refused = stitching.take(&first, &bytes).unwrap_err();
    assert!(matches!(refused, FilesError::GroupMismatch { offset: 65_536, len: 65_536 }), "{refused}");
    drop(stitching);
    let left = survey(&object, &data).unwrap().spans();
    assert_eq!(left, [Span { offset: GROUP_LEN, len: GROUP_LEN }, named[1]], "the first is mended");
    assert_eq!(mend(&object, &data).unwrap().0, 2 * GROUP_LEN);
    assert!(object.is(&Held::new(&data)));
}

//= S5.121 (test)
#[test]
fn nothing_but_what_was_named_is_taken_and_that_in_order() {
    let data = content(1000 * KIB);
    let object = Held::new(&data);
    object.change(|data, _| [64 * KIB, 999 * KIB].into_iter().for_each(|at| data[at] ^= 1));
    let begun = || Stitching::new(Box::new(object.clone()), survey(&object, &data).unwrap());
    let end = 15 * GROUP_LEN;
    for (at, len) in [(0, GROUP_LEN), (GROUP_LEN, 1), (GROUP_LEN + 1, GROUP_LEN), (end, 40 * 1024)] {
        let (block, bytes) = block(&data, at, len);
        let refused = begun().take(&block, &bytes).unwrap_err();
        assert!(matches!(refused, FilesError::Range { .. }), "{at} {len}: {refused}");
    }
    let (good, bytes) = block(&data, GROUP_LEN, GROUP_LEN);
    for bad in [
        Block { entry: Some(0), ..good.clone() },
        Block { len: GROUP_LEN - 1, ..good.clone() },
        Block { cvs: vec![0; 31], ..good.clone() },
        Block { cvs: vec![0; 64], ..good.clone() },
    ] {
        assert!(matches!(begun().take(&bad, &bytes), Err(FilesError::Range { .. })), "{bad:?}");
    }
    let (empty, none) = block(&data, GROUP_LEN, 0);
    assert!(begun().take(&empty, &none).is_err());
    let mut stitching = begun();
    stitching.take(&good, &bytes).unwrap();
    assert!(stitching.take(&good, &bytes).is_err(), "once is enough");
    let size = data.len() as u64;
    assert!(
        matches!(stitching.finish(root(&data), size), Err(FilesError::Range { .. })),
        "the end is missing"
    );
    // That group is right now; what is left is the end.
    for (root, size) in [(Root([1; 32]), size), (root(&data), size + 1)] {
        let object = Held::new(&data);
        assert!(
            Stitching::new(Box::new(object.clone()), survey(&object, &data).unwrap())
                .finish(root, size)
                .is_err()
        );
    }
}

//= S5.120 (test)
#[test]
fn what_is_more_than_the_bound_is_named_in_parts() {
    let data = vec![5; (MAX_LACKING + 3) * GROUP];
    let object = Held::new(&data);
    object.change(|data, _| data.iter_mut().step_by(GROUP).take(MAX_LACKING).for_each(|byte| *byte = 6));
    let found = survey(&object, &data).unwrap();
    assert_eq!((found.groups.len(), found.is_more), (MAX_LACKING, false));
    object.change(|data, _| data.iter_mut().step_by(GROUP).for_each(|byte| *byte = 6));
    let found = survey(&object, &data).unwrap();
    assert_eq!((found.groups.len(), found.is_more), (MAX_LACKING, true));
}
