use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;
use crate::compare::Difference;

fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Hasher::new().update(b"print").finalize_xof().fill(&mut out);
    out
}

/// The bytes in blocks, as a sender sends them.
fn blocks(prints: &mut Prints, data: &[u8], len: usize) {
    for (number, block) in data.chunks(len).enumerate() {
        let (begin, end) = (number * len, number * len + block.len());
        let groups = begin / GROUP..end.div_ceil(GROUP);
        let cvs = groups.map(|group| (group * GROUP, &data[group * GROUP..end.min((group + 1) * GROUP)]));
        let cvs: Vec<_> = cvs.map(|(at, bytes)| crate::tree::group(at as u64, bytes).cv).collect();
        prints.block(begin as u64, block, &cvs);
    }
}

fn keep(prints: Prints, file: &File, size: usize) {
    prints.keep(file, size as u64, &Metadata::default());
}

#[test]
fn a_flipped_bit_is_placed_within_a_part_whatever_the_size_and_however_the_bytes_came() {
    let temp = tempfile::tempdir().unwrap();
    for size in [1, 65_535, 65_536, 65_537, 64 * GROUP, 64 * GROUP + 1, 100 * GROUP + 77, 300 * GROUP] {
        let at = temp.path().join("f");
        let data = noise(size);
        std::fs::write(&at, &data).unwrap();
        let file = File::options().read(true).write(true).open(&at).unwrap();
        let (mut prints, mut whole) = (Prints::default(), Prints::default());
        data.chunks(100_003).for_each(|piece| prints.update(piece));
        blocks(&mut whole, &data, 8 * GROUP);
        let (size64, time) = (size as u64, (1, 2));
        let print = prints.clone().finish(size64, time);
        assert_eq!(print, whole.finish(size64, time), "{size}");
        let mut crumbs = Prints::default();
        blocks(&mut crumbs, &data, 40_009);
        assert_eq!(print, crumbs.finish(size64, time), "{size} in blocks that end inside of groups");
        assert!(print.parts.len() <= MAX_PARTS + 1, "{}", print.parts.len());
        assert_eq!(Print::decode(&print.encode()), Some(print.clone()));
        keep(prints, &file, size);
        if Print::of(&file).is_none() {
            return; // A file system without attributes.
        }
        assert_eq!(check(&at).unwrap().comparison.differences, []);
        for place in [0, size / 3, size - 1] {
            let time = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&[data[place] ^ 1], place as u64).unwrap();
            file.set_modified(time).unwrap();
            let found = check(&at).unwrap();
            let begin = place as u64 / print.part_len() * print.part_len();
            let end = (begin + print.part_len()).min(size64);
            let told = &found.comparison.differences;
            assert!(
                matches!(&told[..], [(_, Difference::Within(range))] if *range == (begin..end)),
                "{told:?}"
            );
            file.write_all_at(&[data[place]], place as u64).unwrap();
            file.set_modified(time).unwrap();
        }
        file.write_all_at(b"!", 0).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let told = check(&at).unwrap().comparison;
        assert_eq!((told.damaged, told.touched), (0, 1), "written to, and not decayed");
    }
}

#[test]
fn holes_are_zeros_and_cost_nothing_and_what_was_not_seen_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().join("sparse");
    let file = File::options().read(true).write(true).create_new(true).open(&at).unwrap();
    let (size, island) = (1 << 33, 1 << 32);
    file.set_len(size).unwrap();
    file.write_all_at(&noise(GROUP), island).unwrap();
    let mut prints = Prints::default();
    prints.zeros(island);
    prints.update(&noise(GROUP));
    prints.zeros(size - island - GROUP_LEN);
    keep(prints, &file, 1 << 33);
    if Print::of(&file).is_some() {
        assert_eq!(check(&at).unwrap().comparison.differences, []);
        let mut prints = Prints::from(island + 5);
        prints.update(&noise(GROUP)[5..]);
        prints.zeros(size - island - GROUP_LEN);
        keep(prints, &file, 1 << 33);
        let found = check(&at).unwrap();
        assert_eq!((found.comparison.damaged, found.unseen > island), (0, true));
    }
}

#[test]
fn a_hole_is_as_if_each_of_its_groups_had_come_and_a_claimed_length_costs_nothing() {
    for before in [0, 1, 3, 63, 64, 65, 200] {
        for groups in [0, 1, 2, 5, 63, 64, 65, 127, 128, 1_000] {
            let mut prints = Prints::default();
            prints.update(&noise(before * GROUP));
            let (mut run, mut each) = (prints.clone(), prints);
            run.zeros(groups as u64 * GROUP_LEN);
            (0..groups).for_each(|_| each.push(ZEROS));
            for prints in [&mut run, &mut each] {
                prints.update(&noise(3 * GROUP + 5));
            }
            let size = ((before + groups + 3) * GROUP + 5) as u64;
            let run = run.finish(size, (0, 0));
            assert_eq!(run, each.finish(size, (0, 0)), "{groups} behind {before}");
            assert_eq!(Print::decode(&run.encode()), Some(run));
        }
    }
    let mut vast = Prints::default();
    vast.zeros(1 << 53);
    let vast = vast.finish(1 << 53, (0, 0));
    assert_eq!(Print::decode(&vast.encode()), Some(vast), "and this test comes to an end");
    assert_eq!(Prints::from(1 << 53).groups, 1 << 37);
}

#[test]
fn what_is_no_print_is_none() {
    let good = Prints::default().finish(0, (0, 0)).encode();
    assert!(Print::decode(&good).is_some());
    for bad in
        [&b""[..], &good[..21], &[&good[..], &[0; 32]].concat(), &[2; 22], &[1, 99, 0, 0, 0, 0, 0, 0, 0, 0]]
    {
        assert_eq!(Print::decode(bad), None, "{bad:?}");
    }
}

//= S5.54 (test)
#[test]
fn no_peer_says_what_a_file_was() {
    let file = tempfile::tempfile().unwrap();
    let value = Prints::default().finish(0, (0, 0)).encode();
    let planted = hikyaku_wire::bundle::Attribute { name: NAME.as_bytes().to_vec(), value };
    assert!(
        crate::attributes::set_attributes(file.as_fd(), &[planted]),
        "nothing is lost that was the sender's to say"
    );
    assert_eq!(Print::of(&file), None);
}
