//! The CBOR profile of every message, and encoding and decoding under it. Spec: chapter 3, Messages.
//!
//! [`check()`] runs before any decoding: the derived decoders accept more than the profile does (indefinite lengths,
//! duplicate keys, longer than necessary integers), and what two decoders understand differently is an attack.
//! It walks the bytes once, without recursion, and allocates only for maps whose keys are not sorted.

pub mod blob;
mod check;
#[cfg(test)]
mod tests;
mod usual;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::{Decode, Encode};

pub use check::{check, is_sorted};
pub use usual::Usual;

use crate::codes::ErrorCode;

/// The largest integer in a message, 2^53 − 1; the smallest is its negative. JavaScript has no other exact ones.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// How deep and how long one message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many arrays and maps may be open at once; the outermost one counts.
    pub depth: usize,
    /// How many data items there may be in all, keys included: bounds what a decoder builds from few bytes.
    pub items: usize,
}

impl Limits {
    /// The most that [`Limits::depth`] can be.
    pub const MAX_DEPTH: usize = 16;
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth: Limits::MAX_DEPTH, items: 65_536 }
    }
}

/// What is wrong with a message. Offsets count from the first byte of the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The bytes end before the item does, or an array, map or string claims more than there is.
    #[error("the message ends inside the item at byte {offset}")]
    Truncated {
        /// Where the unfinished item begins.
        offset: usize,
    },
    /// There is something behind the item.
    #[error("bytes follow the message from byte {offset} on")]
    Trailing {
        /// Where the first such byte is.
        offset: usize,
    },
    /// Something CBOR has and the profile has not.
    #[error("the message uses {what} at byte {offset}, which is not permitted")]
    Forbidden {
        /// What it is.
        what: &'static str,
        /// Where the item begins.
        offset: usize,
    },
    /// A length or integer takes more bytes than it needs.
    #[error("the number at byte {offset} of the message is not in its shortest form")]
    NotShortest {
        /// Where the item begins.
        offset: usize,
    },
    /// An integer is beyond ±(2^53 − 1).
    #[error("the integer at byte {offset} of the message is beyond 2^53 - 1")]
    IntegerRange {
        /// Where the item begins.
        offset: usize,
    },
    /// A text string is not UTF-8.
    #[error("the text at byte {offset} of the message is not UTF-8")]
    Utf8 {
        /// Where the item begins.
        offset: usize,
    },
    /// A map has the same key twice.
    #[error("the map at byte {offset} of the message has the same key twice")]
    DuplicateKey {
        /// Where the map begins.
        offset: usize,
    },
    /// The message is deeper, longer or has more items than permitted.
    #[error("the message exceeds the limit {name} of {limit}")]
    Limit {
        /// The name of the limit.
        name: &'static str,
        /// Its value.
        limit: usize,
    },
    /// The message obeys the profile but is not the message expected here.
    #[error("the message is not what was expected: {reason}")]
    Shape {
        /// What the decoder missed.
        reason: String,
    },
}

impl CborError {
    /// The code that answers an exchange. On the control stream it is [`ErrorCode::MESSAGE_ERROR`].
    pub fn code(&self) -> ErrorCode {
        match self {
            CborError::Limit { .. } => ErrorCode::LIMIT,
            _ => ErrorCode::INVALID_MESSAGE,
        }
    }
}

/// The bytes of `message`: what [`check()`] accepts, with sorted keys.
///
/// The derived encoders write definite lengths, shortest integers and keys in ascending order. Only an integer beyond
/// [`MAX_INTEGER`] or a float in the type can break the profile; debug builds check that.
//= S3.81
pub fn encode<T: Encode<()>>(message: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let encoded = minicbor::encode(message, &mut out);
    debug_assert!(encoded.is_ok(), "a message type of ours refuses to be encoded: {encoded:?}");
    debug_assert!(is_sorted(&out), "a message of ours is outside the CBOR profile: {out:02x?}");
    out
}

/// Reads an array of at most `MOST` items: for items that take fewer bytes in a message than in memory, so that a
/// message costs no more than a few times its length. To be named in `decode_with`.
pub fn few<'b, C, T: Decode<'b, C>, const MOST: usize>(
    decoder: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Vec<T>, DecodeError> {
    let at = decoder.position();
    let count = decoder.array()?.ok_or_else(|| DecodeError::message("an array has no count").at(at))?;
    let count = usize::try_from(count).ok().filter(|count| *count <= MOST).ok_or_else(|| {
        DecodeError::message(format!("an array of {count} items; {MOST} are the most")).at(at)
    })?;
    // What a count claims is believed as far as bytes have come for it.
    let bytes = decoder.input().len().saturating_sub(decoder.position());
    let mut items = Vec::with_capacity(count.min(3 * bytes / size_of::<T>().max(1)));
    for _ in 0..count {
        items.push(decoder.decode_with(context)?);
    }
    Ok(items)
}

/// [`few`], where the field may be absent.
pub fn few_if_any<'b, C, T: Decode<'b, C>, const MOST: usize>(
    decoder: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Option<Vec<T>>, DecodeError> {
    few::<C, T, MOST>(decoder, context).map(Some)
}

/// Checks `bytes` and reads a message from them. Unknown keys are ignored.
//= S3.80
//= S3.82
pub fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8], limits: &Limits) -> Result<T, CborError> {
    check(bytes, limits)?;
    minicbor::decode(bytes).map_err(|error| CborError::Shape { reason: error.to_string() })
}
