//! `roomcast health`: one request to `/health`, for container health checks and shell scripts.
//!
//! It speaks what the server speaks: HTTP, HTTPS, or either over a Unix socket's file.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use roomcast_server::config::{Pem, TlsOptions};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the server answers [default: http://127.0.0.1:8000/health] [env: ROOMCAST_HEALTH_URL]
    #[arg(long)]
    url: Option<String>,
    /// The Unix socket where it does, instead of the host of the address
    #[arg(long, value_name = "FILE")]
    unix_socket: Option<PathBuf>,
    /// Who vouches for its certificate (PEM), instead of this machine's authorities
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Believe whatever certificate it shows: it is on this machine
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
}

/// Where a server answers that was told nothing else.
const USUAL_URL: &str = "http://127.0.0.1:8000/health";

/// Why the server is not well.
enum Unwell {
    Url(&'static str),
    Tls(String),
    Unreachable(String, io::Error),
    Answer(String),
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    // An empty variable names nobody, as one that is not there.
    let named = || std::env::var("ROOMCAST_HEALTH_URL").ok().filter(|url| !url.is_empty());
    let url = arguments.url.clone().or_else(named).unwrap_or_else(|| USUAL_URL.to_owned());
    match ask(&url, arguments) {
        Ok(()) => super::print("well\n"),
        Err(reason @ (Unwell::Url(_) | Unwell::Tls(_))) => super::refuse(reason),
        Err(reason) => super::fail(reason),
    }
}

fn ask(url: &str, arguments: &Arguments) -> Result<(), Unwell> {
    let (is_tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(Unwell::Url("it should begin with http:// or https://")),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "health"));
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Unwell::Url("it holds blanks or control characters"));
    }
    let port = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let usual_port = if is_tls { 443 } else { 80 };
    let host = port.map_or_else(|| format!("{authority}:{usual_port}"), |_| authority.to_owned());
    let tls = is_tls.then(|| client(port.map_or(authority, |(name, _)| name), arguments)).transpose()?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let (place, status) = match &arguments.unix_socket {
        Some(file) => (file.display().to_string(), over_file(file, tls, &request)),
        None => {
            let status = status_line(&host, tls, &request);
            (host, status)
        }
    };
    let status = status.map_err(|error| Unwell::Unreachable(place, error))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(Unwell::Answer(status)),
    }
}

/// Who asks the server of that name over TLS.
fn client(name: &str, arguments: &Arguments) -> Result<ClientConnection, Unwell> {
    let mut options = TlsOptions::default();
    options.enabled = true;
    options.insecure_skip_verify = arguments.insecure;
    options.server_ca_pem = arguments.ca.as_deref().map(Pem::read).transpose().map_err(Unwell::Tls)?;
    let config = roomcast_server::tls_client(&options).map_err(Unwell::Tls)?;
    let name = name.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')).unwrap_or(name);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| Unwell::Url("it names no host"))?;
    ClientConnection::new(config, name).map_err(|error| Unwell::Tls(error.to_string()))
}

fn over_file(file: &Path, tls: Option<ClientConnection>, request: &str) -> io::Result<String> {
    let stream = UnixStream::connect(file)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    exchange(stream, tls, request)
}

fn status_line(host: &str, mut tls: Option<ClientConnection>, request: &str) -> io::Result<String> {
    let addresses: Vec<SocketAddr> = host.to_socket_addrs()?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return exchange(stream, tls.take(), request);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(stream: impl Read + Write, tls: Option<ClientConnection>, request: &str) -> io::Result<String> {
    match tls {
        None => first_line(stream, request),
        Some(connection) => first_line(StreamOwned::new(connection, stream), request),
    }
}

fn first_line(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    while head.len() < HEAD_BYTES_MAX && !head.contains(&b'\n') {
        let mut piece = [0; HEAD_BYTES_MAX];
        match stream.read(&mut piece[..HEAD_BYTES_MAX - head.len()])? {
            0 => break,
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned())
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(reason) => {
                write!(f, "the --url cannot be asked: {reason}; an example is http://127.0.0.1:8000/health")
            }
            Self::Tls(reason) => write!(f, "TLS cannot be spoken: {reason}"),
            Self::Unreachable(host, error) => write!(f, "no answer from {host}: {error}; is the server running there?"),
            Self::Answer(status) => write!(f, "the server answered {status:?} instead of 200"),
        }
    }
}

/// A health check that takes longer is a failed one; container platforms give up at about this time as well.
const PATIENCE: Duration = Duration::from_secs(3);
/// The status line is all that counts.
const HEAD_BYTES_MAX: usize = 512;
