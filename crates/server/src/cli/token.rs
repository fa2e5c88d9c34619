//! `roomcast gentoken` and its like: tokens by the configuration, for trying out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use roomcast_server::config::{Client, Flags, load};
use roomcast_server::token_tools::{
    check_connection_token, check_subscription_token, make_connection_token, make_subscription_token,
};

#[derive(Debug, Args)]
pub(super) struct GenToken {
    /// The user; none: an anonymous one
    #[arg(short, long, default_value = "")]
    user: String,
    #[command(flatten)]
    made: Made,
}

#[derive(Debug, Args)]
pub(super) struct GenSubToken {
    /// The user; none: an anonymous one
    #[arg(short, long, default_value = "")]
    user: String,
    /// The room that it opens
    #[arg(short = 's', long)]
    channel: String,
    #[command(flatten)]
    made: Made,
}

#[derive(Debug, Args)]
struct Made {
    /// How many seconds it is good for; -1: for good
    #[arg(short, long, default_value_t = 7 * 24 * 60 * 60, allow_negative_numbers = true)]
    ttl: i64,
    /// Print the token and nothing else
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, Args)]
pub(super) struct CheckToken {
    /// The token
    token: String,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, Args)]
struct By {
    /// A .toml, .yaml, .yml or .json file with the keys [env: ROOMCAST_CONFIG]
    #[arg(short, long, value_name = "FILE", value_parser = super::path_parser())]
    config: Option<PathBuf>,
}

pub(super) fn generate(arguments: &GenToken) -> ExitCode {
    let GenToken { user, made } = arguments;
    made.print(&whose(user), |client, ttl| make_connection_token(client, user, ttl))
}

pub(super) fn generate_for_room(arguments: &GenSubToken) -> ExitCode {
    let GenSubToken { user, channel, made } = arguments;
    let whose = format!("{} and channel {channel:?}", whose(user));
    made.print(&whose, |client, ttl| make_subscription_token(client, user, channel, ttl))
}

pub(super) fn check(arguments: &CheckToken) -> ExitCode {
    arguments.print(|client, token| {
        let user = check_connection_token(client, token)?;
        Ok(format!("valid token for {}\n", whose(&user)))
    })
}

pub(super) fn check_for_room(arguments: &CheckToken) -> ExitCode {
    arguments.print(|client, token| {
        let (user, room) = check_subscription_token(client, token)?;
        Ok(format!("valid subscription token for {} and channel {room:?}\n", whose(&user)))
    })
}

impl Made {
    fn print(&self, whose: &str, make: impl FnOnce(&Client, Option<Duration>) -> Option<String>) -> ExitCode {
        let ttl = match self.ttl {
            -1 => None,
            seconds if seconds > 0 => Some(Duration::from_secs(seconds.unsigned_abs())),
            seconds => return super::refuse(format_args!("--ttl {seconds}: expected seconds, or -1 for no end")),
        };
        let client = match self.by.client() {
            Ok(client) => client,
            Err(refused) => return refused,
        };
        let Some(token) = make(&client, ttl) else {
            return super::refuse(
                "the configuration has no secret to sign with: set `hmac_secret_key` in [client.token] (or in \
                 [client.subscription_token] where that is enabled)",
            );
        };
        if self.quiet {
            return super::print(format_args!("{token}\n"));
        }
        let end = ttl.map_or_else(
            || "without expiration".to_owned(),
            |ttl| format!("with expiration TTL {}", humantime::format_duration(ttl)),
        );
        super::print(format_args!("HMAC SHA-256 JWT for {whose} {end}:\n{token}\n"))
    }
}

impl CheckToken {
    fn print(&self, check: impl FnOnce(&Client, &str) -> Result<String, &'static str>) -> ExitCode {
        let client = match self.by.client() {
            Ok(client) => client,
            Err(refused) => return refused,
        };
        check(&client, self.token.trim()).map_or_else(super::fail, super::print)
    }
}

impl By {
    fn client(&self) -> Result<Client, ExitCode> {
        let config = super::config_file(self.config.as_ref());
        load(&Flags { config, is_tool: true, ..Flags::default() })
            .map(|loaded| loaded.config.client)
            .map_err(super::refuse)
    }
}

fn whose(user: &str) -> String {
    if user.is_empty() { "anonymous user".to_owned() } else { format!("user {user:?}") }
}
