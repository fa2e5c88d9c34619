//! A server under load, over WebSocket.

mod client;
mod own;
mod pace;
mod server;
mod stamp;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(super) use self::own::own_cost;
use self::server::Running;
pub use self::server::Server;
use self::worker::{Shared, Worker};
use super::Fault;
use super::measurement::{Measurement, Target, measure};
use super::procfs;
use super::protocol::Encoding;
use super::run_state::{Phase, RunState};
use super::scenario::Scenario;
use super::watch::Watch;

/// Where clients connect, and what they find there.
#[derive(Debug)]
pub(crate) struct Site {
    address: SocketAddr,
    host: String,
    path: String,
    encoding: Encoding,
    /// The names of the rooms.
    rooms: Vec<String>,
    /// Of each message.
    bytes: usize,
}

/// Runs a scenario once.
pub(super) fn run(scenario: &Scenario, server: &Server, watch: &mut dyn Watch) -> Result<Measurement, Fault> {
    raise_limit(scenario)?;
    let running = Running::start(server, scenario)?;
    let load = &scenario.load;
    let place = running.place.clone();
    // A server that was there before may remember rooms of another run.
    let run = scenario.seed ^ u64::from(std::process::id()) << 20;
    let site = Site {
        address: place.address,
        host: place.host,
        path: place.path,
        encoding: load.encoding,
        rooms: (0..load.rooms).map(|number| format!("lab-{run:x}-{number}")).collect(),
        bytes: load.size,
    };
    let state = RunState::new(load.subscribers - load.slow_in_a_room());
    let shared = Arc::new(Shared {
        state: state.clone(),
        scenario: scenario.clone(),
        site,
        ready: AtomicUsize::new(0),
        published: (0..load.rooms).map(|_| AtomicU64::new(0)).collect(),
    });
    let usual = (procfs::cores() / 2).max(1);
    let workers = if load.threads > 0 { load.threads } else { usual };
    let mut threads = Vec::new();
    for number in 0..workers {
        let shared = shared.clone();
        let builder = thread::Builder::new().name(format!("lab-load-{number}"));
        let thread = builder.spawn(move || {
            let done = Worker::new(&shared, number, workers).and_then(Worker::run);
            if let Err(why) = done {
                shared.state.fail(why);
            }
        });
        threads.push(thread.map_err(Fault::new)?);
    }
    while shared.ready.load(Ordering::SeqCst) < workers && !state.has_failed() {
        thread::sleep(Duration::from_millis(1));
    }
    let target = Target { process: running.process, is_own: |name| name.starts_with("lab-") };
    let mut measurement = measure(&state, scenario, &target, watch);
    state.enter(Phase::Over);
    for thread in threads {
        thread.join().map_err(|_| Fault::new("a thread of the load panicked"))?;
    }
    let published: Vec<u64> = shared.published.iter().map(|count| count.load(Ordering::Acquire)).collect();
    measurement.enter_deliveries(&state, &published)?;
    Ok(measurement)
}

/// Each connection is a descriptor, here and in the server.
fn raise_limit(scenario: &Scenario) -> Result<(), Fault> {
    let load = &scenario.load;
    let wanted = (load.rooms * load.subscribers + load.publishers + load.churners + RESERVED) as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let most = Rlimit { current: maximum, maximum };
    if maximum.is_some_and(|maximum| maximum < wanted) || setrlimit(Resource::Nofile, most).is_err() {
        return Err(Fault::new(format!(
            "{wanted} descriptors are needed and {} allowed; type ulimit -n {wanted}, or take fewer connections",
            maximum.unwrap_or_default()
        )));
    }
    Ok(())
}

/// Descriptors kept for what is not a connection.
const RESERVED: usize = 64;
