//! `roomcast config`: what a configuration says, without running it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use roomcast::server::config::{Config, ConfigError, Flags, Loaded, load};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a file together with the environment; exit 2 and say why if it cannot be used
    Check(File),
    /// Print what a file and the environment come to: the API key too, the password of the database not
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
    /// A .toml, .yaml, .yml or .json file; without one, only the environment counts
    #[arg(env = "ROOMCAST_CONFIG")]
    file: Option<PathBuf>,
    /// Read it as `serve --dev` would
    #[arg(long)]
    dev: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let outcome = match &arguments.action {
        Action::Check(file) => read(file).map(|_| "the configuration can be used\n".to_owned()),
        Action::Show(file) => read(file).map(|loaded| loaded.config.without_password().to_toml()),
        Action::Default { dev } => Ok(if *dev { Config::dev() } else { Config::default() }.to_toml()),
    };
    match outcome {
        Ok(text) => {
            super::print(text);
            ExitCode::SUCCESS
        }
        Err(error) => super::refuse(error),
    }
}

fn read(file: &File) -> Result<Loaded, ConfigError> {
    let flags = Flags { config: file.file.clone(), dev: file.dev, ..Flags::default() };
    let loaded = load(&flags)?;
    for warning in &loaded.warnings {
        super::complain(format_args!("warning: {warning}"));
    }
    Ok(loaded)
}
