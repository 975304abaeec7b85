use hikyaku_accounts::{AccountsError, InviteWish, NameError, Permission, Redemption, Role, Secret};
use hikyaku_storage::{Key, Store};

use crate::world::{HOUR, MINUTE, World, device};

#[tokio::test]
async fn the_first_invite_makes_an_owner_and_there_is_no_second() {
    let (world, ada) = World::owned().await;
    assert_eq!(ada.role, Some(Role::Owner));
    assert!(ada.may(Permission::Invite) && ada.may(Permission::Drop));
    assert_eq!(ada.name.unwrap().as_str(), "ada");
    assert_eq!(world.accounts.first_invite(world.now()).await, Ok(None));
}

#[tokio::test]
async fn a_server_started_again_before_anyone_joined_prints_a_new_invite_and_ends_the_old_one() {
    let world = World::new();
    let old = world.accounts.first_invite(world.now()).await.unwrap().unwrap();
    let new = world.accounts.first_invite(world.now()).await.unwrap().unwrap();
    assert_eq!(world.redeem(&old, 1, "ada").await, Err(AccountsError::InviteUnknown));
    assert_eq!(world.redeem(&new, 1, "ada").await.unwrap().role, Role::Owner);
}

#[tokio::test]
async fn a_fresh_server_knows_nobody_and_permits_nothing() {
    let world = World::new();
    let stranger = world.session(9).await;
    assert!(stranger.is_stranger() && !stranger.may(Permission::CreateRooms));
    let wish = InviteWish::default();
    let denied = world.accounts.create_invite(&stranger, wish, world.now()).await;
    assert_eq!(denied, Err(AccountsError::Denied("invite new users")));
    assert_eq!(world.accounts.list_users(&stranger, None).await, Err(AccountsError::Unknown));
    assert_eq!(world.accounts.list_devices(&stranger, None).await, Err(AccountsError::Unknown));
    assert_eq!(world.accounts.list_invites(&stranger, None).await, Err(AccountsError::Unknown));
    let invited = world.accounts.invite_device(&stranger, None, None, world.now()).await;
    assert_eq!(invited, Err(AccountsError::NotFound("user")));
}

#[tokio::test]
async fn of_sixty_four_devices_that_race_for_one_use_exactly_one_wins() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 1).await;
    let mut racers = tokio::task::JoinSet::new();
    for number in 100..164 {
        let (world, invite) = (world.clone(), invite.clone());
        racers.spawn(async move { world.redeem(&invite, number, &format!("racer{number}")).await });
    }
    let results = racers.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|result| **result == Err(AccountsError::InviteUsed)).count(), 63);
    assert_eq!(world.accounts.list_users(&ada, None).await.unwrap().users.len(), 2);
}

#[tokio::test]
async fn an_invite_for_sixty_four_is_redeemed_sixty_four_times_and_not_once_more() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 64).await;
    let mut racers = tokio::task::JoinSet::new();
    for number in 100..165 {
        let (world, invite) = (world.clone(), invite.clone());
        racers.spawn(async move { world.redeem(&invite, number, &format!("racer{number}")).await });
    }
    let results = racers.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 64);
    assert_eq!(results.iter().filter(|result| **result == Err(AccountsError::InviteUsed)).count(), 1);
}

//= S6.26 (test)
#[tokio::test]
async fn of_two_people_who_race_for_a_name_one_gets_it_and_the_other_keeps_the_invite() {
    let (world, ada) = World::owned().await;
    let mut racers = tokio::task::JoinSet::new();
    let invites = [world.invite(&ada, 1).await, world.invite(&ada, 1).await];
    for (invite, (number, name)) in invites.into_iter().zip([(2, "bob"), (3, "b0b")]) {
        let world = world.clone();
        racers.spawn(async move { world.redeem(&invite, number, name).await });
    }
    let results = racers.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(results.contains(&Err(AccountsError::NameTaken)));
    let invites = world.accounts.list_invites(&ada, None).await.unwrap().invites;
    assert_eq!(invites.iter().map(|invite| invite.uses_left).sum::<u32>(), 1);
}

//= S6.27 (test)
#[tokio::test]
async fn a_device_whose_welcome_was_lost_asks_again_and_hears_the_same() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 1).await;
    let first = world.redeem(&invite, 2, "bob").await.unwrap();
    world.pass(48 * HOUR);
    // It may even have forgotten which name it asked for.
    assert_eq!(world.redeem(&invite, 2, "robert").await, Ok(first));
    assert_eq!(world.accounts.list_users(&ada, None).await.unwrap().users.len(), 2);
    assert_eq!(world.redeem(&invite, 3, "eve").await, Err(AccountsError::InviteUsed));
}

#[tokio::test]
async fn a_known_device_learns_nothing_with_another_secret_and_uses_no_other_invite() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 1).await;
    assert_eq!(world.redeem(&invite, 1, "ada2").await, Err(AccountsError::AlreadyEnrolled));
    assert!(world.redeem(&invite, 2, "bob").await.is_ok());
    let mut guess = invite.clone();
    guess.secret = Secret::from_bytes([0; 16]);
    assert_eq!(world.redeem(&guess, 2, "bob").await, Err(AccountsError::AlreadyEnrolled));
}

#[tokio::test]
async fn a_wrong_secret_is_an_unknown_invite_whatever_the_invite_is() {
    let (world, ada) = World::owned().await;
    let open = world.invite(&ada, 1).await;
    let used = world.invite(&ada, 1).await;
    world.redeem(&used, 2, "bob").await.unwrap();
    for invite in [open, used] {
        let redemption = Redemption {
            invite: invite.id,
            secret: Secret::from_bytes([0; 16]),
            device: device(9),
            user_name: "ada".into(),
            device_name: "laptop".into(),
        };
        for late in [0, 100 * HOUR] {
            let found = world.accounts.redeem(&redemption, world.now() + late).await;
            assert_eq!(found, Err(AccountsError::InviteUnknown));
        }
    }
}

#[tokio::test]
async fn an_invite_opens_until_its_last_millisecond_and_not_after() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 2).await;
    assert_eq!(invite.expires_ms, world.now() + 24 * HOUR);
    world.pass(24 * HOUR - 1);
    assert!(world.redeem(&invite, 2, "bob").await.is_ok());
    world.pass(1);
    assert_eq!(world.redeem(&invite, 3, "eve").await, Err(AccountsError::InviteExpired));
}

#[tokio::test]
async fn the_first_invite_ends_after_fifteen_minutes() {
    let world = World::new();
    let invite = world.accounts.first_invite(world.now()).await.unwrap().unwrap();
    world.pass(15 * MINUTE);
    assert_eq!(world.redeem(&invite, 1, "ada").await, Err(AccountsError::InviteExpired));
}

#[tokio::test]
async fn a_bad_or_taken_name_costs_no_use() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 1).await;
    assert_eq!(world.redeem(&invite, 2, "Ada").await, Err(AccountsError::NameTaken));
    assert_eq!(world.redeem(&invite, 2, "").await, Err(AccountsError::Name(NameError::Empty)));
    assert_eq!(
        world.redeem(&invite, 2, "a\u{202e}b").await,
        Err(AccountsError::Name(NameError::Character('\u{202e}')))
    );
    assert_eq!(world.redeem(&invite, 2, "bob").await.unwrap().role, Role::Member);
}

#[tokio::test]
async fn names_cannot_be_probed_without_an_invite() {
    let (world, ada) = World::owned().await;
    let mut invite = world.invite(&ada, 1).await;
    invite.secret = Secret::from_bytes([1; 16]);
    assert_eq!(world.redeem(&invite, 2, "ada").await, Err(AccountsError::InviteUnknown));
    assert_eq!(world.redeem(&invite, 2, "nobody").await, Err(AccountsError::InviteUnknown));
}

//= S6.12 (test)
#[tokio::test]
async fn the_store_holds_no_secret_before_or_after_it_is_used() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 2).await;
    world.redeem(&invite, 2, "bob").await.unwrap();
    let everything = world.store.scan(Key::default(), None, 1_000).await.unwrap();
    assert!(everything.len() > 8);
    let secret = invite.secret.reveal();
    for (key, found) in everything {
        assert!(!found.value.windows(secret.len()).any(|window| window == secret), "{key}");
    }
}

//= S6.13 (test)
#[tokio::test]
async fn nothing_that_is_printed_holds_a_secret() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 1).await;
    let redemption = Redemption {
        invite: invite.id,
        secret: invite.secret.clone(),
        device: device(2),
        user_name: "bob".into(),
        device_name: "laptop".into(),
    };
    let enrolled = world.accounts.redeem(&redemption, world.now()).await.unwrap();
    let again = world.redeem(&invite, 3, "eve").await.unwrap_err();
    let list = world.accounts.list_invites(&ada, None).await.unwrap();
    let shown = format!("{invite:?}\n{redemption:?}\n{enrolled:?}\n{again:?}\n{again}\n{list:?}\n{ada:?}");
    let bytes = invite.secret.reveal();
    let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = bytes.map(|byte| byte.to_string()).join(", ");
    assert!(shown.contains("Secret(hidden)"));
    assert!(!shown.contains(&hexadecimal) && !shown.contains(&decimal), "{shown}");
}
