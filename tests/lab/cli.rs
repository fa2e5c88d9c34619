//! The command line as a person meets it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roomcast")).arg("lab").args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn refused(arguments: &[&str], because: &str) {
    let output = lab(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(because), "{said:?} does not say {because:?}");
}

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("roomcast-lab-test-{}-{name}", std::process::id())))
    }

    fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn scenarios_are_listed_a_line_each_and_shown() {
    let listed = text(&lab(&["list"]).stdout);
    assert_eq!(listed.lines().count(), 8, "{listed}");
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        assert!(text(&lab(&["show", name]).stdout).contains(&format!("name = \"{name}\"")));
    }
}

#[test]
fn what_there_is_not_is_refused_with_what_there_is() {
    let folder = Folder::new("refused");
    let out = folder.path();
    refused(&["run", "fanout", "--out", &out], "did you mean fan-out?");
    refused(&["run", "nowhere.toml", "--out", &out], "nowhere.toml");
    refused(&["run", "fan-out", "--set", "subscriber=5", "--out", &out], "did you mean subscribers?");
    refused(&["run", "fan-out", "--set", "size=huge", "--out", &out], "0 to 1048576");
    refused(&["run", "fan-out"], "--out");
    refused(&["sweep", "--out", &out], "--knob");
    refused(&["sweep", "--knob", "subscribers", "--out", &out], "subscribers=1..1000");
    refused(&["sweep", "--knob", "colour=1..9", "--out", &out], "the knobs are brokers");
    refused(&["sweep", "--knob", "subscribers=9..1", "--out", &out], "no range");
    refused(&["sweep", "--knob", "storms=1,2", "--out", &out], "network");
    refused(&["sweep", "--knob", "read=ref,move", "--out", &out], "ref, clone, arc");
    refused(&["sweep", "--knob", "size=1,2", "--knob", "rooms=1,2", "--knob", "shards=1,2", "--out", &out], "two");
    refused(&["sweep", "--plan", "no-knob", "--out", &out], "every-knob");
    assert!(!folder.0.exists(), "nothing was run");
}

#[test]
fn what_may_have_been_meant_is_one_question_at_the_end() {
    let folder = Folder::new("meant");
    let out = folder.path();
    for (arguments, said) in [
        (&["run", "fanout"][..], "there is no scenario \"fanout\"; did you mean fan-out?"),
        (&["run", "fan-out", "--set", "second=5"], "there is no key \"second\"; did you mean seconds?"),
        (&["run", "fan-out", "--set", "size=huge"], "\"huge\" is no value for size: it takes 0 to 1048576"),
        (&["sweep", "--knob", "roms=1,2"], "there is no knob \"roms\"; did you mean rooms?"),
    ] {
        let output = lab(&[arguments, &["--out", &out]].concat());
        let error = text(&output.stderr);
        assert!(error.lines().next().is_some_and(|line| line.trim_end().ends_with(said)), "{error:?} is not {said:?}");
    }
}

#[test]
fn results_that_are_there_are_not_replaced_by_the_way() {
    let folder = Folder::new("overwrite");
    let out = folder.path();
    fs::create_dir_all(&folder.0).expect("a folder");
    fs::write(folder.0.join("results.json"), "hours of measuring").expect("a file");
    let quick = ["--set", "seconds=0.05", "--set", "repeats=1", "--set", "warmup=0", "--out", &out];
    let run = [&["run", "fan-out", "--set", "target=library"][..], &quick].concat();
    refused(&run, "results.json is there already");
    let sweep = [&["sweep", "--knob", "subscribers=1,2"][..], &quick].concat();
    refused(&sweep, "--overwrite");
    assert_eq!(fs::read_to_string(folder.0.join("results.json")).expect("a file"), "hours of measuring");
    let output = lab(&[&sweep[..], &["--overwrite"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(roomcast_lab::result::Report::read(&folder.0).is_ok(), "it was replaced");
}

#[test]
fn a_sweep_leaves_results_that_can_be_read() {
    let folder = Folder::new("sweep");
    let out = folder.path();
    let set = ["--set", "seconds=0.1", "--set", "repeats=2", "--set", "warmup=0"];
    let output =
        lab(&[&["sweep", "--knob", "subscribers=1,10", "--knob", "read=ref,arc", "--out", &out], &set[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert_eq!(said.lines().filter(|line| line.contains("delivered/s")).count(), 8, "{said}");
    let report = roomcast_lab::result::Report::read(&folder.0).expect("results");
    assert_eq!(report.series.len(), 2);
    for series in &report.series {
        assert_eq!(
            series.points.iter().map(|point| (point.value, point.repeats.len())).collect::<Vec<_>>(),
            [(1.0, 2), (10.0, 2)]
        );
    }
    assert!(report.own_cost.is_some_and(|cost| cost.publish_ns > 0.0 && cost.receive_ns > 0.0));
    let csv = fs::read_to_string(folder.0.join("results.csv")).expect("a table");
    assert_eq!(csv.lines().count(), 1 + 8);
    assert!(folder.0.join("report.html").is_file());
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let folder = Folder::new("server");
    let out = folder.path();
    let output = lab(&["run", "burst", "--server", "ws://127.0.0.1:1", "--out", &out]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("127.0.0.1:1 cannot be reached"), "{}", text(&output.stderr));
}
