//! Where a connection came in, and what is served there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;

use crate::config::Config;
use crate::net::address::Proxies;
use crate::net::autocert::Autocert;
use crate::net::certificates::Certificates;

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Everybody: there is no other.
    Everything,
    /// Clients: their transports and the page.
    External,
    /// The operator and the backend: the server API, metrics and health.
    Internal,
}

impl Role {
    pub(crate) fn serves_clients(self) -> bool {
        self != Self::Internal
    }

    pub(crate) fn serves_inside(self) -> bool {
        self != Self::External
    }

    pub(crate) fn serves_api(self, config: &Config) -> bool {
        self.serves_inside() || config.http_api.external
    }

    /// What it is called in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Everything | Self::External => "external",
            Self::Internal => "internal",
        }
    }
}

/// A way in: what all connections of one listener have in common.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) role: Role,
    /// What TLS is spoken with; nothing where it is not.
    pub(crate) tls: Option<Arc<Certificates>>,
    /// Who knows what authorities are answered that ask whether a name leads here.
    pub(crate) autocert: Option<Arc<Autocert>>,
    /// Who is believed when it says for whom it asks.
    pub(crate) proxies: Arc<Proxies>,
    /// Whether connections come from these alone, and begin with their header.
    pub(crate) expects_header: bool,
}

/// Who is at the other end of a socket, as the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    /// A process of this machine.
    Unix,
}

impl Peer {
    /// Its address, if it has one.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            // One of IPv4 that came to a socket of IPv6 is the same one.
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }
}

/// How a connection came in.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) way: Arc<Way>,
    /// Who is at the other end, or for whom that one has said that it has connected.
    pub(crate) peer: Peer,
}

impl Arrival {
    /// The address that its connection is counted for before anything is asked on it: whom a proxy asks for is known when it has said so.
    pub(crate) fn connected_from(&self) -> Option<IpAddr> {
        self.peer.ip().filter(|_| !self.way.proxies.are(self.peer))
    }

    /// The address of who asks; `None` where none is known. No other is counted or logged.
    pub(crate) fn client_address(&self, headers: &HeaderMap) -> Option<IpAddr> {
        self.way.proxies.client_address(self.peer, headers)
    }

    /// The same where it may be another than was known when the connection came.
    pub(crate) fn forwarded_address(&self, headers: &HeaderMap) -> Option<IpAddr> {
        self.way.proxies.are(self.peer).then(|| self.client_address(headers)).flatten()
    }
}
