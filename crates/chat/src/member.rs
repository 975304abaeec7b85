//! Who speaks, and what they may do: the seam between the room log and whoever keeps the users.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hikyaku_storage::Key;
use hikyaku_wire::chat::{DeviceId, Kind, RoomId, UserId};

use crate::refusal::Refusal;

/// Who makes an event, as the server authenticated them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The user.
    pub id: UserId,
    /// The user's name now.
    pub name: String,
    /// The device they speak from.
    pub device: DeviceId,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// See the rooms of the server and their names.
    List,
    /// Make a room.
    Create,
    /// Read a room's events.
    Read,
    /// Append an event of this kind.
    Append(Kind),
    /// Keep order in every room that they may read: delete what others wrote, pin, set topics.
    Moderate,
}

impl Operation {
    /// "You may not …".
    pub fn describe(self) -> &'static str {
        match self {
            Self::List => "list rooms",
            Self::Create => "create rooms",
            Self::Read => "read this room",
            Self::Append(_) => "write in this room",
            Self::Moderate => "moderate this room",
        }
    }
}

/// A question about a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is to be done.
    pub operation: Operation,
    /// Where; `None` for the server as a whole.
    pub room: Option<RoomId>,
    /// The last answer turned out to rest on something that has changed: whatever was remembered is to be
    /// read again.
    pub fresh: bool,
}

/// "Yes", and what it rests on. The keys are checked in the same batch that does what was asked for, so a
/// permission that is withdrawn in between is not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// Keys and the versions they must still have; 0 for a key that must be absent.
    pub checks: Vec<(Key, u64)>,
}

/// The future answer to an [`Ask`].
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Permit, Refusal>> + Send + 'a>>;

/// The future name of a user.
pub type Named<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, Refusal>> + Send + 'a>>;

/// The future id and name of a user who was looked for by name.
pub type Sought<'a> = Pin<Box<dyn Future<Output = Result<Option<(UserId, String)>, Refusal>> + Send + 'a>>;

/// Somebody connected. The program implements it over its users; the chat server knows nothing else of them.
///
/// `permit` is called once a send, so an implementation keeps what it read and reads again when asked
/// [`fresh`](Ask::fresh).
pub trait Member: Send + Sync + 'static {
    /// Who they are.
    fn author(&self) -> Author;

    /// Whether they may; [`Refusal::Denied`] if not.
    fn permit(&self, ask: Ask) -> Answer<'_>;

    /// The name of another user of the same server; `None` if there is none, and by default.
    fn name_of(&self, user: UserId) -> Named<'_> {
        let _ = user;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Another user of the same server by name; `None` if there is none, and by default.
    fn user_named<'a>(&'a self, name: &'a str) -> Sought<'a> {
        let _ = name;
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl<M: Member + ?Sized> Member for Arc<M> {
    fn author(&self) -> Author {
        (**self).author()
    }

    fn permit(&self, ask: Ask) -> Answer<'_> {
        (**self).permit(ask)
    }

    fn name_of(&self, user: UserId) -> Named<'_> {
        (**self).name_of(user)
    }

    fn user_named<'a>(&'a self, name: &'a str) -> Sought<'a> {
        (**self).user_named(name)
    }
}
