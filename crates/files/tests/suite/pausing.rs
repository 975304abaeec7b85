//! Disks that are full for a while: a small file system in memory, where this process may make one.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hikyaku::ErrorCode;
use hikyaku_files::{Destination, DropOptions, FilesClient, FilesLimits, Moment, OutgoingPipe, Progress};
use hikyaku_wire::files::PutOptions;
use tokio::sync::watch;

use crate::trees::{look, orchard, outgoing, send};
use crate::world::*;

/// How much fits, in MiB; the tree of these tests has 25.
const SIZE: usize = 48;

/// A file system of a few MiB.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let options = format!("size={SIZE}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(at).output();
        let is_mounted = mounted.is_ok_and(|done| done.status.success());
        if !is_mounted {
            println!("SKIPPED: only root can mount a small file system");
        }
        is_mounted.then(|| Self(at.to_owned()))
    }

    /// Takes most of the room.
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        fs::write(&filler, vec![1; (SIZE - 14) << 20]).unwrap();
        filler
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A world in which one directory is small; that goes first in the end.
fn world(small: &str, limits: FilesLimits) -> Option<(World, Small)> {
    let temp = tempfile::tempdir().unwrap();
    let small = Small::mount(&temp.path().join(small))?;
    Some((World::at(temp, limits, DropOptions { keep_free: 0, ..DropOptions::default() }), small))
}

async fn paused(view: &watch::Receiver<Moment>) {
    until("the pause is told", || view.borrow().paused.is_some()).await;
    let full = view.borrow().paused.unwrap();
    assert!(full.needed > 0 && full.left > Duration::ZERO, "{full:?}");
}

//= S5.26 (test)
#[tokio::test]
async fn a_tree_waits_for_room_at_a_server_and_goes_on() {
    let Some((world, small)) = world("drop", FilesLimits::default()) else { return };
    let (at, filler) = (orchard(&world), small.fill());
    let tree = outgoing(std::slice::from_ref(&at), here(), PutOptions::default());
    let (progress, view) = Progress::new();
    let client = FilesClient::new(world.connect().await);
    let sending = tokio::spawn(async move { client.send_tree(&tree, &progress).await });
    paused(&view).await;
    assert!(!world.path("drop/orchard").exists(), "nothing half written has a name");
    fs::remove_file(filler).unwrap();
    assert_eq!(sending.await.unwrap().unwrap().tree.unwrap().missing, 0);
    assert_eq!(view.borrow().paused, None);
    assert_eq!(look(&world.path("drop/orchard")), look(&at));
}

/// So many bytes, as they come out of a pipe.
fn pipe(data: &[u8]) -> OutgoingPipe {
    let input = std::io::Cursor::new(data.to_vec()).take(data.len() as u64);
    OutgoingPipe::new(input, "standard input", b"piped", here()).unwrap()
}

//= S5.26 (test)
#[tokio::test]
async fn what_has_no_size_in_advance_waits_for_room_and_goes_on() {
    let Some((world, small)) = world("drop", FilesLimits::default()) else { return };
    let (data, filler) = (bytes(20 << 20), small.fill());
    let (progress, view) = Progress::new();
    let (client, outgoing) = (FilesClient::new(world.connect().await), pipe(&data));
    let sending = tokio::spawn(async move { client.send_pipe(&outgoing, &progress).await });
    paused(&view).await;
    fs::remove_file(filler).unwrap();
    sending.await.unwrap().unwrap();
    assert!(fs::read(world.path("drop/piped")).unwrap() == data);
}

//= S5.17 (test)
#[tokio::test]
async fn a_sender_that_comes_back_takes_over_from_one_that_waits_for_room() {
    let Some((world, small)) = world("drop", FilesLimits::default()) else { return };
    let (at, filler) = (orchard(&world), small.fill());
    let tree = outgoing(std::slice::from_ref(&at), here(), PutOptions::default());
    let (progress, view) = Progress::new();
    let (client, first) = (FilesClient::new(world.connect().await), tree.clone());
    let sending = tokio::spawn(async move { client.send_tree(&first, &progress).await });
    paused(&view).await;
    let (progress, view) = Progress::new();
    let client = FilesClient::new(world.connect().await);
    let again = tokio::spawn(async move { client.send_tree(&tree, &progress).await });
    // It is told who took over, and not that the disk is full.
    assert_eq!(sending.await.unwrap().unwrap_err().code(), ErrorCode::CONFLICT);
    paused(&view).await;
    fs::remove_file(filler).unwrap();
    again.await.unwrap().unwrap();
    assert_eq!(look(&world.path("drop/orchard")), look(&at));
}

//= S5.24 (test)
//= S5.26 (test)
#[tokio::test]
async fn without_room_in_time_it_fails_as_full_and_goes_on_when_it_is_sent_again() {
    let limits = FilesLimits { pause_timeout: Duration::from_millis(1), ..FilesLimits::default() };
    let Some((world, small)) = world("drop", limits) else { return };
    let (at, filler) = (orchard(&world), small.fill());
    let tree = outgoing(std::slice::from_ref(&at), here(), PutOptions::default());
    let error = send(&world, &tree).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::FULL, "{error}");
    assert!(!world.path("drop/orchard").exists());
    fs::remove_file(filler).unwrap();
    let receipt = send(&world, &tree).await.unwrap().tree.unwrap();
    assert_eq!(receipt.missing, 0);
    assert_eq!(look(&world.path("drop/orchard")), look(&at));
}

//= S5.26 (test)
#[tokio::test]
async fn a_tree_that_is_fetched_waits_for_room_here_and_the_server_bears_it() {
    let Some((world, small)) = world("into", FilesLimits::default()) else { return };
    // Small files need more of a disk than their bytes: that there is no room shows on the way.
    let at = world.path("home/orchard");
    fs::create_dir(&at).unwrap();
    (0..5_000).for_each(|leaf| fs::write(at.join(format!("leaf {leaf}")), [1]).unwrap());
    let tree = outgoing(std::slice::from_ref(&at), room(), PutOptions::default());
    send(&world, &tree).await.unwrap();
    let filler = small.fill();
    let (progress, view) = Progress::new();
    let client = FilesClient::new(world.connect().await);
    let destination = Destination::new(world.path("into"));
    let fetching = tokio::spawn(async move { client.get_file(&event(1), &destination, &progress).await });
    paused(&view).await;
    assert!(!world.path("into/orchard").exists(), "nothing half written has a name");
    fs::remove_file(filler).unwrap();
    fetching.await.unwrap().unwrap();
    assert_eq!(view.borrow().paused, None);
    assert_eq!(look(&world.path("into/orchard")), look(&at));
}
