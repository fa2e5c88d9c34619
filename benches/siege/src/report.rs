//! What the siege has shown.

use std::fmt::Write as _;
use std::time::Duration;

use harness::machine;
use harness::origin::Origin;
use server_bench::fault::Fault;

use crate::Stage;
use crate::newcomers::Came;
use crate::target::BUDGET_BYTES;

/// How much longer than at the floor a message may take that is in memory alone, and than without attackers any other.
const BESIDE_FLOOR: f64 = 2.0;
const BESIDE_PEACE: f64 = 5.0;

/// How much more the server may hold in the last third than in the second.
const FLAT: f64 = 1.1;

/// Of newcomers, how many may be refused.
const REFUSED_MAX: f64 = 0.01;

/// A siege that is shorter says nothing of what grows: the rings of rooms fill their part of the memory in the first minutes.
const LONG: Duration = Duration::from_secs(8 * 60);

/// All that was found.
pub(crate) struct Outcome {
    pub(crate) time: Duration,
    pub(crate) peace: Stage,
    pub(crate) floor: Stage,
    pub(crate) siege: Stage,
    /// What came to no end.
    broken: Vec<String>,
}

impl Outcome {
    /// Of a siege that is that long.
    pub(crate) fn new(time: Duration) -> Self {
        let [peace, floor, siege] = [(); 3].map(|()| Stage::default());
        Self { time, peace, floor, siege, broken: Vec::new() }
    }

    /// Notes what a stage has come to.
    pub(crate) fn note(
        &mut self,
        what: &str,
        played: Result<Stage, Fault>,
        place: impl FnOnce(&mut Self) -> &mut Stage,
    ) {
        match played {
            Ok(stage) => {
                place(self).join(stage);
                eprintln!("{what}: done");
            }
            Err(fault) => {
                eprintln!("{what}: {fault}");
                self.broken.push(format!("{what}: {fault}"));
            }
        }
    }

    /// What was to hold and does not. Latencies are reported, and fail nothing: they depend on the machine.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = self.broken.clone();
        let peak = self.siege.memory.peak();
        if peak > BUDGET_BYTES {
            failures.push(format!("the server held {} of {}", megabytes(peak), megabytes(BUDGET_BYTES)));
        }
        let Came { nanos, refused, why } = &self.siege.newcomers;
        if *refused as f64 > REFUSED_MAX * (nanos.len() as f64 + *refused as f64) {
            let why = why.as_deref().unwrap_or_default();
            failures.push(format!("{refused} honest newcomers were not let in, of {} that were: {why}", nanos.len()));
        }
        if self.time >= LONG && !self.is_flat() {
            failures.push("what the server holds rises".to_owned());
        }
        for idle in self.siege.attacks.iter().filter(|attack| attack.rounds == 0) {
            failures.push(format!("nobody attacked by {}", idle.name));
        }
        failures
    }

    fn is_flat(&self) -> bool {
        let [_, second, last] = self.siege.memory.thirds();
        last as f64 <= second as f64 * FLAT
    }
}

/// The page.
pub(crate) fn page(outcome: &Outcome) -> String {
    let mut page = "# The siege\n\nWritten by `make siege`; do not edit. A thousand honest clients are in forty rooms, half of \
        them in memory and half in a database, of which each is told five messages of 128 bytes a second. Meanwhile attackers, a thread \
        each, do all of the below to the same server. Every message proves itself, and every honest client must have received each, or \
        the run fails. *Held* is memory that is the process's own.\n\n\
        Server and clients have a core each. The attackers share that of the honest and have the lowest priority there: with the same \
        one the honest would wait for their turn behind them, which says something of the scheduler and nothing of the server. So they \
        attack as fast as they can while the honest have nothing to do, and what they take from the honest they take at the server. \
        What it is compared with was measured for a fifth of the time, half of it before the siege and half behind it. The floor \
        refuses nearly all that attackers say, since it knows no protocol: it has less to do than any server that serves them.\n\n"
        .to_owned();
    let origin = Origin::of("src crates Cargo.lock benches/harness benches/server benches/siege");
    let _ = write!(
        page,
        "* {}\n* machine: {}\n\n",
        origin.lines().trim_start_matches("* ").trim_end(),
        machine::description()
    );
    verdict(outcome, &mut page);
    latencies(outcome, &mut page);
    newcomers(outcome, &mut page);
    memory(outcome, &mut page);
    attacks(outcome, &mut page);
    page
}

fn verdict(outcome: &Outcome, page: &mut String) {
    let failures = outcome.failures();
    match failures.is_empty() {
        true => {
            page.push_str("All of it holds: no message was lost, nothing broke off, memory is within its bound.\n\n")
        }
        false => failures.iter().for_each(|failure| page.push_str(&format!("* **failed**: {failure}\n"))),
    }
}

fn latencies(Outcome { peace, floor, siege, .. }: &Outcome, page: &mut String) {
    let _ = write!(
        page,
        "\n## The honest\n\nUnder siege for {} s: {} messages, received {} times. The server used {} of its core, without attackers {}, \
         the floor under siege {}.\n\n| rooms | | under siege, ms | to compare with, ms | ratio | aim | |\n|---|---|--:|--:|--:|--:|---|\n",
        siege.time.as_secs(),
        siege.published,
        siege.delivered,
        share(siege),
        share(peace),
        share(floor),
    );
    let rows = [
        ("in memory", "the floor under siege", &siege.latencies.plain, &floor.latencies.plain, BESIDE_FLOOR),
        ("in memory", "without attackers", &siege.latencies.plain, &peace.latencies.plain, BESIDE_PEACE),
        ("in the database", "without attackers", &siege.latencies.stored, &peace.latencies.stored, BESIDE_PEACE),
    ];
    for (rooms, beside, ours, theirs, aim) in rows {
        for part in [0.5, 0.99] {
            let (ours, theirs) = (percentile(ours, part), percentile(theirs, part));
            let name = if part < 0.9 { "p50" } else { "p99" };
            let ratio = ours / theirs;
            let reached = if ratio <= aim { "reached" } else { "missed" };
            let _ = writeln!(
                page,
                "| {rooms} | {name} | {ours:.2} | {theirs:.2} ({beside}) | {ratio:.2} | ≤ {aim} | {reached} |"
            );
        }
    }
}

fn newcomers(Outcome { peace, siege, .. }: &Outcome, page: &mut String) {
    let Came { nanos, refused, why } = &siege.newcomers;
    let times =
        |nanos: &[u32]| format!("{:.1} ms (p50) and {:.1} ms (p99)", percentile(nanos, 0.5), percentile(nanos, 0.99));
    let why = why.as_deref().map(|why| format!(" (the first: {why})")).unwrap_or_default();
    let _ = writeln!(
        page,
        "\nFour newcomers a second asked by turns for a connection of a client and for the page: {} were let in, after {}, without \
         attackers {}; {refused} were not{why}.",
        nanos.len(),
        times(nanos),
        times(&peace.newcomers.nanos),
    );
}

/// How much of its core a server has used.
fn share(stage: &Stage) -> String {
    format!("{:.0} %", 100.0 * stage.cpu.as_secs_f64() / stage.time.as_secs_f64())
}

fn memory(outcome: &Outcome, page: &mut String) {
    let memory = &outcome.siege.memory;
    let [first, second, last] = memory.thirds().map(megabytes);
    let _ = write!(
        page,
        "\n## Memory\n\nBefore {}, at most {} of {}, in the thirds of the time {first}, {second} and {last} (medians), {} when the \
         attackers had gone. Without attackers: at most {}.\n",
        megabytes(memory.before()),
        megabytes(memory.peak()),
        megabytes(BUDGET_BYTES),
        megabytes(memory.after()),
        megabytes(outcome.peace.memory.peak()),
    );
}

fn attacks(outcome: &Outcome, page: &mut String) {
    page.push_str("\n## The attacks\n\n| attack | what | rounds | broken off |\n|---|---|--:|--:|\n");
    for attack in &outcome.siege.attacks {
        let _ = writeln!(page, "| {} | {} | {} | {} |", attack.name, attack.what, attack.rounds, attack.broken_off);
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// The value that this part of the samples does not exceed, in milliseconds.
fn percentile(samples: &[u32], part: f64) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    let at = ((samples.len() as f64 * part) as usize).min(samples.len().saturating_sub(1));
    samples.get(at).map_or(f64::NAN, |nanos| f64::from(*nanos) / 1e6)
}
