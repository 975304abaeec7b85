//! HELLO: the first frame each side sends on its control stream. Spec: chapter 3, HELLO.

use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError, Limits};

/// The payload of HELLO.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// What the sender accepts.
    #[n(0)]
    pub limits: HelloLimits,
    /// Ids of the extensions the sender speaks. An extension is in use when both sides listed it.
    #[n(1)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, 1024>")]
    pub extensions: Vec<u64>,
    /// The sender's name and version, for people: at most [`Hello::MAX_AGENT`] bytes.
    #[n(2)]
    pub agent: String,
}

/// What a side accepts, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HelloLimits {
    /// The longest payload of a MESSAGE frame.
    #[n(0)]
    pub max_message: u64,
    /// The longest metadata in an OPEN and the longest details in an ERROR.
    #[n(1)]
    pub max_metadata: u64,
    /// The longest payload of a datagram, without the exchange number; 0 when it takes none.
    #[n(2)]
    pub max_datagram: u64,
}

impl Hello {
    /// How many extension ids a HELLO may list.
    pub const MAX_EXTENSIONS: usize = 64;
    /// How long the agent may be, in bytes.
    pub const MAX_AGENT: usize = 256;

    /// The payload of the HELLO frame.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads the payload of a HELLO frame.
    //= S3.32
    pub fn decode(payload: &[u8]) -> Result<Hello, CborError> {
        let hello: Hello = cbor::decode(payload, &Limits::default())?;
        limit("extensions", hello.extensions.len(), Hello::MAX_EXTENSIONS)?;
        limit("agent", hello.agent.len(), Hello::MAX_AGENT)?;
        Ok(hello)
    }
}

pub(crate) fn limit(name: &'static str, length: usize, limit: usize) -> Result<(), CborError> {
    if length > limit { Err(CborError::Limit { name, limit }) } else { Ok(()) }
}
