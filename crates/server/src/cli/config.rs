//! `roomcast config`: what a configuration says, without running it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use roomcast_server::config::{Answer, Config, Flags, Loaded, Review, Verdict, review};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a file together with the environment, key by key, one of Centrifugo 6 too; exit 2 and say all that is wrong if it
    /// cannot be used
    Check(File),
    /// Print what a file and the environment come to: the API key too, the password of the database and the secrets of tokens not
    Show(File),
    /// Print every option with its default
    Default {
        /// The defaults of development mode
        #[arg(long)]
        dev: bool,
    },
}

#[derive(Debug, Args)]
struct File {
    /// A .toml, .yaml, .yml or .json file; without one, only the environment counts [env: ROOMCAST_CONFIG]
    #[arg(value_parser = super::path_parser())]
    file: Option<PathBuf>,
    /// The same, said as to `serve`
    #[arg(long, value_name = "FILE", conflicts_with = "file", value_parser = super::path_parser())]
    config: Option<PathBuf>,
    /// Read it as `serve --dev` would
    #[arg(long)]
    dev: bool,
    /// Go without this option, although the file relies on it; may be said more than once
    #[arg(long, value_name = "KEY")]
    accept: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.action {
        Action::Check(file) => check(&file.review()),
        Action::Show(file) => match usable(file.review()) {
            Ok(loaded) => super::print(loaded.config.without_password().to_toml()),
            Err(refused) => refused,
        },
        Action::Default { dev } => super::print(if *dev { Config::dev() } else { Config::default() }.to_toml()),
    }
}

impl File {
    fn review(&self) -> Review {
        let config = super::config_file(self.file.as_ref().or(self.config.as_ref()));
        review(&Flags { config, dev: self.dev, accept: self.accept.clone(), ..Flags::default() })
    }
}

/// Says what becomes of each option, and whether the whole can be used.
fn check(review: &Review) -> ExitCode {
    let is_missed = |answer: &Answer| !matches!(answer.verdict, Verdict::Holds | Verdict::Differs(_));
    // What is not served is told with the other options; what is left is said as problems and warnings are.
    let is_told = |line: &str| review.answers.iter().any(|answer| is_missed(answer) && line.starts_with(&answer.place));
    review.problems.iter().for_each(super::complain);
    let warnings = review.loaded.warnings.iter().filter(|warning| !is_told(warning));
    for warning in warnings.chain(&review.loaded.hint) {
        super::complain(format_args!("warning: {warning}"));
    }
    let mut said: Vec<String> = review.answers.iter().map(|answer| format!("{answer}\n")).collect();
    if !said.is_empty() {
        said.push(format!("{}\n", summary(&review.answers)));
    }
    let can_be_used = review.problems.is_empty();
    if can_be_used {
        said.push("the configuration can be used\n".to_owned());
    }
    let printed = super::print(said.concat());
    if can_be_used { printed } else { ExitCode::from(2) }
}

/// How many options hold, and how many do not.
fn summary(answers: &[Answer]) -> String {
    let count = |is: fn(&Verdict) -> bool| answers.iter().filter(|answer| is(&answer.verdict)).count();
    format!(
        "{} hold, {} differ, {} unused, {} missing, {} refused",
        count(|verdict| matches!(verdict, Verdict::Holds)),
        count(|verdict| matches!(verdict, Verdict::Differs(_))),
        count(|verdict| matches!(verdict, Verdict::Unused(_))),
        count(|verdict| matches!(verdict, Verdict::Missing(_))),
        count(|verdict| matches!(verdict, Verdict::Refused(_))),
    )
}

/// What a file comes to, or the exit code once all that is wrong with it was said.
fn usable(review: Review) -> Result<Loaded, ExitCode> {
    review.problems.iter().for_each(super::complain);
    if !review.problems.is_empty() {
        return Err(ExitCode::from(2));
    }
    for warning in &review.loaded.warnings {
        super::complain(format_args!("warning: {warning}"));
    }
    Ok(review.loaded)
}
