//! Where the server is, read strictly: what is not where it belongs may be part of the password, and would be shown as something
//! else.

use std::str::FromStr as _;

use postgres::Config;
use postgres::config::Host;

use crate::store::address::{self, Address};
use crate::store::error::{StoreError, StoreErrorKind};

/// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or words as libpq has them.
///
/// # Errors
/// When it is none. What is wrong with it is not repeated: it may be in the password.
pub(super) fn parse(url: &str) -> Result<Config, StoreError> {
    if Address::is_url(url) && Address::of(url).is_none() {
        return Err(unreadable());
    }
    if url.split(['?', '&']).flat_map(str::split_whitespace).any(|part| ENCRYPTED.contains(&part)) {
        let text = "connections to PostgreSQL are not encrypted by this program: leave sslmode out, and reach a server that is \
                    not on this machine or in a network of your own through a tunnel";
        return Err(StoreError::new(StoreErrorKind::Other, text));
    }
    let config = Config::from_str(url).map_err(|_| unreadable())?;
    let is_name = |host: &Host| match host {
        Host::Tcp(name) => !name.is_empty() && !name.contains(|c: char| !address::is_of_names(c)),
        Host::Unix(_) => true,
    };
    match config.get_hosts().iter().all(is_name) {
        true => Ok(config),
        false => Err(unreadable()),
    }
}

/// What asks for a connection that nobody else can read.
const ENCRYPTED: [&str; 3] = ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"];

fn unreadable() -> StoreError {
    let text = "the URL of the PostgreSQL server cannot be read; it looks like \
                postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters in the password (%40 for @, \
                %2F for /, %3A for :)";
    StoreError::new(StoreErrorKind::Other, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_part_of_a_password_is_taken_for_nothing_else() {
        for url in [
            "postgres://chat:Pa@ssw0rd@127.0.0.1:1/rooms",
            "postgresql://chat:Pa@ssw0rd@127.0.0.1:1/rooms",
            "postgres://chat:Pa/ssw0rd@127.0.0.1/rooms",
            "postgres://chat:Pa#ssw0rd@127.0.0.1/rooms",
            "postgres://chat:Pa?ssw0rd@127.0.0.1/rooms",
            "postgres://chat:1?ssw0rd=1@127.0.0.1/rooms",
            "postgres://chat:1/ssw0rd@127.0.0.1/rooms",
            "postgres://chat:Pa ssw0rd@127.0.0.1/rooms",
            "postgres://chat:Pa[ssw0rd@127.0.0.1/rooms",
            "postgres://chat:ssw0rd",
            "postgres://chat:Pa:ssw0rd",
            "postgres://127.0.0.1/rooms/ssw0rd",
            "postgres://127.0.0.1/rooms@ssw0rd",
            "host=Pa@ssw0rd user=chat",
            "ssw0rd",
        ] {
            let error = parse(url).expect_err(url);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("looks like postgres://USER") && !shown.contains("ssw0rd"), "{url}: {shown}");
        }
    }

    #[test]
    fn that_connections_are_not_encrypted_is_said_and_the_server_is_not_blamed() {
        for url in [
            "postgres://chat:ssw0rd@127.0.0.1/rooms?sslmode=require",
            "postgres://chat:ssw0rd@127.0.0.1/rooms?connect_timeout=3&sslmode=verify-full",
            "host=127.0.0.1 password=ssw0rd sslmode=verify-ca",
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(error.contains("not encrypted by this program") && !error.contains("ssw0rd"), "{error}");
        }
        assert!(parse("postgres://chat@127.0.0.1/rooms?sslmode=prefer").is_ok());
        assert!(parse("postgres://chat:sslmode=require@127.0.0.1/rooms").is_ok(), "a password is what it is");
    }

    #[test]
    fn usual_places_are_read() {
        for (url, hosts, database) in [
            ("postgres://chat:Pa%40ss%2Fw0rd@127.0.0.1:1/rooms", 1, Some("rooms")),
            ("postgres://chat:a:b@db.example/rooms?connect_timeout=3", 1, Some("rooms")),
            ("postgresql://chat@%2Frun%2Fpostgresql/rooms", 1, Some("rooms")),
            ("postgres://chat@one:1,two:2,three/rooms?target_session_attrs=read-write", 3, Some("rooms")),
            ("postgres://chat@[::1]:5432/rooms", 1, Some("rooms")),
            ("postgres:///rooms?host=/tmp&user=chat", 1, Some("rooms")),
            ("host=/tmp user=chat password='a b@c' dbname=rooms", 1, Some("rooms")),
            ("postgres://chat@localhost", 1, None),
        ] {
            let config = parse(url).expect(url);
            assert_eq!((config.get_hosts().len(), config.get_dbname()), (hosts, database), "{url}");
        }
        let config = parse("postgres://chat:Pa%40ss%2Fw0rd@127.0.0.1:1/rooms").unwrap();
        assert_eq!(config.get_password(), Some(&b"Pa@ss/w0rd"[..]));
    }
}
