//! The room log: rooms in which everything that was said stays, in one order, for everybody.
//!
//! A room is a totally ordered durable log. What is acknowledged is durable; every member sees every event once and
//! in the same order, however often connections break; a send is repeated as often as it takes and happens once.
//! The rules are pure functions ([`rules`], the client's follower); the server and the client around them move bytes.
//! Spec: chapter 4; DESIGN of the server's side: [`server`].

#![forbid(unsafe_code)]

mod chain;
mod event;
mod limits;
mod member;
mod name;
mod refusal;
mod rules;
pub mod server;
mod stored;

pub use chain::{Chain, digest};
pub use event::{Event, EventError, erase};
pub use hikyaku_wire::chat as wire;
pub use limits::Limits;
pub use member::{Answer, Ask, Author, Member, Operation, Permit};
pub use name::{NameError, RoomName};
pub use refusal::Refusal;
pub use server::{Authority, ChatServer, NewEvent};
