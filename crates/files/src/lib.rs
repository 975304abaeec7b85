//! Files: from one disk to another, verified while they move, resumable, atomic.
//!
//! Pure rules: [`tree`] (the hash), [`journal`] (what is durable), [`names`] (what a peer may call a file), [`receive`]
//! (what may come next), [`quota`] (what may still be stored), [`pause`]
//! (a full disk), [`passage`] (what is read while it is written), [`versions`] (what did not change), [`packing`]
//! (what is sent smaller). Disk: [`jail`] (directories that cannot be left), [`vault`] (whole objects), [`drop_dir`],
//! [`source`], [`scrub`]. Shells: [`server`] and [`client`], which speak `files/1` (spec chapter 5) over the library; [`rooms`] is
//! what they ask of a room log.

#![forbid(unsafe_code)]

mod attributes;
pub mod bundle;
pub mod client;
mod coming;
pub mod compare;
mod disk;
pub mod drop_dir;
mod error;
mod folded;
pub mod jail;
pub mod journal;
mod mending;
pub mod names;
mod object_tree;
mod older;
pub mod pace;
pub mod packing;
pub mod passage;
pub mod pause;
pub mod pipe;
mod policy;
pub mod prints;
pub mod progress;
pub mod quota;
mod reader;
pub mod receipts;
pub mod receive;
pub mod rooms;
pub mod scrub;
pub mod server;
mod sift;
pub mod source;
mod staging;
pub mod tree;
mod tree_sink;
mod tree_source;
pub mod unpack;
pub mod vault;
pub mod versions;
pub mod walk;
mod writer;

/// What moves files yields to everything else on its connection: chat lives beside bulk.
pub(crate) const BULK_PRIORITY: i32 = -1;

pub use client::{Destination, Fetched, FilesClient};
pub use drop_dir::{Distinct, DropDir, DropOptions, Quotas};
pub use error::{FilesError, Result};
pub use names::escape;
pub use pace::Pace;
pub use pause::Full;
pub use pipe::OutgoingPipe;
pub use progress::{Meter, Moment, Observer, Passing, Progress, Stage};
pub use rooms::Rooms;
pub use server::{FilesLimits, FilesServer, Underway};
pub use sift::speaking::{CONTENT, Spoken, speak, speak_of};
pub use sift::{Chain, Item};
pub use source::Outgoing;
pub use tree_source::OutgoingTree;
pub use unpack::{Missing, Only, Report};
pub use vault::FsVault;
pub use walk::{Pick, Trouble, WalkOptions};
