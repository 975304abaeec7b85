//! Key logs: the secrets of connections in NSS's format, with which Wireshark and others decrypt what they captured.
//!
//! Only an explicit call makes one, never the environment: whoever reads a key log reads everything that was said, and
//! for that one connection could also forge it. Format: <https://datatracker.ietf.org/doc/html/rfc9850>.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Where secrets are written to. Cloning shares it.
///
/// ```no_run
/// # async fn example(pin: hikyaku::KeyId) -> hikyaku::Result<()> {
/// let keys = hikyaku::KeyLog::to_file("keys.txt")?;
/// let connection = hikyaku::connect("chat.example:4747", pin).key_log(&keys).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct KeyLog(Arc<Mutex<Sink>>);

struct Sink {
    to: Box<dyn io::Write + Send>,
    failed: bool,
}

impl KeyLog {
    /// Appends to a file that only its owner may read; it is made if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened, or is no plain file.
    pub fn to_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let opened = open_private(path, OpenOptions::new().append(true).create(true));
        let file = opened.map_err(|error| Error::io(format!("the key log {}", path.display()), error))?;
        Ok(Self::to_writer(file))
    }

    /// Hands every line to `to`, in one write each.
    pub fn to_writer(to: impl io::Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Sink { to: Box::new(to), failed: false })))
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::with_capacity(label.len() + 2 * (client_random.len() + secret.len()) + 3);
        line.push_str(label);
        for bytes in [client_random, secret] {
            line.push(' ');
            for byte in bytes {
                // Writing to a String cannot fail.
                let _ = write!(line, "{byte:02x}");
            }
        }
        line.push('\n');
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = sink.to.write_all(line.as_bytes()).and_then(|()| sink.to.flush());
        if let (Err(error), false) = (&written, sink.failed) {
            // The handshake goes on: it must not depend on whoever watches. Said once.
            tracing::error!(%error, "the key log could not be written and is not complete");
            sink.failed = true;
        }
        zeroize::Zeroize::zeroize(&mut line);
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLog")
    }
}

/// Opens a plain file, no link, that only its owner may read and write.
pub(crate) fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = options.mode(0o600).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}
