//! The administration door: a Unix socket in the data directory, for the user who runs the server and nobody else.
//! It speaks the same protocol as the network; what comes through it is the operator.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hikyaku::{Connection, ErrorCode, Exchange, Failure, Limits, Router, Server, local};
use hikyaku_accounts::{Accounts, Session};
use tokio::net::{UnixListener, UnixStream};

use super::context::Context;
use super::quotas::Desk;
use super::{backup, quotas};
use crate::exit::{self, Exit, Result, Trouble};

/// The socket within the data directory.
const NAME: &str = "admin.sock";

/// The open door.
pub(super) struct Door {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    /// Opens it. The data directory is locked, so a socket left there is a dead server's.
    pub(super) fn open(data: &Path, server: Arc<Server<Context>>, accounts: Accounts) -> Result<Self> {
        let path = data.join(NAME);
        let trouble = |error| exit::io(path.display(), &error);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(trouble(error)),
            _ => {}
        }
        // The directory is 0700 already; the socket says it once more.
        let listener = UnixListener::bind(&path).map_err(trouble)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(trouble)?;
        let task = tokio::spawn(accept(listener, server, accounts));
        Ok(Self { path, task })
    }

    /// Closes it; connections that came through it go on.
    pub(super) fn close(&self) {
        self.task.abort();
        // Whoever starts next removes what could not be removed now.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, server: Arc<Server<Context>>, accounts: Accounts) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the administration socket cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let uid = stream.peer_cred().map(|peer| peer.uid());
        match uid {
            Ok(uid) if uid == own || uid == 0 => {
                let context = Context::new(Session::operator(server.id()), accounts.clone());
                server.serve_io(stream, server.id(), context);
            }
            other => tracing::warn!(?other, "refused a stranger at the administration socket"),
        }
    }
}

/// Answers the operator, and nobody else.
pub(super) async fn answer(data: PathBuf, desk: Desk, exchange: Exchange<Context>) -> hikyaku::Result<()> {
    if !exchange.context().session().operator {
        return Err(Failure::new(ErrorCode::DENIED, "only the operator may do this").into());
    }
    match exchange.method() {
        backup::BACKUP => backup::answer(data, exchange).await,
        quotas::SET => desk.set(exchange).await,
        _ => Err(Failure::new(ErrorCode::NOT_FOUND, "admin/1 has no such method").into()),
    }
}

/// Connects to the server that runs on this data directory, as its operator.
pub(crate) async fn connect(data: &Path) -> Result<Connection> {
    let path = data.join(NAME);
    let stream = UnixStream::connect(&path).await.map_err(|error| {
        let unreachable =
            matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused);
        let trouble = exit::io(path.display(), &error);
        if unreachable {
            Trouble::new(Exit::Unreachable, format!("no server is running on {}", data.display()))
                .hint("start it with 'hikyaku serve', or name its data directory with --data DIR")
        } else {
            trouble
        }
    })?;
    Ok(local::connect(stream, Router::new(), Limits::default()).await?)
}
