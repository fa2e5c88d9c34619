//! `docs/autobahn.md`: what the cases showed, held against what they show now, or written anew.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::case::{Row, THE_SUITE, Verdict};
use super::{Section, sections};

/// The file that the tests write a page into, instead of reading the one of the documentation.
const WRITE: &str = "ROOMCAST_WRITE_PAGE";

const COLUMNS: &str = "| case | sent | expected | observed |\n|---|---|---|---|\n";

/// Holds the section of the page against what was observed, or writes it.
pub(super) fn settle(section: &Section, rows: &[Row]) {
    let now = render(section, rows);
    if is_written() {
        write(section, &now);
        return;
    }
    let page = fs::read_to_string(path()).unwrap_or_default();
    let then = parts(&page).1.into_iter().find(|part| is_of(part, section)).unwrap_or_default();
    let differing = now.lines().find(|line| !then.lines().any(|other| other == *line));
    let line = differing.unwrap_or("lines that are there no more");
    assert!(now == then, "docs/autobahn.md is out of date, say `make autobahn results`; it does not say\n{line}");
}

/// Whether the page is being written.
pub(super) fn is_written() -> bool {
    std::env::var_os(WRITE).is_some()
}

/// The ids on the page, in order; also checks what precedes them.
pub(super) fn ids() -> Vec<String> {
    let page = fs::read_to_string(path()).unwrap_or_default();
    let (head, sections) = parts(&page);
    assert_eq!(head, self::head(&sections), "the head of docs/autobahn.md is out of date, say `make autobahn results`");
    rows(&sections).map(|row| row.split(" | ").next().unwrap_or_default().to_owned()).collect()
}

fn path() -> PathBuf {
    let written = std::env::var_os(WRITE).map(PathBuf::from);
    written.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/autobahn.md"))
}

/// Puts the section in its place; others may do the same at the same time, from other processes too.
fn write(section: &Section, now: &str) {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path()).expect("the page");
    file.lock().expect("a lock on the page");
    let mut page = String::new();
    file.read_to_string(&mut page).expect("text");
    let then = parts(&page).1;
    let order = sections();
    let sections: Vec<_> = order
        .iter()
        .filter_map(|other| match other.title == section.title {
            true => Some(now.to_owned()),
            false => then.iter().find(|part| is_of(part, other)).cloned(),
        })
        .collect();
    let page = [head(&sections), sections.concat()].concat();
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(page.as_bytes())).expect("a page");
}

/// The head of a page and its sections.
fn parts(page: &str) -> (String, Vec<String>) {
    let mut parts = page.split("\n## ");
    let head = parts.next().unwrap_or_default().to_owned();
    (head, parts.map(|part| format!("\n## {}\n", part.trim_end())).collect())
}

fn is_of(part: &str, section: &Section) -> bool {
    part.starts_with(&format!("\n## {}\n", section.title))
}

fn rows(sections: &[String]) -> impl Iterator<Item = &str> {
    let lines = sections.iter().flat_map(|section| section.lines());
    lines.filter_map(|line| line.strip_prefix("| ")).filter(|line| line.starts_with(|first: char| first.is_numeric()))
}

fn render(section: &Section, rows: &[Row]) -> String {
    let Section { title, about, .. } = section;
    let mut text = format!("\n## {title}\n\n{}\n\n{COLUMNS}", wrapped(about));
    for Row { id, sent, expected, observed } in rows {
        text += &format!("| {id} | {sent} | {expected} | {observed} |\n");
    }
    text
}

/// The text in lines of the width of the other pages.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LINE_CHARS => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

const LINE_CHARS: usize = 120;

fn head(sections: &[String]) -> String {
    let count = |is_meant: &dyn Fn(&str) -> bool| rows(sections).filter(|row| is_meant(row)).count();
    let of = |verdict| count(&|row: &str| row.ends_with(&format!("({verdict}) |")));
    let (non_strict, informational) = (of(Verdict::NonStrict), of(Verdict::Informational));
    let (cases, other) = (count(&|_| true), count(&|row| row.contains(THE_SUITE)));
    let pass = cases - non_strict - informational - other;
    let counts = wrapped(&format!(
        "Of {cases} cases {pass} pass, {non_strict} pass non-strictly and {informational} are informational, all in the \
         suite's sense. For {other} something else is expected here than by the suite; the row or the text above its table \
         says why."
    ));
    format!(
        "\
# WebSocket conformance, case by case

The server in each case of the [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite), groups 1 to 7, 9 and
10. There are no groups 8 and 11; 12 and 13 are about compression, which is off unless it is asked for: they are in
`tests/server/compression.rs`, by what they are about and not one by one. The suite's program was not run: the cases are
ported, under its ids, in `tests/server/autobahn/`, and play against a server over TCP. This page is written by these tests
(`make autobahn`), and they fail where it says something else than they observe.

{counts}

The suite expects a server that sends back whatever it is sent. This one takes commands. So where a case expects an *echo*, its
payload travels through a room: the client publishes it and, being a member, must get it back unchanged. A text payload is a
JSON string in a publish command in text frames; a binary payload is the data of a publish command in Protobuf, in binary
frames. It is the frames of the command that have the length, the fragments and the chops of the case. Where a case is about
the bytes of a frame as such (control frames, reserved bits and opcodes, wrong fragments, invalid UTF-8) exactly the suite's
bytes are sent.

In the tables, *close* is the server's close frame, and *end* the end of its stream behind it, which is there before the
client's. What is not named was not seen, the answers to the publish commands aside. A case without a close of its own is
closed by the client with 1000, once it has seen what it awaits. *In frames*: each frame is a write of its own; *in octets*:
each octet is.
"
    )
}
