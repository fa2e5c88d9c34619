//! The siege: honest clients talk in their rooms while attackers do to their server all that they can think of.
//!
//! The honest (`honest`) are a load of the server's bench: every message proves itself, and each that is lost is an error. The attackers
//! (`attacks`) are a thread each, on the core of the load, with the lowest priority, so that what they take from the honest they
//! take at the server. `memory` watches what the server holds. `report` holds it all against the targets.

mod attacks;
mod honest;
mod memory;
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
use crate::report::Outcome;
use crate::target::{Kind, Target};

const USAGE: &str = "\
siege [options]     ten minutes of siege, and the same peace and the floor to compare with
    --minutes N     so many
    --only TEXT     only attacks with TEXT in their name
    --out FILE      write the report there
    --list          say which attacks there are";

/// Those that a siege needs, and some.
const DESCRIPTORS: u64 = 8_192;

/// What can be asked for.
struct Plan {
    minutes: f64,
    only: String,
    out: Option<String>,
}

fn main() -> ExitCode {
    harness::cli::finish(run())
}

fn run() -> Result<(), String> {
    let Some(plan) = plan()? else { return Ok(()) };
    allow_descriptors().map_err(|error| format!("descriptors: {error}"))?;
    let time = Duration::from_secs_f64(plan.minutes * 60.0);
    // What it is compared with is the same all the time, so that a part of it will do.
    let short = (time / 5).max(Duration::from_secs(20).min(time));
    let told = |what: &'static str| move |fault: Fault| format!("{what}: {fault}");
    let peace = stage(Kind::Roomcast, Rooms::BOTH, short, None).map_err(told("without attackers"))?;
    eprintln!("without attackers: done");
    let floor = stage(Kind::Floor, Rooms::PLAIN, short, Some(&plan.only)).map_err(told("the floor"))?;
    eprintln!("the floor: done");
    let siege = stage(Kind::Roomcast, Rooms::BOTH, time, Some(&plan.only)).map_err(told("the siege"))?;
    let outcome = Outcome { time, peace, floor, siege };
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
    let mut plan = Plan { minutes: 10.0, only: String::new(), out: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| USAGE.to_owned());
        match argument.as_str() {
            "--minutes" => plan.minutes = value()?.parse().map_err(|_| "--minutes wants a number".to_owned())?,
            "--only" => plan.only = value()?,
            "--out" => plan.out = Some(value()?),
            "--list" => {
                attacks::ALL.iter().for_each(|attack| println!("{:24} {}", attack.name, attack.what));
                return Ok(None);
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    if plan.minutes.is_finite() && plan.minutes > 0.0 { Ok(Some(plan)) } else { Err(USAGE.to_owned()) }
}

/// What became of the honest, and of the server, in one stage.
struct Stage {
    latencies: Latencies,
    published: u64,
    delivered: u64,
    memory: Watch,
    attacks: Vec<attacks::Tally>,
}

/// The stage, in a thread of its own: it stays on one core, and what it begins does, too.
fn stage(kind: Kind, rooms: Rooms, time: Duration, only: Option<&str>) -> Result<Stage, Fault> {
    thread::scope(|scope| {
        let stage = scope.spawn(|| play(kind, rooms, time, only));
        stage.join().unwrap_or(Err(Fault::Unexpected("a panic of the siege")))
    })
}

/// Starts a server, has the honest talk for that long, under attack if there are attackers, and checks what they have received.
fn play(kind: Kind, rooms: Rooms, time: Duration, only: Option<&str>) -> Result<Stage, Fault> {
    let mut target = None;
    let server = Process::start(|place| {
        let (command, found) = Target::command(kind, place)?;
        target = Some(found);
        Ok(command)
    })?;
    let target = target.ok_or(Fault::Unexpected("a server without an address"))?;
    let mut honest = Honest::open(kind, server.address(), rooms)?;
    let mut memory = Watch::of(&server)?;
    let siege = only.map(|only| Siege::lay(&target, only));
    // They are all there before what the honest experience counts.
    honest.talk_until(Instant::now() + Duration::from_secs(2).min(time), &mut |_| Ok(()))?;
    honest.forget_latencies();
    honest.talk_until(Instant::now() + time, &mut |now| memory.look(&server, now))?;
    let attacks = siege.map(Siege::lift).unwrap_or_default();
    honest.settle()?;
    // What was held for attackers is let go when they are gone.
    thread::sleep(Duration::from_secs(2));
    memory.look_once_more(&server)?;
    let (published, delivered) = honest.check()?;
    Ok(Stage { latencies: honest.take_latencies(), published, delivered, memory, attacks })
}
