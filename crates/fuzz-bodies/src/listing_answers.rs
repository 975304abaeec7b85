//! The answers to a listing, by somebody who may answer whatever he likes: what is sent then.

use std::collections::VecDeque;

use hikyaku_files::bundle::{Item, Reader};
use hikyaku_files::names::{Dots, SafeName};
use hikyaku_files::versions::Telling;
use hikyaku_files::{CONTENT, Chain, speak, speak_of};
use hikyaku_wire::files::{GROUP_LEN, Listed, MIN_AVERAGE, Older, OlderFile, Pieces, Verdict, Wants};

use crate::input::Input;

/// The most entries, answers and large files of one input.
const MAX_ENTRIES: usize = 64;
const MAX_ANSWERS: usize = 32;
const MAX_LARGE: u64 = 2;
/// The most files of which older versions are told.
const MAX_OLDER: usize = 4;
/// What pieces are hashed with.
const KEY: [u8; 32] = [5; 32];

/// What the bundle must say, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Enter(Vec<u8>),
    Leave,
    Other(Vec<u8>),
    /// A file, its size, and from where on it is carried.
    File(Vec<u8>, u64, u64),
    /// So many files that are not carried, and the last of them.
    Kept(u64, Vec<u8>),
}

/// Answers that keep to the listing are followed to the byte: what is wanted is carried from where it is wanted, what is
/// not is counted and chained. Any other answer is an error, and none is anything else.
pub fn listing_answers(data: &[u8]) {
    let mut input = Input::new(data);
    let tree = tree(&mut input);
    let answers = answers(&mut input, &tree);
    let expected = expected(&tree, &answers);
    let spoken = speak(&tree, answers.clone());
    let Some((says, chain)) = expected else {
        assert!(spoken.is_err(), "{answers:?} to {tree:?} was followed");
        return;
    };
    let spoken = spoken.unwrap_or_else(|error| panic!("{error}: {answers:?} to {tree:?}"));
    let listed: Vec<Listed> = spoken.lists.into_iter().flat_map(|list| list.entries).collect();
    assert_eq!(listed, tree, "the listing is the tree");
    hear(&spoken.bundle, &says, chain);
    renewed(&mut input, &tree, answers, &spoken.bundle);
}

/// Of files of which older versions are told parts are named instead of sent, and what is put together is the same bundle. Who
/// is told what cannot be refuses it.
fn renewed(input: &mut Input<'_>, tree: &[Listed], mut answers: Vec<Wants>, bundle: &[u8]) {
    let (lie, mut pieces, mut named) = (input.below(4), Vec::new(), 0);
    for wants in &mut answers {
        for (number, verdict) in wants.verdicts.iter().enumerate() {
            if !Verdict(*verdict).is_wanted() && lie != 1 || input.below(2) == 0 || named == MAX_OLDER {
                continue;
            }
            named += 1;
            let (size, lies) = (input.short() * 2, lie == 2 && input.below(4) == 0);
            let older = Older { size, average: if lies { input.long() } else { MIN_AVERAGE }, key: KEY };
            wants.older.push(OlderFile { file: wants.first + number as u64, older });
            pieces.extend(told(&vec![CONTENT; usize::try_from(size).unwrap_or(0)]));
        }
    }
    if lie == 3 && !pieces.is_empty() {
        let at = usize::try_from(input.short()).unwrap_or(0) % pieces.len();
        pieces.remove(at);
    }
    match speak_of(tree, answers, pieces) {
        Ok(spoken) => {
            assert!(spoken.bundle == bundle, "what is put together is another bundle");
            assert_eq!(spoken.root.0, *blake3::hash(bundle).as_bytes());
        }
        Err(error) => assert_ne!(lie, 0, "{error}"),
    }
}

fn told(older: &[u8]) -> Vec<Pieces> {
    let named = Older { size: older.len() as u64, average: MIN_AVERAGE, key: KEY };
    let mut telling = Telling::new(&named).expect("a known average");
    telling.take(older);
    telling.end();
    std::iter::from_fn(|| telling.next_pieces()).collect()
}

/// A tree as a sender has it: names in order, each once.
fn tree(input: &mut Input<'_>) -> Vec<Listed> {
    let (mut tree, mut depth, mut large) = (Vec::new(), 0, 0);
    for number in 0..input.below(MAX_ENTRIES as u64 / 2) {
        let name = format!("{number:03}").into_bytes();
        match input.below(6) {
            0 if depth < 8 => {
                depth += 1;
                tree.push(Listed::Enter(name));
            }
            1 if depth > 0 => {
                depth -= 1;
                tree.push(Listed::Leave);
            }
            2 => tree.push(Listed::Other(name)),
            kind => {
                let is_large = kind == 3 && large < MAX_LARGE;
                large += u64::from(is_large);
                let size = if is_large { 2 * GROUP_LEN + 1 } else { input.below(16) };
                let (mtime, mtime_ns, mode) = (i64::from(input.byte()), 9, 0o644);
                tree.push(Listed::File {
                    name,
                    size,
                    mtime,
                    mtime_ns,
                    mode,
                    links: false,
                    root: None,
                    attributes: None,
                });
            }
        }
    }
    tree.extend((0..depth).map(|_| Listed::Leave));
    tree
}

/// As many answers as the input has, right as long as it does not say otherwise.
fn answers(input: &mut Input<'_>, tree: &[Listed]) -> Vec<Wants> {
    let files = tree.iter().filter(|entry| matches!(entry, Listed::File { .. })).count() as u64;
    let (mut answers, mut first) = (Vec::new(), 0);
    while answers.len() < MAX_ANSWERS && (first < files || !input.is_empty()) {
        let how = input.byte();
        let count = match how & 0x0f {
            0 => files - first.min(files),
            15 => files + 1,
            count => u64::from(count).min(files - first.min(files)),
        };
        let verdicts: Vec<u8> = (0..count).map(|_| input.byte()).collect();
        let from = match how >> 4 {
            0..6 => None,
            6..10 => Some(GROUP_LEN),
            10 => Some(2 * GROUP_LEN),
            11 => Some(GROUP_LEN + 1),
            12 => Some(3 * GROUP_LEN),
            13 => Some(u64::MAX - GROUP_LEN + 1),
            _ => Some(0),
        };
        let said = if how == 0xff { first + 1 } else { first };
        first += count;
        answers.push(Wants { first: said, verdicts, from, older: Vec::new() });
    }
    answers
}

/// What a sender makes of it, by the words of the specification (S5.62, S5.63, S5.64); `None` where it must refuse.
fn expected(tree: &[Listed], answers: &[Wants]) -> Option<(Vec<Says>, Option<Chain>)> {
    let files = tree.iter().filter(|entry| matches!(entry, Listed::File { .. })).count() as u64;
    let (mut says, mut chain, mut kept) = (Vec::new(), Chain::default(), false);
    let (mut answers, mut verdicts, mut answered) = (answers.iter(), VecDeque::new(), 0);
    for entry in tree {
        let Listed::File { name, size, mtime, mtime_ns, .. } = entry else {
            says.push(match entry {
                Listed::Enter(name) => Says::Enter(name.clone()),
                Listed::Other(name) => Says::Other(name.clone()),
                _ => Says::Leave,
            });
            continue;
        };
        while verdicts.is_empty() {
            let wants = answers.next()?;
            let count = wants.verdicts.len() as u64;
            if wants.first != answered || count == 0 || count > files - answered {
                return None;
            }
            answered += count;
            verdicts.extend(wants.verdicts.iter().map(|verdict| (Verdict(*verdict), wants.from)));
        }
        let (verdict, from) = verdicts.pop_front()?;
        if !verdict.is_wanted() {
            kept = true;
            chain.push(name, *size, (*mtime, *mtime_ns), (None, None));
            match says.last_mut() {
                Some(Says::Kept(count, last)) => (*count, *last) = (*count + 1, name.clone()),
                _ => says.push(Says::Kept(1, name.clone())),
            }
            continue;
        }
        let from = if verdict == Verdict::REST { from.unwrap_or(0) } else { 0 };
        if !from.is_multiple_of(GROUP_LEN) || from > *size {
            return None;
        }
        says.push(Says::File(name.clone(), *size, from));
    }
    Some((says, kept.then_some(chain)))
}

/// Reads the bundle as every receiver does, and compares.
fn hear(mut bundle: &[u8], says: &[Says], chain: Option<Chain>) {
    let (mut reader, mut says, mut left) = (Reader::listed(Dots::Refused), says.iter(), 0);
    while let Some(item) = reader.next(&mut bundle).expect("what is sent is a bundle") {
        let heard = match item {
            Item::Enter(name) => Says::Enter(name.as_bytes().to_vec()),
            Item::Leave(_) => Says::Leave,
            Item::LeftOut(name, _) => Says::Other(name.as_bytes().to_vec()),
            Item::File(name, head) => {
                left = head.size - head.from.unwrap_or(0);
                Says::File(name.as_bytes().to_vec(), head.size, head.from.unwrap_or(0))
            }
            Item::Bytes(bytes) => {
                left -= bytes.len() as u64;
                continue;
            }
            Item::End(end) => {
                assert_eq!((left, end.failed), (0, None), "all that is wanted of a file");
                continue;
            }
            Item::Kept(count) => match says.next() {
                Some(Says::Kept(wanted, last)) => {
                    assert_eq!(count, *wanted, "files that are not carried");
                    reader.pass(&SafeName::parse(last, Dots::Refused).expect("a name of ours"));
                    continue;
                }
                other => panic!("{count} files that are not carried instead of {other:?}"),
            },
            Item::Done(done) => {
                assert_eq!(done.chain, chain.map(Chain::value));
                assert_eq!(says.next(), None, "something is missing");
                continue;
            }
            other => panic!("{other:?} is none of it"),
        };
        assert_eq!(Some(&heard), says.next());
    }
    assert!(reader.is_done() && bundle.is_empty(), "the bundle is whole");
}
