//! Counts instructions, which do not depend on what else the machine does: of the library's calls, and of a delivery of the
//! server. Callgrind counts, two runs that differ in nothing but how often they do it are subtracted.

mod count;
mod library;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::{env, fs};

use harness::origin::{Origin, said};
use harness::{cli, machine};

const USAGE: &str = "\
instructions [--only library|server] [--before FILE] [--out FILE]
    --before FILE    a report whose figures are put beside
instructions count ROW true|false N    do something N times, with what is counted or without";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    cli::finish(match arguments.first().map(String::as_str) {
        Some("count") => run(&arguments[1..]),
        _ => everything(&arguments),
    })
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [name, counted, times] = arguments else { return Err(USAGE.to_owned()) };
    let row = library::ROWS.iter().find(|row| row.name == name).ok_or_else(|| format!("there is no row {name}"))?;
    let times = times.parse().map_err(|_| "N is a number".to_owned())?;
    row.run(counted == "true", times).ok_or_else(|| "nothing is taken off there".to_owned())
}

fn everything(arguments: &[String]) -> Result<(), String> {
    let (mut only, mut before, mut out) = (String::new(), String::new(), None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().cloned().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--only" => only = value()?,
            "--before" => before = fs::read_to_string(value()?).unwrap_or_default(),
            "--out" => out = Some(value()?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let mut table = format!(
        "{}{HEAD}",
        head(&Origin::of("src crates Cargo.lock benches/harness benches/server benches/instructions"))
    );
    if let Some(commit) = before.lines().find_map(|line| line.strip_prefix("* commit: ")) {
        table = table.replacen("* machine", &format!("* before: commit {commit}\n* machine"), 1);
    }
    let mut add = |name: &str, counted: Result<f64, String>| {
        let counted = counted.map_err(|error| format!("{name}: {error}"))?;
        let earlier = figure(&before, name);
        let change = earlier.map_or("–".to_owned(), |earlier| format!("{:+.1} %", (counted / earlier - 1.0) * 100.0));
        let earlier = earlier.map_or("–".to_owned(), |earlier| format!("{earlier:.1}"));
        let _ = writeln!(table, "| {name} | {counted:.1} | {earlier} | {change} |");
        eprintln!("{name}: {counted:.1} (before {earlier}, {change})");
        Ok::<_, String>(())
    };
    if only != "server" {
        for row in library::ROWS {
            add(row.name, count::of_row(row))?;
        }
    }
    if only != "library" {
        for delivery in count::DELIVERIES {
            let name = format!("delivery of the server, {}, {} in flight", delivery.about, delivery.in_flight);
            add(&name, count::of_server(delivery))?;
        }
    }
    match out {
        Some(path) => fs::write(&path, table).map_err(|error| format!("{path}: {error}")),
        None => Ok(()),
    }
}

/// The figure of that row in an earlier report.
fn figure(report: &str, name: &str) -> Option<f64> {
    report.lines().find_map(|line| line.strip_prefix(&format!("| {name} | "))?.split(' ').next()?.parse().ok())
}

const HEAD: &str = "| what | instructions | before | change |\n|---|--:|--:|--:|\n";

fn head(origin: &Origin) -> String {
    format!(
        "# Instructions\n\n\
         Written by `make instructions`; do not edit. Callgrind counts; two runs that differ in nothing but how often they do \
         it are subtracted. Messages of the library are `u64`; a *receive* is what a reader more costs for a message, in \
         bursts of 64. A *delivery of the server* is what a real server process executes, its handling of publishes \
         included, for each message that one of 100 members receives; messages of 128 bytes in JSON come in windows: the \
         next one begins when everybody has the one before. What the kernel executes is not counted. Of a delivery over TLS \
         most is encryption, by the instructions that callgrind knows; a processor with wider ones executes fewer. *Before* are \
         the figures of the report that was checked in.\n\n\
         * date: {}\n{}* machine: {}\n* compiler: {}, {}\n\n",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        origin.lines(),
        machine::description(),
        said("rustc", &["--version"]),
        said("valgrind", &["--version"]),
    )
}
