//! TLS 1.3 with both sides' keys pinned: the only security layer there is.
//!
//! The verifiers look at one thing, the key of the leaf. Names, dates and issuers are ignored by design, and no
//! chain is ever built. Signatures are verified by the provider, never here. Spec: chapters 1 and 6.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, NamedGroup,
    PeerMisbehaved, ServerConfig, SignatureScheme,
};

use crate::events::{Recorder, Refusal, Text, event};
use crate::identity::{Identity, KeyId};
use crate::key_log::KeyLog;
use crate::transport::Transport;

/// The application protocol's name over QUIC.
//= S1.6
pub(crate) const ALPN_QUIC: &[u8] = b"hikyaku/1";
/// The same over TLS on TCP. It differs because the binding does, and it pins the QMux draft.
pub(crate) const ALPN_TCP: &[u8] = b"hikyaku/1-qx02";

/// The name given where TLS insists on one; it is never sent (no SNI) and never checked.
pub(crate) const SERVER_NAME: &str = "hikyaku.invalid";

/// A server's configuration: TLS 1.3 alone, without tickets; any Ed25519 client key may complete the handshake, none may do without one.
/// Who the key belongs to is looked up afterwards, on every connection.
//= S1.3
//= S1.4
//= S1.10
pub(crate) fn server_config(
    identity: &Identity,
    alpn: &[u8],
    key_log: Option<&KeyLog>,
) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let verifier = Arc::new(AnyDevice { provider: provider.clone() });
    let key = CertifiedKey::from_der(vec![identity.certificate()], identity.private_key(), &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(HostKey(Arc::new(key))));
    config.alpn_protocols = vec![alpn.to_vec()];
    if let Some(key_log) = key_log {
        config.key_log = Arc::new(key_log.clone());
    }
    // A resumed session would restore the old key without asking the verifier, so there is none to resume.
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// A client's configuration: TLS 1.3 alone, nothing resumed, no SNI; the server's key must be `pin`. When another one answers, it is left in `found`.
//= S1.3
//= S1.4
//= S1.10
//= S1.11
pub(crate) fn client_config(
    identity: &Identity,
    pin: KeyId,
    found: Arc<OnceLock<KeyId>>,
    alpn: &[u8],
    key_log: Option<&KeyLog>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = Arc::new(PinnedHost { provider: provider.clone(), pin, found });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![identity.certificate()], identity.private_key())?;
    config.alpn_protocols = vec![alpn.to_vec()];
    if let Some(key_log) = key_log {
        config.key_log = Arc::new(key_log.clone());
    }
    config.enable_sni = false;
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The key of the peer whose certificates these are, once a handshake has verified them.
pub(crate) fn peer_key(certificates: &[CertificateDer<'_>]) -> Option<KeyId> {
    certificates.first().and_then(KeyId::of_certificate)
}

/// What TLS agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Negotiated {
    /// The application protocol's name (ALPN), which says what binding of the protocol is spoken.
    pub alpn: &'static str,
    /// The cipher suite by its IANA name. quinn does not tell it.
    pub cipher_suite: Option<String>,
    /// The group of the key exchange by its IANA name.
    pub group: Option<String>,
}

impl Negotiated {
    /// Over TCP.
    pub(crate) fn of_tls(session: &rustls::CommonState) -> Self {
        let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let group = session.negotiated_key_exchange_group().map(|group| group.name());
        Self {
            alpn: "hikyaku/1-qx02",
            // rustls says TLS13_ where IANA says TLS_.
            cipher_suite: suite.map(|name| name.replacen("TLS13_", "TLS_", 1)),
            group: group.map(group_name),
        }
    }

    /// Over QUIC.
    pub(crate) fn of_quic(group: Option<NamedGroup>) -> Self {
        Self { alpn: "hikyaku/1", cipher_suite: None, group: group.map(group_name) }
    }

    /// Whether the key exchange withstands a quantum computer.
    pub fn is_post_quantum(&self) -> bool {
        self.group.as_deref().is_some_and(|group| group.contains("MLKEM"))
    }

    pub(crate) fn record(&self, events: &Recorder, transport: Transport, remote: SocketAddr, peer: KeyId) {
        let text = |text: &Option<String>| text.as_ref().map(Text::from);
        event!(
            *events,
            HandshakeCompleted {
                transport,
                remote: Some(remote),
                peer,
                cipher_suite: text(&self.cipher_suite),
                group: text(&self.group),
            }
        );
    }
}

fn group_name(group: NamedGroup) -> String {
    match group.as_str() {
        Some(name) => name.to_owned(),
        None => format!("{:#06x}", u16::from(group)),
    }
}

/// Why a handshake over TCP failed.
pub(crate) fn refusal(error: &std::io::Error) -> Refusal {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::NoApplicationProtocol) => Refusal::Alpn,
        Some(
            TlsError::InvalidCertificate(_)
            | TlsError::NoCertificatesPresented
            | TlsError::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme),
        ) => Refusal::Identity,
        _ => Refusal::Handshake,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The host key, for every client that offers an application protocol at all. With one that does not, rustls would
/// complete the handshake; with one that offers others, it ends it by itself.
//= S1.7
#[derive(Debug)]
struct HostKey(Arc<CertifiedKey>);

impl ResolvesServerCert for HostKey {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.alpn().is_some().then(|| self.0.clone())
    }
}

/// Exactly one certificate with an Ed25519 key: no chain is ever looked at, nor anything else in the certificate.
//= S1.5
//= S1.9
//= S6.3
fn only_key(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<KeyId, TlsError> {
    if !intermediates.is_empty() {
        return Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
    }
    KeyId::of_certificate(leaf).ok_or(TlsError::InvalidCertificate(CertificateError::BadEncoding))
}

/// What both verifiers say of signatures: Ed25519 over TLS 1.3, judged by the provider, and nothing else.
macro_rules! ed25519_over_tls13 {
    () => {
        /// Unreachable while the configurations offer TLS 1.3 alone; an error all the same.
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            Err(TlsError::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

/// Accepts the one host whose key is pinned.
#[derive(Debug)]
struct PinnedHost {
    provider: Arc<CryptoProvider>,
    pin: KeyId,
    found: Arc<OnceLock<KeyId>>,
}

impl ServerCertVerifier for PinnedHost {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        //= S1.8
        let key = only_key(leaf, intermediates)?;
        if key == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        // Only the first stranger is reported; a second attempt through this configuration meets the same error.
        let _ = self.found.set(key);
        Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    ed25519_over_tls13!();
}

/// Accepts every device that proves its key.
#[derive(Debug)]
struct AnyDevice {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyDevice {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        only_key(leaf, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    ed25519_over_tls13!();

    fn client_auth_mandatory(&self) -> bool {
        true
    }
}
