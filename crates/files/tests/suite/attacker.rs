//! Somebody who may write where files arrive, and swaps directories for links while they do: the owner of the directory
//! is tricked, or another program of his is. Nothing outside changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hikyaku::Connection;
use hikyaku_wire::files::{Overwrite, PutOptions, Synced};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::evil::*;
use crate::trees::look;
use crate::world::*;

/// How many trees are received; `cargo xtask soak files` says more.
fn receives() -> u64 {
    std::env::var("HIKYAKU_RECEIVES").ok().and_then(|number| number.parse().ok()).unwrap_or(200)
}

/// How many arrive at one place before a new one is taken: what lies about makes the next one slower, and the attacker, who
/// looks at everything, slowest of all.
const ROUND: u64 = 100;

/// What the attacker wants changed: the same names as those that are sent.
fn bait(outside: &Path) {
    fs::create_dir_all(outside.join("inner/deeper")).unwrap();
    for file in ["f", "inner/f", "inner/deeper/f", "inner/a", "inner/b"] {
        fs::write(outside.join(file), "theirs").unwrap();
    }
}

/// Swaps until it is told to stop; how often a swap went well.
fn attack(base: &Path, outside: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    let evil = base.join("evil");
    let exchange = |path: &Path| {
        let done = renameat_with(CWD, path, CWD, &evil, RenameFlags::EXCHANGE).is_ok();
        swaps.fetch_add(u64::from(done), Ordering::Relaxed);
        done
    };
    let mut waits = 1;
    while !stop.load(Ordering::Relaxed) {
        // Where something was moved away before it was swapped back, the link is now there.
        if !evil.is_symlink() {
            let _ = fs::remove_dir_all(&evil).or_else(|_| fs::remove_file(&evil));
            // Whoever writes into what was swapped away may be quicker than its removal.
            if symlink(outside, &evil).is_err() {
                continue;
            }
        }
        // The temporary files of whatever is on its way, and the directories in which they lie.
        let own = [base.join(".hikyaku"), base.to_owned()];
        let staged: Vec<PathBuf> = own
            .iter()
            .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().contains("000000"))
            .collect();
        let inside = staged.iter().flat_map(|path| {
            ["", "sub", "inner", "sub/inner", "inner/deeper", "inner/f", "inner/a"]
                .map(|name| path.join(name))
        });
        let targets =
            ["sub", "sub/inner", "sub/inner/deeper", "inner", "inner/deeper", "sub/f", "inner/f", ".hikyaku"];
        for path in inside.chain(targets.map(|path| base.join(path))) {
            // Not through a link: what is outside is for others to change.
            let is_inside =
                path.parent().is_some_and(|dir| dir.canonicalize().is_ok_and(|dir| dir.starts_with(base)));
            if is_inside && path.symlink_metadata().is_ok() && exchange(&path) {
                // Sometimes for a moment, sometimes for long enough that all of a tree comes by.
                waits = (waits * 7 + 1) % 1_009;
                (0..if waits % 4 == 0 { waits } else { 1 }).for_each(|_| std::thread::yield_now());
                exchange(&path);
            }
        }
        let away = base.join("away");
        if fs::rename(base.join("sub"), &away).is_ok() {
            let _ = fs::rename(&away, base.join("sub"));
        }
    }
}

fn tree(number: u64) -> Vec<u8> {
    let content = number.to_be_bytes();
    let inner = Bundle::default().file(b"f", &content).enter(b"inner").file(b"a", &content).enter(b"deeper");
    let inner = inner.file(b"f", &content).leave().file(b"f", &content);
    inner.hard_link(b"g", &[b"inner", b"a"]).symlink(b"l", b"deeper/f").leave().done()
}

fn options(number: u64) -> PutOptions {
    let overwrite =
        [Overwrite::Never, Overwrite::Always, Overwrite::Newer, Overwrite::Rename][(number % 4) as usize];
    let synced = Some(if number % 8 < 4 { Synced::None } else { Synced::Batch });
    PutOptions { overwrite: Some(overwrite), all_links: Some(true), synced, ..PutOptions::default() }
}

/// Ends the attack when it is dropped: also when a test fails, whose thread would otherwise wait for the attacker for ever.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What became of so many receives.
#[derive(Debug, Default)]
struct Tally {
    good: u64,
    refused: u64,
    swaps: u64,
}

/// Receives under attack, at one place after the other; `receive` says whether the tree with a number was taken.
async fn under_attack(into: &str, exists: &str, receive: impl AsyncFn(&World, &Connection, u64) -> bool) {
    let (mut tally, all) = (Tally::default(), receives());
    for first in (0..all).step_by(usize::try_from(ROUND).unwrap()) {
        let world = World::in_memory();
        let (base, outside) = (world.path(into), world.path("outside"));
        bait(&outside);
        fs::create_dir_all(base.join(exists)).unwrap();
        let before = look(&outside);
        let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let connection = world.connect().await;
        std::thread::scope(|scope| {
            scope.spawn(|| attack(&base, &outside, &stop, &swaps));
            let _ending = Ending(&stop);
            let receiving = async {
                for number in first..all.min(first + ROUND) {
                    let taken = receive(&world, &connection, number).await;
                    tally.good += u64::from(taken);
                    tally.refused += u64::from(!taken);
                }
            };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(receiving));
        });
        tally.swaps += swaps.into_inner();
        assert_eq!(look(&outside), before, "after {tally:?}");
    }
    println!("{tally:?}");
    assert!(tally.good > 0 && tally.swaps > all / 20, "{tally:?}");
}

//= S5.22 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_swapped_for_links_while_trees_arrive_at_a_server_lead_nowhere() {
    let received = under_attack("drop", "sub/inner/deeper", async |_, connection, number| {
        let target = if number % 3 == 0 { here() } else { below(&[b"sub"]) };
        let offer = hikyaku_wire::files::Offer { target, ..tree_offer(number, options(number)) };
        put(connection, &offer, &tree(number)).await.is_ok()
    });
    received.await;
}

//= S5.22 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_swapped_for_links_while_trees_arrive_at_a_client_lead_nowhere() {
    let fetched = under_attack("into", "inner/deeper", async |world, _, number| {
        fetch(world, number, &tree(number)).await.is_ok()
    });
    fetched.await;
}
