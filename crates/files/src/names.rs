//! Names that a peer sends: bytes, checked once, then carried by types that cannot hold a bad one.
//!
//! [`SafeName`] is one component, [`SafeRelPath`] several. What would leave a directory cannot be expressed;
//! everything else that a Unix file system allows is kept byte for byte, and [`escape`] prints it. Spec: S5.20–S5.23.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The longest component, in bytes.
pub const MAX_NAME: usize = 255;
/// The most components of a path.
pub const MAX_DEPTH: usize = hikyaku_wire::files::MAX_COMPONENTS;
/// The longest path, in bytes, separators counted.
pub const MAX_PATH: usize = 4096;
/// What the program's own files begin with; no peer may name one.
pub(crate) const OWN_PREFIX: &[u8] = b".hikyaku";

/// Whether names that begin with a dot are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dots {
    /// Refused wherever a peer's names meet a directory of ours: the default.
    #[default]
    Refused,
    /// Taken, but for the program's own.
    Allowed,
    /// Inside a tree: every name that a Unix file system allows.
    Inside,
}

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing.
    #[error("an empty name")]
    Empty,
    /// `.` or `..`.
    #[error("a name that means a directory itself or the one above")]
    Dots,
    /// A slash inside.
    #[error("a name with a slash in it")]
    Separator,
    /// A NUL inside.
    #[error("a name with a NUL byte in it")]
    Nul,
    /// A leading dot where that is not allowed.
    #[error("a name that begins with a dot (not taken here)")]
    Hidden,
    /// A name of the program's own.
    #[error("a name that begins with .hikyaku (kept for the program itself)")]
    Own,
    /// Too many bytes in one component.
    #[error("a name of {0} bytes (at most {MAX_NAME})")]
    TooLong(usize),
    /// Too many components.
    #[error("a path of {0} components (at most {MAX_DEPTH})")]
    TooDeep(usize),
    /// Too many bytes altogether.
    #[error("a path of {0} bytes (at most {MAX_PATH})")]
    PathTooLong(usize),
}

/// One component of a path: not empty, not `.` or `..`, no slash, no NUL, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafeName(OsString);

impl SafeName {
    /// Checks a name that a peer sent.
    //= S5.20
    pub fn parse(bytes: &[u8], dots: Dots) -> Result<Self, NameError> {
        match bytes {
            [] => return Err(NameError::Empty),
            b"." | b".." => return Err(NameError::Dots),
            _ if bytes.len() > MAX_NAME => return Err(NameError::TooLong(bytes.len())),
            _ if bytes.contains(&b'/') => return Err(NameError::Separator),
            _ if bytes.contains(&0) => return Err(NameError::Nul),
            _ if dots != Dots::Inside && bytes.starts_with(OWN_PREFIX) => return Err(NameError::Own),
            [b'.', ..] if dots == Dots::Refused => return Err(NameError::Hidden),
            _ => {}
        }
        Ok(Self(OsString::from_vec(bytes.to_vec())))
    }

    /// A name of the program's own: letters, digits, dots and hyphens, chosen by the code.
    pub(crate) fn own(name: String) -> Self {
        debug_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)));
        Self(name.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// As the file system takes it.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

/// A path below a directory: checked components, possibly none.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafeRelPath(Vec<SafeName>);

impl SafeRelPath {
    /// Checks the components that a peer sent.
    //= S5.21
    pub fn parse<'a>(components: impl IntoIterator<Item = &'a [u8]>, dots: Dots) -> Result<Self, NameError> {
        let mut names = Vec::new();
        let mut bytes = 0;
        for component in components {
            if names.len() == MAX_DEPTH {
                return Err(NameError::TooDeep(MAX_DEPTH + 1));
            }
            bytes += component.len() + 1;
            names.push(SafeName::parse(component, dots)?);
        }
        if bytes > MAX_PATH {
            return Err(NameError::PathTooLong(bytes));
        }
        Ok(Self(names))
    }

    /// Components that were checked as they lie in each other.
    pub(crate) fn of(components: Vec<SafeName>) -> Self {
        Self(components)
    }

    /// The components.
    pub fn components(&self) -> &[SafeName] {
        &self.0
    }

    /// The path with its separators, as the file system takes it; `.` when there is no component.
    pub(crate) fn to_os_string(&self) -> OsString {
        match self.0.as_slice() {
            [] => ".".into(),
            names => names.iter().map(SafeName::as_os_str).collect::<Vec<_>>().join(OsStr::new("/")),
        }
    }
}

/// Bytes of a peer, made harmless for a terminal or a log: see [`escape`].
pub struct Escaped<'a>(&'a [u8]);

/// Prints a name so that nothing in it can act on a terminal, reorder a line or forge one.
///
/// Printable characters stay; a backslash is doubled; controls, invisible and direction-changing characters
/// become `\u{…}`; bytes that are not UTF-8 become `\xNN`.
///
/// ```
/// assert_eq!(hikyaku_files::escape(b"a\x1b[2J\n\xff.txt").to_string(), r"a\u{1b}[2J\n\xff.txt");
/// ```
pub fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

impl fmt::Display for Escaped<'_> {
    //= S5.23
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    _ if hikyaku::is_hostile(character) => write!(f, "{}", character.escape_unicode())?,
                    _ => write!(f, "{character}")?,
                }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for SafeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&escape(self.as_bytes()), f)
    }
}

impl fmt::Debug for SafeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&escape(self.as_bytes()), f)
    }
}

impl fmt::Display for SafeRelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&escape(self.to_os_string().as_bytes()), f)
    }
}

impl fmt::Debug for SafeRelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
