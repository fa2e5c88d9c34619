//! Where a client comes from: what the system says, or a proxy that is believed.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};

use crate::config::{HttpServer, UNIX};
use crate::net::arrival::Peer;
use crate::util::network::Network;

/// The proxies that are believed when they say for whom they ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    networks: Vec<Network>,
    unix: bool,
}

/// Where each proxy adds whom it was asked by, behind what it was told of others.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Where one says for whom it asks.
const REAL_IP: &str = "x-real-ip";

impl Proxies {
    pub(crate) fn new(options: &HttpServer) -> Self {
        let listed = &options.trusted_proxies;
        // What the configuration lets through is a network, or this word.
        Self {
            networks: listed.iter().filter_map(|it| it.parse().ok()).collect(),
            unix: listed.iter().any(|it| it == UNIX),
        }
    }

    /// Whether this is one of them.
    pub(crate) fn are(&self, peer: Peer) -> bool {
        peer.ip().map_or(self.unix, |address| self.has(address))
    }

    fn has(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The address of who asks: the nearest that no proxy of ours has. What stands further away anybody can have written, and where
    /// the peer is no proxy of ours nothing is read. `None` where none is known.
    pub(crate) fn client_address(&self, peer: Peer, headers: &HeaderMap) -> Option<IpAddr> {
        let mut nearest = peer.ip();
        if !self.are(peer) {
            return nearest;
        }
        let mut told = headers.get_all(FORWARDED_FOR).iter().peekable();
        if told.peek().is_none() {
            let mut told = headers.get_all(REAL_IP).iter();
            return match (told.next().and_then(|it| it.to_str().ok()).and_then(address), told.next()) {
                (Some(address), None) => Some(address),
                _ => nearest,
            };
        }
        let lines: Vec<&HeaderValue> = told.collect();
        for line in lines.into_iter().rev() {
            // One that cannot be read hides all that stands before it.
            let Ok(line) = line.to_str() else { return nearest };
            for entry in line.rsplit(',') {
                let Some(address) = address(entry) else { return nearest };
                nearest = Some(address);
                if !self.has(address) {
                    return nearest;
                }
            }
        }
        nearest
    }
}

/// An address as proxies write it, some with a port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let alone = entry.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')).unwrap_or(entry);
    let with_port = || entry.parse::<std::net::SocketAddr>().map(|it| it.ip()).ok();
    alone.parse::<IpAddr>().ok().or_else(with_port).map(|it| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let trusted_proxies = ["10.0.0.0/8", "2001:db8::/32", UNIX].map(str::to_owned).to_vec();
        let options = HttpServer { trusted_proxies, ..HttpServer::default() };
        let peer = if peer == UNIX { Peer::Unix } else { Peer::Tcp(format!("{peer}:1").parse().unwrap()) };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Proxies::new(&options).client_address(peer, &map).map_or_else(String::new, |it| it.to_string())
    }

    #[test]
    fn a_proxy_is_believed_and_nobody_else() {
        let forged =
            [("x-forwarded-for", "198.51.100.1"), ("x-real-ip", "198.51.100.1"), ("forwarded", "for=198.51.100.1")];
        assert_eq!(found("203.0.113.7", &forged), "203.0.113.7", "it is no proxy of ours");
        assert_eq!(found("10.0.0.1", &[("x-forwarded-for", "203.0.113.7")]), "203.0.113.7");
        assert_eq!(found("10.0.0.1", &[("x-real-ip", "203.0.113.7")]), "203.0.113.7");
        assert_eq!(found(UNIX, &[("x-forwarded-for", "203.0.113.7")]), "203.0.113.7");
        assert_eq!(found(UNIX, &[]), "");
        assert_eq!(
            found("10.0.0.1", &[("true-client-ip", "203.0.113.7"), ("forwarded", "for=203.0.113.7")]),
            "10.0.0.1"
        );
    }

    #[test]
    fn what_a_client_has_written_itself_is_not_read() {
        let told = |line: &'static str| found("10.0.0.1", &[("x-forwarded-for", line)]);
        assert_eq!(told("198.51.100.1, 203.0.113.7"), "203.0.113.7", "the nearest that is no proxy");
        assert_eq!(told("198.51.100.1, 203.0.113.7, 10.0.0.2, 2001:db8::9"), "203.0.113.7");
        assert_eq!(told("10.0.0.3, 10.0.0.2"), "10.0.0.3", "proxies alone");
        assert_eq!(told("203.0.113.7, nonsense"), "10.0.0.1");
        assert_eq!(told("203.0.113.7, nonsense, 10.0.0.2"), "10.0.0.2");
        assert_eq!(told("203.0.113.7:8080"), "203.0.113.7");
        assert_eq!(told("[2001:db9::1]:8080"), "2001:db9::1");
        assert_eq!(told("::ffff:203.0.113.7"), "203.0.113.7");
        let lines = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(found("10.0.0.1", &lines), "203.0.113.7", "the last line is the nearest");
        assert_eq!(found("10.0.0.1", &[("x-real-ip", "203.0.113.7"), ("x-real-ip", "198.51.100.1")]), "10.0.0.1");
        let both = [("x-forwarded-for", "203.0.113.7"), ("x-real-ip", "198.51.100.1")];
        assert_eq!(found("10.0.0.1", &both), "203.0.113.7");
    }
}
