//! `[http_server]`: where the server is reached, and what is served where.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::autocert::{self, Autocert};
use super::draft::{Notes, path};
use super::options::{Reload, Section, Setting, between, listing, setting, within};
use super::origin::normal_host;
use super::server_tls::ServerTls;
use super::setting::{Kind, quote, read};
use super::tls::Pem;
use super::tree::Value;
use crate::util::network::Network;

/// `[http_server]`: where it listens, for whom, and by which names it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpServer {
    /// The address to listen on. Default `127.0.0.1`: nothing is reachable from outside until somebody says so.
    pub address: IpAddr,
    /// The port to listen on; 0 takes a free one. Default 8000.
    pub port: u16,
    /// The address of the operator and the backend: the server API, metrics and health. `None` is that of the clients.
    pub internal_address: Option<IpAddr>,
    /// Their port. `None`, the default: that of the clients. Where address or port is another, what is inside is served there
    /// alone.
    pub internal_port: Option<u16>,
    /// A Unix socket for clients, beside the port.
    pub unix_socket: Option<PathBuf>,
    /// A Unix socket for the operator and the backend; what is inside is then not served to the clients.
    pub internal_unix_socket: Option<PathBuf>,
    /// Who may connect to the Unix sockets. Default 0660: those of the server's user and group.
    pub unix_socket_mode: FileMode,
    /// Whether there are no ports, but the Unix sockets alone.
    pub unix_only: bool,
    /// `[http_server.tls]`: how TLS is spoken at the ports.
    pub tls: ServerTls,
    /// `[http_server.tls_autocert]`: or with certificates that are fetched.
    pub tls_autocert: Autocert,
    /// Whether that is so at the port of clients alone.
    pub tls_external: bool,
    /// `[http_server.internal_tls]`: how it is spoken at the internal port, where that is to be otherwise.
    pub internal_tls: ServerTls,
    /// How often the files of certificates and keys are looked at. Default 1 min.
    pub tls_check_interval: Duration,
    /// How long a TLS handshake may take. Default 10 s: several round trips of the slowest network, and no longer.
    pub tls_handshake_timeout: Duration,
    /// TLS handshakes that may be under way at once; of more, the oldest is given up. Default 1,024: at a millisecond each,
    /// more would be over their time before they had their turn.
    pub tls_handshake_limit: usize,
    /// Proxies that are believed when they say for whom they ask: networks, or `unix` for who comes by a Unix socket. Empty, the
    /// default: none.
    pub trusted_proxies: Vec<String>,
    /// Whether connections of clients begin with a PROXY header (version 1 or 2). Who is none of `trusted_proxies` is then
    /// refused.
    pub proxy_protocol: bool,
    /// Bytes that the system takes for a connection and has not sent: as many as a client that stops reading has it hold, which no
    /// share of the memory counts. Default 128 KiB, which is sent within a millisecond to who reads; what is on its way is not
    /// bounded by it, so that who is far away is not slower. 0: as many as the system likes, up to `net.ipv4.tcp_wmem` (4 MiB).
    pub tcp_unsent_limit: usize,
    /// Bytes that the system takes of a connection and that were not read, give or take what it needs to keep them: who has sent much
    /// for a while, and then takes nothing of what it has asked for, has it hold as many. Default 128 KiB, by which a client that is a
    /// tenth of a second away sends a megabyte in a second. 0: as many as the system likes, up to `net.ipv4.tcp_rmem` (6 MiB and more).
    pub tcp_unread_limit: usize,
    /// Names by which pages may have reached this server, `*` standing for any run of characters, without ports; names of
    /// this machine are always good. Empty, the default: all names, in development mode those of this machine. A page whose
    /// name somebody has pointed here is refused, however much it looks like one of ours.
    pub allowed_hosts: Vec<String>,
    /// Whether clients may speak HTTP/2 without TLS, by saying so first. Default false: browsers do not, proxies may.
    pub h2c_external: bool,
    /// Whether WebSockets may be streams of HTTP/2 over TLS, too. Default false: a browser whose page came by HTTP/2 would have its
    /// WebSocket in a stream of that connection, which takes some thirty kilobytes for as long as it lasts. Proxies may be told to.
    pub h2_websocket: bool,
}

/// What the system lets whom do with a file: the nine bits that `chmod` writes in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u16);

impl Default for HttpServer {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8000,
            internal_address: None,
            internal_port: None,
            unix_socket: None,
            internal_unix_socket: None,
            unix_socket_mode: FileMode(0o660),
            unix_only: false,
            tls: ServerTls::default(),
            tls_autocert: Autocert::default(),
            tls_external: false,
            internal_tls: ServerTls::default(),
            tls_check_interval: Duration::from_secs(60),
            tls_handshake_timeout: Duration::from_secs(10),
            tls_handshake_limit: 1_024,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            tcp_unsent_limit: 128 * 1024,
            tcp_unread_limit: 128 * 1024,
            allowed_hosts: Vec::new(),
            h2c_external: false,
            h2_websocket: false,
        }
    }
}

impl HttpServer {
    /// Where to listen for clients.
    #[must_use]
    pub const fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Where to listen for the operator and the backend, if that is another place.
    #[must_use]
    pub fn internal_socket_addr(&self) -> Option<SocketAddr> {
        let address = self.internal_address.unwrap_or(self.address);
        let internal = SocketAddr::new(address, self.internal_port.unwrap_or(self.port));
        // Of two free ports, each is another.
        let is_another = internal != self.socket_addr() || self.internal_port == Some(0);
        is_another.then_some(internal)
    }

    /// Whether what is inside has a place of its own.
    pub(crate) fn has_inside(&self) -> bool {
        self.internal_unix_socket.is_some() || (!self.unix_only && self.internal_socket_addr().is_some())
    }

    /// How TLS is spoken at the port of clients, and at the internal one.
    pub(crate) fn tls_of(&self, is_internal: bool) -> Option<&ServerTls> {
        let everywhere = Some(&self.tls).filter(|tls| tls.enabled && !(is_internal && self.tls_external));
        if is_internal && self.internal_tls.enabled { Some(&self.internal_tls) } else { everywhere }
    }

    /// The same without keys, to be shown to people.
    pub(super) fn hide_secrets(&mut self) {
        self.tls.hide_secrets();
        self.internal_tls.hide_secrets();
    }

    /// Notes what contradicts itself here.
    pub(super) fn check(&self, notes: &mut Notes) {
        let (outside, inside) = ("http_server.unix_socket", "http_server.internal_unix_socket");
        if self.unix_only && self.unix_socket.is_none() {
            notes.conflict(
                &["http_server.unix_only", outside],
                "`http_server.unix_only` leaves clients no way in: set `http_server.unix_socket`",
            );
        }
        if self.unix_socket.is_some() && self.unix_socket == self.internal_unix_socket {
            notes.conflict(&[inside, outside], &format!("`{outside}` and `{inside}` are the same file"));
        }
        for (table, tls) in [("http_server.tls", &self.tls), ("http_server.internal_tls", &self.internal_tls)] {
            if let Some(error) = tls.enabled.then(|| tls.identity(None).err()).flatten() {
                let keys = ["cert_pem", "key_pem", "client_ca_pem", "enabled"].map(|key| path(table, key));
                notes.conflict(&keys.each_ref().map(String::as_str), &format!("`{table}`: {error}"));
            }
        }
        self.tls_autocert.check(self, notes);
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            notes.conflict(
                &["http_server.proxy_protocol", "http_server.trusted_proxies"],
                "`http_server.proxy_protocol` lets in proxies alone: name them in `http_server.trusted_proxies`",
            );
        }
        if self.internal_tls.enabled && (self.unix_only || self.internal_socket_addr().is_none()) {
            notes.conflict(
                &["http_server.internal_tls.enabled"],
                "`http_server.internal_tls` needs a port of its own: set `http_server.internal_port`",
            );
        }
    }
}

/// `pem!(key, Live or Restart, place in the struct, what it does)`
macro_rules! pem {
    ($key:literal, $reload:ident, $($field:ident).+, $about:literal $(,)?) => {
        Setting {
            key: $key,
            reload: Reload::$reload,
            copy: |to, from| to.$($field).+.clone_from(&from.$($field).+),
            about: || $about.into(),
            read: |target, value| {
                let written: Option<String> = read(value)?;
                target.$($field).+ = written.map(|written| Pem::read(&written)).transpose()?;
                Ok(())
            },
            write: |target| target.$($field).+.write(),
        }
    };
}

pub(super) const SECTION: Section = Section {
    name: "http_server",
    settings: &[
        setting!("address", Restart, http_server.address, "the address to listen on; 0.0.0.0 for all"),
        setting!("port", Restart, http_server.port, "the port to listen on; 0 takes a free one"),
        setting!(
            "internal_address",
            Restart,
            http_server.internal_address,
            "the address where the server API, metrics and health are; unset: that of the clients"
        ),
        setting!(
            "internal_port",
            Restart,
            http_server.internal_port,
            "the port where they are, and then nowhere else; unset: that of the clients"
        ),
        setting!("unix_socket", Restart, http_server.unix_socket, "a Unix socket for clients, beside the port"),
        setting!(
            "internal_unix_socket",
            Restart,
            http_server.internal_unix_socket,
            "a Unix socket for the server API, metrics and health, which clients then do not reach"
        ),
        setting!(
            "unix_socket_mode",
            Restart,
            http_server.unix_socket_mode,
            "who may connect to the Unix sockets, as chmod writes it"
        ),
        setting!("unix_only", Restart, http_server.unix_only, "listen at the Unix sockets alone, not at a port"),
        setting!("tls.enabled", Restart, http_server.tls.enabled, "speak TLS at the ports, by what follows"),
        pem!("tls.cert_pem", Live, http_server.tls.cert_pem, "the certificate, those that lead to it behind it"),
        pem!("tls.key_pem", Live, http_server.tls.key_pem, "its key"),
        pem!(
            "tls.client_ca_pem",
            Live,
            http_server.tls.client_ca_pem,
            "who vouches for clients; every client then needs a certificate"
        ),
        setting!(
            "tls_autocert.enabled",
            Restart,
            http_server.tls_autocert.enabled,
            "speak TLS at the ports with certificates that are fetched by ACME; it agrees to the terms of the authority"
        ),
        listing!(
            "tls_autocert.host_whitelist",
            Restart,
            http_server.tls_autocert.host_whitelist,
            "the names for which certificates are fetched, and no others",
            autocert::NAMES_MAX,
            autocert::name
        ),
        Setting {
            key: "tls_autocert.cache_dir",
            reload: Reload::Restart,
            copy: |to, from| to.http_server.tls_autocert.cache_dir.clone_from(&from.http_server.tls_autocert.cache_dir),
            about: || "where they are kept, with the key of the account; unset: autocert in the data directory".into(),
            read: |target, value| {
                // Files of Centrifugo's have it empty.
                let written: Option<String> = read(value)?;
                target.http_server.tls_autocert.cache_dir = written.map(PathBuf::from);
                Ok(())
            },
            write: |target| target.http_server.tls_autocert.cache_dir.write(),
        },
        setting!("tls_autocert.email", Restart, http_server.tls_autocert.email, "where the authority may write to"),
        setting!(
            "tls_autocert.server_name",
            Restart,
            http_server.tls_autocert.server_name,
            "the name that clients mean who name none; unset: they are refused",
            autocert::no_other_name
        ),
        setting!(
            "tls_autocert.http",
            Restart,
            http_server.tls_autocert.http,
            "let the authority ask at http_addr whether a name leads here (http-01), and not at the port of clients (tls-alpn-01)"
        ),
        setting!(
            "tls_autocert.http_addr",
            Restart,
            http_server.tls_autocert.http_addr,
            "where it asks, and everybody else is sent to https; empty: a proxy listens there and passes it on",
            |v: &String| autocert::socket_address(v).map(|_| ())
        ),
        setting!(
            "tls_autocert.directory_url",
            Restart,
            http_server.tls_autocert.directory_url,
            "the directory of the authority",
            |v: &String| autocert::is_directory(v)
        ),
        pem!(
            "tls_autocert.directory_ca_pem",
            Restart,
            http_server.tls_autocert.directory_ca_pem,
            "who vouches for its server, in place of this machine's authorities"
        ),
        setting!(
            "tls_autocert.retry_interval",
            Restart,
            http_server.tls_autocert.retry_interval,
            "how long to wait when a certificate was not to be had; twice as long each further time, up to a day",
            |v: &Duration| between(*v, autocert::RETRY_MIN, autocert::RETRY_MAX)
        ),
        setting!("tls_external", Restart, http_server.tls_external, "speak it at the port of clients alone"),
        setting!(
            "internal_tls.enabled",
            Restart,
            http_server.internal_tls.enabled,
            "speak it at the internal port by what follows"
        ),
        pem!(
            "internal_tls.cert_pem",
            Live,
            http_server.internal_tls.cert_pem,
            "the certificate, those that lead to it behind it"
        ),
        pem!("internal_tls.key_pem", Live, http_server.internal_tls.key_pem, "its key"),
        pem!(
            "internal_tls.client_ca_pem",
            Live,
            http_server.internal_tls.client_ca_pem,
            "who vouches for clients; every client then needs a certificate"
        ),
        setting!(
            "tls_check_interval",
            Live,
            http_server.tls_check_interval,
            "how often the files of certificates and keys are looked at",
            |v: &Duration| between(*v, CHECK_INTERVAL_MIN, CHECK_INTERVAL_MAX)
        ),
        setting!(
            "tls_handshake_timeout",
            Live,
            http_server.tls_handshake_timeout,
            "how long a TLS handshake may take",
            |v: &Duration| between(*v, READ_TIMEOUT_MIN, READ_TIMEOUT_MAX)
        ),
        setting!(
            "tls_handshake_limit",
            Live,
            http_server.tls_handshake_limit,
            "TLS handshakes under way at once; of more, the oldest is given up",
            |v: &usize| within(v, &1, &HANDSHAKES_MAX)
        ),
        listing!(
            "trusted_proxies",
            Restart,
            http_server.trusted_proxies,
            "networks of proxies that are believed when they say for whom they ask; unix: who comes by a Unix socket",
            PROXIES_MAX,
            proxy
        ),
        setting!(
            "proxy_protocol",
            Restart,
            http_server.proxy_protocol,
            "connections of clients come from these proxies alone, and begin with a PROXY header"
        ),
        setting!(
            "tcp_unsent_limit",
            Restart,
            http_server.tcp_unsent_limit,
            "bytes that the system takes for a connection and has not sent yet; 0: as many as it likes",
            |v: &usize| if *v == 0 { Ok(()) } else { within(v, &HELD_MIN, &HELD_MAX) }
        ),
        setting!(
            "tcp_unread_limit",
            Restart,
            http_server.tcp_unread_limit,
            "bytes that the system takes of a connection and that were not read yet; 0: as many as it likes",
            |v: &usize| if *v == 0 { Ok(()) } else { within(v, &HELD_MIN, &HELD_MAX) }
        ),
        listing!(
            "allowed_hosts",
            Live,
            http_server.allowed_hosts,
            "names by which pages may have reached this server, * standing for any run of characters; empty: all, or with --dev those of this machine",
            HOSTS_MAX,
            normal_host
        ),
        setting!(
            "h2c_external",
            Live,
            http_server.h2c_external,
            "whether clients may speak HTTP/2 without TLS, by prior knowledge"
        ),
        setting!(
            "h2_websocket",
            Live,
            http_server.h2_websocket,
            "whether WebSockets may be streams of HTTP/2 over TLS, too"
        ),
    ],
};

/// Files are read at once and whole.
const CHECK_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Authorities hand out certificates for days.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Less than a round trip.
const READ_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// A socket that somebody says nothing on for longer is held for nobody.
const READ_TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);
/// Each holds some kilobytes.
const HANDSHAKES_MAX: usize = 65_536;
/// Each is compared with the address of each connection.
const PROXIES_MAX: usize = 256;
/// Less is one packet at a time.
const HELD_MIN: usize = 4 * 1024;
/// More than the system takes.
const HELD_MAX: usize = 16 * 1024 * 1024;
/// Each is compared with each request's host.
const HOSTS_MAX: usize = 256;

fn proxy(written: &str) -> Result<String, String> {
    if written == UNIX {
        return Ok(written.to_owned());
    }
    let network: Network = written.parse().map_err(|error| format!("{error}; or \"{UNIX}\""))?;
    Ok(network.to_string())
}

/// Stands for who comes by a Unix socket.
pub(crate) const UNIX: &str = "unix";

impl Kind for Option<u16> {
    fn expected() -> Cow<'static, str> {
        u16::expected()
    }

    fn read(value: &Value) -> Option<Self> {
        // Files of Centrifugo's write it as text, and one that is empty is none.
        if value.text() == Some("") { Some(None) } else { u16::read(value).map(Some) }
    }

    fn write(&self) -> Option<String> {
        self.as_ref().and_then(u16::write)
    }
}

impl Kind for Option<IpAddr> {
    fn expected() -> Cow<'static, str> {
        IpAddr::expected()
    }

    fn read(value: &Value) -> Option<Self> {
        if value.text() == Some("") { Some(None) } else { IpAddr::read(value).map(Some) }
    }

    fn write(&self) -> Option<String> {
        self.as_ref().and_then(IpAddr::write)
    }
}

impl Kind for FileMode {
    fn expected() -> Cow<'static, str> {
        "three or four octal digits in quotes such as \"0660\"".into()
    }

    fn read(value: &Value) -> Option<Self> {
        let digits = value.text()?;
        let is_one = matches!(digits.len(), 3 | 4) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u16::from_str_radix(digits, 8).ok().filter(|_| is_one)?;
        (mode <= 0o777).then_some(Self(mode))
    }

    fn write(&self) -> Option<String> {
        Some(quote(&format!("{:04o}", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_is_elsewhere_when_its_address_or_port_is_another() {
        let mut options = HttpServer::default();
        assert_eq!(options.internal_socket_addr(), None);
        options.internal_port = Some(8000);
        assert_eq!(options.internal_socket_addr(), None, "the same");
        options.internal_port = Some(9000);
        assert_eq!(options.internal_socket_addr(), "127.0.0.1:9000".parse().ok());
        (options.internal_port, options.internal_address) = (None, "10.0.0.1".parse().ok());
        assert_eq!(options.internal_socket_addr(), "10.0.0.1:8000".parse().ok());
        let free = HttpServer { port: 0, internal_port: Some(0), ..HttpServer::default() };
        assert!(free.internal_socket_addr().is_some() && free.has_inside());
    }

    #[test]
    fn a_mode_is_octal() {
        let read = |text: &str| FileMode::read(&Value::Text(text.to_owned()));
        assert_eq!(read("0660"), Some(FileMode(0o660)));
        assert_eq!(read("777"), Some(FileMode(0o777)));
        for wrong in ["", "660 ", "0o66", "8888", "01777", "7", "+660"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(FileMode(0o600).write().as_deref(), Some("\"0600\""));
    }
}
