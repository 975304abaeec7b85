//! Sample values: at least one of every message, full and as short as it can be.

mod accounts;
mod chat;
mod files;
mod receipts;
pub(crate) mod session;

use hikyaku_wire::cbor;
use minicbor::Encode;

use super::cddl::Cddl;
use super::{Vector, describe, hex, vector};

/// One message in its encoded form.
pub(crate) struct Sample {
    /// The name of its type in the CDDL.
    ty: &'static str,
    /// What it is an example of.
    name: &'static str,
    bytes: Vec<u8>,
}

/// A sample of the CDDL type `ty`.
fn sample<T: Encode<()>>(ty: &'static str, name: &'static str, message: &T) -> Sample {
    Sample { ty, name, bytes: cbor::encode(message) }
}

/// Every family of messages: file name, description, samples.
pub(crate) fn families() -> Vec<(&'static str, &'static str, Vec<Sample>)> {
    vec![
        (
            "session",
            "Messages of the session (chapter 3): the payloads of HELLO, GOAWAY, OPEN and ERROR.",
            session::samples(),
        ),
        ("accounts", "Messages of enroll/1 and accounts/1 (chapter 6).", accounts::samples()),
        ("chat", "Messages of chat/1, and what is stored in a room (chapter 4).", chat::samples()),
        ("files", "Messages of files/1, and the events of a parcel (chapter 5).", files::samples()),
    ]
}

impl Sample {
    /// The vector, once the message satisfies the profile, a sender's duties and the CDDL.
    pub(crate) fn vector(&self, cddl: &Cddl) -> Result<Vector, String> {
        let Sample { ty, name, bytes } = self;
        cbor::check(bytes, &cbor::Limits::default()).map_err(|error| format!("{ty} ({name}): {error}"))?;
        if !cbor::is_sorted(bytes) {
            return Err(format!("{ty} ({name}): keys do not ascend"));
        }
        cddl.judge(ty, bytes).map_err(|error| format!("{ty} ({name}): {error}"))?;
        Ok(vector([
            ("type", (*ty).into()),
            ("name", (*name).into()),
            ("hex", hex(bytes).into()),
            ("diagnostic", describe::diagnostic(bytes).into()),
            ("value", describe::value(bytes)?),
        ]))
    }
}

/// Bytes that count up from `first`, so that a misplaced one shows.
fn counting<const N: usize>(first: u8) -> [u8; N] {
    let mut byte = first;
    [(); N].map(|()| {
        let this = byte;
        byte = byte.wrapping_add(1);
        this
    })
}
