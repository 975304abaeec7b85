//! Names that are taken: by the same, by something else, by something that is the same but for case or composition.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hikyaku::ErrorCode;
use hikyaku_files::{
    Destination, Distinct, DropOptions, Fetched, FilesClient, FilesError, FilesLimits, Only, Outgoing,
    Progress,
};
use hikyaku_wire::files::{
    Answer, Close, Offer, Overwrite, PROTOCOL, PUT, PutOptions, Receipt, Step, Synced, Verdict,
};

use crate::evil::{self, Bundle, tree_offer};
use crate::trees::{orchard, outgoing, send};
use crate::world::{World, code, event, here, names, room};

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn over(overwrite: Overwrite) -> PutOptions {
    PutOptions { overwrite: Some(overwrite), ..PutOptions::default() }
}

/// Offers a file as another implementation might: with options, and not as a tree of one.
async fn put(world: &World, path: &Path, options: PutOptions) -> Result<Receipt, FilesError> {
    let source = Outgoing::new(path, None, here()).unwrap();
    let offer = Offer { options: Some(options), ..source.offer().clone() };
    put_offer(world, &offer, &fs::read(path).unwrap()).await
}

async fn put_offer(world: &World, offer: &Offer, data: &[u8]) -> Result<Receipt, FilesError> {
    let connection = world.connect().await;
    let mut exchange = connection.open(PROTOCOL, PUT).await?;
    exchange.send(offer).await?;
    match exchange.receive().await? {
        Answer::Accept(_) => {}
        Answer::Receipt(receipt) => return Ok(receipt),
        other => panic!("{other:?}"),
    }
    let group = hikyaku_files::tree::group(0, data);
    let block =
        hikyaku_wire::files::Block { entry: None, offset: 0, len: data.len() as u64, cvs: group.cv.to_vec() };
    exchange.send(&Step::Block(block)).await?;
    exchange.send_data(data.to_vec().into()).await?;
    let root = hikyaku_wire::parcel::Root(*blake3::hash(data).as_bytes());
    exchange.send(&Step::Close(Close { entry: None, size: data.len() as u64, root })).await?;
    match exchange.receive().await? {
        Answer::Receipt(receipt) => Ok(receipt),
        other => panic!("{other:?}"),
    }
}

async fn get(world: &World, seq: u64, options: PutOptions) -> Result<Fetched, FilesError> {
    let destination = Destination { options, ..Destination::new(world.path("into")) };
    FilesClient::new(world.connect().await).get_file(&event(seq), &destination, &Progress::none()).await
}

//= S5.33 (test)
//= S5.39 (test)
#[tokio::test]
async fn a_file_takes_a_taken_name_only_as_its_sender_asks() {
    for (overwrite, ours, theirs, refused, there) in [
        (Overwrite::Never, 5, 3, true, "theirs"),
        (Overwrite::Newer, 5, 3, false, "ours"),
        (Overwrite::Newer, 3, 5, true, "theirs"),
        (Overwrite::Always, 3, 5, false, "ours"),
        (Overwrite::Rename, 3, 5, false, "theirs"),
    ] {
        let world = World::new();
        let (at, there_at) = (world.path("home/f"), world.path("drop/f"));
        fs::write(&at, "ours").unwrap();
        fs::write(&there_at, "theirs").unwrap();
        set_time(&at, ours);
        set_time(&there_at, theirs);
        let receipt = put(&world, &at, over(overwrite)).await;
        assert_eq!(fs::read_to_string(&there_at).unwrap(), there, "{overwrite:?} {ours} {theirs}");
        match receipt {
            Err(error) => assert!(refused && error.code() == ErrorCode::ALREADY_EXISTS, "{error}"),
            Ok(receipt) => {
                assert!(!refused, "{overwrite:?}");
                let name = String::from_utf8(receipt.name.unwrap()).unwrap();
                assert_eq!(name, if overwrite == Overwrite::Rename { "f~1" } else { "f" });
                let arrived = world.path("drop").join(name);
                assert_eq!(fs::read_to_string(&arrived).unwrap(), "ours");
                assert_eq!(fs::metadata(arrived).unwrap().mtime(), ours as i64);
            }
        }
        assert_eq!(
            names(&world.path("drop/.hikyaku")).iter().filter(|name| name.ends_with("part")).count(),
            0
        );
    }
}

//= S5.39 (test)
#[tokio::test]
async fn neither_a_directory_nor_what_a_link_leads_to_is_replaced_by_a_file() {
    let world = World::new();
    let (at, _) = world.file("f", 1000);
    fs::create_dir(world.path("drop/f")).unwrap();
    assert_eq!(code(put(&world, &at, over(Overwrite::Always)).await), ErrorCode::ALREADY_EXISTS);
    fs::remove_dir(world.path("drop/f")).unwrap();
    fs::write(world.path("outside"), "mine").unwrap();
    symlink(world.path("outside"), world.path("drop/f")).unwrap();
    put(&world, &at, over(Overwrite::Always)).await.unwrap();
    assert_eq!(fs::read_to_string(world.path("outside")).unwrap(), "mine");
    assert!(fs::symlink_metadata(world.path("drop/f")).unwrap().is_file());
}

//= S5.18 (test)
//= S5.39 (test)
#[tokio::test]
async fn a_receipt_says_the_other_name_again_and_how_durable_it_is() {
    let mut world = World::new();
    let (at, data) = world.file("f", 1000);
    fs::write(world.path("drop/f"), "theirs").unwrap();
    let source = Outgoing::new(&at, None, here()).unwrap();
    let options = PutOptions { synced: Some(Synced::None), ..over(Overwrite::Rename) };
    let offer = Offer { options: Some(options), ..source.offer().clone() };
    let first = put_offer(&world, &offer, &data).await.unwrap();
    assert_eq!((first.name.as_deref(), first.synced), (Some(&b"f~1"[..]), Synced::None));
    world.restart();
    assert_eq!(put_offer(&world, &offer, &data).await.unwrap(), first);
    // A crash before the journal said so: the file itself does.
    let journal = world.path("drop/.hikyaku").join(format!("{}.journal", offer.transfer));
    let mut known = hikyaku_files::journal::Contents::parse(&fs::read(&journal).unwrap());
    (known.settled, known.outcome) = (None, None);
    fs::write(&journal, known.compact().1).unwrap();
    assert_eq!(put_offer(&world, &offer, &data).await.unwrap(), first);
    assert_eq!(world.dropped(), ["f", "f~1"]);
}

//= S5.18 (test)
#[tokio::test]
async fn the_receipt_of_a_tree_is_repeated_with_what_is_missing() {
    let mut world = World::new();
    fs::write(world.path("drop/b"), "mine").unwrap();
    let bundle = Bundle::default().enter(b"a").leave().file(b"b", b"theirs").file(b"c", b"new").done();
    let offer = tree_offer(1, PutOptions { synced: Some(Synced::Each), ..PutOptions::default() });
    let first = evil::put(&world.connect().await, &offer, &bundle).await.unwrap();
    let tree = first.tree.clone().unwrap();
    assert_eq!((tree.entries, tree.missing, tree.first[0].path.as_slice()), (3, 1, &b"b"[..]));
    assert_eq!(first.synced, Synced::Each);
    // Its sender has not said that it has it.
    assert_eq!(evil::put(&world.connect().await, &offer, &bundle).await.unwrap(), first);
    world.restart();
    assert_eq!(evil::put(&world.connect().await, &offer, &bundle).await.unwrap(), first);
}

#[tokio::test]
async fn a_file_is_fetched_over_a_taken_name_only_as_asked() {
    for (options, seconds, content, files, kept) in [
        (over(Overwrite::Newer), 3, "ours", vec!["f"], None),
        (over(Overwrite::Newer), 7, "theirs", vec!["f"], Some(Verdict::OLDER)),
        (over(Overwrite::Always), 7, "ours", vec!["f"], None),
        (over(Overwrite::Rename), 3, "theirs", vec!["f", "f~1"], None),
    ] {
        let world = World::new();
        fs::write(world.path("home/f"), "ours").unwrap();
        set_time(&world.path("home/f"), 5);
        world.send(&world.path("home/f"), room()).await.unwrap();
        fs::write(world.path("into/f"), "theirs").unwrap();
        set_time(&world.path("into/f"), seconds);
        let fetched = get(&world, 1, options).await.unwrap();
        assert_eq!(fetched.kept, kept, "{options:?}");
        assert_eq!(fs::read_to_string(world.path("into/f")).unwrap(), content, "{options:?}");
        assert_eq!(names(&world.path("into")), files, "{options:?}");
        let at = world.path("into").join(fetched.name.as_os_str());
        assert_eq!(fs::read_to_string(at).unwrap(), if kept.is_some() { "theirs" } else { "ours" });
    }
}

#[tokio::test]
async fn a_file_that_is_there_is_not_fetched_again_and_by_its_root_only_when_it_is_the_same() {
    let world = World::new();
    let (at, data) = world.file("f", 100_000);
    world.send(&at, room()).await.unwrap();
    assert_eq!(get(&world, 1, PutOptions::default()).await.unwrap().kept, None);
    assert_eq!(get(&world, 1, PutOptions::default()).await.unwrap().kept, Some(Verdict::SAME));
    // One bit: size and time say nothing of it, the root does.
    let arrived = world.path("into/f");
    let time = fs::metadata(&arrived).unwrap().modified().unwrap();
    let mut flipped = data.clone();
    flipped[77_777] ^= 1;
    fs::write(&arrived, &flipped).unwrap();
    fs::File::options().write(true).open(&arrived).unwrap().set_modified(time).unwrap();
    assert_eq!(get(&world, 1, PutOptions::default()).await.unwrap().kept, Some(Verdict::SAME));
    let checked = PutOptions { checksum: Some(true), ..PutOptions::default() };
    assert_eq!(code(get(&world, 1, checked).await), ErrorCode::ALREADY_EXISTS);
    let mended = PutOptions { overwrite: Some(Overwrite::Always), ..checked };
    assert_eq!(get(&world, 1, mended).await.unwrap().kept, None);
    assert_eq!(fs::read(&arrived).unwrap(), data);
    // And another time does not matter to it.
    set_time(&arrived, 1);
    assert_eq!(get(&world, 1, checked).await.unwrap().kept, Some(Verdict::SAME));
}

//= S5.62 (test)
#[tokio::test]
async fn what_differs_in_a_tree_by_its_root_alone_is_fetched() {
    let world = World::new();
    let at = orchard(&world);
    send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    get(&world, 1, PutOptions::default()).await.unwrap();
    let one = world.path("into/orchard/row 05/tree 7");
    let (mut data, time) = (fs::read(&one).unwrap(), fs::metadata(&one).unwrap().modified().unwrap());
    data[100] ^= 1;
    fs::write(&one, &data).unwrap();
    fs::File::options().write(true).open(&one).unwrap().set_modified(time).unwrap();
    let by_root = PutOptions { checksum: Some(true), ..over(Overwrite::Always) };
    let by_time = get(&world, 1, over(Overwrite::Always)).await.unwrap().report.unwrap();
    assert_eq!(by_time.kept.0, 20 * 31);
    let report = get(&world, 1, by_root).await.unwrap().report.unwrap();
    assert_eq!((report.kept.0, report.missing_count), (20 * 31 - 1, 0));
    assert_eq!(fs::read(&one).unwrap(), fs::read(at.join("row 05/tree 7")).unwrap());
}

#[tokio::test]
async fn only_what_is_asked_for_is_fetched_again() {
    let world = World::new();
    let at = orchard(&world);
    fs::hard_link(at.join("row 01/tree 1"), at.join("row 01/zz link")).unwrap();
    send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    get(&world, 1, PutOptions::default()).await.unwrap();
    for gone in ["row 02/tree 2", "row 03/tree 3", "row 01/tree 1"] {
        fs::remove_file(world.path("into/orchard").join(gone)).unwrap();
    }
    fs::remove_dir_all(world.path("into/orchard/row 19")).unwrap();
    fs::remove_dir_all(world.path("into/orchard/row 18")).unwrap();
    fs::write(world.path("into/orchard/row 04/tree 4"), "edited since").unwrap();
    let asked = [&b"orchard/row 02/tree 2"[..], b"orchard/row 19"].map(<[u8]>::to_vec);
    let only = Some(Only::of(asked).into());
    let destination = Destination { only, ..Destination::new(world.path("into")) };
    let client = FilesClient::new(world.connect().await);
    let fetched = client.get_file(&event(1), &destination, &Progress::none()).await.unwrap();
    let report = fetched.report.unwrap();
    assert_eq!(report.missing, []);
    let there = |path: &str| world.path("into/orchard").join(path).exists();
    assert!(there("row 02/tree 2") && there("row 19/tree 7"));
    assert!(!there("row 03/tree 3") && !there("row 18") && !there("row 01/tree 1"));
    assert_eq!(fs::read_to_string(world.path("into/orchard/row 04/tree 4")).unwrap(), "edited since");
}

/// Pairs of which every second is the same as the first for somebody.
const TWINS: [(&str, &str); 8] = [
    ("README", "readme"),
    ("e\u{301}", "\u{e9}"),
    ("STRASSE", "stra\u{df}e"),
    ("K", "\u{212a}"),
    ("FI", "\u{fb01}"),
    ("\u{39f}\u{3a3}", "\u{3bf}\u{3c2}"),
    ("\u{1e9b}\u{323}", "\u{17f}\u{323}\u{307}"),
    (".GIT", ".git"),
];

fn policy(distinct: Distinct) -> PutOptions {
    distinct.over(PutOptions::default())
}

//= S5.52 (test)
#[tokio::test]
async fn twins_of_every_kind_are_refused_or_renamed_by_policy_on_both_sides() {
    for distinct in [Distinct::Refused, Distinct::Renamed] {
        for (first, second) in TWINS {
            let world = World::new();
            let at = world.path("home/t");
            fs::create_dir_all(at.join(second).join("deep")).unwrap();
            fs::write(at.join(second).join("deep/inner"), second).unwrap();
            fs::hard_link(at.join(second).join("deep/inner"), at.join(second).join("link")).unwrap();
            fs::write(at.join(first), first).unwrap();
            let (early, late) = if first < second { (first, second) } else { (second, first) };
            // At the server.
            let tree = outgoing(std::slice::from_ref(&at), here(), policy(distinct));
            let receipt = send(&world, &tree).await.unwrap().tree.unwrap();
            // At the client.
            send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
            let report = get(&world, 1, policy(distinct)).await.unwrap().report.unwrap();
            assert_eq!(report.missing_count, receipt.missing, "{early} {late}");
            for place in ["drop/t", "into/t"] {
                let mut expected = vec![early.to_owned()];
                expected.extend((distinct == Distinct::Renamed).then(|| format!("{late}~1")));
                expected.sort();
                assert_eq!(names(&world.path(place)), expected, "{place}");
                if distinct == Distinct::Renamed && late == second {
                    let other = world.path(place).join(format!("{late}~1"));
                    assert_eq!(fs::read_to_string(other.join("deep/inner")).unwrap(), second);
                    assert_eq!(
                        fs::metadata(other.join("link")).unwrap().nlink(),
                        2,
                        "a hard link into it is one"
                    );
                }
            }
            // What was not made, or made otherwise, is told, each entry of it.
            let inside = if late == second { 4 } else { 1 };
            assert_eq!(receipt.missing, if distinct == Distinct::Refused { inside } else { 1 });
            // Once more: nothing changes, and nothing of it is sent.
            let again = outgoing(std::slice::from_ref(&at), here(), policy(distinct));
            let again = send(&world, &again).await.unwrap().tree.unwrap();
            assert_eq!((again.missing, again.kept), (receipt.missing, Some(2)), "{early} {late}");
        }
    }
}

//= S5.53 (test)
#[tokio::test]
async fn a_server_that_wants_distinct_names_compares_with_what_is_there() {
    for distinct in [Distinct::Refused, Distinct::Renamed] {
        let options = DropOptions { keep_free: 0, distinct: Some(distinct), ..DropOptions::default() };
        let world = World::with(FilesLimits::default(), options);
        fs::create_dir_all(world.path("drop/Photos")).unwrap();
        fs::write(world.path("drop/Photos/A"), "theirs").unwrap();
        fs::write(world.path("drop/notes.txt"), "theirs").unwrap();
        for (name, text) in
            [("photos/a", "ours"), ("photos/b", "ours"), ("Photos/a", "ours"), ("Photos/c", "ours")]
        {
            fs::create_dir_all(world.path("home").join(name).parent().unwrap()).unwrap();
            fs::write(world.path("home").join(name), text).unwrap();
        }
        fs::write(world.path("home/NOTES.TXT"), "ours").unwrap();
        let plain = world.send(&world.path("home/NOTES.TXT"), here()).await;
        let mut trees = Vec::new();
        for top in ["photos", "Photos"] {
            let tree = outgoing(&[world.path("home").join(top)], here(), PutOptions::default());
            trees.push(send(&world, &tree).await.unwrap().tree.unwrap().missing);
        }
        let inside = names(&world.path("drop/Photos"));
        if distinct == Distinct::Refused {
            assert_eq!(code(plain), ErrorCode::ALREADY_EXISTS);
            assert_eq!(world.dropped(), ["Photos", "notes.txt"]);
            assert_eq!((trees, inside), (vec![3, 1], vec!["A".to_owned(), "c".to_owned()]));
        } else {
            assert_eq!(plain.unwrap().name.as_deref(), Some(&b"NOTES.TXT~1"[..]));
            assert_eq!(world.dropped(), ["NOTES.TXT~1", "Photos", "notes.txt", "photos~1"]);
            assert_eq!((trees, inside), (vec![1, 1], ["A", "a~1", "c"].map(str::to_owned).to_vec()));
        }
        assert_eq!(fs::read_to_string(world.path("drop/Photos/A")).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(world.path("drop/notes.txt")).unwrap(), "theirs");
    }
}

/// As many twins as a hostile sender likes: each costs little, and what finds no name is refused.
#[tokio::test]
async fn thousands_of_twins_end_and_none_takes_the_place_of_another() {
    let world = World::in_memory();
    let at = world.path("home/t");
    fs::create_dir(&at).unwrap();
    // Every way to write eleven letters.
    for case in 0..2_048_u32 {
        let name: String = (0..11).map(|bit| if case & (1 << bit) == 0 { 'a' } else { 'A' }).collect();
        fs::write(at.join(&name), &name).unwrap();
    }
    let tree = outgoing(std::slice::from_ref(&at), here(), policy(Distinct::Renamed));
    let receipt = send(&world, &tree).await.unwrap().tree.unwrap();
    let there = names(&world.path("drop/t"));
    assert_eq!(receipt.missing, 2_047);
    assert!(there.len() > 100 && there.len() <= 2_048, "{}", there.len());
    for name in &there {
        let text = fs::read_to_string(world.path("drop/t").join(name)).unwrap();
        assert_eq!(name.split('~').next(), Some(text.as_str()));
    }
    let mut folded: Vec<String> = there.iter().map(|name| name.to_lowercase()).collect();
    folded.sort();
    folded.dedup();
    assert_eq!(folded.len(), there.len(), "no two are the same");
}
