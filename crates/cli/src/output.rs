//! Standard output: lines and JSON objects. Whoever reads it may go away at any time, which ends the program quietly.

use std::fmt::Write as _;
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

/// Prints what is there already with its line breaks.
pub(crate) fn raw(text: &str) -> Result {
    let mut out = io::stdout().lock();
    check(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints one JSON object as one line.
pub(crate) fn json(object: &impl Serialize) -> Result {
    // Strings, numbers and lists of our own types: nothing that could fail to be JSON.
    let text = serde_json::to_string(object).map_err(|error| exit::io("JSON", &error.into()))?;
    line(harmless(text))
}

/// JSON escapes ASCII controls by itself; the others that a terminal obeys are escaped here. Outside of strings JSON
/// is ASCII, so this changes no meaning.
fn harmless(json: String) -> String {
    if !json.contains(hikyaku::is_hostile) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len()), |mut out, character| {
        if hikyaku::is_hostile(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
        out
    })
}

/// Many lines: they leave in big pieces.
pub(crate) struct Lines(io::BufWriter<io::StdoutLock<'static>>);

impl Lines {
    pub(crate) fn new() -> Self {
        Self(io::BufWriter::new(io::stdout().lock()))
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result {
        check(writeln!(self.0, "{text}"))
    }

    /// Prints one JSON object as one line.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> Result {
        let text = serde_json::to_string(object).map_err(|error| exit::io("JSON", &error.into()))?;
        self.line(harmless(text))
    }

    /// What was printed has left when this returns.
    pub(crate) fn end(mut self) -> Result {
        check(self.0.flush())
    }
}

/// Prints one line on standard error, for a person; nobody reading is no reason to fail.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether a person looks at standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether a person looks at standard output.
pub(crate) fn is_shown() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person types at standard input.
pub(crate) fn is_typed() -> bool {
    io::stdin().is_terminal()
}

/// How much lies in whole lines at the terminal that nobody has read: the echo of each has moved what stands there.
pub(crate) fn typed_ahead() -> u64 {
    if is_typed() { rustix::io::ioctl_fionread(io::stdin()).unwrap_or(0) } else { 0 }
}

fn check(result: io::Result<()>) -> Result {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Trouble::quiet()),
        Err(error) => Err(exit::io("standard output", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reads_back_the_same_and_has_nothing_that_a_terminal_obeys() {
        let text = "a\u{1b}[2J\u{7f}\u{9b}31m\u{202e}b\u{e0041}\u{e9}\\ \"飛脚";
        let json = harmless(serde_json::to_string(text).unwrap());
        assert!(!json.contains(hikyaku::is_hostile), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
