//! What became of a transfer is recorded whatever happens to its exchange.
//!
//! The handler of an exchange is dropped where it stands when the peer cancels, the deadline passes or the connection ends. So its work is
//! a task, which is told of that, lets go of the transfer, and still has its last word with the record.

use std::future::Future;
use std::panic::resume_unwind;

use tokio::sync::watch;

use crate::error::{FilesError, Result};

/// Ready once nobody waits for the work any more.
pub(super) struct Unwanted(watch::Receiver<()>);

impl Unwanted {
    /// What `work` comes to, which is dropped when nobody waits for it any more.
    pub(super) async fn unless<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => done,
            // Nothing is ever said; that nobody can say anything any more is what counts.
            _ = self.0.changed() => Err(FilesError::BrokenOff),
        }
    }
}

/// Runs `work` to its end, also when the returned future is dropped: then it is told so.
pub(super) async fn to_its_end<F>(work: impl FnOnce(Unwanted) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (_wanted, unwanted) = watch::channel(());
    match tokio::spawn(work(Unwanted(unwanted))).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime is being shut down.
        Err(_) => Err(FilesError::BrokenOff),
    }
}
