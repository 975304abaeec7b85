//! Standard output: lines and JSON objects. Whoever reads it may go away at any time, which ends the program quietly.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::exit::{self, Result, Trouble};

/// The version of every JSON object printed: keys may be added to it, never changed or removed.
pub(crate) const JSON_VERSION: u32 = 1;

/// Prints one line.
pub(crate) fn line(text: impl std::fmt::Display) -> Result {
    let mut out = io::stdout().lock();
    check(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// Prints one JSON object as one line.
pub(crate) fn json(object: &impl Serialize) -> Result {
    // Strings, numbers and lists of our own types: nothing that could fail to be JSON.
    let text = serde_json::to_string(object).map_err(|error| exit::io("JSON", &error.into()))?;
    line(text)
}

/// Whether a person looks at standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether a person types at standard input.
pub(crate) fn is_typed() -> bool {
    io::stdin().is_terminal()
}

fn check(result: io::Result<()>) -> Result {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Trouble::quiet()),
        Err(error) => Err(exit::io("standard output", &error)),
    }
}
