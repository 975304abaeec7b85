//! Keys, and certificates of any shape. Spec: chapter 6, "Keys and certificates".

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::PublicKeyData as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A key with a certificate of any shape.
pub struct Key {
    /// The key.
    pub pair: rcgen::KeyPair,
    /// What is shown: by default one certificate of this key, signed by itself.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Key {
    /// A new Ed25519 key, as everybody has one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self::with(&rcgen::PKCS_ED25519, |_| {})
    }

    /// A key of `algorithm`, whose certificate `shape` may change.
    pub fn with(
        algorithm: &'static rcgen::SignatureAlgorithm,
        shape: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Self {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        shape(&mut parameters);
        let certificate = parameters.self_signed(&pair).unwrap().der().clone();
        Self { pair, chain: vec![certificate] }
    }

    /// The key and the certificate of a file, whoever they belong to.
    pub fn from_pem(pem: &[u8]) -> Self {
        let private = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
        let pair = rcgen::KeyPair::try_from(&private).unwrap();
        Self { pair, chain: vec![CertificateDer::from_pem_slice(pem).unwrap()] }
    }

    /// The id as the specification defines it, computed here once more.
    pub fn digest(&self) -> [u8; 32] {
        digest(&SHA256, &self.pair.subject_public_key_info()).as_ref().try_into().unwrap()
    }

    /// The private key, to sign with.
    pub fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()))
    }

    /// The same as the text of a file.
    pub fn pem(&self) -> String {
        let block = |label: &str, der: &[u8]| {
            let base64 = data_encoding::BASE64.encode(der);
            format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
        };
        block("PRIVATE KEY", &self.pair.serialize_der()) + &block("CERTIFICATE", &self.chain[0])
    }
}
