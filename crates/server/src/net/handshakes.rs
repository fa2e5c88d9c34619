//! TLS handshakes: bounded in number and time, and never two in one turn of a shard.
//!
//! One costs a millisecond or more, and everybody may ask for it. So a shard does one step of one handshake, and then looks after
//! everything else that is ready, before it does the next. Where more are under way than there may be, the oldest is given up:
//! who shakes hands in earnest is done after a few round trips, who only holds a place is the first to lose it. One address has a
//! quarter of the places, and beyond that it is its own oldest that is given up, so that it drives out nobody else.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::config::{ACME_TLS, HttpServer};
use crate::limits::address::AddressKey;
use crate::ops::tls_metrics::TlsMetrics;
use crate::wire::tls::TlsStream;

/// The part of all places that one address may have: as of connections.
const SHARE: usize = 4;

/// The part of a network of 48 bits of IPv6.
const SHARE_OF_NETWORK: usize = 2;

/// The handshakes of one shard.
#[derive(Debug)]
pub(crate) struct Handshakes {
    under_way: RefCell<Places>,
    next: Cell<u64>,
    shards: usize,
    /// Whoever has it does its step.
    turn: Semaphore,
    metrics: TlsMetrics,
}

impl Handshakes {
    pub(crate) fn new(shards: usize, metrics: TlsMetrics) -> Self {
        Self {
            under_way: RefCell::default(),
            next: Cell::new(0),
            shards: shards.max(1),
            turn: Semaphore::new(1),
            metrics,
        }
    }

    /// Shakes hands with who has connected, from `address` if that is counted; nothing when that came to nothing.
    pub(crate) async fn shake(
        &self,
        socket: TcpStream,
        config: Arc<ServerConfig>,
        address: Option<AddressKey>,
        options: &HttpServer,
    ) -> Option<TlsStream> {
        let place = UnderWay::new(self, address, options.tls_handshake_limit.div_ceil(self.shards));
        let (shaken, outcome) = tokio::select! {
            biased;
            () = place.given_up.notified() => (None, "given_up"),
            shaken = tokio::time::timeout(options.tls_handshake_timeout, self.steps(socket, config)) => match shaken {
                Ok(Ok(stream)) => (Some(stream), "done"),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    (None, if error.kind() == ErrorKind::InvalidData { "refused" } else { "broken_off" })
                }
                Err(_) => (None, "timeout"),
            },
        };
        self.metrics.ended(outcome);
        shaken
    }

    async fn steps(&self, socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<TlsStream> {
        // Nothing is made for who says nothing.
        socket.readable().await?;
        let stream = TlsStream::new(socket, config)?;
        loop {
            {
                let _turn = self.turn.acquire().await.map_err(io::Error::other)?;
                match stream.try_handshake() {
                    // That was all that it came for.
                    Ok(true) if stream.protocol_is(ACME_TLS) => return Err(ErrorKind::ConnectionAborted.into()),
                    Ok(true) => return Ok(stream),
                    Ok(false) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                // Whoever is next is woken when this is dropped, behind all that is ready now.
            }
            tokio::task::yield_now().await;
            match stream.held() {
                0 => stream.readable().await?,
                _ => stream.writable().await?,
            }
        }
    }
}

/// Those that have a place.
#[derive(Debug, Default)]
struct Places {
    /// Oldest first.
    all: VecDeque<Shaking>,
    /// How many of them an address has, or a network; who has none is not here.
    of_address: HashMap<AddressKey, usize>,
    of_network: HashMap<u64, usize>,
}

/// A handshake that is under way.
#[derive(Debug)]
struct Shaking {
    number: u64,
    address: Option<AddressKey>,
    /// Ends it.
    given_up: Rc<Notify>,
}

impl Places {
    /// Makes place for one more of that address.
    fn make_room(&mut self, address: Option<AddressKey>, max: usize) {
        let network = address.and_then(AddressKey::network);
        let has = |of: Option<&usize>, share: usize| of.is_some_and(|count| *count >= (max / share).max(1));
        let at = if address.is_some_and(|it| has(self.of_address.get(&it), SHARE)) {
            self.all.iter().position(|it| it.address == address)
        } else if network.is_some_and(|it| has(self.of_network.get(&it), SHARE_OF_NETWORK)) {
            self.all.iter().position(|it| it.address.and_then(AddressKey::network) == network)
        } else {
            (self.all.len() >= max).then_some(0)
        };
        if let Some(oldest) = at.and_then(|at| self.remove(at)) {
            oldest.given_up.notify_one();
        }
    }

    fn push(&mut self, shaking: Shaking) {
        if let Some(address) = shaking.address {
            *self.of_address.entry(address).or_default() += 1;
            if let Some(network) = address.network() {
                *self.of_network.entry(network).or_default() += 1;
            }
        }
        self.all.push_back(shaking);
    }

    fn remove(&mut self, at: usize) -> Option<Shaking> {
        let shaking = self.all.remove(at)?;
        if let Some(address) = shaking.address {
            one_less(&mut self.of_address, address);
            if let Some(network) = address.network() {
                one_less(&mut self.of_network, network);
            }
        }
        Some(shaking)
    }
}

fn one_less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// A place among the handshakes under way.
struct UnderWay<'a> {
    all: &'a Handshakes,
    number: u64,
    given_up: Rc<Notify>,
}

impl<'a> UnderWay<'a> {
    fn new(all: &'a Handshakes, address: Option<AddressKey>, max: usize) -> Self {
        let number = all.next.replace(all.next.get() + 1);
        let given_up = Rc::new(Notify::new());
        let mut under_way = all.under_way.borrow_mut();
        under_way.make_room(address, max);
        under_way.push(Shaking { number, address, given_up: Rc::clone(&given_up) });
        all.metrics.under_way.inc();
        Self { all, number, given_up }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.all.under_way.borrow_mut();
        if let Ok(at) = under_way.all.binary_search_by_key(&self.number, |it| it.number) {
            under_way.remove(at);
        }
        self.all.metrics.under_way.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::metrics::Metrics;

    fn address(text: &str) -> Option<AddressKey> {
        text.parse().map(AddressKey::of).ok()
    }

    #[test]
    fn an_address_that_takes_all_places_drives_out_itself_and_nobody_else() {
        let all = Handshakes::new(1, Metrics::new(1).tls);
        let come = |text: &str| UnderWay::new(&all, address(text), 8);
        let is_given_up = |place: &UnderWay<'_>| Rc::strong_count(&place.given_up) == 1;
        let given_up = |places: &[UnderWay<'_>]| places.iter().map(is_given_up).collect::<Vec<_>>();
        let honest = come("203.0.113.8");
        let flood: Vec<_> = (0..5).map(|_| come("203.0.113.7")).collect();
        assert_eq!(given_up(&flood), [true, true, true, false, false]);
        let of_network: Vec<_> = (0..6).map(|nth: u32| come(&format!("2001:db8:1:{nth:x}::1"))).collect();
        assert_eq!(given_up(&of_network), [true, true, false, false, false, false]);
        assert_eq!((is_given_up(&honest), given_up(&flood[3..])), (false, vec![false, false]));
        // There is place for eight, and then for none without somebody's.
        let others = [come("203.0.113.9"), come("203.0.113.10")];
        assert_eq!(
            (is_given_up(&honest), given_up(&flood[3..]), given_up(&others)),
            (true, vec![false; 2], vec![false; 2])
        );
        drop((honest, flood, of_network, others));
        let places = all.under_way.borrow();
        assert!(places.all.is_empty() && places.of_address.is_empty() && places.of_network.is_empty());
    }

    #[test]
    fn one_place_is_one() {
        let all = Handshakes::new(4, Metrics::new(1).tls);
        let _first = UnderWay::new(&all, address("203.0.113.8"), 1);
        let _second = UnderWay::new(&all, None, 1);
        assert_eq!(all.under_way.borrow().all.len(), 1);
    }
}
