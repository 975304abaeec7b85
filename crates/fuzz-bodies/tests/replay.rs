//! Every fuzz target, over its corpus, over the vectors of the specification and over mutations of both: what
//! libFuzzer found once is tried at every test run, with neither nightly nor libFuzzer. What a body allocates is
//! counted.

#![allow(missing_docs, clippy::unwrap_used)]

mod headers;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hikyaku_fuzz_bodies::seeds::{corpus, root, seeds};
use hikyaku_fuzz_bodies::{TARGETS, Target};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Mutated inputs of each target, and the most of one seed.
const MUTATIONS: usize = 3_000;
const MUTATIONS_OF_ONE: usize = 200;
/// The longest mutated input.
const LONGEST: usize = 4_096;
/// The corpus of all targets together.
const MOST_CORPUS: usize = 2 << 20;

/// Where there is one process for several tests, one body runs at a time: what others allocate is not its.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A body that failed has said so itself.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most that `act` has allocated at once, in bytes.
fn peak(act: impl FnOnce()) -> usize {
    let before = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    act();
    PeakAlloc.peak_usage().saturating_sub(before)
}

/// Runs a target over one input, within its allowance.
fn run(target: &Target, input: &[u8]) -> usize {
    let most = 4 * input.len() + target.fixed;
    // The harness allocates beside us when another test ends; a body that costs too much does so every time.
    let mut least = usize::MAX;
    for _ in 0..3 {
        least = least.min(peak(|| (target.body)(input)));
        if least <= most {
            break;
        }
    }
    assert!(
        least <= most,
        "{}: {} bytes of input cost {least}, more than {most}; the input is {:02x?}",
        target.name,
        input.len(),
        input.get(..300).unwrap_or(input)
    );
    least
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let _alone = alone();
    let seeds = seeds(name);
    assert!(!seeds.is_empty());
    // What is made once for the whole process is nobody's in particular.
    (target.body)(&seeds[0]);
    let mut most = 0;
    let mutations = (MUTATIONS / seeds.len()).clamp(1, MUTATIONS_OF_ONE);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in &seeds {
        most = most.max(run(target, seed));
        for _ in 0..mutations {
            most = most.max(run(target, &mutant(seed, &seeds, &mut random)));
        }
    }
    // A long input, for what grows with it.
    let long: Vec<u8> = seeds.iter().flatten().copied().cycle().take(256 * 1024).collect();
    if !long.is_empty() {
        println!("{name}: {} bytes of input cost at most {}", long.len(), run(target, &long));
    }
    println!("{name}: {} seeds with {mutations} mutations each cost at most {most}", seeds.len());
}

/// XorShift: the same at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % (below as u64).max(1)) as usize
    }
}

fn mutant(seed: &[u8], seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut mutant = seed.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(mutant.len() + 1);
        match random.below(5) {
            0 => mutant.truncate(at),
            1 => mutant.insert(at, random.below(256) as u8),
            2 if at < mutant.len() => mutant[at] ^= 1 << random.below(8),
            3 if at < mutant.len() => drop(mutant.remove(at)),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                mutant.splice(at.., other[random.below(other.len() + 1)..].iter().copied());
            }
        }
    }
    mutant.truncate(LONGEST);
    mutant
}

macro_rules! every_target {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

every_target! {
    account_messages bundle cbor_check certificate chat_event chat_follower chat_messages chat_presence file_receiving file_messages
    frame_decoder inspect invite_link journal listing listing_answers mux_input mux_pair passage prints quota receipts_file safe_name session_control session_datagrams session_inbound
    session_messages tree varint versions
}

/// A target is six lines in five places; this says which is missing.
#[test]
fn every_target_has_a_test_a_corpus_and_a_binary_that_runs_it() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(REPLAYED, names, "tests/replay.rs");
    let fuzz = root().join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let mut together = 0;
    for name in &names {
        let binary = format!(
            "[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\ntest = false\ndoc = false\nbench = false\n"
        );
        assert!(manifest.contains(&binary), "fuzz/Cargo.toml has no\n{binary}");
        let source = std::fs::read_to_string(fuzz.join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        let call = format!("|data: &[u8]| hikyaku_fuzz_bodies::run(\"{name}\", data)");
        assert!(source.contains(&call), "fuzz/fuzz_targets/{name}.rs does not say {call}");
        together += corpus(name).iter().map(Vec::len).sum::<usize>();
    }
    assert!(together <= MOST_CORPUS, "the corpus has {together} bytes");
    let listed = |directory: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(fuzz.join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect()
    };
    let known: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(listed("corpus"), known);
    assert_eq!(listed("fuzz_targets"), known.iter().map(|name| format!("{name}.rs")).collect());
}
