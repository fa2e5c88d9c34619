//! `roomcast health`: one request to `/health`, for container health checks and shell scripts.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the server answers [default: http://127.0.0.1:8000/health] [env: ROOMCAST_HEALTH_URL]
    #[arg(long)]
    url: Option<String>,
}

/// Where a server answers that was told nothing else.
const USUAL_URL: &str = "http://127.0.0.1:8000/health";

/// Why the server is not well.
enum Unwell {
    Url(&'static str),
    Unreachable(String, io::Error),
    Answer(String),
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    // An empty variable names nobody, as one that is not there.
    let named = || std::env::var("ROOMCAST_HEALTH_URL").ok().filter(|url| !url.is_empty());
    let url = arguments.url.clone().or_else(named).unwrap_or_else(|| USUAL_URL.to_owned());
    match ask(&url) {
        Ok(()) => super::print("well\n"),
        Err(reason @ Unwell::Url(_)) => super::refuse(reason),
        Err(reason) => super::fail(reason),
    }
}

fn ask(url: &str) -> Result<(), Unwell> {
    let rest = url.strip_prefix("http://").ok_or(Unwell::Url("it should begin with http://"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "health"));
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Unwell::Url("it holds blanks or control characters"));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let status = status_line(&host, &format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"))
        .map_err(|error| Unwell::Unreachable(host, error))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(Unwell::Answer(status)),
    }
}

fn status_line(host: &str, request: &str) -> io::Result<String> {
    let addresses: Vec<SocketAddr> = host.to_socket_addrs()?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return exchange(stream, request),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, request: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
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
            Self::Unreachable(host, error) => write!(f, "no answer from {host}: {error}; is the server running there?"),
            Self::Answer(status) => write!(f, "the server answered {status:?} instead of 200"),
        }
    }
}

/// A health check that takes longer is a failed one; container platforms give up at about this time as well.
const PATIENCE: Duration = Duration::from_secs(3);
/// The status line is all that counts.
const HEAD_BYTES_MAX: usize = 512;
