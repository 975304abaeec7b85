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
    /// See and cancel the invites of others.
    ManageInvites,
    /// See and revoke the devices of others.
    ManageDevices,
    /// Erase what others wrote, and close rooms.
    Moderate,
}

impl Permission {
    /// The permission in words, for a sentence such as "you may not invite new users".
    pub fn words(self) -> &'static str {
        match self {
            Self::CreateRooms => "create rooms",
            Self::Invite => "invite new users",
            Self::Drop => "put files into the server's directory",
            Self::ManageInvites => "manage the invites of others",
            Self::ManageDevices => "manage the devices of others",
            Self::Moderate => "moderate rooms",
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
            Permission::ManageInvites,
            Permission::ManageDevices,
            Permission::Moderate,
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
    }
}
