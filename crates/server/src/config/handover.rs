//! `[handover]`: how a process hands what it serves to the next one, without a break.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::options::{Section, Setting, between, setting, within};
use super::setting::{Kind as _, read};

/// What takes longer than a second on a machine that is only busy; less would break off hand-overs that would have gone well.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Nobody is served in the second half of a step.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Rooms that take longer to move are out for longer than clients wait for an answer.
const AIM_MAX: Duration = Duration::from_secs(60);
/// More than any machine has for messages.
const BYTES_MAX: usize = 1 << 40;
/// A hundred thousand clients connect in a second where a machine can take as many.
const CLOSE_RATE_MAX: usize = 100_000;
/// With less all are closed at once, which is what the rate is there against.
const CLOSE_WITHIN_MIN: Duration = Duration::from_secs(1);
/// Two processes take the memory of two.
const CLOSE_WITHIN_MAX: Duration = Duration::from_secs(3_600);

/// `[handover]`: what happens when a new process takes over from the one that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handover {
    /// Whether a new process may take over. Default true: it costs a descriptor.
    pub enabled: bool,
    /// The Unix socket at which the new process asks for it; `None` is `handover.sock` in the data directory.
    pub socket: Option<PathBuf>,
    /// How long one step may take before it is broken off. Default 10 s: as long as a publisher waits for the database.
    pub timeout: Duration,
    /// How long rooms that are in memory alone are moved; those that are left begin new epochs. Default 1 s: clients that publish
    /// meanwhile are told to try again, and most try again once.
    pub aim: Duration,
    /// Bytes of messages that are moved. Default 64 MiB: what goes through a socket in less than the aim.
    pub bytes: usize,
    /// Clients of the old process that are closed in a second. Default 100: they come back with a handshake each, of which a core
    /// does some hundreds in a second with TLS.
    pub close_rate: usize,
    /// In which time all are closed, even if more go in a second then. Default 5 min: two processes are there meanwhile.
    pub close_within: Duration,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            enabled: true,
            socket: None,
            timeout: Duration::from_secs(10),
            aim: Duration::from_secs(1),
            bytes: 64 * 1024 * 1024,
            close_rate: 100,
            close_within: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// The socket at which a new process asks to take over.
    pub(crate) fn handover_socket(&self) -> PathBuf {
        self.handover.socket.clone().unwrap_or_else(|| self.data_dir.join(SOCKET_NAME))
    }
}

/// What it is called in the data directory.
const SOCKET_NAME: &str = "handover.sock";

pub(super) const SECTION: Section = Section {
    name: "handover",
    settings: &[
        setting!("enabled", Restart, handover.enabled, "whether a new process may take over from this one"),
        setting!(
            "socket",
            Restart,
            handover.socket,
            "the Unix socket at which it asks for that; unset: handover.sock in the data directory"
        ),
        setting!("timeout", Live, handover.timeout, "how long one step of a hand-over may take", |v: &Duration| {
            between(*v, TIMEOUT_MIN, TIMEOUT_MAX)
        }),
        setting!(
            "aim",
            Live,
            handover.aim,
            "how long rooms that are in memory alone are moved; those that are left begin new epochs",
            |v: &Duration| between(*v, Duration::ZERO, AIM_MAX)
        ),
        setting!("bytes", Live, handover.bytes, "bytes of them that are moved", |v: &usize| {
            within(v, &0, &BYTES_MAX)
        }),
        setting!(
            "close_rate",
            Live,
            handover.close_rate,
            "clients of the old process that are closed in a second, to connect to the new one",
            |v: &usize| within(v, &1, &CLOSE_RATE_MAX)
        ),
        setting!(
            "close_within",
            Live,
            handover.close_within,
            "in which time all are closed, even if more go in a second then",
            |v: &Duration| between(*v, CLOSE_WITHIN_MIN, CLOSE_WITHIN_MAX)
        ),
    ],
};
