use proptest::prelude::*;

use super::*;

/// Bytes that differ everywhere, quickly made.
fn bytes(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Hasher::new().update(&len.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

fn tree_of(bytes: &[u8]) -> Tree {
    let mut tree = Tree::new();
    for (index, piece) in bytes.chunks(GROUP).enumerate() {
        tree.push(&group(index as u64 * GROUP_LEN, piece));
    }
    tree
}

fn whole(bytes: &[u8]) -> Option<Root> {
    Some(Root(*blake3::hash(bytes).as_bytes()))
}

//= S5.2 (test)
#[test]
fn the_root_is_the_blake3_hash_of_the_whole_at_every_edge() {
    let all = bytes(40 * GROUP + 5);
    for groups in 0..=40 {
        for extra in [0, 1, 1023, 1024, 1025, GROUP - 1] {
            let len = (groups * GROUP + extra).min(all.len());
            let part = &all[..len];
            assert_eq!(tree_of(part).root(), whole(part), "{len} bytes");
        }
    }
}

#[test]
fn the_root_of_a_prefix_is_known_after_every_group() {
    let all = bytes(17 * GROUP);
    let mut tree = Tree::new();
    for (index, piece) in all.chunks(GROUP).enumerate() {
        tree.push(&group(index as u64 * GROUP_LEN, piece));
        assert_eq!(tree.root(), whole(&all[..(index + 1) * GROUP]));
    }
}

#[test]
fn a_tree_holds_few_values_whatever_the_size() {
    let mut tree = Tree::new();
    let value = group(0, b"x").cv;
    for _ in 0..100_000 {
        tree.push_cv(value);
        assert!(tree.stack.len() <= 18);
        assert_eq!(tree.stack.len(), stack_len(tree.groups));
    }
}

//= S5.1 (test)
#[test]
fn chaining_values_alone_give_the_root_of_two_groups_or_more() {
    for groups in [2, 3, 8, 21] {
        let all = bytes(groups * GROUP - 7);
        let mut tree = Tree::new();
        for (index, piece) in all.chunks(GROUP).enumerate() {
            tree.push_cv(group(index as u64 * GROUP_LEN, piece).cv);
        }
        assert_eq!(tree.root(), whole(&all));
    }
    let mut one = Tree::new();
    one.push_cv(group(0, b"x").cv);
    assert_eq!(one.root(), None, "one group alone needs its bytes");
}

#[test]
fn a_saved_tree_goes_on_from_every_group() {
    let all = bytes(33 * GROUP + 11);
    for cut in 0..=33 {
        let saved = tree_of(&all[..cut * GROUP]).encode();
        let mut tree = Tree::decode(&saved).unwrap();
        for (index, piece) in all.chunks(GROUP).enumerate().skip(cut) {
            tree.push(&group(index as u64 * GROUP_LEN, piece));
        }
        assert_eq!(tree.root(), whole(&all), "resumed after {cut} groups");
    }
}

#[test]
fn a_saved_tree_of_the_wrong_length_is_refused() {
    let saved = tree_of(&bytes(7 * GROUP)).encode();
    for len in 0..saved.len() {
        assert!(Tree::decode(&saved[..len]).is_err(), "{len} bytes of {}", saved.len());
    }
    assert!(Tree::decode(&[&saved[..], &[0; 32]].concat()).is_err());
    assert!(Tree::decode(&[0xff; 8 + 32 + 32 * 64]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    //= S5.2 (test)
    #[test]
    fn the_root_is_the_blake3_hash_of_the_whole(len in 0usize..3_000_000) {
        let all = bytes(len);
        prop_assert_eq!(tree_of(&all).root(), whole(&all));
    }

    #[test]
    fn any_bytes_are_a_tree_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        if let Ok(tree) = Tree::decode(&bytes) {
            prop_assert_eq!(Tree::decode(&tree.encode()).unwrap(), tree);
        }
    }
}

//= S5.87 (test)
#[test]
fn the_values_of_what_lies_before_prove_what_follows() {
    let data: Vec<u8> = (0..20 * GROUP + 5).map(|at| (at / 3) as u8).collect();
    let root = Root(*blake3::hash(&data).as_bytes());
    let groups: Vec<Group> =
        data.chunks(GROUP).enumerate().map(|(at, piece)| group((at * GROUP) as u64, piece)).collect();
    for before in 2..=groups.len() {
        let mut tree = Tree::new();
        groups[..before].iter().for_each(|group| tree.push(group));
        let values = tree.values();
        let mut proved = Tree::of_values(before as u64, &values).unwrap();
        groups[before..].iter().for_each(|group| proved.push(group));
        assert_eq!(proved.root(), Some(root), "{before} groups");
        for wrong in [&values[32..], &values[1..], &[&values[..], &[0; 32]].concat()[..]] {
            assert!(Tree::of_values(before as u64, wrong).is_err());
        }
        let mut other = values.clone();
        other[0] ^= 1;
        let mut lie = Tree::of_values(before as u64, &other).unwrap();
        groups[before..].iter().for_each(|group| lie.push(group));
        assert_ne!(lie.root(), Some(root));
    }
}
