//! Why a transfer ends early, and what the other side is told.

use std::io;
use std::time::Duration;

use hikyaku::{ErrorCode, Failure, Retry};
use hikyaku_storage::vault::VaultError;
use hikyaku_wire::parcel::Root;

use crate::bundle::BundleError;
use crate::drop_dir::Account;
use crate::names::NameError;
use crate::quota::Exceeded;

/// The result of everything in this crate.
pub type Result<T, E = FilesError> = std::result::Result<T, E>;

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A block, a close or an acceptance lies where it may not.
    #[error("the peer's range is not valid: {reason} (offset {offset}, {len} bytes)")]
    Range {
        /// Which rule.
        reason: &'static str,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// The bytes are not those of the chaining value that came with them.
    #[error("bytes {offset} to {} are damaged: their hash is not the one that came with them", offset + len - 1)]
    GroupMismatch {
        /// Where the group begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// The same inside a tree.
    #[error("{path} is damaged at byte {at} or behind it: the hash of bytes {offset} to {} of the bundle is not the one that came with them", offset + len - 1)]
    DamagedEntry {
        /// What was being written, already escaped for printing.
        path: String,
        /// Where in that file the damaged group begins.
        at: u64,
        /// Where the group begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// The whole is not what the sender says it is. Nothing was published.
    #[error("the whole is damaged: the sender says {said}, the bytes received ({size}) have {found}")]
    RootMismatch {
        /// What the sender said.
        said: Root,
        /// What the bytes have.
        found: Root,
        /// How many bytes there are.
        size: u64,
    },
    /// A name that is not taken.
    #[error("the name is refused: {0}")]
    Name(#[from] NameError),
    /// The name is taken; nothing is ever replaced.
    #[error("{0} exists already and is not replaced")]
    Exists(String),
    /// Something has a name that differs from this one by case or by composition alone.
    #[error("{0} and {1}, which is there, differ by case or by composition alone: it is not taken")]
    Collides(String, String),
    /// The transfer id belongs to something else.
    #[error("this transfer was offered before with another name, size or target, or by somebody else")]
    Taken,
    /// Its sender is there a second time.
    #[error(
        "the same transfer goes on over another connection: its sender has come back, or was started twice"
    )]
    TakenOver,
    /// There is no such transfer, or it is over.
    #[error("no such transfer: {0}")]
    Unknown(&'static str),
    /// The receiver has no drop directory.
    #[error("this server has no drop directory (it was not started with --into)")]
    DropDisabled,
    /// Neither the content nor its chaining values are what they were.
    #[error(
        "both the content ({size} bytes) and the hashes beside it have decayed, so that nobody can say what is right: send all of it again"
    )]
    Lost {
        /// How many bytes it has.
        size: u64,
    },
    /// The bytes of a packed block are of another kind.
    #[error("the block of bytes {offset} to {} is not packed with LZ4", offset + len.saturating_sub(1))]
    NotPacked {
        /// Where the block begins.
        offset: u64,
        /// How long it says that it is.
        len: u64,
    },
    /// What need not have been sent has to be sent after all.
    #[error("the receiver does not have that content whole any more: send it")]
    NotHeld,
    /// A block that has parts of an older version is not what it should be.
    #[error("the older version is not what it was when parts of it were named: try again")]
    OlderChanged,
    /// Only regular files are carried yet.
    #[error("only regular files are taken here")]
    Kind,
    /// A bound of this side.
    #[error("the receiver's limit {name} ({limit}) is reached")]
    Limit {
        /// Which.
        name: &'static str,
        /// Its value.
        limit: u64,
    },
    /// Nobody is there any more to whom anything could be said of it.
    #[error("it broke off: the other side gave it up, its deadline passed, or its connection ended")]
    BrokenOff,
    /// The sender gave the parcel up, or its time was over.
    #[error("this parcel was given up before it was whole")]
    Aborted,
    /// The sender of a parcel on its way began again before what was read already.
    #[error("the sender began again before what was read; what was read is compared")]
    Rewritten,
    /// It is still being sent, and no more of it is there than what was handed over.
    #[error("it is still being sent: these are its first {0} bytes")]
    Provisional(u64),
    /// More than somebody may have there.
    #[error("{0}")]
    Quota(Exceeded<Account>),
    /// The source is not what it was when it was offered.
    #[error("the file changed while it was being sent: {0}")]
    SourceChanged(&'static str),
    /// The source cannot be read.
    #[error("{path}: {error}")]
    Source {
        /// Which, already escaped for printing.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// The bundle of a tree is not one.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// The peer said something that does not belong there.
    #[error("the peer broke the order of the transfer: {0}")]
    Order(&'static str),
    /// The store of the receiver.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The exchange or the connection below.
    #[error("{0}")]
    Exchange(#[from] hikyaku::Error),
}

/// When a disk that failed may be tried again.
const DISK_AGAIN: Duration = Duration::from_secs(1);

impl FilesError {
    /// The code on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Range { .. } => ErrorCode::RANGE_INVALID,
            Self::GroupMismatch { .. } | Self::DamagedEntry { .. } => ErrorCode::GROUP_MISMATCH,
            Self::RootMismatch { .. } | Self::Lost { .. } => ErrorCode::ROOT_MISMATCH,
            Self::Name(_) => ErrorCode::NAME_REFUSED,
            Self::Exists(_) | Self::Collides(..) => ErrorCode::ALREADY_EXISTS,
            Self::Taken | Self::TakenOver => ErrorCode::CONFLICT,
            Self::Unknown(_) => ErrorCode::TRANSFER_UNKNOWN,
            Self::DropDisabled => ErrorCode::DROP_DISABLED,
            Self::NotHeld | Self::OlderChanged | Self::BrokenOff => ErrorCode::UNAVAILABLE,
            Self::Kind => ErrorCode::FAILED,
            Self::Limit { .. } => ErrorCode::LIMIT,
            Self::Aborted => ErrorCode::NOT_FOUND,
            Self::Rewritten | Self::Provisional(_) => ErrorCode::UNAVAILABLE,
            Self::Quota(_) => ErrorCode::FULL,
            Self::SourceChanged(_) => ErrorCode::SOURCE_CHANGED,
            Self::Source { error, .. } => io_code(error),
            Self::Order(_) | Self::NotPacked { .. } => ErrorCode::INVALID_MESSAGE,
            Self::Bundle(BundleError::Name(_)) => ErrorCode::NAME_REFUSED,
            Self::Bundle(BundleError::Limit { .. }) => ErrorCode::LIMIT,
            Self::Bundle(_) => ErrorCode::INVALID_MESSAGE,
            Self::Vault(error) => vault_code(error),
            Self::Exchange(error) => error.code(),
        }
    }

    /// Whether the same transfer may be tried again and go on where it stopped.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Exchange(error) => error.is_retryable(),
            Self::Vault(VaultError::Busy) | Self::NotHeld | Self::OlderChanged => true,
            _ => false,
        }
    }

    /// How long the peer asks to be left alone before it is tried again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exchange(error) => error.retry_after(),
            _ => None,
        }
    }

    /// What the peer is told. What the disk said stays here.
    pub(crate) fn into_failure(self) -> Failure {
        let code = self.code();
        let retry = match &self {
            Self::Vault(VaultError::Busy) | Self::NotHeld | Self::OlderChanged => {
                Retry::After(Duration::from_secs(1))
            }
            Self::Rewritten => Retry::After(Duration::from_millis(100)),
            Self::Vault(VaultError::Io(error)) if may_pass(error) => Retry::After(DISK_AGAIN),
            _ => Retry::No,
        };
        let message = match &self {
            Self::Vault(VaultError::Io(_)) | Self::Source { .. } => {
                tracing::warn!(error = %self, "a transfer failed on this side's disk");
                if code == ErrorCode::FULL {
                    "the disk of the peer got full while bytes were made durable".to_owned()
                } else {
                    "the disk of the peer failed; its log says how".to_owned()
                }
            }
            error => error.to_string(),
        };
        Failure::new(code, message).with_retry(retry)
    }
}

impl From<FilesError> for hikyaku::Error {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Exchange(error) => error,
            error => error.into_failure().into(),
        }
    }
}

impl From<Failure> for FilesError {
    fn from(failure: Failure) -> Self {
        Self::Exchange(failure.into())
    }
}

fn vault_code(error: &VaultError) -> ErrorCode {
    match error {
        VaultError::NotFound => ErrorCode::NOT_FOUND,
        VaultError::Busy => ErrorCode::BUSY,
        VaultError::Full { .. } | VaultError::Quota(_) => ErrorCode::FULL,
        VaultError::Limit { .. } => ErrorCode::LIMIT,
        VaultError::Misuse(_) => ErrorCode::INTERNAL,
        VaultError::Io(error) => io_code(error),
    }
}

/// Whether the same may go well in a while: a disk that failed once, or was full when bytes were to be made durable. What
/// was marked is there, and what came after it is sent again.
fn may_pass(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(errno) => {
            matches!(
                errno,
                Errno::IO | Errno::NOSPC | Errno::DQUOT | Errno::NFILE | Errno::MFILE | Errno::STALE
            )
        }
        // Our own words about a synchronisation that failed.
        None => error.kind() == io::ErrorKind::Other,
    }
}

fn io_code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::NOT_FOUND,
        io::ErrorKind::PermissionDenied => ErrorCode::DENIED,
        io::ErrorKind::AlreadyExists => ErrorCode::ALREADY_EXISTS,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::FULL,
        _ => ErrorCode::INTERNAL,
    }
}
