//! A PostgreSQL server of the tests' own, in a folder that they bring, reached through a socket there.

#![allow(dead_code, reason = "each suite takes what it needs")]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What no text may show.
pub(crate) const PASSWORD: &str = "s3cr3t";

/// A server that ends when it is dropped.
pub(crate) struct Postgres {
    folder: PathBuf,
    /// Whom it runs as, where the tests run as root, which it refuses.
    user: Option<&'static str>,
    process: Option<Child>,
}

impl Postgres {
    /// One without anything in it, in a folder of its own.
    pub(crate) fn make(folder: &Path) -> Self {
        let server = Self::of(folder);
        let password = folder.join("password");
        fs::write(&password, PASSWORD).unwrap();
        let mut make = server.command("initdb");
        make.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username=chat"]);
        make.arg(format!("--pwfile={}", password.display())).arg("-D").arg(server.data());
        let output = make.output().expect("initdb runs; type: make setup");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        server
    }

    /// One whose data is to come into that folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), user: give_away(folder), process: None }
    }

    /// Starts it; it answers soon.
    pub(crate) fn run(&mut self, options: &[&str]) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut start = self.command("postgres");
        start.arg("-D").arg(self.data()).arg("-k").arg(&self.folder);
        start.args(["-c", "fsync=off", "-c", "max_connections=40"]).args(options);
        self.process = Some(start.stdout(Stdio::null()).stderr(log).spawn().expect("the server starts"));
    }

    /// Ends it as if its machine had gone.
    pub(crate) fn crash(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let _ = Command::new("kill").arg("-QUIT").arg(process.id().to_string()).status();
        let _ = process.wait();
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    pub(crate) fn url(&self, database: &str, password: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://chat:{password}@{socket}/{database}")
    }

    /// Has it do that, by its own client; to be started.
    pub(crate) fn asked(&self, database: &str, statement: &str) -> Command {
        let mut client = self.command("psql");
        client.args(["--no-psqlrc", "--tuples-only", "--no-align", "--dbname", &self.url(database, PASSWORD)]);
        client.args(["--command", statement]);
        client
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A program of the server, as a user it accepts.
    pub(crate) fn command(&self, program: &str) -> Command {
        command(&programs().join(program), self.user, &self.folder)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Gives a folder to programs that refuse to be root, and whom they run as.
pub(crate) fn give_away(folder: &Path) -> Option<&'static str> {
    let is_root = fs::metadata("/proc/self").expect("a process of ours").uid() == 0;
    if is_root {
        let id = |what| {
            let output = Command::new("id").args([what, "postgres"]).output().expect("id runs");
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("the packages make a user `postgres`")
        };
        chown(folder, Some(id("-u")), Some(id("-g"))).expect("the folder is given away");
    }
    is_root.then_some("postgres")
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
