//! Where a server is, as URLs say it, read strictly: what is not where it belongs may be part of the password, and would be shown
//! as something else.

/// The parts of `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    /// One host and port, or several with commas between.
    pub(super) hosts: &'a str,
    /// Its name; empty where the URL names none.
    pub(super) database: &'a str,
}

impl<'a> Address<'a> {
    /// Whether this is a URL at all, and not words as libpq has them.
    pub(super) fn is_url(text: &str) -> bool {
        without_scheme(text).is_some()
    }

    /// `None` where a part holds something that would begin another one.
    pub(super) fn of(url: &'a str) -> Option<Self> {
        let rest = without_scheme(url)?;
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        if parameters.contains('@') && !place.contains('@') {
            // The question mark was part of the password.
            return None;
        }
        let (credentials, place) = place.rsplit_once('@').unwrap_or(("", place));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let must_be_escaped = |c: char| c.is_whitespace() || c.is_control() || "@/?#[]".contains(c);
        let is_plain = !credentials.contains(must_be_escaped)
            && !database.contains(must_be_escaped)
            && hosts.split(',').all(is_host);
        is_plain.then_some(Address { hosts, database })
    }
}

/// A URL of a database, to be shown to people: of its parts the hosts and the database, and nothing of one that cannot be read.
pub fn without_password(url: &str) -> String {
    match Address::of(url) {
        Some(Address { hosts, database }) => format!("postgresql://…@{hosts}/{database}"),
        None => "…".to_owned(),
    }
}

fn without_scheme(url: &str) -> Option<&str> {
    url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"))
}

/// A name or an address, and a port.
fn is_host(host: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, port)) => {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        }
        None => {
            let (name, port) = host.split_once(':').unwrap_or((host, "5432"));
            !name.contains(|c: char| !is_of_names(c) && c != '%') && is_port(port)
        }
    }
}

/// Whether a character may be in the name of a host.
pub(super) fn is_of_names(c: char) -> bool {
    c.is_alphanumeric() || ".-_:".contains(c)
}
