//! `admin/1`: what only the operator asks, through the administration door. Here: a backup of a running server.
//!
//! Private between a program and itself on one computer, so it is no part of the specification.

use std::path::{Path, PathBuf};

use hikyaku::{Connection, Exchange};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::context::Context;
use crate::archive::{self, Summary};
use crate::exit::{Exit, Result, Trouble};

/// The name in OPEN.
pub(super) const PROTOCOL: &str = "admin/1";
pub(super) const BACKUP: &str = "backup";

/// The file to write, absolute.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Ask {
    #[n(0)]
    path: ByteVec,
}

/// How it went: exit code and sentence of a failure, or what was written.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Answer {
    #[n(0)]
    created_ms: u64,
    #[n(1)]
    rooms: u64,
    #[n(2)]
    events: u64,
    #[n(3)]
    objects: u64,
    #[n(4)]
    bytes: u64,
    #[n(5)]
    failed: Option<String>,
    #[n(6)]
    exit: Option<u8>,
}

/// Asks the server behind this connection to write a backup.
pub(crate) async fn ask(connection: &Connection, to: &Path) -> Result<Summary> {
    use std::os::unix::ffi::OsStrExt as _;
    let ask = Ask { path: to.as_os_str().as_bytes().to_vec().into() };
    let answer: Answer = connection.call(PROTOCOL, BACKUP, &ask).await?;
    let Answer { created_ms, rooms, events, objects, bytes, failed, exit } = answer;
    match failed {
        Some(sentence) => {
            Err(Trouble::new(Exit::of(exit.unwrap_or_default()), sentence).during("the server's backup"))
        }
        None => Ok(Summary { created_ms, rooms, events, objects, bytes, epoch: 0 }),
    }
}

/// Writes a backup. Whoever asks is the operator.
pub(super) async fn answer(data: PathBuf, mut exchange: Exchange<Context>) -> hikyaku::Result<()> {
    use std::os::unix::ffi::OsStringExt as _;
    let ask: Ask = exchange.receive().await?;
    let to = PathBuf::from(std::ffi::OsString::from_vec(ask.path.into()));
    let now = hikyaku_accounts::system_time();
    let work = tokio::task::spawn_blocking(move || archive::write(&data, &to, now));
    let done = work.await.unwrap_or_else(|error| Err(Trouble::new(Exit::Failed, error.to_string())));
    let (summary, failed) = match done {
        Ok(summary) => (summary, None),
        Err(trouble) => (Summary::default(), Some(trouble)),
    };
    let Summary { created_ms, rooms, events, objects, bytes, .. } = summary;
    let exit = failed.as_ref().map(|trouble| trouble.exit as u8);
    let failed = failed.map(|trouble| trouble.to_string());
    exchange.reply(&Answer { created_ms, rooms, events, objects, bytes, failed, exit }).await
}
