//! What the name of a room says beside its name: the namespace, whether only a token opens it, and for which users it is.

/// The signs in names of rooms: `$chat:dialog#42,43`. An empty one is in no name.
///
/// ```
/// use roomcast_server::config::ChannelSyntax;
///
/// let syntax = ChannelSyntax::default();
/// assert_eq!(syntax.namespace_of("$chat:dialog#42,43"), "chat");
/// assert_eq!(syntax.users_of("$chat:dialog#42,43").unwrap().collect::<Vec<_>>(), ["42", "43"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelSyntax {
    /// Starts the names of rooms that only a subscription token opens, before their namespace. Default `$`.
    pub private_prefix: String,
    /// Divides a namespace from the rest of the name. Default `:`.
    pub namespace_boundary: String,
    /// Stands before the ids of the users whom a room is for. Default `#`.
    pub user_boundary: String,
    /// Stands between these ids. Default `,`.
    pub user_separator: String,
}

impl Default for ChannelSyntax {
    fn default() -> Self {
        let [private_prefix, namespace_boundary, user_boundary, user_separator] =
            ["$", ":", "#", ","].map(str::to_owned);
        Self { private_prefix, namespace_boundary, user_boundary, user_separator }
    }
}

impl ChannelSyntax {
    /// The namespace in a name, empty where there is none, and the rest of the name: for no namespace has an empty name.
    #[must_use]
    pub fn divide<'a>(&self, room: &'a str) -> (&'a str, &'a str) {
        let name = match room.strip_prefix(&*self.private_prefix) {
            Some(name) => name,
            None => room,
        };
        split_once(name, &self.namespace_boundary).unwrap_or(("", room))
    }

    /// The namespace in a name; empty where there is none.
    #[must_use]
    pub fn namespace_of<'a>(&self, room: &'a str) -> &'a str {
        self.divide(room).0
    }

    /// Whether a room of that name is private: whether a token is to open it.
    #[must_use]
    pub fn is_private(&self, room: &str) -> bool {
        !self.private_prefix.is_empty() && room.starts_with(&*self.private_prefix)
    }

    /// The users that stand behind a name; nothing where none do. Whether the room is for them alone, its namespace says.
    pub fn users_of<'a>(&'a self, room: &'a str) -> Option<impl Iterator<Item = &'a str>> {
        let boundary = Some(&*self.user_boundary).filter(|boundary| !boundary.is_empty())?;
        let (at, _) = room.match_indices(boundary).last()?;
        let mut rest = Some(&room[at + boundary.len()..]);
        Some(std::iter::from_fn(move || {
            let users = rest?;
            let (user, others) = match split_once(users, &self.user_separator) {
                Some((user, others)) => (user, Some(others)),
                None => (users, None),
            };
            rest = others;
            Some(user)
        }))
    }

    /// What the name of each user's own room begins with, in that namespace, before its user.
    pub(crate) fn personal_prefix(&self, namespace: &str) -> String {
        match namespace {
            "" => self.user_boundary.clone(),
            namespace => format!("{namespace}{}{}", self.namespace_boundary, self.user_boundary),
        }
    }

    /// The name of a user's own room, which begins with `prefix`; nothing where it would be a room of others, too, or one of another
    /// namespace.
    pub(crate) fn personal_room(&self, prefix: &str, user: &str) -> Option<String> {
        let room = format!("{prefix}{user}");
        let is_theirs = self.users_of(&room)?.eq([user]) && self.namespace_of(&room) == self.namespace_of(prefix);
        is_theirs.then_some(room)
    }
}

/// What stands before and after the first of these signs.
pub(super) fn split_once<'a>(text: &'a str, sign: &str) -> Option<(&'a str, &'a str)> {
    match *sign.as_bytes() {
        [] => None,
        // Every name is looked at, and nearly always for one of these.
        [byte] => text.split_once(char::from(byte)),
        _ => text.split_once(sign),
    }
}

/// Longer ones leave no name.
const SIGN_BYTES_MAX: usize = 16;

/// A sign as it is written, or the usual one where nothing is: as at Centrifugo, an empty text does not open what has a sign.
pub(super) fn sign(written: String, usual: &str) -> Result<String, String> {
    if written.is_empty() {
        return Ok(usual.to_owned());
    }
    match written.len() <= SIGN_BYTES_MAX && !written.chars().any(char::is_control) {
        true => Ok(written),
        false => Err(format!("expected a sign of {SIGN_BYTES_MAX} bytes at most, without control characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syntax(private: &str, namespace: &str, user: &str, separator: &str) -> ChannelSyntax {
        let [private_prefix, namespace_boundary, user_boundary, user_separator] =
            [private, namespace, user, separator].map(str::to_owned);
        ChannelSyntax { private_prefix, namespace_boundary, user_boundary, user_separator }
    }

    fn users(syntax: &ChannelSyntax, room: &str) -> Option<Vec<String>> {
        Some(syntax.users_of(room)?.map(str::to_owned).collect())
    }

    fn some(users: &[&str]) -> Option<Vec<String>> {
        Some(users.iter().map(|user| (*user).to_owned()).collect())
    }

    #[test]
    fn the_first_boundary_divides_and_a_private_prefix_is_before_it() {
        let plain = ChannelSyntax::default();
        for (room, divided) in [
            ("chat:1", ("chat", "1")),
            ("chat:1:2", ("chat", "1:2")),
            ("$chat:1", ("chat", "1")),
            ("$1", ("", "$1")),
            ("chat", ("", "chat")),
            (":1", ("", "1")),
            ("$$chat:1", ("$chat", "1")),
        ] {
            assert_eq!(plain.divide(room), divided, "{room}");
        }
        let other = syntax("private/", "::", "", "");
        assert_eq!(other.divide("private/chat::a:b"), ("chat", "a:b"));
        assert_eq!(other.divide("chat:a"), ("", "chat:a"));
        assert!(other.is_private("private/a") && !other.is_private("$a") && !other.is_private("privat"));
    }

    #[test]
    fn an_empty_sign_is_in_no_name() {
        let none = syntax("", "", "", "");
        for room in ["$chat:1#42,43", "", "a"] {
            assert_eq!(none.divide(room), ("", room));
            assert!(!none.is_private(room));
            assert_eq!(users(&none, room), None);
        }
        assert_eq!(users(&syntax("$", ":", "#", ""), "a#42,43"), some(&["42,43"]));
    }

    #[test]
    fn users_stand_behind_the_last_boundary() {
        let plain = ChannelSyntax::default();
        assert_eq!(users(&plain, "a"), None);
        assert_eq!(users(&plain, "a#"), some(&[""]));
        assert_eq!(users(&plain, "a#1#2,3,"), some(&["2", "3", ""]));
        let other = syntax("$", ":", "##", "ab");
        assert_eq!(users(&other, "r##1ab2"), some(&["1", "2"]));
        assert_eq!(users(&other, "r###1"), some(&["#1"]), "as the signs are found from the left");
        assert_eq!(users(&other, "r#1"), None);
    }

    #[test]
    fn a_room_of_ones_own_is_nobody_elses() {
        let plain = ChannelSyntax::default();
        assert_eq!(plain.personal_prefix("own"), "own:#");
        assert_eq!(plain.personal_room("own:#", "42").as_deref(), Some("own:#42"));
        assert_eq!(plain.personal_room("#", "a:b"), None, "it would be a room of the namespace #a");
        for user in ["a,b", "a#b", "#", ","] {
            assert_eq!(plain.personal_room("#", user), None, "{user}");
        }
        let other = syntax("~", "/", "@@", ";");
        let prefix = other.personal_prefix("own");
        assert_eq!(other.personal_room(&prefix, "a,b#c@d").as_deref(), Some("own/@@a,b#c@d"));
        for user in ["a;b", "a@@b"] {
            assert_eq!(other.personal_room(&prefix, user), None, "{user}");
        }
        assert_eq!(syntax("$", ":", "", "").personal_room("", "chat:lobby"), None, "no name is for one user");
    }

    #[test]
    fn a_sign_can_stand_in_a_name() {
        for good in ["$", "->", "ä", &"x".repeat(SIGN_BYTES_MAX)] {
            assert_eq!(sign(good.to_owned(), "#").as_deref(), Ok(good));
        }
        assert_eq!(sign(String::new(), "#").as_deref(), Ok("#"), "nothing was said");
        for bad in ["\n", "a\0", &"x".repeat(SIGN_BYTES_MAX + 1)] {
            assert!(sign(bad.to_owned(), "#").is_err(), "{bad:?}");
        }
    }
}
