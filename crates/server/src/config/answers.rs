//! What becomes of each option that somebody has set, for a person who moves in with a file of Centrifugo's.

use std::fmt;

use super::error::Line;

/// What becomes of one option.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// File and line, or the variable.
    pub place: String,
    /// The option, with its section.
    pub key: String,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is served, or asks for nothing.
    Holds,
    /// It is taken over, or has no need to be, and something is not as in Centrifugo.
    Differs(&'static str),
    /// It is a part of another option that is not served.
    Unused(&'static str),
    /// It is not served, and the server starts without it.
    Missing(&'static str),
    /// It is not served, and the server does not start, unless it is told to go without.
    Refused(&'static str),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let Self { place, key, verdict } = self;
        let f = &mut Line(f);
        match verdict {
            Verdict::Holds => write!(f, "holds    {place}: `{key}`"),
            Verdict::Differs(how) => write!(f, "differs  {place}: `{key}`: {how}"),
            Verdict::Unused(of) => write!(f, "unused   {place}: `{key}`: a part of {of}"),
            Verdict::Missing(meaning) => write!(f, "missing  {place}: `{key}`: {meaning}"),
            Verdict::Refused(meaning) => write!(f, "refused  {place}: `{key}`: {meaning}"),
        }
    }
}

/// Options that are served and are not quite as in Centrifugo.
const DIFFERS: &[(&str, &str)] = &[
    (
        "client.allowed_origins",
        "`*` stands for any run of characters, and no other sign stands for more than itself; a list that is empty lets in the server's own pages",
    ),
    ("client.user_connection_limit", "without one a user has a quarter of all connections at most"),
    ("client.connection_rate_limit", "it is what it says: as many new connections in each second"),
    ("channel.max_length", "it counts bytes, not characters, and is 255 at most"),
    ("channel.namespaces.channel_regex", "names without one may have letters of any script"),
    ("http_server.address", "one that is empty is all addresses of IPv4, one that is not set is 127.0.0.1"),
    ("log.file", "a file that is full or a day old is set aside beside it, and the console is still written"),
    ("log.level", "levels can be set for single modules, too"),
];

/// What becomes of an option that is served.
pub(super) fn served(key: &str) -> Verdict {
    let key = key.replacen(".without_namespace", ".namespaces", 1);
    DIFFERS.iter().find(|(differs, _)| *differs == key).map_or(Verdict::Holds, |(_, how)| Verdict::Differs(how))
}

#[cfg(test)]
mod tests {
    use super::super::options::{ROOM, SECTIONS};
    use super::*;

    #[test]
    fn what_differs_is_served() {
        for (key, _) in DIFFERS {
            let (section, name) = key.rsplit_once('.').unwrap();
            let of_section = SECTIONS.iter().filter(|it| it.name == section).flat_map(|it| it.settings);
            let is_known = of_section.map(|setting| setting.key).any(|known| known == name)
                || (section == "channel.namespaces" && ROOM.iter().any(|setting| setting.key == name));
            assert!(is_known, "{key}");
        }
    }
}
