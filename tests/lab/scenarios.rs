//! The files that come with the program.

use std::fs;
use std::path::Path;

use roomcast_lab::measure;
use roomcast_lab::scenario::{LIBRARY, parse, text};

/// A scenario other than the soak is to be done within this time, preparation included.
const SECONDS_MAX: f64 = 30.0;

#[test]
fn every_file_is_a_scenario_that_comes_with_the_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/scenarios");
    let mut found = 0;
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        found += 1;
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let scenario = parse(&text(&name).expect("known by its name"), &[]).expect("a scenario");
        assert_eq!((&scenario.name, scenario.about.is_empty()), (&name, false));
        let seconds = (scenario.seconds + scenario.warmup) * scenario.repeats as f64;
        assert!(name == "soak" || seconds <= SECONDS_MAX, "{name} takes {seconds} s");
        assert_eq!(parse(&text(&path.to_string_lossy()).expect("by its path"), &[]).expect("a scenario"), scenario);
    }
    assert_eq!(found, LIBRARY.len());
}

#[test]
fn the_plan_turns_every_knob_over_two_decades() {
    let (name, _, sweeps) = measure::plan(measure::EVERY_KNOB).expect("a plan");
    assert_eq!(name, "every-knob");
    let turned: Vec<_> = sweeps.iter().map(measure::Sweep::turns).collect();
    for target in ["library", "network"] {
        let knobs = [
            "rooms",
            "subscribers",
            "publishers",
            "concurrent",
            "messages",
            "size",
            "churners",
            "churn_rate",
            "capacity",
            "rate",
        ];
        for knob in knobs {
            let mut values = turned.iter().filter(|(on, name, _)| on.to_string() == target && *name == knob);
            let (_, _, values) = values.next().unwrap_or_else(|| panic!("{knob} on the {target}"));
            let numbers: Vec<f64> = values.iter().map(|value| value.parse().expect("a number")).collect();
            assert!(
                numbers.len() >= 6 && numbers[numbers.len() - 1] >= 100.0 * numbers[0],
                "{target} {knob} {values:?}"
            );
        }
        assert!(turned.iter().any(|(on, name, _)| on.to_string() == target && *name == "shards"));
    }
    assert!(["brokers", "read", "wait"].iter().all(|knob| turned.iter().any(|(_, name, _)| name == knob)));
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let refused = |text: &str| parse(text, &[]).expect_err(text).to_string();
    assert!(refused("name = 3").contains("string"));
    assert!(refused("name = \"a\"\nsecond = 5").contains("second"));
    assert!(refused("name = \"a\"\n[load]\nsubscriber = 5").contains("did you mean subscribers?"));
    assert!(refused("name = \"a\"\n[load]\nsize = -5").contains("0 to 1048576"));
    assert!(refused("name = \"a\"\n[load]\nread = \"move\"").contains("ref, clone, arc"));
    assert!(refused("name = \"a\"\nseconds = 0.0").contains("seconds"));
    assert!(refused("name = \"a\"\n[load]\nchurn_rate = 3.0").contains("churners"));
    assert!(refused("name = \"a\"\n[load]\nstorms = 3").contains("network"));
    assert!(refused("name = \"a\"\ntarget = \"network\"\n[load]\nsize = 16").contains("32"));
    assert!(refused("name = \"a\"\ntarget = \"network\"\n[load]\nsubscribers = 20000").contains("15,000"));
    assert!(refused("name = \"a\"\n[load]\nwait = \"blocking\"\nsubscribers = 1000").contains("512"));
}
