//! `hikyaku ping`: the way to a server over each transport, how long it is, and what both ends agreed on.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use hikyaku::{Connection, ErrorCode, Identity, KeyId, KeyLog, Transport, printable};
use hikyaku_accounts::InviteLink;
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Result, Trouble};
use crate::home::Home;
use crate::output::{self, JSON_VERSION};
use crate::seeing::Seeing;
use crate::server::echo;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one round trip may take.
const TRIP_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two round trips.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// A server known here by name, an invite link, or HOST:PORT#KEY; without it, the server that is meant by default
    #[arg(value_name = "SERVER")]
    at: Option<String>,
    /// Round trips measured over each transport
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// One JSON object for each transport
    #[arg(long)]
    json: bool,
}

/// Who is asked, and as whom.
struct Target {
    addresses: String,
    host: KeyId,
    identity: Option<Identity>,
}

#[derive(Serialize)]
struct JsonPing {
    v: u32,
    r#type: &'static str,
    transport: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Reached(Box<Reached>),
    Failed { error: String, exit: u8 },
}

/// What was found out over one transport.
#[derive(Serialize)]
struct Reached {
    host: String,
    address: Option<String>,
    connect_ms: f64,
    alpn: &'static str,
    agent: Option<String>,
    cipher_suite: Option<String>,
    group: Option<String>,
    post_quantum: bool,
    max_message: Option<u64>,
    max_metadata: Option<u64>,
    max_datagram: Option<u64>,
    /// `echo`: an exchange there and back; `transport`: the transport's own, which a stranger gets.
    measured: &'static str,
    sent: u32,
    received: usize,
    min_ms: Option<f64>,
    median_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Ping {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let target = self.target(global)?;
        let seeing = global.seeing.open()?;
        let transports = match global.transport.into() {
            Transport::Auto => vec![Transport::Quic, Transport::Tcp],
            one => vec![one],
        };
        let mut troubles = Vec::new();
        for transport in &transports {
            let outcome = match reach(&target, *transport, self.count, &seeing).await {
                Ok(reached) => Outcome::Reached(Box::new(reached)),
                Err(trouble) => {
                    let failed =
                        Outcome::Failed { error: trouble.what().to_owned(), exit: trouble.exit as u8 };
                    troubles.push(trouble);
                    failed
                }
            };
            if self.json {
                let transport = transport.to_string();
                output::json(&JsonPing { v: JSON_VERSION, r#type: "ping", transport, outcome })?;
            } else if let Outcome::Reached(reached) = outcome {
                reached.print(*transport)?;
            }
        }
        let all = troubles.len() == transports.len();
        match troubles.pop() {
            None => Ok(()),
            Some(trouble) if all => Err(trouble),
            Some(trouble) => {
                trouble.report();
                Err(Trouble::new(Exit::PartlyFailed, "one of the transports does not get through"))
            }
        }
    }

    /// A link, an address with a key, or the name of a server that is known here.
    fn target(&self, global: &Global) -> Result<Target> {
        let named = self.at.as_deref().or(global.server.as_deref());
        let stranger = |addresses: String, host: KeyId| -> Result<Target> {
            // Known under some name: then this device is no stranger there.
            let known = Home::find()?.servers()?.into_iter().find(|s| s.known.host == host.to_string());
            let identity = known.map(|server| server.identity()).transpose()?;
            Ok(Target { addresses, host, identity })
        };
        match named {
            Some(text) if text.trim().starts_with("hikyaku://") => {
                let link: InviteLink = text
                    .trim()
                    .parse()
                    .map_err(|error| Trouble::usage(format!("this is no invite link: {error}")))?;
                stranger(link.addresses_text(), link.host)
            }
            Some(text) if text.contains('#') => {
                let (address, key) = text.split_once('#').unwrap_or((text, ""));
                let host = key.parse().map_err(|_| {
                    Trouble::usage("the key behind '#' is no host key")
                        .hint("'hikyaku status' on a computer that is known there prints it as 'host key'")
                })?;
                stranger(address.to_owned(), host)
            }
            named => {
                let server = Home::find()?.server(named)?;
                let (identity, host) = (server.identity()?, server.host()?);
                Ok(Target { addresses: server.known.addresses.clone(), host, identity: Some(identity) })
            }
        }
    }
}

/// Connects over one transport and measures.
async fn reach(target: &Target, transport: Transport, count: u32, seeing: &Seeing) -> Result<Reached> {
    let suite = Suite::default();
    let begun = Instant::now();
    let mut connect =
        hikyaku::connect(&target.addresses, target.host).transport(transport).timeout(CONNECT_TIMEOUT);
    if let Some(identity) = &target.identity {
        connect = connect.identity(identity);
    }
    let mut connect = seeing.watch(connect);
    if seeing.key_log.is_none() {
        connect = connect.key_log(&KeyLog::to_writer(suite.clone()));
    }
    let connected = connect.await;
    let connect_ms = in_ms(begun.elapsed());
    let connection =
        connected.map_err(|error| Trouble::from(error).during(format_args!("over {transport}")))?;
    let (measured, mut trips) = measure(&connection, count, target.identity.is_some()).await?;
    trips.sort_unstable();
    let hello = connection.peer_hello();
    let negotiated = connection.negotiated();
    let limits = hello.as_ref().map(|hello| hello.limits);
    let reached = Reached {
        host: connection.peer().to_string(),
        address: connection.remote_address().map(|address| address.to_string()),
        connect_ms,
        alpn: negotiated.map_or("", |negotiated| negotiated.alpn),
        agent: hello.as_ref().map(|hello| hello.agent.as_str().to_owned()),
        cipher_suite: negotiated.and_then(|n| n.cipher_suite.clone()).or_else(|| suite.name()),
        group: negotiated.and_then(|negotiated| negotiated.group.clone()),
        post_quantum: negotiated.is_some_and(hikyaku::Negotiated::is_post_quantum),
        max_message: limits.map(|limits| limits.max_message),
        max_metadata: limits.map(|limits| limits.max_metadata),
        max_datagram: limits.map(|limits| limits.max_datagram),
        measured,
        sent: count,
        received: trips.len(),
        min_ms: trips.first().copied().map(in_ms),
        median_ms: trips.get(trips.len() / 2).copied().map(in_ms),
        p99_ms: trips.get((trips.len() * 99).div_ceil(100).saturating_sub(1)).copied().map(in_ms),
    };
    connection.close().await;
    Ok(reached)
}

/// The round trips, and of what: of a message where this device is known, of the transport elsewhere.
async fn measure(connection: &Connection, count: u32, known: bool) -> Result<(&'static str, Vec<Duration>)> {
    if known {
        match echoes(connection, count).await {
            Err(hikyaku::Error::Failure(failure))
                if matches!(failure.code, ErrorCode::ENROLL_REQUIRED | ErrorCode::UNKNOWN_PROTOCOL) => {}
            trips => return Ok(("echo", trips?)),
        }
    }
    let mut trips = Vec::new();
    for number in 0..count {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match tokio::time::timeout(TRIP_TIMEOUT, connection.ping()).await {
            Ok(Ok(trip)) => trips.push(trip),
            Ok(Err(error)) if trips.is_empty() => return Err(error.into()),
            // A stranger has a few seconds; what was measured until then counts.
            Ok(Err(_)) => break,
            Err(_) => {}
        }
    }
    Ok(("transport", trips))
}

async fn echoes(connection: &Connection, count: u32) -> hikyaku::Result<Vec<Duration>> {
    let mut exchange = connection.open(echo::PROTOCOL, "").await?;
    let mut trips = Vec::new();
    for number in 0..count {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let begun = Instant::now();
        exchange.send(&number).await?;
        let answer = tokio::time::timeout(TRIP_TIMEOUT, exchange.receive::<u32>()).await;
        match answer {
            Ok(answered) => {
                answered?;
                trips.push(begun.elapsed());
            }
            // Nothing is lost on a stream: the answers that follow would belong to earlier questions.
            Err(_) => break,
        }
    }
    Ok(trips)
}

impl Reached {
    fn print(&self, transport: Transport) -> Result {
        let known = |text: &Option<String>| match text {
            Some(text) => printable(text).to_string(),
            None => "unknown".to_owned(),
        };
        let ms = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3} ms"));
        output::line(format_args!(
            "{transport}: {}, connected in {:.1} ms",
            known(&self.address),
            self.connect_ms
        ))?;
        output::line(format_args!("  host key:   {}", self.host))?;
        output::line(format_args!("  versions:   {}, agent {}", self.alpn, known(&self.agent)))?;
        output::line(format_args!(
            "  security:   TLS 1.3, {}, {}{}",
            known(&self.cipher_suite),
            known(&self.group),
            if self.post_quantum { " (post-quantum)" } else { "" }
        ))?;
        if let (Some(message), Some(metadata), Some(datagram)) =
            (self.max_message, self.max_metadata, self.max_datagram)
        {
            output::line(format_args!(
                "  limits:     message {message}, metadata {metadata}, datagram {datagram} bytes"
            ))?;
        }
        output::line(format_args!(
            "  round trip: min {}, median {}, p99 {} ({} of {}, {})",
            ms(self.min_ms),
            ms(self.median_ms),
            ms(self.p99_ms),
            self.received,
            self.sent,
            self.measured
        ))
    }
}

fn in_ms(time: Duration) -> f64 {
    // To the microsecond, so that JSON stays short.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// quinn does not tell the cipher suite, but TLS 1.3's secrets are as long as its hash: 48 bytes belong to one suite.
/// It looks at their length alone and keeps none.
#[derive(Clone, Default)]
struct Suite(Arc<Mutex<BTreeSet<usize>>>);

impl io::Write for Suite {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let secret = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(secret.len() / 2);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Suite {
    fn name(&self) -> Option<String> {
        let lengths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lengths.first() {
            Some(48) if lengths.len() == 1 => Some("TLS_AES_256_GCM_SHA384".to_owned()),
            Some(32) if lengths.len() == 1 => {
                Some("TLS_AES_128_GCM_SHA256 or TLS_CHACHA20_POLY1305_SHA256".to_owned())
            }
            _ => None,
        }
    }
}
