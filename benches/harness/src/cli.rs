//! What can be asked for.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::Suite;
use crate::measure::{Effort, HEAP};
use crate::report;
use crate::run::{self, Plan};

/// Does what the arguments of the program ask for.
pub fn main(suite: &Suite) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    finish(match arguments.first().map(String::as_str) {
        Some("measure") => measure(suite, &arguments[1..]),
        Some("list") => parse(suite, &arguments[1..]).map(|(plan, _)| list(suite, &plan)),
        _ => parse(suite, &arguments).and_then(|(plan, out)| everything(suite, &plan, out)),
    })
}

/// Ends a program, with a complaint if there is one.
pub fn finish(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

/// How the program is used.
pub fn usage(suite: &Suite) -> String {
    let Suite { program, titles, rounds: (full, quick), usage, .. } = suite;
    let workloads: Vec<_> = titles.iter().map(|(workload, _)| *workload).collect();
    let workloads = workloads.join(" ");
    format!(
        "{program}                              measure everything and print the report
{program} [WORKLOAD…] [options]        measure these workloads: {workloads}
    --rival TEXT                    only contenders with TEXT in their name
    --case TEXT                     only rows with TEXT in their name
    --rounds N                      rounds (default {full}, quick {quick})
    --quick                         short measurements, few rounds
    --out FILE                      write the report there
{program} list [WORKLOAD…] [options]   what would be measured
{program} measure [--quick] KEY        one measurement, in this process; KEY as in the list
{usage}"
    )
}

fn parse(suite: &Suite, arguments: &[String]) -> Result<(Plan, Option<PathBuf>), String> {
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
            option if option.starts_with('-') => return Err(usage(suite)),
            workload => plan.workloads.push(workload.to_owned()),
        }
    }
    let (full, quick) = suite.rounds;
    plan.rounds = rounds.unwrap_or(plan.effort.choose(full, quick));
    Ok((plan, out))
}

fn everything(suite: &Suite, plan: &Plan, out: Option<PathBuf>) -> Result<(), String> {
    let results = run::rounds(suite, plan)?;
    let text = report::markdown(suite, plan, &results);
    match out {
        Some(path) => std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?,
        None => print(&text)?,
    }
    // Ours, in all its settings; what a rival cannot do is a result.
    let is_ours = |key: &str| key.rsplit(" | ").next().is_some_and(|who| who.starts_with(suite.base));
    let failed = |(key, outcome): (&String, &run::Outcome)| {
        outcome.failure.as_ref().filter(|_| is_ours(key)).map(|_| key.clone())
    };
    let failures: Vec<String> = results.outcomes.iter().filter_map(failed).collect();
    match failures.is_empty() {
        true => Ok(()),
        false => Err(format!("failed: {}", failures.join("; "))),
    }
}

fn list(suite: &Suite, plan: &Plan) {
    for case in suite.cases.all.iter().filter(|case| plan.wants(case)) {
        // A reader that has seen enough, like `head`, is no failure.
        let _ = print(&format!("{}\n", case.key()));
    }
}

fn measure(suite: &Suite, arguments: &[String]) -> Result<(), String> {
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let key = arguments.iter().find(|argument| *argument != "--quick").ok_or_else(|| usage(suite))?;
    let all = &suite.cases.all;
    let case = all.iter().find(|case| case.key() == *key).ok_or_else(|| format!("there is no {key}; see the list"))?;
    if case.counts_heap && HEAP.get().is_none() {
        return Err("this one is for the program `footprint`, which counts its heap".to_owned());
    }
    let figures = (case.run)(Effort { quick })?;
    print(&figures.iter().map(run::line).collect::<String>())
}

fn print(text: &str) -> Result<(), String> {
    stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}
