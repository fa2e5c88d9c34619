//! docs/protocol.md: every code we have stands there, what it says is reached is reached by a test, and so is every difference.

use super::nothing;
use super::source::{File, read, rust};

const PAGE: &str = "docs/protocol.md";

/// What stands in place of a test, by its first word.
const UNREACHED: [&str; 2] = ["later:", "never said:"];

fn numbers() -> Vec<String> {
    let source = read("crates/protocol/src/code.rs").expect("the codes");
    let number = |line: &str| line.trim().strip_suffix(',')?.split_once(" = ").map(|(_, number)| number.to_owned());
    source.lines().filter_map(number).filter(|number| number.parse::<u16>().is_ok()).collect()
}

/// The rows of the tables of codes: number and who reaches it.
fn rows(page: &str) -> Vec<(String, String)> {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
            let [code, _, reached, ""] = cells[..] else { return None };
            code.parse::<u16>().ok().map(|_| (code.to_owned(), reached.to_owned()))
        })
        .collect()
}

pub(super) fn has_test(files: &[File], name: &str) -> bool {
    let function = format!("fn {name}()");
    files.iter().any(|file| file.code.contains(&function))
}

#[test]
fn every_code_is_reached_by_a_test_or_said_not_to_be() {
    let page = read(PAGE).expect("the page");
    let (rows, numbers) = (rows(&page), numbers());
    assert!(numbers.len() > 30, "the codes are written otherwise now: {numbers:?}");
    let files: Vec<File> = ["src", "crates", "tests"].iter().flat_map(|folder| rust(folder)).collect();
    let mut findings = Vec::new();
    for number in &numbers {
        if rows.iter().filter(|(code, _)| code == number).count() != 1 {
            findings.push(format!("{PAGE}: code {number} must stand in its table, once"));
        }
    }
    for (code, reached) in &rows {
        if !numbers.contains(code) {
            findings.push(format!("{PAGE}: there is no code {code}"));
        }
        let test = reached.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
        let is_honest = match test {
            Some(test) => has_test(&files, test),
            None => UNREACHED.iter().any(|word| reached.starts_with(word)),
        };
        if !is_honest {
            findings.push(format!("{PAGE}: code {code}: there is no test `{reached}`"));
        }
    }
    nothing(findings);
}

/// The rows of the table of differences, cell by cell.
fn differences(page: &str) -> Vec<Vec<&str>> {
    let Some((_, section)) = page.split_once("\n## Where it differs from Centrifugo\n") else { return Vec::new() };
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    // The first two are its head.
    rows.skip(2).map(|row| row.split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_difference_has_its_reason_and_its_test() {
    let page = read(PAGE).expect("the page");
    let differences = differences(&page);
    assert!(differences.len() > 15, "the page is written otherwise now: {differences:?}");
    let files: Vec<File> = ["src", "crates", "tests"].iter().flat_map(|folder| rust(folder)).collect();
    let mut findings = Vec::new();
    for row in &differences {
        let [what, theirs, ours, why, held] = row[..] else {
            findings.push(format!("{PAGE}: {row:?} has other columns than the table"));
            continue;
        };
        let has_gaps = [what, theirs, ours].iter().any(|cell| cell.is_empty()) || why.is_empty() && ours != "not yet";
        if has_gaps {
            findings.push(format!("{PAGE}: {what:?} must say what each does, and why"));
        }
        let test = held.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
        if held != "–" && !test.is_some_and(|test| has_test(&files, test)) {
            findings.push(format!("{PAGE}: {what:?}: there is no test {held}"));
        }
    }
    nothing(findings);
}
