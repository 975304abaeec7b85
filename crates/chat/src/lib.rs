//! The room log: rooms in which everything that was said stays, in one order, for everybody.
//!
//! A room is a totally ordered durable log. What is acknowledged is durable; every member sees every event once and
//! in the same order, however often connections break; a send is repeated as often as it takes and happens once.
//! The rules are pure (`rules` for the server, [`client::Follower`] for the client); [`ChatServer`] and
//! [`client::ChatClient`] around them move bytes. Spec: chapter 4.

#![forbid(unsafe_code)]

pub mod audit;
mod chain;
pub mod client;
mod event;
mod fresh_id;
mod limits;
mod member;
mod name;
pub mod presence;
mod refusal;
mod rules;
pub mod server;
mod stored;

pub use chain::{Chain, digest};
pub use client::{ChatClient, Follower, Following, News, Position};
pub use event::{Event, EventError, EventView, erase};
pub use fresh_id::fresh_id;
pub use hikyaku_wire::chat as wire;
pub use limits::Limits;
pub use member::{Answer, Ask, Author, Member, Named, Operation, Permit, Sought};
pub use name::{NameError, RoomName};
pub use refusal::Refusal;
pub use server::{Authority, ChatServer, Kept, NewEvent};
