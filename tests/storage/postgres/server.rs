//! A PostgreSQL server of the tests' own, reached through a socket in its folder.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postgres::{Client, NoTls};
use roomcast::store::PostgresStore;

use crate::support::{Folder, until};

/// What no text may show.
pub(crate) const PASSWORD: &str = "s3cr3t";

/// A server that ends with the test.
pub(crate) struct Server {
    folder: Folder,
    /// Whom it runs as, where the tests run as root, which it refuses.
    user: Option<&'static str>,
    process: Option<Child>,
}

/// A database of it.
pub(crate) struct Database(String);

impl Server {
    pub(crate) fn start() -> Self {
        let (folder, user) = given_away();
        let mut server = Self { folder, user, process: None };
        let password = server.folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        let mut make = server.command("initdb");
        make.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username=chat"]);
        make.arg(format!("--pwfile={}", password.display())).arg("-D").arg(server.data());
        let output = make.output().expect("initdb runs; type: make setup");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        server.come_back();
        server
    }

    /// Another server that follows this one, and waits to be promoted.
    pub(crate) fn standby(&self) -> Self {
        let (folder, user) = given_away();
        let mut standby = Self { folder, user, process: None };
        let mut copy = standby.command("pg_basebackup");
        let from = format!("host={} user=chat password={PASSWORD}", self.folder.path().display());
        copy.args(["-c", "fast", "-X", "stream", "-R", "--no-sync", "-d", &from, "-D"]).arg(standby.data());
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
        fs::write(self.data().join("standby.signal"), "").unwrap();
        self.come_back();
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
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
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://chat:{password}@{socket}/{database}")
    }

    /// Ends it as if its machine had gone.
    pub(crate) fn crash(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let _ = Command::new("kill").arg("-QUIT").arg(process.id().to_string()).status();
        let _ = process.wait();
    }

    pub(crate) fn come_back(&mut self) {
        self.run(&["-c", "listen_addresses="]);
        until("the server answers", || Client::connect(&self.url("postgres", PASSWORD), NoTls).is_ok());
    }

    /// Has it listen on a port of this machine, and nowhere else, until it ends.
    pub(crate) fn listen(&mut self) -> (u16, Database) {
        self.crash();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free").port();
        self.run(&["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}")]);
        let url = format!("postgres://chat:{PASSWORD}@127.0.0.1:{port}/postgres");
        until("the server answers", || Client::connect(&url, NoTls).is_ok());
        (port, Database(url))
    }

    fn run(&mut self, options: &[&str]) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut start = self.command("postgres");
        start.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        start.args(["-c", "fsync=off", "-c", "max_connections=40"]).args(options);
        self.process = Some(start.stdout(Stdio::null()).stderr(log).spawn().expect("the server starts"));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of the server, as a user it accepts.
    fn command(&self, program: &str) -> Command {
        command(&programs().join(program), self.user, self.folder.path())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
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
    let is_root = fs::metadata("/proc/self").expect("a process of ours").uid() == 0;
    if is_root {
        let id = |what| {
            let output = Command::new("id").args([what, "postgres"]).output().expect("id runs");
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("the packages make a user `postgres`")
        };
        chown(folder.path(), Some(id("-u")), Some(id("-g"))).expect("the folder is given away");
    }
    (folder, is_root.then_some("postgres"))
}

/// A program, as that user, in that folder.
pub(crate) fn command(program: &Path, user: Option<&str>, folder: &Path) -> Command {
    let mut command = match user {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.current_dir(folder).env("LC_ALL", "C");
    command
}

/// Where Debian keeps the programs of the newest version that is installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let newest = folders.filter(|folder| folder.join("initdb").exists()).max_by_key(|folder| version(folder));
    newest.expect("PostgreSQL is not installed; type: make setup")
}

fn version(folder: &Path) -> u32 {
    let name = folder.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    name.parse().unwrap_or(0)
}
