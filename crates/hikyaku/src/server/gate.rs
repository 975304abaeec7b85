//! Who may begin: bounds on the connections whose peer nobody knows yet, be they in their handshake, being looked up, or
//! strangers. Pure: no sockets, no clock; the seed of its dice and the time are passed in.
//!
//! Three rules, the same for TCP and QUIC. One network (an IPv4 address, an IPv6 /64) has a share of the places and no
//! more. From a certain number on newcomers are turned away at random, the more of them the fuller it is, as sshd does
//! it (`MaxStartups`): who floods meets the dice most often, and somebody decent gets in after a few attempts although the
//! flood never ends. And there is an end. Over QUIC an address may be made up; it counts against its network only once it
//! has been proved, so that nobody can be kept out in his own name, and when it is half full, addresses must be proved
//! first (Retry). Spec: chapter 3.8.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::events;
use crate::limits::Limits;

/// How many of a hundred newcomers are turned away when that begins; at the end of the places it is all of them.
const DROP_RATE: u64 = 30;
/// A reason for turning somebody away is told once in this time, and how often it was met meanwhile.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The bounds, as they stand in [`Limits`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    most: usize,
    early_drop: usize,
    per_network: usize,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self {
            most: limits.max_unauthenticated,
            early_drop: limits.early_drop.min(limits.max_unauthenticated),
            per_network: limits.max_unauthenticated_per_network,
        }
    }
}

/// What one address owner usually has: one address of IPv4, 2^64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Network {
    V4(Ipv4Addr),
    V6([u8; 8]),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        // A socket for both families shows IPv4 addresses as IPv6 ones, all in one /64.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(prefix) => {
                let mut octets = [0; 16];
                octets[..8].copy_from_slice(prefix);
                write!(f, "{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

/// Where somebody at the gate comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// An address that has answered: over TCP always.
    Proved(IpAddr),
    /// A packet, which may carry any address.
    Claimed,
}

/// What the gate says to a caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Come in, and give this back when known or gone.
    Enter(Pass),
    /// Prove the address first.
    Prove,
    /// Not now.
    Refused(Refusal),
}

/// A place inside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pass {
    network: Option<Network>,
}

/// Why somebody was turned away: which bound, its value, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// All places are taken.
    Full { limit: usize },
    /// The dice, because many places are taken.
    Dice { open: usize, from: usize },
    /// The network has its share.
    Network { network: Network, limit: usize },
}

impl From<Refusal> for events::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full { .. } => Self::Unauthenticated,
            Refusal::Dice { .. } => Self::EarlyDrop,
            Refusal::Network { .. } => Self::Network,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(
                f,
                "this server takes {limit} connections that are not authorised yet (max_unauthenticated), and has them"
            ),
            Self::Dice { open, from } => write!(
                f,
                "this server has {open} connections that are not authorised yet, and from {from} on turns some away (early_drop)"
            ),
            Self::Network { network, limit } => write!(
                f,
                "this server takes {limit} connections that are not authorised yet from {network} (max_unauthenticated_per_network), and has them"
            ),
        }
    }
}

/// The gate: who is inside and not known yet.
#[derive(Debug)]
pub(super) struct Gate {
    bounds: Bounds,
    open: usize,
    networks: HashMap<Network, usize>,
    dice: Dice,
    turned_away: u64,
    told: Option<(Instant, u64)>,
}

impl Gate {
    pub(super) fn new(bounds: Bounds, seed: u64) -> Self {
        Self { bounds, open: 0, networks: HashMap::new(), dice: Dice(seed), turned_away: 0, told: None }
    }

    /// Somebody wants to come in.
    pub(super) fn knock(&mut self, origin: Origin) -> Answer {
        let refused = match origin {
            Origin::Claimed if self.open >= self.bounds.early_drop / 2 => {
                return Answer::Prove;
            }
            Origin::Claimed => None,
            Origin::Proved(address) => self.is_full().or_else(|| self.share_is_taken(address.into())),
        };
        if let Some(refusal) = refused {
            self.turned_away += 1;
            return Answer::Refused(refusal);
        }
        self.open += 1;
        let mut pass = Pass { network: None };
        if let Origin::Proved(address) = origin {
            self.note(&mut pass, address.into());
        }
        Answer::Enter(pass)
    }

    /// Somebody inside has proved the address only now: it counts from here on, and may be one too many of its network.
    pub(super) fn proved(&mut self, pass: &mut Pass, address: IpAddr) -> Result<(), Refusal> {
        if pass.network.is_some() {
            return Ok(());
        }
        match self.share_is_taken(address.into()) {
            Some(refusal) => {
                self.turned_away += 1;
                Err(refusal)
            }
            None => {
                self.note(pass, address.into());
                Ok(())
            }
        }
    }

    /// Somebody is known now, or gone.
    pub(super) fn leave(&mut self, pass: Pass) {
        self.open = self.open.saturating_sub(1);
        let Some(network) = pass.network else { return };
        if let Place::Occupied(mut place) = self.networks.entry(network) {
            *place.get_mut() -= 1;
            if *place.get() == 0 {
                place.remove();
            }
        }
    }

    /// Whether nobody is inside who is not known yet.
    pub(super) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Whether it is time to tell that somebody was turned away, and how many were since the last time.
    pub(super) fn tell(&mut self, now: Instant) -> Option<u64> {
        let total = self.turned_away;
        let (last, before) = (self.told.map(|(at, _)| at), self.told.map_or(0, |(_, before)| before));
        let due = total > before && last.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY);
        due.then(|| {
            self.told = Some((now, total));
            total - before
        })
    }

    /// Whether the places are taken, or the dice say so.
    fn is_full(&mut self) -> Option<Refusal> {
        let Bounds { most, early_drop: from, .. } = self.bounds;
        let open = self.open;
        if open >= most {
            return Some(Refusal::Full { limit: most });
        }
        if open < from {
            return None;
        }
        // From DROP_RATE at the beginning in a straight line to a hundred at the end; both differences fit: `from ≤
        // open < most`.
        let (beyond, room) = ((open - from) as u64, (most - from) as u64);
        let rate = DROP_RATE + (100 - DROP_RATE) * beyond / room;
        (self.dice.roll() % 100 < rate).then_some(Refusal::Dice { open, from })
    }

    fn share_is_taken(&self, network: Network) -> Option<Refusal> {
        let limit = self.bounds.per_network;
        let taken = self.networks.get(&network).copied().unwrap_or(0);
        (taken >= limit).then_some(Refusal::Network { network, limit })
    }

    fn note(&mut self, pass: &mut Pass, network: Network) {
        *self.networks.entry(network).or_insert(0) += 1;
        pass.network = Some(network);
    }
}

/// SplitMix64: good enough to be unpredictable by those who do not know the seed, which is random in a server.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests;
