//! Receipts as text: what `hikyaku receipts REF --json` prints, and what `receipts verify` reads again, anywhere.
//!
//! One JSON object a line. Of what is read nothing is believed but the statement, the key and the signature; the rest is
//! there for people. Files come from anybody, so a line has a bound, and nothing is kept of a line that is over. The
//! keys are promised in `docs/json.md`.

use std::io::{self, BufRead, Read};

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use hikyaku::KeyId;
use hikyaku_wire::files::receipts::{SignedReceipt, Statement};
use serde::{Deserialize, Serialize};

/// The longest line that is read as a receipt, in bytes, its end included.
pub const MAX_LINE: usize = 16 * 1024;

/// A receipt, as it is printed and read. Everything but `statement`, `key` and `signature` is there to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Printed {
    /// The version of the schema.
    pub v: u32,
    /// `receipt` where a server told of it, `verified` where it was read from a file.
    pub r#type: String,
    /// The parcel, as it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What the user is called, by the server's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When the server got it, by its word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got_ms: Option<u64>,
    /// What was signed; absent where it is not true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Said>,
    /// Why it is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    statement: String,
    key: String,
    signature: String,
}

/// A statement for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    host: String,
    room: String,
    epoch: u32,
    seq: u64,
    transfer: String,
    root: String,
    bytes: u64,
    user: String,
    device: String,
    at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
}

/// Why a line is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no such object.
    #[error("a line is no receipt: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not written as bytes are.
    #[error("'{0}' is not hexadecimal")]
    Hex(&'static str),
    /// It is not as long as it has to be.
    #[error("'{0}' has another length")]
    Length(&'static str),
    /// It is longer than any receipt.
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Printed {
    /// A receipt with what is found to be stated in it, or why it is worth nothing.
    pub fn new(v: u32, r#type: &str, receipt: &SignedReceipt, checked: Result<&Statement, &String>) -> Self {
        Self {
            v,
            r#type: r#type.to_owned(),
            reference: None,
            name: None,
            got_ms: None,
            said: checked.ok().map(Said::of),
            error: checked.err().cloned(),
            statement: HEX.encode(&receipt.statement),
            key: HEX.encode(&receipt.key),
            signature: HEX.encode(&receipt.signature),
        }
    }

    /// What was signed, by whom, and the signature; nothing else of a line is believed.
    ///
    /// # Errors
    /// The line is no receipt.
    pub fn read(line: &[u8]) -> Result<SignedReceipt, Unreadable> {
        let printed: Self = serde_json::from_slice(line)?;
        Ok(SignedReceipt {
            statement: bytes("statement", &printed.statement)?,
            key: exactly("key", &printed.key)?,
            signature: exactly("signature", &printed.signature)?,
        })
    }
}

fn bytes(name: &'static str, text: &str) -> Result<Vec<u8>, Unreadable> {
    HEX.decode(text.as_bytes()).map_err(|_| Unreadable::Hex(name))
}

fn exactly<const N: usize>(name: &'static str, text: &str) -> Result<[u8; N], Unreadable> {
    bytes(name, text)?.try_into().map_err(|_| Unreadable::Length(name))
}

impl Said {
    fn of(statement: &Statement) -> Self {
        Self {
            host: KeyId::from_bytes(statement.host).to_string(),
            room: statement.room.to_string(),
            epoch: statement.epoch,
            seq: statement.seq,
            transfer: statement.transfer.to_string(),
            root: statement.root.to_string(),
            bytes: statement.size,
            user: statement.user.to_string(),
            device: KeyId::from_bytes(statement.device.0).to_string(),
            at_ms: statement.at_ms,
            kept: statement.kept,
            missing: statement.missing,
        }
    }
}

/// The receipts in a file, in their order; empty lines are none. After an error there is nothing more.
#[derive(Debug)]
pub struct Receipts<R> {
    file: R,
    line: Vec<u8>,
    is_over: bool,
}

impl<R: BufRead> Receipts<R> {
    /// Those in `file`.
    pub fn of(file: R) -> Self {
        Self { file, line: Vec::new(), is_over: false }
    }

    /// The next line with anything in it.
    fn next_line(&mut self) -> Result<Option<&[u8]>, Unreadable> {
        loop {
            self.line.clear();
            // One byte more than a line may have, to tell.
            let mut bounded = Read::take(&mut self.file, MAX_LINE as u64 + 1);
            match bounded.read_until(b'\n', &mut self.line)? {
                0 => return Ok(None),
                read if read > MAX_LINE => return Err(Unreadable::TooLong),
                _ if self.line.trim_ascii().is_empty() => {}
                _ => return Ok(Some(&self.line)),
            }
        }
    }
}

impl<R: BufRead> Iterator for Receipts<R> {
    type Item = Result<SignedReceipt, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let read = self.next_line().and_then(|line| line.map(Printed::read).transpose()).transpose();
        self.is_over = !matches!(read, Some(Ok(_)));
        read
    }
}

#[cfg(test)]
mod tests;
