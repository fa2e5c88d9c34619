//! The server: one process after the other, as a service manager sees them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use roomcast_lab::load::{free_address, wait_until_it_listens};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, test_kill_process, waitpid,
};

/// How long a process may take until it listens, the next one until it serves, and the old one until it has ended behind the last client.
const START_LIMIT: Duration = Duration::from_secs(20);
const SERVE_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The certificate of the tests, for a name that is no site's.
pub(crate) const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/server/src/backend/tests/tls");

/// Rooms of each kind, for everybody.
fn config(rate: usize) -> String {
    let options = "history_size = 10000\nhistory_ttl = \"10m\"\nforce_recovery = true\nallow_subscribe_for_client = true\n\
        allow_subscribe_for_anonymous = true\nallow_publish_for_client = true\nallow_publish_for_anonymous = true\n\
        allow_history_for_subscriber = true\nallow_history_for_anonymous = true\n";
    let namespaces = ["off", "async", "stored"]
        .map(|kind| format!("[[channel.namespaces]]\nname = \"{kind}\"\nstorage = \"{kind}\"\n{options}\n"));
    format!(
        "[client]\nallow_anonymous_connect_without_token = true\nrecovery_max_publication_limit = 10000\n\n\
         [client.rate_limit.ip_connect]\nexempt = [\"127.0.0.1/32\"]\n\n\
         [http_server.tls]\nenabled = true\ncert_pem = \"{CERTIFICATES}/server.pem\"\nkey_pem = \"{CERTIFICATES}/server.key\"\n\n\
         [handover]\nclose_rate = {rate}\nclose_within = \"1h\"\n\n{}",
        namespaces.concat()
    )
}

/// The processes of a server.
pub(crate) struct Chain {
    address: SocketAddr,
    scratch: PathBuf,
    manager: UnixDatagram,
    /// The one that was started here, until it has ended; those behind it come to us by being left.
    first: Option<Child>,
    serving: Pid,
    /// The one before it, which may still be there.
    leaving: Option<Pid>,
}

impl Chain {
    /// Starts the first one.
    pub(crate) fn start(server: Option<&str>, rate: usize) -> Result<Self, String> {
        let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let scratch = std::env::temp_dir().join(format!("roomcast-hand-overs-{}", std::process::id()));
        fs::create_dir_all(&scratch).map_err(said("a folder"))?;
        // Whoever is left by its parent is ours.
        set_child_subreaper(Some(getpid())).map_err(|error| format!("processes: {error}"))?;
        let place = scratch.join("notify");
        let manager = UnixDatagram::bind(&place).map_err(said("a socket"))?;
        manager.set_nonblocking(true).map_err(said("a socket"))?;
        let config_file = scratch.join("roomcast.toml");
        fs::write(&config_file, config(rate)).map_err(said("a file"))?;
        let program = match server {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe().map_err(said("this program"))?.with_file_name("roomcast"),
        };
        let address = free_address().map_err(said("a port"))?;
        let log = scratch.join("log");
        let out = fs::File::create(&log).map_err(said("a file"))?;
        let mut command = Command::new(&program);
        command.args(["serve", "--listen", &address.to_string(), "--config"]).arg(config_file);
        command.arg("--data-dir").arg(scratch.join("data")).env("NOTIFY_SOCKET", &place);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
        let mut first = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        wait_until_it_listens(&mut first, address, START_LIMIT, &log)?;
        let serving = Pid::from_child(&first);
        Ok(Self { address, scratch, manager, first: Some(first), serving, leaving: None })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the one that serves start the next one, and waits until that serves.
    pub(crate) async fn next(&mut self) -> Result<i32, String> {
        let mut heard = [0; 512];
        while self.manager.recv(&mut heard).is_ok() {}
        kill_process(self.serving, Signal::USR2).map_err(|error| format!("the process that serves: {error}"))?;
        let until = Instant::now() + SERVE_LIMIT;
        loop {
            while let Ok(length) = self.manager.recv(&mut heard) {
                let said = String::from_utf8_lossy(&heard[..length]).into_owned();
                let process = said.lines().find_map(|line| line.strip_prefix("MAINPID=")?.parse().ok());
                if let Some(process) = process.and_then(Pid::from_raw) {
                    self.leaving = Some(std::mem::replace(&mut self.serving, process));
                    return Ok(process.as_raw_nonzero().get());
                }
            }
            if Instant::now() > until {
                return Err(format!("no process has taken over:\n{}", self.last_words()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the one before has ended, well.
    pub(crate) async fn ended(&mut self) -> Result<(), String> {
        let Some(leaving) = self.leaving.take() else { return Ok(()) };
        self.end(leaving).await
    }

    /// Has the last one end.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        kill_process(self.serving, Signal::TERM).map_err(|error| format!("the last process: {error}"))?;
        self.end(self.serving).await
    }

    async fn end(&mut self, process: Pid) -> Result<(), String> {
        let until = Instant::now() + END_LIMIT;
        let name = process.as_raw_nonzero();
        while Instant::now() < until {
            let status = match &mut self.first {
                Some(first) if Pid::from_child(first) == process => {
                    let status = first.try_wait().map_err(|error| format!("process {name}: {error}"))?;
                    status.map(|status| status.code())
                }
                _ => match waitpid(Some(process), WaitOptions::NOHANG) {
                    Ok(found) => found.map(|(_, status)| status.exit_status()),
                    // Its parent is there yet.
                    Err(Errno::CHILD) if test_kill_process(process).is_ok() => None,
                    Err(error) => return Err(format!("process {name}: {error}")),
                },
            };
            match status {
                Some(Some(0)) => return Ok(()),
                Some(code) => return Err(format!("process {name} has ended with {code:?}:\n{}", self.last_words())),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        Err(format!("process {name} does not end:\n{}", self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains("hand") || line.contains("ERROR") || line.contains("WARN"))
            .collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for process in self.leaving.iter().chain([&self.serving]) {
            let _ = kill_process(*process, Signal::KILL);
        }
        if let Some(first) = &mut self.first {
            let _ = first.kill();
            let _ = first.wait();
        }
        let _ = fs::remove_dir_all(&self.scratch);
    }
}
