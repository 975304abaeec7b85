//! What somebody may do in a room: what the program permits everywhere, and what the room says of its members.
//!
//! Roles stand under keys of their own, and every change of one changes the room's record too. Whoever checks the
//! version of the record in a batch has therefore checked every role that was read at that version.

use hikyaku_wire::chat::{Kind, MemberRole, UserId};

use super::core::Core;
use super::room::Versioned;
use super::sequencer::Checks;
use crate::member::{Ask, Member, Operation, Permit};
use crate::refusal::Refusal;
use crate::rules::{Roles, Standing, Wish, asks_for_moderators};
use crate::stored::{self, MemberRecord, member_key, room_key};

impl Core {
    /// What a user is in a room.
    pub(crate) async fn role(&self, room: &Versioned, user: UserId) -> Result<Option<MemberRole>, Refusal> {
        if let Some(role) = room.role(&user) {
            return Ok(role);
        }
        let keys = vec![room_key(room.room), member_key(room.room, user)];
        let [record, member] =
            <[_; 2]>::try_from(self.store.get_many(keys).await?).map_err(|_| Refusal::Corrupt)?;
        let role = match member {
            Some(member) => Some(stored::decode::<MemberRecord>(&member.value)?.role),
            // Nobody has joined or left since it was made.
            None if room.record.members == 0 && room.record.creator == user => Some(MemberRole::Owner),
            None => None,
        };
        if record.is_some_and(|record| record.version == room.version) {
            room.remember(user, role);
        }
        Ok(role)
    }

    /// What the author of an event is in its room. Everything the answer rests on goes into `checks`, to be checked in
    /// the batch that appends, beside the room's record.
    //= S4.37
    pub(crate) async fn standing(
        &self,
        member: &dyn Member,
        room: &Versioned,
        kind: Kind,
        fresh: bool,
        checks: &mut Checks,
    ) -> Result<Standing, Refusal> {
        let ask = |operation| Ask { operation, room: Some(room.room), fresh };
        checks.add(member.permit(ask(Operation::Append(kind))).await?);
        let matters = asks_for_moderators(kind);
        if !room.record.private && !matters {
            return Ok(Standing::Member);
        }
        let role = self.role(room, member.author().id).await?;
        //= S4.81
        match role {
            None if room.record.private => return Err(Refusal::RoomUnknown),
            Some(MemberRole::Invited) if room.record.private => {
                return Err(Refusal::Denied("write in this room before you have joined it"));
            }
            Some(MemberRole::Owner | MemberRole::Moderator) => return Ok(Standing::Moderator),
            _ if !matters => return Ok(Standing::Member),
            _ => {}
        }
        match member.permit(ask(Operation::Moderate)).await {
            Ok(permit) => {
                checks.add(permit);
                Ok(Standing::Moderator)
            }
            Err(Refusal::Denied(_)) => Ok(Standing::Member),
            Err(refusal) => Err(refusal),
        }
    }

    /// What those are whom a change of membership concerns.
    pub(crate) async fn roles(
        &self,
        member: Option<&dyn Member>,
        room: &Versioned,
        wish: &Wish,
        fresh: bool,
        checks: &mut Checks,
    ) -> Result<Roles, Refusal> {
        let subject = self.role(room, wish.subject).await?;
        let Some(member) = member else { return Ok(Roles { actor: None, moderates: true, subject }) };
        let actor = self.role(room, member.author().id).await?;
        if actor.is_none() && room.record.private {
            return Err(Refusal::RoomUnknown);
        }
        let moderate = Ask { operation: Operation::Moderate, room: Some(room.room), fresh };
        let moderates = match member.permit(moderate).await {
            Ok(permit) => {
                checks.add(permit);
                true
            }
            Err(Refusal::Denied(_)) => false,
            Err(refusal) => return Err(refusal),
        };
        Ok(Roles { actor, moderates, subject })
    }

    /// Whether somebody may know that a room is there, and what they are in it.
    //= S4.80
    pub(crate) async fn known_to(
        &self,
        member: &dyn Member,
        room: &Versioned,
    ) -> Result<(Permit, Option<MemberRole>), Refusal> {
        let permit = self.permit(member, Operation::Read, Some(room.room)).await?;
        let role = self.role(room, member.author().id).await?;
        if room.record.private && role.is_none() {
            return Err(Refusal::RoomUnknown);
        }
        Ok((permit, role))
    }

    /// Whether somebody may read a room.
    //= S4.80
    pub(crate) async fn readable_by(&self, member: &dyn Member, room: &Versioned) -> Result<(), Refusal> {
        if !room.record.private {
            return self.permit(member, Operation::Read, Some(room.room)).await.map(|_| ());
        }
        match self.known_to(member, room).await? {
            (_, Some(MemberRole::Invited)) => {
                Err(Refusal::Denied("read this room before you have joined it"))
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody decides about a room, and what that rests on.
    pub(crate) async fn owned_by(&self, member: &dyn Member, room: &Versioned) -> Result<Permit, Refusal> {
        let (permit, role) = self.known_to(member, room).await?;
        if role == Some(MemberRole::Owner) {
            return Ok(permit);
        }
        let denied = Refusal::Denied("decide about this room; its owners may");
        if room.record.private {
            return Err(denied);
        }
        match self.permit(member, Operation::Moderate, Some(room.room)).await {
            Ok(permit) => Ok(permit),
            Err(Refusal::Denied(_)) => Err(denied),
            Err(refusal) => Err(refusal),
        }
    }
}
