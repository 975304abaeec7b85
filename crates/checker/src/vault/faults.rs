//! What happens to those who are there: the faults of a plan, one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::VaultFaults;
use super::actors::{Actor, Job, Role};
use super::facts::{Got, Revoked};
use super::sources::Sources;
use super::world::{KEEP_FREE, OWNER, REVOKED, ROOMS, World};
use crate::power::Disk;

/// The names of the faults, as a report shows them.
const KILL_SERVER: &str = "server killed";
const KILL_SENDER: &str = "sender killed";
const KILL_GETTER: &str = "getter killed";
const KILL_RECEIVER: &str = "receiver killed";
const CUT: &str = "power cut";
const FULL: &str = "disk full";
const REVOKE: &str = "sender revoked";

/// How often each fault is to be done.
pub(super) fn demands(faults: &VaultFaults) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        (KILL_SERVER, faults.server_kills),
        (KILL_SENDER, faults.sender_kills),
        (KILL_GETTER, faults.getter_kills),
        (KILL_RECEIVER, faults.receiver_kills),
        (CUT, faults.cuts),
        (FULL, faults.fulls),
        (REVOKE, 1),
    ])
}

impl World<'_> {
    /// All faults of the plan, in any order, each after something has come to its end.
    pub(super) fn suffer(&mut self) -> Result<(), String> {
        let mut faults: Vec<_> = demands(&self.plan.faults)
            .into_iter()
            .flat_map(|(what, count)| std::iter::repeat_n(what, usize::try_from(count).unwrap_or(0)))
            .collect();
        self.random.shuffle(&mut faults);
        while let Some(fault) = faults.pop() {
            let gap = u64::try_from(self.plan.gap.as_millis()).unwrap_or(1_000);
            let (until, goal) =
                (Instant::now() + Duration::from_millis(self.random.below(2 * gap)), self.done + 1);
            self.until("somebody comes to an end", |world| world.done >= goal && Instant::now() >= until)?;
            self.fault(fault)?;
            *self.facts.faults.entry(fault).or_default() += 1;
        }
        // What is not to be missed has its time, where it did not come among the faults.
        self.until("everything was done once", |world| {
            let got = |which: fn(&Got) -> bool| world.facts.got.iter().any(which);
            got(|got| got.early && !got.poured) && got(|got| got.poured)
        })
    }

    fn fault(&mut self, what: &'static str) -> Result<(), String> {
        match what {
            KILL_SERVER => {
                self.host.kill()?;
                self.look(what);
                self.host.serve()
            }
            CUT => {
                self.host.cut()?;
                self.look(what);
                self.host.serve()
            }
            KILL_SENDER => self.kill(&[Role::Sender]),
            KILL_GETTER => self.kill(&[Role::Getter]),
            KILL_RECEIVER => self.kill(&[Role::Receiver]),
            FULL => self.fill(),
            REVOKE => {
                let open =
                    |world: &Self| world.known.values().any(|known| known.open && known.author == REVOKED);
                self.until("a parcel is on its way that is not to come to its end", open)?;
                self.host.revoke(OWNER, REVOKED)?;
                let before = (ROOMS[0].to_owned(), self.say(ROOMS[0])?);
                self.facts.revoked = Some(Revoked { who: REVOKED.to_owned(), before });
                let gone = |world: &Self| {
                    world.actors.iter().all(|actor| actor.role != Role::Revoked || actor.retired)
                };
                self.until("who is revoked is told so", gone)
            }
            other => Err(format!("there is no fault '{other}'")),
        }
    }

    /// Somebody says a word in a room; the place that it got.
    fn say(&self, room: &str) -> Result<u64, String> {
        let said = self.host.once(OWNER, &["say", room, "--json"], "so far\n")?;
        let seq = serde_json::from_str::<serde_json::Value>(&said).ok().and_then(|said| said["seq"].as_u64());
        seq.ok_or_else(|| format!("it was not told where it stands: {said}"))
    }

    /// `kill -9` of somebody who is doing something.
    fn kill(&mut self, roles: &[Role]) -> Result<(), String> {
        let busy = |actor: &Actor| roles.contains(&actor.role) && actor.is_running();
        self.until("there is somebody to be killed", |world| world.actors.iter().any(busy))?;
        let count = self.actors.iter().filter(|actor| busy(actor)).count();
        let which = usize::try_from(self.random.below(count as u64)).unwrap_or(0);
        let gives_up = self.random.below(3) == 0;
        let Some(actor) = self.actors.iter_mut().filter(|actor| busy(actor)).nth(which) else {
            return Ok(());
        };
        actor.kill()?;
        // A file of a room may be given up: nobody waits for it, and nobody has it who has it not now. Who has it fetches it
        // again: killed between the name and the signature, he signs it then.
        match &actor.job {
            Some(Job::Send { source, to, .. })
                if gives_up && Sources::is_file(source) && to.starts_with('#') =>
            {
                actor.job = None;
            }
            Some(Job::Get { place, name, into, .. })
                if gives_up && Sources::is_file(name) && !into.join(name).exists() =>
            {
                self.facts.left.insert(place.clone());
                actor.job = None;
            }
            _ => {}
        }
        Ok(())
    }

    /// The disk gets full, for files or for everything, and there is room again.
    fn fill(&mut self) -> Result<(), String> {
        let leaves = if self.random.below(2) == 0 { KEEP_FREE } else { 0 };
        let before = self.facts.full;
        self.host.disk.as_ref().map_or(Ok(()), |disk| disk.fill(leaves))?;
        let begun = Instant::now();
        let told = self.until("somebody is told that there is no room", |world| {
            world.facts.full > before && begun.elapsed() > Duration::from_millis(300)
        });
        self.host.disk.as_ref().map_or(Ok(()), Disk::empty)?;
        told
    }
}
