//! What a service manager is told of the server, as systemd has it: that it serves, reads its configuration again, ends, and lives.
//!
//! The messages go to the socket that the manager has named in the environment; where it named none, nothing is said.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the server lives, if it does.
    watchdog: Option<Duration>,
    /// Whether another process is the one it looks after: of this one it is told nothing any more.
    has_successor: AtomicBool,
}

impl Manager {
    /// The one that has started this process.
    pub(crate) fn of_this_process() -> Self {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            path => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(path))),
        };
        let to = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // A manager that is slow holds nobody up.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        let to = to.inspect_err(|error| tracing::warn!(%error, "the service manager cannot be told anything")).ok();
        let watchdog = watchdog(|name| std::env::var(name).ok(), std::process::id());
        Self { to, watchdog, has_successor: AtomicBool::new(false) }
    }

    /// Says something, as `sd_notify` has it.
    fn say(&self, what: &str) {
        let Some((socket, address)) = self.to.as_ref().filter(|_| !self.has_successor.load(Ordering::Relaxed)) else {
            return;
        };
        if let Err(error) = socket.send_to_addr(what.as_bytes(), address) {
            tracing::warn!(%error, "the service manager was not told");
        }
    }

    /// The server serves.
    pub(crate) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// It reads its configuration again; [`Manager::ready`] says that it has.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading the configuration again\n"));
    }

    /// It still serves: no other process has taken its place, and why not.
    pub(crate) fn not_handed_over(&self, why: &str) {
        self.say(&format!("STATUS=serving; not handed over: {why}\n"));
    }

    /// It is that process that serves from here on, and that is to be looked after. Of this one nothing more is said.
    pub(crate) fn successor(&self, process: i32) {
        self.say(&format!("MAINPID={process}\nSTATUS=serving\n"));
        // Relaxed: who says something at this very moment says it before or after.
        self.has_successor.store(true, Ordering::Relaxed);
    }

    /// It ends.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining\n");
    }

    /// It lives.
    pub(crate) fn alive(&self) {
        self.say("WATCHDOG=1\n");
    }

    /// How often that is to be said at least.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.to.is_some())
    }
}

/// What the environment says of a watchdog for the process of that id.
fn watchdog(variable: impl Fn(&str) -> Option<String>, process: u32) -> Option<Duration> {
    let microseconds: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(process));
    (is_ours && microseconds > 0).then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_that_of_this_process() {
        let of = |usec: Option<&str>, pid: Option<&str>| {
            let found = |name: &str| if name == "WATCHDOG_USEC" { usec } else { pid }.map(str::to_owned);
            watchdog(found, 7).map(|every| every.as_millis())
        };
        assert_eq!(of(Some("2000000"), None), Some(2_000));
        assert_eq!(of(Some("2000000"), Some("7")), Some(2_000));
        for (usec, pid) in [(None, None), (Some("0"), None), (Some("x"), None), (Some("2000000"), Some("8"))] {
            assert_eq!(of(usec, pid), None, "{usec:?} {pid:?}");
        }
    }
}
