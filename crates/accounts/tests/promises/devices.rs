use hikyaku_accounts::limits::MAX_DEVICES;
use hikyaku_accounts::{AccountsError, Permission, UserId};

use crate::world::{MINUTE, World, device};

#[tokio::test]
async fn a_device_invite_adds_a_device_to_its_user_and_to_nobody_else() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let second = world.join_device(&bob, 3).await;
    assert_eq!(second.user, bob.user);
    assert_eq!(second.name.unwrap().as_str(), "bob");
    assert_eq!(second.device_name.unwrap().as_str(), "laptop-2");
    assert!(!second.role.unwrap().may(Permission::Invite));
}

#[tokio::test]
async fn nobody_but_the_operator_adds_a_device_to_another_user() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let denied = world.accounts.invite_device(&ada, bob.user, None, world.now()).await;
    assert_eq!(denied, Err(AccountsError::Denied("add devices to other users")));

    let operator = world.operator();
    let invite = world.accounts.invite_device(&operator, bob.user, None, world.now()).await.unwrap();
    assert_eq!(world.redeem(&invite, 3, "").await.unwrap().user, bob.user.unwrap());
    let nobody = world.accounts.invite_device(&operator, Some(UserId([9; 16])), None, world.now()).await;
    assert_eq!(nobody, Err(AccountsError::NotFound("user")));
}

#[tokio::test]
async fn a_device_invite_ends_after_ten_minutes() {
    let (world, ada) = World::owned().await;
    let invite = world.accounts.invite_device(&ada, None, None, world.now()).await.unwrap();
    world.pass(10 * MINUTE);
    assert_eq!(world.redeem(&invite, 2, "").await, Err(AccountsError::InviteExpired));
}

#[tokio::test]
async fn a_user_has_at_most_sixty_four_devices() {
    let (world, ada) = World::owned().await;
    for number in 2..=MAX_DEVICES as u64 {
        world.join_device(&ada, number).await;
    }
    let invite = world.accounts.invite_device(&ada, None, None, world.now()).await.unwrap();
    let refused = world.redeem(&invite, 1_000, "").await;
    assert_eq!(refused, Err(AccountsError::Limit { what: "devices", limit: MAX_DEVICES }));
    let devices = world.accounts.list_devices(&ada, None).await.unwrap().devices;
    let mut names: Vec<_> = devices.into_iter().map(|device| device.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), MAX_DEVICES);
}

#[tokio::test]
async fn a_device_is_renamed_by_its_user_and_never_like_another() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    world.join_device(&bob, 3).await;
    let name = |text: &str| text.parse().unwrap();
    let renamed = world.accounts.rename_device(&bob, device(3), &name("phone")).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.this), ("phone", false));
    let taken = world.accounts.rename_device(&bob, device(2), &name("Phone")).await;
    assert_eq!(taken, Err(AccountsError::DeviceNameTaken));
    // One's own name again is no conflict, and the device of another is not there to be seen.
    assert!(world.accounts.rename_device(&bob, device(3), &name("phone")).await.is_ok());
    let foreign = world.accounts.rename_device(&ada, device(3), &name("x")).await;
    assert_eq!(foreign, Err(AccountsError::NotFound("device")));
}

#[tokio::test]
async fn only_an_owner_sees_the_devices_of_others() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    assert_eq!(world.accounts.list_devices(&ada, bob.user).await.unwrap().devices.len(), 1);
    let denied = world.accounts.list_devices(&bob, ada.user).await;
    assert_eq!(denied, Err(AccountsError::Denied("manage the devices of others")));
    assert!(world.accounts.list_devices(&bob, None).await.unwrap().devices[0].this);
}

#[tokio::test]
async fn when_a_device_was_seen_is_known_to_within_ten_minutes() {
    let (world, ada) = World::owned().await;
    let joined = world.now();
    let seen = async || world.accounts.list_devices(&ada, None).await.unwrap().devices[0].seen_ms;
    world.pass(10 * MINUTE - 1);
    world.session(1).await;
    assert_eq!(seen().await, joined);
    world.pass(1);
    world.session(1).await;
    assert_eq!(seen().await, world.now());
}
