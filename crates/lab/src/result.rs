//! What a measurement leaves on disk: `results.json`, which reports and comparisons are made of.
//!
//! Units stand in the names: times of a message are nanoseconds, times of a run seconds, memory is bytes. What a machine or
//! a target cannot tell is absent rather than zero.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::load::DeliveryChecker;

/// The layout of [`Report`]. Fields may be added under the same number; another number means that old ones changed.
pub const FORMAT: u32 = 1;

/// The file a [`Report`] is kept in.
pub const FILE: &str = "results.json";

/// Everything one `roomcast lab run` or `sweep` measured, and on what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`] at the time of writing.
    pub format: u32,
    /// The version of roomcast that measured.
    pub roomcast: String,
    /// Where it ran.
    pub machine: Machine,
    /// When it began, as RFC 3339 in UTC.
    pub started: String,
    /// What was typed.
    pub command: String,
    /// What was asked for.
    pub scenario: Scenario,
    /// The curves; a run of one scenario is a series with one point.
    pub series: Vec<Series>,
    /// What the lab itself costs here, measured before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_cost: Option<OwnCost>,
    /// What a reader should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The model of its processor, as it says.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Kernel and release.
    pub kernel: String,
    /// Bytes of main memory.
    pub memory: u64,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// One line about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Its file, as it was run.
    pub toml: String,
    /// What everything random began with.
    pub seed: u64,
}

/// One curve: one knob turned, everything else kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Unique in its report, and fit for a file's name: `library-subscribers`.
    pub name: String,
    /// What was measured.
    pub target: Target,
    /// What was turned. For a run of one scenario `name` is empty.
    pub knob: Knob,
    /// What was turned in steps between series, and its value in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_knob: Option<Setting>,
    /// From the lowest value to the highest; knobs without an order keep that of their list.
    pub points: Vec<Point>,
    /// The knobs that were kept, with their values, for the reader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Setting>,
    /// How publishers are driven: `open` (a schedule) or `closed` (as fast as it goes).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub drive: String,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Target {
    /// The broker in this process.
    #[default]
    Library,
    /// A server, over WebSocket.
    Network,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Library => "library",
            Self::Network => "network",
        })
    }
}

/// Something that can be turned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knob {
    /// As it is called on the command line: `subscribers`.
    pub name: String,
    /// What its values count: `subscribers a room`, `bytes`. Empty where values are names.
    pub unit: String,
}

/// A knob and where it stood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The knob.
    pub name: String,
    /// Its value, as it is written on the command line.
    pub value: String,
}

/// One value of a knob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where it lies on the axis; for values that are names their place in the list, from 0.
    pub value: f64,
    /// How the value is written.
    pub label: String,
    /// The same measurement, several times.
    pub repeats: Vec<Run>,
}

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// How long was measured, without preparation.
    pub seconds: f64,
    /// Messages published while it was measured.
    pub published: u64,
    /// Messages received by all subscribers together, of those.
    pub delivered: u64,
    /// Messages that had to be received, lag, conflation and drops included.
    pub expected: u64,
    /// Messages a second that the schedule asked for; absent when publishers went as fast as they could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_rate: Option<f64>,
    /// From the time a message should have been published to its receipt.
    pub latency: Latency,
    /// The processors.
    pub cpu: Cpu,
    /// The memory of the target.
    pub memory: Memory,
    /// Of the target's threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_switches: Option<ContextSwitches>,
    /// System calls of the target, where the machine tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscalls: Option<u64>,
    /// Messages that subscribers were told they had missed.
    #[serde(default)]
    pub lagged: u64,
    /// Messages that newer ones replaced, as subscribers of the latest ask for.
    #[serde(default)]
    pub conflated: u64,
    /// Messages that were not accepted, or were lost with a connection that the server closed.
    #[serde(default)]
    pub dropped: u64,
    /// How evenly the subscribers were served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness: Option<Fairness>,
    /// What must be zero.
    pub checks: Checks,
    /// Seconds since the beginning, messages published and delivered until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<(f64, u64, u64)>,
    /// What kept it from going faster, in a sentence, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<String>,
    /// Whether the lab, not the target, was the limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_lab_bound: bool,
    /// Subscriptions that came and went while it was measured.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub joins: u64,
    /// Connections that were lost or closed and opened again while it was measured.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reconnects: u64,
    /// Of those that came and went: from asking to join to being told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_latency: Option<Latency>,
    /// Seconds since the beginning, and the median and 99th percentile in nanoseconds of the time before; long runs only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency_series: Vec<(f64, u64, u64)>,
}

/// A distribution of times in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were timed.
    pub count: u64,
    /// Half are no longer.
    pub p50: u64,
    /// Nine of ten are no longer.
    pub p90: u64,
    /// Ninety-nine of a hundred.
    pub p99: u64,
    /// 999 of a thousand.
    pub p999: u64,
    /// The longest.
    pub max: u64,
    /// Upper bounds of buckets and how many lie in each, in order; empty buckets are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<(u64, u64)>,
}

/// Time of processors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Seconds of processor time of lab and target together.
    pub seconds_total: f64,
    /// The busy share of each core, 0 to 1, whoever used it.
    pub per_core: Vec<f64>,
    /// Seconds that the lab's publishers and readers took, where they can be told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab_seconds: Option<f64>,
    /// Seconds that the target took: the server's process, or the broker's shards and the calls into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_seconds: Option<f64>,
    /// The share of all cores that other programs took, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<f64>,
    /// Threads of the lab that published or read.
    #[serde(default)]
    pub lab_threads: usize,
    /// The share of its time that the busiest of them was running, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab_busiest: Option<f64>,
}

/// Memory of the target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident when the load was ready.
    pub resident_start: u64,
    /// Resident when it ended.
    pub resident_end: u64,
    /// Seconds since the beginning and what was resident then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resident_series: Vec<(f64, u64)>,
    /// Live on the heap when the load was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_live_start: Option<u64>,
    /// Live on the heap when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_live_end: Option<u64>,
}

/// How often threads gave a core away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSwitches {
    /// To wait for something.
    pub voluntary: u64,
    /// Because another one wanted it.
    pub involuntary: u64,
}

/// How evenly subscribers were served: shares of what each should have received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fairness {
    /// Of the subscriber with the least.
    pub min: f64,
    /// Of the one in the middle.
    pub median: f64,
    /// Of the one with the most.
    pub max: f64,
    /// Jain's index: 1 when all have the same, 1/n when one has everything.
    pub jain: f64,
}

/// What was wrong with what arrived, at every subscriber; all must be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// Messages that came after a later one.
    pub order_violations: u64,
    /// Messages that came twice.
    pub duplicates: u64,
    /// Messages that never came, and nobody said so.
    pub losses: u64,
    /// Subscribers that were checked.
    pub subscribers: u64,
    /// The first thing that was wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

/// What the lab costs when there is nothing to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnCost {
    /// Nanoseconds to make a message, look at the clock and count it, without publishing it.
    pub publish_ns: f64,
    /// Nanoseconds to check and count a message that is there.
    pub receive_ns: f64,
    /// Nanoseconds of the lab for a message received over a socket from something that only writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_receive_ns: Option<f64>,
}

/// Why there is no [`Report`] to read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    Io(std::path::PathBuf, std::io::Error),
    /// It is no report.
    Json(std::path::PathBuf, serde_json::Error),
    /// It was written by another version, in another layout.
    Format(std::path::PathBuf, u32),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => {
                write!(f, "{} cannot be read: {error}; `roomcast lab run` writes one", path.display())
            }
            Self::Json(path, error) => write!(f, "{} is no result of the lab: {error}", path.display()),
            Self::Format(path, format) => {
                write!(f, "{} is in format {format}, this version reads format {FORMAT}; measure again", path.display())
            }
        }
    }
}

impl std::error::Error for ReadError {}

impl Report {
    /// Reads what `--out` left: a folder with a `results.json`, or the file itself.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there, or is none.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = std::fs::read_to_string(&file).map_err(|error| ReadError::Io(file.clone(), error))?;
        let report: Self = serde_json::from_str(&text).map_err(|error| ReadError::Json(file.clone(), error))?;
        if report.format == FORMAT { Ok(report) } else { Err(ReadError::Format(file, report.format)) }
    }
}

impl Run {
    /// Messages published a second.
    #[must_use]
    pub fn published_rate(&self) -> f64 {
        self.published as f64 / self.seconds
    }

    /// Messages received a second by all subscribers together.
    #[must_use]
    pub fn delivered_rate(&self) -> f64 {
        self.delivered as f64 / self.seconds
    }

    /// Nanoseconds of processor time a delivery: of the target where that is known, else of everything.
    #[must_use]
    pub fn cpu_ns_per_delivery(&self) -> f64 {
        self.cpu.target_seconds.unwrap_or(self.cpu.seconds_total) * 1e9 / self.delivered.max(1) as f64
    }
}

impl Checks {
    /// Adds what was wrong with what one subscriber received.
    pub(crate) fn add(&mut self, checker: &DeliveryChecker) {
        let wrong = checker.wrong();
        self.subscribers += 1;
        self.order_violations += wrong.order_violations;
        self.duplicates += wrong.duplicates;
        self.losses += wrong.losses;
        self.first = self.first.take().or(wrong.first);
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.order_violations == 0 && self.duplicates == 0 && self.losses == 0
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
