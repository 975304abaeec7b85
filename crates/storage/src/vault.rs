//! The vault: whole objects named by their root, and the partial ones that are on their way.
//!
//! An object is bytes plus an *outboard* (opaque here: the chaining values that prove parts of it). It is written
//! into a [`Partial`], sealed once the caller has verified all of it, and kept as long as a [`Reference`] names it.
//! The vault never hashes: whoever seals vouches for the root.
//!
//! Calls block, because the hot path is one thread that hashes and writes half a mebibyte at a time: call from a
//! blocking thread. [`memory::MemoryVault`] is the model; [`conformance`] is the suite every vault passes.

use std::fmt;
use std::io;
use std::time::Duration;

pub mod conformance;
pub mod memory;

/// The root of an object: its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub [u8; 32]);

/// The name of one transfer into the vault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Transfer(pub [u8; 16]);

/// Who keeps an object: 16 bytes that the caller chooses (a transfer id, a version).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference(pub [u8; 16]);

/// How far a partial object is: everything before `verified` is verified and durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The offset of the first byte that is not.
    pub verified: u64,
    /// What the verifier needs to go on from there; opaque, at most [`MAX_STATE`] bytes.
    pub state: Vec<u8>,
}

/// The most bytes of [`Mark::state`].
pub const MAX_STATE: usize = 8 * 1024;

/// What is known of a transfer when it is reserved.
pub enum Reserved {
    /// It is open: go on after its mark.
    Open(Box<dyn Partial>),
    /// It was sealed already.
    Sealed(Sealed),
}

/// A sealed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its root.
    pub root: ObjectId,
    /// Its size in bytes.
    pub size: u64,
}

/// A transfer that the vault remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Which.
    pub transfer: Transfer,
    /// Present when it was sealed.
    pub sealed: Option<Sealed>,
    /// How long nothing was written.
    pub idle: Duration,
    /// How many bytes of it are verified and durable.
    pub verified: u64,
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many objects.
    pub objects: u64,
    /// How many bytes of content.
    pub bytes: u64,
}

/// Why a vault did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no such object or transfer.
    #[error("the vault has no such object")]
    NotFound,
    /// Another caller has this partial open.
    #[error("this transfer is being written by somebody else")]
    Busy,
    /// No space, or no more than the operator keeps free.
    #[error("the disk is full ({free} bytes free, {needed} needed)")]
    Full {
        /// Bytes that may still be written.
        free: u64,
        /// Bytes that were asked for.
        needed: u64,
    },
    /// Somebody may not have so many bytes.
    #[error("{0}")]
    Quota(String),
    /// A bound of this vault.
    #[error("the vault's limit {name} ({limit}) is reached")]
    Limit {
        /// Which.
        name: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The caller broke the contract.
    #[error("wrong use of the vault: {0}")]
    Misuse(&'static str),
    /// The disk.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
}

/// An object on its way. Dropping it keeps what is marked (and may keep more).
pub trait Partial: Send {
    /// The last mark that is durable.
    fn mark(&self) -> &Mark;

    /// Writes data, and outboard bytes at an offset of their own.
    fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        outboard_offset: u64,
        outboard: &[u8],
    ) -> Result<(), VaultError>;

    /// Makes everything written so far durable, then the mark. Never the other way round.
    fn sync(&mut self, mark: Mark) -> Result<(), VaultError>;

    /// Makes an object of it: exactly `size` bytes, named `root`, kept by `reference`, all of it durable on return.
    ///
    /// The transfer is remembered as sealed until [`Vault::discard`]. If the object exists already, these bytes take its
    /// place: they were verified just now, and those may have decayed. Whoever has it open reads on.
    fn seal(self: Box<Self>, root: ObjectId, size: u64, reference: Reference) -> Result<Sealed, VaultError>;

    /// Takes an object that is there for what would have been written: it is kept by `reference` too, and the transfer
    /// is remembered as sealed. [`VaultError::NotFound`] if there is none of that root and size, or somebody mends it,
    /// or did and left it doubtful.
    fn adopt(self: Box<Self>, root: ObjectId, size: u64, reference: Reference) -> Result<Sealed, VaultError>;
}

/// A sealed object, open for reading.
pub trait Object: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Reads at an offset, until the buffer is full or the object ends; returns how much was read.
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError>;

    /// Reads outboard bytes in the same way.
    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError>;
}

/// A sealed object of which something has decayed. What it is does not change: whoever writes has verified that the bytes
/// are those that were sealed. Dropping it keeps what was written.
pub trait Mending: Object {
    /// Whether an attempt before this one wrote to it and could not make that durable: what is read may not be what the disk
    /// has. It stays so until all of the content is written again, from its beginning on, and durable.
    fn is_doubtful(&self) -> bool;

    /// Writes data in its place, and outboard bytes at an offset of their own.
    fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        outboard_offset: u64,
        outboard: &[u8],
    ) -> Result<(), VaultError>;

    /// Cuts off what lies behind the sizes that it had when it was sealed, and makes everything written durable.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when it was collected meanwhile.
    fn sync(&mut self, size: u64, outboard_size: u64) -> Result<(), VaultError>;
}

/// A transfer that somebody may be writing, open for reading.
pub struct Peeked {
    /// Its bytes and outboard, as far as they were written: [`Object::size`] grows. Once it is sealed, and after its end,
    /// this reads on.
    pub object: Box<dyn Object>,
    /// What of it is verified and durable; more may be, and whoever writes it knows.
    pub verified: u64,
}

/// Whole objects by root.
pub trait Vault: Send + Sync + 'static {
    /// Opens a transfer, new or known. `size` is a hint: space is checked and may be set aside.
    fn reserve(&self, transfer: Transfer, size: Option<u64>) -> Result<Reserved, VaultError>;

    /// Opens a transfer for reading while it may be written.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when it was never reserved, or was discarded.
    fn peek(&self, transfer: Transfer) -> Result<Peeked, VaultError>;

    /// Forgets a transfer: its partial data, or that it was sealed. Objects stay. Unknown is no error.
    fn discard(&self, transfer: Transfer) -> Result<(), VaultError>;

    /// What is remembered of one transfer.
    fn transfer(&self, transfer: Transfer) -> Result<Option<Remembered>, VaultError>;

    /// The transfers that are remembered.
    fn transfers(&self) -> Result<Vec<Remembered>, VaultError>;

    /// Opens an object.
    fn open(&self, root: ObjectId) -> Result<Box<dyn Object>, VaultError>;

    /// Opens an object to write in their place bytes that have decayed. An outboard that is gone is empty.
    ///
    /// # Errors
    /// [`VaultError::Busy`] when somebody else is mending it.
    fn mend(&self, root: ObjectId) -> Result<Box<dyn Mending>, VaultError>;

    /// Adds a reference. The same one again is no error.
    fn reference(&self, root: ObjectId, reference: Reference) -> Result<(), VaultError>;

    /// Takes a reference away. Unknown is no error; the object goes at the next collection.
    fn release(&self, root: ObjectId, reference: Reference) -> Result<(), VaultError>;

    /// Every root of which there is something: an object, or a reference that outlived one.
    fn roots(&self) -> Result<Vec<ObjectId>, VaultError>;

    /// Who keeps an object, or would if it were there.
    fn references(&self, root: ObjectId) -> Result<Vec<Reference>, VaultError>;

    /// How many bytes all objects have, content and outboards: each counts once, whoever references it.
    fn stored(&self) -> Result<u64, VaultError>;

    /// Removes the objects that nobody references. One that is open stays readable to whoever has it.
    fn collect(&self) -> Result<Collected, VaultError>;
}

macro_rules! as_hex {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

as_hex!(ObjectId, Transfer, Reference);
