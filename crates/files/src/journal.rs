//! The journal of one transfer: which bytes of its temporary file are verified and durable.
//!
//! Append-only records, each sealed with a checksum that also covers the records before it. Data is synchronised
//! first, its [`Record::Mark`] appended after; so a journal may know less than the disk, never more. A torn or damaged
//! tail is ignored. This file is pure: bytes in, state out; `staging` does the writing. Spec: S5.30–S5.32.

use hikyaku_storage::vault::Mark;
use hikyaku_wire::parcel::Root;

/// The longest payload of a record.
pub const MAX_PAYLOAD: usize = 16 * 1024;
/// The longest journal that is read. A writer starts it afresh long before.
pub const MAX_JOURNAL: u64 = 4 * 1024 * 1024;

const SUM: usize = 8;
const HEADER: usize = 5;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// What is transferred, in the form its owner chose. Always the first.
    Begin(Vec<u8>),
    /// Everything before `verified` is verified and durable.
    Mark(Mark),
    /// The root was equal; the temporary file with this inode is about to get its final name.
    Sealing {
        /// The root of the whole.
        root: Root,
        /// Its size.
        size: u64,
        /// The inode of the temporary file.
        inode: u64,
    },
    /// It has its final name, durably.
    Settled {
        /// The root of the whole.
        root: Root,
        /// Its size.
        size: u64,
    },
    /// What became of it, in the form its owner chose; comes before what it is about.
    Outcome(Vec<u8>),
}

/// What a journal says: the latest of each kind of record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What is transferred.
    pub begin: Option<Vec<u8>>,
    /// How far it is.
    pub mark: Mark,
    /// The publishing that was begun: root, size, inode.
    pub sealing: Option<(Root, u64, u64)>,
    /// The publishing that was done: root, size.
    pub settled: Option<(Root, u64)>,
    /// What became of it.
    pub outcome: Option<Vec<u8>>,
    /// How many bytes of the journal are good; the next record goes there.
    pub end: u64,
    chain: Chain,
}

/// The checksum so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chain([u8; SUM]);

impl Default for Chain {
    fn default() -> Self {
        Self(*b"hikyaku1")
    }
}

impl Chain {
    fn next(self, record: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(record);
        let mut sum = [0; SUM];
        hasher.finalize_xof().fill(&mut sum);
        Self(sum)
    }
}

impl Contents {
    /// Reads a journal as far as it is whole.
    //= S5.31
    pub fn parse(bytes: &[u8]) -> Self {
        let mut contents = Self::default();
        let mut rest = bytes;
        while let Some((record, chain, length)) = next(rest, contents.chain) {
            if matches!(record, Record::Begin(_)) != contents.begin.is_none() {
                break;
            }
            contents.apply(record);
            contents.chain = chain;
            contents.end += length as u64;
            rest = rest.get(length..).unwrap_or_default();
        }
        contents
    }

    /// Takes one more record, and returns its bytes: they belong at [`Contents::end`] as it was before.
    pub fn append(&mut self, record: Record) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        let kind = record.write(&mut out);
        let length = u32::try_from(out.len() - HEADER).unwrap_or(u32::MAX).to_be_bytes();
        out[..4].copy_from_slice(&length);
        out[4] = kind;
        self.chain = self.chain.next(&out);
        out.extend(self.chain.0);
        self.end += out.len() as u64;
        self.apply(record);
        out
    }

    /// The same state as a new journal without history.
    pub fn compact(&self) -> (Self, Vec<u8>) {
        let mut fresh = Self::default();
        let mut bytes = fresh.append(Record::Begin(self.begin.clone().unwrap_or_default()));
        bytes.extend(fresh.append(Record::Mark(self.mark.clone())));
        if let Some(outcome) = &self.outcome {
            bytes.extend(fresh.append(Record::Outcome(outcome.clone())));
        }
        if let Some((root, size, inode)) = self.sealing {
            bytes.extend(fresh.append(Record::Sealing { root, size, inode }));
        }
        if let Some((root, size)) = self.settled {
            bytes.extend(fresh.append(Record::Settled { root, size }));
        }
        (fresh, bytes)
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Begin(header) => self.begin = Some(header),
            Record::Mark(mark) => self.mark = mark,
            Record::Sealing { root, size, inode } => self.sealing = Some((root, size, inode)),
            Record::Settled { root, size } => self.settled = Some((root, size)),
            Record::Outcome(outcome) => self.outcome = Some(outcome),
        }
    }
}

impl Record {
    /// Appends the payload and returns the kind.
    fn write(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Record::Begin(header) => {
                out.extend(header);
                1
            }
            Record::Mark(mark) => {
                out.extend(mark.verified.to_be_bytes());
                out.extend(&mark.state);
                2
            }
            Record::Sealing { root, size, inode } => {
                out.extend(root.0);
                out.extend(size.to_be_bytes());
                out.extend(inode.to_be_bytes());
                3
            }
            Record::Settled { root, size } => {
                out.extend(root.0);
                out.extend(size.to_be_bytes());
                4
            }
            Record::Outcome(outcome) => {
                out.extend(outcome);
                5
            }
        }
    }

    fn read(kind: u8, payload: &[u8]) -> Option<Self> {
        match kind {
            1 => Some(Record::Begin(payload.to_vec())),
            2 => {
                let (verified, state) = number(payload)?;
                Some(Record::Mark(Mark { verified, state: state.to_vec() }))
            }
            3 => {
                let (root, rest) = payload.split_first_chunk::<32>()?;
                let (size, rest) = number(rest)?;
                let (inode, rest) = number(rest)?;
                rest.is_empty().then_some(Record::Sealing { root: Root(*root), size, inode })
            }
            4 => {
                let (root, rest) = payload.split_first_chunk::<32>()?;
                let (size, rest) = number(rest)?;
                rest.is_empty().then_some(Record::Settled { root: Root(*root), size })
            }
            5 => Some(Record::Outcome(payload.to_vec())),
            _ => None,
        }
    }
}

/// The next whole record, the chain after it, and its length.
fn next(bytes: &[u8], chain: Chain) -> Option<(Record, Chain, usize)> {
    let (length, _) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if length > MAX_PAYLOAD {
        return None;
    }
    let record = bytes.get(..HEADER + length)?;
    let sum = bytes.get(HEADER + length..HEADER + length + SUM)?;
    let chain = chain.next(record);
    if sum != chain.0 {
        return None;
    }
    let record = Record::read(*record.get(4)?, record.get(HEADER..)?)?;
    Some((record, chain, HEADER + length + SUM))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests;
