use hikyaku_accounts::{AccountsError, InviteWish, Role, UserName};

use crate::world::{World, device, key};

//= S6.6 (test)
#[tokio::test]
async fn a_revoked_device_is_a_stranger_and_its_connections_are_named() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    world.join_device(&bob, 3).await;
    let revocation = world.accounts.revoke_device(&bob, device(3)).await.unwrap();
    assert_eq!(revocation.devices, [key(3)]);
    assert!(world.session(3).await.is_stranger());
    assert!(!world.session(2).await.is_stranger());
    let again = world.accounts.revoke_device(&bob, device(3)).await;
    assert_eq!(again, Err(AccountsError::NotFound("device")));
}

#[tokio::test]
async fn a_session_of_a_revoked_device_changes_nothing_any_more() {
    let (world, ada) = World::owned().await;
    let cleo = world.join_device(&ada, 2).await;
    world.accounts.revoke_device(&ada, device(2)).await.unwrap();
    // Its connection may live for a moment longer, with the session it was given.
    let unknown = AccountsError::Unknown;
    let accounts = &world.accounts;
    assert_eq!(accounts.create_invite(&cleo, InviteWish::default(), world.now()).await, Err(unknown.clone()));
    assert_eq!(accounts.invite_device(&cleo, None, None, world.now()).await, Err(unknown.clone()));
    assert_eq!(accounts.revoke_device(&cleo, device(1)).await, Err(unknown.clone()));
    assert_eq!(accounts.list_devices(&cleo, None).await, Err(unknown.clone()));
    assert_eq!(accounts.list_users(&cleo, None).await, Err(unknown.clone()));
    let renamed = accounts.rename_device(&cleo, device(1), &"mine".parse().unwrap()).await;
    assert_eq!(renamed, Err(unknown));
}

#[tokio::test]
async fn invites_made_on_a_device_end_with_it_and_others_stay() {
    let (world, ada) = World::owned().await;
    let second = world.join_device(&ada, 2).await;
    let ended = world.invite(&second, 1).await;
    let ended_device = world.accounts.invite_device(&second, None, None, world.now()).await.unwrap();
    let kept = world.invite(&ada, 1).await;
    let revocation = world.accounts.revoke_device(&ada, device(2)).await.unwrap();
    assert_eq!(revocation.invites, 2);
    assert_eq!(world.redeem(&ended, 10, "eve").await, Err(AccountsError::InviteUnknown));
    assert_eq!(world.redeem(&ended_device, 10, "eve").await, Err(AccountsError::InviteUnknown));
    assert!(world.redeem(&kept, 10, "bob").await.is_ok());
}

#[tokio::test]
async fn a_member_revokes_no_device_of_another() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    assert_eq!(world.accounts.revoke_device(&bob, device(1)).await, Err(AccountsError::NotFound("device")));
    assert!(world.accounts.revoke_device(&ada, device(2)).await.is_ok());
}

#[tokio::test]
async fn the_last_device_of_the_last_owner_stays_unless_the_operator_says_so() {
    let (world, ada) = World::owned().await;
    world.join(&ada, 2, "bob").await;
    assert_eq!(world.accounts.revoke_device(&ada, device(1)).await, Err(AccountsError::LastOwner));

    world.join_device(&ada, 3).await;
    assert!(world.accounts.revoke_device(&ada, device(3)).await.is_ok());

    let wish = InviteWish { role: Some(Role::Owner), ..InviteWish::default() };
    let invite = world.accounts.create_invite(&ada, wish, world.now()).await.unwrap();
    world.redeem(&invite, 4, "cleo").await.unwrap();
    assert!(world.accounts.revoke_device(&ada, device(1)).await.is_ok());
    let cleo = world.session(4).await;
    assert_eq!(world.accounts.revoke_device(&cleo, device(4)).await, Err(AccountsError::LastOwner));
    assert!(world.accounts.revoke_device(&world.operator(), device(4)).await.is_ok());
}

/// Owners Ada and Cleo at once revoke the devices with these numbers. Exactly one succeeds, whatever comes first.
async fn at_once(of_ada: u64, of_cleo: u64) {
    for head_start in 0..32 {
        let (world, ada) = World::owned().await;
        let wish = InviteWish { role: Some(Role::Owner), ..InviteWish::default() };
        let invite = world.accounts.create_invite(&ada, wish, world.now()).await.unwrap();
        world.redeem(&invite, 2, "cleo").await.unwrap();
        let cleo = world.session(2).await;
        let left = tokio::spawn({
            let world = world.clone();
            async move { world.accounts.revoke_device(&ada, device(of_ada)).await }
        });
        wait(head_start).await;
        let right = world.accounts.revoke_device(&cleo, device(of_cleo)).await;
        let results = [left.await.unwrap(), right];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{head_start}: {results:?}");
    }
}

/// Lets the others take this many steps.
async fn wait(steps: usize) {
    for _ in 0..steps {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_owners_who_revoke_each_other_at_once_do_not_lock_everybody_out() {
    at_once(2, 1).await;
}

#[tokio::test]
async fn two_owners_who_leave_at_once_do_not_lock_everybody_out() {
    at_once(1, 2).await;
}

#[tokio::test]
async fn a_device_revoked_while_it_invites_leaves_no_invite_behind() {
    for head_start in 0..32 {
        let (world, ada) = World::owned().await;
        let second = world.join_device(&ada, 2).await;
        let revoking = tokio::spawn({
            let world = world.clone();
            async move { world.accounts.revoke_device(&ada, device(2)).await }
        });
        wait(head_start).await;
        let invited = world.accounts.create_invite(&second, InviteWish::default(), world.now()).await;
        revoking.await.unwrap().unwrap();
        if let Ok(invite) = invited {
            let opened = world.redeem(&invite, 9, "eve").await;
            assert_eq!(opened, Err(AccountsError::InviteUnknown), "{head_start}");
        }
    }
}

#[tokio::test]
async fn a_revoked_user_is_gone_with_devices_and_invites_and_the_name_goes_to_nobody() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    world.join_device(&bob, 3).await;
    let left_open = world.accounts.invite_device(&bob, None, None, world.now()).await.unwrap();
    let id = bob.user.unwrap();

    let operator = world.operator();
    let mut revocation = world.accounts.revoke_user(&operator, id, world.now()).await.unwrap();
    revocation.devices.sort();
    assert_eq!(revocation.devices, [key(2), key(3)]);
    assert!(world.session(2).await.is_stranger() && world.session(3).await.is_stranger());
    assert_eq!(world.redeem(&left_open, 4, "bob").await, Err(AccountsError::InviteUnknown));
    let users = world.accounts.list_users(&ada, None).await.unwrap().users;
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ada"]);

    // What Bob wrote stays his.
    let bob_name: UserName = "bob".parse().unwrap();
    assert_eq!(world.accounts.names(&[id]).await.unwrap(), [Some(bob_name.clone())]);
    assert_eq!(world.accounts.user_of_name(&bob_name).await, Ok(None));
    let invite = world.invite(&ada, 1).await;
    assert_eq!(world.redeem(&invite, 5, "bob").await, Err(AccountsError::NameTaken));
    let gone = world.accounts.revoke_user(&operator, id, world.now()).await;
    assert_eq!(gone, Err(AccountsError::NotFound("user")));
}

#[tokio::test]
async fn a_device_invite_by_the_operator_does_not_outlive_its_user() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let operator = world.operator();
    let invite = world.accounts.invite_device(&operator, bob.user, None, world.now()).await.unwrap();
    world.accounts.revoke_user(&operator, bob.user.unwrap(), world.now()).await.unwrap();
    assert_eq!(world.redeem(&invite, 3, "").await, Err(AccountsError::InviteUnknown));
}

#[tokio::test]
async fn users_are_revoked_by_the_operator_alone() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let denied = world.accounts.revoke_user(&ada, bob.user.unwrap(), world.now()).await;
    assert!(matches!(denied, Err(AccountsError::Denied(_))));
}

#[tokio::test]
async fn a_server_whose_owner_was_revoked_offers_a_new_first_invite() {
    let (world, ada) = World::owned().await;
    world.accounts.revoke_user(&world.operator(), ada.user.unwrap(), world.now()).await.unwrap();
    let invite = world.accounts.first_invite(world.now()).await.unwrap().unwrap();
    assert_eq!(world.redeem(&invite, 2, "grace").await.unwrap().role, Role::Owner);
}
