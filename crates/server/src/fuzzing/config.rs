//! A configuration file in one of the three notations, as `roomcast config check` reads it: whatever stands in it, something is said
//! about it, within bounds and a line each; and what can be used says the same when it is written down.

use crate::config::{Flags, Review, review_text};

/// The notations, by the names that files have.
const NAMES: [&str; 3] = ["fuzz.json", "fuzz.toml", "fuzz.yaml"];

/// What is said at most of a file, in all, beside what stands in it: that options are contradictory, which are not set.
const SAID_BYTES_MORE: usize = 64 * 1024;

/// How often as much as stands in it is said of it at most.
const SAID_TIMES_MAX: usize = 256;

pub(super) fn check(input: &[u8]) {
    let Some((&notation, text)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    // The first line of an input says which it is, in words or otherwise.
    let name = match (notation, text.split_once('\n')) {
        (b'j', Some(("son", text))) => return read(NAMES[0], text),
        (b't', Some(("oml", text))) => return read(NAMES[1], text),
        (b'y', Some(("aml", text))) => return read(NAMES[2], text),
        _ => NAMES[usize::from(notation) % NAMES.len()],
    };
    read(name, text);
}

fn read(name: &str, text: &str) {
    for dev in [false, true] {
        let flags = Flags { dev, ..Flags::default() };
        let Review { loaded, problems, answers } = review_text(&flags, name, text);
        let said = problems.iter().map(ToString::to_string).chain(answers.iter().map(ToString::to_string));
        let said: Vec<String> = said.chain(loaded.warnings).chain(loaded.hint).collect();
        let bytes: usize = said.iter().map(String::len).sum();
        assert!(bytes <= SAID_BYTES_MORE + SAID_TIMES_MAX * text.len(), "{bytes} bytes are said of {}", text.len());
        for line in &said {
            assert!(!line.contains(char::is_control), "it is not a line: {line:?}");
        }
        if problems.is_empty() {
            let written = loaded.config.to_toml();
            let again = review_text(&flags, NAMES[1], &written);
            assert!(
                again.problems.is_empty(),
                "what can be used cannot be written down: {:?}\n{written}",
                again.problems
            );
            assert!(again.loaded.config == loaded.config, "written down it says something else:\n{written}");
        }
    }
}
