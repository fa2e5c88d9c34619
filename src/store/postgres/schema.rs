//! The tables, their versions, and the runs.

use postgres::{Client, Error};

/// Names that anybody may choose are kept as bytes: a text of PostgreSQL cannot hold every one of ours.
///
/// What leads from each version of the tables to the next. What has been released is never changed, only added to: an
/// incarnation stays a row of `lives`, its number its `life`.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE roomcast.runs (
        run BIGINT PRIMARY KEY,    -- counts from 1
        is_clean BOOLEAN NOT NULL  -- whether it has ended with everything stored
    );
    CREATE TABLE roomcast.lives (
        life BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        room BYTEA NOT NULL,
        epoch BIGINT NOT NULL,
        first BIGINT NOT NULL,      -- the first sequence
        next BIGINT NOT NULL,       -- the sequence after the last one stored
        run BIGINT NOT NULL,        -- in which it was written last
        is_stored BOOLEAN NOT NULL, -- whether nobody was given what is not here
        UNIQUE (room, epoch)
    );
    CREATE TABLE roomcast.messages (
        life BIGINT NOT NULL,
        sequence BIGINT NOT NULL,
        time BIGINT NOT NULL,
        author BYTEA,
        body BYTEA, -- NULL once it was erased
        PRIMARY KEY (life, sequence)
    );
    CREATE INDEX messages_by_author ON roomcast.messages (author) WHERE author IS NOT NULL;
"];

/// Whoever holds this lock of the database writes: \"roomcast\".
const LOCK: i64 = 0x726f_6f6d_6361_7374;

/// The last run before the one that goes on that has not ended cleanly; 0 if all have. What incarnations wrote after it is whole.
pub(super) const LAST_UNCLEAN: &str = "(SELECT coalesce(max(run), 0) FROM roomcast.runs
     WHERE NOT is_clean AND run < (SELECT max(run) FROM roomcast.runs))";

/// The newest run, which stays it until the transaction ends: the lock is that of any who writes, and keeps out whoever begins a
/// run. It is taken before the rows are looked at.
/// Nothing comes back of a server that lets nobody write: it may be behind, and says so itself when it is written to.
pub(super) const NEWEST_RUN: &str = "LOCK TABLE roomcast.runs IN ROW SHARE MODE;
     SELECT max(run) FROM roomcast.runs HAVING current_setting('transaction_read_only') = 'off'";

/// Waits for those who write, and keeps them out until the run has begun. Who writes for longer is in trouble.
const KEEP_OUT: &str = "SET LOCAL lock_timeout = '10s'; LOCK TABLE roomcast.runs IN EXCLUSIVE MODE";

/// How the server finds out that the one who writes cannot be reached any more, within half a minute: until then the lock is held
/// by a session that nobody uses, and of itself the server waits for two hours. What a version does not know is left out.
const NOTICE_SOON: &str = "SELECT set_config(name, wanted.setting, false) FROM pg_settings
     JOIN (VALUES ('tcp_keepalives_idle', '15'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'),
                  ('tcp_user_timeout', '30000')) AS wanted (name, setting) USING (name)";

/// Takes the database for this connection; false when another has it.
pub(super) fn take(client: &mut Client) -> Result<bool, Error> {
    client.batch_execute(NOTICE_SOON)?;
    Ok(client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK])?.get(0))
}

/// Lets another connection take it.
pub(super) fn let_go(client: &mut Client) -> Result<(), Error> {
    client.query_one("SELECT pg_advisory_unlock($1)", &[&LOCK]).map(drop)
}

/// Readies the tables; why they cannot be used, when a newer version has written them.
pub(super) fn prepare(client: &mut Client, place: &str) -> Result<Option<String>, Error> {
    let known = client.query_one("SELECT to_regclass('roomcast.migrations') IS NOT NULL", &[])?;
    if !known.get::<_, bool>(0) {
        client.batch_execute(
            "BEGIN;
             CREATE SCHEMA IF NOT EXISTS roomcast;
             CREATE TABLE roomcast.migrations (version INTEGER PRIMARY KEY);
             COMMIT",
        )?;
    }
    let version: i32 = client.query_one("SELECT coalesce(max(version), 0) FROM roomcast.migrations", &[])?.get(0);
    let (version, known) = (usize::try_from(version).unwrap_or(0), MIGRATIONS.len());
    if version > known {
        return Ok(Some(format!(
            "{place} was written by a newer version of roomcast (its tables have version {version}, this one knows {known}); \
             run that version, or use another database"
        )));
    }
    for (at, step) in MIGRATIONS.iter().enumerate().skip(version) {
        let mut transaction = client.transaction()?;
        transaction.batch_execute(step)?;
        transaction.execute("INSERT INTO roomcast.migrations VALUES ($1)", &[&(at as i32 + 1)])?;
        transaction.commit()?;
        tracing::info!(version = at + 1, "the tables of the database are of this version now");
    }
    Ok(None)
}

/// The newest run at this moment.
pub(super) fn newest_run(client: &mut Client) -> Result<Option<i64>, Error> {
    Ok(client.query_one("SELECT max(run) FROM roomcast.runs", &[])?.get(0))
}

/// Begins the next run, from whose commit on no earlier one commits anything.
pub(super) fn begin_run(client: &mut Client) -> Result<i64, Error> {
    let mut transaction = client.transaction()?;
    transaction.batch_execute(&format!("SET LOCAL synchronous_commit = on; {KEEP_OUT}"))?;
    let add = "INSERT INTO roomcast.runs SELECT coalesce(max(run), 0) + 1, false FROM roomcast.runs RETURNING run";
    let run: i64 = transaction.query_one(add, &[])?.get(0);
    // Of earlier runs, only the last one that was not clean counts.
    transaction.execute(
        "DELETE FROM roomcast.runs WHERE run < $1
         AND run <> (SELECT coalesce(max(run), 0) FROM roomcast.runs WHERE NOT is_clean AND run <= $1)",
        &[&(run - 1)],
    )?;
    transaction.commit()?;
    Ok(run)
}
