//! Files end to end: real disks, the real protocol, over a pipe in memory.

mod fetching;
mod hostile;
mod resuming;
mod rooms;
mod sending;
mod world;
