//! What is done with hostile bytes: one function per parser and per state machine, each of which panics when a promise
//! is broken.
//!
//! libFuzzer calls them through the targets in `fuzz/` (`cargo xtask soak fuzz`); `tests/replay.rs` calls them with the
//! corpus in `fuzz/corpus`, with the vectors of the specification and with mutations of both, and counts what they
//! allocate. A new target is one line in [`TARGETS`], one in `fuzz/Cargo.toml`, one file each in `fuzz/fuzz_targets`
//! and a directory in `fuzz/corpus`; a test says which is missing.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod chat;
pub mod files;
pub mod identity;
pub mod input;
pub mod inspect;
pub mod listing;
pub mod listing_answers;
pub mod mux;
pub mod mux_pair;
pub mod passage;
pub mod presence;
pub mod prints;
pub mod quota;
pub mod receipts;
pub mod seeds;
pub mod session;
pub mod versions;
pub mod wire;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its binary, its corpus and its test.
    pub name: &'static str,
    /// What is done with the bytes.
    pub body: fn(&[u8]),
    /// What it may allocate whatever the input is, beside 4 bytes for each byte of input: the most its own limits and
    /// its own checking hold at once.
    pub fixed: usize,
}

/// What most targets stay within, beside four times their input.
pub const FIXED: usize = 64 * 1024;

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "account_messages", body: wire::account_messages, fixed: FIXED },
    Target { name: "bundle", body: files::bundle, fixed: FIXED },
    Target { name: "cbor_check", body: wire::cbor_check, fixed: FIXED },
    Target { name: "certificate", body: identity::certificate, fixed: FIXED },
    Target { name: "chat_event", body: chat::event, fixed: FIXED },
    Target { name: "chat_follower", body: chat::follower, fixed: FIXED },
    Target { name: "chat_messages", body: wire::chat_messages, fixed: FIXED },
    Target { name: "chat_presence", body: presence::presence, fixed: FIXED },
    // Blocks of file content are made here, a few groups of 64 KiB at a time.
    Target { name: "file_receiving", body: files::receiving, fixed: 512 * 1024 },
    Target { name: "file_messages", body: wire::file_messages, fixed: FIXED },
    Target { name: "frame_decoder", body: wire::frame_decoder, fixed: FIXED },
    // The table of the specification's rules, and the longest text of one message, twice.
    Target { name: "inspect", body: inspect::inspect, fixed: 512 * 1024 },
    Target { name: "invite_link", body: accounts::invite_link, fixed: FIXED },
    Target { name: "journal", body: files::journal, fixed: FIXED },
    // A few hundred entries that are listed and awaited, and their bundle.
    Target { name: "listing", body: listing::listing, fixed: 512 * 1024 },
    // Two files of three groups, in the buffer of the sender, in its blocks and in the bundle, twice; and older versions.
    Target { name: "listing_answers", body: listing_answers::listing_answers, fixed: 4 * 1024 * 1024 },
    Target { name: "mux_input", body: mux::mux_input, fixed: FIXED },
    // Both sides' buffers, as large as the input makes their limits.
    Target { name: "mux_pair", body: mux_pair::mux_pair, fixed: 256 * 1024 },
    Target { name: "passage", body: passage::passage, fixed: FIXED },
    // Four groups, and what is known of them.
    Target { name: "prints", body: prints::prints, fixed: 1024 * 1024 },
    Target { name: "quota", body: quota::quota, fixed: FIXED },
    // A line, what JSON makes of it, and its bytes.
    Target { name: "receipts_file", body: receipts::receipts_file, fixed: 128 * 1024 },
    Target { name: "safe_name", body: files::name, fixed: FIXED },
    Target { name: "session_control", body: session::control, fixed: FIXED },
    Target { name: "session_datagrams", body: session::datagrams, fixed: FIXED },
    Target { name: "session_inbound", body: session::inbound, fixed: FIXED },
    Target { name: "session_messages", body: wire::session_messages, fixed: FIXED },
    Target { name: "tree", body: files::tree, fixed: FIXED },
    Target { name: "varint", body: wire::varint, fixed: FIXED },
    // Two versions of 128 KiB at most, what is held of them, and what is put together; or a block that is unpacked.
    Target { name: "versions", body: versions::versions, fixed: 2 * 1024 * 1024 },
];

/// Runs the target of this name over `data`.
///
/// # Panics
/// If there is no such target, or a promise is broken.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the target is in the table");
    (target.body)(data);
}
