use hikyaku_accounts::limits::{MAX_INVITES, MAX_TTL_MS, MAX_USES, MIN_TTL_MS};
use hikyaku_accounts::{AccountsError, InviteId, InviteWish, Role};

use crate::world::{DAY, World};

fn wish() -> InviteWish {
    InviteWish::default()
}

#[tokio::test]
async fn a_member_invites_nobody_until_made_an_owner() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let denied = world.accounts.create_invite(&bob, wish(), world.now()).await;
    assert_eq!(denied, Err(AccountsError::Denied("invite new users")));

    let owner = InviteWish { role: Some(Role::Owner), ..wish() };
    let invite = world.accounts.create_invite(&ada, owner, world.now()).await.unwrap();
    world.redeem(&invite, 3, "cleo").await.unwrap();
    let cleo = world.session(3).await;
    assert!(world.accounts.create_invite(&cleo, wish(), world.now()).await.is_ok());
}

#[tokio::test]
async fn the_operators_invite_makes_an_owner_only_as_long_as_there_is_none() {
    let world = World::new();
    let operator = world.operator();
    let first = world.accounts.create_invite(&operator, wish(), world.now()).await.unwrap();
    assert_eq!(world.redeem(&first, 1, "ada").await.unwrap().role, Role::Owner);
    let second = world.accounts.create_invite(&operator, wish(), world.now()).await.unwrap();
    assert_eq!(world.redeem(&second, 2, "bob").await.unwrap().role, Role::Member);
}

#[tokio::test]
async fn uses_and_validity_have_limits_that_are_named() {
    let (world, ada) = World::owned().await;
    let uses = |uses: u32| InviteWish { uses: Some(uses), ..wish() };
    let ttl = |ttl_ms: u64| InviteWish { ttl_ms: Some(ttl_ms), ..wish() };
    for good in [uses(1), uses(MAX_USES), ttl(MIN_TTL_MS), ttl(MAX_TTL_MS)] {
        assert!(world.accounts.create_invite(&ada, good, world.now()).await.is_ok(), "{good:?}");
    }
    for bad in [uses(0), uses(MAX_USES + 1), ttl(MIN_TTL_MS - 1), ttl(MAX_TTL_MS + 1), ttl(u64::MAX)] {
        let refused = world.accounts.create_invite(&ada, bad, world.now()).await;
        assert!(matches!(refused, Err(AccountsError::Range { .. })), "{bad:?}");
    }
}

#[tokio::test]
async fn one_user_has_at_most_a_hundred_open_invites() {
    let (world, ada) = World::owned().await;
    let mut ids = Vec::new();
    for _ in 0..MAX_INVITES {
        ids.push(world.invite(&ada, 1).await.id);
    }
    let refused = world.accounts.create_invite(&ada, wish(), world.now()).await;
    assert_eq!(refused, Err(AccountsError::Limit { what: "open invites", limit: MAX_INVITES }));
    world.accounts.cancel_invite(&ada, ids[0]).await.unwrap();
    assert!(world.accounts.create_invite(&ada, wish(), world.now()).await.is_ok());
}

#[tokio::test]
async fn the_limit_of_invites_holds_when_all_are_asked_for_at_once() {
    let (world, ada) = World::owned().await;
    for _ in 0..MAX_INVITES - 4 {
        world.invite(&ada, 1).await;
    }
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (world, ada) = (world.clone(), ada.clone());
        racers.spawn(async move { world.accounts.create_invite(&ada, wish(), world.now()).await.is_ok() });
    }
    assert_eq!(racers.join_all().await.into_iter().filter(|made| *made).count(), 4);
}

#[tokio::test]
async fn a_cancelled_invite_opens_nothing() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 5).await;
    world.redeem(&invite, 2, "bob").await.unwrap();
    world.accounts.cancel_invite(&ada, invite.id).await.unwrap();
    assert_eq!(world.redeem(&invite, 3, "eve").await, Err(AccountsError::InviteUnknown));
    assert!(!world.session(2).await.is_stranger());
    let again = world.accounts.cancel_invite(&ada, invite.id).await;
    assert_eq!(again, Err(AccountsError::NotFound("invite")));
}

#[tokio::test]
async fn a_member_sees_and_cancels_only_own_invites_and_an_owner_all() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let of_ada = world.invite(&ada, 1).await;
    let of_bob = world.accounts.invite_device(&bob, None, None, world.now()).await.unwrap();
    let of_operator = world.invite(&world.operator(), 1).await;

    let seen_by_bob = world.accounts.list_invites(&bob, None).await.unwrap().invites;
    assert_eq!(seen_by_bob.iter().map(|invite| invite.id).collect::<Vec<_>>(), [of_bob.id]);
    assert_eq!(seen_by_bob[0].user, bob.user);
    for id in [of_ada.id, of_operator.id, InviteId([0; 8])] {
        assert_eq!(world.accounts.cancel_invite(&bob, id).await, Err(AccountsError::NotFound("invite")));
    }
    let seen_by_ada = world.accounts.list_invites(&ada, None).await.unwrap().invites;
    for id in [of_ada.id, of_bob.id, of_operator.id] {
        assert!(seen_by_ada.iter().any(|invite| invite.id == id));
        assert_eq!(world.accounts.cancel_invite(&ada, id).await, Ok(()));
    }
}

#[tokio::test]
async fn a_list_of_invites_comes_in_pages_without_gap_or_double() {
    let (world, ada) = World::owned().await;
    for _ in 0..60 {
        world.invite(&ada, 1).await;
        world.invite(&world.operator(), 1).await;
    }
    let first = world.accounts.list_invites(&ada, None).await.unwrap();
    assert!(first.more);
    let last = first.invites.last().map(|invite| invite.id);
    let second = world.accounts.list_invites(&ada, last).await.unwrap();
    assert!(!second.more);
    let mut ids: Vec<InviteId> =
        first.invites.iter().chain(&second.invites).map(|invite| invite.id).collect();
    ids.sort();
    ids.dedup();
    // And the two that made Ada.
    assert_eq!(ids.len(), 121);
}

#[tokio::test]
async fn ended_invites_are_forgotten_a_day_later() {
    let (world, ada) = World::owned().await;
    let expired = world.invite(&ada, 1).await;
    let used = world.invite(&ada, 1).await;
    world.redeem(&used, 2, "bob").await.unwrap();
    world.pass(DAY);
    assert_eq!(world.redeem(&expired, 3, "eve").await, Err(AccountsError::InviteExpired));
    world.pass(DAY);
    world.invite(&ada, 1).await;
    assert_eq!(world.redeem(&expired, 3, "eve").await, Err(AccountsError::InviteUnknown));
    // The device that used it still hears the same answer.
    assert!(world.redeem(&used, 2, "bob").await.is_ok());
}
