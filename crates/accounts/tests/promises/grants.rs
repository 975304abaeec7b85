use hikyaku_accounts::{AccountsError, Grant, Session};
use hikyaku_wire::codes::ErrorCode;

use crate::world::{World, device, key};

//= S6.37 (test)
#[tokio::test]
async fn what_is_granted_holds_at_once_and_so_does_its_end() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let (accounts, id) = (&world.accounts, bob.user.unwrap());
    let refused = accounts.must_now(&bob, Grant::Drop).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::DENIED);
    let asks = "you may not put files into the server's directory; \
                ask an owner of the server for 'hikyaku user allow bob drop'";
    assert_eq!(refused.to_string(), asks);
    // The session is that of a connection which is open: what holds is looked up.
    for _ in 0..2 {
        accounts.grant(&ada, id, Grant::Drop, true).await.unwrap();
        assert_eq!(accounts.must_now(&bob, Grant::Drop).await, Ok(()));
        assert!(accounts.must_now(&bob, Grant::Replace).await.is_err(), "one is not the other");
    }
    assert_eq!(world.session(2).await.roles(), ["member", "drop"]);
    let listed = accounts.list_users(&ada, None).await.unwrap().users;
    assert!(listed.iter().any(|user| user.name == "bob" && user.roles == ["member", "drop"]));
    accounts.grant(&ada, id, Grant::Drop, false).await.unwrap();
    assert!(accounts.must_now(&bob, Grant::Drop).await.is_err());
    assert_eq!(world.session(2).await.roles(), ["member"]);
}

//= S6.37 (test)
#[tokio::test]
async fn only_owners_and_the_operator_grant_and_both_need_none() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let (accounts, id) = (&world.accounts, bob.user.unwrap());
    let own = accounts.grant(&bob, id, Grant::Drop, true).await;
    assert_eq!(own, Err(AccountsError::Denied("grant others more than their role permits")));
    let operator = Session::operator(key(9));
    accounts.grant(&operator, id, Grant::Replace, true).await.unwrap();
    assert_eq!(accounts.must_now(&bob, Grant::Replace).await, Ok(()));
    for session in [&ada, &operator] {
        for grant in Grant::ALL {
            assert_eq!(accounts.must_now(session, grant).await, Ok(()));
        }
    }
    assert!(accounts.must_now(&Session::stranger(key(7)), Grant::Drop).await.is_err());
    // Who is gone grants nothing, and is granted nothing.
    accounts.revoke_user(&operator, id, world.now()).await.unwrap();
    assert_eq!(accounts.grant(&ada, id, Grant::Drop, true).await, Err(AccountsError::NotFound("user")));
    assert!(accounts.must_now(&bob, Grant::Replace).await.is_err());
    let second = world.join_device(&ada, 3).await;
    accounts.revoke_device(&ada, device(3)).await.unwrap();
    let again = accounts.grant(&second, ada.user.unwrap(), Grant::Drop, true).await;
    assert_eq!(again, Err(AccountsError::Unknown));
}
