//! Every "no" of the chat server, and what the peer is told about it.

use hikyaku_storage::StoreError;
use hikyaku_wire::cbor::CborError;
use hikyaku_wire::chat::Kind;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{Failure, Retry};

use crate::name::NameError;

/// Why a request was refused. The text is what a person reads: side, scope and limit are in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such room, or none this member may know of.
    #[error("no such room on this server")]
    RoomUnknown,
    /// The text is no room name.
    #[error("{0}")]
    NameInvalid(#[from] NameError),
    /// Another room has the name.
    #[error("a room of that name exists already")]
    NameTaken,
    /// Another room has the id.
    #[error("a room with that id and another name exists already")]
    RoomTaken,
    /// The member may not do that.
    #[error("you may not {0}")]
    Denied(&'static str),
    /// The author used the id for something else.
    #[error("this message id was used for another message, event {seq}")]
    IdReused {
        /// Where the other message is.
        seq: u64,
    },
    /// The body is too large.
    #[error("the body has {size} bytes, this server takes {limit}")]
    BodyTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Something else is too large or too many.
    #[error("this server's limit of {limit} {what} is exceeded ({size})")]
    Limit {
        /// What is limited, in plural.
        what: &'static str,
        /// How many or large.
        size: usize,
        /// How many or large it may be.
        limit: usize,
    },
    /// Only the server makes such events.
    #[error("events of kind {0} are made by the server alone")]
    KindReserved(Kind),
    /// This version of the server does not know the rules for such events yet.
    #[error("this server does not take events of kind {0} yet")]
    KindUnsupported(Kind),
    /// A kind that is about an event names none, or too many.
    #[error("an event of kind {0} is about exactly one other event")]
    RefsMissing(Kind),
    /// An event that does not exist.
    #[error("event {seq} does not exist; the newest is {last}")]
    RefUnknown {
        /// The event named.
        seq: u64,
        /// The newest event.
        last: u64,
    },
    /// An event that retention has removed.
    #[error("event {seq} was removed by retention; the first that is still there is {first}")]
    RefTrimmed {
        /// The event named.
        seq: u64,
        /// The first event.
        first: u64,
    },
    /// An event that was deleted.
    #[error("event {seq} was deleted")]
    RefErased {
        /// The event named.
        seq: u64,
    },
    /// An event that is not of a kind to which this can be done.
    #[error("an event of kind {kind} cannot be about one of kind {target}")]
    RefKind {
        /// The kind that was sent.
        kind: Kind,
        /// The kind of the event it is about.
        target: Kind,
    },
    /// A body that its kind does not have.
    #[error("an event of kind {0} {1}")]
    Body(Kind, &'static str),
    /// The event is in view already.
    #[error("event {seq} is pinned already")]
    Pinned {
        /// The event.
        seq: u64,
    },
    /// The event is not in view.
    #[error("event {seq} is not pinned")]
    NotPinned {
        /// The event.
        seq: u64,
    },
    /// They are that already.
    #[error("that is so already: nothing was changed")]
    MemberAlready,
    /// They do not belong to the room.
    #[error("that user does not belong to this room")]
    MemberUnknown,
    /// No such user.
    #[error("this server has no such user")]
    UserUnknown,
    /// The room would have nobody left who decides.
    #[error("a room with members needs an owner: make somebody else one first")]
    LastOwner,
    /// The numbers were those of another epoch.
    #[error("the room's history was rewound since; it is in epoch {epoch}, and its newest event is {last}")]
    Rewound {
        /// The server's epoch.
        epoch: u32,
        /// The server's newest event.
        last: u64,
    },
    /// A key that is reserved for a later version was used.
    #[error("this server does not know {0}")]
    Unsupported(&'static str),
    /// `expect_last` did not hold.
    #[error("the room has moved on: its newest event is {last}, not {expected}")]
    Moved {
        /// What was expected.
        expected: u64,
        /// What is.
        last: u64,
    },
    /// The reader knows events this server does not have.
    #[error("the server's log of this room ends before what you have seen (event {last}, epoch {epoch})")]
    Ahead {
        /// The server's epoch.
        epoch: u32,
        /// The server's newest event.
        last: u64,
    },
    /// The request contradicts itself.
    #[error("{0}")]
    Invalid(&'static str),
    /// A message of the peer could not be read.
    #[error("the message is malformed: {0}")]
    Malformed(CborError),
    /// Too much is waiting.
    #[error("the room is busy: {waiting} sends are waiting, the limit is {limit}; try again")]
    Busy {
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// Others kept changing what the commit rests on.
    #[error("others keep changing this room; try again with the same message id")]
    Contended,
    /// The store has no room left. Nothing was written.
    #[error("the server's disk is full; nothing was written")]
    Full,
    /// The store failed.
    #[error(
        "the server's store failed; whether anything was written is unknown: try again with the same message id"
    )]
    Store(StoreError),
    /// What is stored is damaged.
    #[error("what the server has stored about this room is damaged")]
    Corrupt,
    /// The system gave no random numbers.
    #[error("the server's system gives no random numbers")]
    NoRandomness,
    /// The server is stopping.
    #[error("the server is stopping; try again with the same message id")]
    Stopping,
    /// Whoever decides about permissions said no for a reason of its own.
    #[error("{}", .0.message)]
    Other(Failure),
}

impl Refusal {
    /// The code of this refusal on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::RoomUnknown => ErrorCode::ROOM_UNKNOWN,
            Self::NameInvalid(_) => ErrorCode::ROOM_NAME_INVALID,
            Self::NameTaken | Self::RoomTaken | Self::Pinned { .. } | Self::MemberAlready => {
                ErrorCode::ALREADY_EXISTS
            }
            Self::Denied(_) | Self::KindReserved(_) => ErrorCode::DENIED,
            Self::IdReused { .. } => ErrorCode::ID_REUSED,
            Self::BodyTooLarge { .. } => ErrorCode::BODY_TOO_LARGE,
            Self::Limit { .. } => ErrorCode::LIMIT,
            Self::RefsMissing(_)
            | Self::RefKind { .. }
            | Self::Body(..)
            | Self::Unsupported(_)
            | Self::KindUnsupported(_) => ErrorCode::INVALID_MESSAGE,
            Self::RefUnknown { .. }
            | Self::RefErased { .. }
            | Self::NotPinned { .. }
            | Self::MemberUnknown
            | Self::UserUnknown => ErrorCode::NOT_FOUND,
            Self::RefTrimmed { .. } => ErrorCode::TRIMMED,
            Self::Moved { .. } | Self::LastOwner => ErrorCode::CONFLICT,
            Self::Ahead { .. } | Self::Rewound { .. } => ErrorCode::EPOCH_CHANGED,
            Self::Invalid(_) => ErrorCode::INVALID_MESSAGE,
            Self::Malformed(error) => error.code(),
            Self::Busy { .. } | Self::Contended => ErrorCode::BUSY,
            Self::Full => ErrorCode::FULL,
            Self::Store(_) | Self::Stopping | Self::NoRandomness => ErrorCode::UNAVAILABLE,
            Self::Corrupt => ErrorCode::CORRUPT,
            Self::Other(failure) => failure.code,
        }
    }

    /// Whether and when the same request may be made again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy { .. } | Self::Contended => Retry::After(std::time::Duration::from_millis(100)),
            Self::Store(_) | Self::Stopping => Retry::NewConnection,
            Self::Other(failure) => failure.retry,
            _ => Retry::No,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            error => Self::Store(error),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Other(failure) => failure,
            refusal => {
                let retry = refusal.retry();
                let mut failure = Failure::new(refusal.code(), refusal.to_string());
                failure.retry = retry;
                failure
            }
        }
    }
}
