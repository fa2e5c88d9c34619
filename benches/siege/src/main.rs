//! The siege: honest clients talk in their rooms while attackers do to their server all that they can think of.
//!
//! The honest (`honest`) are a load of the server's bench: every message proves itself, and each that is lost is an error. The attackers
//! (`attacks`) are a thread each, on the core of the load, with the lowest priority, so that what they take from the honest they
//! take at the server. `newcomers` are honest as well, and come meanwhile. `memory` watches what the server holds. `report` holds it all against the targets.

mod attacks;
mod honest;
mod memory;
mod newcomers;
mod report;
mod target;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server_bench::fault::Fault;
use server_bench::process::Process;

use crate::attacks::Siege;
use crate::honest::{Honest, Latencies, Rooms};
use crate::memory::Watch;
use crate::newcomers::{Came, Newcomers};
use crate::report::Outcome;
use crate::target::{Kind, Target};

const USAGE: &str = "\
siege [options]     ten minutes of siege, and a part of that in peace and at the floor to compare with
    --minutes N     so many
    --only TEXT     only attacks with TEXT in their name; several texts with a comma between
    --without TEXT  none of these
    --alone         the siege alone, with nothing to compare with
    --out FILE      write the report there
    --list          say which attacks there are";

/// Those that a siege needs, and some.
const DESCRIPTORS: u64 = 8_192;

/// What can be asked for.
struct Plan {
    minutes: f64,
    choice: Choice,
    is_alone: bool,
    out: Option<String>,
}

/// Which attacks.
#[derive(Clone, Debug, Default)]
struct Choice {
    /// Parts of their names; none means all.
    only: Vec<String>,
    without: Vec<String>,
}

impl Choice {
    fn has(&self, name: &str) -> bool {
        let is_among = |parts: &[String]| parts.iter().any(|part| name.contains(part));
        (self.only.is_empty() || is_among(&self.only)) && !is_among(&self.without)
    }
}

fn main() -> ExitCode {
    harness::cli::finish(run())
}

fn run() -> Result<(), String> {
    let Some(plan) = plan()? else { return Ok(()) };
    allow_descriptors().map_err(|error| format!("descriptors: {error}"))?;
    let time = Duration::from_secs_f64(plan.minutes * 60.0);
    // What it is compared with is the same all the time, so that a part of it will do: half before the siege and half behind it, for a
    // machine that becomes slower meanwhile.
    let half = (time / 10).max(Duration::from_secs(10).min(time));
    let mut outcome = Outcome::new(time);
    let in_peace = |outcome: &mut Outcome| {
        let played = stage(Kind::Roomcast, Rooms::BOTH, half, None);
        outcome.note("without attackers", played, |outcome| &mut outcome.peace);
    };
    let at_the_floor = |outcome: &mut Outcome| {
        let played = stage(Kind::Floor, Rooms::PLAIN, half, Some(&plan.choice));
        outcome.note("the floor", played, |outcome| &mut outcome.floor);
    };
    if !plan.is_alone {
        in_peace(&mut outcome);
        at_the_floor(&mut outcome);
    }
    outcome
        .note("the siege", stage(Kind::Roomcast, Rooms::BOTH, time, Some(&plan.choice)), |outcome| &mut outcome.siege);
    if !plan.is_alone {
        at_the_floor(&mut outcome);
        in_peace(&mut outcome);
    }
    let page = report::page(&outcome);
    match &plan.out {
        Some(path) => std::fs::write(path, &page).map_err(|error| format!("{path}: {error}"))?,
        None => print!("{page}"),
    }
    let failed = outcome.failures();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Honest and attackers have more sockets than most shells allow.
fn allow_descriptors() -> Result<(), Errno> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum })
}

fn plan() -> Result<Option<Plan>, String> {
    let mut plan = Plan { minutes: 10.0, choice: Choice::default(), is_alone: false, out: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| USAGE.to_owned());
        let parts = |text: String| text.split(',').map(|part| part.trim().to_owned()).collect();
        match argument.as_str() {
            "--minutes" => plan.minutes = value()?.parse().map_err(|_| "--minutes wants a number".to_owned())?,
            "--only" => plan.choice.only = parts(value()?),
            "--without" => plan.choice.without = parts(value()?),
            "--alone" => plan.is_alone = true,
            "--out" => plan.out = Some(value()?),
            "--list" => {
                attacks::ALL.iter().for_each(|attack| println!("{:24} {}", attack.name, attack.what));
                return Ok(None);
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    if !attacks::ALL.iter().any(|attack| plan.choice.has(attack.name)) {
        return Err("there is no such attack; see --list".to_owned());
    }
    if plan.minutes.is_finite() && plan.minutes > 0.0 { Ok(Some(plan)) } else { Err(USAGE.to_owned()) }
}

/// What became of the honest, and of the server.
#[derive(Default)]
struct Stage {
    time: Duration,
    /// Processor time of the server.
    cpu: Duration,
    latencies: Latencies,
    published: u64,
    delivered: u64,
    memory: Watch,
    newcomers: Came,
    attacks: Vec<attacks::Tally>,
}

impl Stage {
    /// Adds another one of the same kind.
    fn join(&mut self, mut other: Self) {
        self.time += other.time;
        self.cpu += other.cpu;
        self.latencies.plain.append(&mut other.latencies.plain);
        self.latencies.stored.append(&mut other.latencies.stored);
        self.published += other.published;
        self.delivered += other.delivered;
        self.memory.join(other.memory);
        self.newcomers.join(other.newcomers);
        self.attacks.append(&mut other.attacks);
    }
}

/// The stage, in a thread of its own: it stays on one core, and what it begins does, too.
fn stage(kind: Kind, rooms: Rooms, time: Duration, choice: Option<&Choice>) -> Result<Stage, Fault> {
    thread::scope(|scope| {
        let stage = scope.spawn(|| play(kind, rooms, time, choice));
        stage.join().unwrap_or(Err(Fault::Unexpected("a panic of the siege")))
    })
}

/// Starts a server, has the honest talk for that long, under attack if there are attackers, and checks what they have received.
fn play(kind: Kind, rooms: Rooms, time: Duration, choice: Option<&Choice>) -> Result<Stage, Fault> {
    let mut target = None;
    let server = Process::start(|place| {
        let (command, found) = Target::command(kind, place)?;
        target = Some(found);
        Ok(command)
    })?;
    let target = target.ok_or(Fault::Unexpected("a server without an address"))?;
    let mut honest = Honest::open(kind, server.address(), rooms)?;
    let mut memory = Watch::of(&server)?;
    let siege = choice.map(|choice| Siege::lay(&target, choice));
    // They are all there before what the honest experience counts.
    honest.talk_until(Instant::now() + Duration::from_secs(2).min(time), &mut |_| Ok(()))?;
    honest.forget_latencies();
    let cpu = server.cpu()?;
    // The floor knows neither what they ask nor what they say.
    let newcomers = (kind == Kind::Roomcast).then(|| Newcomers::begin(&target));
    honest.talk_until(Instant::now() + time, &mut |now| memory.look(&server, now))?;
    let cpu = server.cpu()? - cpu;
    let newcomers = newcomers.map(Newcomers::end).unwrap_or_default();
    let attacks = siege.map(Siege::lift).unwrap_or_default();
    honest.settle()?;
    // What was held for attackers is let go when they are gone.
    thread::sleep(Duration::from_secs(2));
    memory.look_once_more(&server)?;
    let (published, delivered) = honest.check()?;
    Ok(Stage { time, cpu, latencies: honest.take_latencies(), published, delivered, memory, newcomers, attacks })
}
