//! The command line: what can be asked for, and how a refusal looks.
//!
//! Exit codes: 0 done, 1 the thing asked for failed, 2 it was asked for in a way that cannot work.

mod config;
mod db_tools;
mod events;
mod health;
#[cfg(feature = "lab")]
mod lab;
#[cfg(feature = "profile")]
mod profile;
#[cfg(feature = "lab")]
mod reading;
mod serve;
mod token;

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{CommandFactory as _, Parser, Subcommand};

/// Rooms on a website: history, presence and recovery over WebSocket, in one binary.
#[derive(Debug, Parser)]
#[command(name = "roomcast", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Arguments),
    /// Check or print a configuration
    Config(config::Arguments),
    /// Ask a running server whether it is well
    Health(health::Arguments),
    /// Make a connection token, signed by the secret of the configuration
    #[command(name = "gentoken")]
    GenToken(token::GenToken),
    /// Make a subscription token
    #[command(name = "gensubtoken")]
    GenSubToken(token::GenSubToken),
    /// Say whether a connection token is good
    #[command(name = "checktoken")]
    CheckToken(token::CheckToken),
    /// Say whether a subscription token is good
    #[command(name = "checksubtoken")]
    CheckSubToken(token::CheckToken),
    /// Print messages of a room that the database keeps
    History(db_tools::History),
    /// Write the messages of all rooms as lines of JSON
    Export(db_tools::Export),
    /// Read lines of JSON that `export` has written; stop the server first
    Import(db_tools::Import),
    /// Copy the database into a file, while the server runs
    Backup(db_tools::Backup),
    /// Read the whole database and say whether it is sound
    Check(db_tools::Check),
    /// Erase what a user has said, in all rooms; stop the server first
    Erase(db_tools::Erase),
    /// Remove the messages of a room; stop the server first
    RemoveHistory(db_tools::RemoveHistory),
    /// Look at the log of room events, and put its delivery on or back
    Events(events::Arguments),
    /// Measure, and see how it scales
    #[cfg(feature = "lab")]
    Lab(lab::Arguments),
}

/// Runs what the arguments ask for.
pub(crate) fn main() -> ExitCode {
    #[cfg(feature = "profile")]
    let _profile = profile::begin();
    // Before anything is read, the arguments among it.
    if std::env::args_os().nth(1).is_some_and(|command| command == "serve")
        && let Err(error) = roomcast_server::hold_hangups()
    {
        return fail(format_args!("the system does not let it hear signals: {error}"));
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => error.exit(),
        // What was asked for, such as --help.
        Err(text) => return print(text.render()),
    };
    match arguments.command {
        Some(Command::Serve(arguments)) => serve::run(arguments),
        Some(Command::Config(arguments)) => config::run(&arguments),
        Some(Command::Health(arguments)) => health::run(&arguments),
        Some(Command::GenToken(arguments)) => token::generate(&arguments),
        Some(Command::GenSubToken(arguments)) => token::generate_for_room(&arguments),
        Some(Command::CheckToken(arguments)) => token::check(&arguments),
        Some(Command::CheckSubToken(arguments)) => token::check_for_room(&arguments),
        Some(Command::History(arguments)) => db_tools::history(&arguments),
        Some(Command::Export(arguments)) => db_tools::export(&arguments),
        Some(Command::Import(arguments)) => db_tools::import(&arguments),
        Some(Command::Backup(arguments)) => db_tools::backup(&arguments),
        Some(Command::Check(arguments)) => db_tools::check(&arguments),
        Some(Command::Erase(arguments)) => db_tools::erase(&arguments),
        Some(Command::RemoveHistory(arguments)) => db_tools::remove_history(&arguments),
        Some(Command::Events(arguments)) => events::run(arguments),
        #[cfg(feature = "lab")]
        Some(Command::Lab(arguments)) => lab::run(&arguments),
        None => no_command(),
    }
}

/// Has everything this process writes be its owner's alone: messages, logs, copies.
fn keep_private() {
    use rustix::fs::Mode;
    let others = Mode::RWXG | Mode::RWXO;
    // Asked by setting it: what was taken away already stays so.
    let before = rustix::process::umask(others);
    rustix::process::umask(before | others);
}

fn no_command() -> ExitCode {
    let names: Vec<_> = Arguments::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    refuse(format_args!(
        "say what to do: {}; to try it: roomcast serve --dev, for help: roomcast --help",
        names.join(", ")
    ))
}

/// Says in one line why a request cannot work.
fn refuse(reason: impl Display) -> ExitCode {
    complain(reason);
    ExitCode::from(2)
}

/// Says in one line what failed.
fn fail(reason: impl Display) -> ExitCode {
    complain(reason);
    ExitCode::FAILURE
}

fn complain(line: impl Display) {
    // Nobody is left to tell when the standard error is closed.
    let _ = writeln!(std::io::stderr(), "roomcast: {line}");
}

/// Prints to the standard output, and says so where that fails.
fn print(text: impl Display) -> ExitCode {
    match try_print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(reason),
    }
}

/// The same, for what goes on; a reader that went away, as `head` does, is no failure.
fn try_print(text: impl Display) -> Result<(), String> {
    let mut out = std::io::stdout();
    let written = write!(out, "{text}").and_then(|()| out.flush());
    written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(unprinted(&error)) })
}

fn unprinted(error: &std::io::Error) -> String {
    format!("the standard output takes nothing: {error}")
}

/// The configuration file that a command was given, or that the environment names; an empty name there is none.
fn config_file(given: Option<&PathBuf>) -> Option<PathBuf> {
    given.cloned().or_else(|| std::env::var_os("ROOMCAST_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from))
}

/// A path that clap has no opinion about: an empty one is refused in our own words.
fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}
