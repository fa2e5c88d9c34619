//! Regular expressions, which mean what they mean at Centrifugo.

use regex::Regex;

/// Reads an expression. `\d`, `\s` and `\w` stand for signs of ASCII, as in Go: where they stood for those of every script, a rule would
/// let in names that it keeps out there.
pub(super) fn read(written: &str) -> Option<Regex> {
    let mut text = String::with_capacity(written.len());
    let mut rest = written.chars();
    while let Some(sign) = rest.next() {
        if sign != '\\' {
            text.push(sign);
            continue;
        }
        match rest.next() {
            Some('d') => text.push_str("[0-9]"),
            Some('D') => text.push_str("[^0-9]"),
            Some('s') => text.push_str(r"[\t\n\f\r ]"),
            Some('S') => text.push_str(r"[^\t\n\f\r ]"),
            Some('w') => text.push_str("[0-9A-Za-z_]"),
            Some('W') => text.push_str("[^0-9A-Za-z_]"),
            other => text.extend(std::iter::once('\\').chain(other)),
        }
    }
    Regex::new(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_other_scripts_are_no_digits_letters_or_spaces() {
        for (expression, inside, outside) in [
            (r"^\w+$", "room_1", "комната"),
            (r"^\d+$", "42", "٤٢"),
            (r"^a\sb$", "a b", "a\u{a0}b"),
            (r"^[\w-]+$", "a-b", "ä-b"),
            (r"^[\w.-]+\D$", "a.b-c", "ä.b-c"),
            (r"^[^\W\d]+$", "abc", "abc1"),
            (r"^\W\S$", "ä!", "aa"),
            (r"^\\w$", r"\w", "a"),
            (r"^(?P<t>a\.b|c)$", "a.b", "a,b"),
        ] {
            let found = read(expression).unwrap();
            assert!(found.is_match(inside) && !found.is_match(outside), "{expression}");
            assert_eq!(read(found.as_str()).unwrap().as_str(), found.as_str(), "it is printed, and read again");
        }
        assert!(read("(").is_none() && read(r"\").is_none());
    }
}
