//! `roomcast history`, `export`, `import`, `backup`, `check`, `erase`, `remove-history`: the database.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use roomcast::server::config::{Config, Flags, load};
use roomcast::server::storage::{self, Part, ToolError};

/// Where the database is.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// A .toml, .yaml, .yml or .json file, as for `serve`
    #[arg(long, value_name = "FILE", env = "ROOMCAST_CONFIG")]
    config: Option<PathBuf>,
    /// Where the database is kept [default: data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct History {
    /// The room
    room: String,
    /// Only what comes after this offset; with --reverse, before it
    #[arg(long, value_name = "OFFSET")]
    since: Option<u64>,
    /// The most messages
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// From the newest down
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Rooms whose names begin with this; all without it
    prefix: Option<String>,
    /// The file to write; without it, the standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// What `roomcast export` has written; - for the standard input
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write, which must not exist
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Erase {
    /// The user's id
    user: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct RemoveHistory {
    /// The room
    room: String,
    #[command(flatten)]
    place: Place,
}

pub(super) fn history(arguments: &History) -> ExitCode {
    let History { room, since, limit, reverse, place } = arguments;
    let part = Part { since: *since, limit: *limit, reverse: *reverse };
    done(place, |config| storage::history(config, room, part, &mut output()).map(|()| None))
}

pub(super) fn export(arguments: &Export) -> ExitCode {
    let prefix = arguments.prefix.as_deref().unwrap_or_default();
    done(&arguments.place, |config| {
        let mut damaged = 0;
        let complain = |room: &str, error: &_| {
            damaged += 1;
            super::complain(format_args!("{room:?} could not be read to its end: {error}"));
        };
        let is_meant = |room: &str| room.starts_with(prefix);
        let count = match &arguments.out {
            Some(file) => storage::export_to(config, is_meant, file, complain)?,
            None => storage::export(config, is_meant, &mut output(), complain)?,
        };
        super::complain(format_args!("{count} messages written, {damaged} rooms not to their end"));
        Ok(None)
    })
}

pub(super) fn import(arguments: &Import) -> ExitCode {
    done(&arguments.place, |config| {
        let imported = match arguments.file.to_str() {
            Some("-") => storage::import(config, &mut io::stdin().lock())?,
            _ => storage::import(config, &mut BufReader::new(File::open(&arguments.file)?))?,
        };
        Ok(Some(format!("{} messages imported, {} were there already\n", imported.messages, imported.skipped)))
    })
}

pub(super) fn backup(arguments: &Backup) -> ExitCode {
    let file = &arguments.file;
    done(&arguments.place, |config| {
        storage::backup(config, file)?;
        Ok(Some(format!("{} is a copy of the database; put it in place of rooms.db to restore it\n", file.display())))
    })
}

pub(super) fn check(arguments: &Check) -> ExitCode {
    done(&arguments.place, |config| {
        let rooms = if storage::check(config)? { "" } else { "; there are no rooms in it" };
        Ok(Some(format!("the database is sound{rooms}\n")))
    })
}

pub(super) fn erase(arguments: &Erase) -> ExitCode {
    done(&arguments.place, |config| {
        storage::erase(config, &arguments.user).map(|count| Some(format!("{count} messages erased\n")))
    })
}

pub(super) fn remove_history(arguments: &RemoveHistory) -> ExitCode {
    done(&arguments.place, |config| {
        storage::remove(config, &arguments.room).map(|count| Some(format!("{count} messages removed\n")))
    })
}

/// Does something with the database, and says how it went.
fn done(place: &Place, work: impl FnOnce(&Config) -> Result<Option<String>, ToolError>) -> ExitCode {
    let flags = Flags { config: place.config.clone(), data_dir: place.data_dir.clone(), ..Flags::default() };
    let loaded = match load(&flags) {
        Ok(loaded) => loaded,
        Err(error) => return super::refuse(error),
    };
    super::keep_private();
    match work(&loaded.config) {
        Ok(text) => {
            super::print(text.unwrap_or_default());
            ExitCode::SUCCESS
        }
        // A reader that went away, as `head` does, is no failure.
        Err(ToolError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    }
}

fn output() -> impl Write {
    BufWriter::new(io::stdout().lock())
}
