//! Who may make somebody a member of a room, give a role, and send somebody away. Pure. Spec: chapter 4, "Members".

use hikyaku_wire::chat::{Change, Kind, MemberRole, UserId};

use crate::limits::{Limits, within};
use crate::refusal::Refusal;
use crate::stored::RoomRecord;

/// A change of a membership that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) change: Change,
    pub(crate) subject: UserId,
    /// The subject's name.
    pub(crate) name: String,
    /// The role that is to be given.
    pub(crate) role: Option<MemberRole>,
}

/// What the room says about those concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// What the one is who wants it.
    pub(crate) actor: Option<MemberRole>,
    /// Whether that one may keep order on the whole server.
    pub(crate) moderates: bool,
    /// What the one is whom it is about.
    pub(crate) subject: Option<MemberRole>,
}

impl Wish {
    /// The event that says so.
    pub(crate) fn kind(&self) -> Kind {
        match self.change {
            Change::Join => Kind::JOIN,
            Change::Leave => Kind::LEAVE,
            Change::Invite => Kind::INVITE,
            Change::Role => Kind::ROLE,
        }
    }

    /// What the subject is afterwards, as far as the wish says.
    pub(crate) fn becomes(&self) -> Option<MemberRole> {
        match self.change {
            Change::Join => Some(MemberRole::Member),
            Change::Leave => None,
            Change::Invite => Some(MemberRole::Invited),
            Change::Role => self.role,
        }
    }

    /// Judges the wish by itself: `actor` is who asks.
    pub(crate) fn check(&self, actor: UserId) -> Result<(), Refusal> {
        let own = self.subject == actor;
        match self.change {
            Change::Join if !own => Err(Refusal::Invalid("one joins a room oneself")),
            Change::Invite if own => Err(Refusal::Invalid("one joins a room without inviting oneself")),
            Change::Role if self.role.is_none() => Err(Refusal::Invalid("a role is missing")),
            Change::Role if self.role == Some(MemberRole::Invited) => {
                Err(Refusal::Invalid("a member is owner, moderator or member"))
            }
            _ => Ok(()),
        }
    }

    /// Judges it by the room, and gives the room's record afterwards.
    //= S4.84
    pub(crate) fn apply(
        &self,
        roles: Roles,
        actor: UserId,
        record: &RoomRecord,
        limits: &Limits,
    ) -> Result<RoomRecord, Refusal> {
        use MemberRole::{Invited, Member, Moderator, Owner};
        let Roles { actor: who, moderates, subject } = roles;
        // Who keeps order on the server does so in every room that they may read.
        let inside = who.is_some_and(|role| role != Invited);
        let keeps_order =
            matches!(who, Some(Owner | Moderator)) || (moderates && (inside || !record.private));
        let owns = who == Some(Owner) || (moderates && !record.private);
        let own = self.subject == actor;
        match (self.change, subject) {
            (Change::Join, Some(Owner | Moderator | Member)) => Err(Refusal::MemberAlready),
            (Change::Join, None) if record.private => Err(Refusal::RoomUnknown),
            (Change::Invite, Some(_)) => Err(Refusal::MemberAlready),
            (Change::Invite, None) if record.private && !keeps_order => {
                Err(Refusal::Denied("invite to this room; its moderators may"))
            }
            (Change::Leave | Change::Role, None) => Err(Refusal::MemberUnknown),
            (Change::Leave, Some(Owner | Moderator)) if !own && !owns => {
                Err(Refusal::Denied("remove this member; an owner of the room may"))
            }
            (Change::Leave, Some(_)) if !own && !keeps_order => {
                Err(Refusal::Denied("remove members of this room; its moderators may"))
            }
            (Change::Role, Some(_)) if !owns => {
                Err(Refusal::Denied("give roles in this room; its owners may"))
            }
            (Change::Role, Some(Invited)) => Err(Refusal::MemberUnknown),
            (Change::Role, role) if role == self.role => Err(Refusal::MemberAlready),
            _ => Ok(()),
        }?;
        self.counted(subject, record, limits)
    }

    /// The record with the numbers of members and owners afterwards.
    fn counted(
        &self,
        before: Option<MemberRole>,
        record: &RoomRecord,
        limits: &Limits,
    ) -> Result<RoomRecord, Refusal> {
        let count = |role: Option<MemberRole>, wanted: MemberRole| u64::from(role == Some(wanted));
        let after = self.becomes();
        let members =
            (record.members + u64::from(after.is_some())).saturating_sub(u64::from(before.is_some()));
        let owners = (record.owners + count(after, MemberRole::Owner))
            .saturating_sub(count(before, MemberRole::Owner));
        if members > record.members {
            let size = usize::try_from(members).unwrap_or(usize::MAX);
            within("members of a room", size, limits.members)?;
        }
        // A room with members has somebody who can decide about them.
        if owners == 0 && record.owners > 0 && members > 0 {
            return Err(Refusal::LastOwner);
        }
        Ok(RoomRecord { members, owners, ..record.clone() })
    }
}
