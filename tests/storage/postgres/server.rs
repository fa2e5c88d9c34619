//! A PostgreSQL server of the tests' own, reached through a socket in its folder.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use postgres::{Client, NoTls};
use roomcast::store::PostgresStore;

pub(crate) use crate::postgres_process::{PASSWORD, command};
use crate::postgres_process::{Postgres, give_away};
use crate::support::{Folder, until};

/// A server that ends with the test.
pub(crate) struct Server {
    process: Postgres,
    folder: Folder,
}

/// A database of it.
pub(crate) struct Database(String);

impl Server {
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let mut server = Self { process: Postgres::make(folder.path()), folder };
        server.come_back();
        server
    }

    /// Another server that follows this one, and waits to be promoted.
    pub(crate) fn standby(&self) -> Self {
        let folder = Folder::new();
        let mut standby = Self { process: Postgres::of(folder.path()), folder };
        let mut copy = standby.process.command("pg_basebackup");
        let from = format!("host={} user=chat password={PASSWORD}", self.folder.path().display());
        copy.args(["-c", "fast", "-X", "stream", "-R", "--no-sync", "-d", &from, "-D"]).arg(standby.process.data());
        let output = copy.output().expect("pg_basebackup runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        standby.come_back();
        standby
    }

    /// Has commits wait for the standby.
    pub(crate) fn wait_for_standby(&self) {
        let mut client = self.client();
        client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
        client.batch_execute("SELECT pg_reload_conf()").unwrap();
        let state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        until("the standby follows", || client.query_one(state, &[]).unwrap().get::<_, i64>(0) == 1);
    }

    pub(crate) fn promote(&self) {
        assert!(self.client().query_one("SELECT pg_promote()", &[]).unwrap().get::<_, bool>(0));
    }

    /// Has it come back as a standby of nobody: what was a primary lets nobody write.
    pub(crate) fn demote(&mut self) {
        self.crash();
        fs::write(self.process.data().join("standby.signal"), "").unwrap();
        self.come_back();
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.process.socket()
    }

    fn client(&self) -> Client {
        Client::connect(&self.url("postgres", PASSWORD), NoTls).expect("the server answers")
    }

    pub(crate) fn database(&self, name: &str) -> Database {
        let url = |name| self.url(name, PASSWORD);
        let mut client = Client::connect(&url("postgres"), NoTls).expect("the server answers");
        client.batch_execute(&format!("CREATE DATABASE {name}")).expect("a database is made");
        Database(url(name))
    }

    pub(crate) fn url(&self, database: &str, password: &str) -> String {
        self.process.url(database, password)
    }

    /// Ends it as if its machine had gone.
    pub(crate) fn crash(&mut self) {
        self.process.crash();
    }

    pub(crate) fn come_back(&mut self) {
        self.process.run(&["-c", "listen_addresses="]);
        until("the server answers", || Client::connect(&self.url("postgres", PASSWORD), NoTls).is_ok());
    }

    /// Has it listen on a port of this machine, and nowhere else, until it ends.
    pub(crate) fn listen(&mut self) -> (u16, Database) {
        self.crash();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free").port();
        self.process.run(&["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}")]);
        let url = format!("postgres://chat:{PASSWORD}@127.0.0.1:{port}/postgres");
        until("the server answers", || Client::connect(&url, NoTls).is_ok());
        (port, Database(url))
    }
}

impl Database {
    pub(crate) fn connect(&self) -> PostgresStore {
        PostgresStore::connect(&self.0).expect("the server answers")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.0, NoTls).expect("the server answers")
    }
}

/// A folder for programs that refuse to be root, and whom they run as.
pub(crate) fn given_away() -> (Folder, Option<&'static str>) {
    let folder = Folder::new();
    let user = give_away(folder.path());
    (folder, user)
}
