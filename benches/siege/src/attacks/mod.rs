//! What attackers do, each in a thread of its own, again and again.

mod compressed;
mod frames;
mod http;
mod http2;
pub(crate) mod peer;
mod protocol;
mod tls;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::peer::Peer;
use crate::Choice;
use crate::target::Target;

/// How an attacker goes on: once, and again.
type Round = Box<dyn FnMut() -> io::Result<()>>;

/// An attack.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Between two rounds: attackers have less than the honest of the core that they share, and some of it each.
    pause: Duration,
    begin: fn(Peer) -> Round,
}

const fn attack(name: &'static str, what: &'static str, pause_ms: u64, begin: fn(Peer) -> Round) -> Attack {
    Attack { name, what, pause: Duration::from_millis(pause_ms), begin }
}

/// All of them.
pub(crate) const ALL: &[Attack] = &[
    attack("slow heads", "300 requests of which a byte comes now and then", 100, http::slow_heads),
    attack("endless heads", "requests with a megabyte of header fields", 50, http::endless_heads),
    attack("slow bodies", "200 requests whose bodies never end", 100, http::slow_bodies),
    attack("unread answers", "50 times 300 requests at once, whose answers nobody reads", 50, http::unread_answers),
    attack("long origins", "refused handshakes with 15 KB for the log", 5, http::long_origins),
    attack("invented sessions", "commands for sessions that are not there", 5, http::invented_sessions),
    attack("unread streams", "50 clients of HTTP streaming that read nothing", 50, http::unread_streams),
    attack("wrong keys", "the server API with wrong keys and 60 KB each", 10, http::wrong_keys),
    attack("noise", "bytes without a meaning", 5, http::noise),
    attack("comers", "connections that go as soon as they are there", 2, http::comers),
    attack("silent sockets", "300 WebSockets that say nothing", 20, protocol::silent_sockets),
    attack("history unread", "30 clients that ask for all there is and take nothing", 50, protocol::history_unread),
    attack(
        "recovery unread",
        "30 clients that recover 16 rooms at once and take nothing",
        50,
        protocol::recovery_unread,
    ),
    attack("large messages", "60 KB each, into one room after another", 20, protocol::large_messages),
    attack("room makers", "a new room with each command", 5, protocol::room_makers),
    attack("floods", "a thousand publishes in a frame", 10, protocol::floods),
    attack("stored floods", "the same into rooms of the database", 50, protocol::stored_floods),
    attack("stored readers", "a hundred times the history of the database in a frame", 50, protocol::stored_readers),
    attack("comings and goings", "a room of the honest entered and left", 5, protocol::comings_and_goings),
    attack("deaf members", "50 members of rooms of the honest that read nothing", 50, protocol::deaf_members),
    attack("who is there", "a thousand times who is in a room of the honest", 20, protocol::who_is_there),
    attack("wrong tokens", "tokens that nobody has signed", 5, protocol::wrong_tokens),
    attack("deep nesting", "commands of 60,000 brackets", 10, protocol::deep_nesting),
    attack("pings", "a thousand pings in a write", 10, frames::pings),
    attack("empty fragments", "messages of thousands of fragments without a byte", 10, frames::empty_fragments),
    attack("huge frames", "frames that say they are huge, and come slowly", 10, frames::huge_frames),
    attack("broken frames", "reserved bits, no mask, long pings", 10, frames::broken_frames),
    attack("inflate bombs", "compressed messages that become a thousand times as large", 20, compressed::bombs),
    attack("rapid reset", "HTTP/2: a thousand requests, each taken back at once", 20, http2::rapid_reset),
    attack("endless continuation", "HTTP/2: header fields without an end", 20, http2::endless_continuation),
    attack("settings and pings", "HTTP/2: what has to be answered, unread", 20, http2::settings_and_pings),
    attack("closed windows", "HTTP/2: answers for which there is no room", 50, http2::closed_windows),
    attack("handshakes of TLS", "the server's part of a handshake, for nothing", 5, tls::handshakes),
    attack("slow handshakes of TLS", "200 handshakes that do not go on", 100, tls::slow_handshakes),
];

/// What became of an attack.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Rounds, and those that the server, or the system, broke off.
    pub(crate) rounds: u64,
    pub(crate) broken_off: u64,
}

/// Attackers at work.
pub(crate) struct Siege {
    is_over: Arc<AtomicBool>,
    attackers: Vec<Attacker>,
}

struct Attacker {
    attack: Attack,
    counts: Arc<[AtomicU64; 2]>,
    thread: JoinHandle<()>,
}

impl Siege {
    /// Begins every attack that is chosen.
    pub(crate) fn lay(target: &Target, choice: &Choice) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let attackers = ALL.iter().enumerate().filter(|(_, attack)| choice.has(attack.name));
        let attackers =
            attackers.map(|(nth, attack)| Attacker::begin(*attack, nth, target.clone(), &is_over)).collect();
        Self { is_over, attackers }
    }

    /// Ends them; what they have done.
    pub(crate) fn lift(self) -> Vec<Tally> {
        self.is_over.store(true, Ordering::Relaxed);
        self.attackers.into_iter().map(Attacker::end).collect()
    }
}

impl Attacker {
    fn begin(attack: Attack, nth: usize, target: Target, is_over: &Arc<AtomicBool>) -> Self {
        let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let (theirs, is_over) = (Arc::clone(&counts), Arc::clone(is_over));
        let thread = thread::spawn(move || {
            // Of this thread alone: the honest go first on the core that all share.
            let _ = rustix::process::nice(19);
            let source = Ipv4Addr::new(127, 0, 1, nth as u8 + 1);
            let mut round = (attack.begin)(Peer { source, target });
            while !is_over.load(Ordering::Relaxed) {
                let [rounds, broken_off] = &*theirs;
                rounds.fetch_add(1, Ordering::Relaxed);
                if round().is_err() {
                    broken_off.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(attack.pause);
            }
        });
        Self { attack, counts, thread }
    }

    fn end(self) -> Tally {
        let ended = self.thread.join();
        let [rounds, broken_off] = [0, 1].map(|at| self.counts[at].load(Ordering::Relaxed));
        let Attack { name, what, .. } = self.attack;
        // An attacker that falls over attacks nobody, and the report is to say so.
        Tally { name, what, rounds: if ended.is_ok() { rounds } else { 0 }, broken_off }
    }
}
