//! TLS for the peers that bring none of their own: one self-signed certificate, trusted by itself.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Result;

/// A fresh certificate and its key, in PEM.
pub fn identity() -> Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

/// A certificate as a word on a command line.
pub struct Trust(pub String);

impl Trust {
    /// The word for a certificate in PEM.
    pub fn of(pem: &str) -> String {
        pem.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The certificate in PEM that a word stands for.
    pub fn read(word: &str) -> Result<Trust> {
        let byte = |at: usize| u8::from_str_radix(word.get(at..at + 2).unwrap_or_default(), 16);
        let bytes = (0..word.len()).step_by(2).map(byte).collect::<Result<Vec<_>, _>>()?;
        Ok(Trust(String::from_utf8(bytes)?))
    }

    /// A client that trusts this certificate alone.
    pub fn client(&self, alpn: &[u8]) -> Result<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.as_bytes())?)?;
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    /// A server with this certificate.
    pub fn server(pem: &str, key: &str, alpn: &[u8]) -> Result<rustls::ServerConfig> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
