//! How a command ends: the exit codes that scripts rely on, and sentences for people.

use std::fmt;
use std::process::ExitCode;

use hikyaku::{ClosedBy, Error, ErrorCode, printable};

use crate::output;

/// The exit codes, fixed for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    IdentityRefused = 4,
    Denied = 5,
    NotFound = 6,
    Corrupt = 7,
    Full = 8,
    OutcomeUnknown = 9,
    PartlyFailed = 10,
    TimeoutOrLimit = 11,
    Interrupted = 130,
}

impl Exit {
    /// The meaning of a code that another process of this program gave.
    pub(crate) fn of(code: u8) -> Self {
        let all = [Self::Denied, Self::NotFound, Self::Corrupt, Self::Full, Self::TimeoutOrLimit];
        all.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed: what failed and why, and what to do next.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) exit: Exit,
    what: String,
    hint: Option<String>,
}

/// The result of a command.
pub(crate) type Result<T = (), E = Trouble> = std::result::Result<T, E>;

impl Trouble {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: None }
    }

    /// A mistake in the command line.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Ends the program without a word: whoever read the output has gone away.
    pub(crate) fn quiet() -> Self {
        Self::new(Exit::Done, "")
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done: `sending to #ops: …`.
    pub(crate) fn during(mut self, doing: impl fmt::Display) -> Self {
        if !self.what.is_empty() {
            self.what = format!("{doing}: {}", self.what);
        }
        self
    }

    /// What failed and why.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Tells the person, on standard error.
    pub(crate) fn report(&self) {
        if self.what.is_empty() {
            return;
        }
        output::note(format_args!("hikyaku: {}", self.what));
        if let Some(hint) = &self.hint {
            output::note(format_args!("  {hint}"));
        }
    }
}

/// The exit code that belongs to a code of the protocol.
fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::IDENTITY_REFUSED
        | ErrorCode::REVOKED
        | ErrorCode::ENROLL_REQUIRED
        | ErrorCode::STRANGER_LIMIT
        | ErrorCode::INVITE_UNKNOWN
        | ErrorCode::INVITE_EXPIRED
        | ErrorCode::INVITE_USED => Exit::IdentityRefused,
        ErrorCode::DENIED | ErrorCode::DROP_DISABLED | ErrorCode::LAST_OWNER => Exit::Denied,
        ErrorCode::NOT_FOUND | ErrorCode::ROOM_UNKNOWN | ErrorCode::TRANSFER_UNKNOWN => Exit::NotFound,
        ErrorCode::CORRUPT | ErrorCode::GROUP_MISMATCH | ErrorCode::ROOT_MISMATCH => Exit::Corrupt,
        ErrorCode::FULL => Exit::Full,
        ErrorCode::DEADLINE_EXCEEDED
        | ErrorCode::STREAM_DEADLINE
        | ErrorCode::LIMIT
        | ErrorCode::LIMIT_EXCEEDED
        | ErrorCode::BODY_TOO_LARGE
        | ErrorCode::BUSY => Exit::TimeoutOrLimit,
        ErrorCode::UNAVAILABLE | ErrorCode::GOING_AWAY | ErrorCode::REFUSED => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

fn hint_of(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::ENROLL_REQUIRED | ErrorCode::REVOKED => {
            "this device is not, or no longer, known there: ask for an invite and type 'hikyaku join'"
        }
        ErrorCode::INVITE_USED | ErrorCode::INVITE_EXPIRED | ErrorCode::INVITE_UNKNOWN => {
            "ask for a new invite ('hikyaku invite create' on a device that is known there)"
        }
        ErrorCode::ROOM_UNKNOWN => {
            "'hikyaku room list' shows the rooms, 'hikyaku room create NAME' makes one"
        }
        ErrorCode::DROP_DISABLED => {
            "the server takes files into a directory when it runs with 'serve --into DIR'"
        }
        ErrorCode::FULL => "make room on the server and try again; what was sent is kept and not sent twice",
        ErrorCode::NAME_TAKEN => "choose another name with --name",
        ErrorCode::NAME_INVALID => {
            "choose another: --name says who you are, --device what this computer is called"
        }
        _ => return None,
    })
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Unreachable(_) => Exit::Unreachable,
            Error::ConnectTimeout(_) => Exit::Unreachable,
            Error::IdentityRefused { .. } => Exit::IdentityRefused,
            Error::Closed(closed) if closed.by != ClosedBy::Peer => Exit::Unreachable,
            error => exit_of(error.code()),
        };
        let trouble = Self::new(exit, error.to_string());
        match &error {
            Error::IdentityRefused { .. } => trouble.hint(
                "someone else answers at that address, or the server was set up anew: nothing was sent to it; \
                 ask the server's owner for a new invite",
            ),
            Error::Unreachable(_) | Error::ConnectTimeout(_) => {
                trouble.hint("is the server running, and is this computer on the right network?")
            }
            error => match hint_of(error.code()) {
                Some(hint) => trouble.hint(hint),
                None => trouble,
            },
        }
    }
}

impl From<hikyaku_files::FilesError> for Trouble {
    fn from(error: hikyaku_files::FilesError) -> Self {
        match error {
            hikyaku_files::FilesError::Exchange(error) => error.into(),
            error => {
                let exit = exit_of(error.code());
                let trouble = Self::new(exit, error.to_string());
                match hint_of(error.code()) {
                    Some(hint) => trouble.hint(hint),
                    None => trouble,
                }
            }
        }
    }
}

impl From<hikyaku_sqlite::client::ClientError> for Trouble {
    fn from(error: hikyaku_sqlite::client::ClientError) -> Self {
        use hikyaku_sqlite::client::ClientError;
        let exit = match &error {
            ClientError::Limit { .. } => Exit::TimeoutOrLimit,
            ClientError::Full => Exit::Full,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<hikyaku_sqlite::OpenError> for Trouble {
    fn from(error: hikyaku_sqlite::OpenError) -> Self {
        use hikyaku_sqlite::OpenError;
        let exit = match &error {
            OpenError::Damaged { .. } => Exit::Corrupt,
            OpenError::Io { source, .. } => exit_of_io(source),
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<hikyaku::IdentityError> for Trouble {
    fn from(error: hikyaku::IdentityError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

/// A failed system call: `what` names the thing, such as a path.
pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Trouble {
    Trouble::new(exit_of_io(error), format!("{}: {error}", printable(&what.to_string())))
}

fn exit_of_io(error: &std::io::Error) -> Exit {
    match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        std::io::ErrorKind::PermissionDenied => Exit::Denied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Exit::Full,
        _ => Exit::Failed,
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
