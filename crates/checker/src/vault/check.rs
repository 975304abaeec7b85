//! The invariants of the vault, over what a run has seen. Pure.
//!
//! 1. a parcel that a receiver has is what was sent, and the receiver's receipt is with the server in the end;
//! 2. a parcel that a room calls settled is whole in the vault, with its reference, until it has expired, and that not early;
//! 3. every parcel has exactly one end that says settled or aborted, and what senders were told is what the room says;
//! 4. no object without a reference survives two collections, and in the end there is exactly what rooms stand for;
//! 5. what the server counts is what there is;
//! 6. who was revoked begins and ends nothing any more, from what was said next in the room on;
//! 7. nobody complains: neither the server of lost content nor its doctor of anything, and every time can be read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::facts::{Account, Facts, Got, Look, Place, Rest, Revoked, Says, Sent, Told};

/// What a parcel counts at least.
const LEAST: u64 = 1024;
/// What a group of so many bytes has as its chaining value.
const GROUP: (u64, u64) = (65_536, 32);

/// An invariant that does not hold, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: u8,
    /// What was seen.
    pub says: String,
}

/// Checks a run.
pub fn check(facts: &Facts) -> Vec<Broken> {
    let mut found = Found(Vec::new());
    let (calm, end) = (Parcels::of(&facts.calm), Parcels::of(&facts.end));
    received(facts, &end, &mut found);
    kept(facts, &end, &mut found);
    ended(facts, &calm, &end, &mut found);
    collected(facts, &end, &mut found);
    counted(&facts.calm, &calm, &mut found);
    counted(&facts.end, &end, &mut found);
    revoked(facts, &mut found);
    readable(facts, &mut found);
    facts.complaints.iter().for_each(|complaint| found.add(7, complaint.clone()));
    found.0
}

/// Checks a run that did not come to its end: what receivers have, what was settled, and who complains.
pub fn check_stuck(facts: &Facts) -> Vec<Broken> {
    let mut found = Found(Vec::new());
    for Got { who, place, wrong, .. } in &facts.got {
        if let Some(wrong) = wrong {
            found.add(1, format!("{who} has {} otherwise than it was sent: {wrong}", shown(place)));
        }
    }
    kept(facts, &Parcels::of(&facts.end), &mut found);
    readable(facts, &mut found);
    facts.complaints.iter().for_each(|complaint| found.add(7, complaint.clone()));
    found.0
}

struct Found(Vec<Broken>);

impl Found {
    fn add(&mut self, invariant: u8, says: String) {
        self.0.push(Broken { invariant, says });
    }
}

/// One parcel, as its room tells of it.
#[derive(Clone, Debug)]
struct Parcel<'a> {
    author: &'a str,
    transfer: &'a str,
    bytes: Option<u64>,
    /// Its ends: status, root, size, and when.
    ends: Vec<(&'a str, Option<&'a str>, Option<u64>, &'a str)>,
}

impl<'a> Parcel<'a> {
    fn end(&self, wanted: &str) -> Option<(Option<&'a str>, Option<u64>, &'a str)> {
        let found = self.ends.iter().find(|(status, ..)| *status == wanted);
        found.map(|(_, root, bytes, ts)| (*root, *bytes, *ts))
    }

    /// Its root and size, when it was settled, and when it expired.
    fn settled(&self) -> Option<(&'a str, u64, &'a str, Option<&'a str>)> {
        let (root, bytes, ts) = self.end("settled")?;
        Some((root?, bytes.unwrap_or(0), ts, self.end("expired").map(|(.., ts)| ts)))
    }

    /// What of it stays for ever.
    fn stays(&self) -> Option<(&'a str, u64)> {
        self.settled().filter(|(.., expired)| expired.is_none()).map(|(root, bytes, ..)| (root, bytes))
    }

    fn is_open(&self) -> bool {
        self.ends.is_empty()
    }
}

/// All parcels by place.
struct Parcels<'a>(BTreeMap<Place, Parcel<'a>>);

impl<'a> Parcels<'a> {
    fn of(rest: &'a Rest) -> Self {
        let mut parcels = BTreeMap::new();
        for (room, told) in &rest.rooms {
            for Told { seq, author, ts, what } in told {
                match what {
                    Says::Parcel { transfer, bytes, .. } => {
                        let parcel = Parcel { author, transfer, bytes: *bytes, ends: Vec::new() };
                        parcels.insert((room.clone(), *seq), parcel);
                    }
                    Says::End { of, status, root, bytes } => {
                        if let Some(parcel) = parcels.get_mut(&(room.clone(), *of)) {
                            parcel.ends.push((status, root.as_deref(), *bytes, ts));
                        }
                    }
                }
            }
        }
        Self(parcels)
    }
}

fn shown((room, seq): &Place) -> String {
    format!("{room}:{seq}")
}

fn received(facts: &Facts, end: &Parcels<'_>, found: &mut Found) {
    for got @ Got { who, place, at, wrong, poured, .. } in &facts.got {
        if let Some(wrong) = wrong {
            found.add(1, format!("{who} has {} otherwise than it was sent: {wrong}", shown(place)));
        }
        let Some(parcel) = end.0.get(place) else {
            found.add(1, format!("{who} has {}, which is no parcel", shown(place)));
            continue;
        };
        let Some((_, _, since, expired)) = parcel.settled() else {
            found.add(1, format!("{who} has {} as a whole, and its room never had it", shown(place)));
            continue;
        };
        if at.as_str() < since {
            found.add(1, format!("{who} had {} as a whole before its room had it", shown(place)));
        }
        // Of what has expired the server takes no receipt any more.
        if !poured && expired.is_none() && !got.is_receipted(&facts.hands) {
            found.add(1, format!("{who} has {} and the server has no receipt of it", shown(place)));
        }
    }
    let whole: BTreeSet<(&str, &Place)> =
        facts.got.iter().filter(|got| !got.poured).map(|got| (got.who.as_str(), &got.place)).collect();
    for (place, hands) in &facts.hands {
        for who in hands.iter().filter(|who| !whole.contains(&(who.as_str(), place))) {
            found.add(1, format!("{who} has given a receipt of {} and does not have it", shown(place)));
        }
    }
}

fn kept(facts: &Facts, end: &Parcels<'_>, found: &mut Found) {
    let looks = || facts.looks.iter().chain([&facts.calm.look, &facts.end.look]);
    for (place, parcel) in &end.0 {
        let Some((root, bytes, since, expired)) = parcel.settled() else { continue };
        let stands = |look: &&Look| since <= &*look.at && expired.is_none_or(|expired| expired > &*look.at);
        for look in looks().filter(stands) {
            let what = match (look.objects.get(root), look.references.get(root)) {
                (None, _) => "is not in the vault",
                (Some(size), _) if *size != bytes => "has another size in the vault",
                _ if look.damaged.iter().any(|damaged| damaged == root) => "is damaged in the vault",
                (_, Some(kept)) if kept.contains(parcel.transfer) => continue,
                _ => "has no reference in the vault",
            };
            found.add(2, format!("{} ({root}) {what} after {} at {}", shown(place), look.after, look.at));
        }
        let lived = expired.and_then(|expired| milliseconds(since, expired));
        match (expired, lived, facts.retention.get(&place.0)) {
            (Some(_), _, None) => {
                found.add(2, format!("{} has expired in a room that keeps files for ever", shown(place)));
            }
            (Some(_), Some(lived), Some(keeps)) if lived < *keeps => {
                found.add(2, format!("{} has expired after {lived} ms of {keeps}", shown(place)));
            }
            _ => {}
        }
    }
}

/// How long it is from one time to another; `None` where one of them is none, which is told by itself.
fn milliseconds(from: &str, to: &str) -> Option<i64> {
    let parse = |text: &str| text.parse::<Timestamp>().ok().map(|time| time.as_millisecond());
    Some(parse(to)? - parse(from)?)
}

/// Whoever compares times needs times: without one, nothing that was said of it is proved.
fn readable(facts: &Facts, found: &mut Found) {
    // A run that was stuck never came to rest.
    let rests = || [&facts.calm, &facts.end].into_iter().filter(|_| facts.stuck.is_none());
    let told = rests().flat_map(|rest| &rest.rooms).flat_map(|(room, told)| {
        told.iter().map(move |told| (format!("{room}:{}", told.seq), told.ts.as_str()))
    });
    let looks = facts.looks.iter().chain(rests().map(|rest| &rest.look));
    let looks = looks.map(|look| (format!("a look after {}", look.after), look.at.as_str()));
    let got = facts.got.iter().map(|got| (format!("what {} has", got.who), got.at.as_str()));
    for (what, time) in told.chain(looks).chain(got).filter(|(_, time)| time.parse::<Timestamp>().is_err()) {
        found.add(7, format!("the time of {what} cannot be read: '{time}'"));
    }
}

fn ended(facts: &Facts, calm: &Parcels<'_>, end: &Parcels<'_>, found: &mut Found) {
    for (place, parcel) in &end.0 {
        let statuses: Vec<_> = parcel.ends.iter().map(|(status, ..)| *status).collect();
        if !matches!(*statuses, ["settled" | "aborted"] | ["settled", "expired"]) {
            found.add(3, format!("{} has the ends {statuses:?}", shown(place)));
        }
    }
    for (place, parcel) in &calm.0 {
        let later = end.0.get(place).map(|parcel| &parcel.ends[..parcel.ends.len().min(2)]);
        if later.is_none_or(|later| !later.starts_with(&parcel.ends)) {
            found.add(3, format!("{} had other ends before", shown(place)));
        }
    }
    for Sent { who, place, root } in &facts.sent {
        let settled = end.0.get(place).and_then(Parcel::settled);
        if settled.is_none_or(|(settled, ..)| settled != root) {
            let says = settled.map_or("nothing of that", |(root, ..)| root);
            found.add(
                3,
                format!(
                    "{who} was told that {} is settled as {root}, and its room says {says}",
                    shown(place)
                ),
            );
        }
    }
    for place in &facts.gone {
        if end.0.get(place).is_some_and(|parcel| parcel.stays().is_some()) {
            found.add(3, format!("somebody was told that {} is not there, and it is", shown(place)));
        }
    }
}

fn collected(facts: &Facts, end: &Parcels<'_>, found: &mut Found) {
    // Whatever was referred to meanwhile is another matter.
    let touched = |root: &str, from: &str, to: &str| {
        let settled = end.0.values().filter_map(Parcel::settled);
        settled.into_iter().any(|(settled, _, since, expired)| {
            settled == root && since <= to && expired.is_none_or(|expired| expired >= from)
        })
    };
    for (at, earlier) in facts.looks.iter().enumerate() {
        for later in facts.looks.iter().skip(at + 1) {
            let rounds = later.collections - earlier.collections;
            let survivors: BTreeSet<_> = later.unreferenced().collect();
            let both = earlier.unreferenced().filter(|root| survivors.contains(root));
            for root in both.filter(|root| rounds >= 2 && !touched(root, &earlier.at, &later.at)) {
                found.add(4, format!("{root} has no reference and survived {rounds} collections"));
            }
        }
    }
    let look = &facts.end.look;
    let wanted: BTreeMap<&str, BTreeSet<&str>> = end
        .0
        .values()
        .filter_map(|parcel| Some((parcel.stays()?.0, parcel.transfer)))
        .fold(BTreeMap::new(), |mut all, (root, transfer)| {
            all.entry(root).or_insert_with(BTreeSet::new).insert(transfer);
            all
        });
    for root in
        look.objects.keys().chain(look.references.keys()).filter(|root| !wanted.contains_key(root.as_str()))
    {
        found.add(4, format!("{root} is in the vault in the end, and no room stands for it"));
    }
    for (root, transfers) in &look.references {
        let Some(wanted) = wanted.get(root.as_str()) else { continue };
        for transfer in transfers.iter().filter(|transfer| !wanted.contains(transfer.as_str())) {
            found.add(4, format!("{root} is referred to by {transfer}, whose parcel does not need it"));
        }
    }
    if !look.unfinished.is_empty() {
        found.add(4, format!("in the end there are remains of {:?}", look.unfinished));
    }
}

fn counted(rest: &Rest, parcels: &Parcels<'_>, found: &mut Found) {
    let physical = |size: u64| size + size.div_ceil(GROUP.0) * GROUP.1;
    let bytes = |parcel: &Parcel<'_>| match parcel.stays() {
        Some((_, bytes)) => bytes.max(LEAST),
        None if parcel.is_open() => parcel.bytes.unwrap_or(0).max(LEAST),
        None => 0,
    };
    for counted in &rest.counted {
        let there: u64 = match &counted.account {
            Account::User(user) => parcels.0.values().filter(|parcel| parcel.author == user).map(bytes).sum(),
            Account::Room(room) => {
                parcels.0.iter().filter(|((of, _), _)| of == room).map(|(_, parcel)| bytes(parcel)).sum()
            }
            Account::Vault => {
                let open = parcels.0.values().filter(|parcel| parcel.is_open());
                rest.look.stored + open.map(|parcel| physical(parcel.bytes.unwrap_or(0))).sum::<u64>()
            }
        };
        if there != counted.said {
            let account = &counted.account;
            found.add(
                5,
                format!("the server counts {} bytes of {account:?}, and there are {there}", counted.said),
            );
        }
    }
}

fn revoked(facts: &Facts, found: &mut Found) {
    let Some(Revoked { who, before: (sent_to, seq) }) = &facts.revoked else { return };
    for (room, told) in &facts.end.rooms {
        let late = told.iter().filter(|told| told.author == *who && (room != sent_to || told.seq > *seq));
        for told in late {
            let is_more = match &told.what {
                Says::Parcel { .. } => true,
                Says::End { status, .. } => status == "settled",
            };
            if is_more {
                let says = format!("{room}:{} is of {who}, who was revoked before {sent_to}:{seq}", told.seq);
                found.add(6, says);
            }
        }
    }
}

#[cfg(test)]
mod tests;
