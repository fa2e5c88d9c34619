//! The honest: a thousand clients in rooms, some of which talk at a steady rate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use server_bench::fault::Fault;
use server_bench::load::Load;
use server_bench::wire::Wire;

use crate::target::Kind;

/// Rooms of each kind, and members of each room beside the one who publishes.
const ROOMS: usize = 20;
const MEMBERS: usize = 24;
const BYTES: usize = 128;

/// How often somebody says something in a room.
const EVERY: Duration = Duration::from_millis(200);

/// How long an honest client waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the load sleeps at most.
const WAIT: Duration = Duration::from_millis(1);

/// Which rooms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rooms {
    stored: bool,
}

impl Rooms {
    /// Those in memory alone.
    pub(crate) const PLAIN: Self = Self { stored: false };
    /// And as many in a database.
    pub(crate) const BOTH: Self = Self { stored: true };
}

/// A thousand clients who mean well.
pub(crate) struct Honest {
    load: Load,
    /// The rooms, and when the next message of each is due.
    plain: Vec<(usize, Instant)>,
    stored: Vec<(usize, Instant)>,
}

/// How long messages took, in nanoseconds, from when they were due.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) plain: Vec<u32>,
    pub(crate) stored: Vec<u32>,
}

impl Honest {
    /// Connects them all.
    pub(crate) fn open(kind: Kind, address: SocketAddr, rooms: Rooms) -> Result<Self, Fault> {
        let wire = if kind == Kind::Floor { Wire::Plain } else { Wire::Centrifugo };
        let mut load = Load::new(address, wire)?.patient_for(PATIENCE);
        let begin = Instant::now();
        let mut open = |prefix: &str, count: usize| -> Result<Vec<(usize, Instant)>, Fault> {
            (0..count)
                .map(|nth| {
                    let room = load.add_room(&format!("{prefix}{nth}"), BYTES, 0, MEMBERS)?;
                    // They do not all speak at once.
                    Ok((room, begin + EVERY.mul_f64(nth as f64 / count as f64)))
                })
                .collect()
        };
        let separator = if kind == Kind::Floor { "-" } else { ":" };
        let plain = open(&format!("plain{separator}"), if rooms.stored { ROOMS } else { 2 * ROOMS })?;
        let stored = open("kept:", if rooms.stored { ROOMS } else { 0 })?;
        load.open_all()?;
        (0..load.rooms.len()).for_each(|room| load.time(room));
        Ok(Self { load, plain, stored })
    }

    /// Talks until then; `each` is called now and then.
    pub(crate) fn talk_until(
        &mut self,
        end: Instant,
        each: &mut dyn FnMut(Instant) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let now = Instant::now();
        // What was due while nobody talked is not late.
        self.plain.iter_mut().chain(&mut self.stored).for_each(|(_, due)| {
            while *due < now {
                *due += EVERY;
            }
        });
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            for (room, due) in self.plain.iter_mut().chain(&mut self.stored) {
                if *due <= now {
                    self.load.publish_due(*room, *due)?;
                    *due += EVERY;
                }
            }
            self.load.turn(WAIT)?;
            each(now)?;
        }
    }

    /// Waits until all has arrived that was said.
    pub(crate) fn settle(&mut self) -> Result<(), Fault> {
        self.load.settle()
    }

    /// Checks that everybody has received all of it; how much was said, and how much received.
    pub(crate) fn check(&self) -> Result<(u64, u64), Fault> {
        self.load.check()?;
        Ok((self.load.rooms.iter().map(|room| room.published()).sum(), self.load.deliveries()))
    }

    /// What is measured begins now.
    pub(crate) fn forget_latencies(&mut self) {
        self.load.take_samples();
    }

    /// What was measured.
    pub(crate) fn take_latencies(&mut self) -> Latencies {
        let mut take = |rooms: &[(usize, Instant)]| {
            let mut samples = Vec::new();
            for (room, _) in rooms {
                samples.extend(self.load.rooms[*room].latency.iter_mut().flat_map(|latency| latency.samples.drain(..)));
            }
            samples
        };
        Latencies { plain: take(&self.plain), stored: take(&self.stored) }
    }
}
