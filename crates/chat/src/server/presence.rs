//! `presence`: an exchange for as long as somebody looks at a room, and the datagrams that come and go with it.
//!
//! The rules are in [`crate::presence`]. Here each room that somebody looks at has one task, which tells all who look
//! what is new, and ends with the last of them. A datagram that finds no room in its connection is left out: it never
//! waits in front of anything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hikyaku::{Datagrams, Error, Exchange, Failure, Retry};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Doing, Look, Present, RoomId, UserId};
use hikyaku_wire::codes::ErrorCode;
use tokio::sync::Notify;

use super::core::Core;
use super::room::{LiveRoom, lock};
use super::sync::failed;
use crate::limits::within;
use crate::member::Member;
use crate::presence::{LookerId, Presence};
use crate::refusal::Refusal;

/// The rooms that somebody looks at.
#[derive(Default)]
pub(crate) struct Places {
    rooms: Mutex<HashMap<RoomId, Arc<Place>>>,
    /// How many look at any of them. More only under the lock.
    lookers: Arc<AtomicUsize>,
}

/// One of them.
struct Place {
    room: Arc<LiveRoom>,
    inside: Mutex<Inside>,
    news: Notify,
}

struct Inside {
    presence: Presence,
    /// Where those who look are told, and what the room let them read when they last were let in.
    told: HashMap<LookerId, (Datagrams, u64)>,
}

/// Answers one `presence` exchange until the client ends it, may look no longer, or the server drains.
pub(crate) async fn serve<C: Member>(core: &Arc<Core>, mut exchange: Exchange<C>) -> hikyaku::Result<()> {
    let ask: Look = exchange.receive().await?;
    let member: Arc<dyn Member> = exchange.shared_context();
    let (room, _) = core.open(&*member, &ask.room).await.map_err(failed)?;
    let datagrams = exchange.datagrams();
    let access = room.record().access();
    let looker = enter(core, &room, member.author().id, (datagrams.clone(), access)).map_err(failed)?;
    let present = lock(&looker.place.inside).presence.all(Instant::now());
    exchange.send(&present).await?;
    let connection = exchange.connection().clone();
    let ended = tokio::select! {
        ended = exchange.ended() => ended,
        refused = listen(core, &*member, &looker, &datagrams) => refused,
        () = connection.draining() => {
            let failure = Failure::new(ErrorCode::UNAVAILABLE, "the server is going away; look again");
            Err(Error::Failure(failure.with_retry(Retry::NewConnection)))
        }
    };
    drop(looker);
    ended?;
    exchange.finish().await
}

/// Somebody who looks; no longer when it is dropped.
struct Looker {
    place: Arc<Place>,
    id: LookerId,
    everywhere: Arc<AtomicUsize>,
}

impl Drop for Looker {
    fn drop(&mut self) {
        let mut inside = lock(&self.place.inside);
        inside.presence.leave(Instant::now(), self.id);
        inside.told.remove(&self.id);
        drop(inside);
        self.everywhere.fetch_sub(1, Ordering::AcqRel);
        self.place.news.notify_one();
    }
}

fn enter(
    core: &Arc<Core>,
    room: &Arc<LiveRoom>,
    user: UserId,
    told: (Datagrams, u64),
) -> Result<Looker, Refusal> {
    let limits = &core.limits.presence;
    let mut places = lock(&core.places.rooms);
    let everywhere = core.places.lookers.clone();
    within("lookers at rooms", everywhere.load(Ordering::Acquire) + 1, limits.lookers_in_all)?;
    let mut begun = false;
    let place = places.entry(room.id).or_insert_with(|| {
        begun = true;
        let inside = Inside { presence: Presence::new(room.id, limits.clone()), told: HashMap::new() };
        Arc::new(Place { room: room.clone(), inside: Mutex::new(inside), news: Notify::new() })
    });
    let place = place.clone();
    let mut inside = lock(&place.inside);
    // It waits for the locks held here, and ends again if nobody is let in.
    if begun {
        tokio::spawn(tell(core.clone(), place.clone()));
    }
    let id = inside.presence.enter(user)?;
    inside.told.insert(id, told);
    drop(inside);
    everywhere.fetch_add(1, Ordering::AcqRel);
    Ok(Looker { place, id, everywhere })
}

/// Takes what somebody says until they may look no longer.
async fn listen(
    core: &Core,
    member: &dyn Member,
    looker: &Looker,
    datagrams: &Datagrams,
) -> hikyaku::Result<()> {
    loop {
        let datagram = datagrams.receive().await?;
        // What cannot be read may be a newer peer's; it says nothing here.
        let Ok(doing) = cbor::decode::<Doing>(&datagram, &cbor::Limits::default()) else { continue };
        let record = looker.place.room.record();
        //= S4.71
        core.readable_by(member, &record).await.map_err(failed)?;
        let mut inside = lock(&looker.place.inside);
        if let Some((_, access)) = inside.told.get_mut(&looker.id) {
            *access = record.access();
        }
        inside.presence.hear(Instant::now(), looker.id, &member.author().name, doing.state);
        drop(inside);
        looker.place.news.notify_one();
    }
}

/// Tells everybody who looks at a room what is new, until nobody does.
async fn tell(core: Arc<Core>, place: Arc<Place>) {
    loop {
        let due = {
            let now = Instant::now();
            let mut inside = lock(&place.inside);
            let Inside { presence, told } = &mut *inside;
            for present in presence.poll(now) {
                place.show(told, &present);
            }
            presence.due(now)
        };
        if core.places.leave(&place) {
            return;
        }
        tokio::select! {
            () = place.news.notified() => {}
            () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()).await }, if due.is_some() => {}
        }
    }
}

impl Places {
    /// Forgets a room that nobody looks at any more.
    fn leave(&self, place: &Arc<Place>) -> bool {
        let mut places = lock(&self.rooms);
        let empty = lock(&place.inside).presence.is_empty();
        if empty {
            places.remove(&place.room.id);
        }
        empty
    }
}

impl Place {
    /// Sends one datagram to everybody who may still look.
    //= S4.71
    //= S4.76
    fn show(&self, told: &HashMap<LookerId, (Datagrams, u64)>, present: &Present) {
        let (datagram, access) = (cbor::encode(present), self.room.record().access());
        let mut left_out = 0_usize;
        for (datagrams, _) in told.values().filter(|(_, let_in)| *let_in == access) {
            left_out += usize::from(datagrams.send(&datagram).is_err());
        }
        if left_out > 0 {
            tracing::debug!(room = %self.room.id, left_out, "nothing was said of who is here: no room for it");
        }
    }
}
