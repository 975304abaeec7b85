//! Samples of chapter 5: `files/1` and the events of a parcel.

use hikyaku_wire::bundle::{
    Attribute, Done, Enter, FileEnd, FileHead, HardLink, Leave, LeftOut, Reason, Symlink,
};
use hikyaku_wire::chat::{DeviceId, UserId};
use hikyaku_wire::files::mending::{Lacking, MendRequest, Mended, Span};
use hikyaku_wire::files::quotas::{AskQuotas, Quota};
use hikyaku_wire::files::{
    Accept, Answer, Arrival, AttributesDigest, Block, Close, Component, Composed, GROUP_LEN, Head, List,
    Listed, MissingEntry, Offer, Older, OlderFile, Overwrite, Packed, Part, Paused, Pieces, PutOptions,
    Receipt, Request, Step, Synced, Target, TreeReceipt, Verdict, Wanted, Wants,
};
use hikyaku_wire::parcel::{
    Addressee, EndStatus, EntryKind, EventRef, Metadata, Parcel, ParcelEnd, Root, TransferId,
};

use super::{Sample, counting, sample};

pub(super) fn samples() -> Vec<Sample> {
    let mut out = events();
    out.extend(put());
    out.extend(get());
    out.extend(bundle());
    out.extend(quotas());
    out.extend(mending());
    out.extend(super::receipts::samples());
    out
}

pub(super) fn transfer() -> TransferId {
    TransferId(counting(0x50))
}

pub(super) fn root() -> Root {
    Root(counting(0xc0))
}

pub(super) fn event() -> EventRef {
    EventRef { room: "lab".into(), epoch: None, seq: 97 }
}

fn metadata() -> Metadata {
    Metadata { mode: Some(0o644), mtime: Some(1_795_305_600), mtime_ns: Some(999_999_999) }
}

fn events() -> Vec<Sample> {
    let parcel = Parcel {
        transfer: transfer(),
        name: b"big.iso".to_vec(),
        kind: EntryKind::File,
        bytes: None,
        entries: None,
        meta: None,
        device: None,
    };
    let tree = Parcel {
        name: b"\xff not text".to_vec(),
        kind: EntryKind::Tree,
        bytes: Some(1 << 40),
        entries: Some(3),
        meta: Some(metadata()),
        ..parcel.clone()
    };
    let settled = ParcelEnd {
        parcel: 97,
        status: EndStatus::Settled,
        root: Some(root()),
        bytes: Some(1 << 40),
        entries: Some(3),
    };
    let over = |status| ParcelEnd { parcel: 97, status, root: None, bytes: None, entries: None };
    let before_1970 = Metadata { mode: None, mtime: Some(-1), mtime_ns: None };
    vec![
        sample("parcel", "a file of unknown size", &parcel),
        sample("parcel", "a tree whose name is not text", &tree),
        sample(
            "parcel",
            "for one device",
            &Parcel {
                device: Some(Addressee { id: DeviceId(counting(0x40)), name: "laptop".into() }),
                ..parcel.clone()
            },
        ),
        sample("parcel-end", "settled", &settled),
        sample("parcel-end", "aborted", &over(EndStatus::Aborted)),
        sample("parcel-end", "expired", &over(EndStatus::Expired)),
        sample("metadata", "none", &Metadata::default()),
        sample("metadata", "of a time before 1970", &before_1970),
        sample("event-ref", "in the current epoch", &event()),
        sample("event-ref", "in an epoch", &EventRef { epoch: Some(2), ..event() }),
    ]
}

fn put() -> Vec<Sample> {
    let mut out = offers();
    out.extend(acceptances());
    out.extend(pauses());
    out.extend(receipts());
    out.extend(steps());
    out.extend(listing());
    out.extend(versions());
    out
}

fn offers() -> Vec<Sample> {
    let offer = Offer {
        transfer: transfer(),
        target: Target::Room("lab".into()),
        name: b"big.iso".to_vec(),
        kind: EntryKind::File,
        size: None,
        meta: None,
        options: None,
        tops: None,
    };
    let dropped = Offer {
        target: Target::Drop(vec![Component(b"sub".to_vec()), Component(b"dir".to_vec())]),
        size: Some(1 << 40),
        meta: Some(metadata()),
        options: Some(PutOptions::default()),
        ..offer.clone()
    };
    let tree = Offer {
        kind: EntryKind::Tree,
        options: Some(PutOptions {
            overwrite: Some(Overwrite::Newer),
            synced: Some(Synced::Batch),
            all_links: Some(false),
            distinct: Some(true),
            checksum: Some(true),
            dry_run: Some(false),
            aside: Some(true),
            parts: None,
        }),
        tops: Some(2),
        ..offer.clone()
    };
    let renewed =
        Offer { options: Some(PutOptions { parts: Some(true), ..PutOptions::default() }), ..offer.clone() };
    vec![
        sample("offer", "to a room", &offer),
        sample(
            "offer",
            "to one device of a person",
            &Offer { target: Target::Device("@ben".into(), "laptop".into()), ..offer.clone() },
        ),
        sample("offer", "to the drop directory", &dropped),
        sample("offer", "of a tree", &tree),
        sample("offer", "of what there may be an older version of", &renewed),
    ]
}

fn acceptances() -> Vec<Sample> {
    let accept = Accept {
        transfer: transfer(),
        from: 0,
        prefix: None,
        max_block: None,
        list: None,
        roots: None,
        known: Vec::new(),
        older: None,
        packed: None,
    };
    let to_list = Accept { list: Some(true), ..accept.clone() };
    let with_roots = Accept { roots: Some(true), ..to_list.clone() };
    let known = Accept { known: vec![root()], ..accept.clone() };
    let older = Older { size: 1 << 31, average: 4_096, key: counting::<32>(0x40) };
    let older = Accept { older: Some(older), ..accept.clone() };
    let to_pack = Accept { packed: Some(true), ..accept.clone() };
    let resumed = Accept {
        from: 1024 * GROUP_LEN,
        prefix: Some(root()),
        max_block: Some(4 * GROUP_LEN),
        ..accept.clone()
    };
    vec![
        sample("answer", "begin", &Answer::Accept(accept)),
        sample("answer", "begin, or say that it is known", &Answer::Accept(known)),
        sample("answer", "begin, and compare with an older version", &Answer::Accept(older)),
        sample("answer", "begin, and pack what pays", &Answer::Accept(to_pack)),
        sample("answer", "go on", &Answer::Accept(resumed)),
        sample("answer", "begin, and list a tree", &Answer::Accept(to_list)),
        sample("answer", "begin, and list a tree with its roots", &Answer::Accept(with_roots)),
    ]
}

fn pauses() -> Vec<Sample> {
    let paused =
        Paused { transfer: transfer(), needed: Some(524_288), free: Some(4_096), left_ms: Some(600_000) };
    let goes_on = Paused { needed: None, free: None, left_ms: None, ..paused };
    vec![
        sample("answer", "wait: the disk is full", &Answer::Paused(paused)),
        sample("answer", "there is room again", &Answer::Paused(goes_on)),
    ]
}

fn receipts() -> Vec<Sample> {
    let receipt = Receipt {
        transfer: transfer(),
        root: root(),
        size: 1 << 40,
        synced: Synced::Each,
        name: None,
        event: Some(event()),
        tree: None,
    };
    let missing = MissingEntry { path: b"a/\xff".to_vec(), why: "it is a device, a pipe or a socket".into() };
    let of_tree = Receipt {
        synced: Synced::Batch,
        event: None,
        tree: Some(TreeReceipt {
            entries: 10_000,
            bytes: 1 << 30,
            missing: 1,
            first: vec![missing],
            kept: None,
            kept_bytes: None,
        }),
        ..receipt.clone()
    };
    let all_there = TreeReceipt {
        entries: 10_000,
        bytes: 1 << 30,
        missing: 0,
        first: vec![],
        kept: Some(9_000),
        kept_bytes: Some(1 << 30),
    };
    let of_kept = Receipt { tree: Some(all_there), ..of_tree.clone() };
    let in_drop =
        Receipt { synced: Synced::None, name: Some(b"big.iso".to_vec()), event: None, ..receipt.clone() };
    vec![
        sample("answer", "done, in a room", &Answer::Receipt(receipt)),
        sample("answer", "done, in the drop directory", &Answer::Receipt(in_drop)),
        sample("answer", "done, a tree with something missing", &Answer::Receipt(of_tree)),
        sample("answer", "done, a tree that was there", &Answer::Receipt(of_kept)),
    ]
}

fn listing() -> Vec<Sample> {
    let file = |name: &[u8], root, attributes| Listed::File {
        name: name.to_vec(),
        size: 1 << 40,
        mtime: 1_795_305_600,
        mtime_ns: 999_999_999,
        mode: 0o644,
        links: false,
        root,
        attributes,
    };
    let entries = vec![
        Listed::Enter(b"photos".to_vec()),
        Listed::Other(b"a link".to_vec()),
        file(b"\xff", None, None),
        file(b"\xff\xff", None, Some(AttributesDigest(counting(0)))),
        Listed::Leave,
        file(b"z", Some(root()), None),
        file(b"zz", Some(root()), Some(AttributesDigest(counting(0x10)))),
    ];
    let list = List { first: 7, entries, last: None };
    let verdicts = [Verdict::NEW, Verdict::SAME, Verdict::REST].map(|verdict| verdict.0).to_vec();
    let older = Older { size: 1 << 21, average: 4_096, key: counting::<32>(0x40) };
    let wants =
        Wants { first: 7, verdicts, from: Some(3 * GROUP_LEN), older: vec![OlderFile { file: 9, older }] };
    vec![
        sample("step", "what comes next in a tree", &Step::List(list)),
        sample(
            "step",
            "the end of a listing",
            &Step::List(List { first: 9, entries: vec![], last: Some(true) }),
        ),
        sample("answer", "what is wanted", &Answer::Wants(wants)),
    ]
}

fn versions() -> Vec<Sample> {
    let pieces = [&[0, 0x10, 1][..], &counting::<7>(0), &[0, 8, 0], &counting::<7>(0x20)].concat();
    let block = Block { entry: None, offset: 2 * GROUP_LEN, len: GROUP_LEN, cvs: counting::<32>(0).to_vec() };
    let part = |at, len, from| Part { at: 2 * GROUP_LEN + at, len, from };
    let all = Composed { block: block.clone(), parts: vec![part(0, GROUP_LEN, 1 << 30)] };
    let packed = Packed { block: block.clone(), parts: Vec::new(), len: 1_234 };
    let both = Packed { parts: vec![part(0, 2_048, 0)], ..packed.clone() };
    let some = Composed { block, parts: vec![part(7, 20_000, 0), part(30_000, 35_536, 1 << 30)] };
    let last = Pieces { first: 4_098, pieces: Vec::new(), last: Some(true) };
    vec![
        sample(
            "answer",
            "pieces of an older version",
            &Answer::Pieces(Pieces { first: 4_096, pieces, last: None }),
        ),
        sample("answer", "the end of them", &Answer::Pieces(last)),
        sample("step", "a block that is in the older version", &Step::Composed(all)),
        sample("step", "a block of which parts are there", &Step::Composed(some)),
        sample("step", "a block that comes packed", &Step::Packed(packed)),
        sample("step", "a block of which parts are there and the rest comes packed", &Step::Packed(both)),
    ]
}

fn steps() -> Vec<Sample> {
    let block =
        Block { entry: None, offset: 2 * GROUP_LEN, len: GROUP_LEN + 1, cvs: counting::<64>(0).to_vec() };
    let in_tree = Block { entry: Some(1), ..block.clone() };
    let close = Close { entry: None, size: 3 * GROUP_LEN + 1, root: root() };
    vec![
        sample("step", "a block of a file", &Step::Block(block)),
        sample("step", "a block of a tree", &Step::Block(in_tree)),
        sample("step", "the end of a file", &Step::Close(close.clone())),
        sample("step", "the end of an entry", &Step::Close(Close { entry: Some(1), ..close })),
    ]
}

fn get() -> Vec<Sample> {
    let unknown = Head {
        transfer: transfer(),
        name: b"big.iso".to_vec(),
        kind: EntryKind::File,
        size: None,
        root: None,
        meta: None,
        arrival: Some(Arrival { bytes: 3 << 30, sending: true }),
        before: None,
    };
    let whole = Head { arrival: None, ..unknown.clone() };
    let known = Head { size: Some(1 << 40), root: Some(root()), meta: Some(metadata()), ..whole };
    let part = Head { before: Some(counting::<32>(0x10).to_vec()), ..known.clone() };
    vec![
        sample("file-request", "by its event", &Request::new(Wanted::Event(event()))),
        sample("file-request", "by its transfer", &Request::new(Wanted::Transfer(transfer()))),
        sample("file-request", "also while it is sent", &Request::live(Wanted::Event(event()))),
        sample(
            "file-request",
            "from a byte on",
            &Request { from: Some(GROUP_LEN), ..Request::live(Wanted::Event(event())) },
        ),
        sample(
            "file-request",
            "what is in it so far",
            &Request { list: Some(true), ..Request::live(Wanted::Event(event())) },
        ),
        sample("file-head", "of a file still on its way", &unknown),
        sample("file-head", "of a whole file", &known),
        sample("file-head", "of the second half of a file", &part),
        sample("step", "how far it is", &Step::Arrival(Arrival { bytes: 1 << 30, sending: false })),
        sample("arrival", "while nobody sends", &Arrival { bytes: 0, sending: false }),
    ]
}

/// The payloads of a bundle's records.
fn bundle() -> Vec<Sample> {
    let attribute = Attribute { name: b"user.comment".to_vec(), value: b"\x00\xff".to_vec() };
    let file = FileHead { name: b"empty".to_vec(), size: 0, meta: None, attributes: None, from: None };
    let full = FileHead {
        name: b"\xff\n".to_vec(),
        size: 1 << 40,
        meta: Some(metadata()),
        attributes: Some(vec![attribute.clone()]),
        from: Some(GROUP_LEN),
    };
    let to = vec![Component(b"a".to_vec()), Component(b"b".to_vec())];
    vec![
        sample("bundle-enter", "a directory", &Enter { name: b"src".to_vec() }),
        sample("bundle-leave", "without metadata", &Leave::default()),
        sample(
            "bundle-leave",
            "with metadata",
            &Leave { meta: Some(metadata()), attributes: Some(vec![attribute]) },
        ),
        sample("bundle-file", "an empty file", &file),
        sample("bundle-file", "with everything", &full),
        sample("bundle-end", "whole", &FileEnd::default()),
        sample("bundle-end", "changed while it was read", &FileEnd { failed: Some(Reason::CHANGED) }),
        sample(
            "bundle-symlink",
            "a link",
            &Symlink { name: b"l".to_vec(), target: b"../x".to_vec(), meta: Some(metadata()) },
        ),
        sample("bundle-hard-link", "a second name", &HardLink { name: b"c".to_vec(), to }),
        sample("bundle-left-out", "a pipe", &LeftOut { name: b"p".to_vec(), reason: Reason::SPECIAL }),
        sample(
            "bundle-done",
            "the counts of a tree of which something was there",
            &Done { entries: 1, bytes: 2, left_out: 0, kept: Some(3), chain: Some(root()) },
        ),
        sample(
            "bundle-done",
            "the counts",
            &Done { entries: 3, bytes: 1 << 40, left_out: 1, ..Done::default() },
        ),
    ]
}

fn quotas() -> Vec<Sample> {
    let quota = |scope, name: Option<&str>| Quota {
        scope,
        name: name.map(str::to_owned),
        user: None,
        used: 1 << 30,
        held: 0,
        limit: None,
        own: None,
    };
    let ana = Quota {
        user: Some(UserId(counting(0x70))),
        held: 4096,
        limit: Some(10 << 30),
        own: Some(true),
        ..quota(Quota::USER_IN_ROOMS, Some("ana"))
    };
    vec![
        sample("ask-quotas", "the caller's own", &AskQuotas::default()),
        sample("ask-quotas", "of a room", &AskQuotas { room: Some("lab".into()), ..AskQuotas::default() }),
        sample("ask-quotas", "of a user", &AskQuotas { user: Some("ana".into()), ..AskQuotas::default() }),
        sample("ask-quotas", "of all", &AskQuotas { all: Some(true), ..AskQuotas::default() }),
        sample("quota", "of a room without one", &quota(Quota::ROOM, Some("lab"))),
        sample("quota", "of a user, and for that user alone", &ana),
        sample("quota", "of the store", &quota(Quota::STORE, None)),
    ]
}

fn mending() -> Vec<Sample> {
    let whole = Lacking { root: root(), size: 200_000, kind: EntryKind::File, spans: Vec::new(), more: None };
    let last = Span { offset: 3 * GROUP_LEN, len: 200_000 - 3 * GROUP_LEN };
    let decayed = Lacking {
        kind: EntryKind::Tree,
        spans: vec![Span { offset: 0, len: GROUP_LEN }, last],
        more: Some(true),
        ..whole.clone()
    };
    vec![
        sample("mend-request", "by its event", &MendRequest { wanted: Wanted::Event(event()) }),
        sample("lacking", "nothing", &whole),
        sample("lacking", "two groups, and more", &decayed),
        sample("mended", "two groups", &Mended { bytes: 68_928, values: None }),
        sample("mended", "the chaining values", &Mended { bytes: 0, values: Some(true) }),
    ]
}
