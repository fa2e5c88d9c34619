//! Rules of this repository that no compiler checks. Each message says what to do.
//!
//! `design.md` argues for the rules; here they are held.

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/make.rs"]
mod make;
#[path = "tidy/orderings.rs"]
mod orderings;
#[path = "tidy/protocol.rs"]
mod protocol;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tree.rs"]
mod tree;

/// Fails with every finding at once: fixing them one run at a time is tedious.
#[track_caller]
fn nothing(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
