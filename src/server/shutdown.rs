//! Ending a server: from anywhere, and by signal.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
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
    /// [`Server::run`](super::Server::run) returns when they are gone. Calling it again changes nothing.
    pub fn begin(&self) {
        self.draining.send_replace(true);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}

/// Exit status of a process that a second signal ended.
const INTERRUPTED: i32 = 130;

/// Drains the server at the first SIGINT or SIGTERM and ends the process at the second.
pub(crate) async fn on_signals(shutdown: Shutdown) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut signals = 0;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        signals += 1;
        if signals > 1 {
            tracing::warn!("second signal: ending at once");
            std::process::exit(INTERRUPTED);
        }
        tracing::info!("draining; a second signal ends at once");
        shutdown.begin();
    }
}
