//! Ending a server: from anywhere, and by signal.

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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

/// The signals that end a server, have it read its configuration again, or start the process that takes over from it, heard from here on: whoever sends one before would end the
/// process.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    successor: Signal,
    /// Nothing where the process is to outlive its terminal.
    hangup: Option<Signal>,
    terminal: Terminal,
}

/// Tells somebody of hangups that end nobody; of several at once, of one.
#[derive(Debug)]
pub(crate) struct Hangups(watch::Receiver<u64>);

impl Hangups {
    /// Waits for the next one; false when there will be none.
    pub(crate) async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// What becomes of a hangup while the terminal is there, or where there never was one.
#[derive(Debug)]
pub(crate) enum OnHangup {
    /// The server ends.
    End,
    /// Somebody is told of it.
    Tell(watch::Sender<u64>),
}

impl OnHangup {
    /// Somebody is told.
    pub(crate) fn tell() -> (Self, Hangups) {
        let (sender, receiver) = watch::channel(0);
        (Self::Tell(sender), Hangups(receiver))
    }
}

/// From here on a hangup ends nobody: it waits until a server hears it. For a process that will be one, before it has read anything, since
/// whoever has it reload cannot know how far it has come.
///
/// # Errors
/// When the system does not let it.
pub fn hold_hangups() -> io::Result<()> {
    Terminal::at_start();
    if hangups_are_ignored() {
        return Ok(());
    }
    // The handler is the process's and stays; what it takes waits for the first runtime that is driven.
    let registering = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _runtime = registering.enter();
    signal(SignalKind::hangup()).map(drop)
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
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let successor = signal(SignalKind::user_defined2())?;
        Ok(Self { interrupt, terminate, successor, hangup, terminal: Terminal::at_start() })
    }

    /// Drains the server at the first SIGINT or SIGTERM, or when its terminal goes, and ends the process at the next SIGINT or SIGTERM.
    /// At SIGUSR2 it has `start_successor` do so.
    pub(crate) async fn obey(self, shutdown: Shutdown, on_hangup: OnHangup, start_successor: impl Fn()) {
        let Self { mut interrupt, mut terminate, mut successor, mut hangup, terminal } = self;
        let mut drains = false;
        // After a hangup, when it is looked again whether the terminal has gone.
        let mut look_again = None;
        loop {
            let may_go_on = tokio::select! {
                _ = interrupt.recv() => false,
                _ = terminate.recv() => false,
                _ = successor.recv() => {
                    match drains {
                        false => start_successor(),
                        true => tracing::warn!("draining: no other process is started"),
                    }
                    continue;
                }
                _ = async { hangup.as_mut()?.recv().await }, if hangup.is_some() => {
                    look_again = Some(tokio::time::Instant::now() + TERMINAL_GOES);
                    true
                }
                () = async { tokio::time::sleep_until(look_again.unwrap_or_else(tokio::time::Instant::now)).await }, if look_again.is_some() => {
                    look_again = None;
                    if !terminal.is_gone() {
                        continue;
                    }
                    true
                }
            };
            if may_go_on && !terminal.is_gone() {
                match &on_hangup {
                    OnHangup::Tell(sender) => {
                        sender.send_modify(|hangups| *hangups += 1);
                        continue;
                    }
                    OnHangup::End => {}
                }
            }
            if !drains {
                tracing::info!("draining; a second signal ends at once");
                shutdown.begin();
                drains = true;
            } else if !may_go_on {
                // A terminal that goes says so once itself and once by its shell.
                tracing::warn!("second signal: ending at once");
                std::process::exit(INTERRUPTED);
            }
        }
    }
}

/// How long a terminal may be there after it, or its shell, has said that it goes.
const TERMINAL_GOES: Duration = Duration::from_secs(1);

/// The terminal that this process was started from, if it was. A hangup of one that is still there was sent by somebody.
#[derive(Clone, Copy, Debug)]
struct Terminal {
    was_there: bool,
}

impl Terminal {
    /// As it was when it was asked first.
    fn at_start() -> Self {
        static FIRST: OnceLock<Terminal> = OnceLock::new();
        *FIRST.get_or_init(|| Self { was_there: Self::is_there() })
    }

    /// Whether it was there and is not any more.
    fn is_gone(self) -> bool {
        self.was_there && !Self::is_there()
    }

    fn is_there() -> bool {
        // The name of whichever terminal controls this process.
        File::open("/dev/tty").is_ok()
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
