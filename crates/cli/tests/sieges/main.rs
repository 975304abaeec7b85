//! A server under siege: connections killed at every point, thousands that do their worst at once. Its memory and its
//! descriptors stay within bounds and come back, and whoever was there before notices nothing.
//!
//! The numbers are small here. `cargo xtask soak connections` runs the same with 100,000 kills, 2,000 attackers, 1,000
//! slow connections in each state and 2,000 hostile members, by the variables `HIKYAKU_KILLS`, `HIKYAKU_ATTACKERS`,
//! `HIKYAKU_SLOW` and `HIKYAKU_MEMBERS`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacker;
#[path = "../common/mod.rs"]
mod common;
mod held;
mod kills;
mod line;
mod members;
mod slow;
mod worst;

use std::io;
use std::sync::Arc;

use attacker::{Attacker, Talk, address, exchange};
use common::{Home, Place, Server, server_with_room};
use hikyaku_mux::Dir;
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{self, Cursor, Follow, Mode, Resolve, Room, RoomRef};
use hikyaku_wire::enroll::{InviteId, Redeem, SecretBytes};
use hikyaku_wire::frame::{self, FrameType};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What the memory of a process may grow without meaning anything: arenas of the allocator, caches of the store. A leak
/// of a kilobyte a connection is forty times that in the long run.
const SLACK: u64 = 24 << 20;

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// A server with a room in which something was said, and its owner.
struct Besieged {
    server: Server,
    ana: Home,
    keys: Arc<Keys>,
    place: Place,
}

/// What attackers have: a key that nobody knows, one stolen from somebody else than who is to be served, and what it opens.
struct Keys {
    stranger: Attacker,
    member: Attacker,
    room: Room,
}

impl Besieged {
    fn new() -> Self {
        let place = Place::new();
        let (server, ana) = server_with_room(&place, &[], "ops");
        ana.run(["say", "ops", "before"]).ok();
        let robbed = place.home("robbed");
        robbed.join(ana.run(["invite", "create"]).ok(), "robbed");
        let (stranger, member) =
            (Attacker::stranger(server.address), Attacker::member(server.address, &robbed.path));
        let room = runtime().block_on(async { resolve(&mut talk(&member).await?).await });
        let room = room.unwrap();
        Self { server, ana, keys: Arc::new(Keys { stranger, member, room }), place }
    }
}

/// A connection that keeps to the rules so far.
async fn talk(who: &Attacker) -> io::Result<Talk<TlsStream<TcpStream>>> {
    let mut talk = Talk::new(who.handshake(who.dial(address(9), false).await?).await?);
    talk.greet().await?;
    Ok(talk)
}

/// Asks for the room, as anybody may who is inside.
async fn resolve(talk: &mut Talk<TlsStream<TcpStream>>) -> io::Result<Room> {
    let resolve = cbor::encode(&Resolve { room: RoomRef::Name("ops".into()) });
    Ok(first_message(&ask(talk, chat::method::RESOLVE, &[&resolve]).await?))
}

/// What the attackers run on.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn ask<S>(talk: &mut Talk<S>, method: &str, messages: &[&[u8]]) -> io::Result<Vec<u8>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let id = talk.open(Dir::Bi).await?;
    talk.write(id, &exchange(chat::PROTOCOL, method, messages, true)).await?;
    talk.answer(id).await
}

/// The first MESSAGE of an answer.
fn first_message<M: for<'b> minicbor::Decode<'b, ()>>(answer: &[u8]) -> M {
    let mut decoder = frame::Decoder::new(frame::FrameLimits::default());
    decoder.push(bytes::Bytes::copy_from_slice(answer));
    loop {
        match decoder.next().unwrap().expect("an answer has a message") {
            frame::Piece::Frame { ty: FrameType::MESSAGE, payload } => {
                return cbor::decode(&payload, &cbor::Limits::default()).unwrap();
            }
            _ => continue,
        }
    }
}

fn follow(room: &Room) -> Vec<u8> {
    let cursor = Cursor { room: room.head.room, epoch: 0, next: 1, mode: Mode::Live };
    cbor::encode(&Follow { subscribe: vec![cursor], unsubscribe: Vec::new() })
}

fn wrong_invite() -> Vec<u8> {
    let (invite, secret) = (InviteId([7; 8]), SecretBytes([7; 16]));
    cbor::encode(&Redeem { invite, secret, user: "mallory".into(), device: "laptop".into() })
}
