//! Scenarios: what to measure, as a file.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use super::knob::{self, KNOBS};
pub use super::protocol::Encoding;
use super::result::Target;

/// A scenario. `docs/lab.md` lists the keys.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// One line about it.
    #[serde(default)]
    pub about: String,
    /// What everything random begins with.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What is measured.
    #[serde(default)]
    pub target: Target,
    /// How publishers are driven.
    #[serde(default)]
    pub drive: Drive,
    /// When messages are due, where `drive` is open.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// How long is measured.
    #[serde(default = "default_seconds")]
    pub seconds: f64,
    /// How long is published before that.
    #[serde(default = "default_warmup")]
    pub warmup: f64,
    /// How often.
    #[serde(default = "default_repeats")]
    pub repeats: usize,
    /// How everything stands.
    #[serde(default)]
    pub load: Load,
}

/// What decides when the next message is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Drive {
    /// Whether the messages before have arrived: as fast as it goes.
    #[default]
    Closed,
    /// A schedule: who is late makes others wait, and that counts.
    Open,
}

impl fmt::Display for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
        })
    }
}

/// How a schedule is spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Arrivals {
    /// Evenly.
    #[default]
    Even,
    /// As calls arrive at an exchange: at random, independent of each other.
    Poisson,
}

/// How a message is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Read {
    /// Lent.
    #[default]
    Ref,
    /// Copied, bytes and all.
    Clone,
    /// By counted pointer.
    Arc,
}

/// How a subscriber waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Wait {
    /// It looks again and again.
    Spin,
    /// A thread each, asleep.
    Blocking,
    /// A task each, on runtimes of the lab.
    Park,
    /// The broker's shards serve it.
    #[default]
    Handler,
}

/// What happens to a subscriber that falls behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Behind {
    /// It is told how many messages it missed.
    #[default]
    Lag,
    /// It gets the newest.
    Latest,
    /// Publishers wait for it.
    Block,
}

/// How the server keeps what is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Keeping {
    /// In memory alone.
    #[default]
    Off,
    /// In its database as well, soon.
    Async,
    /// In its database before it is acknowledged and delivered.
    Stored,
}

/// Where every knob stands; [`KNOBS`] says what each is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "KNOBS documents them, for the command line as well")]
#[non_exhaustive]
pub struct Load {
    pub brokers: usize,
    pub rooms: usize,
    pub subscribers: usize,
    pub publishers: usize,
    pub concurrent: usize,
    pub messages: usize,
    pub size: usize,
    pub rate: f64,
    pub churners: usize,
    pub churn_rate: f64,
    pub capacity: usize,
    pub shards: usize,
    pub read: Read,
    pub wait: Wait,
    pub policy: Behind,
    pub slow: f64,
    pub slow_ms: u64,
    pub hot: f64,
    pub storms: usize,
    pub storm_share: f64,
    pub encoding: Encoding,
    pub storage: Keeping,
    pub threads: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            brokers: 1,
            rooms: 1,
            subscribers: 100,
            publishers: 1,
            concurrent: 1,
            messages: 0,
            size: 128,
            rate: 1_000.0,
            churners: 0,
            churn_rate: 0.0,
            capacity: 1_024,
            shards: 0,
            read: Read::Ref,
            wait: Wait::Handler,
            policy: Behind::Lag,
            slow: 0.0,
            slow_ms: 100,
            hot: 0.0,
            storms: 0,
            storm_share: 1.0,
            encoding: Encoding::Json,
            storage: Keeping::Off,
            threads: 0,
        }
    }
}

impl Load {
    /// Rooms of all brokers.
    pub(super) fn rooms_in_all(&self) -> usize {
        self.brokers * self.rooms
    }

    /// Subscribers of a room that read slowly.
    pub(super) fn slow_in_a_room(&self) -> usize {
        (self.subscribers as f64 * self.slow).round() as usize
    }

    /// Messages published in a row.
    pub(super) fn in_a_row(&self, drive: Drive) -> usize {
        match (self.messages, drive) {
            (0, Drive::Closed) => 32,
            (0, Drive::Open) => 1,
            (messages, _) => messages,
        }
    }

    /// Publishers that one room has at most.
    pub(super) fn sources(&self) -> usize {
        self.publishers.div_ceil(self.rooms_in_all())
    }
}

/// Why something is no scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub(super) String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// The scenarios that come with the binary: file name without ending, and text.
pub const LIBRARY: &[(&str, &str)] = &[
    ("fan-out", include_str!("../scenarios/fan-out.toml")),
    ("many-rooms", include_str!("../scenarios/many-rooms.toml")),
    ("churn", include_str!("../scenarios/churn.toml")),
    ("slow-consumers", include_str!("../scenarios/slow-consumers.toml")),
    ("reconnect-storm", include_str!("../scenarios/reconnect-storm.toml")),
    ("burst", include_str!("../scenarios/burst.toml")),
    ("hot-room", include_str!("../scenarios/hot-room.toml")),
    ("soak", include_str!("../scenarios/soak.toml")),
];

/// The text of a scenario, by its name or its file.
///
/// # Errors
/// When there is neither.
pub fn text(name: &str) -> Result<String, Wrong> {
    if let Some((_, text)) = LIBRARY.iter().find(|(known, _)| *known == name) {
        return Ok((*text).to_owned());
    }
    let path = Path::new(name);
    if path.extension().is_some_and(|ending| ending == "toml") {
        return std::fs::read_to_string(path)
            .map_err(|error| Wrong(format!("{name} cannot be read: {error}; or name one of `roomcast lab list`")));
    }
    if let Some(nearest) = knob::meant(name, LIBRARY.iter().map(|(known, _)| *known)) {
        return Err(Wrong(format!("there is no scenario {name:?}; did you mean {nearest}?")));
    }
    let names: Vec<_> = LIBRARY.iter().map(|(name, _)| *name).collect();
    Err(Wrong(format!(
        "there is no scenario {name:?}; there are {}, or the path of a file that ends in .toml",
        names.join(", ")
    )))
}

/// One key said otherwise: `subscribers=50`, or one of those above `[load]`, as `drive=open`.
///
/// # Errors
/// [`Wrong`] when there is no such key, or it does not take that.
pub fn setting(text: &str) -> Result<(String, toml::Value), Wrong> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| Wrong(format!("{text:?} should name a key and a value: subscribers=50")))?;
    let number = || value.parse::<f64>().map_err(|_| Wrong(format!("{key} takes a number, not {value:?}")));
    let value = match key {
        "target" | "drive" | "arrivals" | "name" => toml::Value::String(value.to_owned()),
        "seconds" | "warmup" => toml::Value::Float(number()?),
        "repeats" | "seed" => toml::Value::Integer(number()? as i64),
        _ => match KNOBS.iter().find(|knob| knob.name == key) {
            Some(knob) => knob.value(value).map_err(Wrong)?,
            None => return Err(no_key(key)),
        },
    };
    Ok((key.to_owned(), value))
}

/// Keys of a scenario that are no knobs.
const ABOVE: [&str; 7] = ["target", "drive", "arrivals", "seconds", "warmup", "repeats", "seed"];

fn no_key(key: &str) -> Wrong {
    let knobs = || KNOBS.iter().map(|knob| knob.name);
    if let Some(nearest) = knob::meant(key, knobs().chain(ABOVE)) {
        return Wrong(format!("there is no key {key:?}; did you mean {nearest}?"));
    }
    let knobs: Vec<_> = knobs().collect();
    Wrong(format!("there is no key {key:?}; there are {}, and the knobs {}", ABOVE.join(", "), knobs.join(", ")))
}

/// Reads a scenario, with some keys of it said otherwise: `rooms` of `[load]`, or `seconds` and others above it.
///
/// # Errors
/// [`Wrong`] when it is none, or asks for what cannot be.
pub fn parse(text: &str, otherwise: &[(String, toml::Value)]) -> Result<Scenario, Wrong> {
    let mut table: toml::Table = text.parse().map_err(|error| Wrong(format!("that is no TOML: {error}")))?;
    for (key, value) in otherwise {
        let place = if KNOBS.iter().any(|knob| knob.name == key) {
            match table.entry("load").or_insert_with(|| toml::Value::Table(toml::Table::new())) {
                toml::Value::Table(load) => load,
                other => return Err(Wrong(format!("load should be a table, not {other}"))),
            }
        } else {
            &mut table
        };
        place.insert(key.clone(), value.clone());
    }
    if let Some(toml::Value::Table(load)) = table.get("load") {
        for (key, value) in load {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            knob::find(key).and_then(|knob| knob.value(&text)).map_err(|error| Wrong(format!("[load]: {error}")))?;
        }
    }
    let mut scenario: Scenario =
        table.try_into().map_err(|error: toml::de::Error| Wrong(error.message().replace('\n', " ")))?;
    // Who publishes at the same time as others is a publisher.
    scenario.load.publishers = scenario.load.publishers.max(scenario.load.concurrent);
    scenario.check()?;
    Ok(scenario)
}

impl Scenario {
    fn check(&self) -> Result<(), Wrong> {
        let refuse = |is_wrong: bool, what: &str| if is_wrong { Err(Wrong(what.to_owned())) } else { Ok(()) };
        refuse(
            !(SECONDS_MIN..=SECONDS_MAX).contains(&self.seconds),
            &format!("seconds should be {SECONDS_MIN} to {SECONDS_MAX}"),
        )?;
        refuse(!(0.0..=60.0).contains(&self.warmup), "warmup should be 0 to 60 seconds")?;
        refuse(!(1..=REPEATS_MAX).contains(&self.repeats), &format!("repeats should be 1 to {REPEATS_MAX}"))?;
        let load = &self.load;
        refuse(load.churn_rate > 0.0 && load.churners == 0, "a churn_rate needs churners")?;
        let subscribers = load.rooms_in_all() * load.subscribers;
        match self.target {
            Target::Library => {
                refuse(load.storms > 0, "storms need connections: set target to \"network\"")?;
                refuse(
                    subscribers > 2_000_000,
                    "more than 2,000,000 subscribers in all are more than a process can hold",
                )?;
                refuse(
                    load.wait == Wait::Blocking && subscribers > BLOCKING_MAX,
                    "each blocking subscriber is a thread, and 512 in all are the most; let them wait otherwise",
                )?;
                refuse(
                    load.policy == Behind::Block && load.wait == Wait::Handler,
                    "handlers cannot block publishers: let subscribers wait otherwise for policy \"block\"",
                )?;
                refuse(
                    load.policy == Behind::Latest && load.wait == Wait::Handler,
                    "handlers get every message: let subscribers wait otherwise for policy \"latest\"",
                )?;
                refuse(
                    load.policy != Behind::Lag && self.drive == Drive::Closed && load.policy == Behind::Latest,
                    "who takes the latest only does not tell when all has arrived: set drive to \"open\"",
                )
            }
            Target::Network => {
                refuse(load.brokers > 1, "one server is one broker: leave brokers at 1")?;
                let connections = subscribers + load.publishers + load.churners;
                refuse(
                    connections > CONNECTIONS_MAX,
                    "more than 15,000 connections are more than one address of the loopback has ports for",
                )?;
                refuse(load.size < 32, "a message over the network has 32 bytes at least, to say what it is")?;
                refuse(load.size > 60_000, "a message over the network has 60,000 bytes at most")
            }
        }
    }
}

const fn default_seed() -> u64 {
    1
}

const fn default_seconds() -> f64 {
    5.0
}

const fn default_warmup() -> f64 {
    0.3
}

const fn default_repeats() -> usize {
    1
}

/// Shorter, and a run is all beginning and end.
const SECONDS_MIN: f64 = 0.05;
/// A day.
const SECONDS_MAX: f64 = 86_400.0;
/// More say nothing more.
const REPEATS_MAX: usize = 100;
/// Threads that may sleep for a subscriber each.
const BLOCKING_MAX: usize = 512;
/// Ports one address has for connections to another.
const CONNECTIONS_MAX: usize = 15_000;
