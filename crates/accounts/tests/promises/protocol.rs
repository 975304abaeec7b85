//! The two protocols end to end: the real session over a pipe in memory.

use std::sync::{Arc, Mutex};

use hikyaku::{Admission, Error, ErrorCode, Identity, KeyId, Limits, Router, Server, Transport, local};
use hikyaku_accounts::{AccountsClient, Address, InviteLink, IssuedInvite, Service, Session};
use hikyaku_wire::accounts::{CreateInvite, InviteDevice};

use crate::world::{World, device, key};

/// A server's service over a world, and the devices whose connections it closed.
struct Host {
    world: World,
    service: Service,
    closed: Arc<Mutex<Vec<KeyId>>>,
}

const HOST: KeyId = KeyId::from_bytes([7; 32]);

impl Host {
    fn new(world: World) -> Self {
        let closed = Arc::new(Mutex::new(Vec::new()));
        let (clock, closing) = (world.clone(), closed.clone());
        let service = Service::new(world.accounts.clone(), HOST, "home")
            .addresses(vec!["example.org:4747".parse().unwrap()])
            .clock(move || clock.now())
            .on_revoked(move |devices| closing.lock().unwrap().extend_from_slice(devices));
        Self { world, service, closed }
    }

    /// A connection of this device, as the server's authorisation would admit it.
    async fn connect(&self, number: u64) -> AccountsClient {
        self.connect_as(self.world.session(number).await).await
    }

    async fn connect_as(&self, session: Session) -> AccountsClient {
        AccountsClient::new(local::pair(self.service.mount(Router::new()), session).await.unwrap())
    }
}

fn link(invite: IssuedInvite) -> InviteLink {
    let addresses = vec![Address::new("example.org", 4747).unwrap()];
    InviteLink { addresses, host: HOST, invite: invite.id, secret: invite.secret }
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    result.unwrap_err().code()
}

#[tokio::test]
async fn a_stranger_joins_by_a_link_and_is_known_on_the_next_connection() {
    let host = Host::new(World::new());
    let invite = host.world.accounts.first_invite(host.world.now()).await.unwrap().unwrap();
    let text = link(invite).to_string();

    let stranger = host.connect(1).await;
    let welcome = stranger.redeem(&text.parse().unwrap(), "Ada", "laptop").await.unwrap();
    assert_eq!(
        (welcome.user.as_str(), welcome.device.as_str(), welcome.server.as_str()),
        ("ada", "laptop", "home")
    );
    assert_eq!(welcome.roles, ["owner"]);
    // The answer was lost, the device asks again on a new connection.
    assert_eq!(host.connect(1).await.redeem(&text.parse().unwrap(), "Ada", "laptop").await.unwrap(), welcome);

    let me = host.connect(1).await.whoami().await.unwrap();
    assert_eq!((me.id, me.user.as_deref(), me.operator), (Some(welcome.id), Some("ada"), false));
}

#[tokio::test]
async fn an_invited_friend_joins_by_the_link_that_the_client_made() {
    let (world, _) = World::owned().await;
    let host = Host::new(world);
    let ada = host.connect(1).await;
    let link = ada.create_invite(&CreateInvite::default(), &[]).await.unwrap();
    assert_eq!((link.host, link.addresses_text().as_str()), (HOST, "example.org:4747"));
    let welcome = host.connect(2).await.redeem(&link, "bob", "phone").await.unwrap();
    assert_eq!(welcome.roles, ["member"]);
    let names: Vec<String> = ada.users().await.unwrap().into_iter().map(|user| user.name).collect();
    assert!(names.contains(&"ada".to_owned()) && names.contains(&"bob".to_owned()));
    // The first invite, which made Ada, and this one.
    let invites = ada.invites().await.unwrap();
    assert_eq!(invites.iter().map(|invite| invite.uses_left).collect::<Vec<_>>(), [0, 0]);
}

#[tokio::test]
async fn a_server_without_an_address_lets_the_client_name_its_own() {
    let (world, _) = World::owned().await;
    let mut host = Host::new(world);
    host.service = host.service.addresses(Vec::new());
    let ada = host.connect(1).await;
    let own = ["[::1]:4747".parse().unwrap()];
    let link = ada.invite_device(&InviteDevice::default(), &own).await.unwrap();
    assert_eq!(link.addresses, own);
    assert_eq!(code(ada.invite_device(&InviteDevice::default(), &[]).await), ErrorCode::INVALID_MESSAGE);
}

/// Over the network: real keys, real handshakes, both transports.
#[tokio::test]
async fn of_sixty_four_connections_that_race_for_one_invite_exactly_one_wins() {
    let (world, ada) = World::owned().await;
    let invite = link(world.invite(&ada, 1).await);
    let host = Host::new(world.clone());
    let limits = Limits { max_unauthenticated_per_network: 128, ..Limits::default() };
    let server = Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .authorize(move |peer| {
            let world = world.clone();
            async move {
                let session = world.accounts.session(peer.id, world.now()).await?;
                Ok(match session.is_stranger() {
                    true => Admission::Stranger(session),
                    false => Admission::Member(session),
                })
            }
        })
        .router(host.service.mount(Router::new()))
        .start()
        .await
        .unwrap();
    let mut racers = Vec::new();
    for number in 0..64 {
        let transport = if number % 2 == 0 { Transport::Tcp } else { Transport::Quic };
        let connected = hikyaku::connect(server.address(), server.id()).transport(transport).await;
        racers.push(AccountsClient::new(connected.unwrap()));
    }
    let running: Vec<_> = racers
        .into_iter()
        .enumerate()
        .map(|(number, client)| {
            let invite = invite.clone();
            tokio::spawn(async move { client.redeem(&invite, &format!("racer{number}"), "pc").await })
        })
        .collect();
    let (mut won, mut used) = (0, 0);
    for racer in running {
        match racer.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) if error.code() == ErrorCode::INVITE_USED => used += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((won, used), (1, 63));
}

//= S6.28 (test)
#[tokio::test]
async fn every_refusal_has_its_code_and_leaves_the_connection_alive() {
    let (world, ada) = World::owned().await;
    let invite = link(world.invite(&ada, 1).await);
    world.join(&ada, 3, "bob").await;
    let host = Host::new(world.clone());
    let stranger = host.connect(2).await;
    let wrong = InviteLink { secret: hikyaku_accounts::Secret::from_bytes([0; 16]), ..invite.clone() };
    assert_eq!(code(stranger.redeem(&wrong, "eve", "x").await), ErrorCode::INVITE_UNKNOWN);
    assert_eq!(code(stranger.redeem(&invite, "ada", "x").await), ErrorCode::NAME_TAKEN);
    assert_eq!(code(stranger.redeem(&invite, "a b", "x").await), ErrorCode::NAME_INVALID);
    assert_eq!(code(stranger.redeem(&invite, "eve", "").await), ErrorCode::NAME_INVALID);
    assert_eq!(
        code(stranger.whoami().await.map(|me| assert_eq!(me.id, None)).and(stranger.users().await)),
        ErrorCode::ENROLL_REQUIRED
    );
    assert!(stranger.redeem(&invite, "eve", "x").await.is_ok());
    let late = host.connect(9).await;
    assert_eq!(code(late.redeem(&invite, "mallory", "x").await), ErrorCode::INVITE_USED);

    let bob = host.connect(3).await;
    assert_eq!(code(bob.create_invite(&CreateInvite::default(), &[]).await), ErrorCode::DENIED);
    assert_eq!(code(bob.devices(ada.user).await), ErrorCode::DENIED);
    let unknown_role = CreateInvite { role: Some("king".into()), ..CreateInvite::default() };
    let owner = host.connect(1).await;
    assert_eq!(code(owner.create_invite(&unknown_role, &[]).await), ErrorCode::INVALID_MESSAGE);
    assert_eq!(code(owner.cancel_invite(hikyaku_accounts::InviteId([0; 8])).await), ErrorCode::NOT_FOUND);
    assert!(owner.whoami().await.is_ok());
}

#[tokio::test]
async fn an_unknown_method_is_named_as_such() {
    let (world, _) = World::owned().await;
    let host = Host::new(world);
    let session = host.world.session(1).await;
    let connection = local::pair(host.service.mount(Router::new()), session).await.unwrap();
    for protocol in ["accounts/1", "enroll/1"] {
        let answer: Result<hikyaku_wire::accounts::Nothing, Error> =
            connection.call(protocol, "user.promote", &hikyaku_wire::accounts::Nothing {}).await;
        assert_eq!(code(answer), ErrorCode::UNKNOWN_METHOD);
    }
}

//= S6.7 (test)
#[tokio::test]
async fn connections_of_a_revoked_device_are_closed_before_the_answer() {
    let (world, ada) = World::owned().await;
    world.join_device(&ada, 2).await;
    let host = Host::new(world);
    let revoked = host.connect(1).await.revoke_device(device(2)).await.unwrap();
    assert_eq!(revoked.devices, [device(2)]);
    assert_eq!(*host.closed.lock().unwrap(), [key(2)]);
}

#[tokio::test]
async fn a_device_that_revokes_itself_hears_the_answer_and_is_closed_then() {
    let (world, ada) = World::owned().await;
    world.join_device(&ada, 2).await;
    let host = Host::new(world);
    let client = host.connect(2).await;
    let revoked = client.revoke_device(device(2)).await.unwrap();
    assert_eq!(revoked.devices, [device(2)]);
    drop(client);
    while host.closed.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*host.closed.lock().unwrap(), [key(2)]);
}

//= S6.35 (test)
//= S6.36 (test)
#[tokio::test]
async fn users_are_revoked_at_the_administration_socket_and_the_last_owner_does_not_go_by_the_network() {
    let (world, ada) = World::owned().await;
    let bob = world.join(&ada, 2, "bob").await;
    let host = Host::new(world);
    let owner = host.connect(1).await;
    assert_eq!(code(owner.revoke_user(bob.user.unwrap()).await), ErrorCode::DENIED);
    assert_eq!(code(owner.revoke_device(device(1)).await), ErrorCode::LAST_OWNER);

    let operator = host.connect_as(host.world.operator()).await;
    assert!(operator.whoami().await.unwrap().operator);
    assert_eq!(operator.revoke_user(bob.user.unwrap()).await.unwrap().devices, [device(2)]);
    assert_eq!(*host.closed.lock().unwrap(), [key(2)]);
}

#[tokio::test]
async fn a_long_list_of_users_is_read_to_its_end_even_past_a_page_of_revoked_ones() {
    let (world, ada) = World::owned().await;
    let invite = world.invite(&ada, 250).await;
    for number in 1_000..1_250 {
        world.redeem(&invite, number, &format!("user{number}")).await.unwrap();
    }
    let host = Host::new(world.clone());
    let client = host.connect(1).await;
    let all = client.users().await.unwrap();
    assert_eq!(all.len(), 251);
    let (gone, kept): (Vec<_>, Vec<_>) = all[..201].iter().partition(|user| user.name != "ada");
    for user in &gone {
        world.accounts.revoke_user(&world.operator(), user.id, world.now()).await.unwrap();
    }
    assert_eq!(client.users().await.unwrap().len(), 50 + kept.len());
}
