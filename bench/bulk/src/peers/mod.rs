//! Who is measured. A new peer is a module with a receiver and a sender, and a line in each `match` below.

mod ours;
mod qmux;
mod quic;
mod tls;

use bench_common::{Ready, Result};
use hikyaku::Transport;

use crate::load::Plan;

/// Everything that carries bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tls,
    Qmux,
    OursTcp,
    Quic,
    QuicLargePackets,
    OursQuic,
}

impl Peer {
    pub const ALL: [Self; 6] =
        [Self::Tls, Self::Qmux, Self::OursTcp, Self::Quic, Self::QuicLargePackets, Self::OursQuic];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Qmux => "qmux",
            Self::OursTcp => "ours-tcp",
            Self::Quic => "quic",
            Self::QuicLargePackets => "quic-large",
            Self::OursQuic => "ours-quic",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Tls => "tokio-rustls, bare",
            Self::Qmux => "crate `qmux` over tokio-rustls",
            Self::OursTcp => "**hikyaku over TCP**",
            Self::Quic => "quinn, bare, packets of 1,452 bytes (its default)",
            Self::QuicLargePackets => "quinn, bare, packets up to 6,500 bytes",
            Self::OursQuic => "**hikyaku over QUIC**",
        }
    }

    /// What it is fair to compare it with.
    pub fn built_on(self) -> Self {
        match self {
            Self::Tls | Self::Qmux | Self::OursTcp => Self::Tls,
            Self::Quic | Self::QuicLargePackets | Self::OursQuic => Self::Quic,
        }
    }

    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|peer| peer.name() == name);
        found.ok_or_else(|| format!("no peer is called {name}").into())
    }
}

/// Receives until the process is ended.
pub async fn serve(peer: Peer) -> Result<()> {
    match peer {
        Peer::Tls => tls::serve().await,
        Peer::Qmux => qmux::serve().await,
        Peer::Quic => quic::serve(quic::SMALL).await,
        Peer::QuicLargePackets => quic::serve(quic::LARGE).await,
        Peer::OursTcp | Peer::OursQuic => ours::serve().await,
    }
}

/// Connects, sends what `plan` says, and prints what was measured.
pub async fn load(peer: Peer, ready: Ready, plan: Plan) -> Result<()> {
    match peer {
        Peer::Tls => plan.run(tls::connect(&ready).await?).await,
        Peer::Qmux => plan.run(qmux::connect(&ready).await?).await,
        Peer::Quic => plan.run(quic::connect(&ready, quic::SMALL).await?).await,
        Peer::QuicLargePackets => plan.run(quic::connect(&ready, quic::LARGE).await?).await,
        Peer::OursTcp => plan.run(ours::connect(&ready, Transport::Tcp).await?).await,
        Peer::OursQuic => plan.run(ours::connect(&ready, Transport::Quic).await?).await,
    }
}
