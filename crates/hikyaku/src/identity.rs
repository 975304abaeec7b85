//! Identities: an Ed25519 key that travels inside a self-signed X.509 leaf.
//!
//! Trust is never in the certificate's names or dates, only in its key: a [`KeyId`] is the SHA-256 of the
//! leaf's SubjectPublicKeyInfo, and it is what invite links pin and servers look up. Spec: chapter 6.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use zeroize::Zeroizing;

/// The longest identity file read: a key and a certificate are about 700 bytes.
const MAX_IDENTITY_FILE: u64 = 16 * 1024;

/// The name of a key: SHA-256 of its SubjectPublicKeyInfo in DER.
///
/// Printed as 52 characters of lower-case base32 without padding; `HostId` and `DeviceId` in the spec are
/// both of this type. Spec: chapter 6.
///
/// ```
/// use hikyaku::{Identity, KeyId};
/// let id = Identity::generate()?.id();
/// assert_eq!(id.to_string().parse::<KeyId>()?, id);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The id whose bytes these are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id of the key inside `certificate`, or `None` when it is not a certificate with an Ed25519 key.
    //= S6.1
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let key_info = key_info(certificate)?;
        let hash = digest(&SHA256, &key_info);
        Some(Self(hash.as_ref().try_into().ok()?))
    }
}

/// What a verifier makes of the bytes that a peer sent as its certificate.
pub fn key_of_certificate(der: &[u8]) -> Option<KeyId> {
    KeyId::of_certificate(&CertificateDer::from(der))
}

/// How the SubjectPublicKeyInfo of every Ed25519 key begins (RFC 8410); the key's 32 bytes follow.
pub(crate) const ED25519_KEY_INFO: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The SubjectPublicKeyInfo of a certificate with an Ed25519 key.
//= S6.4
fn key_info(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let key_info = parsed.subject_public_key_info();
    let key = key_info.strip_prefix(&ED25519_KEY_INFO)?;
    (key.len() == 32).then(|| key_info.to_vec())
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = data_encoding::BASE32_NOPAD.encode(&self.0);
        text.make_ascii_lowercase();
        f.write_str(&text)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The text is not a [`KeyId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 52 characters of base32 (a-z and 2-7)")]
pub struct ParseKeyIdError;

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| ParseKeyIdError)?;
        Ok(Self(bytes.try_into().map_err(|_| ParseKeyIdError)?))
    }
}

/// Why an identity could not be made, read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file could not be read or written.
    #[error("the identity file {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no usable key and certificate.
    #[error("the identity file {path} holds no usable Ed25519 key and certificate ({reason})")]
    Content {
        /// The file.
        path: String,
        /// What was missing or wrong.
        reason: String,
    },
    /// The cryptography library could not make a key.
    #[error("could not make an Ed25519 key: {0}")]
    Generate(String),
}

/// An Ed25519 private key with its self-signed certificate. Cloning shares them.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    id: KeyId,
    key: Zeroizing<Vec<u8>>,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// Makes a new identity that lives in memory only.
    pub fn generate() -> Result<Self, IdentityError> {
        let generate = |e: rcgen::Error| IdentityError::Generate(e.to_string());
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(generate)?;
        let certificate = certificate_parameters().self_signed(&key).map_err(generate)?;
        Self::new(key.serialize_der(), certificate.der().clone())
            .ok_or_else(|| IdentityError::Generate("its certificate is not of this key".into()))
    }

    /// Reads the identity kept in `path` (PEM: one private key, one certificate).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        let file_error = |source| IdentityError::File { path: path.display().to_string(), source };
        let content_error =
            |reason: String| IdentityError::Content { path: path.display().to_string(), reason };
        let mut pem = Zeroizing::new(Vec::new());
        let file = File::open(path).map_err(file_error)?;
        file.take(MAX_IDENTITY_FILE).read_to_end(&mut pem).map_err(file_error)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|e| content_error(format!("key: {e}")))?;
        let certificate =
            CertificateDer::from_pem_slice(&pem).map_err(|e| content_error(format!("certificate: {e}")))?;
        Self::new(key.secret_pkcs8_der().to_vec(), certificate)
            .ok_or_else(|| content_error("they do not belong together".into()))
    }

    /// Reads the identity in `path`, or makes one and keeps it there (mode 0600, durable before it returns).
    pub fn load_or_generate(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let identity = Self::generate()?;
        match identity.store(path) {
            // Another process was faster: its key is the one that counts.
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(IdentityError::File { path: path.display().to_string(), source }),
            Ok(()) => Ok(identity),
        }
    }

    /// The name of this identity's key.
    pub fn id(&self) -> KeyId {
        self.inner.id
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.inner.certificate.clone()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.inner.key.to_vec()))
    }

    /// A key that only the holder of this identity can make, the same each time: for what a server must be able to
    /// prove again after a restart.
    pub(crate) fn derive(&self, purpose: &str) -> hmac::Key {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &self.inner.key);
        let derived = hmac::sign(&secret, format!("hikyaku/1 {purpose}\0").as_bytes());
        hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
    }

    /// `None` unless `certificate` is one of `key`, and that an Ed25519 key.
    fn new(key: Vec<u8>, certificate: CertificateDer<'static>) -> Option<Self> {
        let key = Zeroizing::new(key);
        let id = KeyId::of_certificate(&certificate)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key).ok()?;
        key_info(&certificate)?
            .ends_with(pair.public_key().as_ref())
            .then(|| Self { inner: Arc::new(Inner { id, key, certificate }) })
    }

    /// Writes the PEM file under a temporary name and links it into place, so that no reader ever sees half a key
    /// and two processes never overwrite each other's.
    //= S6.5
    fn store(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut temporary_name = name.to_os_string();
        // Not the process's number: one that died half-way would leave a name that its successor has again.
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
        temporary_name.push(format!(".{:016x}.tmp", u64::from_be_bytes(random)));
        let temporary = directory.join(temporary_name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let pem = Zeroizing::new(self.to_pem());
        let written = file
            .write_all(pem.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::hard_link(&temporary, path));
        std::fs::remove_file(&temporary)?;
        written?;
        File::open(directory)?.sync_all()
    }

    fn to_pem(&self) -> String {
        let block = |label: &str, der: &[u8]| {
            let base64 = data_encoding::BASE64.encode(der);
            let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
        };
        block("PRIVATE KEY", &self.inner.key) + &block("CERTIFICATE", &self.inner.certificate)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id())
    }
}

/// Everything in the certificate but the key is constant: nobody looks at it, and a constant cannot leak.
//= S6.2
fn certificate_parameters() -> rcgen::CertificateParams {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.not_before = rcgen::date_time_ymd(1975, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(4096, 1, 1);
    parameters.serial_number = Some(rcgen::SerialNumber::from(1u64));
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "hikyaku");
    parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_the_same_after_it_was_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.pem");
        let made = Identity::load_or_generate(&path).unwrap();
        assert_eq!(Identity::load_or_generate(&path).unwrap().id(), made.id());
        assert_eq!(Identity::load(&path).unwrap().private_key(), made.private_key());
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_damaged_identity_is_refused_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.pem");
        std::fs::write(&path, "not a key").unwrap();
        let error = Identity::load_or_generate(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Content { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"not a key");
    }

    #[test]
    fn a_key_id_is_52_characters_and_nothing_else() {
        let id = Identity::generate().unwrap().id();
        let text = id.to_string();
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse(), Ok(id));
        for wrong in [&text[1..], &format!("{text}a"), "", "1".repeat(52).as_str()] {
            assert_eq!(wrong.parse::<KeyId>(), Err(ParseKeyIdError), "{wrong:?}");
        }
    }
}
