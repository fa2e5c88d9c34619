//! `roomcast history`, `export`, `import`, `backup`, `check`, `erase`, `remove-history`: the database.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use roomcast_server::config::{Config, Flags, load};
use roomcast_server::db_tools::{self, HistoryRange, ToolError};

/// Where the database is.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// A .toml, .yaml, .yml or .json file, as for `serve` [env: ROOMCAST_CONFIG]
    #[arg(long, value_name = "FILE", value_parser = super::path_parser())]
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

/// Whether what cannot be undone is done.
#[derive(Debug, Args)]
struct Consent {
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Only say how many messages it would be; beside a running server, too
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Erase {
    /// The user's id
    user: String,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct RemoveHistory {
    /// The room
    room: String,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    place: Place,
}

pub(super) fn history(arguments: &History) -> ExitCode {
    let History { room, since, limit, reverse, place } = arguments;
    let part = HistoryRange { since: *since, limit: *limit, reverse: *reverse };
    done(place, |config| {
        let rest = db_tools::history(config, room, part, &mut output()).map_err(of(STANDARD_OUTPUT))?;
        if rest.messages > 0 {
            let (messages, since) = (rest.messages, rest.since);
            let direction = if *reverse { " --reverse" } else { "" };
            super::complain(format_args!(
                "{messages} more: go on with{direction} --since {since}, or show more with --limit"
            ));
        }
        Ok(None)
    })
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
            Some(file) => db_tools::export_to(config, is_meant, file, complain)?,
            None => db_tools::export(config, is_meant, &mut output(), complain).map_err(of(STANDARD_OUTPUT))?,
        };
        if damaged > 0 {
            return Err(ToolError::Incomplete { messages: count, rooms: damaged });
        }
        super::complain(format_args!("{count} messages written"));
        Ok(None)
    })
}

pub(super) fn import(arguments: &Import) -> ExitCode {
    done(&arguments.place, |config| {
        let imported = match arguments.file.to_str() {
            Some("-") => db_tools::import(config, &mut io::stdin().lock()),
            _ => File::open(&arguments.file)
                .map_err(ToolError::from)
                .and_then(|file| db_tools::import(config, &mut BufReader::new(file))),
        };
        let imported = imported.map_err(of(arguments.file.display()))?;
        Ok(Some(format!("{} messages imported, {} were there already\n", imported.messages, imported.skipped)))
    })
}

pub(super) fn backup(arguments: &Backup) -> ExitCode {
    let file = &arguments.file;
    done(&arguments.place, |config| {
        let restoring = db_tools::backup(config, file)?;
        Ok(Some(format!("{} is a copy of the database; to restore it, {restoring}\n", file.display())))
    })
}

pub(super) fn check(arguments: &Check) -> ExitCode {
    done(&arguments.place, |config| {
        let rooms = if db_tools::check(config)? { "" } else { "; there are no rooms in it" };
        Ok(Some(format!("the database is sound{rooms}\n")))
    })
}

pub(super) fn erase(arguments: &Erase) -> ExitCode {
    let user = &arguments.user;
    let (would, did) = (format!("by {user:?} would be erased for good"), "erased");
    for_good(
        &arguments.place,
        &arguments.consent,
        &would,
        did,
        |config| db_tools::erasable(config, user),
        |config| db_tools::erase(config, user),
    )
}

pub(super) fn remove_history(arguments: &RemoveHistory) -> ExitCode {
    let room = &arguments.room;
    let (would, did) = (format!("of {room:?} would be removed for good"), "removed");
    for_good(
        &arguments.place,
        &arguments.consent,
        &would,
        did,
        |config| db_tools::removable(config, room),
        |config| db_tools::remove(config, room),
    )
}

/// Does what cannot be undone, when somebody has said that it is meant.
fn for_good(
    place: &Place,
    consent: &Consent,
    would: &str,
    did: &str,
    count: impl Fn(&Config) -> Result<u64, ToolError>,
    work: impl Fn(&Config) -> Result<u64, ToolError>,
) -> ExitCode {
    if consent.dry_run {
        return done(place, |config| Ok(Some(format!("{} messages {would}\n", count(config)?))));
    }
    let mut is_meant = consent.yes;
    if !is_meant {
        if !io::stdin().is_terminal() {
            return super::refuse(
                "this cannot be undone: add --yes to do it, or --dry-run to see how many messages it would be",
            );
        }
        let asked = done(place, |config| {
            super::complain(format_args!("{} messages {would}. Type yes to go on:", count(config)?));
            let mut answer = String::new();
            io::stdin().read_line(&mut answer).map_err(ToolError::from).map_err(of("the answer"))?;
            is_meant = answer.trim().eq_ignore_ascii_case("yes");
            Ok(None)
        });
        if !is_meant {
            return if asked == ExitCode::SUCCESS { super::fail("nothing was changed") } else { asked };
        }
    }
    done(place, |config| Ok(Some(format!("{} messages {did}\n", work(config)?))))
}

/// Does something with the database, and says how it went.
fn done(place: &Place, work: impl FnOnce(&Config) -> Result<Option<String>, ToolError>) -> ExitCode {
    let flags = Flags {
        config: super::config_file(place.config.as_ref()),
        data_dir: place.data_dir.clone(),
        is_tool: true,
        ..Flags::default()
    };
    let loaded = match load(&flags) {
        Ok(loaded) => loaded,
        Err(error) => return super::refuse(error),
    };
    super::keep_private();
    match work(&loaded.config) {
        Ok(text) => super::print(text.unwrap_or_default()),
        // A reader that went away, as `head` does, is no failure.
        Err(ToolError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    }
}

/// Says of what an error is, which systems do not.
fn of(name: impl Display) -> impl Fn(ToolError) -> ToolError {
    move |error| match error {
        ToolError::Io(error) => io::Error::new(error.kind(), format!("{name}: {error}")).into(),
        other => other,
    }
}

const STANDARD_OUTPUT: &str = "the standard output";

fn output() -> impl Write {
    BufWriter::new(io::stdout().lock())
}
