//! What is fetched, on its way into a directory of the user's: a file or a tree.

use std::io;

use hikyaku_storage::vault::{Mark, VaultError};
use hikyaku_wire::files::{Answer, Head, PutOptions, Receipt, Synced, Verdict};
use hikyaku_wire::parcel::{EntryKind, Metadata, Root, TransferId};
use tokio::sync::mpsc;

use super::Destination;
use crate::error::{FilesError, Result};
use crate::jail::{self, Dir};
use crate::names::{Dots, SafeName};
use crate::pause::Waiting;
use crate::policy::{Policy, has_root, twin, verdict};
use crate::progress::Progress;
use crate::receive::Receiving;
use crate::sift::ANSWERS;
use crate::staging::{Layout, Opened, Place, Staged, Staging};
use crate::tree_sink::{Into, Listing, Opening, Placed, TreeSink, place_again};
use crate::unpack::{Bounds, Report};
use crate::writer::{Work, write_all};

/// A parcel being fetched.
pub(crate) struct Incoming {
    pub(crate) head: Head,
    into: Dir,
    name: SafeName,
    sink: Sink,
    options: PutOptions,
}

/// What is found when a parcel is to be fetched.
pub(crate) enum Found {
    /// Its bytes are to come.
    Incoming(Box<Incoming>),
    /// It was whole when this program was interrupted, and has its place now.
    Placed(Box<Published>),
    /// A file that need not come: the same is there, or a newer one that stays.
    There(Box<(Receipt, SafeName, Verdict)>),
}

/// What has its place.
pub(crate) struct Published {
    pub(crate) receipt: Receipt,
    pub(crate) name: SafeName,
    /// Of a tree.
    pub(crate) report: Option<Report>,
    pub(crate) remains: Remains,
}

/// What tells that something got its place, until whoever is to know of it knows. Left behind by a crash, it tells the next
/// one who fetches the same to the same place.
#[must_use]
pub(crate) struct Remains {
    into: Dir,
    transfer: TransferId,
}

impl Remains {
    pub(crate) fn forget(self) -> Result<()> {
        Ok(staging(&self.into)?.discard(self.transfer)?)
    }
}

/// Where its bytes go.
enum Sink {
    File(Box<Staged>),
    Tree(Box<TreeSink>, Mark, Option<mpsc::Receiver<Answer>>),
}

impl Incoming {
    /// Everything that can be refused is refused here, before a byte is asked for.
    pub(crate) fn open(head: Head, to: &Destination) -> Result<Found> {
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
        if layout == Layout::File
            && let Some(found) = look_for_file(&head, to, &into, &name)?
        {
            return Ok(found);
        }
        let staged = stage(&head, &into, layout)?;
        let sink = match layout {
            Layout::File | Layout::Object => Sink::File(Box::new(staged)),
            Layout::Tree => {
                let compares = to.options.distinct == Some(true);
                let may_have = into.identify(&name).map_err(VaultError::Io)?.is_some()
                    || compares && twin(&into, &name).map_err(VaultError::Io)?.is_some();
                let listing =
                    if to.only.is_some() { Listing::WhenKnown(true) } else { Listing::WhenNew(may_have) };
                let (options, dots, only) = (to.options, to.dots, to.only.clone());
                let goes = Into { place: &into, options, dots, listing, only, prints: false };
                let (opening, wants) = TreeSink::open(staged, &goes)?;
                match opening {
                    Opening::Open(mut sink, mark) => {
                        sink.bound(Bounds::new(to.max_size, None));
                        Sink::Tree(sink, mark, Some(wants))
                    }
                    Opening::Whole(staged, root, size) => {
                        let placed = place_again(*staged, (root, size), to.options, &into)?;
                        let receipt = receipt_of(&head, &placed);
                        let (report, remains) =
                            (Some(placed.report), Remains { into, transfer: head.transfer });
                        return Ok(Found::Placed(Box::new(Published { receipt, name, report, remains })));
                    }
                }
            }
        };
        let mut incoming = Self { head, into, name, sink, options: to.options };
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
    pub(crate) fn mark(&self) -> &Mark {
        match &self.sink {
            Sink::File(staged) => staged.mark(),
            Sink::Tree(_, mark, _) => mark,
        }
    }

    /// Whether the sender is to say roots when it lists.
    pub(super) fn compares_roots(&self) -> bool {
        self.options.checksum == Some(true)
    }

    /// Whether the sender is to list what it has.
    pub(crate) fn lists(&self) -> bool {
        matches!(&self.sink, Sink::Tree(sink, ..) if sink.lists())
    }

    /// Where what is to be told the sender goes, and where it comes from. The other end is there once.
    pub(crate) fn telling(&mut self) -> (mpsc::Sender<Answer>, mpsc::Receiver<Answer>) {
        match &mut self.sink {
            Sink::Tree(sink, _, told) if told.is_some() => {
                let teller = sink.teller();
                told.take().map_or_else(|| mpsc::channel(ANSWERS), |told| (teller, told))
            }
            _ => mpsc::channel(ANSWERS),
        }
    }

    /// Takes everything and gives it its name; what can never be the parcel is not kept.
    pub(crate) fn land(
        mut self,
        receiving: Receiving,
        work: mpsc::Receiver<Work>,
        progress: &Progress,
        waiting: &mut Waiting,
    ) -> Result<Published> {
        // What is sifted has a root of its own.
        let said = self.head.root.filter(|_| !self.lists());
        let taken = match self.take_all(receiving, work, progress, waiting) {
            Ok((root, size)) => match said {
                Some(said) if said != root => Err(FilesError::RootMismatch { said, found: root, size }),
                _ => return self.publish(root, size, waiting),
            },
            Err(error) => Err(error),
        };
        if let Err(FilesError::RootMismatch { .. } | FilesError::Bundle(_)) = taken {
            self.discard()?;
        }
        taken
    }

    fn take_all(
        &mut self,
        receiving: Receiving,
        work: mpsc::Receiver<Work>,
        progress: &Progress,
        waiting: &mut Waiting,
    ) -> Result<(Root, u64)> {
        match &mut self.sink {
            Sink::File(staged) => write_all(&mut **staged, receiving, work, progress, waiting),
            Sink::Tree(sink, ..) => sink.take_all(receiving, work, progress, waiting),
        }
    }

    pub(crate) fn publish(self, root: Root, size: u64, waiting: &mut Waiting) -> Result<Published> {
        let transfer = self.head.transfer;
        match self.sink {
            Sink::File(mut staged) => {
                let (synced, name, event) = (Synced::Each, None, None);
                let receipt = Receipt { transfer, root, size, synced, name, event, tree: None };
                let meta = self.head.meta.unwrap_or(Metadata { mode: Some(0o644), ..Metadata::default() });
                // Whether the content is there was decided before it came.
                let policy = Policy { checksum: true, ..Policy::of(&self.options) };
                let place = Place { into: &self.into, name: &self.name, policy, synced };
                let published = waiting.until_room(|| Ok(staged.publish(root, size, &meta, &place)?));
                let name = match published {
                    Err(FilesError::Vault(VaultError::Io(error)))
                        if error.kind() == io::ErrorKind::AlreadyExists =>
                    {
                        return Err(FilesError::Exists(self.name.to_string()));
                    }
                    named => named?,
                };
                let remains = Remains { into: self.into, transfer };
                Ok(Published { receipt, name, report: None, remains })
            }
            Sink::Tree(sink, ..) => {
                let placed = sink.place(root, size, &self.into, waiting)?;
                let (receipt, remains) =
                    (receipt_of(&self.head, &placed), Remains { into: self.into, transfer });
                Ok(Published { receipt, name: self.name, report: Some(placed.report), remains })
            }
        }
    }

    pub(crate) fn discard(self) -> Result<(), VaultError> {
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

/// What is there of a single file, where nothing is to come; an error where it cannot have its name.
fn look_for_file(head: &Head, to: &Destination, into: &Dir, name: &SafeName) -> Result<Option<Found>> {
    if let Some(placed) = placed_before(head, into, name)? {
        return Ok(Some(Found::Placed(Box::new(placed))));
    }
    if let Some(theirs) = into.find(name).map_err(VaultError::Io)? {
        match decide(head, theirs, (into, name), Policy::of(&to.options)) {
            wanted if wanted.is_wanted() => {}
            verdict @ (Verdict::SAME | Verdict::OLDER) => {
                return Ok(Some(Found::There(Box::new((receipt_there(head), name.clone(), verdict)))));
            }
            _ => return Err(FilesError::Exists(name.to_string())),
        }
    }
    let compares = to.options.distinct == Some(true) && to.options.aside != Some(true);
    match compares.then(|| twin(into, name)).transpose().map_err(VaultError::Io)?.flatten() {
        Some(twin) => Err(FilesError::Collides(name.to_string(), twin.to_string())),
        None => Ok(None),
    }
}

/// A file that got its name right before this program was interrupted, if it still is what it was then: nobody else knows
/// that it is here. (A tree is compared file by file.)
fn placed_before(head: &Head, into: &Dir, name: &SafeName) -> Result<Option<Published>> {
    let (transfer, header) = (head.transfer, hikyaku_wire::cbor::encode(&identity(head)));
    let published = staging(into)?.published(transfer, &header).map_err(VaultError::Io)?;
    let Some((root, size, inode)) = published else { return Ok(None) };
    let is_named = into.identify(name).map_err(VaultError::Io)?.is_some_and(|found| found.inode == inode);
    if !is_named || head.root.is_some_and(|said| said != root) || !has_root(into, name, root) {
        staging(into)?.discard(transfer)?;
        return Ok(None);
    }
    // The name may not have been durable.
    into.sync().map_err(VaultError::Io)?;
    let (synced, event) = (Synced::Each, None);
    let receipt = Receipt { transfer, root, size, synced, name: None, event, tree: None };
    let remains = Remains { into: into.try_clone().map_err(VaultError::Io)?, transfer };
    Ok(Some(Published { receipt, name: name.clone(), report: None, remains }))
}

/// What becomes of a file where something has its name.
fn decide(head: &Head, theirs: jail::Found, (into, name): (&Dir, &SafeName), policy: Policy) -> Verdict {
    let size = head.size.unwrap_or(0);
    let same_size = matches!(theirs, jail::Found::File { size: their_size, .. } if their_size == size);
    match head.root {
        Some(root) if policy.checksum && same_size && has_root(into, name, root) => Verdict::SAME,
        _ => verdict(jail::Found::listed(size, &head.meta.unwrap_or_default()), theirs, policy),
    }
}

/// What is said of a file that is there: that it has this root is the sender's word.
fn receipt_there(head: &Head) -> Receipt {
    let (root, size) = (head.root.unwrap_or(Root([0; 32])), head.size.unwrap_or(0));
    let (transfer, synced) = (head.transfer, Synced::None);
    Receipt { transfer, root, size, synced, name: None, event: None, tree: None }
}

fn receipt_of(head: &Head, placed: &Placed) -> Receipt {
    let Placed { root, size, synced, ref tree, .. } = *placed;
    let (transfer, tree) = (head.transfer, Some(tree.clone()));
    Receipt { transfer, root, size, synced, name: None, event: None, tree }
}

fn staging(into: &Dir) -> Result<Staging> {
    Ok(Staging::new(into.try_clone().map_err(VaultError::Io)?, ".hikyaku-", 0))
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
