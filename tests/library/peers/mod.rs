//! Bugs that other libraries of the kind have had, by number, each as a test that fails where ours has the same.

mod memory;
mod reading;
mod waking;
mod writing;

use std::fs;
use std::path::Path;

const NUMBERS: std::ops::RangeInclusive<u32> = 1..=19;

#[test]
fn every_number_has_a_test_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/peers");
    let sources = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let text: String = sources.collect();
    let has_test = |number: &u32| text.contains(&format!("#[test]\nfn b{number:02}_"));
    let missing: Vec<_> = NUMBERS.filter(|number| !has_test(number)).collect();
    assert!(missing.is_empty(), "no test for {missing:?}: write one in tests/library/peers/");
}
