//! A real PgBouncer before the server.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;

use postgres::{Client, NoTls};
use roomcast::store::{PostgresStore, Store, StoreErrorKind as Kind};

use super::refused;
use super::server::{self, Server};
use crate::suite::overtaken;
use crate::support::{Folder, Place, until};

/// A PgBouncer that ends with the test.
struct Pooler {
    folder: Folder,
    process: Child,
}

/// A database behind it, and the mode in which its sessions are given out.
struct Pooled(String);

impl Pooler {
    /// Before the database `name`, as `one` and `many` sessions for all, and as a session for each.
    fn start(server: &Server, name: &str) -> Self {
        let (folder, user) = server::given_away();
        let socket = server.socket();
        let place = format!(
            "host={} dbname={name} user=chat password={}",
            socket.parent().expect("a folder").display(),
            server::PASSWORD
        );
        let settings = format!(
            "[databases]\n\
             one = {place} pool_size=1\n\
             many = {place} pool_size=4\n\
             each = {place} pool_mode=session\n\
             [pgbouncer]\n\
             listen_addr =\n\
             unix_socket_dir = {}\n\
             auth_type = any\n\
             pool_mode = transaction\n",
            folder.path().display()
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        let mut command = server::command(Path::new("/usr/sbin/pgbouncer"), user, folder.path());
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.arg(&file).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("pgbouncer runs; type: make setup");
        let pooler = Self { folder, process };
        until("the pooler answers", || Client::connect(&pooler.url("one"), NoTls).is_ok());
        pooler
    }

    fn url(&self, database: &str) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://anybody@{socket}:6432/{database}")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Place for Pooled {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::connect(&self.0).expect("the pooler answers").trusting_poolers())
    }

    /// Behind a pooler the lock is everybody's.
    fn unlock(&self) {}
}

pub(super) fn a_pooler_in_transaction_mode_is_refused_by_name(server: &Server) {
    drop(server.database("refused"));
    let pooler = Pooler::start(server, "refused");
    for sessions in ["one", "many"] {
        let store = PostgresStore::connect(&pooler.url(sessions)).unwrap();
        refused(store.begin(), Kind::Unavailable, "PgBouncer 1.");
        refused(store.begin(), Kind::Unavailable, "in transaction mode");
        refused(store.begin(), Kind::Unavailable, "set pool_mode = session");
    }
    let store = PostgresStore::connect(&pooler.url("each")).unwrap();
    store.begin().expect("a session for each is what a server gives");
    let second = PostgresStore::connect(&pooler.url("each")).unwrap();
    refused(second.begin(), Kind::Locked, "another process has the database each");
    store.finish().unwrap();
}

/// The lock between two processes is none there; what each commit asks is.
pub(super) fn behind_a_pooler_nothing_is_lost_either(server: &Server) {
    for (name, case) in [
        ("pooled_stops", overtaken::a_process_that_was_overtaken_stops_and_loses_nothing as fn(&dyn Place)),
        ("pooled_both", overtaken::what_two_processes_acknowledge_is_all_there),
        ("pooled_nothing", overtaken::nothing_at_all_is_written_by_who_was_overtaken),
    ] {
        drop(server.database(name));
        let pooler = Pooler::start(server, name);
        case(&Pooled(pooler.url("one")));
    }
}
