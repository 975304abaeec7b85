//! Descriptors: every TCP connection needs one, and so do the store and files on their way.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::exit::{Exit, Result, Trouble};

/// With fewer than this a server could not serve its own files beside a few connections.
const LEAST: u64 = 256;

/// Takes as many as the system permits, and refuses to run with too few.
pub(crate) fn raise() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let most = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    tracing::info!(most, "descriptors");
    match most {
        Some(most) if most < LEAST => {
            let reason = format!("a server needs {LEAST} descriptors (open files), and may have {most} here");
            Err(Trouble::new(Exit::Failed, reason).hint("raise the hard limit, as with 'ulimit -Hn'"))
        }
        _ => Ok(()),
    }
}
