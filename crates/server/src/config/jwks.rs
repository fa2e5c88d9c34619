//! Where an issuer of tokens publishes its keys: an address, parts of which a token may choose among values that are written down.

use std::fmt;

use regex::Regex;

use super::render::without_query;
use super::url::http_url;

/// An address with places for what a named group of an expression finds in a token: `https://id.example/{{tenant}}/keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksEndpoint {
    written: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The name of a group.
    Group(String),
}

impl JwksEndpoint {
    /// Leaves out what may be a key, where it is shown to people.
    pub(super) fn hide_query(&mut self) {
        if let Some(shown) = without_query(&self.written) {
            self.written = shown;
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(written: &str) -> Result<Self, String> {
        let expected = "expected an address such as \"https://id.example/jwks.json\", with {{name}} where a group of \
                        `issuer_regex` or `audience_regex` says what stands there, and without a user, a password or a fragment";
        let parts = parts(written).ok_or(expected)?;
        let endpoint = Self { written: written.to_owned(), parts };
        // A value like many others, to see what it makes of it.
        match endpoint.url(|_| Some("x".to_owned())) {
            Some(_) => Ok(endpoint),
            None => Err(expected.to_owned()),
        }
    }

    /// As it is written.
    pub(super) fn written(&self) -> &str {
        &self.written
    }

    /// The names of the groups that it takes values of.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Group(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The address for these values of its groups; nothing where one is missing, or would make it another one.
    pub(crate) fn url(&self, value: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut url = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Group(name) => url.push_str(&value(name).filter(|value| is_plain(value))?),
            }
        }
        is_address(&url).then_some(url)
    }
}

/// Whether it stands for nothing but itself wherever it is put into an address.
fn is_plain(value: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !value.is_empty() && value.bytes().all(fits) && value.bytes().any(|byte| byte != b'.') && !value.contains("..")
}

/// Whether it can be asked, and leads where it seems to.
fn is_address(url: &str) -> bool {
    let Ok(uri) = http_url(url) else { return false };
    !uri.path().split('/').skip(1).any(|part| matches!(part, "." | "..")) && !uri.path().contains("//")
}

fn parts(written: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}")?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(fits) {
            return None;
        }
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Group(name.to_owned()));
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Some(parts)
}

/// Whether an expression has a group of that name.
pub(super) fn has_group(expression: &Regex, name: &str) -> bool {
    expression.capture_names().flatten().any(|known| known == name)
}

/// What a group may find, where it is a choice between texts: `(?P<name>one|other)`. Nothing where it may find more.
pub(crate) fn choices(expression: &Regex, name: &str) -> Option<Vec<String>> {
    let text = expression.as_str();
    let rest = ["(?P<", "(?<"].iter().find_map(|begin| text.split_once(&format!("{begin}{name}>")))?.1;
    let (choice, _) = rest.split_once(')')?;
    choice.split('|').map(literal).collect()
}

/// The one text that a part of an expression stands for.
fn literal(expression: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().filter(|escaped| matches!(escaped, '.' | '-' | '_' | '~'))?),
            character if character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '~') => {
                text.push(character)
            }
            _ => return None,
        }
    }
    is_plain(&text).then_some(text)
}

impl fmt::Display for JwksEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_http_and_hides_nothing() {
        for good in ["https://id.example/jwks.json", "http://127.0.0.1:9000/keys?a=b", "https://{{t}}.example/{{u}}/k"]
        {
            assert_eq!(JwksEndpoint::read(good).unwrap().written(), good);
        }
        for bad in [
            "",
            "id.example/keys",
            "ftp://id.example/keys",
            "file:///etc/passwd",
            "https://user:hush@id.example/keys",
            "https://id.example/a/../b",
            "https://id.example//b",
            "https://id.example/keys#x",
            "https://id.example/{{a",
            "https://id.example/{{a b}}",
            "https://id.example/{{}}",
            "https:///keys",
        ] {
            assert!(JwksEndpoint::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_value_leads_elsewhere() {
        let endpoint = JwksEndpoint::read("https://id.example/realms/{{realm}}/keys").unwrap();
        let url = |value: &str| endpoint.url(|_| Some(value.to_owned()));
        assert_eq!(url("shop-1").as_deref(), Some("https://id.example/realms/shop-1/keys"));
        for bad in ["", ".", "..", "a/../b", "a/b", "a?b", "a#b", "a@b", "a%2fb", "a:b", "a\\b", "a b", "ä", "a..b"] {
            assert_eq!(url(bad), None, "{bad}");
        }
        assert_eq!(endpoint.url(|_| None), None);
        let host = JwksEndpoint::read("https://{{host}}/keys").unwrap();
        for bad in ["evil.example/x", "evil.example:80", "a@evil.example", ".", "-.@"] {
            assert_eq!(host.url(|_| Some(bad.to_owned())), None, "{bad}");
        }
    }

    #[test]
    fn choices_are_told_from_what_may_find_anything() {
        let of = |expression: &str| choices(&Regex::new(expression).unwrap(), "t");
        let texts = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of("^https://(?P<t>shop|forum)$"), texts(&["shop", "forum"]));
        assert_eq!(of(r"^(?<t>a\.example|b\-c)$"), texts(&["a.example", "b-c"]));
        for open in
            ["(?P<t>.*)", "(?P<t>a.b)", "(?P<t>[a-z]+)", "(?P<t>(a|b))", "(?P<t>a|)", "(?P<t>a+)", r"(?P<t>\w)", "(a)"]
        {
            assert_eq!(of(open), None, "{open}");
        }
    }
}
