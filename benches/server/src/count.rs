//! Instructions of the server: callgrind counts what the process executes while it carries a number of windows.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::contenders::{Contender, ROOMCAST, ROOMCAST_ASYNC, ROOMCAST_STORED, ROOMCAST_TLS};
use crate::fault::Fault;
use crate::load::Load;
use crate::process::Process;

const BYTES: usize = 128;

/// How long a server that is watched may take for anything.
const LIMIT: Duration = Duration::from_secs(120);

/// Prints the instructions from start to end.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    let [storage, numbers @ ..] = arguments else { return Err("count what?".to_owned()) };
    let contender = match storage.as_str() {
        "off" => ROOMCAST,
        "tls" => ROOMCAST_TLS,
        "async" => ROOMCAST_ASYNC,
        "stored" => ROOMCAST_STORED,
        _ => return Err("it is off, async or stored by storage, or tls".to_owned()),
    };
    let numbers: Result<Vec<usize>, _> = numbers.iter().map(|number| number.parse()).collect();
    let Ok(&[members, in_flight, windows]) = numbers.as_deref() else {
        return Err("members, messages in flight and windows are numbers".to_owned());
    };
    let counted = count(contender, members, in_flight, windows).map_err(|fault| fault.to_string())?;
    println!("{counted}");
    Ok(())
}

fn count(contender: Contender, members: usize, in_flight: usize, windows: usize) -> Result<u64, Fault> {
    let server = Process::start_within(LIMIT, |place| {
        let program = contender.command(place)?;
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--fair-sched=yes"]);
        command.arg(format!("--callgrind-out-file={}", place.scratch.join("callgrind").display()));
        command.arg(program.get_program()).args(program.get_args());
        Ok(command)
    })?;
    let mut load = contender.load(&server)?.patient_for(LIMIT);
    load.add_room("room", BYTES, in_flight, members)?;
    load.open_all()?;
    for _ in 0..windows {
        carry_window(&mut load)?;
    }
    load.check()?;
    drop(load);
    let said = server.stop(LIMIT)?;
    let total = said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    total.ok_or_else(|| Fault::NotRun(format!("valgrind told no total: {said}")))
}

/// Publishes a window in one go, and waits until everybody has all of it: so the server finds the same every time.
fn carry_window(load: &mut Load) -> Result<(), Fault> {
    let begin = Instant::now();
    load.start();
    load.turn(Duration::ZERO)?;
    load.settle()?;
    if begin.elapsed() > LIMIT { Err(Fault::TooLong("a window")) } else { Ok(()) }
}
