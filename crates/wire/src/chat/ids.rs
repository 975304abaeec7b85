//! Identifiers and opaque bytes of chapter 4: fixed-size byte strings that cannot be mixed up.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use minicbor::bytes::{ByteArray, ByteSlice};
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

macro_rules! fixed_bytes {
    ($($(#[$doc:meta])* $name:ident = $length:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
                ByteArray::<$length>::decode(d, ctx).map(|bytes| Self(bytes.into()))
            }
        }

        impl From<[u8; $length]> for $name {
            fn from(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }
        }

        /// Lower-case hexadecimal.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

fixed_bytes! {
    /// Names a room for ever; 128 random bits made by whoever creates the room.
    RoomId = 16;
    /// Names a message before it has a sequence number; 128 random bits made by the client, unique per
    /// room and author.
    MessageId = 16;
    /// Names a user of a server.
    UserId = 16;
    /// Names a device: the SHA-256 of its public key (SPKI).
    DeviceId = 32;
    /// 128 random bits hashed before a body, so that the digest left by an erased body tells nothing.
    Salt = 16;
    /// A BLAKE3 output: the digest of a body, or a value of the chain.
    Digest = 32;
}

/// Opaque bytes: a CBOR byte string of any length, never looked into by this layer.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Octets(pub Bytes);

impl<C> Encode<C> for Octets {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Octets {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        <&ByteSlice>::decode(d, ctx).map(|bytes| Self(Bytes::copy_from_slice(bytes)))
    }
}

impl<T: Into<Bytes>> From<T> for Octets {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Deref for Octets {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
