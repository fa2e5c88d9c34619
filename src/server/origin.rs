//! Which web pages may open a connection.
//!
//! A browser tells where a page came from, and would let any page connect. Programs send no origin and are not concerned.

use std::net::IpAddr;

/// The rule for one server.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    patterns: Vec<String>,
    dev: bool,
}

impl Origins {
    /// `patterns` are origins such as `https://chat.example`, `*` standing for any run of characters. In development mode
    /// every page of this machine may connect, too.
    pub(crate) fn new(patterns: &[String], dev: bool) -> Self {
        let patterns = patterns.iter().map(|p| p.to_ascii_lowercase()).collect();
        Self { patterns, dev }
    }

    /// Whether a page from `origin` may connect to a server that it reached as `host`.
    pub(crate) fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let same_host = match (authority, host) {
            (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
            _ => false,
        };
        // Naming origins replaces the rule for pages served from here.
        let by_default = self.patterns.is_empty() && same_host;
        by_default
            || self.dev && (same_host || authority.is_some_and(is_loopback))
            || self.patterns.iter().any(|pattern| matches(pattern, &origin))
    }
}

/// Whether `host[:port]` names this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.split(':').next().unwrap_or(authority),
    };
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
        assert!(!origins.allow("https://evil.example", Some("chat.example")));
        assert!(!origins.allow("http://localhost:3000", Some("chat.example")));
        assert!(!origins.allow("null", Some("null")));
        assert!(!origins.allow("https://chat.example", None));
    }

    #[test]
    fn patterns_name_the_pages_that_may_connect() {
        let origins = origins(&["https://*.example.com", "https://one.test"], false);
        assert!(origins.allow("https://a.example.com", None));
        assert!(origins.allow("https://a.b.example.com", None));
        assert!(origins.allow("https://ONE.test", None));
        for refused in [
            "https://example.com",
            "http://a.example.com",
            "https://a.example.com.evil.test",
            "https://one.test.evil.test",
            "xhttps://one.test",
        ] {
            assert!(!origins.allow(refused, Some("one.test")), "{refused}");
        }
        assert!(Origins::new(&["*".into()], false).allow("https://any.test", None));
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
}
