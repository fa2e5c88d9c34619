//! What clients may do in a time: commands by their kind, bytes, and errors before one is cut off; by connection and by user.

use std::sync::Arc;

use crate::config::{ChannelSyntax, CommandLimits, OperationLimit, RateBucket, RateLimit};
use crate::limits::address::{AddressKey, wider};
use crate::limits::bucket::{Buckets, Rates};
use crate::limits::table::{Entry, Table};
use crate::ops::metrics::Refusals;

/// A kind of command that has limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    History,
    Presence,
    PresenceStats,
    Refresh,
    SubRefresh,
    Rpc,
}

/// What a command does, and with what: the room, or the procedure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed<'a> {
    /// `None` of one that has no limit of its own.
    pub(crate) operation: Option<Operation>,
    pub(crate) name: &'a str,
}

const OPERATIONS: usize = 10;

/// The names of the limits of one layer.
struct Names {
    total: &'static str,
    of: [&'static str; OPERATIONS],
}

macro_rules! names {
    ($layer:literal) => {
        Names {
            total: concat!($layer, ".total"),
            of: [
                concat!($layer, ".connect"),
                concat!($layer, ".subscribe"),
                concat!($layer, ".unsubscribe"),
                concat!($layer, ".publish"),
                concat!($layer, ".history"),
                concat!($layer, ".presence"),
                concat!($layer, ".presence_stats"),
                concat!($layer, ".refresh"),
                concat!($layer, ".sub_refresh"),
                concat!($layer, ".rpc"),
            ],
        }
    };
}

static OF_CONNECTION: Names = names!("client.rate_limit.client_command");
static OF_USER: Names = names!("client.rate_limit.user_command");
const BYTES_OF_CONNECTION: &str = "client.rate_limit.client_bytes";
const BYTES_OF_USER: &str = "client.rate_limit.user_bytes";
const ROOMS_OF_CONNECTION: &str = "client.rate_limit.room_creation.client";
const ROOMS_OF_USER: &str = "client.rate_limit.room_creation.user";
const ROOMS_OF_ADDRESS: &str = "client.rate_limit.room_creation.ip";
const ERRORS: &str = "client.rate_limit.client_error.total";

/// The limits of all clients of a server.
#[derive(Debug)]
pub(crate) struct ClientRates {
    of_connection: Option<Layer>,
    of_user: Option<Layer>,
    connection_bytes: Limit,
    user_bytes: Limit,
    errors: Limit,
    connection_rooms: Limit,
    user_rooms: Limit,
    address_rooms: Limit,
    network_rooms: Limit,
    done: Arc<Done>,
    /// Which namespace a room is of.
    syntax: ChannelSyntax,
    refusals: Refusals,
}

/// What users, addresses, and the networks of 48 bits of addresses have done lately: the same whatever the limits become.
#[derive(Debug)]
pub(crate) struct Done {
    users: Table<User>,
    addresses: Table<RoomsOf>,
    networks: Table<RoomsOf>,
}

impl Default for Done {
    fn default() -> Self {
        Self { users: Table::new(), addresses: Table::new(), networks: Table::new() }
    }
}

/// One rate, and whether what is beyond it is counted only.
#[derive(Debug, Default)]
struct Limit {
    rates: Rates,
    is_dry_run: bool,
}

/// Limits on commands, of connections or of users.
struct Layer {
    names: &'static Names,
    is_dry_run: bool,
    total: Rates,
    of: [OfOperation; OPERATIONS],
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer").field("name", &self.names.total).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct OfOperation {
    here: Numbered,
    /// In place of it for rooms of these namespaces, or for these procedures.
    elsewhere: Vec<(String, Numbered)>,
}

/// Rates, and under which number a client has its buckets of them.
#[derive(Debug, Default)]
struct Numbered {
    number: u32,
    rates: Rates,
}

/// What is remembered of one client, or of one user.
#[derive(Debug, Default)]
struct Spent {
    total: Buckets,
    /// By number; those that are not here are full.
    of: Vec<(u32, Buckets)>,
    bytes: Buckets,
    rooms: Buckets,
}

/// What is remembered of an address.
#[derive(Debug, Default)]
struct RoomsOf(Buckets);

impl Entry for RoomsOf {
    fn is_idle(&self, now_ms: u64) -> bool {
        self.0.are_full(now_ms)
    }
}

/// What is remembered of a connection. One that has done nothing lately holds nothing.
#[derive(Debug, Default)]
pub(crate) struct OwnRates(Option<Box<Own>>);

#[derive(Debug, Default)]
struct Own {
    spent: Spent,
    errors: Buckets,
    /// The commands that are heard now came in bytes beyond the limit.
    is_over_bytes: bool,
}

#[derive(Debug, Default)]
struct User(Spent);

impl Entry for User {
    fn is_idle(&self, now_ms: u64) -> bool {
        self.0.is_idle(now_ms)
    }
}

impl Spent {
    fn of(&mut self, number: u32) -> &mut Buckets {
        let at = self.of.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
            self.of.push((number, Buckets::default()));
            self.of.len() - 1
        });
        &mut self.of[at].1
    }

    fn is_idle(&self, now_ms: u64) -> bool {
        let Self { total, of, bytes, rooms } = self;
        let mut all = of.iter().map(|(_, buckets)| buckets).chain([total, bytes, rooms]);
        all.all(|buckets| buckets.are_full(now_ms))
    }
}

impl Limit {
    fn new(is_enabled: bool, is_dry_run: bool, buckets: &[RateBucket]) -> Self {
        let rates = if is_enabled { Rates::new(buckets) } else { Rates::default() };
        Self { rates, is_dry_run }
    }

    /// Takes from the buckets; whether it is to be refused.
    fn refuses(
        &self,
        buckets: &mut Buckets,
        tokens: u64,
        now_ms: u64,
        (name, refusals): (&'static str, &Refusals),
    ) -> bool {
        if self.rates.is_empty() || self.rates.take(buckets, tokens, now_ms) {
            return false;
        }
        refusals.count(name);
        !self.is_dry_run
    }
}

impl Layer {
    /// Nothing where nothing is limited.
    fn new(options: &CommandLimits, names: &'static Names) -> Option<Self> {
        if !options.enabled {
            return None;
        }
        let mut count = 0;
        let mut numbered = |limit: &OperationLimit| {
            let buckets = if limit.enabled && !limit.buckets.is_empty() { Some(limit) } else { None };
            let buckets = buckets.or_else(|| options.default.enabled.then_some(&options.default));
            let rates = buckets.map_or_else(Rates::default, |limit| Rates::new(&limit.buckets));
            count += 1;
            Numbered { number: count, rates }
        };
        let of = options.operations().map(|limit| OfOperation {
            here: numbered(limit),
            elsewhere: limit
                .overrides
                .iter()
                .filter(|other| other.enabled)
                .map(|other| {
                    let limit =
                        OperationLimit { enabled: true, buckets: other.buckets.clone(), ..OperationLimit::default() };
                    (other.name.clone(), numbered(&limit))
                })
                .collect(),
        });
        let total = if options.total.enabled { Rates::new(&options.total.buckets) } else { Rates::default() };
        let limits = |of: &OfOperation| {
            !of.here.rates.is_empty() || of.elsewhere.iter().any(|(_, other)| !other.rates.is_empty())
        };
        let is_limited = !total.is_empty() || of.iter().any(limits);
        is_limited.then_some(Self { names, is_dry_run: options.dry_run, total, of })
    }

    /// Takes what a command takes; whether it is one too many.
    fn refuses(&self, spent: &mut Spent, deed: Deed<'_>, now_ms: u64, all: &ClientRates) -> bool {
        let mut beyond = None;
        if let Some(operation) = deed.operation {
            let of = &self.of[operation as usize];
            let Numbered { number, rates } = match of.elsewhere.is_empty() {
                true => &of.here,
                false => {
                    let name = if operation == Operation::Rpc { deed.name } else { all.syntax.namespace_of(deed.name) };
                    of.elsewhere.iter().find(|(of, _)| of == name).map_or(&of.here, |(_, other)| other)
                }
            };
            if !rates.is_empty() && !rates.take(spent.of(*number), 1, now_ms) {
                beyond = Some(self.names.of[operation as usize]);
            }
        }
        // Whoever leaves a room makes less work; an SDK that is refused it connects anew.
        let is_free = deed.operation == Some(Operation::Unsubscribe);
        if (beyond.is_none() || is_free) && !self.total.is_empty() && !self.total.take(&mut spent.total, 1, now_ms) {
            beyond = beyond.or(Some(self.names.total));
        }
        if let Some(name) = beyond {
            all.refusals.count(name);
        }
        beyond.is_some() && !self.is_dry_run
    }
}

impl ClientRates {
    /// The limits on what is `done`; `None` where there are none.
    pub(crate) fn new(
        options: &RateLimit,
        syntax: &ChannelSyntax,
        done: Arc<Done>,
        refusals: Refusals,
    ) -> Option<Self> {
        let RateLimit { client_command, user_command, client_error, client_bytes, user_bytes, room_creation, .. } =
            options;
        let rooms = |buckets: &[RateBucket]| Limit::new(room_creation.enabled, room_creation.dry_run, buckets);
        let this = Self {
            of_connection: Layer::new(client_command, &OF_CONNECTION),
            of_user: Layer::new(user_command, &OF_USER),
            connection_bytes: Limit::new(client_bytes.enabled, client_bytes.dry_run, &client_bytes.buckets),
            user_bytes: Limit::new(user_bytes.enabled, user_bytes.dry_run, &user_bytes.buckets),
            errors: Limit::new(
                client_error.enabled && client_error.total.enabled,
                client_error.dry_run,
                &client_error.total.buckets,
            ),
            connection_rooms: rooms(&room_creation.client),
            user_rooms: rooms(&room_creation.user),
            address_rooms: rooms(&room_creation.ip),
            network_rooms: rooms(&wider(&room_creation.ip)),
            done,
            syntax: syntax.clone(),
            refusals,
        };
        let [connection, user, address] = this.of_rooms();
        let rates = [&this.connection_bytes, &this.user_bytes, &this.errors, connection, user, address];
        let is_limited =
            this.of_connection.is_some() || this.of_user.is_some() || rates.iter().any(|limit| !limit.rates.is_empty());
        if is_limited { Some(this) } else { None }
    }

    /// A client whose user is known connects.
    pub(crate) fn refuses_connect(&self, user: &str, now_ms: u64) -> bool {
        let deed = Deed { operation: Some(Operation::Connect), name: "" };
        self.refuses_user(user, |spent, layer| layer.refuses(spent, deed, now_ms, self), now_ms)
    }

    /// A client does something; whether that is one too many, and it is to be refused with the advice to try again, unless it leaves a
    /// room.
    pub(crate) fn refuses(&self, own: &mut OwnRates, user: &str, deed: Deed<'_>, now_ms: u64) -> bool {
        if own.0.as_ref().is_some_and(|own| own.is_over_bytes) {
            return true;
        }
        let of_connection = self.of_connection.as_ref();
        let is_over = of_connection
            .is_some_and(|layer| layer.refuses(&mut own.0.get_or_insert_default().spent, deed, now_ms, self));
        is_over || self.refuses_user(user, |spent, layer| layer.refuses(spent, deed, now_ms, self), now_ms)
    }

    fn refuses_user(&self, user: &str, refuses: impl FnOnce(&mut Spent, &Layer) -> bool, now_ms: u64) -> bool {
        let Some(layer) = self.of_user.as_ref().filter(|_| !user.is_empty()) else { return false };
        // Of one for whom there is no place nothing is known.
        self.with_user(user, now_ms, |User(spent)| refuses(spent, layer)).unwrap_or(false)
    }

    /// A client has sent so many bytes, and then the commands in them.
    pub(crate) fn take_bytes(&self, own: &mut OwnRates, user: &str, bytes: usize, now_ms: u64) {
        let bytes = bytes as u64;
        let mut is_over = false;
        if !self.connection_bytes.rates.is_empty() {
            let buckets = &mut own.0.get_or_insert_default().spent.bytes;
            is_over = self.connection_bytes.refuses(buckets, bytes, now_ms, (BYTES_OF_CONNECTION, &self.refusals));
        }
        if !is_over && !user.is_empty() && !self.user_bytes.rates.is_empty() {
            let refuses = |User(spent): &mut User| {
                self.user_bytes.refuses(&mut spent.bytes, bytes, now_ms, (BYTES_OF_USER, &self.refusals))
            };
            is_over = self.with_user(user, now_ms, refuses).unwrap_or(false);
        }
        match &mut own.0 {
            Some(own) => own.is_over_bytes = is_over,
            None if is_over => own.0.get_or_insert_default().is_over_bytes = true,
            None => {}
        }
    }

    fn of_rooms(&self) -> [&Limit; 3] {
        [&self.connection_rooms, &self.user_rooms, &self.address_rooms]
    }

    /// Whether it is limited how many rooms are made.
    pub(crate) fn limits_rooms(&self) -> bool {
        self.of_rooms().iter().any(|limit| !limit.rates.is_empty())
    }

    /// A client makes a room; whether it is to be refused with the advice to try again.
    pub(crate) fn refuses_room(
        &self,
        own: &mut OwnRates,
        user: &str,
        address: Option<AddressKey>,
        now_ms: u64,
    ) -> bool {
        let refusals = &self.refusals;
        let of_own = &mut own.0.get_or_insert_default().spent.rooms;
        if self.connection_rooms.refuses(of_own, 1, now_ms, (ROOMS_OF_CONNECTION, refusals)) {
            return true;
        }
        let of_user =
            |User(spent): &mut User| self.user_rooms.refuses(&mut spent.rooms, 1, now_ms, (ROOMS_OF_USER, refusals));
        let is_known = !user.is_empty() && !self.user_rooms.rates.is_empty();
        let of_user = is_known.then(|| self.with_user(user, now_ms, of_user)).flatten();
        if of_user.unwrap_or(false) {
            return true;
        }
        let of = |table: &Table<RoomsOf>, key, limit: &Limit| {
            let refuses =
                |RoomsOf(buckets): &mut RoomsOf| limit.refuses(buckets, 1, now_ms, (ROOMS_OF_ADDRESS, refusals));
            table.with(key, now_ms, refuses).unwrap_or(false)
        };
        let Done { addresses, networks, .. } = &*self.done;
        address.is_some_and(|address| {
            of(addresses, address.number(), &self.address_rooms)
                || address.network().is_some_and(|network| of(networks, network, &self.network_rooms))
        })
    }

    fn with_user<R>(&self, user: &str, now_ms: u64, work: impl FnOnce(&mut User) -> R) -> Option<R> {
        let users = &self.done.users;
        users.with(users.number_of(user), now_ms, work)
    }

    /// A client is answered with an error that is its own; whether it has had so many that it is to be cut off.
    pub(crate) fn is_one_error_too_many(&self, own: &mut OwnRates, now_ms: u64) -> bool {
        if self.errors.rates.is_empty() {
            return false;
        }
        let buckets = &mut own.0.get_or_insert_default().errors;
        self.errors.refuses(buckets, 1, now_ms, (ERRORS, &self.refusals))
    }
}

impl OwnRates {
    /// Forgets what need not be remembered.
    pub(crate) fn forget_idle(&mut self, now_ms: u64) {
        let is_idle = |own: &mut Box<Own>| own.spent.is_idle(now_ms) && own.errors.are_full(now_ms);
        self.0.take_if(is_idle);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::RateOverride;

    fn limit(rate: usize) -> OperationLimit {
        OperationLimit {
            enabled: true,
            buckets: vec![RateBucket { interval: Duration::from_secs(1), rate }],
            overrides: Vec::new(),
        }
    }

    fn none() -> RateLimit {
        let mut none = RateLimit::default();
        none.client_command.enabled = false;
        none.client_error.enabled = false;
        none.client_bytes.enabled = false;
        none.room_creation.enabled = false;
        none
    }

    fn rates(change: impl FnOnce(&mut RateLimit)) -> ClientRates {
        let mut options = none();
        change(&mut options);
        ClientRates::new(&options, &ChannelSyntax::default(), Arc::default(), Refusals::default())
            .expect("something is limited")
    }

    fn publish(name: &str) -> Deed<'_> {
        Deed { operation: Some(Operation::Publish), name }
    }

    #[test]
    fn where_nothing_is_limited_there_is_nothing_to_ask() {
        assert!(ClientRates::new(&none(), &ChannelSyntax::default(), Arc::default(), Refusals::default()).is_none());
    }

    #[test]
    fn a_kind_has_its_own_limit_or_the_default_and_all_have_the_total() {
        let rates = rates(|options| {
            let of = &mut options.client_command;
            of.enabled = true;
            (of.publish, of.default, of.total) = (limit(1), limit(3), limit(6));
        });
        let mut own = OwnRates::default();
        let mut taken = |operation| {
            let deed = Deed { operation, name: "hall" };
            (0..10).filter(|_| !rates.refuses(&mut own, "", deed, 5_000)).count()
        };
        assert_eq!(taken(Some(Operation::Publish)), 1);
        assert_eq!(taken(Some(Operation::History)), 3);
        assert_eq!(taken(Some(Operation::Presence)), 2, "the total");
        assert_eq!(taken(None), 0);
        assert_eq!(taken(Some(Operation::Unsubscribe)), 0, "the session lets go all the same");
        assert_eq!(rates.refusals.of("client.rate_limit.client_command.publish"), 9);
        own.forget_idle(5_500);
        assert!(own.0.is_some());
        own.forget_idle(6_000);
        assert!(own.0.is_none(), "who is silent holds nothing");
    }

    #[test]
    fn a_namespace_has_a_limit_in_place_of_the_others() {
        let rates = rates(|options| {
            let of = &mut options.client_command;
            of.enabled = true;
            of.publish = limit(1);
            let buckets = limit(4).buckets;
            of.publish.overrides = vec![RateOverride { name: "chat".to_owned(), enabled: true, buckets }];
        });
        let mut own = OwnRates::default();
        let mut taken = |room| (0..10).filter(|_| !rates.refuses(&mut own, "", publish(room), 0)).count();
        assert_eq!([taken("hall"), taken("chat:1"), taken("$chat:2"), taken("yard:1")], [1, 4, 0, 0]);
        let mut syntax = ChannelSyntax::default();
        (syntax.private_prefix, syntax.namespace_boundary) = ("~".to_owned(), "/".to_owned());
        let rates = ClientRates { syntax, ..rates };
        let mut own = OwnRates::default();
        let mut taken = |room| (0..10).filter(|_| !rates.refuses(&mut own, "", publish(room), 0)).count();
        assert_eq!([taken("chat:1"), taken("~chat/2"), taken("chat/1"), taken("yard/1")], [1, 4, 0, 0]);
    }

    #[test]
    fn the_connections_of_a_user_share_its_limit() {
        let rates = rates(|options| {
            options.user_command.enabled = true;
            (options.user_command.publish, options.user_command.connect) = (limit(3), limit(1));
        });
        let taken =
            |user| (0..10).filter(|_| !rates.refuses(&mut OwnRates::default(), user, publish("hall"), 0)).count();
        assert_eq!([taken("7"), taken("7"), taken("8"), taken("")], [3, 0, 3, 10]);
        assert_eq!([rates.refuses_connect("7", 0), rates.refuses_connect("7", 0)], [false, true]);
    }

    #[test]
    fn what_came_in_too_many_bytes_is_refused_until_there_are_fewer() {
        let rates = rates(|options| {
            options.client_bytes.enabled = true;
            options.client_bytes.buckets = limit(1_000).buckets;
        });
        let mut own = OwnRates::default();
        let mut refuses = |bytes, now_ms| {
            rates.take_bytes(&mut own, "", bytes, now_ms);
            rates.refuses(&mut own, "", publish("hall"), now_ms)
        };
        assert_eq!([refuses(2_000, 0), refuses(1, 0), refuses(100, 500)], [false, true, false]);
    }

    #[test]
    fn rooms_are_made_so_many_by_a_connection_a_user_and_an_address() {
        let rates = rates(|options| {
            let of = &mut options.room_creation;
            (of.enabled, of.client, of.user, of.ip) = (true, limit(2).buckets, limit(3).buckets, limit(5).buckets);
        });
        let address = "203.0.113.7".parse().map(AddressKey::of).ok();
        let made = |user, address| {
            let mut own = OwnRates::default();
            (0..10).filter(|_| !rates.refuses_room(&mut own, user, address, 0)).count()
        };
        assert_eq!([made("7", None), made("7", None), made("", None)], [2, 1, 2]);
        assert_eq!([made("", address), made("", address), made("", address)], [2, 2, 1]);
        let of_network = |nth: u32| format!("2001:db8:1:{nth:x}::1").parse().map(AddressKey::of).ok();
        assert_eq!((0..100).map(|nth| made("", of_network(nth))).sum::<usize>(), 20, "four times as many");
        let elsewhere = "2001:db8:2::1".parse().map(AddressKey::of).ok();
        assert_eq!(made("", elsewhere), 2);
    }

    #[test]
    fn what_was_done_is_remembered_when_the_limits_become_others() {
        let by = |rate, done: &Arc<Done>| {
            let mut options = none();
            (options.user_command.enabled, options.user_command.publish) = (true, limit(rate));
            ClientRates::new(&options, &ChannelSyntax::default(), Arc::clone(done), Refusals::default())
                .expect("something is limited")
        };
        let done = Arc::default();
        let taken = |rates: &ClientRates, now_ms| {
            (0..50).filter(|_| !rates.refuses(&mut OwnRates::default(), "7", publish("hall"), now_ms)).count()
        };
        assert_eq!(taken(&by(10, &done), 0), 10);
        assert_eq!(taken(&by(20, &done), 0), 0, "it has had its tokens");
        assert_eq!(taken(&by(20, &done), 1_000), 20);
        assert_eq!(taken(&by(4, &done), 1_500), 2);
        assert_eq!(taken(&by(4, &done), 2_500), 4);
    }

    #[test]
    fn a_dry_run_refuses_nothing_and_counts() {
        let rates = rates(|options| {
            options.client_command.enabled = true;
            options.client_command.dry_run = true;
            options.client_command.publish = limit(1);
        });
        let mut own = OwnRates::default();
        assert!((0..10).all(|_| !rates.refuses(&mut own, "", publish("hall"), 0)));
        assert_eq!(rates.refusals.of("client.rate_limit.client_command.publish"), 9);
    }
}
