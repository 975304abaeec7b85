//! Evil names and lying trees, at a server that receives and at a client that fetches: nothing outside the directory
//! changes, and nothing that was there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use hikyaku::ErrorCode;
use hikyaku_files::bundle::Writer;
use hikyaku_files::escape;
use hikyaku_wire::bundle::{Done, Enter, FileEnd, FileHead};
use hikyaku_wire::files::{Overwrite, PutOptions};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::evil::*;
use crate::trees::{Seen, look};
use crate::world::*;

/// A world in which everything that an escape could reach is watched.
struct Watched {
    world: World,
    before: BTreeMap<PathBuf, Seen>,
}

impl Watched {
    fn new() -> Self {
        let world = World::new();
        for place in ["outside", "drop/kept", "into/kept"] {
            fs::create_dir(world.path(place)).unwrap();
            fs::write(world.path(place).join("canary"), place).unwrap();
            symlink("/etc/passwd", world.path(place).join("link")).unwrap();
        }
        // Both directories have a way out, made by their owner.
        for place in ["drop/way out", "into/way out"] {
            symlink(world.path("outside"), world.path(place)).unwrap();
        }
        let before = Self::around(&world);
        Self { world, before }
    }

    /// Everything but what the program keeps for itself. The times of the two directories may change.
    fn around(world: &World) -> BTreeMap<PathBuf, Seen> {
        let mut seen = look(world.temp.path());
        seen.retain(|path, _| !path.starts_with("drop/.hikyaku") && !path.starts_with("vault"));
        for directory in ["drop", "into"] {
            seen.get_mut(std::path::Path::new(directory)).unwrap().2 = (0, 0);
        }
        seen
    }

    /// Nothing has changed anywhere, and nothing was added.
    fn check(&self, what: &str) {
        let mut now = Self::around(&self.world);
        now.retain(|path, _| !path.to_string_lossy().starts_with("into/.hikyaku-"));
        assert_eq!(now, self.before, "{what}");
    }

    /// Nothing that was there has changed.
    fn check_what_was_there(&self, what: &str) {
        let now = Self::around(&self.world);
        for (path, seen) in &self.before {
            assert_eq!(now.get(path), Some(seen), "{what}: {path:?}");
        }
        assert!(
            now.keys().all(|path| !path.starts_with("outside") || self.before.contains_key(path)),
            "{what}"
        );
    }
}

fn is_refusal(code: ErrorCode) -> bool {
    // Where a name stands decides which rule meets it first; a second name of nothing is out of order.
    [ErrorCode::NAME_REFUSED, ErrorCode::INVALID_MESSAGE, ErrorCode::LIMIT].contains(&code)
}

//= S5.41 (test)
//= S5.20 (test)
#[tokio::test]
async fn three_hundred_evil_names_in_every_place_of_a_tree_change_nothing() {
    let watched = Watched::new();
    let names = names_that_lead_elsewhere();
    assert!(names.len() >= 300, "{}", names.len());
    let connection = watched.world.connect().await;
    let mut number = 0;
    for (index, name) in names.iter().enumerate() {
        // All places for some names, and all names in some places.
        let places = if index % 20 == 0 { 0..9 } else { index % 9..index % 9 + 1 };
        for place in places {
            number += 1;
            let bundle = placed(name, place);
            let put = put(&connection, &tree_offer(number, PutOptions::default()), &bundle).await;
            let shown = format!("{:.80} in place {place}", escape(name).to_string());
            assert!(put.as_ref().is_err_and(|code| is_refusal(*code)), "{shown}: {put:?}");
            let got = fetch(&watched.world, number, &bundle).await.map_err(|error| error.code());
            assert!(got.as_ref().is_err_and(|code| is_refusal(*code)), "{shown}: {got:?}");
        }
    }
    watched.check("refused names");
    assert!(names_in(&watched, "drop/.hikyaku").is_empty(), "what was refused leaves nothing to be resumed");
    println!("{} names, {number} trees at either end", names.len());
}

fn names_in(watched: &Watched, path: &str) -> Vec<String> {
    names(&watched.world.path(path))
}

//= S5.20 (test)
#[tokio::test]
async fn names_that_are_refused_at_the_top_are_names_inside() {
    let watched = Watched::new();
    let connection = watched.world.connect().await;
    let names = names_refused_at_the_top();
    for (number, name) in (0..).zip(&names) {
        for (place, bundle) in (0..3).map(|place| (place, placed(name, place))) {
            let offer = tree_offer(number * 3 + place as u64, PutOptions::default());
            assert_eq!(put(&connection, &offer, &bundle).await.unwrap_err(), ErrorCode::NAME_REFUSED);
            let got = fetch(&watched.world, number * 3 + place as u64, &bundle).await;
            assert_eq!(code(got), ErrorCode::NAME_REFUSED);
        }
    }
    watched.check("refused at the top");
    let mut bundle = Bundle::default().enter(b"t");
    for name in &names {
        bundle = bundle.file(name, name);
    }
    let bundle = bundle.leave().done();
    put(&connection, &tree_offer(1_000, PutOptions::default()), &bundle).await.unwrap();
    fetch(&watched.world, 1_000, &bundle).await.unwrap();
    for place in ["drop/t", "into/t"] {
        for name in &names {
            let path = watched.world.path(place).join(std::ffi::OsStr::from_bytes(name));
            assert_eq!(&fs::read(path).unwrap(), name);
        }
    }
    watched.check_what_was_there("dotted names inside");
}

#[tokio::test]
async fn names_that_only_look_evil_are_kept_byte_for_byte_and_lead_nowhere() {
    let watched = Watched::new();
    let mut bundle = Bundle::default().enter(b"t");
    let names = names_that_only_look_so();
    for name in &names {
        bundle = bundle.enter(name).file(name, name).leave();
    }
    let bundle = bundle.leave().done();
    let connection = watched.world.connect().await;
    let receipt = put(&connection, &tree_offer(1, PutOptions::default()), &bundle).await.unwrap();
    assert_eq!(receipt.tree.unwrap().missing, 0);
    fetch(&watched.world, 1, &bundle).await.unwrap();
    for place in ["drop/t", "into/t"] {
        let mut there: Vec<Vec<u8>> = fs::read_dir(watched.world.path(place))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
            .collect();
        there.sort();
        assert_eq!(there, names);
        for name in &names {
            let name = std::ffi::OsStr::from_bytes(name);
            let found = fs::read(watched.world.path(place).join(name).join(name)).unwrap();
            assert_eq!(found, name.as_bytes());
        }
    }
    watched.check_what_was_there("strange names");
}

/// Every way in, any bytes: what is taken is one component below the directory.
#[test]
fn any_name_at_any_way_in_stays_in_the_directory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let watched = Watched::new();
    let connection = runtime.block_on(watched.world.connect());
    let byte = prop_oneof![Just(b'.'), Just(b'/'), Just(0), any::<u8>()];
    let name = proptest::collection::vec(byte, 0..12);
    let number = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let done = runner.run(&(name, 0..11usize), |(name, way)| {
        number.set(number.get() + 1);
        let offer = tree_offer(number.get(), PutOptions::default());
        let good = Bundle::default().file(b"f", b"1").done();
        runtime.block_on(async {
            let taken = match way {
                9 => {
                    put(&connection, &hikyaku_wire::files::Offer { name: name.clone(), ..offer }, &good).await
                }
                10 => {
                    let target = below(&[b"sub", &name]);
                    put(&connection, &hikyaku_wire::files::Offer { target, ..offer }, &good).await
                }
                place => put(&connection, &offer, &placed(&name, place)).await,
            };
            if taken.is_ok() {
                prop_assert!(!name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b"..");
            }
            Ok(())
        })
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    watched.check_what_was_there("any names");
}

/// Trees that say something else of themselves than what they are.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let raw = |write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::default();
        write(&mut writer);
        writer.written().to_vec()
    };
    let head =
        |name: &[u8], size| FileHead { name: name.to_vec(), size, meta: None, attributes: None, from: None };
    let enter = |name: &[u8]| Enter { name: name.to_vec() };
    let bytes = |writer: &mut Writer, len: usize| {
        let filled = writer.bytes(len, |at| {
            at.fill(1);
            Ok::<_, ()>(true)
        });
        filled.unwrap();
    };
    let done = |entries, bytes, left_out| Done { entries, bytes, left_out, ..Done::default() };
    let deep = || (0..65).fold(Bundle::default(), |bundle, _| bundle.enter(b"d"));
    let long = || (0..17).fold(Bundle::default(), |bundle, _| bundle.enter(&[b'd'; 250]));
    let mut lies = vec![
        ("nothing at all", Vec::new()),
        ("a count too many", raw(&|w| w.done(&done(1, 0, 0)))),
        ("bytes that did not come", raw(&|w| w.done(&done(0, 1, 0)))),
        ("left out what did not come", raw(&|w| w.done(&done(0, 0, 1)))),
        ("no end", raw(&|w| w.file(&head(b"f", 0)))),
        (
            "an end inside a directory",
            raw(&|w| {
                w.enter(&enter(b"t"));
                w.done(&done(1, 0, 0));
            }),
        ),
        ("bytes behind the end", {
            let mut bundle = Bundle::default().file(b"f", b"1").done();
            bundle.push(0);
            bundle
        }),
        (
            "a file within a file",
            raw(&|w| {
                w.file(&head(b"f", 1));
                w.file(&head(b"g", 1));
            }),
        ),
        (
            "a directory within a file",
            raw(&|w| {
                w.file(&head(b"f", 1));
                w.enter(&enter(b"t"));
            }),
        ),
        (
            "more bytes than its size",
            raw(&|w| {
                w.file(&head(b"f", 1));
                bytes(w, 2);
            }),
        ),
        (
            "fewer bytes than its size",
            raw(&|w| {
                w.file(&head(b"f", 2));
                bytes(w, 1);
            }),
        ),
        (
            "a size of which nothing comes",
            raw(&|w| {
                w.file(&head(b"f", 1 << 52));
                w.end(&FileEnd::default());
            }),
        ),
        (
            "a hole that is longer than the file",
            raw(&|w| {
                w.file(&head(b"f", 65_536));
                w.hole(1 << 50);
            }),
        ),
        (
            "a hole that is no whole piece",
            raw(&|w| {
                w.file(&head(b"f", 65_536));
                w.hole(1);
            }),
        ),
        (
            "two holes in a row",
            raw(&|w| {
                w.file(&head(b"f", 3 * 65_536));
                w.hole(65_536);
                w.hole(65_536);
            }),
        ),
        ("bytes outside a file", raw(&|w| bytes(w, 1))),
        ("a hole outside a file", raw(&|w| w.hole(65_536))),
        ("an end outside a file", raw(&|w| w.end(&FileEnd::default()))),
        ("the end of a directory that never began", Bundle::default().leave().done()),
        ("names out of order", Bundle::default().file(b"b", b"1").file(b"a", b"1").done()),
        ("a name twice", Bundle::default().file(b"a", b"1").file(b"a", b"2").done()),
        (
            "a link and then a directory of its name",
            Bundle::default().symlink(b"a", b"/").enter(b"a").file(b"x", b"1").leave().done(),
        ),
        ("a directory twice", Bundle::default().enter(b"a").leave().enter(b"a").leave().done()),
        ("a second name of itself", Bundle::default().hard_link(b"a", &[b"a"]).done()),
        (
            "a second name of what comes later",
            Bundle::default().hard_link(b"a", &[b"b"]).file(b"b", b"1").done(),
        ),
        ("a second name of nothing", Bundle::default().hard_link(b"a", &[]).done()),
        ("a link without a target", Bundle::default().symlink(b"a", b"").done()),
        ("a link with a NUL in it", Bundle::default().symlink(b"a", b"x\0/etc").done()),
        ("a link that is too long", Bundle::default().symlink(b"a", &[b'x'; 5_000]).done()),
        ("deeper than a path may be", deep().done()),
        ("longer than a path may be", long().done()),
        ("a header of 16 MiB", vec![0x01, 0xc0, 0, 0, 0, 1, 0, 0, 0]),
        ("a number in a long form", vec![0x40, 0x0a, 0x00]),
        ("a header that is no CBOR", vec![0x01, 0x03, 0xff, 0xff, 0xff]),
    ];
    // Cut anywhere, a good one has no end.
    let good = Bundle::default().enter(b"t").file(b"f", b"good").symlink(b"l", b"f").leave().done();
    for cut in 1..good.len() {
        lies.push(("a good one that is cut", good[..cut].to_vec()));
    }
    // And whichever bit is turned, it is another tree or none, never something outside.
    for bit in (0..good.len() * 8).step_by(5) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        lies.push(("a bit turned", bad));
    }
    lies
}

//= S5.42 (test)
//= S5.48 (test)
#[tokio::test]
async fn a_tree_that_lies_about_sizes_counts_order_or_its_end_is_never_published() {
    let watched = Watched::new();
    let connection = watched.world.connect().await;
    let lies = lies();
    for (number, (what, bundle)) in (0..).zip(&lies) {
        let put = put(&connection, &tree_offer(number, PutOptions::default()), bundle).await;
        let got = fetch(&watched.world, number, bundle).await;
        if *what == "a bit turned" {
            continue;
        }
        assert!(put.as_ref().is_err_and(|code| is_refusal(*code)), "{what}: {put:?}");
        assert!(got.as_ref().is_err_and(|error| is_refusal(error.code())), "{what}: {got:?}");
        watched.check_what_was_there(what);
    }
    watched.check_what_was_there("all lies");
    println!("{} lies at either end", lies.len());
}

/// With every option that asks for more, nothing outside changes either.
//= S5.49 (test)
//= S5.50 (test)
#[tokio::test]
async fn links_that_lead_out_are_never_followed_whatever_is_asked_for() {
    for overwrite in [Overwrite::Never, Overwrite::Newer, Overwrite::Always, Overwrite::Rename] {
        let watched = Watched::new();
        let connection = watched.world.connect().await;
        let options =
            PutOptions { overwrite: Some(overwrite), all_links: Some(true), ..PutOptions::default() };
        let outside = watched.world.path("outside");
        // First a link, then a tree that has a directory of its name.
        let link = Bundle::default().symlink(b"sub", outside.as_os_str().as_bytes()).done();
        put(&connection, &tree_offer(1, options), &link).await.unwrap();
        let through =
            Bundle::default().enter(b"sub").file(b"canary", b"evil").file(b"new", b"evil").leave().done();
        put(&connection, &tree_offer(2, options), &through).await.unwrap();
        // The same through the link that was there before.
        let through = Bundle::default().enter(b"way out").file(b"canary", b"evil").leave().done();
        put(&connection, &tree_offer(3, options), &through).await.unwrap();
        // A second name of what a link leads to.
        let second = Bundle::default().symlink(b"a", b"way out").hard_link(b"b", &[b"a", b"canary"]).done();
        put(&connection, &tree_offer(4, options), &second).await.unwrap();
        assert_eq!(names(&outside), ["canary", "link"], "{overwrite:?}");
        assert_eq!(fs::read(outside.join("canary")).unwrap(), b"outside", "{overwrite:?}");
        assert_eq!(fs::symlink_metadata(outside.join("canary")).unwrap().permissions(), {
            fs::symlink_metadata(watched.world.path("drop/kept/canary")).unwrap().permissions()
        });
        assert!(!watched.world.path("drop/b").exists());
        // And as part of the target.
        let good = Bundle::default().file(b"f", b"1").done();
        for target in [below(&[b"way out"]), below(&[b"way out", b"deeper"]), below(&[b"sub", b"x"])] {
            let offer = hikyaku_wire::files::Offer { target, ..tree_offer(5, options) };
            let refused = put(&connection, &offer, &good).await;
            assert!(refused.is_err() || overwrite == Overwrite::Always, "{refused:?}");
        }
        assert_eq!(names(&outside), ["canary", "link"], "{overwrite:?}");
    }
}
