//! Rules of this repository that no compiler checks. Each message says what to do.
//!
//! `design.md` argues for the rules; here they are held.

mod layers;
mod make;
mod orderings;
mod partners;
mod protocol;
mod security;
mod source;
mod tree;

/// Fails with every finding at once: fixing them one run at a time is tedious.
#[track_caller]
fn nothing(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
