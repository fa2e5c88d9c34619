//! `http_server.tls_autocert`: certificates that this server fetches for itself, from an authority that speaks ACME (RFC 8555).

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::DnsName;

use super::draft::Notes;
use super::http_server::HttpServer;
use super::tls::{Pem, TlsOptions};

/// How certificates are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Autocert {
    /// Whether they are, and TLS is spoken with them. Default false. It agrees to the terms of the authority.
    pub enabled: bool,
    /// The names for which they are fetched, each by itself; no others are.
    pub host_whitelist: Vec<String>,
    /// Where they are kept, with the key of the account. `None`: `autocert` in the data directory.
    pub cache_dir: Option<PathBuf>,
    /// Where the authority may write to.
    pub email: Option<String>,
    /// The name that clients mean who name none. `None`: those are refused.
    pub server_name: Option<String>,
    /// Whether the authority asks over HTTP that a name leads here (http-01); else it asks at the port of clients (tls-alpn-01).
    pub http: bool,
    /// Where it asks then; everybody else is sent to `https` there. Default `:80`. Empty: somebody else listens there, and passes
    /// on what the authority asks.
    pub http_addr: String,
    /// The directory of the authority. Default: that of Let's Encrypt.
    pub directory_url: String,
    /// Who vouches for the authority's server, in place of this machine's authorities.
    pub directory_ca_pem: Option<Pem>,
    /// How long to wait when a certificate was not to be had; twice as long each further time, up to a day. Default 5 min: an
    /// authority that allows five failures in an hour is never asked a sixth time.
    pub retry_interval: Duration,
}

impl Default for Autocert {
    fn default() -> Self {
        Self {
            enabled: false,
            host_whitelist: Vec::new(),
            cache_dir: None,
            email: None,
            server_name: None,
            http: false,
            http_addr: ":80".to_owned(),
            directory_url: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            directory_ca_pem: None,
            retry_interval: Duration::from_secs(5 * 60),
        }
    }
}

impl Autocert {
    /// How the authority's server is known.
    pub(crate) fn directory_tls(&self) -> TlsOptions {
        TlsOptions {
            enabled: self.directory_ca_pem.is_some(),
            server_ca_pem: self.directory_ca_pem.clone(),
            ..TlsOptions::default()
        }
    }

    /// Where to listen for the authority, if anywhere.
    pub(crate) fn http_at(&self) -> Option<SocketAddr> {
        socket_address(&self.http_addr).ok().flatten().filter(|_| self.http)
    }

    /// Notes what contradicts itself here.
    pub(super) fn check(&self, server: &HttpServer, notes: &mut Notes) {
        if !self.enabled {
            return;
        }
        let [enabled, names, own] = ["enabled", "host_whitelist", "server_name"].map(|key| format!("{TABLE}.{key}"));
        if self.host_whitelist.is_empty() {
            notes.conflict(&[&names, &enabled], &format!("`{enabled}` needs `{names}`: the names of this server"));
        } else if self.server_name.as_ref().is_some_and(|name| !self.host_whitelist.contains(name)) {
            notes.conflict(&[&own], &format!("`{own}` is none of `{names}`"));
        }
        if server.unix_only {
            notes.conflict(
                &[&enabled, "http_server.unix_only"],
                &format!("`{enabled}` is for ports, and `http_server.unix_only` leaves none"),
            );
        }
        let tls = &server.tls;
        if tls.enabled || tls.cert_pem.is_some() || tls.key_pem.is_some() || tls.client_ca_pem.is_some() {
            notes.conflict(
                &["http_server.tls.enabled", &enabled],
                &format!("`{enabled}` fetches certificates, and `http_server.tls` has one: say one of them"),
            );
        }
        if let Err(error) = self.directory_tls().client() {
            notes.conflict(
                &["http_server.tls_autocert.directory_ca_pem"],
                &format!("`{TABLE}.directory_ca_pem`: {}", error.trim_start_matches("`server_ca_pem`: ")),
            );
        }
    }
}

const TABLE: &str = "http_server.tls_autocert";

/// Most names: each is an order of its own, and authorities count them.
pub(super) const NAMES_MAX: usize = 100;
/// Whoever asks more often is soon refused; for authorities of one's own.
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
/// As long as the longest wait.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The name of a host for which there may be a certificate, in small letters.
///
/// # Errors
/// What belongs there.
pub(super) fn name(written: &str) -> Result<String, String> {
    let lower = written.to_ascii_lowercase();
    let is_name = DnsName::try_from(lower.as_str()).is_ok() && !lower.ends_with('.') && !lower.starts_with('*');
    let is_address = lower.parse::<std::net::IpAddr>().is_ok();
    if is_name && !is_address {
        return Ok(lower);
    }
    Err(format!("{written:?} is no name that a certificate is fetched for: write for example \"chat.example.org\""))
}

/// # Errors
/// As [`name`].
pub(super) fn no_other_name(written: &Option<String>) -> Result<(), String> {
    match written {
        Some(written) if name(written)? != *written => Err(format!("{written:?}: write it in small letters")),
        _ => Ok(()),
    }
}

/// Where `address:port`, or `:port` for all addresses, is; nothing where nothing is written.
///
/// # Errors
/// What belongs there.
pub(super) fn socket_address(written: &str) -> Result<Option<SocketAddr>, String> {
    let expected = || format!("{written:?} is no address: write for example \":80\" or \"127.0.0.1:8080\"");
    if written.is_empty() {
        return Ok(None);
    }
    match written.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().map_err(|_| expected())?;
            Ok(Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)))
        }
        None => written.parse().map(Some).map_err(|_| expected()),
    }
}

/// # Errors
/// What belongs there.
pub(super) fn is_directory(written: &str) -> Result<(), String> {
    let is_one = written.parse::<axum::http::Uri>().is_ok_and(|url| {
        url.scheme_str() == Some("https")
            && url.authority().is_some_and(|it| !it.host().is_empty() && !it.as_str().contains('@'))
    });
    if is_one { Ok(()) } else { Err("expected the address of a directory: https://…".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_fetched_for_whole_names_alone() {
        assert_eq!(name("Chat.Example.org").as_deref(), Ok("chat.example.org"));
        for wrong in [
            "",
            ".",
            "*.example.org",
            "chat.example.org.",
            "10.0.0.1",
            "::1",
            "a/b",
            "../x",
            "chat.example:80",
            "ü.example",
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_may_leave_out_all_but_the_port() {
        let at = |written| socket_address(written).map(|at| at.map(|at| at.to_string()));
        assert_eq!(at(":80"), Ok(Some("[::]:80".to_owned())));
        assert_eq!(at("127.0.0.1:8080"), Ok(Some("127.0.0.1:8080".to_owned())));
        assert_eq!(at(""), Ok(None));
        assert!(at("80").is_err() && at(":http").is_err() && at("chat.example:80").is_err());
    }

    #[test]
    fn an_authority_is_asked_over_tls() {
        assert!(is_directory("https://acme.example:14000/dir").is_ok());
        for wrong in ["", "http://acme.example/dir", "acme.example", "https://", "https://me:secret@acme.example/"] {
            assert!(is_directory(wrong).is_err(), "{wrong}");
        }
    }
}
