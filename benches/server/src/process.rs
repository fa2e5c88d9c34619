//! A server under test: a process on a core of its own, that ends with the measurement.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::thread;
use std::time::{Duration, Instant};

use harness::machine;
use roomcast_lab::load::{command_ending_with_us, free_address, wait_until_it_listens};

use crate::fault::Fault;

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Where a server listens, and where it may write.
#[derive(Debug)]
pub struct Place {
    /// On the loopback, on a port that was free.
    pub address: SocketAddr,
    /// A folder of its own, removed in the end.
    pub scratch: PathBuf,
}

/// A running server.
#[derive(Debug)]
pub struct Process {
    child: Child,
    place: Place,
}

impl Process {
    /// Starts a server; the program and its arguments are made for the place it gets. From here on this thread, the load,
    /// stays on the other core.
    ///
    /// # Errors
    /// [`Fault::NotRun`] when there is no such program or it does not listen.
    pub fn start(command: impl FnOnce(&Place) -> Result<Command, Fault>) -> Result<Self, Fault> {
        Self::start_within(START_LIMIT, command)
    }

    /// The same for a server that may take that long until it listens.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_within(
        limit: Duration,
        command: impl FnOnce(&Place) -> Result<Command, Fault>,
    ) -> Result<Self, Fault> {
        let place = Place::new()?;
        let made = command(&place)?;
        if !exists(Path::new(made.get_program())) {
            let program = Path::new(made.get_program()).file_name().unwrap_or_default();
            return Err(Fault::NotRun(format!("{} is not installed", program.display())));
        }
        let log = fs::File::create(place.log())?;
        let mut command = command_ending_with_us(made.get_program());
        command.args(made.get_args());
        for (name, value) in made.get_envs() {
            value.map(|value| command.env(name, value));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let [server_core, load_core, ..] = machine::cores()[..] else {
            return Err(Fault::NotRun("server and load need a core each".to_owned()));
        };
        machine::pin_to(server_core);
        let child = command.spawn();
        machine::pin_to(load_core);
        let mut process = Self { child: child?, place };
        let log = process.place.log();
        wait_until_it_listens(&mut process.child, process.place.address, limit, &log).map_err(Fault::NotRun)?;
        Ok(process)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// Processor time it has used, all threads together, to the nanosecond.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu(&self) -> Result<Duration, Fault> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            match fs::read_to_string(task?.path().join("schedstat")) {
                Ok(line) => nanos += first_number(&line),
                // A thread may end between the two.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Memory that is its own and nobody else's, in bytes; what the system keeps for its sockets is not in it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn private_bytes(&self) -> Result<u64, Fault> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let private = rollup.lines().filter(|line| line.starts_with("Private_"));
        Ok(private.filter_map(|line| line.split_once(':')).map(|(_, rest)| first_number(rest) * 1_024).sum())
    }

    /// Asks it to end, waits until it has, and returns what it has said.
    ///
    /// # Errors
    /// [`Fault::TooLong`], and what the system says.
    pub fn stop(mut self, limit: Duration) -> Result<String, Fault> {
        let end = Instant::now() + limit;
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)?;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err(Fault::TooLong("the end of the server"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(fs::read_to_string(self.place.log())?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Place {
    fn new() -> Result<Self, Fault> {
        let address = free_address()?;
        let scratch = std::env::temp_dir().join(format!("roomcast-bench-{}", id()));
        fs::create_dir_all(&scratch)?;
        Ok(Self { address, scratch })
    }

    fn log(&self) -> PathBuf {
        self.scratch.join("log")
    }

    /// Writes a file for the server and returns its path.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Fault> {
        let path = self.scratch.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Whether there is such a program, by its path or in the search path.
fn exists(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.is_file() || std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
