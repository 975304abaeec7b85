//! The walk over a message's bytes: every rule of the CBOR profile, in one pass.

use super::{CborError, Limits, MAX_INTEGER};

const OTHER_SIMPLE: &str = "a simple value other than false, true and null";

/// Whether `bytes` is exactly one CBOR item within the profile and `limits`.
///
/// ```
/// use hikyaku_wire::cbor::{CborError, Limits, check};
/// assert_eq!(check(&[0xa1, 0x00, 0x18, 0x64], &Limits::default()), Ok(()));
/// let indefinite = CborError::Forbidden { what: "an indefinite length", offset: 0 };
/// assert_eq!(check(&[0x9f, 0xff], &Limits::default()), Err(indefinite));
/// ```
//= S3.80
pub fn check(bytes: &[u8], limits: &Limits) -> Result<(), CborError> {
    let mut walk = Walk::new(bytes, *limits);
    let sorted = walk.item()?;
    if walk.position < bytes.len() {
        return Err(CborError::Trailing { offset: walk.position });
    }
    if sorted { Ok(()) } else { duplicates(bytes) }
}

/// Whether `bytes` is one item within the profile (at most the default limits' depth, any number of items) and every
/// map's keys ascend: what a sender owes.
pub fn is_sorted(bytes: &[u8]) -> bool {
    let mut walk = Walk::new(bytes, Limits { depth: Limits::MAX_DEPTH, items: usize::MAX });
    walk.item() == Ok(true) && walk.position == bytes.len()
}

/// Nearly all messages open no more arrays and maps at once; the room for them is cleared for every message.
const SHALLOW: usize = 6;

/// An array or map that is not finished.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Items still to come; keys and values count one each.
    left: u64,
    /// Whether it is a map. In a map an even `left` means that a key comes next.
    map: bool,
    /// Where the previous key begins and ends; empty before the first.
    key: (usize, usize),
    /// Where the map begins.
    offset: usize,
}

/// One CBOR item's head: major type and argument.
#[derive(Clone, Copy)]
struct Head {
    offset: usize,
    major: u8,
    argument: u64,
}

struct Walk<'a> {
    bytes: &'a [u8],
    limits: Limits,
    position: usize,
    items: usize,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], mut limits: Limits) -> Self {
        limits.depth = limits.depth.min(Limits::MAX_DEPTH);
        Walk { bytes, limits, position: 0, items: 0 }
    }

    /// Walks over one item with everything in it; whether the keys of all maps in it ascend.
    fn item(&mut self) -> Result<bool, CborError> {
        let (position, items) = (self.position, self.items);
        if let Some(sorted) = self.item_within::<SHALLOW>()? {
            return Ok(sorted);
        }
        (self.position, self.items) = (position, items);
        // The deepest permitted item fits, so there is an answer.
        Ok(self.item_within::<{ Limits::MAX_DEPTH }>()?.unwrap_or(false))
    }

    /// The same, for an item that opens at most `DEPTH` arrays and maps at once; `None` if it opens more.
    fn item_within<const DEPTH: usize>(&mut self) -> Result<Option<bool>, CborError> {
        let mut stack = [Open::default(); DEPTH];
        let mut depth = 0_usize;
        let mut sorted = true;
        loop {
            let head = self.head()?;
            let parent = depth.checked_sub(1).and_then(|top| stack.get_mut(top));
            let is_key = parent.as_ref().is_some_and(|open| open.map && open.left.is_multiple_of(2));
            self.content(head, is_key)?;
            if let Some(open) = parent {
                open.left = open.left.saturating_sub(1);
                if is_key {
                    let key = (head.offset, self.position);
                    sorted &= self.ascends(open, key)?;
                    open.key = key;
                }
            }
            if let Some(opened) = self.open(head)? {
                if depth >= self.limits.depth {
                    return Err(CborError::Limit { name: "depth", limit: self.limits.depth });
                }
                let Some(slot) = stack.get_mut(depth) else { return Ok(None) };
                *slot = opened;
                depth += 1;
            }
            while let Some(top) = depth.checked_sub(1) {
                if stack.get(top).is_some_and(|open| open.left > 0) {
                    break;
                }
                depth = top;
            }
            if depth == 0 {
                return Ok(Some(sorted));
            }
        }
    }

    /// Reads an item's first byte and its argument.
    #[inline(always)]
    fn head(&mut self) -> Result<Head, CborError> {
        let offset = self.position;
        self.items += 1;
        if self.items > self.limits.items {
            return Err(CborError::Limit { name: "items", limit: self.limits.items });
        }
        let truncated = CborError::Truncated { offset };
        let Some((first, rest)) = self.bytes.get(offset..).and_then(<[u8]>::split_first) else {
            return Err(truncated);
        };
        let major = first >> 5;
        let (argument, size) = match first & 0x1f {
            small @ 0..=23 => (u64::from(small), 0),
            24 if major == 7 => return Err(CborError::Forbidden { what: OTHER_SIMPLE, offset }),
            25..=27 if major == 7 => return Err(CborError::Forbidden { what: "a float", offset }),
            more @ 24..=27 => {
                let size = 1_usize << (more - 24);
                let Some(digits) = rest.get(..size) else { return Err(truncated) };
                let argument = digits.iter().fold(0, |value, digit| value << 8 | u64::from(*digit));
                let least = [24, 0x100, 0x1_0000, 0x1_0000_0000].get(usize::from(more - 24)).copied();
                if least.is_none_or(|least| argument < least) {
                    return Err(CborError::NotShortest { offset });
                }
                (argument, size)
            }
            31 => return Err(CborError::Forbidden { what: "an indefinite length", offset }),
            _ => return Err(CborError::Forbidden { what: "a reserved length", offset }),
        };
        self.position = offset + 1 + size;
        Ok(Head { offset, major, argument })
    }

    /// Checks and passes over what belongs to the item itself: a string's bytes.
    #[inline(always)]
    fn content(&mut self, head: Head, is_key: bool) -> Result<(), CborError> {
        let Head { offset, major, argument } = head;
        let forbidden = |what| Err(CborError::Forbidden { what, offset });
        match major {
            0 if argument > MAX_INTEGER => Err(CborError::IntegerRange { offset }),
            0 => Ok(()),
            3 => {
                let text = self.string(head)?;
                std::str::from_utf8(text).map(drop).map_err(|_| CborError::Utf8 { offset })
            }
            _ if is_key => forbidden("a map key that is neither an unsigned integer nor text"),
            1 if argument >= MAX_INTEGER => Err(CborError::IntegerRange { offset }),
            1 | 4 | 5 => Ok(()),
            2 => self.string(head).map(drop),
            6 => forbidden("a tag"),
            _ if matches!(argument, 20..=22) => Ok(()),
            _ => forbidden(OTHER_SIMPLE),
        }
    }

    fn string(&mut self, head: Head) -> Result<&'a [u8], CborError> {
        let truncated = CborError::Truncated { offset: head.offset };
        let Ok(length) = usize::try_from(head.argument) else { return Err(truncated) };
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(string) = rest.get(..length) else { return Err(truncated) };
        self.position += length;
        Ok(string)
    }

    /// The array or map that begins with `head`. Each of its items takes a byte at least, so a count beyond what is
    /// left is refused at once.
    //= S3.84
    fn open(&self, head: Head) -> Result<Option<Open>, CborError> {
        let Head { offset, major, argument } = head;
        let left = match major {
            4 => Some(argument),
            5 => argument.checked_mul(2),
            _ => return Ok(None),
        };
        let rest = self.bytes.len().saturating_sub(self.position) as u64;
        match left {
            Some(left) if left <= rest => Ok(Some(Open { left, map: major == 5, key: (0, 0), offset })),
            _ => Err(CborError::Truncated { offset }),
        }
    }

    /// Whether `key` follows the map's previous key in the order of their encoded bytes.
    fn ascends(&self, open: &Open, key: (usize, usize)) -> Result<bool, CborError> {
        // Nearly all keys are one byte long: a comparison instead of a call.
        if open.key.1 == open.key.0 + 1 && key.1 == key.0 + 1 {
            let byte = |at: usize| self.bytes.get(at).copied();
            return match byte(open.key.0).cmp(&byte(key.0)) {
                std::cmp::Ordering::Less => Ok(true),
                std::cmp::Ordering::Equal => Err(CborError::DuplicateKey { offset: open.offset }),
                std::cmp::Ordering::Greater => Ok(false),
            };
        }
        let slice = |(from, to): (usize, usize)| self.bytes.get(from..to).unwrap_or_default();
        match slice(open.key).cmp(slice(key)) {
            std::cmp::Ordering::Less => Ok(true),
            std::cmp::Ordering::Equal => Err(CborError::DuplicateKey { offset: open.offset }),
            std::cmp::Ordering::Greater => Ok(false),
        }
    }
}

/// Looks for a map with the same key twice in `bytes`, which is known to obey every other rule. Only a message that
/// has an unsorted map comes here; ours never do.
fn duplicates(bytes: &[u8]) -> Result<(), CborError> {
    let unlimited = Limits { depth: Limits::MAX_DEPTH, items: usize::MAX };
    let mut walk = Walk::new(bytes, unlimited);
    while walk.position < bytes.len() {
        let head = walk.head()?;
        walk.content(head, false)?;
        if head.major != 5 {
            continue;
        }
        // Walk the map's entries with a second walk; the maps inside it are found by the first one. Depth is at
        // most 16, so every byte is visited at most 17 times.
        let mut keys = Vec::new();
        let mut entries = Walk { position: walk.position, ..Walk::new(bytes, unlimited) };
        for _ in 0..head.argument {
            let from = entries.position;
            entries.item()?;
            keys.push(bytes.get(from..entries.position).unwrap_or_default());
            entries.item()?;
        }
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(CborError::DuplicateKey { offset: head.offset });
        }
    }
    Ok(())
}
