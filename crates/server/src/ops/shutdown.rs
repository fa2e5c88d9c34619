//! Ending a server: from anywhere, and by signal.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Ends a running server, from any thread. Cloning it makes another handle to the same server.
#[derive(Clone, Debug)]
pub struct Shutdown {
    draining: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        let draining = Arc::new(watch::Sender::new(false));
        Self { draining }
    }

    /// Lets the server drain: it accepts no more connections, closes those it has with code 3001, and
    /// [`Server::run`](crate::Server::run) returns when they are gone. Calling it again changes nothing.
    pub fn begin(&self) {
        self.draining.send_replace(true);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}

/// Exit status of a process that a second signal ended.
const INTERRUPTED: i32 = 130;

/// The signals that end a server, heard from here on: whoever sends one before would end the process.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Nothing where the process is to outlive its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    /// Begins to hear them.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(crate) fn hear() -> io::Result<Self> {
        let hangup = match hangups_are_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    /// Drains the server at the first SIGINT, SIGTERM or SIGHUP and ends the process at the next SIGINT or SIGTERM.
    pub(crate) async fn obey(self, shutdown: Shutdown) {
        let Self { mut interrupt, mut terminate, mut hangup } = self;
        let mut drains = false;
        loop {
            let is_hangup = tokio::select! {
                _ = interrupt.recv() => false,
                _ = terminate.recv() => false,
                _ = async { hangup.as_mut()?.recv().await }, if hangup.is_some() => true,
            };
            if !drains {
                tracing::info!("draining; a second signal ends at once");
                shutdown.begin();
                drains = true;
            } else if !is_hangup {
                // A terminal that goes says so once itself and once by its shell.
                tracing::warn!("second signal: ending at once");
                std::process::exit(INTERRUPTED);
            }
        }
    }
}

/// Whether this process was started so that it outlives its terminal, as `nohup` does; that is to stay so.
fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored & 1 << (HANGUP - 1) != 0
}

/// The number of SIGHUP.
const HANGUP: u32 = 1;
