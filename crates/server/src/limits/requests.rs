//! The memory of requests over HTTP: of what there is for all, nobody has more than a part.

use std::net::IpAddr;
use std::sync::Arc;

use crate::limits::address::AddressKey;
use crate::limits::connections::Connections;
use crate::limits::memory::{Grow, Memory, Reservation};

/// What somebody's request has, or a connection on which requests come, as long as it is there.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    connections: Arc<Connections>,
    memory: Arc<Memory>,
    /// For whom it is counted, if for anybody.
    address: Option<AddressKey>,
    now_ms: u64,
    /// What is counted for that address.
    counted_kib: u32,
    reserved: Option<Reservation>,
}

impl RequestMemory {
    /// That of who comes from `address`, at that time of its shard: nothing yet.
    pub(crate) fn new(
        connections: &Arc<Connections>,
        memory: &Arc<Memory>,
        address: Option<IpAddr>,
        now_ms: u64,
    ) -> Self {
        let address = connections.counted_for_requests(address);
        let (connections, memory) = (Arc::clone(connections), Arc::clone(memory));
        Self { connections, memory, address, now_ms, counted_kib: 0, reserved: None }
    }

    /// Counts so many bytes that are reserved elsewhere, such as for a connection of a proxy's; false where that is more than the
    /// address may have.
    pub(crate) fn count(&mut self, bytes: u64) -> bool {
        let Some(address) = self.address else { return true };
        let kib = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX);
        let of_all = self.memory.requests.limit();
        let is_counted = self.connections.take_request_memory(address, (self.counted_kib, kib), of_all, self.now_ms);
        if is_counted {
            self.counted_kib = self.counted_kib.saturating_add(kib);
        }
        is_counted
    }

    fn uncount(&mut self, kib: u32) {
        if let Some(address) = self.address.filter(|_| kib > 0) {
            self.connections.give_back_request_memory(address, kib);
            self.counted_kib = self.counted_kib.saturating_sub(kib);
        }
    }

    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        if let Some(reserved) = &mut self.reserved {
            reserved.shrink_to(bytes);
        }
        let kept = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX);
        self.uncount(self.counted_kib.saturating_sub(kept));
    }
}

impl Grow for RequestMemory {
    fn grow(&mut self, bytes: u64) -> bool {
        let before_kib = self.counted_kib;
        if !self.count(bytes) {
            return false;
        }
        let Some(more) = self.memory.requests.try_reserve(bytes) else {
            self.uncount(self.counted_kib - before_kib);
            return false;
        };
        Reservation::add(&mut self.reserved, more);
        true
    }
}

impl Drop for RequestMemory {
    fn drop(&mut self) {
        self.uncount(self.counted_kib);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::config::{Config, MemoryOptions};
    use crate::ops::metrics::Refusals;

    const KIB: u64 = 1_024;

    struct Requests {
        connections: Arc<Connections>,
        memory: Arc<Memory>,
        refusals: Refusals,
    }

    impl Requests {
        /// Of a server of 256 MiB, with such options.
        fn new(change: impl FnOnce(&mut Config)) -> Self {
            let mut config = Config::default();
            change(&mut config);
            let refusals = Refusals::default();
            let memory = Arc::new(Memory::new(&MemoryOptions { limit: NonZeroUsize::new(256 << 20) }));
            Self { connections: Arc::new(Connections::new(&config.client, refusals.clone())), memory, refusals }
        }

        fn of(&self, address: &str) -> RequestMemory {
            RequestMemory::new(&self.connections, &self.memory, address.parse().ok(), 0)
        }

        /// As many of 16 KiB as it may have.
        fn all_of(&self, address: &str) -> Vec<RequestMemory> {
            let one = || {
                let mut memory = self.of(address);
                memory.grow(16 * KIB).then_some(memory)
            };
            std::iter::from_fn(one).take(10_000).collect()
        }

        /// As many as a quarter of all is.
        fn quarter(&self) -> usize {
            (self.memory.requests.limit() / 4 / (16 * KIB)) as usize
        }

        fn refused(&self) -> u64 {
            self.refusals.of("client.rate_limit.ip_request.max_memory_per_ip")
        }
    }

    #[test]
    fn an_address_has_a_quarter_and_so_has_a_network_and_others_have_theirs() {
        let requests = Requests::new(|_| {});
        let quarter = requests.quarter();
        let first = requests.all_of("203.0.113.7");
        assert_eq!((first.len(), requests.refused()), (quarter, 1));
        let of_network: Vec<_> = (0..2 * quarter)
            .map_while(|nth| {
                let mut memory = requests.of(&format!("2001:db8:1:{nth:x}::1"));
                memory.grow(16 * KIB).then_some(memory)
            })
            .collect();
        assert_eq!(of_network.len(), quarter);
        assert!(requests.of("2001:db8:2::1").grow(16 * KIB), "another network");
        assert!(requests.of("203.0.113.8").grow(16 * KIB));
        drop((first, of_network));
        assert_eq!(requests.memory.requests.used(), 0);
        assert_eq!(requests.all_of("203.0.113.7").len(), quarter, "it may come again");
        assert_eq!(requests.all_of("2001:db8:1:7::1").len(), quarter);
        let private = requests.all_of("10.0.0.1").len();
        assert!((4 * quarter..4 * quarter + 4).contains(&private), "{private}: behind it there may be anybody");
    }

    #[test]
    fn what_is_given_back_may_be_taken_again() {
        let requests = Requests::new(|config| config.client.rate_limit.ip_request.max_memory_per_ip = 128 << 10);
        let mut all = requests.all_of("203.0.113.7");
        assert_eq!(all.len(), 8);
        all[0].shrink_to(4 * KIB);
        let mut other = requests.of("203.0.113.7");
        assert!(other.grow(12 * KIB) && !other.grow(1));
        drop(all);
        assert!(other.count(116 * KIB), "what a proxy's connection has counts for its client");
        assert!(!requests.of("203.0.113.7").grow(1));
        assert_eq!(requests.memory.requests.used(), 12 * KIB);
        drop(other);
        assert_eq!(requests.all_of("203.0.113.7").len(), 8);
        let taken = requests.memory.requests.try_reserve(requests.memory.requests.left()).expect("it is there");
        assert!(requests.all_of("203.0.113.7").is_empty(), "there is none for anybody");
        drop(taken);
        assert_eq!(requests.all_of("203.0.113.7").len(), 8, "what was refused was not counted");
    }

    #[test]
    fn one_request_alone_may_be_as_large_as_requests_may_be() {
        let requests = Requests::new(|config| config.client.rate_limit.ip_request.max_memory_per_ip = 64 << 10);
        let (mut connection, mut body) = (requests.of("203.0.113.7"), requests.of("203.0.113.7"));
        assert!(connection.grow(16 * KIB) && body.grow(4 * KIB) && body.grow(512 * KIB) && body.grow(512 * KIB));
        assert!(!requests.of("203.0.113.7").grow(KIB), "and none beside it");
    }

    #[test]
    fn a_dry_run_counts_and_refuses_nobody_and_what_is_off_is_not_counted() {
        let dry = Requests::new(|config| {
            let limit = &mut config.client.rate_limit.ip_request;
            (limit.dry_run, limit.max_memory_per_ip) = (true, 64 << 10);
        });
        let all: Vec<_> = ["203.0.113.7", "2001:db8::1"].map(|address| dry.all_of(address)).into();
        assert!(all.iter().flatten().count() > 4 * dry.quarter() - 4);
        assert!(dry.refused() > 0);
        drop(all);
        assert_eq!(dry.memory.requests.used(), 0);
        let off = Requests::new(|config| config.client.rate_limit.ip_request.enabled = false);
        assert!(off.all_of("203.0.113.7").len() >= 4 * off.quarter());
        assert_eq!(off.refused(), 0);
    }
}
