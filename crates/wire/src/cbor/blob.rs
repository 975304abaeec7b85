//! `#[cbor(with = "hikyaku_wire::cbor::blob", has_nil)]` for fields of type `Bytes` and `Option<Bytes>`: CBOR byte
//! strings in the type the rest of the code passes around.

use bytes::Bytes;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decoder, Encoder};

/// A type that is a byte string on the wire.
pub trait Blob: Sized {
    /// From the bytes of a byte string.
    fn from_bytes(bytes: &[u8]) -> Self;
    /// The bytes; `None` leaves the field out.
    fn as_bytes(&self) -> Option<&[u8]>;
    /// The value of a field that is not there; `None` when the field is required.
    fn absent() -> Option<Self>;
}

impl Blob for Bytes {
    fn from_bytes(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes)
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        Some(self)
    }

    fn absent() -> Option<Self> {
        None
    }
}

impl Blob for Option<Bytes> {
    fn from_bytes(bytes: &[u8]) -> Self {
        Some(Bytes::copy_from_slice(bytes))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        self.as_deref()
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// Writes the byte string.
pub fn encode<Ctx, T: Blob, W: Write>(
    value: &T,
    encoder: &mut Encoder<W>,
    _: &mut Ctx,
) -> Result<(), EncodeError<W::Error>> {
    match value.as_bytes() {
        Some(bytes) => encoder.bytes(bytes)?.ok(),
        None => encoder.null()?.ok(),
    }
}

/// Reads a byte string.
pub fn decode<'b, Ctx, T: Blob>(decoder: &mut Decoder<'b>, _: &mut Ctx) -> Result<T, DecodeError> {
    decoder.bytes().map(T::from_bytes)
}

/// The value of a field that is not there.
pub fn nil<T: Blob>() -> Option<T> {
    T::absent()
}

/// Whether the field is left out.
pub fn is_nil<T: Blob>(value: &T) -> bool {
    value.as_bytes().is_none()
}
