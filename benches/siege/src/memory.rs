//! What a server holds, looked at once a second.

use std::time::{Duration, Instant};

use server_bench::fault::Fault;
use server_bench::process::Process;

const EVERY: Duration = Duration::from_secs(1);

/// Bytes that are the server's own, as they were over time.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    before: u64,
    samples: Vec<u64>,
    after: u64,
    next: Option<Instant>,
}

impl Watch {
    /// Begins with what it holds before anybody attacks.
    pub(crate) fn of(server: &Process) -> Result<Self, Fault> {
        let before = server.private_bytes()?;
        Ok(Self { before, samples: Vec::new(), after: before, next: None })
    }

    /// Looks, if it is time.
    pub(crate) fn look(&mut self, server: &Process, now: Instant) -> Result<(), Fault> {
        if self.next.is_none_or(|next| now >= next) {
            self.next = Some(now + EVERY);
            self.samples.push(server.private_bytes()?);
        }
        Ok(())
    }

    /// Looks at what is left when the attackers are gone.
    pub(crate) fn look_once_more(&mut self, server: &Process) -> Result<(), Fault> {
        self.after = server.private_bytes()?;
        Ok(())
    }

    /// Adds what another server of the same kind has held.
    pub(crate) fn join(&mut self, mut other: Self) {
        if self.samples.is_empty() {
            self.before = other.before;
        }
        self.samples.append(&mut other.samples);
        self.after = other.after;
    }

    /// Before anybody attacked.
    pub(crate) fn before(&self) -> u64 {
        self.before
    }

    /// When they were gone.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// The most it held.
    pub(crate) fn peak(&self) -> u64 {
        self.samples.iter().copied().max().unwrap_or(self.before)
    }

    /// The medians of each third of the time: what is flat does not rise from the second to the last.
    pub(crate) fn thirds(&self) -> [u64; 3] {
        let length = self.samples.len();
        [0, 1, 2].map(|third| {
            let mut part = self.samples[third * length / 3..(third + 1) * length / 3].to_vec();
            part.sort_unstable();
            part.get(part.len() / 2).copied().unwrap_or(self.before)
        })
    }
}
