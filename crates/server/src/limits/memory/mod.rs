//! The memory of a server: how much it may take, and which part of that is for what.
//!
//! Everything that clients can make the server hold has a share, by name. Whoever wants more than is left of one is told to come
//! again, given less, or let go; nobody takes it from another share. So a server stays up whatever its clients do.

mod calls;
mod gathering;
mod machine;
mod share;

use std::path::Path;

pub(crate) use self::calls::{CallMemory, HeldByCall};
pub(crate) use self::gathering::{Gathering, Grow, NotGathered};
pub(crate) use self::share::{Reservation, Share};
use crate::config::MemoryOptions;
use crate::ops::metrics::Metrics;

/// What a server may take, by what for.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: u64,
    /// What there is of it on the machine, or in its cgroup.
    found: u64,
    /// The messages that rooms have in memory.
    pub(crate) rings: Share,
    /// What clients have asked for and have not taken, and what they have begun to say.
    pub(crate) replies: Share,
    /// What is on its way from the database.
    pub(crate) database: Share,
    /// What was read of rooms after a restart, for all who come back.
    pub(crate) caches: Share,
    /// Clients that are connected.
    pub(crate) connections: Share,
    /// Requests, before they are answered or have become clients.
    pub(crate) requests: Share,
    /// Rooms, and the positions of those at rest, without their messages.
    pub(crate) rooms: Share,
    /// Idempotency keys and versions.
    pub(crate) keys: Share,
    /// Joins, leaves and messages without history, on their way to members.
    pub(crate) events: Share,
    /// What clients have said that the backend is asked about, and what it answers.
    pub(crate) callbacks: Share,
}

/// What is divided of a hundred parts.
const RINGS: u64 = 38;
const REPLIES: u64 = 15;
const DATABASE: u64 = 6;
const CACHES: u64 = 4;
const CONNECTIONS: u64 = 14;
const REQUESTS: u64 = 4;
const ROOMS: u64 = 10;
const KEYS: u64 = 3;
const EVENTS: u64 = 4;
const CALLBACKS: u64 = 2;

const _: () = assert!(
    RINGS + REPLIES + DATABASE + CACHES + CONNECTIONS + REQUESTS + ROOMS + KEYS + EVENTS + CALLBACKS == 100,
    "all of it is divided, and no more"
);

/// What is left to the process: the program, its threads, the queue of the log (4 MiB), what waits for the log of room events (16 MiB).
const PROCESS_BYTES: u64 = 32 << 20;

/// What is left to the allocator, which gives memory back late and in pages: this part of all.
const ALLOCATOR_PART: u64 = 16;

/// What the system takes for a connection while nothing happens: the socket, its file, and the watch on it.
const SOCKET_BYTES: u64 = 5 * 1024;

/// The part for sockets at rest of what is left to the system; the rest is for what they are sending and receiving, which it bounds by
/// itself (`net.ipv4.tcp_mem`), and for all else that it does.
const SOCKETS_PART: u64 = 2;

/// The part of all memory that the system has at least.
const SYSTEM_PART_LEAST: u64 = 16;

/// What a connection takes while nothing happens.
const CONNECTION_BYTES: u64 = 2 * 1024;

/// What it takes for each room that it is in, with presence.
const MEMBER_BYTES: u64 = 768;

/// What part of its share the messages of a server keep in any case that leaves memory to another process: with less it would begin
/// every room anew.
const KEPT_PART: u64 = 4;

impl Memory {
    /// Divides what the configuration says, or three quarters of what this process may have.
    pub(crate) fn new(options: &MemoryOptions) -> Self {
        let found = machine::memory(Path::new("/"));
        let (limit, by) = match options.limit {
            Some(limit) => (limit.get() as u64, "configuration"),
            None => (found.bytes / 4 * 3, found.by),
        };
        let memory = Self { found: found.bytes, ..Self::of(limit) };
        let [rings, replies, database, caches] =
            [&memory.rings, &memory.replies, &memory.database, &memory.caches].map(Share::limit);
        let [connections, requests] = [&memory.connections, &memory.requests].map(Share::limit);
        let [rooms, keys] = [&memory.rooms, &memory.keys].map(Share::limit);
        let [events, callbacks] = [&memory.events, &memory.callbacks].map(Share::limit);
        let process = memory.process();
        tracing::info!(
            limit,
            by,
            rings,
            replies,
            database,
            caches,
            connections,
            requests,
            rooms,
            keys,
            events,
            callbacks,
            process,
            "memory divided"
        );
        memory
    }

    /// Divides so many bytes.
    fn of(limit: u64) -> Self {
        // A server that is given next to nothing does not serve nobody.
        let divided = limit.saturating_sub(PROCESS_BYTES + limit / ALLOCATOR_PART).max(PROCESS_BYTES);
        let share = |name, part| Share::new(name, divided / 100 * part);
        Self {
            limit,
            found: limit / 3 * 4,
            rings: share("rings", RINGS),
            replies: share("replies", REPLIES),
            database: share("database", DATABASE),
            caches: share("caches", CACHES),
            connections: share("connections", CONNECTIONS),
            requests: share("requests", REQUESTS),
            rooms: share("rooms", ROOMS),
            keys: share("keys", KEYS),
            events: share("events", EVENTS),
            callbacks: share("callbacks", CALLBACKS),
        }
    }

    /// How many connections there is memory for.
    pub(crate) fn connections_max(&self) -> u64 {
        self.connections.limit() / CONNECTION_BYTES
    }

    /// For how many connections the system has memory, beside all that is divided here.
    pub(crate) fn sockets_max(&self) -> u64 {
        // Where the configuration leaves it nothing, it is asked for more than there is, and not for none.
        let left = self.found.saturating_sub(self.limit).max(self.found / SYSTEM_PART_LEAST);
        left / SOCKETS_PART / SOCKET_BYTES
    }

    /// Whether there is memory for so many, which are in so many rooms, each room of each counted.
    pub(crate) fn has_place_for(&self, connections: u64, members: u64) -> bool {
        connections * CONNECTION_BYTES + members * MEMBER_BYTES <= self.connections.limit()
    }

    /// Says how many there are.
    pub(crate) fn note_connections(&self, connections: u64, members: u64) {
        self.connections.note(connections * CONNECTION_BYTES + members * MEMBER_BYTES);
    }

    /// Shows how much of each share is used.
    pub(crate) fn show(&self, metrics: &Metrics) {
        for share in self.shares() {
            metrics.memory(share.name(), share.used(), share.limit_now());
        }
    }

    pub(crate) fn shares(&self) -> [&Share; 10] {
        [
            &self.rings,
            &self.replies,
            &self.database,
            &self.caches,
            &self.connections,
            &self.requests,
            &self.rooms,
            &self.keys,
            &self.events,
            &self.callbacks,
        ]
    }

    /// What this process has at this moment: as the system says, or else as it is counted.
    pub(crate) fn held(&self) -> u64 {
        let counted = || PROCESS_BYTES + self.shares().iter().map(|share| share.used()).sum::<u64>();
        machine::resident(Path::new("/")).unwrap_or_else(counted)
    }

    /// Another process is to have so much of what both have together: what is left is for messages, a quarter of their share at least;
    /// whether they have no more at this moment. Other shares stay, since who has something of them there has nothing of them here.
    pub(crate) fn leave_to_another(&self, bytes: u64) -> bool {
        if bytes == 0 {
            return self.rings.hold_back(0);
        }
        let others: u64 = self.shares().iter().map(|share| share.used()).sum::<u64>() - self.rings.used();
        let left = self.limit.saturating_sub(bytes.saturating_add(others + self.process()));
        let (all, kept) = (self.rings.limit(), self.rings.limit() / KEPT_PART);
        self.rings.hold_back(all.saturating_sub(left.max(kept)))
    }

    /// What nobody has a share of.
    fn process(&self) -> u64 {
        self.limit.saturating_sub(self.shares().iter().map(|share| share.limit()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_leave_the_process_what_it_needs() {
        for limit in [128 << 20, 256 << 20, 768 << 20, 64 << 30] {
            let memory = Memory::of(limit);
            let divided: u64 = memory.shares().iter().map(|share| share.limit()).sum();
            assert!(divided <= limit - PROCESS_BYTES - limit / ALLOCATOR_PART, "{divided} of {limit}");
            assert!(divided >= limit / 2, "{divided} of {limit}");
        }
    }

    #[test]
    fn there_are_no_more_connections_than_the_system_has_memory_for() {
        let memory = |found: u64, limit: u64| Memory { found, ..Memory::of(limit) }.sockets_max();
        assert_eq!(memory(1 << 30, 768 << 20), (128 << 20) / SOCKET_BYTES);
        assert!(memory(1 << 30, 768 << 20) < Memory::of(768 << 20).connections_max());
        assert_eq!(memory(1 << 30, 1 << 30), (32 << 20) / SOCKET_BYTES, "it says more than there is");
        assert!(memory(64 << 30, 1 << 30) > Memory::of(1 << 30).connections_max());
    }

    #[test]
    fn what_another_process_has_is_left_to_it_and_comes_back() {
        let memory = Memory::of(1 << 30);
        let all = memory.rings.limit();
        assert!(memory.leave_to_another(0));
        assert_eq!(memory.rings.limit_now(), all, "all is divided, and all may be used");
        let before = memory.rings.limit_now();
        assert!(memory.leave_to_another(600 << 20));
        let now = memory.rings.limit_now();
        assert!(now < before && (600 << 20) + memory.process() + now <= memory.limit, "{now} of {all}");
        let clients = memory.replies.try_reserve(50 << 20).expect("it is free");
        assert!(memory.leave_to_another(600 << 20));
        assert!((600 << 20) + (50 << 20) + memory.process() + memory.rings.limit_now() <= memory.limit);
        drop(clients);
        for much in [memory.limit, u64::MAX] {
            assert!(memory.leave_to_another(much));
            assert!(memory.rings.limit_now() >= all / KEPT_PART, "it is still to be a server");
        }
        assert!(memory.leave_to_another(0));
        assert_eq!(memory.rings.left(), all);
    }

    #[test]
    fn what_the_configuration_says_is_divided() {
        let options = MemoryOptions { limit: std::num::NonZeroUsize::new(256 << 20) };
        let memory = Memory::new(&options);
        assert_eq!(memory.limit, 256 << 20);
        assert!(memory.process() >= PROCESS_BYTES);
    }
}
