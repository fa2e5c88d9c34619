//! Every memory ordering is argued for twice: beside the operation, and in the table of `docs/design.md`.
//!
//! The table's rows name operations as `` `ring/segment::lease` ``: the file under `src/` without its ending (`mod.rs`
//! is its folder), and the function.

use std::collections::BTreeMap;

use super::nothing;
use super::source::{File, has_word, read, rust};

const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];
const FOLDERS: [&str; 5] = ["src/ring", "src/wake", "src/sync", "src/room", "src/shard"];
/// How far above an operation its comment may stand.
const COMMENT_LINES: usize = 3;

#[test]
fn every_ordering_says_why() {
    let mut findings = Vec::new();
    for file in files() {
        let text: Vec<&str> = file.text.lines().collect();
        for (index, ordering, _) in uses(&file) {
            let near = &text[index.saturating_sub(COMMENT_LINES)..=index];
            if !near.iter().any(|line| line.contains("//")) {
                findings.push(format!(
                    "{}:{}: say beside {ordering} why it suffices and what it pairs with",
                    file.path,
                    index + 1
                ));
            }
        }
    }
    nothing(findings);
}

#[test]
fn every_ordering_has_its_row_in_the_design() {
    let design = read("docs/design.md").unwrap_or_default();
    let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in files() {
        for (_, ordering, function) in uses(&file) {
            let row = format!("`{}::{function}`", place(&file.path));
            if !design.contains(&row) {
                missing.entry(row).or_default().push(ordering);
            }
        }
    }
    let advice = |(row, orderings): (String, Vec<&str>)| {
        format!("docs/design.md has no row {row} in its table of orderings; add one for {}", orderings.join(", "))
    };
    let findings = missing.into_iter().map(advice).collect();
    nothing(findings);
}

/// Where orderings are used in shipped code: the line's index, the ordering and the function around it.
fn uses(file: &File) -> Vec<(usize, &'static str, String)> {
    let mut found = Vec::new();
    let (mut function, mut importing) = (String::new(), false);
    for (index, line) in file.shipped_code().lines().enumerate() {
        let words = line.trim_start();
        importing |= words.starts_with("use ") || words.starts_with("pub use ") || words.starts_with("pub(crate) use ");
        if let Some((_, after)) = line.split_once("fn ").filter(|_| has_word(line, "fn")) {
            function = after.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
        }
        if !importing {
            let used = ORDERINGS.iter().filter(|ordering| has_word(line, ordering));
            found.extend(used.map(|ordering| (index, *ordering, function.clone())));
        }
        importing &= !line.contains(';');
    }
    found
}

fn files() -> Vec<File> {
    FOLDERS.iter().flat_map(|folder| rust(folder).into_iter().chain(rust(&format!("{folder}.rs")))).collect()
}

fn place(path: &str) -> &str {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.strip_suffix("/mod").unwrap_or(path)
}
