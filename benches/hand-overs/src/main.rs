//! Hand-overs under load: a server is told again and again to start the process that takes over from it, while clients over TLS talk
//! in their rooms.
//!
//! `chain` starts the first process and follows from one to the next. `socket` is a client's connection. The clients (`crowd`) come back when
//! they are closed, and know what they must have received. `report` says what they saw.

mod chain;
mod crowd;
mod report;
mod socket;

use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::chain::Chain;
use crate::crowd::Crowd;
use crate::report::{HandOver, Outcome};
use crate::socket::Door;

const USAGE: &str = "\
hand-overs [options]
    --times N        so many hand-overs (50)
    --clients N      so many clients (5000)
    --spread N       the clients of a process are closed over so many seconds (50)
    --server FILE    the program (roomcast, beside this one)
    --out FILE       write the report there";

/// Those of a socket each, and some.
const DESCRIPTORS_BESIDE: u64 = 256;
/// How long the server is left alone between two.
const PAUSE: Duration = Duration::from_secs(1);

/// What can be asked for.
struct Plan {
    times: usize,
    clients: usize,
    spread: usize,
    server: Option<String>,
    out: Option<String>,
}

fn main() -> ExitCode {
    harness::cli::finish(run())
}

fn run() -> Result<(), String> {
    let plan = plan()?;
    allow_descriptors(plan.clients as u64 + DESCRIPTORS_BESIDE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, play(&plan))?;
    let page = report::page(&outcome);
    match &plan.out {
        Some(path) => std::fs::write(path, &page).map_err(|error| format!("{path}: {error}"))?,
        None => print!("{page}"),
    }
    let failures = outcome.failures();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

async fn play(plan: &Plan) -> Result<Outcome, String> {
    let rate = plan.clients.div_ceil(plan.spread).max(1);
    let mut chain = Chain::start(plan.server.as_deref(), rate)?;
    let door = Rc::new(Door::to(chain.address())?);
    let crowd = Crowd::open(&door, plan.clients).await?;
    eprintln!("{} clients are there", plan.clients);
    let mut hand_overs = Vec::new();
    for nth in 1..=plan.times {
        tokio::time::sleep(PAUSE).await;
        crowd.forget_times();
        let begun = Instant::now();
        let process = chain.next().await.map_err(|error| format!("hand-over {nth}: {error}"))?;
        let served = begun.elapsed();
        // The last ones are on their way back when the old process has ended.
        chain.ended().await.map_err(|error| format!("hand-over {nth}: {error}"))?;
        crowd.all_are_there().await.map_err(|error| format!("hand-over {nth}: {error}"))?;
        let (closed, came_back) = crowd.times();
        let hand_over = HandOver::of(served, begun, &closed, &came_back);
        eprintln!("{nth}: process {process}, {}", hand_over.line());
        hand_overs.push(hand_over);
    }
    let seen = crowd.end().await?;
    chain.stop().await?;
    Ok(Outcome { clients: plan.clients, rate, hand_overs, seen })
}

fn plan() -> Result<Plan, String> {
    let mut plan = Plan { times: 50, clients: 5_000, spread: 50, server: None, out: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| USAGE.to_owned())?;
        let number =
            || value.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("{argument} wants a number"));
        match argument.as_str() {
            "--times" => plan.times = number()?,
            "--clients" => plan.clients = number()?,
            "--spread" => plan.spread = number()?,
            "--server" => plan.server = Some(value),
            "--out" => plan.out = Some(value),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(plan)
}

/// Each client has a socket, which is more than most shells allow.
fn allow_descriptors(wanted: u64) -> Result<(), String> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(format!("{wanted} descriptors are needed, and {maximum:?} allowed: have fewer clients"));
    }
    let limit = Rlimit { current: Some(wanted), maximum };
    setrlimit(Resource::Nofile, limit).map_err(|error| format!("descriptors: {error}"))
}
