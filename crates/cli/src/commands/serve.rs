//! `hikyaku serve`: the server, in the foreground, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hikyaku_files::Quotas;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Global, duration, size};
use crate::exit::{self, Result};
use crate::home::{self, Home};
use crate::output;
use crate::selection::Twins;
use crate::server::{Config, RoomQuotas, Running, descriptors};

/// How long open exchanges may take when the server stops.
const DRAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where everything is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    // Not a documentation comment: rustdoc would take the address for a link.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        help = "Where to listen, TCP and UDP alike; may be repeated [default: [::]:4747]"
    )]
    listen: Vec<SocketAddr>,
    /// A name or address under which others reach this server, for invite links; may be repeated
    #[arg(long, value_name = "HOST")]
    advertise: Vec<String>,
    /// Take files sent to ':' into this directory
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// What becomes of a name that differs from another one of its directory there by case or by how letters are composed
    /// alone [default: it is made; --distinct alone: refuse]
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "refuse")]
    distinct: Option<Twins>,
    /// The most bytes that may lie in that directory: 500M, 20G, 1.5T (of 1,024)
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "into")]
    quota: Option<u64>,
    /// The most bytes of one user there
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "into")]
    user_quota: Option<u64>,
    /// How long a transfer waits for room when a disk gets full under it [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pause_timeout: Option<Duration>,
    /// The most bytes of files that one user may have in rooms: 500M, 10G (of 1,024) [default: as the disk has]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    room_user_quota: Option<u64>,
    /// The most bytes of files that one room may have
    #[arg(long, value_name = "SIZE", value_parser = size)]
    room_quota: Option<u64>,
    /// The most bytes that all files in rooms may take here, each content once
    #[arg(long, value_name = "SIZE", value_parser = size)]
    vault_quota: Option<u64>,
    /// Keep no prints with the files that arrive there, by which 'verify' finds what decays later
    #[arg(long)]
    no_prints: bool,
    /// How often what is over is let go of: files whose time in their room is over, transfers that nobody goes on with
    /// [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    sweep_every: Option<Duration>,
    /// Write the first invite to this file (mode 0600) instead of printing it
    #[arg(long, value_name = "FILE")]
    invite_file: Option<PathBuf>,
    /// What the server calls itself [default: this computer's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Serve {
    pub(crate) async fn run(self, global: &Global) -> Result {
        // From the first moment on: a signal during the start must not be the end of a half-made store.
        let trouble = |error| exit::io("signals", &error);
        let mut terminate = signal(SignalKind::terminate()).map_err(trouble)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(trouble)?;
        descriptors::raise()?;
        let data = match self.data {
            Some(data) => data,
            None => Home::find()?.server_data(),
        };
        let name = self.name.unwrap_or_else(computer_name);
        let seeing = global.seeing.open()?;
        let distinct = self.distinct.map(Twins::distinct);
        let (listen, advertise, into) = (self.listen, self.advertise, self.into);
        let (pause_timeout, sweep_every) = (self.pause_timeout, self.sweep_every);
        let quotas = Quotas { directory: self.quota, user: self.user_quota };
        let room_quotas =
            RoomQuotas { user: self.room_user_quota, room: self.room_quota, vault: self.vault_quota };
        let config = Config {
            room_quotas,
            data,
            listen,
            advertise,
            into,
            distinct,
            prints: !self.no_prints,
            quotas,
            pause_timeout,
            sweep_every,
            name,
            seeing,
        };
        let running = Running::start(config).await?;
        if let Some(invite) = running.first_invite().await? {
            match &self.invite_file {
                None => output::line(format_args!("invite: {invite}"))?,
                Some(path) => {
                    home::write_whole(path, format!("{invite}\n").as_bytes())?;
                    output::note(format_args!("the invite for the owner is in {}", path.display()));
                }
            }
        }
        for address in running.listening() {
            output::line(format_args!("ready: {address}"))?;
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        output::note("stopping; again to stop at once");
        tokio::select! {
            () = running.drain(DRAIN) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
}

/// This computer's name, as far as a name of ours can hold it.
pub(crate) fn computer_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .take(32)
        .collect();
    if name.is_empty() { "computer".to_owned() } else { name }
}
