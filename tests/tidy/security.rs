//! docs/security.md: what it says is held is held by tests that are there.

use super::nothing;
use super::protocol::has_test;
use super::source::{File, read, rust};

const PAGE: &str = "docs/security.md";

#[test]
fn every_defence_is_held_by_tests_that_are_there() {
    let page = read(PAGE).expect("the page");
    let (_, section) = page.split_once("\n## What stands against it\n").expect("the table");
    let section = section.split("\n## ").next().unwrap_or_default();
    let files: Vec<File> = ["src", "crates", "tests"].iter().flat_map(|folder| rust(folder)).collect();
    let (mut rows, mut findings) = (0, Vec::new());
    // The first two are its head.
    for line in section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')).skip(2) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [attack, defence, held] = cells[..] else {
            findings.push(format!("{PAGE}: {line} has other columns than the table"));
            continue;
        };
        if attack.starts_with("**") || held == "–" {
            continue;
        }
        rows += 1;
        let names: Vec<_> = held.split(", ").map(|name| name.trim_matches('`')).collect();
        for name in names.iter().filter(|name| !has_test(&files, name)) {
            findings.push(format!("{PAGE}: {attack}: there is no test `{name}`"));
        }
        if defence.is_empty() {
            findings.push(format!("{PAGE}: nothing stands against: {attack}"));
        }
    }
    assert!(rows > 20, "the page is written otherwise now");
    nothing(findings);
}
