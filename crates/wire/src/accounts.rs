//! Messages of the application protocol `accounts/1`: who am I, invites, my devices, the users of a server.
//!
//! Every type is one CBOR map with small integer keys. Times are milliseconds since 1970. Lists come in pages,
//! each of which says whether another follows. Spec: chapter 6.

use minicbor::{Decode, Encode};

pub use crate::enroll::{DeviceId, InviteId, MAX_ROLES, SecretBytes, UserId};

/// The most entries that one page of a list is read with.
pub const MAX_PAGE: usize = 128;
/// The most devices that one revocation is read with.
pub const MAX_REVOKED: usize = 1_024;

/// The name in OPEN.
pub const PROTOCOL: &str = "accounts/1";

/// The methods of `accounts/1`, as named in OPEN.
pub mod method {
    /// [`Nothing`](super::Nothing) → [`Me`](super::Me).
    pub const WHOAMI: &str = "whoami";
    /// [`CreateInvite`](super::CreateInvite) → [`CreatedInvite`](super::CreatedInvite).
    pub const INVITE_CREATE: &str = "invite.create";
    /// [`ListInvites`](super::ListInvites) → [`Invites`](super::Invites).
    pub const INVITE_LIST: &str = "invite.list";
    /// [`CancelInvite`](super::CancelInvite) → [`Nothing`](super::Nothing).
    pub const INVITE_CANCEL: &str = "invite.cancel";
    /// [`InviteDevice`](super::InviteDevice) → [`CreatedInvite`](super::CreatedInvite), for one more device.
    pub const DEVICE_INVITE: &str = "device.invite";
    /// [`ListDevices`](super::ListDevices) → [`Devices`](super::Devices).
    pub const DEVICE_LIST: &str = "device.list";
    /// [`RenameDevice`](super::RenameDevice) → [`Device`](super::Device).
    pub const DEVICE_RENAME: &str = "device.rename";
    /// [`RevokeDevice`](super::RevokeDevice) → [`Revoked`](super::Revoked).
    pub const DEVICE_REVOKE: &str = "device.revoke";
    /// [`ListUsers`](super::ListUsers) → [`Users`](super::Users).
    pub const USER_LIST: &str = "user.list";
    /// [`GrantUser`](super::GrantUser) → [`Nothing`](super::Nothing).
    pub const USER_GRANT: &str = "user.grant";
    /// [`RevokeUser`](super::RevokeUser) → [`Revoked`](super::Revoked); the operator alone.
    pub const USER_REVOKE: &str = "user.revoke";
}

/// A message that says nothing more than that it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Nothing {}

/// Who the server takes the caller for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Me {
    /// The user; absent for the operator at the administration socket.
    #[n(0)]
    pub id: Option<UserId>,
    /// The user's name.
    #[n(1)]
    pub user: Option<String>,
    /// The device's name.
    #[n(2)]
    pub device: Option<String>,
    /// What the server calls itself.
    #[n(3)]
    pub server: String,
    /// The user's role, and what was granted beside it.
    #[n(4)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_ROLES>")]
    pub roles: Vec<String>,
    /// Whether the caller administers the server.
    #[n(5)]
    pub operator: bool,
}

/// Asks for an invite for someone who is not yet a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CreateInvite {
    /// How many devices may redeem it; 1 when absent.
    #[n(0)]
    pub uses: Option<u32>,
    /// How long it is valid, in milliseconds; a day when absent.
    #[n(1)]
    pub ttl_ms: Option<u64>,
    /// `owner` or `member`; when absent `member`, or `owner` as long as the server has no owner.
    #[n(2)]
    pub role: Option<String>,
}

/// Asks for an invite for one more device of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteDevice {
    /// How long it is valid, in milliseconds; ten minutes when absent.
    #[n(0)]
    pub ttl_ms: Option<u64>,
    /// Whose; the caller's when absent. Only the operator may name another.
    #[n(1)]
    pub user: Option<UserId>,
}

/// A new invite. Its secret is told this once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CreatedInvite {
    /// Its name.
    #[n(0)]
    pub id: InviteId,
    /// Its secret.
    #[n(1)]
    pub secret: SecretBytes,
    /// When it ends.
    #[n(2)]
    pub expires_ms: u64,
    /// The addresses of the server, `HOST:PORT[,HOST:PORT…]`; empty when it knows none, and then the caller's own are good.
    #[n(3)]
    pub addresses: String,
    /// The digest of the server's key, for the link.
    #[n(4)]
    pub host: DeviceId,
}

/// Asks for invites: the caller's own, or everybody's if the caller may see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListInvites {
    /// Those after this one.
    #[n(0)]
    pub after: Option<InviteId>,
}

/// An invite as its maker sees it later.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invite {
    /// Its name.
    #[n(0)]
    pub id: InviteId,
    /// What its users become.
    #[n(1)]
    pub role: String,
    /// How many devices may still redeem it.
    #[n(2)]
    pub uses_left: u32,
    /// How many could at first.
    #[n(3)]
    pub uses: u32,
    /// When it was made.
    #[n(4)]
    pub created_ms: u64,
    /// When it ends.
    #[n(5)]
    pub expires_ms: u64,
    /// Who made it; absent when the server or its operator did.
    #[n(6)]
    pub by: Option<UserId>,
    /// The user it adds a device to; absent when it makes new users.
    #[n(7)]
    pub user: Option<UserId>,
}

/// A page of invites.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invites {
    /// In the order of their names.
    #[n(0)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_PAGE>")]
    pub invites: Vec<Invite>,
    /// Whether more follow.
    #[n(1)]
    pub more: bool,
}

/// Ends an invite.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CancelInvite {
    /// Which.
    #[n(0)]
    pub id: InviteId,
}

/// Asks for the devices of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListDevices {
    /// Whose; the caller's when absent.
    #[n(0)]
    pub user: Option<UserId>,
}

/// A known device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Device {
    /// The digest of its key.
    #[n(0)]
    pub id: DeviceId,
    /// Its name, told apart from the user's other devices.
    #[n(1)]
    pub name: String,
    /// When it became known.
    #[n(2)]
    pub added_ms: u64,
    /// When it was last seen, to within some minutes.
    #[n(3)]
    pub seen_ms: u64,
    /// Whether it is the one that asks.
    #[n(4)]
    pub this: bool,
}

/// All devices of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Devices {
    /// In the order of their ids.
    #[n(0)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_PAGE>")]
    pub devices: Vec<Device>,
}

/// Gives one of the caller's devices another name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RenameDevice {
    /// Which.
    #[n(0)]
    pub id: DeviceId,
    /// Its new name.
    #[n(1)]
    pub name: String,
}

/// Makes a device unknown again and closes its connections.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevokeDevice {
    /// Which.
    #[n(0)]
    pub id: DeviceId,
}

/// Grants a user something beside the role, or takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GrantUser {
    /// Who.
    #[n(0)]
    pub id: UserId,
    /// What, by its name.
    #[n(1)]
    pub grant: String,
    /// Whether the user has it from now on.
    #[n(2)]
    pub granted: bool,
}

/// Removes a user with all devices and invites.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevokeUser {
    /// Who.
    #[n(0)]
    pub id: UserId,
}

/// What a revocation ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revoked {
    /// Devices that are unknown now.
    #[n(0)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_REVOKED>")]
    pub devices: Vec<DeviceId>,
    /// How many open invites ended with them.
    #[n(1)]
    pub invites: u32,
}

/// Asks for the users of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListUsers {
    /// Those after this one.
    #[n(0)]
    pub after: Option<UserId>,
}

/// A user of the server.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct User {
    /// Never given to anyone else.
    #[n(0)]
    pub id: UserId,
    /// Unique on the server.
    #[n(1)]
    pub name: String,
    /// The user's role, and what was granted beside it.
    #[n(2)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_ROLES>")]
    pub roles: Vec<String>,
    /// When the user joined.
    #[n(3)]
    pub created_ms: u64,
}

/// A page of users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Users {
    /// In the order of their ids; may be empty although more follow.
    #[n(0)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_PAGE>")]
    pub users: Vec<User>,
    /// What to ask the next page after; absent on the last page.
    #[n(1)]
    pub next: Option<UserId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_left_out_and_unknown_keys_are_skipped() {
        assert_eq!(minicbor::to_vec(CreateInvite::default()).unwrap(), [0xa0]);
        assert_eq!(minicbor::to_vec(Nothing {}).unwrap(), [0xa0]);
        // {0: 3, 99: "x"}
        let found: CreateInvite = minicbor::decode(&[0xa2, 0x00, 0x03, 0x18, 0x63, 0x61, b'x']).unwrap();
        assert_eq!(found, CreateInvite { uses: Some(3), ..CreateInvite::default() });
    }

    #[test]
    fn a_new_invite_hides_its_secret() {
        let invite = CreatedInvite {
            id: InviteId([1; 8]),
            secret: SecretBytes([0xab; 16]),
            expires_ms: 1,
            addresses: "h:1".into(),
            host: DeviceId([2; 32]),
        };
        assert!(!format!("{invite:?}").contains("171"));
        let bytes = minicbor::to_vec(&invite).unwrap();
        assert_eq!(minicbor::decode::<CreatedInvite>(&bytes).unwrap(), invite);
    }
}
