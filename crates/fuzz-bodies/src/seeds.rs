//! What a target begins with: its corpus in the repository, the vectors of the specification, and a few inputs that are
//! made here because the code that makes them is the best description of them.

use std::path::{Path, PathBuf};

use hikyaku_files::bundle::Writer;
use hikyaku_files::journal::{Contents, Record};
use hikyaku_files::prints::Prints;
use hikyaku_files::receipts::printed::{MAX_LINE, Printed};
use hikyaku_files::receipts::verify;
use hikyaku_files::tree::{GROUP, GROUP_LEN, Tree, group};
use hikyaku_wire::bundle::{Done, Enter, FileEnd, FileHead, Leave, Symlink};
use hikyaku_wire::cbor;
use hikyaku_wire::parcel::Root;
use serde_json::Value;

/// The project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every input that a target begins with.
///
/// # Panics
/// If the corpus or the vectors cannot be read.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = corpus(target);
    seeds.extend(made(target));
    seeds
}

/// The inputs kept for one target.
///
/// # Panics
/// If they cannot be read.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = root().join("fuzz/corpus").join(target);
    read_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
}

fn read_all(directory: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let entries: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    let mut files: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    files.sort();
    files.iter().map(std::fs::read).collect()
}

/// The inputs that are not kept: those of the vectors, and those made here.
fn made(target: &str) -> Vec<Vec<u8>> {
    let family = |name| vectors(name, "hex");
    let behind = |head: &'static [u8], streams: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        streams.into_iter().map(|stream| [head, &stream[..]].concat()).collect()
    };
    let streams = || [vectors("frames", "hex"), vectors("errors", "frame")].concat();
    match target {
        "varint" => family("varint"),
        "cbor_check" => [family("cbor"), family("chat")].concat(),
        "frame_decoder" => behind(&[2], streams()),
        "session_inbound" => [behind(&[0, 2], streams()), behind(&[1, 2], streams())].concat(),
        // Without the stream's type, which comes before the frames.
        "session_control" => behind(
            &[2],
            streams().into_iter().map(|stream| stream.get(1..).unwrap_or_default().to_vec()).collect(),
        ),
        "session_messages" => [family("session"), family("datagrams")].concat(),
        "account_messages" => family("accounts"),
        "chat_messages" | "chat_event" => family("chat"),
        "chat_follower" => behind(&[0xff], family("chat")),
        "chat_presence" => behind(&[0xff], family("chat")),
        "file_messages" => family("files"),
        "journal" => vec![journal()],
        "listing" => listings(),
        "listing_answers" => answers(),
        "passage" => passages(),
        "prints" => prints(),
        "quota" => quotas(),
        "receipts_file" => receipts(),
        "tree" => trees(),
        "versions" => versions(),
        "bundle" => vec![[&[6, 0], &bundle()[..]].concat()],
        _ => Vec::new(),
    }
}

/// Every hexadecimal string called `field` in a file of vectors.
fn vectors(file: &str, field: &str) -> Vec<Vec<u8>> {
    let path = root().join("spec/vectors").join(file).with_extension("json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let vectors = table["vectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found: Vec<_> = vectors.iter().filter_map(|vector| vector[field].as_str()).map(unhex).collect();
    assert!(!found.is_empty(), "{} has no vectors with '{field}'", path.display());
    found
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap_or("?"), 16);
    digits.map(|digits| byte(digits).unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

/// A journal with a record of each kind.
fn journal() -> Vec<u8> {
    let mut contents = Contents::default();
    let mut journal = contents.append(Record::Begin(b"what is transferred".to_vec()));
    let (root, size) = (Root([7; 32]), 3);
    for record in [Record::Sealing { root, size, inode: 1 }, Record::Settled { root, size }] {
        journal.extend(contents.append(record));
    }
    journal
}

/// A directory with a file, a link and something that is not carried.
fn bundle() -> Vec<u8> {
    let mut writer = Writer::default();
    let name = |name: &str| name.as_bytes().to_vec();
    writer.enter(&Enter { name: name("photos") });
    writer.file(&FileHead { name: name("a"), size: 3, meta: None, attributes: None, from: None });
    let written = writer.bytes(3, |bytes| {
        bytes.copy_from_slice(b"abc");
        Ok::<_, std::convert::Infallible>(true)
    });
    assert_eq!(written, Ok(true));
    writer.end(&FileEnd::default());
    writer.symlink(&Symlink { name: name("b"), target: name("a"), meta: None });
    writer.leave(&Leave::default());
    writer.done(&Done { entries: 3, bytes: 3, ..Done::default() });
    writer.written().to_vec()
}

/// A directory with files in it and one beside it, listed and sent in each of the ways that there are.
fn listings() -> Vec<Vec<u8>> {
    let tree = [&[0, 1, b't', 2, 2, b'A', b'1', 9, 2, 1, b'a', 3, 3, 1, b'l', 1, 2, 1, b'z', 5, 4][..], &[4]]
        .concat();
    let ways = (0..8_u8).flat_map(|options| (0..8_u8).map(move |lie| [options, lie]));
    ways.map(|way| [&way[..], &tree].concat()).collect()
}

/// Versions that differ in places, told and sent in each of the ways that there are; pieces and parts alone.
fn versions() -> Vec<Vec<u8>> {
    let sent = (0..4_u8).map(|lie| {
        [
            &[2, 0xf0, 0, 2, 0, 0, 0x40, 0, 3, 1, 2, 3, 0x40, 0, 0x70, 0, 0][..],
            &[0x10, 0, 0x20, 0, 0],
            &[lie, 1, 7],
        ]
        .concat()
    });
    let pieces = [0, 1, 1, 0xff, 0xff, 1, 2, 1, 0x10, 0, 7, 1, 0x20, 0, 9, 1, 1].to_vec();
    let parts =
        [1, 1, 0x40, 0, 1, 0, 0, 1, 0x40, 0, 2, 1, 9, 1, 1, 0, 1, 0, 5, 1, 3, 1, 0, 9, 1, 0, 0].to_vec();
    // A literal, and a run of it that is longer than what is announced.
    let packed = [3, 0, 4, 0x1f, b'a', 1, 0, 0xff, 9, 0x50, b'b', b'b', b'b', b'b', b'b'].to_vec();
    sent.chain([pieces, parts, packed]).collect()
}

/// A directory with files in it and one beside it, answered in each of the ways that there are.
fn answers() -> Vec<Vec<u8>> {
    let tree = [7, 3, 1, 0, 4, 5, 2, 4, 9, 2, 2, 1, 5, 0, 3];
    let ways = [
        &[0, 0, 0, 0, 0, 0][..],
        &[0, 128, 129, 130, 131, 132],
        &[2, 0, 128, 1, 129, 0, 1, 2],
        &[0x60, 3, 128, 3, 128, 3],
        &[0xb0, 3, 0, 0, 0, 0],
        &[0xc0, 3, 0, 0, 0, 0],
        &[0x0f, 0, 0, 0, 0, 0, 0],
        &[0xff, 0, 0],
        &[1, 0],
    ];
    ways.iter().map(|way| [&tree[..], way].concat()).collect()
}

/// Written, read and begun earlier; settled, or given up; begun earlier twice, and less early the second time.
fn passages() -> Vec<Vec<u8>> {
    let far = [0, 1, 0, 0, 1, 0x40, 0, 5, 0, 5, 0, 5, 1];
    let ends = [
        &[2, 0, 1, 4, 0, 1, 0x10, 0, 5, 1, 0, 5, 0, 4, 0, 5, 0, 5, 1][..],
        &[4, 2, 5, 0, 5, 1, 5, 1, 5, 2, 5, 2],
        &[4, 1, 0, 1, 5, 0, 5, 2, 5, 2],
        &[3, 0, 9, 5, 0],
        &[0, 1, 0, 0, 1, 0x40, 0, 0, 1, 0x20, 0, 5, 0, 5, 1, 4, 2, 5, 0, 5, 1],
    ];
    ends.iter().map(|end| [&far[..], end].concat()).collect()
}

/// Prints as they are kept, of files and of what is mostly holes; pieces, and runs.
fn prints() -> Vec<Vec<u8>> {
    let kept = [0, 1, 64, 65, 129, 130, 1 << 37].map(|groups| {
        let mut prints = Prints::default();
        prints.zeros(groups * GROUP_LEN);
        [&[3], &prints.finish(groups * GROUP_LEN, (1, 2)).encode()[..]].concat()
    });
    // One part of two groups, where there would be two parts.
    let coarse = [&[3, 1, 1, 0, 0, 0, 0, 0, 2, 0, 0][..], &[0; 12], &[7; 32]].concat();
    let pieces = [0, 3, 7, 0, 7, 0x12, 0x34, 0x40, 1, 0x90, 3].to_vec();
    let time = [0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
    let runs = [&[1][..], &time, &[1, 0, 16, 0, 70, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0]].concat();
    let unseen = [&[1][..], &time, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 70, 0, 9]].concat();
    kept.into_iter().chain([coarse, pieces, runs, unseen]).collect()
}

/// Transfers of two accounts that hold, grow, settle and are counted again.
fn quotas() -> Vec<Vec<u8>> {
    let hold = |act, transfer| [act, transfer, 0x34, 1, 1, 0, 1, 2, 0, 1, 0, 100];
    let rest = [3, 0, 1, 0, 50, 4, 0, 1, 0, 70, 3, 1, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 6, 0, 1, 1, 0, 9];
    let again = [7, 0, 2, 0, 1, 0, 5, 1, 1, 0, 6, 5, 1];
    vec![[&hold(0, 0)[..], &hold(1, 1), &hold(2, 2), &rest, &again].concat()]
}

/// Files of a receipt that is true, and of one that is not, with what else may stand there.
fn receipts() -> Vec<Vec<u8>> {
    let signed = vectors("files", "hex")
        .into_iter()
        .filter_map(|bytes| cbor::decode(&bytes, &cbor::Limits::default()).ok());
    let lines = signed.filter_map(|receipt| {
        let said = verify(&receipt).ok()?;
        let mut printed = serde_json::to_vec(&Printed::new(1, "receipt", &receipt, Ok(&said))).ok()?;
        printed.push(b'\n');
        Some(printed)
    });
    let lines: Vec<_> = lines.collect();
    assert!(!lines.is_empty(), "the vectors have a receipt that can be checked");
    let long = [&[9][..], &vec![b' '; MAX_LINE + 1]].concat();
    lines
        .iter()
        .flat_map(|line| [[&[9][..], line].concat(), [&[255, b'\n'][..], line, line, b"{}"].concat()])
        .chain([long])
        .collect()
}

/// The trees of the first groups of a file.
fn trees() -> Vec<Vec<u8>> {
    let mut tree = Tree::new();
    (0..5)
        .map(|number| {
            tree.push(&group(number * GROUP as u64, &vec![1; GROUP]));
            tree.encode()
        })
        .collect()
}
