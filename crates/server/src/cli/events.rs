//! `roomcast events`: the log of room events.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use roomcast_server::config::{Config, Flags, load};
use roomcast_server::{EventsError, event_tools};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say how far the log and the backend are
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Print events as lines of JSON
    List {
        /// The first of them; without it, the one that the backend is to be told next
        #[arg(long, value_name = "OFFSET")]
        from: Option<u64>,
        /// The most events
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        place: Place,
    },
    /// Have the backend be told what comes behind an offset, on or back; stop the server first
    Skip {
        /// The event that counts as taken
        offset: u64,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the log is.
#[derive(Debug, Args)]
struct Place {
    /// A .toml, .yaml, .yml or .json file, as for `serve` [env: ROOMCAST_CONFIG]
    #[arg(long, value_name = "FILE", value_parser = super::path_parser())]
    config: Option<PathBuf>,
    /// Where the log is kept [default: data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Why nothing came of it, in words.
struct Failed(String);

impl From<EventsError> for Failed {
    fn from(error: EventsError) -> Self {
        Self(error.to_string())
    }
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let place = match &arguments.what {
        What::Status { place } | What::List { place, .. } | What::Skip { place, .. } => place,
    };
    let config = match place.config() {
        Ok(config) => config,
        Err(error) => return super::refuse(error),
    };
    let done = match arguments.what {
        What::Status { .. } => event_tools::status(&config).map_err(Failed::from).and_then(show),
        What::List { from, limit, .. } => event_tools::list(&config, from, limit, |lines| show(lines)),
        What::Skip { offset, .. } => event_tools::skip(&config, offset).map_err(Failed::from).and_then(show),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => super::fail(why),
    }
}

fn show(text: impl std::fmt::Display) -> Result<(), Failed> {
    super::try_print(text).map_err(Failed)
}

impl Place {
    fn config(&self) -> Result<Config, roomcast_server::config::ConfigError> {
        let config = super::config_file(self.config.as_ref());
        load(&Flags { config, data_dir: self.data_dir.clone(), ..Flags::default() }).map(|loaded| loaded.config)
    }
}
