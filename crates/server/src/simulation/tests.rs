//! Seeds are played: as many as the environment says, or one.

use std::env;
use std::time::Instant;

use super::world::{Played, play};

/// A seed to be played by itself, with everything that was done.
const SEED: &str = "ROOMCAST_SIMULATION_SEED";

/// How many seeds are played, and from which on.
const SEEDS: &str = "ROOMCAST_SIMULATION_SEEDS";
const FIRST: &str = "ROOMCAST_SIMULATION_FIRST";

/// After how many it is said how far a long run is.
const SEEDS_BETWEEN: u64 = 1_000;

/// How many, where nothing is said.
const SEEDS_DEFAULT: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Lines of what was done that are shown of a seed that has found something.
const LINES_SHOWN: usize = 40;

/// What a seed has found, in words.
fn told(seed: u64, played: &Played) -> Option<String> {
    let Played { broken, trace, hash, .. } = played;
    let broken = broken.as_ref()?;
    let lines = trace.lines().count().saturating_sub(LINES_SHOWN);
    let tail: Vec<&str> = trace.lines().skip(lines).collect();
    let tail = tail.join("\n");
    Some(format!("seed {seed} ({hash:016x}): {broken}\n{tail}\nagain, from the beginning: make simulate SEED={seed}"))
}

#[test]
#[expect(clippy::print_stdout, reason = "whoever names a seed wants to see what happens")]
fn whatever_happens_the_invariants_hold() {
    if let Some(seed) = number(SEED) {
        let played = play(seed);
        println!("{}", played.trace);
        for (client, heard) in played.heard.iter().enumerate() {
            println!("what {client} heard:\n{heard}");
        }
        if let Some(told) = told(seed, &played) {
            panic!("{told}");
        }
        return println!("seed {seed} ({:016x}): all invariants hold", played.hash);
    }
    let (first, count) = (number(FIRST).unwrap_or(1), number(SEEDS).unwrap_or(SEEDS_DEFAULT));
    let mut found: Vec<(u64, Played)> = Vec::new();
    let began = Instant::now();
    let in_a_second = |played: u64| played as f64 / began.elapsed().as_secs_f64();
    for seed in first..first + count {
        let played = play(seed);
        if played.broken.is_some() {
            found.push((seed, played));
        }
        let nth = seed - first + 1;
        if nth.is_multiple_of(SEEDS_BETWEEN) && nth < count {
            println!("{nth} seeds, {:.1} a second, {} have found something", in_a_second(nth), found.len());
        }
    }
    if let Some(told) = found.first().and_then(|(seed, played)| told(*seed, played)) {
        let others =
            found.iter().skip(1).filter_map(|(seed, played)| Some(format!("\n{seed}: {}", played.broken.as_ref()?)));
        panic!("{} of {count} seeds have found something\n{told}{}", found.len(), others.collect::<String>());
    }
    println!("{count} seeds from {first} on, {:.1} a second: all invariants hold", in_a_second(count));
}

#[test]
fn a_seed_is_played_the_same_again() {
    for seed in 1..=8 {
        let [one, other] = [play(seed), play(seed)];
        assert_eq!(one.trace, other.trace, "seed {seed}");
        for (one, other) in one.heard.iter().zip(&other.heard) {
            let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
            assert_eq!(differs, None, "seed {seed}");
        }
        assert_eq!(one.hash, other.hash, "seed {seed}");
    }
}
