//! Messages of the application protocol `enroll/1`, the only one a stranger may speak: a device shows the secret of an
//! invite and becomes a known device of a user. Spec: chapter 6.
//!
//! Secrets are shown by no `Debug`.

use std::fmt;

use minicbor::bytes::ByteArray;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

/// The name in OPEN.
pub const PROTOCOL: &str = "enroll/1";

/// The most roles that a user is read with.
pub const MAX_ROLES: usize = 16;

/// The methods of `enroll/1`, as named in OPEN.
pub mod method {
    /// [`Redeem`](super::Redeem) → [`Welcome`](super::Welcome).
    pub const REDEEM: &str = "redeem";
}

/// A byte string of fixed length in CBOR.
macro_rules! bytes_in_cbor {
    ($name:ident, $length:literal) => {
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
    };
}

/// Names a user of a server; 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub [u8; 16]);

/// Names a device: the SHA-256 of its public key (SPKI).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub [u8; 32]);

/// Names an invite; 64 random bits, no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InviteId(pub [u8; 8]);

/// What makes an invite valid; 128 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(pub [u8; 16]);

bytes_in_cbor!(UserId, 16);
bytes_in_cbor!(DeviceId, 32);
bytes_in_cbor!(InviteId, 8);
bytes_in_cbor!(SecretBytes, 16);

macro_rules! shown_in_hexadecimal {
    ($($name:ident)*) => {$(
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

shown_in_hexadecimal! { UserId DeviceId InviteId }

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(hidden)")
    }
}

/// Asks to become a known device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Redeem {
    /// Which invite.
    #[n(0)]
    pub invite: InviteId,
    /// Its secret.
    #[n(1)]
    pub secret: SecretBytes,
    /// The name wanted; ignored when the invite adds a device to a user that exists.
    #[n(2)]
    pub user: String,
    /// The device's name, told apart from the user's other devices.
    #[n(3)]
    pub device: String,
}

/// The device is known from now on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The user the device belongs to.
    #[n(0)]
    pub id: UserId,
    /// The user's name as the server keeps it.
    #[n(1)]
    pub user: String,
    /// The device's name as the server keeps it; a number is added to a name already taken.
    #[n(2)]
    pub device: String,
    /// What the server calls itself.
    #[n(3)]
    pub server: String,
    /// The user's roles: `owner`, `member`; a reader skips those it does not know.
    #[n(4)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_ROLES>")]
    pub roles: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redeem_survives_the_wire_and_hides_its_secret() {
        let redeem = Redeem {
            invite: InviteId([1; 8]),
            secret: SecretBytes([0xab; 16]),
            user: "ada".into(),
            device: "laptop".into(),
        };
        let bytes = minicbor::to_vec(&redeem).unwrap();
        assert_eq!(minicbor::decode::<Redeem>(&bytes).unwrap(), redeem);
        let shown = format!("{redeem:?}");
        assert!(shown.contains("hidden") && !shown.contains("171") && !shown.contains("abab"), "{shown}");
    }

    #[test]
    fn an_identifier_of_another_length_is_refused() {
        let bytes = minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![0; 15])).unwrap();
        assert!(minicbor::decode::<UserId>(&bytes).is_err());
    }
}
