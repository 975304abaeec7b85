//! Samples of chapter 6: `enroll/1` and `accounts/1`.

use hikyaku_wire::accounts::{
    CancelInvite, CreateInvite, CreatedInvite, Device, Devices, GrantUser, Invite, InviteDevice, Invites,
    ListDevices, ListInvites, ListUsers, Me, Nothing, RenameDevice, RevokeDevice, RevokeUser, Revoked, User,
    Users,
};
use hikyaku_wire::enroll::{DeviceId, InviteId, Redeem, SecretBytes, UserId, Welcome};

use super::{Sample, counting, sample};

/// 2026-11-22T00:00Z, in milliseconds.
const NOW: u64 = 1_795_305_600_000;

pub(super) fn samples() -> Vec<Sample> {
    let mut out = enrolment();
    out.extend(invites());
    out.extend(devices_and_users());
    out
}

fn user_id() -> UserId {
    UserId(counting(0x10))
}

fn device_id() -> DeviceId {
    DeviceId(counting(0x20))
}

fn invite_id() -> InviteId {
    InviteId(counting(0x01))
}

fn enrolment() -> Vec<Sample> {
    let redeem = Redeem {
        invite: invite_id(),
        secret: SecretBytes(counting(0xa0)),
        user: "ada".into(),
        device: "laptop".into(),
    };
    let welcome = Welcome {
        id: user_id(),
        user: "ada".into(),
        device: "laptop".into(),
        server: "example.org".into(),
        roles: vec!["owner".into()],
    };
    let me = Me {
        id: Some(user_id()),
        user: Some("ada".into()),
        device: Some("laptop".into()),
        server: "example.org".into(),
        roles: vec!["owner".into(), "member".into()],
        operator: false,
    };
    let operator = Me { id: None, user: None, device: None, roles: vec![], operator: true, ..me.clone() };
    vec![
        sample("redeem", "a first device", &redeem),
        sample("welcome", "the first owner", &welcome),
        sample("nothing", "the empty message", &Nothing {}),
        sample("me", "a user", &me),
        sample("me", "the operator at the administration socket", &operator),
    ]
}

fn invites() -> Vec<Sample> {
    let create = CreateInvite { uses: Some(5), ttl_ms: Some(86_400_000), role: Some("member".into()) };
    let created = CreatedInvite {
        id: invite_id(),
        secret: SecretBytes(counting(0xa0)),
        expires_ms: NOW,
        addresses: "example.org:4747,[2001:db8::1]:4747".into(),
        host: device_id(),
    };
    let by_operator = Invite {
        id: invite_id(),
        role: "owner".into(),
        uses_left: 0,
        uses: 1,
        created_ms: NOW - 1,
        expires_ms: NOW,
        by: None,
        user: None,
    };
    let for_device = Invite { by: Some(user_id()), user: Some(user_id()), ..by_operator.clone() };
    vec![
        sample("create-invite", "with the defaults", &CreateInvite::default()),
        sample("create-invite", "with everything said", &create),
        sample("invite-device", "with the default", &InviteDevice::default()),
        sample(
            "invite-device",
            "for a minute, of a user",
            &InviteDevice { ttl_ms: Some(60_000), user: Some(user_id()) },
        ),
        sample("created-invite", "a new invite", &created),
        sample("list-invites", "the first page", &ListInvites::default()),
        sample("list-invites", "the next page", &ListInvites { after: Some(invite_id()) }),
        sample("invite", "used, made by the operator", &by_operator),
        sample("invite", "for one more device", &for_device),
        sample(
            "invites",
            "a page with more behind it",
            &Invites { invites: vec![by_operator, for_device], more: true },
        ),
        sample("cancel-invite", "by its id", &CancelInvite { id: invite_id() }),
    ]
}

fn devices_and_users() -> Vec<Sample> {
    let device =
        Device { id: device_id(), name: "laptop".into(), added_ms: NOW - 60_000, seen_ms: NOW, this: true };
    let user = User { id: user_id(), name: "ada".into(), roles: vec!["owner".into()], created_ms: NOW };
    let rename = RenameDevice { id: device_id(), name: "desktop".into() };
    vec![
        sample("list-devices", "one's own", &ListDevices::default()),
        sample("list-devices", "of a user", &ListDevices { user: Some(user_id()) }),
        sample("device", "the one that asks", &device),
        sample("devices", "one", &Devices { devices: vec![device] }),
        sample("rename-device", "a new name", &rename),
        sample("revoke-device", "by its id", &RevokeDevice { id: device_id() }),
        sample(
            "grant-user",
            "the drop directory",
            &GrantUser { id: user_id(), grant: "drop".into(), granted: true },
        ),
        sample("revoke-user", "by its id", &RevokeUser { id: user_id() }),
        sample("revoked", "one device and two invites", &Revoked { devices: vec![device_id()], invites: 2 }),
        sample("list-users", "the first page", &ListUsers::default()),
        sample("list-users", "the next page", &ListUsers { after: Some(user_id()) }),
        sample("user", "an owner", &user),
        sample("users", "the last page", &Users { users: vec![user], next: None }),
        sample(
            "users",
            "a page of revoked users with more behind it",
            &Users { users: vec![], next: Some(user_id()) },
        ),
    ]
}
