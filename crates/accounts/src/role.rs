//! Roles and what they permit. One table, so that a change is one line.

use minicbor::{Decode, Encode};

/// What a user is on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// May do everything that is possible over the network.
    #[n(0)]
    Owner,
    /// Takes part.
    #[n(1)]
    Member,
}

/// What a user may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Make rooms.
    CreateRooms,
    /// Invite new users.
    Invite,
    /// Put files into the server's drop directory.
    Drop,
    /// Replace what lies there.
    Replace,
    /// See and cancel the invites of others.
    ManageInvites,
    /// See and revoke the devices of others.
    ManageDevices,
    /// Erase what others wrote, and close rooms.
    Moderate,
    /// Grant others more than their role permits.
    Grant,
}

impl Permission {
    /// The permission in words, for a sentence such as "you may not invite new users".
    pub fn words(self) -> &'static str {
        match self {
            Self::CreateRooms => "create rooms",
            Self::Invite => "invite new users",
            Self::Drop => "put files into the server's directory",
            Self::Replace => "replace what lies in the server's directory",
            Self::ManageInvites => "manage the invites of others",
            Self::ManageDevices => "manage the devices of others",
            Self::Moderate => "moderate rooms",
            Self::Grant => "grant others more than their role permits",
        }
    }
}

/// What may be granted to a user beside what the role permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Grant {
    /// [`Permission::Drop`].
    #[n(0)]
    Drop,
    /// [`Permission::Replace`].
    #[n(1)]
    Replace,
}

impl Grant {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Drop, Self::Replace];

    /// Its name on the wire and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Replace => "replace",
        }
    }

    /// The grant of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }

    /// What it permits.
    pub fn permission(self) -> Permission {
        match self {
            Self::Drop => Permission::Drop,
            Self::Replace => Permission::Replace,
        }
    }
}

impl Role {
    /// The role's name on the wire and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Member => "member",
        }
    }

    /// The role of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Owner, Self::Member].into_iter().find(|role| role.name() == name)
    }

    /// Whether the role permits this.
    pub fn may(self, permission: Permission) -> bool {
        match self {
            Self::Owner => true,
            Self::Member => matches!(permission, Permission::CreateRooms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_takes_part_and_an_owner_decides() {
        let all = [
            Permission::CreateRooms,
            Permission::Invite,
            Permission::Drop,
            Permission::Replace,
            Permission::ManageInvites,
            Permission::ManageDevices,
            Permission::Moderate,
            Permission::Grant,
        ];
        let permitted = |role: Role| all.into_iter().filter(|permission| role.may(*permission)).count();
        assert_eq!(permitted(Role::Owner), all.len());
        assert_eq!(permitted(Role::Member), 1);
        assert!(Role::Member.may(Permission::CreateRooms));
    }

    #[test]
    fn names_of_roles_read_back() {
        for role in [Role::Owner, Role::Member] {
            assert_eq!(Role::of_name(role.name()), Some(role));
        }
        assert_eq!(Role::of_name("Owner"), None);
        for grant in Grant::ALL {
            assert_eq!(Grant::of_name(grant.name()), Some(grant));
            assert!(!Role::Member.may(grant.permission()), "what everybody may need not be granted");
        }
    }
}
