//! Code points: error codes, stream types, application names, signature contexts. Spec: chapters 3 and 6.
//!
//! The numbers and names are generated from `spec/registries/*.toml` (`cargo xtask codes`); here is what can be
//! asked of them. Every code a peer sends is a value of these types: an unknown one is never an error by itself.

use std::fmt;

use minicbor::{Decode, Encode};

pub use crate::generated::{ERROR_CODES, EXTENSIONS, FRAME_TYPES, STREAM_TYPES, application, context};

/// An error code: why a connection, a stream or an exchange ended.
///
/// ```
/// use hikyaku_wire::codes::{Class, ErrorCode};
/// assert_eq!(ErrorCode::ROOM_UNKNOWN.to_string(), "ROOM_UNKNOWN (0x1101)");
/// assert_eq!(ErrorCode(0xf7).to_string(), "unknown request error (0xf7)");
/// assert_eq!(ErrorCode(0xf7).generic(), ErrorCode::FAILED);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ErrorCode(#[n(0)] pub u32);

/// The scope an error code belongs to, known from its number alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Ends a connection.
    Connection,
    /// Ends one stream abruptly.
    Stream,
    /// Answers one exchange; of any application.
    Request,
    /// Answers one exchange; of one application.
    Application,
    /// Never registered; agreed between two parties.
    Private,
}

impl ErrorCode {
    /// The code in a RESET_STREAM, STOP_SENDING or CONNECTION_CLOSE, where QUIC leaves room for 62 bits.
    /// Ours have 32; a larger number is an unknown private code.
    //= S3.60
    pub fn from_wire(code: u64) -> ErrorCode {
        ErrorCode(u32::try_from(code).unwrap_or(u32::MAX))
    }

    /// The registered name, if this code is registered.
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|(_, name, _)| *name)
    }

    /// What the registry says the code means, in one sentence.
    pub fn meaning(self) -> Option<&'static str> {
        self.entry().map(|(_, _, meaning)| *meaning)
    }

    /// The class the number belongs to.
    pub const fn class(self) -> Class {
        Class::of(self.0)
    }

    /// This code if it is registered, else the generic code of its class: what to treat it as.
    //= S3.64
    pub fn generic(self) -> ErrorCode {
        match self.entry() {
            Some(_) => self,
            None => self.class().generic(),
        }
    }

    fn entry(self) -> Option<&'static (ErrorCode, &'static str, &'static str)> {
        let index = ERROR_CODES.binary_search_by_key(&self, |(code, _, _)| *code).ok()?;
        ERROR_CODES.get(index)
    }
}

impl From<ErrorCode> for u64 {
    fn from(code: ErrorCode) -> u64 {
        u64::from(code.0)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(out, "{name} ({:#04x})", self.0),
            None => write!(out, "unknown {} error ({:#04x})", self.class(), self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Class::Connection => "connection",
            Class::Stream => "stream",
            Class::Request => "request",
            Class::Application => "application",
            Class::Private => "private",
        })
    }
}

/// The type of a unidirectional stream: the varint it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamType(pub u64);

/// Whether a number is reserved for grease: `0x1f * N + 0x21`, of frame types, stream types, extension ids and
/// error codes alike. A receiver treats it as it treats any unknown number; a sender may use it to prove that.
//= S3.96
pub const fn is_reserved(number: u64) -> bool {
    number >= 0x21 && (number - 0x21).is_multiple_of(0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_code_is_found_by_its_number_and_none_is_grease() {
        for (code, name, _) in ERROR_CODES {
            assert_eq!(code.name(), Some(*name));
            assert_eq!(code.generic(), *code);
            assert!(!is_reserved(u64::from(code.0)), "{code}");
        }
        assert!(ERROR_CODES.is_sorted_by_key(|(code, _, _)| *code));
    }

    //= S3.60 (test)
    //= S3.64 (test)
    #[test]
    fn an_unknown_code_is_the_generic_code_of_its_class() {
        for (code, generic) in [
            (0x3f, ErrorCode::INTERNAL_ERROR),
            (0x21, ErrorCode::INTERNAL_ERROR),
            (0x7f, ErrorCode::CANCELLED),
            (0x9d, ErrorCode::FAILED),
            (0xfff, ErrorCode::FAILED),
            (0x7fff_ffff, ErrorCode::FAILED),
            (0xffff_ffff, ErrorCode::FAILED),
        ] {
            assert_eq!(ErrorCode(code).generic(), generic);
        }
        assert_eq!(ErrorCode::from_wire(1 << 40).class(), Class::Private);
        assert_eq!(ErrorCode(0x8000_0001).to_string(), "unknown private error (0x80000001)");
    }

    //= S3.96 (test)
    #[test]
    fn the_reserved_numbers_are_those_of_http_3() {
        let found: Vec<u64> = (0..0x100).filter(|number| is_reserved(*number)).collect();
        assert_eq!(found, [0x21, 0x40, 0x5f, 0x7e, 0x9d, 0xbc, 0xdb, 0xfa]);
    }
}
