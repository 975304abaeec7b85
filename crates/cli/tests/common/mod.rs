//! The program as processes: servers, clients and what they print, bounded in time and gone when a test ends.
//!
//! Each server has a loopback address of its own, so that its port stays free while it is down, whatever other tests
//! do. Nothing here sleeps to wait for something: readers wait for lines, and give up after [`PATIENCE`].

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod program;
mod proxy;
mod terminal;

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

#[allow(unused_imports)]
pub use program::{Done, Lines, Program};
#[allow(unused_imports)]
pub use proxy::Proxy;
#[allow(unused_imports)]
pub use terminal::{Terminal, at_one_time};

/// How long anything may take before a test gives up. It never decides whether a test passes on a working program.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Nothing in the text changes what a terminal does.
#[track_caller]
pub fn assert_harmless(text: &str) {
    let hostile = |c: char| (c != '\n' && c.is_control()) || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.contains(hostile), "a terminal would obey something in {text:?}");
}

/// One line of JSON, which says its version.
#[track_caller]
pub fn json(line: &str) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
    assert_eq!(value["v"], 1, "{line}");
    assert!(value["type"].is_string(), "{line}");
    value
}

/// A place for everything that a test has on disk.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new directory.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// A new file.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A home that knows no server.
    pub fn home(&self, name: &str) -> Home {
        Home { path: self.join(name), transport: "auto", directory: self.path().to_owned() }
    }
}

/// `hikyaku` with an empty environment as far as it matters.
pub fn hikyaku(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hikyaku"));
    command.current_dir(directory).env("TZ", "UTC").env("USER", "ana");
    for name in ["HIKYAKU_SERVER", "HIKYAKU_LOG", "HIKYAKU_HOME", "XDG_DATA_HOME", "HOME", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command
}

/// One person at one computer: a home, and the commands typed there.
#[derive(Clone)]
pub struct Home {
    pub path: PathBuf,
    transport: &'static str,
    directory: PathBuf,
}

impl Home {
    /// Every command goes over this transport.
    pub fn over(mut self, transport: &'static str) -> Self {
        self.transport = transport;
        self
    }

    /// Commands are typed in this directory.
    pub fn within(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = hikyaku(&self.directory);
        command.env("HIKYAKU_HOME", &self.path);
        command.arg("--transport").arg(self.transport).args(arguments);
        command
    }

    /// Starts a command and lets it run.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Program {
        Program::start(self.command(arguments), None)
    }

    /// Types a command and waits for its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Done {
        self.start(arguments).finish()
    }

    /// The same with something on standard input.
    pub fn run_with<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, input: &str) -> Done {
        Program::start(self.command(arguments), Some(input.as_bytes())).finish()
    }

    /// Joins a server with the link, by standard input as people should.
    #[track_caller]
    pub fn join(&self, link: &str, name: &str) -> &Self {
        self.run_with(["join", "-", "--name", name, "--device", "laptop"], link).ok();
        self
    }

    /// Everything in a room.
    #[track_caller]
    pub fn events(&self, room: &str) -> Vec<serde_json::Value> {
        let done = self.run(["tail", room, "--after", "0", "--json"]);
        done.ok().lines().map(json).collect()
    }

    /// Every text in a room.
    #[track_caller]
    pub fn texts(&self, room: &str) -> Vec<String> {
        let text = |event: serde_json::Value| event["text"].as_str().map(str::to_owned);
        self.events(room).into_iter().filter_map(text).collect()
    }
}

/// A server, its data directory and how it is started.
pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
    /// What its first start printed.
    pub invite: Option<String>,
    pub data: PathBuf,
    directory: PathBuf,
    options: Vec<String>,
    log: Option<String>,
}

impl Server {
    /// A new server in `place`, with further options.
    pub fn start(place: &Place, options: &[&str]) -> Self {
        Self::start_on(place, "data", options)
    }

    /// The same with its data in `data`.
    pub fn start_on(place: &Place, data: &str, options: &[&str]) -> Self {
        Self::serve(place.path(), &place.join(data), SocketAddr::new(own_address().into(), 0), options, None)
    }

    /// The same, and it logs everything that `log` asks for.
    pub fn start_with_log(place: &Place, log: &str, options: &[&str]) -> Self {
        let address = SocketAddr::new(own_address().into(), 0);
        Self::serve(place.path(), &place.join("data"), address, options, Some(log))
    }

    /// Starts one at an address that must be free soon.
    pub fn serve(
        directory: &Path,
        data: &Path,
        address: SocketAddr,
        options: &[&str],
        log: Option<&str>,
    ) -> Self {
        let begun = Instant::now();
        loop {
            let mut command = hikyaku(directory);
            command
                .args(["serve", "--data"])
                .arg(data)
                .args(["--listen", &address.to_string()])
                .args(options);
            if let Some(log) = log {
                command.env("HIKYAKU_LOG", log);
            }
            let program = Program::start(command, None);
            let mut invite = None;
            while let Some(line) = program.out.next() {
                if let Some(link) = line.strip_prefix("invite: ") {
                    invite = Some(link.to_owned());
                } else if let Some(ready) = line.strip_prefix("ready: ") {
                    return Self {
                        program,
                        address: ready.parse().unwrap(),
                        invite,
                        data: data.to_owned(),
                        directory: directory.to_owned(),
                        options: options.iter().map(ToString::to_string).collect(),
                        log: log.map(str::to_owned),
                    };
                }
            }
            let done = program.finish();
            // Any socket of this computer that is bound to "any address" may have the UDP port for a moment.
            let busy = address.port() != 0 && done.err.contains("another program uses that port");
            assert!(busy && begun.elapsed() < PATIENCE, "the server did not start: {done:#?}");
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again, as it was, at the same address.
    pub fn restart(&mut self) {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        *self = Self::serve(&self.directory, &self.data, self.address, &options, self.log.as_deref());
    }

    /// The link that it printed at its first start.
    #[track_caller]
    pub fn invite(&self) -> &str {
        self.invite.as_deref().expect("a first start prints an invite")
    }

    /// `--data DIR`, for the administration door.
    pub fn data(&self) -> &str {
        self.data.to_str().unwrap()
    }
}

/// A server with an owner, and a room.
pub fn server_with_room(place: &Place, options: &[&str], room: &str) -> (Server, Home) {
    let server = Server::start(place, options);
    let ana = place.home("ana").over("tcp");
    ana.join(server.invite(), "ana");
    assert_eq!(ana.run(["room", "create", room]).ok(), format!("#{room}"));
    (server, ana)
}

/// A loopback address that no other test uses: the process's number, and one per call.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Bytes that look random, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(|| random.next().to_le_bytes()).take(length / 8 + 1).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// SplitMix64: small, and the same everywhere for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Names in a drop directory, in which nothing is left of unfinished transfers.
#[track_caller]
pub fn dropped(directory: &Path) -> Vec<String> {
    assert_eq!(names(&directory.join(".hikyaku")), [""; 0]);
    names(directory).into_iter().filter(|name| name != ".hikyaku").collect()
}

/// A server whose clients come through `proxy`, with an owner and the room `ops`.
pub fn server_behind(place: &Place, proxy: &Proxy, options: &[&str]) -> (Server, Home) {
    let address = proxy.address();
    let server = Server::start(place, &[&["--advertise", &address], options].concat());
    proxy.lead_to(server.address);
    let ana = place.home("ana").over("tcp");
    ana.join(server.invite(), "ana");
    ana.run(["room", "create", "ops"]).ok();
    (server, ana)
}
