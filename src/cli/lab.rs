//! `roomcast lab`: measure, and see how it scales.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The scenarios there are, a line each
    List,
    /// Print a scenario's file
    Show {
        /// One of `roomcast lab list`, or a file
        scenario: String,
    },
    /// Run a scenario once
    Run {
        /// One of `roomcast lab list`, or a file
        scenario: String,
        /// Where the results go
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Run it for many values of one knob or two
    Sweep {
        /// What to turn: subscribers=1..10000, read=ref,clone,arc
        #[arg(long, value_name = "KNOB=VALUES", required = true)]
        knob: Vec<String>,
        /// Where the results go
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Hold two results against each other
    Compare {
        /// The folder of the first
        before: PathBuf,
        /// The folder of the second
        after: PathBuf,
    },
    /// Write the report of a result again
    Report {
        /// The folder of the result
        result: PathBuf,
    },
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.action {
        Action::List | Action::Show { .. } | Action::Run { .. } | Action::Sweep { .. } => super::fail("not built yet"),
        Action::Compare { .. } | Action::Report { .. } => super::fail("not built yet"),
    }
}
