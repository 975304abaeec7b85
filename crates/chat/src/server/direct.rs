//! Direct rooms: one for each two users, made when one of them first names the other. Spec: chapter 4, "Rooms and
//! names".
//!
//! A direct room is a private room with a name that nobody can give to another, so that nobody can be there before the
//! two: `@ana+ben`. Each of them calls it by the other's name.

use hikyaku_storage::{Append, Batch, Guard, StoreError};
use hikyaku_wire::chat::{Kind, MemberRole, RoomId, RoomRef, UserId};

use super::core::{Core, random};
use super::methods::more_rooms;
use crate::member::{Ask, Author, Member, Operation};
use crate::name::RoomName;
use crate::refusal::Refusal;
use crate::rules::{Log, decide};
use crate::stored::{self, MemberRecord, RoomRecord, member_key, name_key, room_key, rooms_key, store_room};

/// Whether a room is one of two people.
pub(crate) fn is_direct(record: &RoomRecord) -> bool {
    record.name.starts_with('@')
}

/// What a member calls a room.
//= S4.6
pub(crate) fn seen_by(record: &RoomRecord, member: &dyn Member) -> String {
    match RoomName::parse_any(&record.name) {
        Ok(name) if name.is_direct() => name.seen_by(&member.author().name),
        _ => record.name.clone(),
    }
}

impl Core {
    /// Which room a member means.
    //= S4.5
    pub(crate) async fn meant(&self, member: &dyn Member, room: &RoomRef) -> Result<RoomId, Refusal> {
        let RoomRef::Name(text) = room else { return self.resolve(room).await };
        let named = RoomName::parse_any(text)?;
        let Some(whom) = named.person() else { return self.resolve(room).await };
        let author = member.author();
        let room = RoomName::direct(&author.name, whom);
        match self.resolve(&RoomRef::Name(room.as_str().to_owned())).await {
            Err(Refusal::RoomUnknown) => self.begin(member, author, whom).await,
            found => found,
        }
    }

    /// Makes the direct room of a member and somebody else, or finds it if the other was faster.
    pub(super) async fn begin(
        &self,
        member: &dyn Member,
        author: Author,
        whom: &str,
    ) -> Result<RoomId, Refusal> {
        let (other, name) = member.user_named(whom).await?.ok_or(Refusal::UserUnknown)?;
        if other == author.id {
            return Err(Refusal::Invalid("a direct room is for two: name somebody else"));
        }
        let named = RoomName::direct(&author.name, &name);
        for attempt in 0..self.limits.commit_attempts {
            let operation = Operation::Append(Kind::MESSAGE);
            let permit = member.permit(Ask { operation, room: None, fresh: attempt > 0 }).await?;
            let found = self.store.get_many(vec![name_key(&named), rooms_key()]).await?;
            let [taken, count] = <[_; 2]>::try_from(found).map_err(|_| Refusal::Corrupt)?;
            if let Some(taken) = taken {
                return taken.value.as_ref().try_into().map(RoomId).map_err(|_| Refusal::Corrupt);
            }
            let rooms = more_rooms(self, count.as_ref())?;
            let id = RoomId(random()?);
            let mut batch = self.between(id, &named, [(author.id, &author.name), (other, &name)]);
            batch = batch.check(name_key(&named), 0).check_read(rooms_key(), count.as_ref());
            batch.checks.extend(permit.checks.into_iter().filter(|(key, _)| *key != rooms_key()));
            batch = batch.put(name_key(&named), id.0.to_vec()).put(rooms_key(), stored::encode(&rooms));
            match self.store.commit(batch).await {
                Ok(_) => return Ok(id),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Contended)
    }

    /// The room's record, its two members and its empty log.
    fn between(&self, id: RoomId, named: &RoomName, people: [(UserId, &String); 2]) -> Batch {
        let now_ms = self.now_ms();
        let record = RoomRecord {
            name: named.as_str().to_owned(),
            creator: people[0].0,
            created_ms: now_ms,
            trimmed: None,
            private: true,
            members: 2,
            owners: 0,
            retention: None,
        };
        let decision = decide(&Log::empty(id), &record, None, &self.limits, now_ms);
        let mut batch = Batch::new().check(room_key(id), 0).put(room_key(id), stored::encode(&record));
        for (user, name) in people {
            let member = MemberRecord { role: MemberRole::Member, name: name.clone(), since_ms: now_ms };
            batch = batch.put(member_key(id, user), stored::encode(&member));
        }
        batch.puts.extend(decision.puts());
        let (guard, state) = (Guard::UNKNOWN_ROOM, decision.log.state());
        batch.append(Append { room: store_room(id), guard, events: decision.events, state })
    }
}
