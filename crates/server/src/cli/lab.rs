//! `roomcast lab`: measure, and see how it scales.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use roomcast_lab::measure::{self, Asking};
use roomcast_lab::network::Server;
use roomcast_lab::result::Report;
use roomcast_lab::scenario::{self, Wrong};
use roomcast_lab::watch::Person;
use roomcast_lab::{knob, output, report};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The scenarios there are, a line each
    List,
    /// The knobs there are, and what they take
    Knobs,
    /// Print a scenario's file
    Show {
        /// One of `roomcast lab list`, or a file that ends in .toml
        scenario: String,
    },
    /// Run a scenario
    Run {
        /// One of `roomcast lab list`, or a file that ends in .toml
        scenario: String,
        #[command(flatten)]
        how: How,
    },
    /// Turn one knob or two, and measure at every value
    Sweep {
        /// What to turn, once or twice: subscribers=1..10000, size=16..65536/9, read=ref,clone,arc
        #[arg(long, value_name = "KNOB=VALUES", required_unless_present = "plan", conflicts_with = "plan")]
        knob: Vec<String>,
        /// Where everything else stands [default: one room, a second, three times]
        #[arg(long, value_name = "SCENARIO", conflicts_with = "plan")]
        scenario: Option<String>,
        /// Many sweeps: every-knob, or a file that ends in .toml
        #[arg(long, value_name = "PLAN")]
        plan: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Hold two results against each other
    Compare {
        /// The folder of the first
        before: PathBuf,
        /// The folder of the second
        after: PathBuf,
        /// Write a page as well
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Write the report of a result again
    Report {
        /// The folder of the result
        result: PathBuf,
    },
}

#[derive(Debug, Args)]
struct How {
    /// Where the results go: a folder without any
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace results that are there
    #[arg(long)]
    overwrite: bool,
    /// Say a key of the scenario otherwise: subscribers=50, target=network, drive=open, seconds=2, repeats=1, seed=7
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A server that is there: ws://host:port/path [default: one is started]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The process of that server, where it is on this machine
    #[arg(long, value_name = "PID", requires = "server")]
    server_pid: Option<u32>,
}

/// What went wrong, and whose fault it is.
enum Trouble {
    /// It was asked for in a way that cannot work.
    Asked(String),
    /// It was tried.
    Failed(String),
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let outcome = match &arguments.action {
        Action::List => list(),
        Action::Knobs => knobs(),
        Action::Show { scenario } => scenario::text(scenario).map_err(Trouble::from).and_then(print),
        Action::Run { scenario, how } => run_one(scenario, how),
        Action::Sweep { knob, scenario, plan, how } => sweep(knob, scenario.as_deref(), plan.as_deref(), how),
        Action::Compare { before, after, html } => {
            super::reading::compare(before, after, html.as_deref()).map_err(Trouble::Failed)
        }
        Action::Report { result } => super::reading::report(result).map_err(Trouble::Failed),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Asked(why)) => super::refuse(why),
        Err(Trouble::Failed(why)) => super::fail(why),
    }
}

fn list() -> Result<(), Trouble> {
    let width = scenario::LIBRARY.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, text) in scenario::LIBRARY {
        let scenario = scenario::parse(text, &[])?;
        let seconds = scenario.seconds * scenario.repeats as f64;
        print(format_args!("{name:width$}  {} ({}, {seconds} s)\n", scenario.about, scenario.target))?;
    }
    Ok(())
}

fn knobs() -> Result<(), Trouble> {
    for knob in knob::KNOBS {
        let on: Vec<String> = knob.on.iter().map(ToString::to_string).collect();
        print(format_args!("{:12} {} ({}; {})\n", knob.name, knob.about, knob.domain(), on.join(", ")))?;
    }
    Ok(())
}

fn print(text: impl std::fmt::Display) -> Result<(), Trouble> {
    super::try_print(text).map_err(Trouble::Failed)
}

fn run_one(name: &str, how: &How) -> Result<(), Trouble> {
    let text = scenario::text(name)?;
    let scenario = scenario::parse(&text, &how.otherwise()?)?;
    how.check()?;
    let report = measure::run(&text, &scenario, &how.asking(), &mut Person::new())?;
    finish(&how.out, &report)
}

fn sweep(knobs: &[String], scenario: Option<&str>, plan: Option<&str>, how: &How) -> Result<(), Trouble> {
    let otherwise = how.otherwise()?;
    let (name, about, text, sweeps) = match plan {
        Some(plan) => {
            if !otherwise.is_empty() {
                return Err(Trouble::Asked(
                    "--set and --plan do not go together: change a copy of the plan".to_owned(),
                ));
            }
            let text = plan_text(plan)?;
            let (name, about, sweeps) = measure::plan(&text)?;
            (name, about, text, sweeps)
        }
        None => {
            let text = scenario.map_or_else(|| Ok(BASE.to_owned()), scenario::text)?;
            let base = scenario::parse(&text, &otherwise)?;
            let sweeps = measure::sweeps(&text, &otherwise, knobs)?;
            (base.name, base.about, text, sweeps)
        }
    };
    how.check()?;
    let report = measure::sweep((&name, &about), &text, &sweeps, &how.asking(), &mut Person::new())?;
    finish(&how.out, &report)
}

fn plan_text(plan: &str) -> Result<String, Trouble> {
    if plan == "every-knob" {
        return Ok(measure::EVERY_KNOB.to_owned());
    }
    if !plan.ends_with(".toml") {
        return Err(Trouble::Asked(format!("there is no plan {plan:?}: every-knob, or a file that ends in .toml")));
    }
    std::fs::read_to_string(plan).map_err(|error| Trouble::Asked(format!("{plan} cannot be read: {error}")))
}

fn finish(out: &Path, results: &Report) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(format!("{} cannot be written: {error}", out.display()));
    output::write(out, results).map_err(failed)?;
    let page = report::write(results, out).map_err(|error| Trouble::Failed(error.to_string()))?;
    for note in &results.notes {
        super::complain(note);
    }
    print(format_args!("{}\n", page.display()))?;
    let runs = results.series.iter().flat_map(|series| &series.points).flat_map(|point| &point.repeats);
    match runs.filter(|run| !run.checks.is_clean()).count() {
        0 => Ok(()),
        1 => Err(Trouble::Failed("in one measurement messages were lost, twice or out of order".to_owned())),
        wrong => Err(Trouble::Failed(format!("in {wrong} measurements messages were lost, twice or out of order"))),
    }
}

impl How {
    /// Results are hours of measuring: what is there is not replaced by the way.
    fn check(&self) -> Result<(), Trouble> {
        let there = self.out.join(roomcast_lab::result::FILE);
        if self.overwrite || !there.exists() {
            return Ok(());
        }
        Err(Trouble::Asked(format!(
            "{} is there already: say another folder with --out, or --overwrite to replace what is in it",
            there.display()
        )))
    }

    fn otherwise(&self) -> Result<Vec<(String, toml::Value)>, Wrong> {
        self.set.iter().map(|set| scenario::setting(set)).collect()
    }

    fn asking(&self) -> Asking {
        let mut asking = Asking::default();
        asking.command = std::env::args().skip(1).fold("roomcast".to_owned(), |all, next| all + " " + &next);
        asking.server = Server::default();
        asking.server.url = self.server.clone();
        asking.server.process = self.server_pid;
        asking
    }
}

impl From<Wrong> for Trouble {
    fn from(wrong: Wrong) -> Self {
        Self::Asked(wrong.to_string())
    }
}

impl From<roomcast_lab::Fault> for Trouble {
    fn from(fault: roomcast_lab::Fault) -> Self {
        Self::Failed(fault.to_string())
    }
}

/// What a sweep begins with that names no scenario.
const BASE: &str = "name = \"sweep\"\nseconds = 1.0\nwarmup = 0.1\nrepeats = 3\n";
