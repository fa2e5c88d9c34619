//! `tls`: how a server that we call shows who it is, and how we show who we are.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::util::signature::Secret;

/// How TLS connections to one server are made. By default they are, and the server is one that this machine's authorities vouch for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Whether the options below count.
    pub enabled: bool,
    /// The certificate that we show, with those that lead to it.
    pub cert_pem: Option<Pem>,
    /// Its private key.
    pub key_pem: Option<Pem>,
    /// The authorities that vouch for the server, in place of this machine's.
    pub server_ca_pem: Option<Pem>,
    /// Whether any server is believed. For development.
    pub insecure_skip_verify: bool,
    /// The name that the server's certificate is for; `None` is that of the address.
    pub server_name: Option<String>,
}

/// A certificate or a key: written as PEM, as PEM in base64, or as the path of a file of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// As it was written; may be a key.
    written: Secret,
    /// The text that it came to.
    pem: Secret,
}

/// Far more than a chain of certificates takes.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

const BEGINS: &str = "-----BEGIN ";

impl Pem {
    /// Reads it.
    ///
    /// # Errors
    /// What was expected. Never what was found, which may be a key.
    pub fn read(written: &str) -> Result<Self, String> {
        let expected = || "expected PEM (-----BEGIN …), that in base64, or the path of a file of it".to_owned();
        let pem = if written.contains(BEGINS) {
            written.to_owned()
        } else if let Some(pem) = STANDARD.decode(written.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
            pem
        } else {
            let mut pem = String::new();
            let read =
                File::open(Path::new(written)).and_then(|file| file.take(PEM_BYTES_MAX).read_to_string(&mut pem));
            read.map_err(|error| format!("{}; as a path it cannot be read: {error}", expected()))?;
            pem
        };
        if pem.contains(BEGINS) {
            Ok(Self { written: Secret::new(written), pem: Secret::new(pem) })
        } else {
            Err(expected())
        }
    }

    /// The same, as its file is now.
    ///
    /// # Errors
    /// As [`Pem::read`].
    pub(super) fn read_again(&self) -> Result<Self, String> {
        Self::read(&self.written.reveal())
    }

    /// Puts dots in its place, to be shown to people.
    pub(super) fn hide(&mut self) {
        self.written = Secret::new("…");
    }

    /// As it was written.
    pub(super) fn written(&self) -> String {
        self.written.reveal().into_owned()
    }

    /// The text that it came to.
    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        self.pem.reveal()
    }

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.pem.reveal().as_bytes()).collect();
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        certificates.ok_or_else(|| "expected certificates (-----BEGIN CERTIFICATE-----)".to_owned())
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let key = PrivateKeyDer::from_pem_slice(self.pem.reveal().as_bytes());
        key.map_err(|_| "expected a private key (-----BEGIN PRIVATE KEY-----)".to_owned())
    }
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pem(…)")
    }
}

impl TlsOptions {
    /// The same with the key left out, to be shown to people.
    pub(super) fn hide_secrets(&mut self) {
        if let Some(key) = &mut self.key_pem {
            key.hide();
        }
    }

    /// What connections are made by.
    ///
    /// # Errors
    /// Which option cannot be used, and why.
    pub(crate) fn client(&self) -> Result<ClientConfig, String> {
        let plain = Self::default();
        let this = if self.enabled { self } else { &plain };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let roots = match &this.server_ca_pem {
            None => Arc::clone(&SYSTEM_ROOTS),
            Some(pem) => Arc::new(roots(pem.certificates().map_err(|error| format!("`server_ca_pem`: {error}"))?)),
        };
        let builder = match this.insecure_skip_verify {
            true => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider))),
            false => match WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider).build() {
                Ok(verifier) => builder.with_webpki_verifier(verifier),
                Err(_) if this.server_ca_pem.is_some() => {
                    return Err("`server_ca_pem`: no certificate of an authority".to_owned());
                }
                // This machine has none; whoever calls over TLS is told that the server is unknown.
                Err(_) => builder.with_root_certificates(roots),
            },
        };
        match (&this.cert_pem, &this.key_pem) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let certificates = certificate.certificates().map_err(|error| format!("`cert_pem`: {error}"))?;
                let key = key.key().map_err(|error| format!("`key_pem`: {error}"))?;
                let config = builder.with_client_auth_cert(certificates, key);
                config.map_err(|_| "`key_pem` is not the key of `cert_pem`".to_owned())
            }
            _ => Err("`cert_pem` and `key_pem` go together".to_owned()),
        }
    }

    /// The name that the server's certificate is for, where it is not that of the address.
    ///
    /// # Errors
    /// It is no name.
    pub(crate) fn server_name(&self) -> Result<Option<ServerName<'static>>, String> {
        let name = self.server_name.as_ref().filter(|_| self.enabled);
        name.map(|name| ServerName::try_from(name.clone()))
            .transpose()
            .map_err(|_| "`server_name`: expected the name of a host or an address".to_owned())
    }
}

/// Those who vouch for servers on this machine, read once.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> =
    LazyLock::new(|| Arc::new(roots(rustls_native_certs::load_native_certs().certs)));

/// Certificates that cannot be used are left out: a machine has some that nobody has looked at for years.
pub(super) fn roots(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    roots
}

/// Believes every server, of which it sees only that it has the key it shows.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
