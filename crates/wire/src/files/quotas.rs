//! What is stored and how much may be: `quota`: → [`AskQuotas`] ← [`Quota`]*. Spec: section 5.5.

use minicbor::{Decode, Encode};

use crate::chat::UserId;

/// The method that tells what is stored, and how much may be.
pub const QUOTA: &str = "quota";

/// What the caller wants to know; without anything, what is the caller's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AskQuotas {
    /// Of this room.
    #[n(0)]
    pub room: Option<String>,
    /// Of this user.
    #[n(1)]
    pub user: Option<String>,
    /// Of everybody and everything.
    #[n(2)]
    pub all: Option<bool>,
}

/// What one account has, and may have.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Quota {
    /// Whose: one of [`Quota::STORE`] and those that follow. A reader passes over others.
    #[n(0)]
    pub scope: u64,
    /// The name of the room or of the user.
    #[n(1)]
    pub name: Option<String>,
    /// The user.
    #[n(2)]
    pub user: Option<UserId>,
    /// How many bytes are there.
    #[n(3)]
    pub used: u64,
    /// How many bytes transfers under way may still bring.
    #[n(4)]
    pub held: u64,
    /// The most bytes, if there is a bound.
    #[n(5)]
    pub limit: Option<u64>,
    /// Whether that was set for this user alone.
    #[n(6)]
    pub own: Option<bool>,
}

impl Quota {
    /// Everything in rooms, each content once, as it lies in the server's store.
    pub const STORE: u64 = 0;
    /// Everything in the server's directory.
    pub const DIRECTORY: u64 = 1;
    /// The files of one room.
    pub const ROOM: u64 = 2;
    /// What one user sent into rooms.
    pub const USER_IN_ROOMS: u64 = 3;
    /// What one user put into the server's directory.
    pub const USER_IN_DIRECTORY: u64 = 4;
}
