//! Users, devices, roles, invites, and the enroll/1 protocol.
//!
//! A server knows *users*, each with *devices*: keys that connections prove to hold. There are no passwords. A new
//! device becomes known by the secret of an *invite*, which is redeemed once. What a user may do is the table in
//! [`Role::may`]. [`Accounts`] holds the rules over any store; [`Session`] is what a connection's handlers are told.
//! Spec: chapter 6.

#![forbid(unsafe_code)]

mod accounts;
pub mod audit;
mod client;
mod devices;
mod error;
mod invites;
pub mod limits;
pub mod link;
mod name;
mod protocol;
mod record;
mod redeem;
mod role;
mod secret;
mod session;
mod users;

pub use accounts::Accounts;
pub use client::AccountsClient;
pub use devices::Revocation;
pub use error::AccountsError;
pub use hikyaku_wire::enroll::{DeviceId, InviteId, UserId};
pub use invites::{InviteWish, IssuedInvite};
pub use link::{Address, InviteLink, LinkError, invite_text, parse_invite_id, split as split_addresses};
pub use name::{DeviceName, MAX_NAME, NameError, UserName};
pub use protocol::{Enroll, Manage, Service, system_time};
pub use redeem::{Enrolled, Redemption};
pub use role::{Grant, Permission, Role};
pub use secret::Secret;
pub use session::Session;
