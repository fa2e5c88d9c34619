//! `roomcast serve`: the server.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use roomcast_server::config::{Flags, Loaded, LogFormat, check};
use roomcast_server::{Reloading, logging};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Development mode: anybody may do everything the configuration does not forbid
    #[arg(long)]
    dev: bool,
    /// Let development mode listen where other machines can reach it
    #[arg(long, requires = "dev")]
    dev_anywhere: bool,
    /// Where to listen: an address, a port or both [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// A .toml, .yaml, .yml or .json file, one of Centrifugo 6 too [env: ROOMCAST_CONFIG]
    #[arg(long, value_name = "FILE", value_parser = super::path_parser())]
    config: Option<PathBuf>,
    /// Go without this option, although the file relies on it; may be said more than once
    #[arg(long, value_name = "KEY")]
    accept: Vec<String>,
    /// Where logs and messages are kept [default: data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// trace, debug, info, warn, error or off; or by module: info,roomcast=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How a line of the log looks [default: text]
    #[arg(long)]
    log_format: Option<Format>,
    /// Take the sockets and the rooms over from the server of the same data directory, if one runs, without a break
    #[arg(long)]
    take_over: bool,
    /// Threads that deliver messages [default: one per core]
    #[arg(long, value_name = "N")]
    shards: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let takes_over = arguments.take_over;
    let flags = arguments.into_flags();
    let loaded = match check(&flags) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(super::complain);
            return ExitCode::from(2);
        }
    };
    super::keep_private();
    let guard = match logging::start(&loaded.config) {
        Ok(guard) => guard,
        Err(error) => return super::fail(error),
    };
    announce(&loaded);
    let reloading = Reloading::new(flags, guard.control());
    let outcome = match takes_over {
        true => roomcast_server::take_over_and_reload(loaded.config, reloading),
        false => roomcast_server::run_and_reload(loaded.config, reloading),
    };
    drop(guard);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    }
}

/// Says what is begun, and what looks wrong about it.
fn announce(loaded: &Loaded) {
    for warning in loaded.warnings.iter().chain(&loaded.hint) {
        tracing::warn!("{warning}");
    }
    if !loaded.config.lets_anybody_in() {
        tracing::warn!(
            "no client can connect: set a key in [client.token], or run `roomcast serve --dev` to try it without tokens"
        );
    }
    let client = &loaded.config.client;
    if client.insecure || client.insecure_skip_token_signature_verify {
        tracing::warn!(
            "insecure mode: clients are believed whatever they say, and anybody who reaches the server may pretend to be somebody else"
        );
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data_dir = %loaded.config.data_dir.display(), "starting");
}

impl Arguments {
    fn into_flags(self) -> Flags {
        Flags {
            dev: self.dev,
            dev_anywhere: self.dev_anywhere,
            config: super::config_file(self.config.as_ref()),
            listen: self.listen,
            data_dir: self.data_dir,
            log_level: self.log_level,
            log_format: self.log_format.map(|format| match format {
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            }),
            shards: self.shards,
            accept: self.accept,
            is_tool: false,
        }
    }
}
