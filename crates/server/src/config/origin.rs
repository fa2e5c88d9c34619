//! Which web pages may open a connection, and by which names they may have reached the server.
//!
//! A browser tells where a page came from, and would let any page connect. Programs send no origin and are not concerned.

use std::net::IpAddr;

/// The origins that may connect to one server.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    patterns: Vec<String>,
    dev: bool,
}

impl Origins {
    /// `patterns` are origins such as `https://chat.example`, `*` standing for any run of characters. In development mode
    /// every page of this machine may connect, too.
    pub(crate) fn new(patterns: &[String], dev: bool) -> Self {
        let patterns = patterns.iter().map(|p| normal_origin(p).unwrap_or_else(|_| p.to_ascii_lowercase())).collect();
        Self { patterns, dev }
    }

    /// Whether a page from `origin` may connect to a server that it reached as `host`.
    pub(crate) fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        let parts = origin.split_once("://");
        let authority = parts.map(|(_, authority)| authority);
        let same_host = match (parts, host) {
            (Some((scheme, authority)), Some(host)) => {
                without_default_port(scheme, authority).eq_ignore_ascii_case(without_default_port(scheme, host))
            }
            _ => false,
        };
        // Naming origins replaces the rule for pages served from here.
        let by_default = self.patterns.is_empty() && same_host;
        by_default
            || self.dev && (same_host || authority.is_some_and(is_loopback))
            || self.patterns.iter().any(|pattern| matches(pattern, &origin))
    }
}

/// The names by which one server may be reached.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    patterns: Vec<String>,
    only_this_machine: bool,
}

impl Hosts {
    /// `patterns` are names such as `chat.example`, `*` standing for any run of characters; without any, all names are
    /// good, or those of this machine alone. These are always good: no page of another's has such a name.
    pub(crate) fn new(patterns: &[String], only_this_machine: bool) -> Self {
        Self { patterns: patterns.iter().map(|p| p.to_ascii_lowercase()).collect(), only_this_machine }
    }

    /// Whether the server may be reached as `host`, which may have a port.
    pub(crate) fn allow(&self, host: &str) -> bool {
        if self.patterns.is_empty() && !self.only_this_machine {
            return true;
        }
        let host = host.to_ascii_lowercase();
        is_loopback(&host) || self.patterns.iter().any(|pattern| matches(pattern, name_of(&host)))
    }
}

/// The origin as browsers write it, in lower case and without the port that goes without saying.
///
/// # Errors
/// What to write in its place, where no browser would ever send such an origin.
pub(crate) fn normal_origin(origin: &str) -> Result<String, String> {
    let lower = origin.to_ascii_lowercase();
    if lower == "*" || lower == "null" {
        return Ok(lower);
    }
    if let Some(blank) = origin.chars().find(|c| c.is_whitespace() || matches!(c, ',' | ';')) {
        return Err(format!("{origin:?} holds {blank:?}: write each origin as an entry of its own"));
    }
    if !origin.is_ascii() {
        return Err(format!("{origin:?}: browsers send names of other scripts in ASCII; write it as https://xn--…"));
    }
    let Some((scheme, rest)) = lower.split_once("://") else {
        let name = lower.split('/').next().unwrap_or_default();
        return Err(format!("{origin:?} has no scheme: write \"https://{name}\", or \"*\" for all"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let bare = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let no_page = || Err(format!("{origin:?} names no page: write for example \"https://example.com\""));
    if bare.is_empty() || scheme.is_empty() {
        return no_page();
    }
    let normal = format!("{scheme}://{}", without_default_port(scheme, bare));
    if bare != rest {
        return Err(format!("{origin:?} is more than an origin: write \"{normal}\", without path and user"));
    }
    let is_port = |port: &str| port.contains('*') || port.parse::<u16>().is_ok();
    // Colons in brackets belong to an address.
    let wrong_port = bare.rsplit_once(':').is_some_and(|(host, port)| {
        !port.contains(']') && (!is_port(port) || host.contains(':') && !host.ends_with(']'))
    });
    if wrong_port {
        return Err(format!(
            "{origin:?} has a port that is none: write for example \"{scheme}://{}:8080\"",
            name_of(bare)
        ));
    }
    if name_of(bare).is_empty() { no_page() } else { Ok(normal) }
}

/// The name of a host in lower case.
///
/// # Errors
/// What to write in its place, where no `Host` would ever be that.
pub(crate) fn normal_host(host: &str) -> Result<String, String> {
    let lower = host.to_ascii_lowercase();
    let rest = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let name = name_of(rest.split(['/', '?', '#', ',', ' ', ';']).next().unwrap_or_default());
    if name.is_empty() || !lower.is_ascii() {
        return Err(format!("{host:?} is no name of a host: write for example \"chat.example\""));
    }
    if name != lower { Err(format!("{host:?} is more than a name: write {name:?}")) } else { Ok(lower) }
}

/// Whether `host[:port]` names this machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = name_of(authority);
    let host = host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The host of `host[:port]`, without the dot that says that a name is whole.
fn name_of(authority: &str) -> &str {
    let host = match authority.find(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or(authority),
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// Browsers leave out the port that a scheme implies.
fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Whether `text` fits `pattern`, in time proportional to the product of their lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(patterns: &[&str], dev: bool) -> Origins {
        let patterns: Vec<String> = patterns.iter().map(|&p| p.into()).collect();
        Origins::new(&patterns, dev)
    }

    #[test]
    fn without_patterns_only_pages_served_from_here_may_connect() {
        let origins = origins(&[], false);
        assert!(origins.allow("https://chat.example", Some("chat.example")));
        assert!(origins.allow("http://Chat.example:8000", Some("chat.EXAMPLE:8000")));
        assert!(origins.allow("https://chat.example", Some("chat.example:443")));
        assert!(!origins.allow("https://chat.example", Some("chat.example:80")));
        assert!(!origins.allow("https://evil.example", Some("chat.example")));
        assert!(!origins.allow("http://localhost:3000", Some("chat.example")));
        assert!(!origins.allow("null", Some("null")));
        assert!(!origins.allow("https://chat.example", None));
    }

    #[test]
    fn patterns_name_the_pages_that_may_connect() {
        let origins = origins(&["https://*.example.com", "https://one.test:443"], false);
        assert!(origins.allow("https://a.example.com", None));
        assert!(origins.allow("https://a.b.example.com", None));
        assert!(origins.allow("https://ONE.test", None));
        for refused in [
            "https://example.com",
            "http://a.example.com",
            "https://a.example.com.evil.test",
            "https://one.test.evil.test",
            "xhttps://one.test",
            "null",
        ] {
            assert!(!origins.allow(refused, Some("one.test")), "{refused}");
        }
        assert!(Origins::new(&["*".into()], false).allow("https://any.test", None));
        assert!(Origins::new(&["null".into()], false).allow("null", Some("chat.example")));
    }

    #[test]
    fn in_development_pages_of_this_machine_may_connect() {
        let origins = origins(&[], true);
        for allowed in [
            "http://localhost:3000",
            "http://app.localhost",
            "http://127.0.0.1",
            "http://127.3.2.1:99",
            "http://[::1]:8080",
        ] {
            assert!(origins.allow(allowed, Some("127.0.0.1:8000")), "{allowed}");
        }
        for refused in ["http://localhost.evil.test", "http://128.0.0.1", "null"] {
            assert!(!origins.allow(refused, Some("127.0.0.1:8000")), "{refused}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for (written, normal) in [
            ("https://Chat.Example", "https://chat.example"),
            ("https://chat.example:443", "https://chat.example"),
            ("http://chat.example:80", "http://chat.example"),
            ("http://chat.example:443", "http://chat.example:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://*.example.com", "https://*.example.com"),
            ("http://localhost:*", "http://localhost:*"),
            ("*", "*"),
            ("null", "null"),
        ] {
            assert_eq!(normal_origin(written).as_deref(), Ok(normal), "{written}");
        }
        for (written, advice) in [
            ("example.com", "\"https://example.com\""),
            ("example.com/chat", "\"https://example.com\""),
            ("https://example.com/", "\"https://example.com\""),
            ("https://example.com:443/chat?x#y", "\"https://example.com\""),
            ("https://me@example.com", "\"https://example.com\""),
            ("https://", "\"https://example.com\""),
            ("https://:443", "\"https://example.com\""),
            ("https://:8080", "\"https://example.com\""),
            ("https://.", "\"https://example.com\""),
            ("https://a.example,https://b.example", "an entry of its own"),
            ("https://bücher.example", "xn--"),
            ("https://example.com:https", "\"https://example.com:8080\""),
            ("https://example.com:1:443", "\"https://example.com:8080\""),
            ("https://::1", "a port that is none"),
        ] {
            let error = normal_origin(written).unwrap_err();
            assert!(error.contains(advice) && error.contains(&format!("{written:?}")), "{error}");
        }
    }

    #[test]
    fn the_normal_form_of_an_origin_is_its_own() {
        const PARTS: [&str; 10] = ["a", ":", ":80", ":443", "[", "]", ".", "*", "@", "/"];
        let mut authorities = vec![String::new()];
        let mut normal = 0;
        for _ in 0..4 {
            authorities = authorities.iter().flat_map(|it| PARTS.map(|part| format!("{it}{part}"))).collect();
            for origin in authorities.iter().flat_map(|it| [format!("http://{it}"), format!("https://{it}")]) {
                if let Ok(form) = normal_origin(&origin) {
                    assert_eq!(normal_origin(&form).as_ref(), Ok(&form), "{origin}");
                    normal += 1;
                }
            }
        }
        assert!(normal > 500, "{normal}");
    }

    #[test]
    fn hosts_are_names_alone() {
        assert_eq!(normal_host("Chat.Example").as_deref(), Ok("chat.example"));
        assert_eq!(normal_host("*.chat.example").as_deref(), Ok("*.chat.example"));
        for wrong in ["https://chat.example/", "chat.example:8000", "chat.example/", "chat.example,b"] {
            let error = normal_host(wrong).unwrap_err();
            assert!(error.contains("write \"chat.example\""), "{error}");
        }
        assert!(normal_host("").is_err());
    }
}
