//! The end of a run: everybody comes to an end, everything is asked for once more, and then again after a week.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::actors::{Job, Role, direct, place};
use super::facts::{Account, Counted, Got, Place, Rest, Says, Told};
use super::look::look;
use super::world::{OWNER, ROOMS, World};

/// Bounds that nothing reaches but what asks for the counts: each is asked with more than it, and less than the next one.
pub(super) const QUOTAS: [&str; 6] =
    ["--vault-quota", "128M", "--room-quota", "160M", "--room-user-quota", "192M"];
const TOO_MUCH: [(&str, u64); 3] = [("user", 193 << 20), ("room", 161 << 20), ("vault", 129 << 20)];
/// A room in which nothing ever is.
pub(super) const EMPTY: &str = "empty";
/// After so long, in seconds, a transfer that nobody goes on with is given up.
const LATER: i64 = 8 * 24 * 3600;

impl World<'_> {
    /// Everybody comes to an end; then everything is looked at, and once more when all that is open has been given up.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.quiet = true;
        let idle = |world: &Self| {
            world.actors.iter().all(|actor| matches!(actor.role, Role::Receiver) || actor.job.is_none())
        };
        self.until("everybody comes to an end", idle)?;
        // Receipts that are still owed go with the next one.
        self.send_last()?;
        self.until("everybody has the last parcel", idle)?;
        let short = |world: &Self| {
            let mut of_short = world.known.iter().filter(|((room, _), _)| room == ROOMS[1]);
            of_short.all(|(_, known)| known.open || known.expired)
        };
        self.until("what is kept for a time only has expired", short)?;
        self.take_in()?;
        self.facts.calm = self.rest("the last fault", 0)?;
        self.give_hands()?;
        for actor in &mut self.actors {
            actor.kill()?;
            actor.retired = true;
        }
        self.host.kill()?;
        self.look("the last fault");
        self.later()?;
        self.examine()
    }

    /// One more parcel for everybody, so that nobody has a receipt left to give.
    fn send_last(&mut self) -> Result<(), String> {
        let others: Vec<_> = (0..self.plan.receivers).map(|number| format!("r{number}")).collect();
        let rooms = [format!("#{}", ROOMS[0])];
        for to in rooms.into_iter().chain(others.iter().map(|other| format!("@{other}"))) {
            let (source, _) =
                self.sources.fresh(&mut self.random, 4_096).map_err(|error| error.to_string())?;
            let Some(sender) = self.actors.first_mut() else { return Ok(()) };
            if let Some(other) = to.strip_prefix('@') {
                self.direct.insert((sender.name.clone(), other.to_owned()));
            }
            sender.job = Some(Job::Send { source, to, rate: None });
            self.until("the last parcel is sent", |world| {
                world.actors.first().is_none_or(|sender| sender.job.is_none())
            })?;
        }
        let last =
            self.facts.sent.iter().rev().find(|sent| sent.place.0 == ROOMS[0]).map(|sent| sent.place.clone());
        let last = last.ok_or("nothing was sent")?;
        let heard = last.clone();
        self.until("the last parcel is heard of", move |world| world.known.contains_key(&heard))?;
        let name = self.known.get(&last).map(|known| known.name.clone()).unwrap_or_default();
        for actor in self.actors.iter_mut().filter(|actor| actor.role == Role::Getter) {
            let into = self.home.join("into").join(&actor.name).join("last");
            actor.job = Some(Job::Get { place: last.clone(), name: name.clone(), into, early: false });
        }
        Ok(())
    }

    /// What those have who take everything that comes: waits until they have it.
    fn take_in(&mut self) -> Result<(), String> {
        let sent = self.facts.sent.iter().map(|sent| sent.place.clone());
        let wanted: BTreeSet<Place> = sent.filter(|(room, _)| room.contains('@')).collect();
        let complete = |world: &Self| {
            wanted.is_subset(&world.received().iter().map(|(_, place, _)| place.clone()).collect())
        };
        self.until("receivers have what was sent to them", complete)?;
        let received = self.received();
        for (who, place, path) in received.clone() {
            let twins = received.iter().filter(|(other, _, at)| (other, at) == (&who, &path));
            let beside = twins.map(|(_, place, _)| place.clone()).filter(|other| *other != place).collect();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let wrong = self.sources.wrong(&name, &path);
            self.facts.got.push(Got { who, place, at: then(0), wrong, early: false, poured: false, beside });
        }
        Ok(())
    }

    /// What receivers have printed: who, what and where.
    fn received(&self) -> BTreeSet<(String, Place, PathBuf)> {
        let mut all = BTreeSet::new();
        for actor in self.actors.iter().filter(|actor| actor.role == Role::Receiver) {
            for out in &actor.outputs {
                for line in fs::read_to_string(out).unwrap_or_default().lines() {
                    let Ok(said) = serde_json::from_str::<serde_json::Value>(line) else { continue };
                    let named = said["reference"].as_str().and_then(|named| place(named, &actor.name, false));
                    if let (Some(place), Some(path)) = (named, said["path"].as_str()) {
                        all.insert((actor.name.clone(), place, PathBuf::from(path)));
                    }
                }
            }
        }
        all
    }

    /// Asks who has given receipts, for as long as some are missing that should be there.
    fn give_hands(&mut self) -> Result<(), String> {
        let expired: BTreeSet<Place> =
            self.known.iter().filter(|(_, known)| known.expired).map(|(place, _)| place.clone()).collect();
        let got: Vec<_> = self
            .facts
            .got
            .iter()
            .filter(|got| !got.poured && !expired.contains(&got.place))
            .cloned()
            .collect();
        let left: BTreeSet<_> = self.facts.left.difference(&expired).cloned().collect();
        for round in 0..20 {
            let missing = |world: &Self, got: &Got| !got.is_receipted(&world.facts.hands);
            let todo: BTreeSet<_> =
                got.iter().filter(|got| missing(self, got)).map(|got| got.place.clone()).collect();
            // What was given up is asked for once.
            let todo = if round == 0 { todo.union(&left).cloned().collect() } else { todo };
            if todo.is_empty() {
                break;
            }
            if round > 0 {
                std::thread::sleep(Duration::from_millis(200));
            }
            for place in todo {
                let hands = self.hands(&place)?;
                self.facts.hands.insert(place, hands);
            }
        }
        Ok(())
    }

    fn hands(&self, place: &Place) -> Result<BTreeSet<String>, String> {
        let (who, room) = asked_by(&place.0);
        let said = self.host.once(&who, &["receipts", &format!("{room}:{}", place.1), "--json"], "")?;
        let names = said.lines().filter_map(|line| {
            let said: serde_json::Value = serde_json::from_str(line).ok()?;
            // One whose signature is not true says nothing.
            said.get("said").and_then(|_| Some(said["name"].as_str()?.to_owned()))
        });
        Ok(names.collect())
    }

    /// A week later: what nobody went on with is given up, and what nobody needs is collected.
    fn later(&mut self) -> Result<(), String> {
        if let Some(clock) = &self.host.clock {
            clock.set(LATER)?;
        }
        let goal = self.collections() + 3;
        self.host.serve()?;
        self.until("the server collects", |world| world.collections() >= goal)?;
        self.facts.end = self.rest("a week", LATER)?;
        self.host.kill()?;
        let collections = self.collections();
        self.facts.end.look = look(&self.host.data(), &self.sources, "a week", then(LATER), collections);
        let swept = self.host.log();
        let counts = |word: &str| -> u64 {
            let found = swept.lines().filter(|line| line.contains("swept=Swept"));
            let numbers = found.filter_map(|line| {
                line.split_once(word)?.1.split(&[',', ' ', '}'][..]).next()?.parse::<u64>().ok()
            });
            numbers.sum()
        };
        self.facts.collected = counts("objects: ");
        let lost = counts("lost: ");
        if lost > 0 {
            self.facts.complaints.push(format!("the server says that it lost {lost} contents"));
        }
        Ok(())
    }

    /// The doctor reads everything, content and chains.
    fn examine(&mut self) -> Result<(), String> {
        let data = self.host.data();
        let data = data.to_str().ok_or("the path is no text")?;
        // What only needs attention, as little room on a small disk, is no damage.
        match self.host.once(OWNER, &["doctor", "--data", data, "--scrub"], "") {
            Err(says) if says.contains("exit status: 7") => {
                self.facts.complaints.push(format!("the doctor: {says}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything that is said and lies there, while nothing moves.
    fn rest(&mut self, after: &'static str, later: i64) -> Result<Rest, String> {
        let mut rest = Rest { rooms: self.rooms()?, ..Rest::default() };
        rest.look = look(&self.host.data(), &self.sources, after, then(later), self.collections());
        let senders: Vec<String> = self
            .actors
            .iter()
            .filter(|actor| actor.role == Role::Sender)
            .map(|actor| actor.name.clone())
            .collect();
        let path = self.home.join("too-much");
        let mut zeros = fs::File::create(&path).map_err(|error| error.to_string())?;
        for (whose, bytes) in TOO_MUCH {
            // Written once, and then cut: one with holes would be sent as something else.
            let made = match zeros.metadata().map(|metadata| metadata.len()) {
                Ok(0) => std::io::copy(&mut std::io::repeat(0).take(bytes), &mut zeros).map(drop),
                _ => zeros.set_len(bytes),
            };
            made.map_err(|error| error.to_string())?;
            let path = path.to_str().ok_or("the path is no text")?;
            match whose {
                "vault" => rest.counted.push(self.counted(Account::Vault, OWNER, path, EMPTY)?),
                "room" => {
                    for room in ROOMS {
                        rest.counted.push(self.counted(Account::Room(room.to_owned()), OWNER, path, room)?);
                    }
                }
                _ => {
                    for who in &senders {
                        rest.counted.push(self.counted(Account::User(who.clone()), who, path, ROOMS[0])?);
                    }
                }
            }
        }
        Ok(rest)
    }

    /// What the server says that it counts, when more is offered than there may be.
    fn counted(&self, account: Account, who: &str, path: &str, room: &str) -> Result<Counted, String> {
        let said = match self.host.once(who, &["send", path, "--to", &format!("#{room}")], "") {
            Ok(_) => return Err(format!("{path} was taken, and is more than there may be")),
            Err(said) => said,
        };
        let is_meant = match &account {
            Account::Vault => said.contains("vault_quota"),
            Account::Room(_) => said.contains("room_quota"),
            Account::User(_) => said.contains("room_user_quota"),
        };
        let used =
            said.split_once(" bytes: ").and_then(|(_, rest)| rest.split_once(" are used")?.0.parse().ok());
        match used {
            Some(said) if is_meant => Ok(Counted { account, said }),
            _ => Err(format!("the server does not say what it counts of {account:?}: {said}")),
        }
    }

    /// What all rooms say of parcels.
    fn rooms(&self) -> Result<BTreeMap<String, Vec<Told>>, String> {
        let rooms = ROOMS.iter().map(|room| (*room).to_owned());
        let direct = self.direct.iter().map(|(sender, receiver)| direct(sender, receiver));
        let rooms = rooms.chain(direct).map(|room| self.log(&room).map(|told| (room, told)));
        rooms.collect()
    }

    /// The run does not come to its end: what rooms say can still be compared with what was seen.
    pub(super) fn break_off(&mut self) -> Result<(), String> {
        for actor in &mut self.actors {
            actor.kill()?;
        }
        self.host.kill()?;
        self.look("the end that was none");
        self.host.serve()?;
        self.facts.end.rooms = self.rooms()?;
        Ok(())
    }

    /// The parcels of a room, as pages of history tell of them.
    fn log(&self, room: &str) -> Result<Vec<Told>, String> {
        let (who, named) = asked_by(room);
        match self.host.once(&who, &["tail", &named, "--after", "0", "--json"], "") {
            Ok(text) => Ok(text.lines().filter_map(told).collect()),
            // Whoever was to make it was killed before.
            Err(says) if room.contains('@') && says.contains("exit status: 6") => Ok(Vec::new()),
            Err(says) => Err(says),
        }
    }
}

/// Who asks for a room, and under which name.
fn asked_by(room: &str) -> (String, String) {
    match room.split_once('@') {
        Some((sender, receiver)) => (sender.to_owned(), format!("@{receiver}")),
        None => (OWNER.to_owned(), format!("#{room}")),
    }
}

/// The time so many seconds from now.
fn then(later: i64) -> String {
    let then = Timestamp::from_millisecond(Timestamp::now().as_millisecond() + later * 1_000);
    then.map_or_else(|error| error.to_string(), |then| format!("{then:.3}"))
}

/// What an event says of a parcel, as `tail --json` prints it.
pub(super) fn told(line: &str) -> Option<Told> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let (parcel, text) = (&event["parcel"], |value: &serde_json::Value| value.as_str().map(str::to_owned));
    let what = match event["kind"].as_str()? {
        "parcel" => Says::Parcel {
            name: text(&parcel["name"])?,
            transfer: text(&parcel["transfer"])?,
            bytes: parcel["bytes"].as_u64(),
        },
        "parcel-end" => Says::End {
            of: event["refs"][0].as_u64()?,
            status: text(&parcel["status"])?,
            root: text(&parcel["root"]),
            bytes: parcel["bytes"].as_u64(),
        },
        _ => return None,
    };
    Some(Told { seq: event["seq"].as_u64()?, author: text(&event["author"])?, ts: text(&event["ts"])?, what })
}
