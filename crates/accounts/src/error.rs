//! What can go wrong with accounts, and the code each mistake has on the wire.

use hikyaku_storage::StoreError;
use hikyaku_wire::codes::ErrorCode;

use crate::name::NameError;

/// Why a request about accounts failed. `Display` is written for people, and holds neither secrets nor a peer's text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountsError {
    /// No invite has this id and secret.
    #[error("there is no such invite; it may have been cancelled, or the link was not copied whole")]
    InviteUnknown,
    /// Too late.
    #[error("the invite has expired; ask for a new one")]
    InviteExpired,
    /// Somebody else was first.
    #[error("the invite has been used; ask for a new one")]
    InviteUsed,
    /// Another user has this name, or one that looks like it.
    #[error("the name is taken by another user, or looks like one that is; choose another")]
    NameTaken,
    /// Another device of the user has this name.
    #[error("another of these devices has this name; choose another")]
    DeviceNameTaken,
    /// The text is no name.
    #[error("not a name: {0}")]
    Name(#[from] NameError),
    /// There is no role of this name.
    #[error("there is no such role; the roles are owner and member")]
    RoleUnknown,
    /// The last key that could administer the server over the network would go.
    #[error(
        "this is the last device of the last owner; invite another owner or device first, or let the operator revoke it"
    )]
    LastOwner,
    /// The role does not permit it.
    #[error("your role does not permit you to {0}")]
    Denied(&'static str),
    /// Neither the role nor a grant permits it.
    #[error("you may not {what}; ask an owner of the server for 'hikyaku user allow {name} {grant}'")]
    NotGranted {
        /// What.
        what: &'static str,
        /// The user's own name.
        name: String,
        /// What to ask for.
        grant: &'static str,
    },
    /// There is no grant of this name.
    #[error("there is nothing of that name to be granted; there is drop and replace")]
    GrantUnknown,
    /// The device is not, or no longer, known.
    #[error("this device is not enrolled; redeem an invite first")]
    Unknown,
    /// There is no such thing, or it is not yours to see.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A device belongs to one user.
    #[error("this device is already enrolled on this server")]
    AlreadyEnrolled,
    /// A number is out of its range.
    #[error("{what} must be between {least} and {most}")]
    Range {
        /// Which number, with its unit.
        what: &'static str,
        /// The smallest it may be.
        least: u64,
        /// The largest it may be.
        most: u64,
    },
    /// There are enough already.
    #[error("the server allows at most {limit} {what} for one user")]
    Limit {
        /// What there are enough of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Others changed the same things all the time.
    #[error("the server is busy with the same accounts; try again")]
    Busy,
    /// A stored record cannot be read.
    #[error("the server's record of a {0} is damaged")]
    Damaged(&'static str),
    /// The operating system has no randomness to give.
    #[error("the server has no source of randomness")]
    NoRandomness,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AccountsError {
    /// The code a peer is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InviteUnknown => ErrorCode::INVITE_UNKNOWN,
            Self::InviteExpired => ErrorCode::INVITE_EXPIRED,
            Self::InviteUsed => ErrorCode::INVITE_USED,
            Self::NameTaken | Self::DeviceNameTaken => ErrorCode::NAME_TAKEN,
            Self::Name(_) => ErrorCode::NAME_INVALID,
            Self::RoleUnknown | Self::GrantUnknown | Self::Range { .. } => ErrorCode::INVALID_MESSAGE,
            Self::LastOwner => ErrorCode::LAST_OWNER,
            Self::Denied(_) | Self::NotGranted { .. } => ErrorCode::DENIED,
            Self::Unknown => ErrorCode::ENROLL_REQUIRED,
            Self::NotFound(_) => ErrorCode::NOT_FOUND,
            Self::AlreadyEnrolled => ErrorCode::ALREADY_EXISTS,
            Self::Limit { .. } => ErrorCode::LIMIT,
            Self::Busy => ErrorCode::BUSY,
            Self::Store(StoreError::Full) => ErrorCode::FULL,
            Self::Damaged(_) | Self::NoRandomness | Self::Store(_) => ErrorCode::INTERNAL,
        }
    }

    /// Whether the words may go to a peer; those about the inside of the server may not.
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::NoRandomness | Self::Store(_))
    }
}

impl From<getrandom::Error> for AccountsError {
    fn from(_: getrandom::Error) -> Self {
        Self::NoRandomness
    }
}
