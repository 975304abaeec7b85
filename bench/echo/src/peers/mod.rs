//! Who is measured. A new peer is a module with a server and its callers, and a line in each `match` below.

pub mod grpc;
mod ours;
mod quic;
mod stream;

use bench_common::{Ready, Result};
use hikyaku::Transport;

use crate::load::Plan;

/// Everything that echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tls,
    Quic,
    Grpc,
    GrpcTls,
    NaivePython,
    OursTcp,
    OursQuic,
}

impl Peer {
    pub const ALL: [Self; 7] =
        [Self::Tls, Self::Quic, Self::Grpc, Self::GrpcTls, Self::NaivePython, Self::OursTcp, Self::OursQuic];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Grpc => "tonic",
            Self::GrpcTls => "tonic-tls",
            Self::NaivePython => "naive-python",
            Self::OursTcp => "ours-tcp",
            Self::OursQuic => "ours-quic",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Tls => "tokio-rustls, a connection per caller",
            Self::Quic => "quinn, a stream per call",
            Self::Grpc => "tonic without TLS",
            Self::GrpcTls => "tonic with TLS",
            Self::NaivePython => "Python, no TLS, a thread and a connection per caller",
            Self::OursTcp => "**hikyaku over TCP**",
            Self::OursQuic => "**hikyaku over QUIC**",
        }
    }

    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|peer| peer.name() == name);
        found.ok_or_else(|| format!("no peer is called {name}").into())
    }
}

/// Serves until the process is ended.
pub async fn serve(peer: Peer) -> Result<()> {
    match peer {
        Peer::Tls => stream::serve().await,
        Peer::Quic => quic::serve().await,
        Peer::Grpc => grpc::serve(false).await,
        Peer::GrpcTls => grpc::serve(true).await,
        Peer::NaivePython => Err("that server is naive.py".into()),
        Peer::OursTcp | Peer::OursQuic => ours::serve().await,
    }
}

/// Connects as `plan` says, calls, and prints what was measured.
pub async fn load(peer: Peer, ready: Ready, plan: Plan) -> Result<()> {
    let count = plan.callers;
    match peer {
        Peer::Tls => plan.run(stream::tls_callers(&ready, count).await?).await,
        Peer::Quic => plan.run(quic::callers(&ready, count).await?).await,
        Peer::Grpc => plan.run(grpc::callers(&ready, count, false).await?).await,
        Peer::GrpcTls => plan.run(grpc::callers(&ready, count, true).await?).await,
        Peer::NaivePython => plan.run(stream::plain_callers(&ready, count).await?).await,
        Peer::OursTcp => plan.run(ours::callers(&ready, count, Transport::Tcp).await?).await,
        Peer::OursQuic => plan.run(ours::callers(&ready, count, Transport::Quic).await?).await,
    }
}
