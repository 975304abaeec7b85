//! Bundles: a directory tree as one canonical stream of bytes, written and read without I/O.
//!
//! [`Writer`] turns entries into records; [`Reader`] turns records, from pieces of any size, into [`Item`]s and refuses
//! what is not canonical: names out of order, content that does not fit the size that was announced, links to what did
//! not come. [`Position`] is where a reader stands, small and storable, so that a receiver goes on after a break.
//! Spec: section 5.6.

mod last;
mod reader;
mod writer;

pub use last::{MAX_LAST, last};
pub use reader::{BundleError, Item, Position, Reader};
pub use writer::Writer;

#[cfg(test)]
mod tests;
