//! The command line: nouns, verbs and options. Parsing only; what they do is in `commands`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hikyaku::Transport;

use crate::commands::{
    backup, chat, device, doctor, get, inspect, invite, join, ping, quota, receipts, receive, repair,
    restore, room, say, send, serve, servers, status, tail, tour, user, verify, who,
};
use crate::seeing::SeeingOptions;

/// Letters and parcels, sealed, verified, never lost: a private server with chat rooms and file transfer.
#[derive(Debug, Parser)]
#[command(name = "hikyaku", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Begin with 'hikyaku tour', or 'hikyaku serve' on one computer and 'hikyaku join' on another."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the options of every command stand in its help: last.
pub(crate) const COMMON: &str = "Everywhere";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The server that is meant, where several are known
    #[arg(long, global = true, env = "HIKYAKU_SERVER", value_name = "NAME", help_heading = COMMON)]
    pub(crate) server: Option<String>,
    /// What carries the connection: whichever answers first, TLS over TCP, or QUIC over UDP
    #[arg(long, global = true, value_enum, default_value = "auto", help_heading = COMMON)]
    pub(crate) transport: TransportChoice,
    #[command(flatten)]
    pub(crate) seeing: SeeingOptions,
}

/// `--transport`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TransportChoice {
    Auto,
    Tcp,
    Quic,
}

impl From<TransportChoice> for Transport {
    fn from(choice: TransportChoice) -> Self {
        match choice {
            TransportChoice::Auto => Self::Auto,
            TransportChoice::Tcp => Self::Tcp,
            TransportChoice::Quic => Self::Quic,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server; the first start prints an invite link for its owner
    Serve(serve::Serve),
    /// Let a server know this computer, with an invite link
    Join(join::Join),
    /// Show the server, the connection to it and who you are there
    Status(status::Status),
    /// Measure the way to a server: both transports, round trips, what they agreed on
    Ping(ping::Ping),
    /// Send a message; done when it is durable on the server
    Say(say::Say),
    /// Print a room's messages
    Tail(tail::Tail),
    /// Talk in a room
    Chat(chat::Chat),
    /// Show who looks at a room now
    Who(who::Who),
    /// Send files into a room or into the server's directory
    Send(send::Send),
    /// Fetch a file or a tree from a room
    Get(get::Get),
    /// Show who has a parcel, signed by their devices; check such receipts without a server
    Receipts(receipts::Receipts),
    /// Take what people send to you, as it comes
    Receive(receive::Receive),
    /// Check that what lies here is what was sent, byte for byte
    Verify(verify::Verify),
    /// Give a server back what of a parcel has decayed there
    Repair(repair::Repair),
    /// Rooms: create, list, topic, pin, invite, members, retention and more
    #[command(subcommand)]
    Room(room::Room),
    /// Invites: create, list, cancel
    #[command(subcommand)]
    Invite(invite::Invite),
    /// Your devices: add, list, revoke
    #[command(subcommand)]
    Device(device::Device),
    /// Users: list, allow, forbid, revoke
    #[command(subcommand)]
    User(user::User),
    /// Show how many bytes there are and may be, of users, rooms and all; set what one user may have
    Quota(quota::Quota),
    /// Known servers: list, use, forget
    #[command(subcommand)]
    Server(servers::Servers),
    /// Write everything a server keeps into one file, while it runs
    Backup(backup::Backup),
    /// Make a server's data directory from a backup
    Restore(restore::Restore),
    /// Show what recorded bytes say: records, frames, messages
    Inspect(inspect::Inspect),
    /// Examine a server's data directory: is everything there that was acknowledged
    Doctor(doctor::Doctor),
    /// Watch everything once: a server, two clients, a talk, datagrams, a file
    Tour(tour::Tour),
}

/// Reads `90s`, `10m`, `24h`, `7d` or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number with s, m, h or d: 90s, 10m, 24h, 7d".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Reads `500M`, `20G`, `1.5T` (of 1,024) or plain bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a size is a number of bytes, with K, M, G or T: 500M, 20G, 1.5T".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(wrong()),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 3 {
        return Err(wrong());
    }
    let (whole, scale) = (whole.parse::<u64>().map_err(|_| wrong())?, 10_u64.pow(part.len() as u32));
    let part = part.parse::<u64>().map_err(|_| wrong())? * factor / scale;
    whole.checked_mul(factor).and_then(|bytes| bytes.checked_add(part)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("0", 0), ("7", 7), ("500k", 512_000), ("2G", 2 << 30), ("1.5T", 3 << 39)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "G", "-1", "1.G", ".5G", "1e3", "5P", "1.2345G", "99999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(["90s", "10m", "24h", "7d", "5"].map(seconds), [90, 600, 86_400, 604_800, 5].map(Ok));
        for wrong in ["", "h", "1w", "-1s", "1.5h", "99999999999999999999d", "999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
