//! Who may ask for what: all rules about the name that a server is reached by and the page that a request comes from.
//!
//! A browser sends requests for any page, with the rights of whoever sits before it; these rules tell such requests from those of
//! our own pages. Programs that are no browsers name no page, and are not concerned.

use std::str::FromStr as _;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};

use crate::config::Config;
use crate::config::origin::{Hosts, Origins};
use crate::net::http::Refusal;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To hear whether the server is well, which tells nobody anything: probes know no names.
    Health,
    /// To read what is there.
    Read,
    /// To connect, or to say something on a connection.
    Connect,
    /// To command the server, which is no business of pages, whichever may connect.
    Command,
}

/// The rules of one server.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    origins: Origins,
    /// Its own alone.
    own_origins: Origins,
    hosts: Hosts,
    dev: bool,
    /// The header in which a proxy says whose a client is.
    user_header: Option<HeaderName>,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            origins: Origins::new(&config.client.allowed_origins, config.dev),
            own_origins: Origins::new(&[], config.dev),
            hosts: Hosts::new(&config.http_server.allowed_hosts, config.dev && !config.dev_anywhere),
            dev: config.dev,
            // What the configuration lets through is a name of a header.
            user_header: config.client.user_id_http_header.as_deref().and_then(|name| name.parse().ok()),
        }
    }

    /// Whose the client is, by a proxy that is believed; nobody's where it says so twice: one of them is not the proxy's.
    pub(crate) fn user(&self, headers: &HeaderMap) -> Option<String> {
        let mut users = headers.get_all(self.user_header.as_ref()?).iter();
        match (users.next().map(HeaderValue::to_str), users.next()) {
            (Some(Ok(user)), None) if !user.is_empty() => Some(user.to_owned()),
            _ => None,
        }
    }

    /// Whether a request may be answered; otherwise with what it is refused. `target` is the authority that its first line
    /// names, which goes before its `Host`.
    pub(crate) fn admit(
        &self,
        purpose: Purpose,
        version: Version,
        target: Option<&Authority>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let named = named_host(version, target, headers)?;
        let host = target.map(Authority::as_str).or(named);
        // A name that somebody else's DNS points here makes their page look like one of ours.
        if purpose != Purpose::Health && !host.is_none_or(|host| self.hosts.allow(host)) {
            return Err((StatusCode::MISDIRECTED_REQUEST, if self.dev { DEV_HOST_ADVICE } else { HOST_ADVICE }));
        }
        match purpose {
            Purpose::Connect if !admits_page(&self.origins, host, headers) => {
                Err((StatusCode::FORBIDDEN, ORIGIN_ADVICE))
            }
            Purpose::Command if !admits_page(&self.own_origins, host, headers) => {
                Err((StatusCode::FORBIDDEN, COMMAND_ADVICE))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the page a request comes from is of one of these origins, or it comes from none.
fn admits_page(allowed: &Origins, host: Option<&str>, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next().map(HeaderValue::to_str), origins.next()) {
        (Some(Ok(origin)), None) => allowed.allow(origin, host),
        (Some(_), _) => false,
        // Pictures and links are asked for without an origin; who asks tells itself here.
        (None, _) => headers.get_all(SEC_FETCH_SITE).iter().all(|site| OWN_SITES.contains(&site.as_bytes())),
    }
}

/// The one host that a request names.
fn named_host<'a>(
    version: Version,
    target: Option<&Authority>,
    headers: &'a HeaderMap,
) -> Result<Option<&'a str>, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let host = host.to_str().ok().filter(|host| !host.contains('@') && Authority::from_str(host).is_ok());
            host.map(Some)
                .ok_or((StatusCode::BAD_REQUEST, "`Host` must be a name or an address, perhaps with a port\n"))
        }
        // Older than the header.
        (None, _) if version < Version::HTTP_11 => Ok(None),
        // HTTP/2 has it in the first line, so to speak.
        (None, _) if version == Version::HTTP_2 && target.is_some() => Ok(None),
        _ => Err((StatusCode::BAD_REQUEST, "send one `Host`\n")),
    }
}

/// How a page is related to what it asks for, by its browser.
const SEC_FETCH_SITE: &str = "sec-fetch-site";
/// From our own page, or typed by a person.
const OWN_SITES: [&[u8]; 2] = [b"same-origin", b"none"];

const ORIGIN_ADVICE: &str = "pages from this origin may not connect: add it to `allowed_origins` \
     in section `[client]` of the configuration\n";
const COMMAND_ADVICE: &str = "pages of other origins may not command the server: send it from a backend\n";
const HOST_ADVICE: &str = "this server is not reached by that name: add it to `allowed_hosts` \
     in section `[http_server]` of the configuration\n";
const DEV_HOST_ADVICE: &str = "development mode answers to names of this machine only, such as localhost and 127.0.0.1: \
     use one of them, or add --dev-anywhere if others are to reach it\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(change: impl FnOnce(&mut Config)) -> Admission {
        let mut config = Config::default();
        change(&mut config);
        Admission::new(&config)
    }

    #[test]
    fn no_page_of_another_origin_commands_whichever_may_connect() {
        let all = admission(|config| config.client.allowed_origins = vec!["*".to_owned()]);
        let foreign = [("host", "chat.example"), ("origin", "https://evil.example")];
        assert_eq!(status(&all, Purpose::Connect, &foreign), 200);
        assert_eq!(status(&all, Purpose::Command, &foreign), 403);
        assert_eq!(status(&all, Purpose::Command, &[("host", "chat.example"), ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(status(&all, Purpose::Command, &[("host", "chat.example")]), 200, "a backend");
    }

    fn status(admission: &Admission, purpose: Purpose, headers: &[(&'static str, &'static str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        admission.admit(purpose, Version::HTTP_11, None, &map).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn a_request_names_one_host() {
        let admission = admission(|_| {});
        let told = |headers: &[(&'static str, &'static str)]| status(&admission, Purpose::Health, headers);
        assert_eq!(told(&[("host", "a")]), 200);
        assert_eq!(told(&[("host", "[::1]:8000")]), 200);
        assert_eq!(told(&[]), 400);
        assert_eq!(told(&[("host", "a"), ("host", "a")]), 400);
        for wrong in ["", "a b", "me@a", "a/b", "http://a"] {
            assert_eq!(told(&[("host", wrong)]), 400, "{wrong}");
        }
        let admitted = admission.admit(Purpose::Read, Version::HTTP_10, None, &HeaderMap::new());
        assert_eq!(admitted, Ok(()), "older than the header");
    }

    #[test]
    fn development_mode_is_reached_by_names_of_this_machine() {
        let dev = admission(|config| config.dev = true);
        for (host, expected) in [
            ("localhost:8000", 200),
            ("127.0.0.1", 200),
            ("[::1]:8000", 200),
            ("app.localhost", 200),
            ("LOCALHOST.", 200),
            ("rebound.example:8000", 421),
            ("localhost.evil.example", 421),
            ("192.168.0.7:8000", 421),
        ] {
            assert_eq!(status(&dev, Purpose::Read, &[("host", host)]), expected, "{host}");
            assert_eq!(status(&dev, Purpose::Health, &[("host", host)]), 200, "{host}");
        }
        let target = Authority::from_static("rebound.example");
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        let refused = dev.admit(Purpose::Read, Version::HTTP_11, Some(&target), &headers).unwrap_err();
        assert_eq!(refused.0, StatusCode::MISDIRECTED_REQUEST, "the first line says where it goes");
        let anywhere = admission(|config| (config.dev, config.dev_anywhere) = (true, true));
        assert_eq!(status(&anywhere, Purpose::Connect, &[("host", "any.example")]), 200);
    }

    #[test]
    fn elsewhere_a_list_of_names_holds_where_there_is_one() {
        let open = admission(|_| {});
        assert_eq!(status(&open, Purpose::Read, &[("host", "any.example")]), 200);
        let names = ["chat.example", "*.chat.example"].map(str::to_owned).to_vec();
        let listed = admission(|config| config.http_server.allowed_hosts = names);
        for (host, expected) in [
            ("Chat.example:443", 200),
            ("eu.chat.example", 200),
            ("127.0.0.1:8000", 200),
            ("chat.example.evil.test", 421),
            ("evilchat.example", 421),
        ] {
            assert_eq!(status(&listed, Purpose::Read, &[("host", host)]), expected, "{host}");
        }
    }

    #[test]
    fn a_browser_says_for_whom_it_asks() {
        let admission = admission(|config| config.client.allowed_origins = vec!["https://page.example".to_owned()]);
        let asked = |more: &[(&'static str, &'static str)]| {
            status(&admission, Purpose::Connect, &[&[("host", "chat.example")], more].concat())
        };
        assert_eq!(asked(&[]), 200, "a program");
        assert_eq!(asked(&[("sec-fetch-site", "none")]), 200);
        assert_eq!(asked(&[("sec-fetch-site", "same-origin")]), 200);
        for other in ["cross-site", "same-site", "what comes next"] {
            assert_eq!(asked(&[("sec-fetch-site", other)]), 403, "{other}");
            assert_eq!(asked(&[("sec-fetch-site", other), ("origin", "https://page.example")]), 200, "{other}");
            assert_eq!(asked(&[("sec-fetch-site", other), ("origin", "https://evil.example")]), 403, "{other}");
        }
        let two = [("origin", "https://page.example"), ("origin", "https://evil.example")];
        assert_eq!(asked(&two), 403);
        let cross = [("host", "chat.example"), ("sec-fetch-site", "cross-site")];
        assert_eq!(status(&admission, Purpose::Read, &cross), 200, "a link to the page");
    }
}
