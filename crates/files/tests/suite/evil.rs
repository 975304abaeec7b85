//! Names and trees that mean harm, and both ends that receive them.

use hikyaku::{Connection, ErrorCode, Exchange, Router};
use hikyaku_files::bundle::Writer;
use hikyaku_files::{Destination, FilesClient, FilesError, Progress};
use hikyaku_wire::bundle::{Done, Enter, FileEnd, FileHead, HardLink, Leave, LeftOut, Reason, Symlink};
use hikyaku_wire::files::{Answer, Component, GET, Head, Offer, PROTOCOL, PUT, PutOptions, Receipt, Request};
use hikyaku_wire::parcel::{EntryKind, Root, TransferId};

use crate::hostile::{block, close_of};
use crate::world::*;

/// Names that are no name of anything inside a directory, wherever in a tree they stand: at least 300.
pub(crate) fn names_that_lead_elsewhere() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        ["", ".", "..", "/", "//", "./", "../", "./.", "../..", "..\0", ".\0", "\0", "/\0"]
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
    let tails = [
        "",
        "x",
        "etc/passwd",
        "etc/cron.d/x",
        "root/.ssh/authorized_keys",
        ".bashrc",
        "proc/self/exe",
        "dev/sda",
        "x\n",
        "x\u{202e}",
    ];
    // Up, as it has been written in the advisories of thirty years.
    for up in [
        "../", "..//", "./../", "x/../../", ".././", "..\\../", "....//", "/../", "//..//", "%2e%2e/",
        "..%00/",
    ] {
        for depth in [1, 2, 8, 20] {
            for tail in &tails[..4] {
                names.push(format!("{}{tail}", up.repeat(depth)).into_bytes());
            }
        }
    }
    // Absolute, or relative to something that is always there.
    for root in [
        "/",
        "//",
        "///",
        "/./",
        "/proc/self/root/",
        "/proc/self/cwd/",
        "/proc/1/root/",
        "/dev/fd/",
        "~/",
        "C:/",
        "file:///",
        "\\\\?/",
        "//server/share/",
    ] {
        names.extend(tails.iter().map(|tail| format!("{root}{tail}").into_bytes()));
    }
    // A NUL where a C string would end.
    for (name, hidden) in [("safe.txt", "../x"), ("..", "safe"), ("x", ""), ("", "x"), ("a.png", ".sh")] {
        names.push([name.as_bytes(), b"\0", hidden.as_bytes()].concat());
        names.push([name.as_bytes(), b"\0\0", hidden.as_bytes()].concat());
    }
    // Slashes between bytes that are no text.
    for byte in [0x80, 0xc0, 0xc1, 0xe0, 0xed, 0xf4, 0xf5, 0xfe, 0xff] {
        names.push(vec![byte, b'/', byte]);
        names.push(vec![b'.', b'.', b'/', byte]);
    }
    // Too long for a name.
    for len in [256, 257, 1_000, 4_096, 65_000] {
        names.push(vec![b'x'; len]);
        names.push([&vec![b'.'; len][..]].concat());
        names.push("\u{e9}".repeat(len / 2 + 1).into_bytes());
    }
    names.sort();
    names.dedup();
    names
}

/// Names at the top of a tree that are refused only there.
pub(crate) fn names_refused_at_the_top() -> Vec<Vec<u8>> {
    let mut names: Vec<_> = [
        ".bashrc",
        ".ssh",
        ".git",
        ".hikyaku",
        ".hikyaku-1",
        ".hikyaku-00000000000000000000000000000000.part",
        "...",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.sort();
    names
}

/// Names that look like harm and are names: they are kept as they are.
pub(crate) fn names_that_only_look_so() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "..a",
        "...",
        "....",
        ". ",
        ".. ",
        " ..",
        "..\n",
        "%2e%2e%2f",
        "..%2f..%2fx",
        "..\\..\\x",
        "\\",
        "C:",
        "C:\\x",
        "CON",
        "NUL.txt",
        "a:b:$DATA",
        "~",
        "~root",
        "-rf",
        "--",
        "*",
        "?",
        "$(reboot)",
        "`reboot`",
        ";reboot",
        "|x",
        "&",
        "'",
        "\"",
        "\u{2215}etc",
        "\u{2044}etc",
        "\u{ff0f}etc",
        "\u{ff0e}\u{ff0e}",
        "\u{2024}\u{2024}",
        "\u{202e}gpj.exe",
        "\u{feff}x",
        "\u{1b}[2J",
        "\u{1b}]0;title\u{7}",
        "\r",
        "\n",
        "\t",
        " ",
        "x.",
        "x ",
        ".hikyaku",
        ".hikyaku-1.part",
        ".git",
        ".ssh",
        ".htaccess",
        "\u{7f}",
        "\u{9b}31m",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push(vec![b'x'; 255]);
    names.push(b"\xff\xfe".to_vec());
    names.push(b"\xc0\xae\xc0\xae".to_vec());
    names.push(b"\xed\xa0\x80".to_vec());
    names.sort();
    names
}

pub(crate) fn path(components: &[&[u8]]) -> Vec<Component> {
    components.iter().map(|name| Component(name.to_vec())).collect()
}

/// A bundle by its records, in whatever order they are written.
#[derive(Default)]
pub(crate) struct Bundle {
    pub(crate) writer: Writer,
    entries: u64,
    bytes: u64,
    left_out: u64,
}

impl Bundle {
    pub(crate) fn enter(mut self, name: &[u8]) -> Self {
        self.writer.enter(&Enter { name: name.to_vec() });
        self.entries += 1;
        self
    }

    pub(crate) fn leave(mut self) -> Self {
        self.writer.leave(&Leave::default());
        self
    }

    pub(crate) fn file(mut self, name: &[u8], content: &[u8]) -> Self {
        let size = content.len() as u64;
        self.writer.file(&FileHead { name: name.to_vec(), size, meta: None, attributes: None, from: None });
        if !content.is_empty() {
            self.bytes_of(content);
        }
        self.writer.end(&FileEnd::default());
        (self.entries, self.bytes) = (self.entries + 1, self.bytes + size);
        self
    }

    pub(crate) fn bytes_of(&mut self, content: &[u8]) {
        let filled = self.writer.bytes(content.len(), |at| {
            at.copy_from_slice(content);
            Ok::<_, ()>(true)
        });
        filled.unwrap();
    }

    pub(crate) fn symlink(mut self, name: &[u8], target: &[u8]) -> Self {
        self.writer.symlink(&Symlink { name: name.to_vec(), target: target.to_vec(), meta: None });
        self.entries += 1;
        self
    }

    pub(crate) fn hard_link(mut self, name: &[u8], to: &[&[u8]]) -> Self {
        self.writer.hard_link(&HardLink { name: name.to_vec(), to: path(to) });
        self.entries += 1;
        self
    }

    pub(crate) fn left_out(mut self, name: &[u8]) -> Self {
        self.writer.left_out(&LeftOut { name: name.to_vec(), reason: Reason::SPECIAL });
        self.left_out += 1;
        self
    }

    /// The whole, with an end that counts what came.
    pub(crate) fn done(mut self) -> Vec<u8> {
        let Self { entries, bytes, left_out, .. } = self;
        self.writer.done(&Done { entries, bytes, left_out, ..Done::default() });
        self.writer.written().to_vec()
    }
}

/// The places of a tree where a name may stand: everything but the name is good.
pub(crate) fn placed(name: &[u8], place: usize) -> Vec<u8> {
    let inside = || Bundle::default().enter(b"t").file(b"!", b"good");
    match place % 9 {
        0 => Bundle::default().file(name, b"evil").done(),
        1 => Bundle::default().enter(name).file(b"f", b"evil").leave().done(),
        2 => Bundle::default().symlink(name, b"x").done(),
        3 => inside().file(name, b"evil").leave().done(),
        4 => inside().enter(name).file(b"f", b"evil").leave().leave().done(),
        5 => inside().symlink(name, b"x").leave().done(),
        6 => inside().hard_link(name, &[b"t", b"!"]).leave().done(),
        7 => inside().hard_link(b"~", &[b"t", name]).leave().done(),
        _ => inside().left_out(name).leave().done(),
    }
}

pub(crate) fn tree_offer(number: u64, options: PutOptions) -> Offer {
    let mut transfer = [0x77; 16];
    transfer[..8].copy_from_slice(&number.to_be_bytes());
    let (target, kind) = (here(), EntryKind::Tree);
    let (transfer, options) = (TransferId(transfer), Some(options));
    Offer { transfer, target, name: b"tree".to_vec(), kind, size: None, meta: None, options, tops: None }
}

/// Puts a bundle as a sender that checks nothing.
pub(crate) async fn put(connection: &Connection, offer: &Offer, bundle: &[u8]) -> Result<Receipt, ErrorCode> {
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    let done = async {
        exchange.send(offer).await?;
        if let Answer::Receipt(receipt) = exchange.receive().await? {
            return Ok(receipt);
        }
        // Whoever refuses it stops taking bytes, and says why.
        let _ = send_all(&mut exchange, bundle).await;
        match exchange.receive().await? {
            Answer::Receipt(receipt) => Ok(receipt),
            other => panic!("{other:?}"),
        }
    };
    done.await.map_err(|error: hikyaku::Error| error.code())
}

async fn send_all(exchange: &mut Exchange, bundle: &[u8]) -> hikyaku::Result<()> {
    let len = 1 << 19;
    for (index, piece) in bundle.chunks(len).enumerate() {
        exchange.send(&block(index * len, piece)).await?;
        exchange.send_data(piece.to_vec().into()).await?;
    }
    exchange.send(&close_of(bundle)).await
}

/// A server that gives this bundle to everybody, with whatever head.
pub(crate) async fn giving(head: Head, bundle: Vec<u8>) -> FilesClient {
    let router = Router::new().route(PROTOCOL, move |mut exchange: Exchange| {
        let (head, bundle) = (head.clone(), bundle.clone());
        async move {
            assert_eq!(exchange.method(), GET);
            let _: Request = exchange.receive().await?;
            exchange.send(&head).await?;
            let _: Answer = exchange.receive().await?;
            send_all(&mut exchange, &bundle).await?;
            let _: Answer = exchange.receive().await?;
            Ok(())
        }
    });
    FilesClient::new(hikyaku::local::pair(router, ()).await.unwrap())
}

pub(crate) fn tree_head(number: u64, bundle: &[u8]) -> Head {
    let root = Some(Root(*blake3::hash(bundle).as_bytes()));
    let transfer = tree_offer(number, PutOptions::default()).transfer;
    let (name, kind, size) = (b"tree".to_vec(), EntryKind::Tree, Some(bundle.len() as u64));
    Head { transfer, name, kind, size, root, meta: None, arrival: None, before: None }
}

/// Fetches a bundle from a server that checks nothing.
pub(crate) async fn fetch(
    world: &World,
    number: u64,
    bundle: &[u8],
) -> Result<hikyaku_files::Fetched, FilesError> {
    let client = giving(tree_head(number, bundle), bundle.to_vec()).await;
    client.get_file(&event(1), &Destination::new(world.path("into")), &Progress::none()).await
}
