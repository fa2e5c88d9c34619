//! A coarse timer wheel: when each connection of a shard is next due.

/// How exact timers are, in milliseconds. Pings, pongs and stale connections are counted in seconds.
pub(crate) const TICK_MS: u64 = 250;
/// Slots of the wheel: 32 seconds, a little more than the usual ping interval. What is due later goes round again.
const SLOTS: u64 = 128;

/// Something due at a time, kept in the slot of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due<T> {
    pub(crate) at_ms: u64,
    pub(crate) what: T,
}

/// Entries by when they are due. An entry that is no longer wanted stays until its time and is then ignored by its owner.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    slots: Box<[Vec<Due<T>>]>,
    /// The next tick to be served.
    tick: u64,
}

impl<T: Copy> Wheel<T> {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), tick: now_ms / TICK_MS }
    }

    /// Puts `what` in for `at_ms`; a time gone by is due at the next tick.
    pub(crate) fn schedule(&mut self, at_ms: u64, what: T) {
        // Rounded up: never early, at most one tick late.
        let tick = at_ms.div_ceil(TICK_MS).max(self.tick);
        let tick = tick.min(self.tick + SLOTS - 1);
        self.slots[(tick % SLOTS) as usize].push(Due { at_ms, what });
    }

    /// Moves what is due by `now_ms` into `due`.
    pub(crate) fn advance(&mut self, now_ms: u64, due: &mut Vec<Due<T>>) {
        let now = now_ms / TICK_MS;
        // After a long pause (a suspended machine) one round visits every slot.
        let first = self.tick.max((now + 1).saturating_sub(SLOTS));
        let mut later = Vec::new();
        for tick in first..=now {
            let slot = &mut self.slots[(tick % SLOTS) as usize];
            for entry in slot.drain(..) {
                if entry.at_ms <= now_ms {
                    due.push(entry);
                } else {
                    later.push(entry);
                }
            }
            if slot.capacity() > SLOT_ENTRIES_KEPT {
                slot.shrink_to(SLOT_ENTRIES_KEPT);
            }
        }
        self.tick = self.tick.max(now + 1);
        for entry in later {
            self.schedule(entry.at_ms, entry.what);
        }
    }
}

/// Room a slot keeps after being served; a crowd that connected at once is not remembered for ever.
const SLOT_ENTRIES_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel<u32>, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(now_ms, &mut due);
        due.into_iter().map(|entry| entry.what).collect()
    }

    #[test]
    fn entries_fire_once_at_their_time_and_never_early() {
        let mut wheel = Wheel::new(10_000);
        wheel.schedule(10_000, 1);
        wheel.schedule(10_251, 2);
        wheel.schedule(3, 3);
        assert_eq!(fired(&mut wheel, 10_000), [1, 3]);
        assert!(fired(&mut wheel, 10_499).is_empty());
        assert_eq!(fired(&mut wheel, 10_500), [2]);
        assert!(fired(&mut wheel, 60_000).is_empty());
    }

    #[test]
    fn what_is_due_beyond_the_wheel_goes_round_until_its_time() {
        let mut wheel = Wheel::new(0);
        let at_ms = TICK_MS * SLOTS * 3 + 7;
        wheel.schedule(at_ms, 9);
        let mut now_ms = 0;
        while now_ms < at_ms {
            assert!(fired(&mut wheel, now_ms).is_empty(), "early at {now_ms}");
            now_ms += TICK_MS;
        }
        assert_eq!(fired(&mut wheel, now_ms), [9]);
    }

    #[test]
    fn a_long_pause_loses_nothing() {
        let mut wheel = Wheel::new(0);
        for what in 0..100u32 {
            wheel.schedule(u64::from(what) * 300, what);
        }
        let mut seen = fired(&mut wheel, 10_000_000);
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}
