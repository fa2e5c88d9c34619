//! What can be asked for.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::measure::{Cases, Effort, HEAP};
use crate::report;
use crate::run::{self, Plan};
use crate::workloads;

const USAGE: &str = "\
rivals                              measure everything and print the report
rivals [WORKLOAD…] [options]        measure these workloads: L1 L2 L3 … W13 basics
    --rival TEXT                    only contenders with TEXT in their name
    --case TEXT                     only rows with TEXT in their name
    --rounds N                      rounds (default 5)
    --quick                         short measurements, 2 rounds
    --out FILE                      write the report there
rivals list [WORKLOAD…] [options]   what would be measured
rivals measure [--quick] KEY        one measurement, in this process; KEY as in the list
rivals count WHAT CONTENDER N       do something N times, for callgrind to count instructions
";

/// Runs the program; `heap` counts the bytes on its heap, if it can.
pub fn main(heap: Option<fn() -> usize>) -> ExitCode {
    if let Some(heap) = heap {
        let _ = HEAP.set(heap);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("measure") => measure(&arguments[1..]),
        Some("count") => count(&arguments[1..]),
        Some("list") => parse(&arguments[1..]).map(|(plan, _)| list(&plan)),
        _ => parse(&arguments).and_then(|(plan, out)| everything(&plan, out)),
    }
    .map_or_else(
        |complaint| {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn parse(arguments: &[String]) -> Result<(Plan, Option<PathBuf>), String> {
    let (mut plan, mut out, mut rounds) = (Plan::default(), None, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().cloned().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--rival" => plan.rival = value()?,
            "--case" => plan.case = value()?,
            "--rounds" => rounds = Some(value()?.parse().map_err(|_| "--rounds wants a number".to_owned())?),
            "--quick" => plan.effort = Effort { quick: true },
            "--out" => out = Some(PathBuf::from(value()?)),
            option if option.starts_with('-') => return Err(USAGE.to_owned()),
            workload => plan.workloads.push(workload.to_owned()),
        }
    }
    plan.rounds = rounds.unwrap_or(plan.effort.choose(5, 2));
    Ok((plan, out))
}

fn everything(plan: &Plan, out: Option<PathBuf>) -> Result<(), String> {
    let cases = workloads::all();
    let results = run::rounds(plan, &cases)?;
    let text = report::markdown(plan, &cases, &results);
    match out {
        Some(path) => std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display())),
        None => print(&text),
    }
}

fn list(plan: &Plan) {
    let Cases { all, .. } = workloads::all();
    for case in all.iter().filter(|case| plan.wants(case)) {
        // A reader that has seen enough, like `head`, is no failure.
        let _ = print(&format!("{}\n", case.key()));
    }
}

fn measure(arguments: &[String]) -> Result<(), String> {
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let key = arguments.iter().find(|argument| *argument != "--quick").ok_or(USAGE)?;
    let all = workloads::all().all;
    let case = all.iter().find(|case| case.key() == *key).ok_or_else(|| format!("there is no {key}; see the list"))?;
    if case.counts_heap && HEAP.get().is_none() {
        return Err("this one is for the program `footprint`, which counts its heap".to_owned());
    }
    let figures = (case.run)(Effort { quick });
    print(&figures.iter().map(run::line).collect::<String>())
}

fn count(arguments: &[String]) -> Result<(), String> {
    let [what, contender, times] = arguments else { return Err(USAGE.to_owned()) };
    let times = times.parse().map_err(|_| "N is a number".to_owned())?;
    workloads::count(what, contender, times).ok_or_else(|| format!("{what} of {contender} cannot be counted"))
}

fn print(text: &str) -> Result<(), String> {
    stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}
