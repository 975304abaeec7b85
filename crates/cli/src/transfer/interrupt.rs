//! Ctrl-C during a transfer: what is there stays, and the person is told how to go on.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::pin::Pin;

use hikyaku_files::Moment;

use crate::event;
use crate::exit::{Exit, Trouble};

/// Listens for Ctrl-C from its making on.
pub(crate) struct Interrupts(Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>);

impl Interrupts {
    pub(crate) fn listen() -> Self {
        Self(Box::pin(tokio::signal::ctrl_c()))
    }

    /// Waits for Ctrl-C.
    pub(crate) async fn come(&mut self) {
        if self.0.as_mut().await.is_err() {
            // Without signals there is nothing to wait for.
            std::future::pending::<()>().await;
        }
    }
}

/// What is told: how far it was, and what to type.
pub(crate) fn interrupted(moment: Moment, goes_on: bool) -> Trouble {
    let reached = match moment.total {
        Some(total) => format!("{} of {}", event::bytes(moment.bytes), event::bytes(total)),
        None => event::bytes(moment.bytes),
    };
    let at =
        if moment.transfer.is_some() { format!("interrupted at {reached}") } else { "interrupted".into() };
    let trouble = Trouble::new(Exit::Interrupted, at);
    if goes_on {
        trouble.hint(format!("what arrived is kept; go on with: {}", typed()))
    } else {
        trouble.hint("it cannot be gone on with: what was passed on is not kept here")
    }
}

/// The command as it was typed, as a shell takes it.
fn typed() -> String {
    let words: Vec<String> = std::env::args_os().map(|word| quoted(&word)).collect();
    words.join(" ")
}

/// A word that a shell reads back as it was. One with what a terminal would obey is written in `$'…'`.
fn quoted(word: &OsStr) -> String {
    let bytes = word.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(hikyaku::is_hostile) && !text.contains(['\n', '\t', '\r']) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let escaped = bytes.iter().map(|byte| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                byte => format!("\\x{byte:02x}"),
            });
            format!("$'{}'", escaped.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_what_was_typed() {
        for word in [
            &b"plain-1.txt"[..],
            b"",
            b"two words",
            b"it's",
            b"#ops",
            b"$HOME `x` \\ \"q\"",
            b"\xff\n\x1b[2J'",
            "飛脚".as_bytes(),
        ] {
            let word = OsStr::from_bytes(word);
            let script = format!("printf %s {}", quoted(word));
            let out = Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(OsStr::from_bytes(&out.stdout), word, "{script}");
            assert!(!script.contains(hikyaku::is_hostile), "{script:?}");
        }
    }
}
