//! Who is at the other end of a connection: decided once, when the connection is accepted.

use hikyaku::KeyId;
use hikyaku_wire::enroll::{DeviceId, UserId};

use crate::error::AccountsError;
use crate::name::{DeviceName, UserName};
use crate::role::{Grant, Permission, Role};

/// The context of a connection, handed to every handler of an exchange on it.
///
/// A stranger has neither user nor role; the operator at the administration socket has no user, and may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The user; absent for strangers and for the operator.
    pub user: Option<UserId>,
    /// The user's name, present with the user.
    pub name: Option<UserName>,
    /// The key that the connection has proved to hold.
    pub device: KeyId,
    /// The device's name, present with the user.
    pub device_name: Option<DeviceName>,
    /// The user's role, present with the user.
    pub role: Option<Role>,
    /// Whether this is the operator at the administration socket.
    pub operator: bool,
    /// What the user was granted beside the role when the connection began; [`Accounts::must_now`] says what holds now.
    ///
    /// [`Accounts::must_now`]: crate::Accounts::must_now
    pub grants: Vec<Grant>,
}

impl Session {
    /// A device nobody knows: it may redeem an invite and nothing else.
    pub fn stranger(device: KeyId) -> Self {
        let (user, name, device_name, role) = (None, None, None, None);
        Self { user, name, device, device_name, role, operator: false, grants: Vec::new() }
    }

    /// The operator, who reaches the server through its administration socket.
    pub fn operator(device: KeyId) -> Self {
        Self { operator: true, ..Self::stranger(device) }
    }

    /// A device of a user.
    pub fn member(user: UserId, name: UserName, role: Role, device: KeyId, device_name: DeviceName) -> Self {
        Self {
            user: Some(user),
            name: Some(name),
            device,
            device_name: Some(device_name),
            role: Some(role),
            operator: false,
            grants: Vec::new(),
        }
    }

    /// Whether the device is unknown to the server.
    pub fn is_stranger(&self) -> bool {
        self.user.is_none() && !self.operator
    }

    /// Whether the session may do this.
    pub fn may(&self, permission: Permission) -> bool {
        self.operator || self.role.is_some_and(|role| role.may(permission))
    }

    /// An error that says what is missing, unless the session may do this.
    pub fn must(&self, permission: Permission) -> Result<(), AccountsError> {
        if self.may(permission) { Ok(()) } else { Err(AccountsError::Denied(permission.words())) }
    }

    /// The device as messages name it.
    pub fn device_id(&self) -> DeviceId {
        DeviceId(*self.device.as_bytes())
    }

    /// The names of the session's role and of what was granted beside it.
    pub fn roles(&self) -> Vec<String> {
        let granted = self.grants.iter().map(|grant| grant.name());
        self.role.iter().map(|role| role.name()).chain(granted).map(str::to_owned).collect()
    }
}
