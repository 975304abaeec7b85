//! The invite link: everything a first contact needs in one line.
//!
//! `hikyaku://HOST:PORT[,HOST:PORT…]/#<host id>.<invite id>.<secret>`, the last three in lower-case base32 without
//! padding. It carries the pin of the server's key, so trying every address is safe, and a one-time secret in the
//! fragment, which browsers and proxies do not send. One link has one spelling: what parses prints the same. Spec: chapter 6.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use hikyaku::KeyId;
use hikyaku_wire::enroll::InviteId;

use crate::secret::Secret;

/// The most addresses one link may name.
pub const MAX_ADDRESSES: usize = 16;
/// The longest link that is looked at, in bytes.
pub const MAX_LINK: usize = 4_608;

const SCHEME: &str = "hikyaku://";

/// An invite link, taken apart. `Display` gives the whole link with its secret; `Debug` hides the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteLink {
    /// Where the server may be reached, best first; at least one.
    pub addresses: Vec<Address>,
    /// The key the server must show.
    pub host: KeyId,
    /// Which invite.
    pub invite: InviteId,
    /// Its secret.
    pub secret: Secret,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// Why a text is no invite link. Never quotes the text: it may hold a secret, or a terminal escape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Longer than any link.
    #[error("an invite link has at most {MAX_LINK} bytes")]
    TooLong,
    /// Another scheme, or none.
    #[error("an invite link begins with hikyaku://")]
    Scheme,
    /// No `/#` after the addresses.
    #[error(
        "the link has no secret part: \"/#\" and three words with dots between them are missing; was it copied whole?"
    )]
    Fragment,
    /// Not three words after `/#`.
    #[error("after \"/#\" come three words with dots between them; was the link copied whole?")]
    Words,
    /// One of the words is not base32 of its length.
    #[error("the link's {what} is not {characters} characters of a-z and 2-7; was it copied whole?")]
    Word {
        /// Which word.
        what: &'static str,
        /// How long it has to be.
        characters: usize,
    },
    /// Too many addresses.
    #[error("an invite link names at most {MAX_ADDRESSES} addresses")]
    Addresses,
    /// One address is wrong.
    #[error("address {number} of the link: {source}")]
    Address {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        source: AddressError,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no port.
    #[error("an address is HOST:PORT, with the port always there")]
    NoPort,
    /// The port is no number from 1 to 65535.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// An IPv6 address without brackets, or something else in brackets.
    #[error("an IPv6 address stands in brackets: [2001:db8::1]:4747")]
    Brackets,
    /// Neither a name nor an address.
    #[error("a host is a name of letters, digits, '-' and '.', or an IP address")]
    Host,
}

impl InviteLink {
    /// The addresses alone, `HOST:PORT[,HOST:PORT…]`.
    pub fn addresses_text(&self) -> String {
        join(&self.addresses)
    }
}

/// Addresses with commas between them.
pub fn join(addresses: &[Address]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// Reads addresses with commas between them; at least one, at most [`MAX_ADDRESSES`].
pub fn split(text: &str) -> Result<Vec<Address>, LinkError> {
    let mut addresses = Vec::new();
    for (index, part) in text.split(',').enumerate() {
        if index == MAX_ADDRESSES {
            return Err(LinkError::Addresses);
        }
        addresses.push(part.parse().map_err(|source| LinkError::Address { number: index + 1, source })?);
    }
    Ok(addresses)
}

//= S6.10
impl FromStr for InviteLink {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text.len() > MAX_LINK {
            return Err(LinkError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(LinkError::Scheme)?;
        let (addresses, fragment) = rest.split_once("/#").ok_or(LinkError::Fragment)?;
        let words: Vec<&str> = fragment.splitn(4, '.').collect();
        let [host, invite, secret] = words.as_slice() else { return Err(LinkError::Words) };
        Ok(Self {
            addresses: split(addresses)?,
            host: KeyId::from_bytes(word("host id", host)?),
            invite: InviteId(word("invite id", invite)?),
            secret: Secret::from_bytes(word("secret", secret)?),
        })
    }
}

impl fmt::Display for InviteLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = base32(self.host.as_bytes());
        let (invite, secret) = (base32(&self.invite.0), base32(self.secret.reveal()));
        write!(f, "{SCHEME}{}/#{host}.{invite}.{secret}", self.addresses_text())
    }
}

/// An invite id as links and lists show it: 13 characters of base32.
pub fn invite_text(id: InviteId) -> String {
    base32(&id.0)
}

/// Reads what [`invite_text`] wrote.
pub fn parse_invite_id(text: &str) -> Result<InviteId, LinkError> {
    word("invite id", text).map(InviteId)
}

fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// `N` bytes in lower-case base32, in their one spelling.
fn word<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], LinkError> {
    let wrong = LinkError::Word { what, characters: (N * 8).div_ceil(5) };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong);
    }
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| wrong.clone())?;
    bytes.try_into().map_err(|_| wrong)
}

impl Address {
    /// The address of a host: a name, an IPv4 or an IPv6 address (without brackets). The port is not 0.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        if port == 0 {
            return Err(AddressError::Port);
        }
        let host = match host.parse::<Ipv6Addr>() {
            Ok(address) => Host::V6(address),
            Err(_) => Host::parse(host)?,
        };
        Ok(Self { host, port })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or(AddressError::Brackets)?;
                Host::V6(inner.parse().map_err(|_| AddressError::Brackets)?)
            }
            None if host.contains(':') => return Err(AddressError::Brackets),
            None => Host::parse(host)?,
        };
        Ok(Self { host, port: parse_port(port)? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::V4(address) => write!(f, "{address}:{}", self.port),
            Host::V6(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

/// `u16::from_str` would take `+1` and `007`.
fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| digits).ok_or(AddressError::Port)
}

impl Host {
    /// A name or an IPv4 address. A text of digits and dots alone is an address or nothing: `1.2.3` is no name.
    fn parse(text: &str) -> Result<Self, AddressError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::V4(address));
        }
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let label = |label: &str| {
            let inner =
                label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        if numeric || text.len() > 253 || !text.split('.').all(label) {
            return Err(AddressError::Host);
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests;
