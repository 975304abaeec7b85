//! Reading records: a push parser that holds one incomplete header and nothing else. What each record may say where it stands
//! is in `rules`.

mod rules;

use hikyaku_wire::bundle::{
    Done, FileEnd, FileHead, Leave, LeftOut, MAX_HEADER, PIECE_LEN, RecordType, Symlink,
};
use hikyaku_wire::cbor::CborError;
use hikyaku_wire::files::Component;
use hikyaku_wire::parcel::Metadata;
use hikyaku_wire::varint;
use minicbor::{Decode, Encode};

use crate::names::{Dots, NameError, SafeName, SafeRelPath};

/// What a bundle says next. Names are checked; content is a slice of what was given to [`Reader::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A directory begins.
    Enter(SafeName),
    /// The directory that was entered last ends.
    Leave(Leave),
    /// A file begins.
    File(SafeName, FileHead),
    /// The file's next bytes.
    Bytes(&'a [u8]),
    /// The file's next bytes are zeros: how many.
    Hole(u64),
    /// The file ends.
    End(FileEnd),
    /// A symbolic link.
    Symlink(SafeName, Symlink),
    /// A second name of the file at a path.
    HardLink(SafeName, SafeRelPath),
    /// Something the sender did not carry.
    LeftOut(SafeName, LeftOut),
    /// The next files of the listing are not carried: how many.
    Kept(u64),
    /// A record of a type that this version does not know; it is not kept.
    Unknown(u64),
    /// The bundle ends.
    Done(Done),
}

/// Why a bundle is refused. Offsets are those of the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A name that is not taken.
    #[error("the bundle has {0}")]
    Name(#[from] NameError),
    /// A record that may not come here.
    #[error("the bundle is not in order at byte {offset}: {reason}")]
    Order {
        /// Which rule.
        reason: &'static str,
        /// Where the record ends.
        offset: u64,
    },
    /// A header that is not what its type says.
    #[error("the bundle has a damaged header that ends at byte {offset}: {error}")]
    Header {
        /// Where the header ends.
        offset: u64,
        /// What is wrong.
        error: CborError,
    },
    /// A bound of this side.
    #[error("the bundle exceeds the limit {name} of {limit}")]
    Limit {
        /// Which.
        name: &'static str,
        /// Its value.
        limit: u64,
    },
}

/// Reads one bundle from pieces of any size.
///
/// ```
/// use hikyaku_files::bundle::{Item, Reader, Writer};
/// use hikyaku_files::names::Dots;
/// use hikyaku_wire::bundle::{Done, Enter, Leave};
///
/// let mut writer = Writer::default();
/// writer.enter(&Enter { name: b"photos".to_vec() });
/// writer.leave(&Leave::default());
/// writer.done(&Done { entries: 1, ..Done::default() });
///
/// let (mut reader, mut input) = (Reader::new(Dots::Refused), writer.written());
/// let mut seen = Vec::new();
/// while let Some(item) = reader.next(&mut input).unwrap() {
///     seen.push(item);
/// }
/// assert!(matches!(seen.as_slice(), [Item::Enter(_), Item::Leave(_), Item::Done(_)]));
/// assert!(reader.is_done());
/// ```
#[derive(Clone, Debug)]
pub struct Reader {
    /// Whether a name at the top may begin with a dot.
    top: Dots,
    /// Whether a listing goes with it, so that files and beginnings of files may be left out.
    listed: bool,
    at: Position,
    state: State,
    /// The beginning of a header that is not whole yet.
    held: Vec<u8>,
}

/// Where a reader stands between two headers: enough to go on from there in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Position {
    /// Bytes of the stream that were read.
    #[n(0)]
    pub offset: u64,
    #[n(1)]
    path: Vec<Component>,
    #[n(2)]
    last: Option<Component>,
    #[n(3)]
    file: Option<OpenFile>,
    /// What is missing of the BYTES record at hand.
    #[n(4)]
    bytes_left: u64,
    #[n(5)]
    done: Done,
    /// The last record was a hole: the next one may not be.
    #[n(6)]
    after_hole: bool,
    /// The last record was a run of kept files: the next one may not be.
    #[n(7)]
    #[cbor(default)]
    after_kept: bool,
}

/// The file that is being read.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OpenFile {
    /// Its name.
    #[n(0)]
    pub name: Component,
    /// Its size.
    #[n(1)]
    pub size: u64,
    /// How much of it came.
    #[n(2)]
    pub at: u64,
    /// Its metadata, which is set at its end.
    #[n(3)]
    pub meta: Option<Metadata>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two records, or inside the type and length of one.
    Header,
    /// Inside the payload of a header.
    Payload { ty: RecordType, len: usize },
    /// Inside content: [`Position::bytes_left`] says how much is missing.
    Bytes,
    /// Inside a record of an unknown type.
    Skip { ty: u64, left: u64 },
    /// After the last record.
    Done,
}

impl Position {
    /// The directories that are open, from the top.
    pub fn path(&self) -> impl Iterator<Item = &[u8]> {
        self.path.iter().map(|component| component.0.as_slice())
    }

    /// The last name that came in the innermost open directory.
    pub fn last(&self) -> Option<&[u8]> {
        self.last.as_ref().map(|component| component.0.as_slice())
    }

    /// The file that is being read.
    pub fn file(&self) -> Option<&OpenFile> {
        self.file.as_ref()
    }

    /// What came so far.
    pub fn counts(&self) -> Done {
        self.done
    }
}

impl Reader {
    /// A reader at the beginning. `top` says whether names at the top may begin with a dot; inside, all may.
    pub fn new(top: Dots) -> Self {
        Self::resume(top, Position::default())
    }

    /// A reader that goes on at a position of [`Reader::position`].
    pub fn resume(top: Dots, position: Position) -> Self {
        let state = if position.bytes_left > 0 { State::Bytes } else { State::Header };
        Self { top, listed: false, at: position, state, held: Vec::new() }
    }

    /// A reader of a bundle that a listing goes with. What may be left out of it is for whoever answered the listing.
    pub fn listed(top: Dots) -> Self {
        Self { listed: true, ..Self::new(top) }
    }

    /// A file that was kept has this name: those that follow it come after it.
    pub fn pass(&mut self, name: &SafeName) {
        self.at.last = Some(Component(name.as_bytes().to_vec()));
    }

    /// Where the reader stands, unless it is inside a header.
    pub fn position(&self) -> Option<&Position> {
        match self.state {
            State::Header | State::Bytes if self.held.is_empty() => Some(&self.at),
            _ => None,
        }
    }

    /// The path of what is being read, for messages: the open directories and the file.
    pub fn path(&self) -> Vec<u8> {
        let file = self.at.file.as_ref().map(|file| &file.name);
        let names: Vec<&[u8]> = self.at.path.iter().chain(file).map(|name| name.0.as_slice()).collect();
        names.join(&b'/')
    }

    /// How many bytes of the bundle were read.
    pub fn offset(&self) -> u64 {
        self.at.offset
    }

    /// Whether the whole bundle was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The next item; `None` when `input` is used up. `input` advances over what was read.
    ///
    /// An error is final: what follows it has no meaning.
    //= S5.40
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Item<'a>>, BundleError> {
        loop {
            match self.state {
                State::Header => match self.begin(input)? {
                    Some((ty, len)) => self.state = self.state_of(ty, len)?,
                    None => return Ok(None),
                },
                State::Payload { ty, len } => {
                    let Some(payload) = self.payload(len, input) else { return Ok(None) };
                    self.state = State::Header;
                    let item = self.item(ty, &payload)?;
                    if matches!(item, Item::Done(_)) {
                        self.state = State::Done;
                    }
                    return Ok(Some(item));
                }
                State::Bytes => {
                    let taken = take(input, self.at.bytes_left);
                    if taken.is_empty() {
                        return Ok(None);
                    }
                    let len = taken.len() as u64;
                    self.at.offset += len;
                    self.at.bytes_left -= len;
                    if let Some(file) = &mut self.at.file {
                        file.at += len;
                    }
                    if self.at.bytes_left == 0 {
                        self.state = State::Header;
                    }
                    return Ok(Some(Item::Bytes(taken)));
                }
                State::Skip { ty, left } => {
                    let skipped = take(input, left).len() as u64;
                    self.at.offset += skipped;
                    if skipped < left {
                        self.state = State::Skip { ty, left: left - skipped };
                        return Ok(None);
                    }
                    self.state = State::Header;
                    self.at.done.left_out += 1;
                    return Ok(Some(Item::Unknown(ty)));
                }
                State::Done if input.is_empty() => return Ok(None),
                State::Done => return Err(self.order("bytes after the end")),
            }
        }
    }

    /// The type and length of the next record.
    fn begin(&mut self, input: &mut &[u8]) -> Result<Option<(RecordType, u64)>, BundleError> {
        loop {
            if let Some((ty, first)) = varint::decode(&self.held)
                && let Some((len, second)) = self.held.get(first..).and_then(varint::decode)
            {
                if !varint::is_shortest(ty, first) || !varint::is_shortest(len, second) {
                    return Err(self.order("a number that is not in its shortest form"));
                }
                self.held.clear();
                return Ok(Some((RecordType(ty), len)));
            }
            let [byte] = *take(input, 1) else { return Ok(None) };
            self.held.push(byte);
            self.at.offset += 1;
        }
    }

    /// What the type and length of a record lead to.
    //= S5.44
    //= S5.47
    fn state_of(&mut self, ty: RecordType, len: u64) -> Result<State, BundleError> {
        if ty == RecordType::BYTES {
            let Some(file) = &self.at.file else { return Err(self.order("bytes outside a file")) };
            if len != PIECE_LEN.min(file.size - file.at) || len == 0 {
                return Err(self.order("bytes that are not the file's next piece"));
            }
            (self.at.bytes_left, self.at.after_hole) = (len, false);
            return Ok(State::Bytes);
        }
        if len > MAX_HEADER {
            return Err(BundleError::Limit { name: "header (bytes)", limit: MAX_HEADER });
        }
        if ty != RecordType::KEPT {
            self.at.after_kept = false;
        }
        if !(RecordType::ENTER.0..=RecordType::KEPT.0).contains(&ty.0) {
            return Ok(State::Skip { ty: ty.0, left: len });
        }
        Ok(State::Payload { ty, len: usize::try_from(len).unwrap_or(usize::MAX) })
    }

    /// The whole payload of a header, or `None` and what came of it is held.
    fn payload(&mut self, len: usize, input: &mut &[u8]) -> Option<Vec<u8>> {
        let missing = len - self.held.len();
        let taken = take(input, missing as u64);
        self.at.offset += taken.len() as u64;
        self.held.extend_from_slice(taken);
        (taken.len() == missing).then(|| std::mem::take(&mut self.held))
    }
}

/// Takes at most `count` bytes from the front.
fn take<'a>(input: &mut &'a [u8], count: u64) -> &'a [u8] {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at(count);
    *input = rest;
    taken
}
