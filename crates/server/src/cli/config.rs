//! `roomcast config`: what a configuration says, without running it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use roomcast_server::config::{Config, Flags, Loaded, check};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a file together with the environment; exit 2 and say all that is wrong if it cannot be used
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
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let text = match &arguments.action {
        Action::Check(file) => read(file).map(|_| "the configuration can be used\n".to_owned()),
        Action::Show(file) => read(file).map(|loaded| loaded.config.without_password().to_toml()),
        Action::Default { dev } => Ok(if *dev { Config::dev() } else { Config::default() }.to_toml()),
    };
    text.map_or_else(|refused| refused, super::print)
}

/// What a file comes to, or the exit code once all that is wrong with it was said.
fn read(file: &File) -> Result<Loaded, ExitCode> {
    let config = super::config_file(file.file.as_ref().or(file.config.as_ref()));
    let loaded = match check(&Flags { config, dev: file.dev, ..Flags::default() }) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(super::complain);
            return Err(ExitCode::from(2));
        }
    };
    for warning in &loaded.warnings {
        super::complain(format_args!("warning: {warning}"));
    }
    Ok(loaded)
}
