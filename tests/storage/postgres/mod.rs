//! A real PostgreSQL server, started in a folder of its own: the same cases as over SQLite, and what happens when it is gone.

mod failover;
mod pooler;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use roomcast::store::{Archive, Durability, Options, PostgresStore, Store as _, StoreError, StoreErrorKind as Kind};
use roomcast::{Broker, PublishError, Room};

use self::server::{Database, Server};
use crate::suite::CASES;
use crate::support::{Place, Run, Text, until};

/// One server for all of it, since making one takes longer than most cases.
#[test]
fn a_real_server_keeps_what_rooms_publish() {
    let mut server = Server::start();
    for (name, case) in CASES {
        let began = std::time::Instant::now();
        case(&server.database(name));
        eprintln!("{name} {:?}", began.elapsed());
    }
    what_is_wrong_is_said_and_passwords_are_not(&server);
    a_run_that_was_overtaken_does_not_go_on(&server);
    pooler::a_pooler_in_transaction_mode_is_refused_by_name(&server);
    pooler::behind_a_pooler_nothing_is_lost_either(&server);
    batches_are_as_durable_as_they_must_be(&server);
    reading_goes_on_after_the_server_was_gone(&mut server);
    a_server_that_goes_away_and_comes_back_loses_nothing(&mut server);
    a_writer_that_is_cut_off_does_not_keep_the_store_for_hours(&mut server);
}

/// The lock is the old session's until the server gives that up: it asks soon whether anybody is there. The system shows when.
fn a_writer_that_is_cut_off_does_not_keep_the_store_for_hours(server: &mut Server) {
    let (port, database) = server.listen();
    let store = database.connect();
    store.begin().unwrap();
    let (ours, keepalive) = (format!(":{port:04X}"), |timer: &str| {
        let hundredths = timer.strip_prefix("02:")?;
        u64::from_str_radix(hundredths, 16).ok()
    });
    // Not while something is on its way: another timer runs then.
    until("the server's side asks soon", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("a system that shows its sockets");
        let mut due = sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words[1].ends_with(&ours) && words[3] == "01")
            .filter_map(|words| keepalive(words[5]));
        due.any(|due| due <= 20 * 100)
    });
}

/// Publishes, each message when the one before is stored; how many were acknowledged in the end.
fn publish_until(run: &Run, ledger: &Room<String>, is_over: &AtomicBool) -> u64 {
    let watermark = run.archive.watermark(ledger).unwrap();
    let mut acknowledged = 0;
    while !is_over.load(SeqCst) {
        let sequence = ledger.publish_blocking(format!("a: {acknowledged}")).unwrap();
        block_on(watermark.reached(sequence + 1)).expect("the archive runs");
        acknowledged = sequence + 1;
    }
    acknowledged
}

/// Whoever writes goes on by itself, and what was acknowledged is there, in the incarnation it was acknowledged in.
fn a_server_that_goes_away_and_comes_back_loses_nothing(server: &mut Server) {
    let database = server.database("away");
    let run = Run::start(database.open(), Options::all(Durability::Stored));
    let ledger = run.open("ledger");
    let is_over = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let writer = scope.spawn(|| publish_until(&run, &ledger, &is_over));
        for _ in 0..3 {
            let before = run.archive.status().stored;
            until("it goes on", || run.archive.status().stored > before + 20);
            server.crash();
            until("the trouble is seen", || run.archive.status().trouble.is_some());
            let (kind, text) = run.archive.status().trouble.unwrap();
            assert_eq!(kind, Kind::Unavailable);
            assert!(text.contains("the database away of the PostgreSQL server"), "{text}");
            assert!(!text.contains(server::PASSWORD), "{text}");
            server.come_back();
            until("the trouble is over", || run.archive.status().trouble.is_none());
        }
        is_over.store(true, SeqCst);
        writer.join().unwrap()
    });
    let texts = run.texts("ledger");
    let (epoch, tail) = (ledger.epoch(), ledger.tail());
    assert_eq!(acknowledged, tail);
    assert!(texts.into_iter().eq((0..tail).map(|sequence| (sequence, format!("a: {sequence}")))));
    let _crashed = run.crash();
    let run = Run::start(database.open(), Options::all(Durability::Stored));
    assert_eq!((run.open("ledger").epoch(), run.open("ledger").tail()), (epoch, tail));
    run.end();
}

/// Idle connections for reading died with the server, which nobody notices.
fn reading_goes_on_after_the_server_was_gone(server: &mut Server) {
    // What the server had acknowledged without the disk might be gone with it.
    let run = Run::start(server.database("read").open(), Options::all(Durability::Stored));
    run.open("lobby").publish("a: 0".to_owned()).unwrap();
    run.flush();
    assert_eq!(run.texts("lobby").len(), 1);
    server.crash();
    let error = run.archive.span("lobby").unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("see whether the server runs"), "{error}");
    server.come_back();
    assert_eq!(run.texts("lobby").len(), 1);
    run.end();
}

#[track_caller]
fn refused(done: Result<impl std::fmt::Debug, StoreError>, kind: Kind, words: &str) {
    let error = done.expect_err(words);
    assert!(error.kind() == kind && error.to_string().contains(words), "{error:?}");
    let mut shown = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        shown += &format!("{error} {error:?}");
        cause = error.source();
    }
    assert!(!shown.contains(server::PASSWORD) && !shown.contains("mistyped"), "{shown}");
}

fn what_is_wrong_is_said_and_passwords_are_not(server: &Server) {
    let database = server.database("wrong");
    let url = |name: &str, password: &str| server.url(name, password);
    refused(PostgresStore::connect("postgres://chat:mistyped:5432"), Kind::Other, "looks like postgres://USER");
    refused(
        PostgresStore::connect("postgres://chat:mistyped@127.0.0.1:1/chat"),
        Kind::Unavailable,
        "cannot be reached",
    );
    refused(PostgresStore::connect("mistyped"), Kind::Other, "looks like postgres://USER");
    refused(PostgresStore::connect("host=127.0.0.1 port=mistyped"), Kind::Other, "looks like postgres://USER");
    refused(PostgresStore::connect(&url("wrong", "mistyped")), Kind::Unavailable, "refuses the user");
    refused(PostgresStore::connect(&url("none", server::PASSWORD)), Kind::Unavailable, "createdb");

    let (first, second) = (database.connect(), database.connect());
    refused(first.finish(), Kind::Other, "not begun");
    first.begin().unwrap();
    refused(second.begin(), Kind::Locked, "another process has the database wrong");
    drop(first);
    until("the lock is free", || second.begin().is_ok());

    let mut client = database.client();
    client.batch_execute("INSERT INTO roomcast.migrations VALUES (99)").unwrap();
    drop(second);
    let newer = database.connect();
    until("the lock is free", || newer.begin().is_err_and(|error| error.kind() == Kind::Damaged));
    refused(newer.begin(), Kind::Damaged, "written by a newer version of roomcast");

    let guarded = server.database("guarded");
    guarded.client().batch_execute("ALTER DATABASE guarded SET default_transaction_read_only = on").unwrap();
    refused(guarded.connect().begin(), Kind::ReadOnly, "is it a standby?");
    let foreign = server.database("strange");
    let role = format!("CREATE ROLE guest LOGIN PASSWORD '{}'", server::PASSWORD);
    foreign.client().batch_execute(&role).unwrap();
    let guest = server.url("strange", server::PASSWORD).replace("chat:", "guest:");
    refused(PostgresStore::connect(&guest).unwrap().begin(), Kind::ReadOnly, "grant it CREATE");
}

/// While the connection was lost, another process has begun a run and ended: this one must not go on in its incarnations.
fn a_run_that_was_overtaken_does_not_go_on(server: &Server) {
    let database = server.database("overtaken");
    let broker = Broker::<String>::builder().shards(1).build();
    let archive = Archive::start(&broker, database.connect(), Text, Options::all(Durability::Async)).unwrap();
    let lobby = archive.open("lobby", roomcast::RoomOptions::new()).unwrap();
    lobby.publish("a: 0".to_owned()).unwrap();
    archive.flush_within(Duration::from_secs(60)).unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'overtaken'";
    let mut client = database.client();
    client.batch_execute(cut).unwrap();
    let run = Run::start(database.open(), Options::all(Durability::Async));
    assert_ne!(run.open("lobby").epoch(), lobby.epoch());
    run.end();
    lobby.publish("a: 1".to_owned()).unwrap();
    until("it is noticed", || {
        archive.status().trouble.is_some_and(|(_, text)| text.contains("another process has used"))
    });
    let error = archive.close_within(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), Kind::Overtaken);
    assert!(matches!(lobby.publish(String::new()), Err(PublishError::Closed(_))));
}

/// Only what somebody waits for waits for the server's disk.
fn batches_are_as_durable_as_they_must_be(server: &Server) {
    let database = server.database("durable");
    let store = database.connect();
    store.begin().unwrap();
    database
        .client()
        .batch_execute(
            "CREATE TABLE public.levels (room BYTEA, level TEXT);
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.levels VALUES (NEW.room, current_setting('synchronous_commit')); RETURN NEW; END $$;
         CREATE TRIGGER note AFTER INSERT ON roomcast.lives FOR EACH ROW EXECUTE FUNCTION public.note()",
        )
        .unwrap();
    let kinds = |room: &str| Some(if room == "ledger" { Durability::Stored } else { Durability::Async });
    let run = Run::start(Arc::new(store), Options::by_room(kinds));
    for room in ["chat", "ledger"] {
        run.open(room).publish("a\0: a\0b".to_owned()).unwrap();
        run.flush();
    }
    assert_eq!(run.texts("chat"), [(0, "a\0: a\0b".to_owned())], "any text is kept");
    assert_eq!(run.archive.erase("a\0").unwrap(), 2);
    let rows = database.client().query("SELECT level FROM public.levels ORDER BY room", &[]).unwrap();
    let levels: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(levels, ["off", "on"]);
    run.end();
}

impl Place for Database {
    fn open(&self) -> Arc<dyn roomcast::store::Store> {
        Arc::new(self.connect())
    }

    /// As an operator does who ends a session that seems to hang.
    fn unlock(&self) {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND database =
                   (SELECT oid FROM pg_database WHERE datname = current_database())";
        let ended: i64 = self.client().query_one(end, &[]).unwrap().get(0);
        assert!(ended <= 1, "one has the lock: {ended}");
    }
}
