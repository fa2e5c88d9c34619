//! When to ping, and how long to wait for what.

/// The one clock of a session: first it waits for the connect command, then for pings to be due and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// Waits for the connect command.
    Opening { stale_at_ms: u64 },
    /// Waits for the next ping to be due. It goes by `times`, here and below.
    Quiet { times: TimesId, ping_at_ms: u64 },
    /// Waits for the answer to a ping.
    Pinged { times: TimesId, pong_by_ms: u64, ping_at_ms: u64 },
    /// Sends no pings.
    Still,
}

/// Which of all the [times](super::settings::PingTimes) that a server has had since its start: a byte, since every session has one.
pub(crate) type TimesId = u8;

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Nothing,
    Ping,
    NoPong,
    Stale,
}

impl Heartbeat {
    /// The clock of a client that has just connected. Its first ping comes within one interval, at a phase that its
    /// id decides: clients that come back all at once after a restart are then not pinged all at once for ever.
    pub(super) fn connected(client: &str, times: TimesId, ping_interval_ms: u64, now_ms: u64) -> Self {
        if ping_interval_ms == 0 {
            return Self::Still;
        }
        let phase_ms = hash(client) % ping_interval_ms;
        Self::Quiet { times, ping_at_ms: now_ms + ping_interval_ms - phase_ms }
    }

    /// By which times it goes, if it goes by any.
    pub(super) fn times(self) -> Option<TimesId> {
        match self {
            Self::Quiet { times, .. } | Self::Pinged { times, .. } => Some(times),
            Self::Opening { .. } | Self::Still => None,
        }
    }

    /// Advances to `now_ms`. Without a timeout no answer is waited for.
    pub(super) fn tick(&mut self, now_ms: u64, ping_interval_ms: u64, pong_timeout_ms: u64) -> Beat {
        match *self {
            Self::Opening { stale_at_ms } if stale_at_ms <= now_ms => Beat::Stale,
            Self::Pinged { pong_by_ms, .. } if pong_by_ms <= now_ms => Beat::NoPong,
            Self::Quiet { times, ping_at_ms } if ping_at_ms <= now_ms => {
                // Keeps its phase however late this call comes, but never owes two pings.
                let late_ms = now_ms - ping_at_ms;
                let ping_at_ms = now_ms + ping_interval_ms - late_ms % ping_interval_ms;
                *self = match pong_timeout_ms {
                    0 => Self::Quiet { times, ping_at_ms },
                    timeout_ms => Self::Pinged { times, pong_by_ms: now_ms + timeout_ms, ping_at_ms },
                };
                Beat::Ping
            }
            _ => Beat::Nothing,
        }
    }

    /// Takes a pong; `false` if none was awaited.
    pub(super) fn pong(&mut self) -> bool {
        let Self::Pinged { times, ping_at_ms, .. } = *self else {
            return false;
        };
        *self = Self::Quiet { times, ping_at_ms };
        true
    }

    /// Gives the client until then to answer.
    pub(super) fn extend(&mut self, until_ms: u64) {
        if let Self::Pinged { pong_by_ms, .. } = self {
            *pong_by_ms = until_ms.max(*pong_by_ms);
        }
    }

    /// Gives the client until then to say what it is waited for: that it connects, or its answer.
    pub(super) fn extend_any(&mut self, until_ms: u64) {
        self.extend(until_ms);
        if let Self::Opening { stale_at_ms } = self {
            *stale_at_ms = until_ms.max(*stale_at_ms);
        }
    }

    /// Whether the answer to a ping should have come by now.
    pub(super) fn is_overdue(self, now_ms: u64) -> bool {
        matches!(self, Self::Pinged { pong_by_ms, .. } if pong_by_ms <= now_ms)
    }

    /// When `tick` has something to say next.
    pub(super) fn deadline_ms(self) -> Option<u64> {
        match self {
            Self::Opening { stale_at_ms } => Some(stale_at_ms),
            Self::Quiet { ping_at_ms, .. } => Some(ping_at_ms),
            Self::Pinged { pong_by_ms, .. } => Some(pong_by_ms),
            Self::Still => None,
        }
    }
}

/// FNV-1a: even enough to spread phases, and the same on every machine.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_pings_are_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for client in 0..1_000 {
            let beat = Heartbeat::connected(&format!("client-{client}"), 0, 25_000, 1_000_000);
            let due = beat.deadline_ms().unwrap() - 1_000_000;
            assert!((1..=25_000).contains(&due));
            tenths[((due - 1) / 2_500) as usize] += 1;
        }
        assert!(tenths.iter().all(|&count| count > 50), "{tenths:?}");
    }

    #[test]
    fn without_a_timeout_nobody_is_waited_for() {
        let mut beat = Heartbeat::Quiet { times: 0, ping_at_ms: 100 };
        for now_ms in [100, 1_100, 2_100] {
            assert_eq!(beat.tick(now_ms, 1_000, 0), Beat::Ping);
            assert_eq!(beat.deadline_ms(), Some(now_ms + 1_000));
        }
    }

    #[test]
    fn a_ping_is_answered_or_the_client_is_gone() {
        let mut beat = Heartbeat::Quiet { times: 0, ping_at_ms: 100 };
        assert_eq!(beat.tick(99, 1_000, 80), Beat::Nothing);
        assert!(!beat.pong());
        assert_eq!(beat.tick(100, 1_000, 80), Beat::Ping);
        assert_eq!(beat.tick(179, 1_000, 80), Beat::Nothing);
        assert!(beat.pong());
        assert!(!beat.pong());
        assert_eq!(beat.deadline_ms(), Some(1_100));
        assert_eq!(beat.tick(1_100, 1_000, 80), Beat::Ping);
        assert_eq!(beat.tick(1_180, 1_000, 80), Beat::NoPong);
    }

    #[test]
    fn a_late_tick_keeps_the_phase_and_owes_one_ping() {
        let mut beat = Heartbeat::Quiet { times: 0, ping_at_ms: 100 };
        assert_eq!(beat.tick(3_450, 1_000, 80), Beat::Ping);
        assert!(beat.pong());
        assert_eq!(beat.deadline_ms(), Some(4_100));
    }

    #[test]
    fn which_times_it_goes_by_costs_a_session_nothing() {
        assert_eq!(size_of::<Heartbeat>(), 3 * size_of::<u64>());
    }

    #[test]
    fn no_interval_no_pings() {
        let mut beat = Heartbeat::connected("c", 0, 0, 5);
        assert_eq!(beat.deadline_ms(), None);
        assert_eq!(beat.tick(u64::MAX, 0, 8_000), Beat::Nothing);
        assert!(!beat.pong());
    }
}
