//! `http_server.tls`, `http_server.internal_tls`: how this server shows who it is, and whom it believes.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};

use super::tls::{Pem, roots};
use crate::util::certificate;

/// How TLS is spoken at a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerTls {
    /// Whether it is, by the options below. Default false.
    pub enabled: bool,
    /// The certificate, with those that lead to it.
    pub cert_pem: Option<Pem>,
    /// Its private key.
    pub key_pem: Option<Pem>,
    /// The authorities that vouch for clients; where it is set, every client needs a certificate of theirs.
    pub client_ca_pem: Option<Pem>,
}

/// What connections are accepted by, made of [`ServerTls`].
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    /// When the certificate is over, since 1970; nothing where it does not say so.
    pub(crate) ends_at: Option<Duration>,
}

impl ServerTls {
    /// The same with the key left out, to be shown to people.
    pub(super) fn hide_secrets(&mut self) {
        if let Some(key) = &mut self.key_pem {
            key.hide();
        }
    }

    /// The same with its files read anew.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub(crate) fn read_again(&self) -> Result<Self, String> {
        let again = |key: &str, pem: &Option<Pem>| {
            pem.as_ref().map(Pem::read_again).transpose().map_err(|error| format!("`{key}`: {error}"))
        };
        Ok(Self {
            enabled: self.enabled,
            cert_pem: again("cert_pem", &self.cert_pem)?,
            key_pem: again("key_pem", &self.key_pem)?,
            client_ca_pem: again("client_ca_pem", &self.client_ca_pem)?,
        })
    }

    /// What connections are accepted by; with `tickets`, clients come back without a whole handshake.
    ///
    /// # Errors
    /// Which option cannot be used, why, and what belongs there.
    pub(crate) fn identity(&self, tickets: Option<Arc<dyn ProducesTickets>>) -> Result<Identity, String> {
        let (Some(certificate), Some(key)) = (&self.cert_pem, &self.key_pem) else {
            return Err(
                "needs `cert_pem`, the certificate with those that lead to it, and `key_pem`, its key".to_owned()
            );
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &self.client_ca_pem {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let authorities = pem.certificates().map_err(|error| format!("`client_ca_pem`: {error}"))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authorities)), provider);
                let verifier =
                    verifier.build().map_err(|_| "`client_ca_pem`: no certificate of an authority".to_owned())?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let certificates = certificate.certificates().map_err(|error| format!("`cert_pem`: {error}"))?;
        let key = key.key().map_err(|error| format!("`key_pem`: {error}"))?;
        let ends_at = certificates.first().and_then(|first| certificate::ends_at(first));
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => "`key_pem` is not the key of the first certificate in `cert_pem`: \
                 write the server's own certificate first, those that lead to it behind it"
                .to_owned(),
            rustls::Error::InvalidCertificate(_) => {
                "`cert_pem`: the first certificate cannot be read; write the server's own, as its authority gave it"
                    .to_owned()
            }
            error => format!("`cert_pem`, `key_pem`: {error}"),
        })?;
        set_up(&mut config, tickets);
        Ok(Identity { config: Arc::new(config), ends_at })
    }
}

impl Identity {
    /// What connections are accepted by where `resolver` has the certificates, and answers those who ask whether a name leads here.
    ///
    /// # Errors
    /// None that the configuration could cause.
    pub(crate) fn fetched(
        resolver: Arc<dyn ResolvesServerCert>,
        tickets: Option<Arc<dyn ProducesTickets>>,
    ) -> Result<Self, String> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        set_up(&mut config, tickets);
        config.alpn_protocols.push(ACME_TLS.to_vec());
        Ok(Self { config: Arc::new(config), ends_at: None })
    }
}

fn set_up(config: &mut ServerConfig, tickets: Option<Arc<dyn ProducesTickets>>) {
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    // What a client needs to come back it keeps itself.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    if let Some(tickets) = tickets {
        config.ticketer = tickets;
    }
}

/// What is spoken over TLS; the first that a client offers as well.
pub(crate) const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// What an authority speaks that asks whether a name leads here (RFC 8737): a handshake, and nothing behind it.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Each connection brings the ticket for the next one; a second is made and sent for nothing.
const TICKETS: usize = 1;
