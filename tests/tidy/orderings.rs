//! Every memory ordering is argued for twice: beside the operation, and in the table of `docs/design.md`; and from either
//! place a reader finds the model that visits it, and from the model back.
//!
//! The table's rows name operations as `` `ring/segment::lease` ``: the file under `src/` without its ending (`mod.rs`
//! is its folder), and the function. A comment names models as `model: rotate_lease`; a model is a test function in
//! `loom-tests/`.

use std::collections::{BTreeMap, BTreeSet};

use super::nothing;
use super::source::{CORE_HIGH, CORE_LOW, File, core_folders, has_word, read, rust};

pub(crate) const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];
const TABLE: &str = "### The ordering table";
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
    let rows: BTreeSet<String> = rows().into_iter().map(|(operation, _)| operation).collect();
    let advice = |(operation, orderings): (&String, &Vec<&str>)| {
        format!(
            "docs/design.md has no row `{operation}` in its table of orderings; add one for {}",
            orderings.join(", ")
        )
    };
    nothing(operations().iter().filter(|(operation, _)| !rows.contains(*operation)).map(advice).collect());
}

#[test]
fn every_row_of_the_table_has_its_ordering_in_the_code() {
    let (used, mut seen, mut findings) = (operations(), BTreeSet::new(), Vec::new());
    for (operation, _) in rows() {
        if !used.contains_key(&operation) {
            findings.push(format!("docs/design.md has a row `{operation}`, where no ordering is used; take it out"));
        }
        if !seen.insert(operation.clone()) {
            findings.push(format!("docs/design.md has two rows `{operation}`; make them one"));
        }
    }
    nothing(findings);
}

#[test]
fn every_model_that_is_named_exists() {
    let models = models();
    let mut findings = Vec::new();
    for file in rust("src") {
        for model in named_in_comments(&file.text).difference(&models) {
            findings.push(format!("{}: `model: {model}` names no test in loom-tests/", file.path));
        }
    }
    for (operation, named) in rows() {
        for model in named.difference(&models) {
            findings
                .push(format!("docs/design.md: the row `{operation}` names {model}, which is no test in loom-tests/"));
        }
    }
    nothing(findings);
}

#[test]
fn every_model_is_named_where_its_race_is() {
    let mut named: BTreeSet<String> = rows().into_iter().flat_map(|(_, models)| models).collect();
    named.extend(rust("src").iter().flat_map(|file| named_in_comments(&file.text)));
    let advice = |model: &String| {
        format!("the model {model} is named by no row of docs/design.md and no comment in src/; say what it visits")
    };
    nothing(models().difference(&named).map(advice).collect());
}

/// The table's rows: the operation and the models in the last column.
fn rows() -> Vec<(String, BTreeSet<String>)> {
    let row = |(operation, cells): (String, Vec<String>)| Some((operation, named_in_cell(cells.last()?)));
    cells().into_iter().filter_map(row).collect()
}

/// The table's rows: the operation and the cell that says what it pairs with.
pub(crate) fn rows_with_partners() -> Vec<(String, String)> {
    cells().into_iter().filter_map(|(operation, cells)| Some((operation, cells.get(2)?.clone()))).collect()
}

/// The table's rows: the operation and all cells.
fn cells() -> Vec<(String, Vec<String>)> {
    let design = read("docs/design.md").unwrap_or_default();
    let table = design.split(TABLE).nth(1).unwrap_or_default();
    let table = table.split("\n#").next().unwrap_or_default();
    let cells = |line: &str| {
        let line = line.strip_prefix("| `")?.strip_suffix(" |")?;
        Some((line.split('`').next()?.to_owned(), line.split(" | ").map(str::to_owned).collect()))
    };
    table.lines().filter_map(cells).collect()
}

/// The models of a cell; a dash, or tests of another kind, name none. What stands in brackets is for the reader.
fn named_in_cell(cell: &str) -> BTreeSet<String> {
    let is_model = |name: &&str| !name.is_empty() && !name.starts_with('–') && !name.starts_with("tests ");
    cell.split('(').next().unwrap_or_default().split(',').map(str::trim).filter(is_model).map(str::to_owned).collect()
}

/// The names behind each `model:` of the comments, which may go on for several.
fn named_in_comments(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.split_once("//")?.1.split_once("model: "));
    let names = lines.flat_map(|(_, names)| names.split(',').map(|name| name.trim().trim_end_matches('.').to_owned()));
    names.collect()
}

/// The tests in `loom-tests/`.
fn models() -> BTreeSet<String> {
    let mut models = BTreeSet::new();
    for file in rust("loom-tests") {
        for test in file.code.split("#[test]").skip(1) {
            models.extend(test.split_once("fn ").and_then(|(_, name)| name.split('(').next()).map(str::to_owned));
        }
    }
    models
}

/// The orderings used, by operation.
fn operations() -> BTreeMap<String, Vec<&'static str>> {
    let mut operations: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in files() {
        for (_, ordering, function) in uses(&file) {
            operations.entry(format!("{}::{function}", place(&file.path))).or_default().push(ordering);
        }
    }
    operations
}

/// Where orderings are used in shipped code: the line's index, the ordering and the function around it.
pub(crate) fn uses(file: &File) -> Vec<(usize, &'static str, String)> {
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

/// The files of the core.
pub(crate) fn files() -> Vec<File> {
    [CORE_LOW, CORE_HIGH].into_iter().flat_map(core_folders).flat_map(|folder| rust(&folder)).collect()
}

pub(crate) fn place(path: &str) -> &str {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.strip_suffix("/mod").unwrap_or(path)
}
