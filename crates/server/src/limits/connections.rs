//! Connections: how many there may be, in all and by address, and how many new ones in a time.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::{Client, RateBucket, RateLimit};
use crate::limits::address::{AddressKey, counted, wider};
use crate::limits::bucket::{Buckets, Rates};
use crate::limits::table::{Entry, Table};
use crate::ops::metrics::Refusals;
use crate::util::network::Network;
use crate::util::panics::lock;

/// The part of all connections that one address, and one user, may have where nothing else is said. Nobody takes all of them alone;
/// an office behind one address, or devices that share a user, are far from it.
const SHARE: u64 = 4;

/// What a share is at least: where few connections are allowed, a few people must still do.
const SHARE_MIN: u64 = 64;

/// Memory for requests that one address has at least, of what a small server has at most half: sixty-four connections that ask.
const REQUEST_BYTES_MIN: u64 = 1024 * 1024;

/// What an address has that asks for one thing alone, beside that: a connection, of HTTP/2 perhaps. It is no heap of them, so it may be
/// as large as it may be.
const ALONE_KIB: u32 = 64;

/// The connections of a server, counted where it is decided whether there may be one more.
#[derive(Debug)]
pub(crate) struct Connections {
    /// How many there may be.
    max: AtomicU64,
    /// How many there may be at most, whatever is configured; set once, when it is known how many descriptors are left.
    allowed: AtomicU64,
    open: AtomicU64,
    /// What is configured at this moment.
    rules: ArcSwap<Rules>,
    /// How many have come lately, in all.
    arrivals: Mutex<Buckets>,
    addresses: Table<Visitor>,
    /// Networks of IPv6 with many addresses each, see [`AddressKey::network`]: their limits are wider.
    networks: Table<Visitor>,
    refusals: Refusals,
}

#[derive(Debug)]
struct Rules {
    /// How many may come in a time, in all.
    arrivals: Rates,
    /// How many one user may have; 0 is a share.
    user_max: u64,
    are_addresses_counted: bool,
    is_dry_run: bool,
    /// Connections of one address; 0 is a share.
    open_max: u64,
    of_address: Allowed,
    of_network: Allowed,
    exempt: Vec<Network>,
    are_requests_counted: bool,
    are_requests_dry_run: bool,
    /// Memory for requests of one address; 0 is a share.
    request_bytes_max: u64,
}

/// What may come of one in a time.
#[derive(Debug)]
struct Allowed {
    arrivals: Rates,
    requests: Rates,
}

impl Rules {
    fn new(client: &Client) -> Self {
        let RateLimit { ip_connect, ip_request, .. } = &client.rate_limit;
        let arrivals = match client.connection_rate_limit {
            0 => Rates::default(),
            rate => Rates::new(&[RateBucket { interval: Duration::from_secs(1), rate }]),
        };
        let allowed = |make: fn(&[RateBucket]) -> Vec<RateBucket>| Allowed {
            arrivals: Rates::new(&make(&ip_connect.buckets)),
            requests: if ip_request.enabled { Rates::new(&make(&ip_request.buckets)) } else { Rates::default() },
        };
        Self {
            arrivals,
            user_max: client.user_connection_limit as u64,
            are_addresses_counted: ip_connect.enabled,
            is_dry_run: ip_connect.dry_run,
            open_max: ip_connect.max_concurrent_per_ip as u64,
            of_address: allowed(<[_]>::to_vec),
            of_network: allowed(wider),
            exempt: ip_connect.exempt.clone(),
            are_requests_counted: ip_request.enabled,
            are_requests_dry_run: ip_request.dry_run,
            request_bytes_max: ip_request.max_memory_per_ip as u64,
        }
    }
}

/// What is remembered of an address.
#[derive(Debug, Default)]
struct Visitor {
    open: u32,
    /// Memory that its requests have.
    request_kib: u32,
    arrivals: Buckets,
    requests: Buckets,
}

impl Visitor {
    /// One of its connections is gone; whether it holds nothing any more.
    fn leave(&mut self) -> bool {
        self.open = self.open.saturating_sub(1);
        self.holds_nothing()
    }

    /// So much memory of its requests is free; whether it holds nothing any more.
    fn give_back(&mut self, kib: u32) -> bool {
        self.request_kib = self.request_kib.saturating_sub(kib);
        self.holds_nothing()
    }

    fn holds_nothing(&self) -> bool {
        self.open == 0 && self.request_kib == 0
    }
}

impl Entry for Visitor {
    fn is_idle(&self, now_ms: u64) -> bool {
        self.holds_nothing() && self.arrivals.are_full(now_ms) && self.requests.are_full(now_ms)
    }
}

/// Why there is no place for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// There are too many.
    Connections,
    /// Too many come at once.
    Arrivals,
    /// There are too many of this address.
    OfAddress,
    /// Too many of this address come at once.
    ArrivalsOfAddress,
}

impl Excess {
    /// The name of the limit.
    pub(crate) const fn limit(self) -> &'static str {
        match self {
            Self::Connections => "client.connection_limit",
            Self::Arrivals => "client.connection_rate_limit",
            Self::OfAddress => "client.rate_limit.ip_connect.max_concurrent_per_ip",
            Self::ArrivalsOfAddress => "client.rate_limit.ip_connect.buckets",
        }
    }

    /// Whether it is this client that has too many, and not all together.
    pub(crate) const fn is_of_address(self) -> bool {
        matches!(self, Self::OfAddress | Self::ArrivalsOfAddress)
    }
}

impl Connections {
    pub(crate) fn new(client: &Client, refusals: Refusals) -> Self {
        Self {
            max: AtomicU64::new(u64::MAX),
            allowed: AtomicU64::new(u64::MAX),
            open: AtomicU64::new(0),
            rules: ArcSwap::from_pointee(Rules::new(client)),
            arrivals: Mutex::default(),
            addresses: Table::new(),
            networks: Table::new(),
            refusals,
        }
    }

    /// Says how many there may be at most.
    pub(crate) fn allow(&self, max: u64) {
        // Relaxed, here and below: numbers of their own, beside which nothing is read.
        self.allowed.store(max, Relaxed);
    }

    /// Goes by what is configured from here on, as far as that many are allowed. Who is there stays.
    pub(crate) fn follow(&self, client: &Client) {
        let (allowed, limit) = (self.allowed.load(Relaxed), client.connection_limit as u64);
        self.max.store(if limit == 0 { allowed } else { allowed.min(limit) }, Relaxed);
        self.rules.store(Arc::new(Rules::new(client)));
    }

    /// A place for one more that comes from `peer`, at that time of the shard that accepts.
    ///
    /// # Errors
    /// There is none; it has been counted as refused.
    pub(crate) fn admit(self: &Arc<Self>, peer: Option<IpAddr>, now_ms: u64) -> Result<Place, Excess> {
        let max = self.max.load(Relaxed);
        let taken = self.open.fetch_update(Relaxed, Relaxed, |open| (open < max).then_some(open + 1));
        if taken.is_err() {
            return Err(self.refused(Excess::Connections));
        }
        // What is refused from here on gives it back.
        let mut place = Place { connections: Arc::clone(self), address: None };
        let rules = self.rules.load();
        if !rules.arrivals.is_empty() && !rules.arrivals.take(&mut lock(&self.arrivals), 1, now_ms) {
            return Err(self.refused(Excess::Arrivals));
        }
        place.came_from(peer, now_ms)?;
        Ok(place)
    }

    /// A place that there always is, for whoever looks after the server.
    pub(crate) fn admit_inside(self: &Arc<Self>) -> Place {
        self.open.fetch_add(1, Relaxed);
        Place { connections: Arc::clone(self), address: None }
    }

    /// Whether one user has more than it may, with so many.
    pub(crate) fn is_too_many_of_user(&self, connections: u64) -> bool {
        let is_too_many = connections > self.at_most(self.rules.load().user_max);
        if is_too_many {
            self.refusals.count(USER_CONNECTIONS);
        }
        is_too_many
    }

    /// A limit where one is said, otherwise the share.
    fn at_most(&self, said: u64) -> u64 {
        if said > 0 { said } else { (self.max.load(Relaxed) / SHARE).max(SHARE_MIN) }
    }

    fn refused(&self, excess: Excess) -> Excess {
        self.refusals.count(excess.limit());
        excess
    }

    fn enter(&self, address: AddressKey, now_ms: u64) -> Result<(), Excess> {
        let rules = self.rules.load();
        let Rules { is_dry_run, open_max, of_address, of_network, .. } = &**rules;
        let enter = |visitor: &mut Visitor, open_max: u64, rates: &Rates| {
            let excess = if u64::from(visitor.open) >= open_max {
                Some(Excess::OfAddress)
            } else if !rates.take(&mut visitor.arrivals, 1, now_ms) {
                Some(Excess::ArrivalsOfAddress)
            } else {
                None
            };
            if excess.is_none() || *is_dry_run {
                visitor.open += 1;
            }
            excess
        };
        let open_max = self.at_most(*open_max);
        let entered = |visitor: &mut Visitor| enter(visitor, open_max, &of_address.arrivals);
        let mut excess = self.addresses.hold(address.number(), now_ms, entered).flatten();
        if let Some(network) = address.network().filter(|_| excess.is_none() || *is_dry_run) {
            // Where an address may have more than a share, its network may.
            let open_max = open_max.max(self.at_most(0));
            let entered = |visitor: &mut Visitor| enter(visitor, open_max, &of_network.arrivals);
            if let Some(of_network) = self.networks.hold(network, now_ms, entered).flatten() {
                if !is_dry_run {
                    self.addresses.let_go(address.number(), Visitor::leave);
                }
                excess.get_or_insert(of_network);
            }
        }
        match excess.map(|excess| self.refused(excess)) {
            Some(excess) if !is_dry_run => Err(excess),
            _ => Ok(()),
        }
    }

    /// Counts a request that comes from there; whether it is one too many.
    pub(crate) fn refuses_request(&self, address: Option<IpAddr>, now_ms: u64) -> bool {
        let rules = self.rules.load();
        let Rules { of_address, of_network, are_requests_dry_run, exempt, .. } = &**rules;
        let is_limited = !of_address.requests.is_empty();
        let Some(address) = counted(address, exempt).filter(|_| is_limited) else { return false };
        // Of one for whom there is no place nothing is known.
        let takes = |table: &Table<Visitor>, key, rates: &Rates| {
            table.with(key, now_ms, |visitor| rates.take(&mut visitor.requests, 1, now_ms)).unwrap_or(true)
        };
        let is_one_too_many = !takes(&self.addresses, address.number(), &of_address.requests)
            || address.network().is_some_and(|network| !takes(&self.networks, network, &of_network.requests));
        if is_one_too_many {
            self.refusals.count(REQUESTS);
        }
        is_one_too_many && !are_requests_dry_run
    }

    /// The address that is counted for the memory of requests from there, where addresses are.
    pub(super) fn counted_for_requests(&self, address: Option<IpAddr>) -> Option<AddressKey> {
        let rules = self.rules.load();
        if rules.are_requests_counted { counted(address, &rules.exempt) } else { None }
    }

    /// Counts memory that a request of that address takes, beside `own_kib` that it has, of `bytes` that there are for all; false where
    /// it is more than the address may have, and it has not been counted.
    pub(super) fn take_request_memory(
        &self,
        address: AddressKey,
        (own_kib, kib): (u32, u32),
        bytes: u64,
        now_ms: u64,
    ) -> bool {
        let rules = self.rules.load();
        let is_dry_run = rules.are_requests_dry_run;
        let take = |visitor: &mut Visitor, bytes_max: u64| {
            let needed = u64::from(visitor.request_kib) + u64::from(kib);
            let fits = needed * 1_024 <= bytes_max || visitor.request_kib.saturating_sub(own_kib) <= ALONE_KIB;
            if fits || is_dry_run {
                visitor.request_kib = visitor.request_kib.saturating_add(kib);
            }
            fits
        };
        let share = (bytes / SHARE).max(REQUEST_BYTES_MIN.min(bytes / 2));
        let said = rules.request_bytes_max;
        let of_address = if said > 0 { said } else { share };
        let taken = |visitor: &mut Visitor| take(visitor, of_address);
        let mut fits = self.addresses.hold(address.number(), now_ms, taken).unwrap_or(true);
        if let Some(network) = address.network().filter(|_| fits || is_dry_run) {
            // As of connections.
            let taken = |visitor: &mut Visitor| take(visitor, of_address.max(share));
            if !self.networks.hold(network, now_ms, taken).unwrap_or(true) {
                if !is_dry_run {
                    self.addresses.let_go(address.number(), |visitor| visitor.give_back(kib));
                }
                fits = false;
            }
        }
        if !fits {
            self.refusals.count(REQUEST_MEMORY);
        }
        fits || is_dry_run
    }

    /// What was taken by [`Self::take_request_memory`] is free.
    pub(super) fn give_back_request_memory(&self, address: AddressKey, kib: u32) {
        self.let_go(address, |visitor| visitor.give_back(kib));
    }

    fn leave(&self, address: Option<AddressKey>) {
        if let Some(address) = address {
            self.let_go(address, Visitor::leave);
        }
    }

    fn let_go(&self, address: AddressKey, work: impl Fn(&mut Visitor) -> bool) {
        self.addresses.let_go(address.number(), &work);
        if let Some(network) = address.network() {
            self.networks.let_go(network, work);
        }
    }

    /// Counts one that was counted for somebody for `address` instead.
    ///
    /// # Errors
    /// That one has too many already; it is then counted for nobody.
    pub(crate) fn recount(
        &self,
        counted_for: &mut Option<AddressKey>,
        address: Option<IpAddr>,
        now_ms: u64,
    ) -> Result<(), Excess> {
        self.leave(counted_for.take());
        if let Some(address) = self.counted(address) {
            self.enter(address, now_ms)?;
            *counted_for = Some(address);
        }
        Ok(())
    }

    /// The address that is counted for who comes from there, where addresses are.
    pub(crate) fn counted(&self, address: Option<IpAddr>) -> Option<AddressKey> {
        let rules = self.rules.load();
        if rules.are_addresses_counted { counted(address, &rules.exempt) } else { None }
    }

    /// One whose place was [settled](Place::settle) is gone.
    pub(crate) fn gone(&self, address: Option<AddressKey>) {
        self.open.fetch_sub(1, Relaxed);
        self.leave(address);
    }
}

/// The name of the limit on the requests of an address.
const REQUESTS: &str = "client.rate_limit.ip_request.buckets";

/// The name of the limit on what they take.
const REQUEST_MEMORY: &str = "client.rate_limit.ip_request.max_memory_per_ip";

/// The name of the limit on the connections of a user.
pub(crate) const USER_CONNECTIONS: &str = "client.user_connection_limit";

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    address: Option<AddressKey>,
}

impl Place {
    /// It turns out that the client comes from that address: the one that it was counted for before was a proxy's.
    ///
    /// # Errors
    /// That one has too many already.
    pub(crate) fn came_from(&mut self, address: Option<IpAddr>, now_ms: u64) -> Result<(), Excess> {
        let Self { connections, address: counted_for } = self;
        connections.recount(counted_for, address, now_ms)
    }

    /// Has the caller say when it is [gone](Connections::gone), and of which address it was: a connection that is idle holds no more
    /// for it than that.
    pub(crate) fn settle(mut self) -> Option<AddressKey> {
        let address = self.address.take();
        // What the drop gives back is the caller's.
        self.connections.open.fetch_add(1, Relaxed);
        address
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.gone(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn connections(max: u64, change: impl FnOnce(&mut Client)) -> Arc<Connections> {
        let mut config = Config::default();
        change(&mut config.client);
        let connections = Arc::new(Connections::new(&config.client, Refusals::default()));
        connections.allow(max);
        connections.follow(&config.client);
        connections
    }

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn a_place_is_taken_when_it_is_given_and_free_when_it_is_dropped() {
        let connections = connections(2, |_| {});
        let mut places: Vec<Place> = (0..2).map(|_| connections.admit(None, 0).expect("there is place")).collect();
        assert_eq!(connections.admit(None, 0).map(drop), Err(Excess::Connections));
        let address = places.pop().map(Place::settle).expect("one");
        assert_eq!(connections.admit(None, 0).map(drop), Err(Excess::Connections), "it is there as before");
        connections.gone(address);
        drop(places);
        let again: Vec<_> = (0..3).map(|_| connections.admit(None, 0)).collect();
        assert_eq!(again.iter().filter(|place| place.is_ok()).count(), 2);
        let _inside = connections.admit_inside();
    }

    #[test]
    fn one_address_has_its_share_and_others_theirs() {
        let connections = connections(1_000, |client| client.rate_limit.ip_connect.buckets.clear());
        let taken = |text: &str| {
            let places = (0..1_000).map_while(|_| connections.admit(address(text), 0).ok());
            places.map(Place::settle).collect::<Vec<_>>()
        };
        let of_first = taken("203.0.113.7");
        assert_eq!(of_first.len(), 250, "a quarter");
        assert_eq!(connections.admit(address("203.0.113.7"), 0).map(drop), Err(Excess::OfAddress));
        assert_eq!(taken("2001:db8::1").len(), 250);
        assert_eq!(taken("2001:db8::2").len(), 0, "it is the same network");
        of_first.into_iter().for_each(|address| connections.gone(address));
        assert_eq!(taken("203.0.113.7").len(), 250, "it may come again");
        assert_eq!(taken("127.0.0.1").len(), 500, "a proxy's are as many as there are");
    }

    #[test]
    fn a_network_of_48_bits_has_one_share_however_many_addresses_it_has() {
        for said in [0, 1] {
            let connections = connections(1_000, |client| {
                client.rate_limit.ip_connect.buckets.clear();
                client.rate_limit.ip_connect.max_concurrent_per_ip = said;
            });
            let taken = |network: &str| {
                let of = |nth: u32| connections.admit(address(&format!("{network}:{nth:x}::1")), 0).ok();
                (0..1_000).filter_map(of).map(Place::settle).collect::<Vec<_>>()
            };
            let of_first = taken("2001:db8:1");
            assert_eq!([of_first.len(), taken("2001:db8:2").len()], [250, 250]);
            of_first.into_iter().for_each(|address| connections.gone(address));
            assert_eq!(taken("2001:db8:1").len(), 250, "it may come again");
            assert!(connections.admit(address("203.0.113.7"), 0).is_ok());
        }
        let connections = connections(1_000, |client| {
            client.rate_limit.ip_connect.buckets =
                vec![RateBucket { interval: std::time::Duration::from_secs(1), rate: 2 }];
            client.rate_limit.ip_request.buckets = client.rate_limit.ip_connect.buckets.clone();
        });
        let of = |nth: u32| address(&format!("2001:db8:1:{nth:x}::1"));
        assert_eq!((0..100).filter(|nth| connections.admit(of(*nth), 0).is_ok()).count(), 8);
        assert_eq!((0..100).filter(|nth| !connections.refuses_request(of(*nth), 0)).count(), 8);
    }

    #[test]
    fn a_proxy_s_place_becomes_its_client_s() {
        let connections = connections(1_000, |client| client.rate_limit.ip_connect.max_concurrent_per_ip = 1);
        let mut first = connections.admit(address("10.0.0.1"), 0).expect("there is place");
        let mut second = connections.admit(address("10.0.0.1"), 0).expect("there is place");
        assert_eq!(first.came_from(address("203.0.113.7"), 0), Ok(()));
        assert_eq!(second.came_from(address("203.0.113.7"), 0), Err(Excess::OfAddress));
        drop(first);
        assert_eq!(second.came_from(address("203.0.113.7"), 0), Ok(()));
    }

    #[test]
    fn new_ones_come_so_many_in_a_time_in_all_and_of_an_address() {
        let connections = connections(1_000, |client| {
            client.connection_rate_limit = 3;
            client.rate_limit.ip_connect.buckets =
                vec![RateBucket { interval: std::time::Duration::from_secs(1), rate: 2 }];
        });
        let admit = |text: &str, now_ms| connections.admit(address(text), now_ms).map(drop);
        assert_eq!([admit("203.0.113.7", 0), admit("203.0.113.7", 0)], [Ok(()); 2]);
        assert_eq!(admit("203.0.113.7", 0), Err(Excess::ArrivalsOfAddress));
        assert_eq!(admit("203.0.113.8", 0), Err(Excess::Arrivals), "those refused have come as well");
        assert_eq!(admit("203.0.113.7", 1_000), Ok(()));
    }

    #[test]
    fn an_address_sends_so_many_requests_and_what_it_sends_is_remembered_no_longer_than_it_matters() {
        let connections = connections(1_000, |client| {
            client.rate_limit.ip_request.buckets =
                vec![RateBucket { interval: std::time::Duration::from_secs(1), rate: 3 }];
        });
        let sent = |text: &str, now_ms| (0..10).filter(|_| !connections.refuses_request(address(text), now_ms)).count();
        assert_eq!([sent("203.0.113.7", 0), sent("203.0.113.8", 0), sent("127.0.0.1", 0)], [3, 3, 10]);
        assert_eq!([sent("203.0.113.7", 400), sent("203.0.113.7", 60_000)], [1, 3]);
        assert_eq!(connections.refusals.of(REQUESTS), 7 + 7 + 9 + 7);
    }

    #[test]
    fn what_is_configured_later_counts_for_who_comes_from_then_on() {
        let mut config = Config::default();
        config.client.rate_limit.ip_connect.max_concurrent_per_ip = 2;
        let connections = Arc::new(Connections::new(&config.client, Refusals::default()));
        let come = |text: &str| connections.admit(address(text), 0).map(Place::settle).is_ok();
        assert_eq!([come("203.0.113.7"), come("203.0.113.7"), come("203.0.113.7")], [true, true, false]);
        config.client.rate_limit.ip_connect.max_concurrent_per_ip = 3;
        connections.follow(&config.client);
        assert_eq!([come("203.0.113.7"), come("203.0.113.7")], [true, false], "those who are there count");
        config.client.rate_limit.ip_connect.exempt = vec!["203.0.113.0/24".parse().expect("a network")];
        config.client.connection_rate_limit = 1;
        connections.follow(&config.client);
        assert_eq!([come("203.0.113.7"), come("203.0.113.8")], [true, false], "all of them one in a second");
        config.client.rate_limit.ip_connect.enabled = false;
        config.client.connection_rate_limit = 0;
        config.client.user_connection_limit = 1;
        connections.follow(&config.client);
        assert!(come("203.0.113.9") && connections.is_too_many_of_user(2));
    }

    #[test]
    fn a_dry_run_counts_and_refuses_nobody() {
        let connections = connections(1_000, |client| {
            client.rate_limit.ip_connect.dry_run = true;
            client.rate_limit.ip_connect.max_concurrent_per_ip = 1;
        });
        let places: Vec<_> = (0..3).map(|_| connections.admit(address("203.0.113.7"), 0)).collect();
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(connections.refusals.of(Excess::OfAddress.limit()), 2);
    }
}
