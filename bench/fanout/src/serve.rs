//! The server: everybody may do everything, all else is as in the program.

use std::sync::Arc;
use std::time::Duration;

use bench_common::{Result, signal_ready};
use hikyaku::{Admission, Identity, Limits, Router, Server};
use hikyaku_chat::wire::{DeviceId, PROTOCOL, UserId};
use hikyaku_chat::{Answer, Ask, Author, ChatServer, Member, Permit};
use hikyaku_sqlite::SqliteStore;

struct Anybody(DeviceId);

impl Member for Anybody {
    fn author(&self) -> Author {
        Author { id: UserId([7; 16]), name: "somebody".to_owned(), device: self.0 }
    }

    fn permit(&self, _: Ask) -> Answer<'_> {
        Box::pin(async { Ok(Permit::default()) })
    }
}

/// Serves until the process is ended.
pub fn run(directory: &str, threads: usize, commit_events: usize) -> Result<()> {
    let store = Arc::new(SqliteStore::open(directory)?);
    let chat = hikyaku_chat::Limits { commit_events, ..Default::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let chat = ChatServer::new(store, chat);
        // All clients are one network and have one key, and as many as a test wants.
        let limits = Limits {
            max_connections: 20_000,
            max_connections_per_key: 20_000,
            // The credit of 10,000 members is more than the usual half GiB.
            max_memory: 16 << 30,
            max_unauthenticated: 4_096,
            early_drop: 4_096,
            max_unauthenticated_per_network: 4_096,
            // All clients share one thread, and on a busy machine that is slow.
            handshake_timeout: Duration::from_secs(60),
            ..Limits::default()
        };
        let server = Server::builder(Identity::generate()?)
            .limits(limits)
            .authorize(|peer| async move { Ok(Admission::Member(Anybody(DeviceId(*peer.id.as_bytes())))) })
            .router(Router::new().route(PROTOCOL, chat))
            .start()
            .await?;
        signal_ready(server.address(), &server.id().to_string()).await
    })
}
