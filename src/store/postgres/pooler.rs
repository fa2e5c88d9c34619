//! Poolers that stand before a server and give each transaction to whichever session is free.
//!
//! What belongs to a session is nobody's then: a lock that one client has taken is the next one's as well.

use postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

/// How often two connections are compared: a pooler that goes round its sessions shows it the second time.
const LOOKS: usize = 4;

/// Whether two connections are not two sessions: each must be one and the same all the time, and another than the other's.
pub(super) fn shares_sessions(one: &mut Client, other: &mut Client) -> Result<bool, Error> {
    let first = (session(one)?, session(other)?);
    for _ in 0..LOOKS {
        let found = (session(one)?, session(other)?);
        if found != first || found.0 == found.1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The session that answers, in a transaction of its own. What is prepared would be a session's, too, so nothing is.
fn session(client: &mut Client) -> Result<Option<String>, Error> {
    Ok(first_value(&client.simple_query("SELECT pg_backend_pid()")?))
}

/// What the pooler calls itself, where it answers us: PgBouncer has a database of its own for that.
pub(super) fn name(config: &Config) -> Option<String> {
    let mut config = config.clone();
    let mut console = config.dbname("pgbouncer").connect(NoTls).ok()?;
    first_value(&console.simple_query("SHOW VERSION").ok()?)
}

fn first_value(answer: &[SimpleQueryMessage]) -> Option<String> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}
