//! What the scripts behind the Makefile do: every suite runs, and tables are held against the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::source::root;

/// An empty folder of this test's.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("make").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn script(name: &str, arguments: &[&str], (variable, folder): (&str, &Path)) -> Output {
    let mut command = Command::new(root().join("tests/make").join(name));
    command.args(arguments).env(variable, folder).output().expect("the script runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const COUNTED: &str = "echo 'test result: ok. 7 passed; 0 failed'";

#[test]
fn every_step_runs_and_then_it_fails() {
    let target = folder("all");
    let steps = ["test", "all", "one", "false", "two", COUNTED];
    let output = script("steps.sh", &steps, ("CARGO_TARGET_DIR", &target));
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("failed: one\n") && !text.contains("failed: one two"), "{text}");
    assert!(text.trim_end().ends_with("test result: ok. 7 passed; 0 failed"), "the counts come last: {text}");
    let table = fs::read_to_string(target.join("results/test.md")).expect("a table");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| one") || line.starts_with("| two")).collect();
    assert!(rows.len() == 2 && rows[0].ends_with("| FAILED |") && rows[1].ends_with("| passed |"), "{table}");
}

#[test]
fn a_run_may_end_at_the_first_failure() {
    let target = folder("first");
    let output = script("steps.sh", &["ci", "first", "one", "false", "two", COUNTED], ("CARGO_TARGET_DIR", &target));
    let text = said(&output);
    assert!(!output.status.success() && !text.contains("7 passed\n"), "{text}");
    assert!(text.contains("| two | | not run |"), "{text}");
    let output = script("steps.sh", &["ci", "first", "one", "true", "two", COUNTED], ("CARGO_TARGET_DIR", &target));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn tables_of_another_tree_are_named_and_failed_rows_of_ours_refused() {
    let tables = folder("tables");
    let hash = Command::new(root().join("tests/make/tree.sh")).arg("examples").output().expect("a hash");
    let hash = String::from_utf8(hash.stdout).expect("text");
    let table = |name: &str, hash: &str, rows: &str| {
        let text = format!("# A table\n\n* tree: {} of examples\n\n{rows}\n", hash.trim());
        fs::write(tables.join(name), text).expect("a file");
    };
    table("new.md", &hash, "| members: 1 | bun | – | – | | failed: 3 were lost | |");
    table("old.md", "0123456789ab", "");
    let output = script("tables.sh", &["old"], ("TABLES", &tables));
    let text = said(&output);
    assert!(output.status.success() && text.contains("old.md is of another tree"), "{text}");
    // Without git there is no tree to be held against, as in an archive.
    assert!(hash.trim().is_empty() || !text.contains("new.md"), "{text}");
    assert!(script("tables.sh", &["failed"], ("TABLES", &tables)).status.success(), "that of a rival is a result");
    table("new.md", &hash, "| members: 1 | roomcast async | – | – | | failed: it was refused: 111 | |");
    let output = script("tables.sh", &["failed"], ("TABLES", &tables));
    assert!(!output.status.success() && said(&output).contains("new.md has rows that failed"), "{}", said(&output));
}
