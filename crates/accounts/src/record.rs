//! What the store holds, and under which keys. Every key of accounts is made here.
//!
//! | key | value |
//! |---|---|
//! | `u/` user | [`UserRecord`]; stays when the user is revoked, so that old messages keep their author's name |
//! | `n/` skeleton of a name | the user's id; stays too, so that nobody takes over a name |
//! | `d/` device | [`DeviceRecord`] |
//! | `i/` invite | [`InviteRecord`] |
//! | `ud/` user, device | empty: the devices of a user |
//! | `ui/` user, invite | empty: the open invites that a user made; [`OPERATOR`] stands for operator and server |
//! | `uo/` user | empty: the owners |
//! | `ug/` user | empty, written by everything that adds or removes a device or an invite of the user, so that such changes follow one another |
//! | `og` | empty, written by everything that may remove an owner's device |

use bytes::Bytes;
use hikyaku_storage::{Key, Versioned};
use hikyaku_wire::enroll::{DeviceId, InviteId, UserId};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::error::AccountsError;
use crate::role::{Grant, Permission, Role};
use crate::secret::SecretDigest;

/// Stands where a maker of invites is no user: the operator, or the server at its first start.
pub(crate) const OPERATOR: UserId = UserId([0; 16]);

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct UserRecord {
    #[n(0)]
    pub(crate) name: String,
    #[n(1)]
    pub(crate) role: Role,
    #[n(2)]
    pub(crate) created_ms: u64,
    #[n(3)]
    pub(crate) revoked_ms: Option<u64>,
    /// What was granted beside the role.
    #[n(4)]
    pub(crate) grants: Option<Vec<Grant>>,
}

impl UserRecord {
    /// The names of the role and of what was granted beside it.
    pub(crate) fn roles(&self) -> Vec<String> {
        let granted = self.grants.iter().flatten().map(|grant| grant.name());
        [self.role.name()].into_iter().chain(granted).map(str::to_owned).collect()
    }

    /// Whether the role or a grant permits this.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.role.may(permission)
            || self.grants.iter().flatten().any(|grant| grant.permission() == permission)
    }
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct DeviceRecord {
    #[n(0)]
    pub(crate) user: UserId,
    #[n(1)]
    pub(crate) name: String,
    #[n(2)]
    pub(crate) added_ms: u64,
    #[n(3)]
    pub(crate) seen_ms: u64,
    /// With which invite it came, and that invite's secret: asking again with the same gives the same answer.
    #[n(4)]
    pub(crate) invite: InviteId,
    #[n(5)]
    pub(crate) secret: SecretDigest,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct InviteRecord {
    #[n(0)]
    pub(crate) secret: SecretDigest,
    #[n(1)]
    pub(crate) role: Role,
    #[n(2)]
    pub(crate) uses_left: u32,
    #[n(3)]
    pub(crate) uses: u32,
    #[n(4)]
    pub(crate) created_ms: u64,
    #[n(5)]
    pub(crate) expires_ms: u64,
    /// [`OPERATOR`] when no user made it.
    #[n(6)]
    pub(crate) by: UserId,
    /// The device it was made on: it ends with that device.
    #[n(7)]
    pub(crate) by_device: DeviceId,
    /// The user it adds a device to; absent when it makes a new user.
    #[n(8)]
    pub(crate) user: Option<UserId>,
}

impl InviteRecord {
    /// Whether it can still be redeemed.
    pub(crate) fn is_open(&self, now: u64) -> bool {
        self.uses_left > 0 && now < self.expires_ms
    }
}

impl<C> Encode<C> for SecretDigest {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.to_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SecretDigest {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        ByteArray::<32>::decode(d, ctx).map(|bytes| Self::from_bytes(bytes.into()))
    }
}

/// A record as the store takes it.
pub(crate) fn encode<T: Encode<()>>(record: &T) -> Bytes {
    let mut bytes = Vec::new();
    // Writing into a vector cannot fail.
    let _ = minicbor::encode(record, &mut bytes);
    bytes.into()
}

/// The record that a stored value holds.
pub(crate) fn decode<T: for<'b> Decode<'b, ()>>(
    what: &'static str,
    found: &Versioned,
) -> Result<T, AccountsError> {
    minicbor::decode(&found.value).map_err(|_| AccountsError::Damaged(what))
}

pub(crate) fn user_key(user: UserId) -> Key {
    Key::join([&b"u/"[..], &user.0])
}

pub(crate) fn name_key(skeleton: &str) -> Key {
    Key::join([&b"n/"[..], skeleton.as_bytes()])
}

pub(crate) fn device_key(device: DeviceId) -> Key {
    Key::join([&b"d/"[..], &device.0])
}

pub(crate) fn invite_key(invite: InviteId) -> Key {
    Key::join([&b"i/"[..], &invite.0])
}

/// With no device: the prefix of all devices of the user.
pub(crate) fn user_device_key(user: UserId, device: Option<DeviceId>) -> Key {
    let device = device.map(|device| device.0);
    Key::join([&b"ud/"[..], &user.0, device.as_ref().map_or(&[], |bytes| bytes)])
}

/// With no invite: the prefix of all invites of the user.
pub(crate) fn user_invite_key(user: UserId, invite: Option<InviteId>) -> Key {
    let invite = invite.map(|invite| invite.0);
    Key::join([&b"ui/"[..], &user.0, invite.as_ref().map_or(&[], |bytes| bytes)])
}

/// With no user: the prefix of all owners.
pub(crate) fn owner_key(user: Option<UserId>) -> Key {
    let user = user.map(|user| user.0);
    Key::join([&b"uo/"[..], user.as_ref().map_or(&[], |bytes| bytes)])
}

pub(crate) fn guard_key(user: UserId) -> Key {
    Key::join([&b"ug/"[..], &user.0])
}

pub(crate) fn owners_guard_key() -> Key {
    Key::from("og")
}

/// The identifier at the end of a key made above.
pub(crate) fn last<const N: usize>(key: &Key) -> Result<[u8; N], AccountsError> {
    key.as_bytes().last_chunk::<N>().copied().ok_or(AccountsError::Damaged("key"))
}
