//! What is fetched, on its way into a directory of the user's: a file or a tree.

use std::io;

use hikyaku_storage::vault::{Mark, VaultError};
use hikyaku_wire::files::{Head, Receipt, Synced, Wants};
use hikyaku_wire::parcel::{EntryKind, Metadata, Root, TransferId};
use tokio::sync::mpsc;

use super::Destination;
use crate::error::{FilesError, Result};
use crate::jail::Dir;
use crate::names::{Dots, SafeName};
use crate::progress::Progress;
use crate::receive::Receiving;
use crate::staging::{Layout, Opened, Staged, Staging};
use crate::tree_sink::{Into, Listing, Opening, Placed, TreeSink, place_again};
use crate::unpack::Report;
use crate::writer::{Work, write_all};

/// A parcel being fetched.
pub(super) struct Incoming {
    pub(super) head: Head,
    into: Dir,
    name: SafeName,
    sink: Sink,
}

/// What is found when a parcel is to be fetched.
pub(super) enum Found {
    /// Its bytes are to come.
    Incoming(Box<Incoming>),
    /// A tree that was whole when this program was interrupted, and has its place now.
    Placed(Box<(Receipt, SafeName, Report)>),
}

/// Where its bytes go.
enum Sink {
    File(Box<Staged>),
    Tree(Box<TreeSink>, Mark, Option<mpsc::Receiver<Wants>>),
}

impl Incoming {
    /// Everything that can be refused is refused here, before a byte is asked for.
    pub(super) fn open(head: Head, to: &Destination) -> Result<Found> {
        //= S5.3
        let layout = match head.kind {
            EntryKind::File => Layout::File,
            EntryKind::Tree => Layout::Tree,
            EntryKind::Symlink => return Err(FilesError::Kind),
        };
        if head.size.is_some_and(|size| size > to.max_size) {
            return Err(FilesError::Limit { name: "max_size", limit: to.max_size });
        }
        let name = match &to.name {
            Some(name) => SafeName::parse(name, Dots::Allowed)?,
            None => SafeName::parse(&head.name, to.dots)?,
        };
        let into = Dir::open(&to.directory).map_err(VaultError::Io)?;
        // A tree has names of its own, and looks at each when it takes its place.
        if layout == Layout::File && into.identify(&name).map_err(VaultError::Io)?.is_some() {
            return Err(FilesError::Exists(name.to_string()));
        }
        let staged = stage(&head, &into, layout)?;
        let sink = match layout {
            Layout::File | Layout::Object => Sink::File(Box::new(staged)),
            Layout::Tree => {
                let may_have = into.identify(&name).map_err(VaultError::Io)?.is_some();
                let listing = Listing::WhenNew(may_have);
                let goes = Into { place: &into, options: to.options, dots: to.dots, listing };
                let (opening, wants) = TreeSink::open(staged, &goes)?;
                match opening {
                    Opening::Open(sink, mark) => Sink::Tree(sink, mark, Some(wants)),
                    Opening::Whole(staged, root, size) => {
                        let placed = place_again(*staged, (root, size), to.options, &into)?;
                        staging(&into)?.discard(head.transfer)?;
                        return Ok(Found::Placed(Box::new((
                            receipt_of(&head, &placed),
                            name,
                            placed.report,
                        ))));
                    }
                }
            }
        };
        let mut incoming = Self { head, into, name, sink };
        if let Err(error) = incoming.check_space() {
            // What was never begun leaves nothing behind in a directory of the user's.
            if incoming.mark().verified == 0 {
                incoming.discard()?;
            }
            return Err(error);
        }
        Ok(Found::Incoming(Box::new(incoming)))
    }

    /// Where it goes on.
    pub(super) fn mark(&self) -> &Mark {
        match &self.sink {
            Sink::File(staged) => staged.mark(),
            Sink::Tree(_, mark, _) => mark,
        }
    }

    /// Whether the sender is to list what it has, and where the answers come from.
    pub(super) fn listing(&mut self) -> Option<mpsc::Receiver<Wants>> {
        match &mut self.sink {
            Sink::Tree(sink, _, wants) if sink.lists() => wants.take(),
            _ => None,
        }
    }

    pub(super) fn take_all(
        &mut self,
        receiving: Receiving,
        work: mpsc::Receiver<Work>,
        progress: &Progress,
    ) -> Result<(Root, u64)> {
        match &mut self.sink {
            Sink::File(staged) => write_all(&mut **staged, receiving, work, progress),
            Sink::Tree(sink, ..) => sink.take_all(receiving, work, progress),
        }
    }

    pub(super) fn publish(self, root: Root, size: u64) -> Result<(Receipt, SafeName, Option<Report>)> {
        let transfer = self.head.transfer;
        match self.sink {
            Sink::File(mut staged) => {
                let (synced, name, event) = (Synced::Each, None, None);
                let receipt = Receipt { transfer, root, size, synced, name, event, tree: None };
                let meta = self.head.meta.unwrap_or(Metadata { mode: Some(0o644), ..Metadata::default() });
                match staged.publish(root, size, &meta, &self.into, &self.name) {
                    Err(VaultError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                        return Err(FilesError::Exists(self.name.to_string()));
                    }
                    result => result?,
                }
                staged.forget()?;
                Ok((receipt, self.name, None))
            }
            Sink::Tree(sink, ..) => {
                let placed = sink.place(root, size, &self.into)?;
                staging(&self.into)?.discard(transfer)?;
                Ok((receipt_of(&self.head, &placed), self.name, Some(placed.report)))
            }
        }
    }

    pub(super) fn discard(self) -> Result<(), VaultError> {
        match self.sink {
            Sink::File(staged) => staged.discard(),
            Sink::Tree(sink, ..) => sink.discard(),
        }
    }

    fn check_space(&mut self) -> Result<()> {
        let needed = self.head.size.unwrap_or(0).saturating_sub(self.mark().verified);
        let free = self.into.free_space().map_err(VaultError::Io)?;
        if needed > free {
            return Err(VaultError::Full { free, needed }.into());
        }
        match &mut self.sink {
            Sink::File(staged) => Ok(staged.prepare(self.head.size)?),
            Sink::Tree(..) => Ok(()),
        }
    }
}

fn receipt_of(head: &Head, placed: &Placed) -> Receipt {
    let Placed { root, size, synced, ref report } = *placed;
    let (transfer, tree) = (head.transfer, Some(report.receipt()));
    Receipt { transfer, root, size, synced, name: None, event: None, tree }
}

fn staging(into: &Dir) -> Result<Staging> {
    Ok(Staging::new(into.try_clone().map_err(VaultError::Io)?, ".hikyaku-"))
}

/// What stays the same of a parcel from its beginning to its end. (Its size and root need not: what came is compared with
/// them and with the hash of what came before.)
pub(super) fn identity(head: &Head) -> Head {
    Head { size: None, root: None, arrival: None, before: None, ..head.clone() }
}

/// Removes what is left of a transfer that will never be whole.
pub(super) fn forget(into: &std::path::Path, transfer: TransferId) -> Result<()> {
    let into = Dir::open(into).map_err(VaultError::Io)?;
    Ok(staging(&into)?.discard(transfer)?)
}

/// The temporary files of a transfer, or new ones when those that are there are of something else.
fn stage(head: &Head, into: &Dir, layout: Layout) -> Result<Staged> {
    let header = hikyaku_wire::cbor::encode(&identity(head));
    let staging = staging(into)?;
    match staging.open(head.transfer, &header, layout, |_, _, _| Ok(false))? {
        Opened::Staged(staged) if staged.header() == header => Ok(*staged),
        // The remains of something else, or of a file that was fetched and taken away since.
        found => {
            drop(found);
            staging.discard(head.transfer)?;
            match staging.open(head.transfer, &header, layout, |_, _, _| Ok(false))? {
                Opened::Staged(staged) => Ok(*staged),
                Opened::Settled(..) => Err(VaultError::Busy.into()),
            }
        }
    }
}
