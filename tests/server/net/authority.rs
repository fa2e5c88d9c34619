//! Certificates of the tests' own, and clients that believe them.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use roomcast_server::config::{Pem, ServerTls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::harness::dial;

pub(crate) type TlsSocket = StreamOwned<ClientConnection, TcpStream>;

/// The versions that are spoken.
pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Somebody who vouches for others.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("a certificate");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    /// A certificate for a name.
    pub(crate) fn vouch_for(&self, name: &str) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// Clients that believe it, and show `own` where it is given.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion], own: Option<&Pair>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let builder = builder.with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
            }
        }
    }
}

impl Pair {
    /// The options of a server that shows it.
    pub(crate) fn options(&self) -> ServerTls {
        let mut options = ServerTls::default();
        let read = |pem: &str| Some(Pem::read(pem).expect("PEM"));
        options.enabled = true;
        (options.cert_pem, options.key_pem) = (read(&self.certificate), read(&self.key));
        options
    }
}

/// A connection to `chat.example`, which is there; no hands are shaken yet.
pub(crate) fn dial_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> TlsSocket {
    over(dial(address), config)
}

pub(crate) fn over(socket: TcpStream, config: &Arc<ClientConfig>) -> TlsSocket {
    let name = ServerName::try_from("chat.example").expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("a client"), socket)
}
