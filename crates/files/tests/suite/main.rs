//! Files end to end: real disks, the real protocol, over a pipe in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not marked as tests")]

mod advisories;
mod attacker;
mod broken_off;
mod evil;
mod fetching;
mod hostile;
mod jail;
mod known;
mod memory;
mod mending;
mod moving;
mod packing;
mod passing;
mod pausing;
mod quotas;
mod receipts;
mod renewing;
mod resuming;
mod room_quotas;
mod rooms;
mod sending;
mod sifting;
mod taken;
mod trees;
mod versions;
mod world;
