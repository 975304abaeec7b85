//! What members can do to the record by what they ask for.

use std::path::PathBuf;

use hikyaku::KeyId;
use hikyaku_accounts::{Accounts, DeviceId, InviteWish, IssuedInvite, Redemption};
use hikyaku_storage::memory::MemoryStore;
use hikyaku_wire::files::{Component, Offer, Target};
use hikyaku_wire::parcel::{EntryKind, EventRef, TransferId};

use super::*;

const NOW: u64 = 1_800_000_000_000;

/// A record, and the members `ada` and `ben`.
struct World {
    place: tempfile::TempDir,
    audit: Audit,
    ada: Context,
    ben: Context,
}

impl World {
    async fn new() -> Self {
        let accounts = Accounts::new(Arc::new(MemoryStore::new()));
        let invite = accounts.first_invite(NOW).await.unwrap().unwrap();
        let ada = enrol(&accounts, &invite, 1, "ada").await;
        let invite = accounts.create_invite(ada.session(), InviteWish::default(), NOW).await.unwrap();
        let ben = enrol(&accounts, &invite, 2, "ben").await;
        let place = tempfile::tempdir().unwrap();
        let audit = Audit::open(place.path()).unwrap();
        Self { place, audit, ada, ben }
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("transfers.jsonl")
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let all = std::fs::read_to_string(self.path()).unwrap();
        all.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn ben_id(&self) -> String {
        self.ben.session().user.unwrap().to_string()
    }

    async fn ask(&self, who: &Context, room: &str, outcome: Outcome<'_>) {
        let wanted = Wanted::Event(EventRef { room: room.to_owned(), epoch: None, seq: 1 });
        let fetch = Fetch { wanted: &wanted, found: None, address: None, sent: 0, outcome };
        self.audit.record_fetch(who, &fetch).await.unwrap();
    }
}

async fn enrol(accounts: &Accounts, invite: &IssuedInvite, number: u8, name: &str) -> Context {
    let redemption = Redemption {
        invite: invite.id,
        secret: invite.secret.clone(),
        device: DeviceId([number; 32]),
        user_name: name.to_owned(),
        device_name: "d".to_owned(),
    };
    accounts.redeem(&redemption, NOW).await.unwrap();
    let session = accounts.session(KeyId::from_bytes([number; 32]), NOW).await.unwrap();
    Context::new(session, accounts.clone())
}

#[tokio::test]
async fn what_a_peer_names_takes_little_room_in_the_record_however_long_it_is() {
    let world = World::new().await;
    let long = "\u{1b}".repeat(1 << 20);
    let why = Outcome::Refused(&long);
    world.ask(&world.ben, &long, why).await;
    let targets = [
        Target::Room(long.clone()),
        Target::Device(long.clone(), long.clone()),
        Target::Drop(vec![Component(long.clone().into_bytes()); 64]),
    ];
    for target in targets {
        let (transfer, name) = (TransferId([1; 16]), long.clone().into_bytes());
        let kind = EntryKind::File;
        let offer = Offer { transfer, target, name, kind, size: None, meta: None, options: None, tops: None };
        world.audit.record(&world.ben, &Deed { offer: &offer, address: None, outcome: why }).await.unwrap();
    }
    assert!(std::fs::metadata(world.path()).unwrap().len() < 4 * 16 * 1024);
    let lines = world.lines();
    assert_eq!((&lines[0]["from"], &lines[1]["to"]), (&"?:1".into(), &"?".into()));
    for (line, key) in [(0, "error"), (1, "name"), (2, "to"), (3, "to")] {
        let said = lines[line][key].as_str().unwrap();
        assert!(said.ends_with('…') && said.len() < 1_600, "{key}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_again_and_again_does_not_push_out_what_others_did() {
    let world = World::new().await;
    world.ask(&world.ada, "ops", Outcome::Accepted).await;
    for _ in 0..1_000 {
        world.ask(&world.ben, "secret", Outcome::Refused("no")).await;
    }
    world.ask(&world.ada, "secret", Outcome::Refused("no")).await;
    world.ask(&world.ben, "ops", Outcome::Accepted).await;
    sleep(2 * EVERY).await;
    // After what is counted is written.
    world.ask(&world.ada, "ops", Outcome::Accepted).await;
    let (lines, ben) = (world.lines(), world.ben_id());
    let of = |user: &str, outcome: &str| {
        lines.iter().filter(|line| line["user"] == user && line["outcome"] == outcome).count() as u64
    };
    assert_eq!((of("ada", "accepted"), of("ada", "refused"), of("ben", "accepted")), (2, 1, 1));
    let more = lines.iter().filter(|line| line["type"] == "refused" && line["user_id"] == *ben);
    let more: u64 = more.map(|line| line["more"].as_u64().unwrap()).sum();
    assert_eq!(of("ben", "refused") + more, 1_000, "each has a line or is counted");
    assert!(lines.len() < 60, "{} lines", lines.len());
}

#[tokio::test(start_paused = true)]
async fn what_was_only_counted_is_written_when_the_server_stops_and_once() {
    let world = World::new().await;
    for _ in 0..30 {
        world.ask(&world.ben, "secret", Outcome::Refused("no")).await;
    }
    assert_eq!(world.lines().len(), 20);
    world.audit.finish().await;
    world.audit.finish().await;
    sleep(2 * EVERY).await;
    world.ask(&world.ada, "ops", Outcome::Accepted).await;
    let lines = world.lines();
    let (counted, ben) = (&lines[20], world.ben_id());
    assert_eq!((&counted["type"], &counted["more"]), (&"refused".into(), &10.into()));
    assert_eq!((&counted["user"], &counted["user_id"]), (&"ben".into(), &ben.into()));
    assert_eq!(lines.len(), 22, "nothing is written twice");
}
