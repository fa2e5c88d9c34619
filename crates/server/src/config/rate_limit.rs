//! `[client.rate_limit]`: how often clients may do something. The names are those of Centrifugo PRO.

use std::time::Duration;

use super::Config;
use crate::util::network::Network;

/// `[client.rate_limit]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// `[client.rate_limit.client_command]`: commands of one connection.
    pub client_command: CommandLimits,
    /// `[client.rate_limit.user_command]`: commands of all connections of one user.
    pub user_command: CommandLimits,
    /// `[client.rate_limit.client_error]`: errors of one connection.
    pub client_error: ErrorLimit,
    /// `[client.rate_limit.client_bytes]`: bytes of one connection.
    pub client_bytes: ByteLimit,
    /// `[client.rate_limit.user_bytes]`: bytes of all connections of one user.
    pub user_bytes: ByteLimit,
    /// `[client.rate_limit.room_creation]`: rooms that clients make by entering them, publishing into them, or reading their history.
    pub room_creation: RoomCreation,
    /// `[client.rate_limit.ip_connect]`: connections by address.
    pub ip_connect: IpConnect,
    /// `[client.rate_limit.ip_request]`: requests over HTTP by address.
    pub ip_request: IpRequest,
}

/// A token bucket: so many in each interval, and as many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateBucket {
    /// In which time they come.
    pub interval: Duration,
    /// How many.
    pub rate: usize,
}

/// How often clients may send commands, by what they do. Beyond it they are answered with error 111 and may try again; leaving a room
/// is counted and never refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandLimits {
    /// Whether the limits below count. Default true of connections, false of users: a site may have one for all its devices.
    pub enabled: bool,
    /// Whether what is too much is counted and done all the same.
    pub dry_run: bool,
    /// Commands of whatever kind. Default, of connections: as many in a second as one message may hold
    /// ([`Client::message_command_limit`](super::Client::message_command_limit)), which is what a client that comes back needs at once.
    pub total: OperationLimit,
    /// Each kind that says nothing itself.
    pub default: OperationLimit,
    /// Connecting; of users only.
    pub connect: OperationLimit,
    /// Entering a room.
    pub subscribe: OperationLimit,
    /// Leaving one: counted, and never refused.
    pub unsubscribe: OperationLimit,
    /// Publishing.
    pub publish: OperationLimit,
    /// Reading a history.
    pub history: OperationLimit,
    /// Asking who is in a room.
    pub presence: OperationLimit,
    /// Asking how many are.
    pub presence_stats: OperationLimit,
    /// Bringing a new connection token.
    pub refresh: OperationLimit,
    /// Bringing a new subscription token.
    pub sub_refresh: OperationLimit,
    /// Calling a procedure.
    pub rpc: OperationLimit,
}

/// How often one kind of command may be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationLimit {
    /// Whether it says anything.
    pub enabled: bool,
    /// The buckets, each of which must have a token left.
    pub buckets: Vec<RateBucket>,
    /// What holds in its place for rooms of a namespace, or for a procedure.
    pub overrides: Vec<RateOverride>,
}

/// A limit for one namespace, or for one procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateOverride {
    /// Which.
    pub name: String,
    /// Whether it says anything.
    pub enabled: bool,
    /// The buckets; without any those of the default hold.
    pub buckets: Vec<RateBucket>,
}

/// `[client.rate_limit.room_creation]`: how many rooms clients may make that are not there; beyond it they are answered with error 111. There
/// are 1,000,000 rooms at most, and nobody takes all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomCreation {
    /// Whether rooms are counted. Default true.
    pub enabled: bool,
    /// Whether what is too much is counted and done all the same.
    pub dry_run: bool,
    /// How many one connection may make. Default: as many in a minute as one message may hold commands.
    pub client: Vec<RateBucket>,
    /// How many all connections of one user may make. Default 10,000 in a minute.
    pub user: Vec<RateBucket>,
    /// How many all connections of one address may make, of those that are counted by `ip_connect`. Default 20,000 in a minute, which
    /// brings a large office back after a restart, and 200,000 in an hour.
    pub ip: Vec<RateBucket>,
}

/// `[client.rate_limit.client_error]`: how many errors of its own one connection may be answered before it is closed with 3509.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorLimit {
    /// Whether errors are counted. Default true.
    pub enabled: bool,
    /// Whether what is too much is counted only.
    pub dry_run: bool,
    /// How many. Default: as many in ten seconds as one message may hold commands, all of which may be refused to an honest client.
    pub total: OperationLimit,
}

/// How many bytes clients may send; the commands in those beyond are answered with error 111.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByteLimit {
    /// Whether bytes are counted. Default true of connections, false of users.
    pub enabled: bool,
    /// Whether what is too much is counted and done all the same.
    pub dry_run: bool,
    /// The buckets. Default, of connections: 1 MiB in a second, or four of the largest messages where that is more.
    pub buckets: Vec<RateBucket>,
}

impl Default for RateLimit {
    fn default() -> Self {
        let on = || OperationLimit { enabled: true, ..OperationLimit::default() };
        Self {
            client_command: CommandLimits { enabled: true, total: on(), ..CommandLimits::default() },
            user_command: CommandLimits::default(),
            client_error: ErrorLimit { enabled: true, dry_run: false, total: on() },
            client_bytes: ByteLimit { enabled: true, ..ByteLimit::default() },
            user_bytes: ByteLimit::default(),
            room_creation: RoomCreation::default(),
            ip_connect: IpConnect::default(),
            ip_request: IpRequest::default(),
        }
    }
}

impl Default for RoomCreation {
    fn default() -> Self {
        let bucket = |seconds, rate| RateBucket { interval: Duration::from_secs(seconds), rate };
        Self {
            enabled: true,
            dry_run: false,
            client: Vec::new(),
            user: vec![bucket(60, 10_000)],
            ip: vec![bucket(60, 20_000), bucket(3_600, 200_000)],
        }
    }
}

impl RateLimit {
    /// Those of development mode, where one client may do what the machine can.
    pub(super) fn dev() -> Self {
        let mut dev = Self::default();
        dev.room_creation.enabled = false;
        for enabled in [&mut dev.client_command.enabled, &mut dev.client_error.enabled, &mut dev.client_bytes.enabled] {
            *enabled = false;
        }
        dev
    }
}

impl CommandLimits {
    /// Each kind, in the order of [`Operation`](crate::limits::rates::Operation).
    pub(crate) fn operations(&self) -> [&OperationLimit; 10] {
        [
            &self.connect,
            &self.subscribe,
            &self.unsubscribe,
            &self.publish,
            &self.history,
            &self.presence,
            &self.presence_stats,
            &self.refresh,
            &self.sub_refresh,
            &self.rpc,
        ]
    }
}

/// `[client.rate_limit.ip_connect]`: how many connections one address may have and open. Of an address of IPv6 its network of 64 bits
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IpConnect {
    /// Whether addresses are counted. Default true.
    pub enabled: bool,
    /// Whether what is too much is counted and let in all the same.
    pub dry_run: bool,
    /// How many new connections of one are taken; one more is answered with 429. Default 500 in a second: a school behind one address
    /// comes back in some seconds after a restart, and one machine does not keep a server busy with handshakes.
    pub buckets: Vec<RateBucket>,
    /// How many connections one may have at once; one more is answered with 429. 0, the default, is a quarter of all.
    pub max_concurrent_per_ip: usize,
    /// Addresses that are not counted: behind them there may be anybody. Default: those of this machine and of private networks, where
    /// proxies are.
    pub exempt: Vec<Network>,
}

/// `[client.rate_limit.ip_request]`: how many requests over HTTP one address may send, and how much memory they may take; one more is
/// answered with 429, and its connection closed. Whoever comes from an address that [`IpConnect::exempt`] names is not counted, nor are commands that bring the key of the
/// server API, nor probes of health.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IpRequest {
    /// Whether requests are counted. Default true.
    pub enabled: bool,
    /// Whether what is too much is counted and answered all the same.
    pub dry_run: bool,
    /// How many of one are answered. Default 2,000 in a second: a school behind one address whose clients each send a command by a
    /// request of its own is far from it, and a machine that asks all day takes a tenth of a core.
    pub buckets: Vec<RateBucket>,
    /// Bytes of the memory for requests that those of one address may have at once; one more is answered with 503. 0, the default, is a
    /// quarter of it: nobody takes all of it with bodies that come slowly. A single request may always be as large as requests may be.
    pub max_memory_per_ip: usize,
}

impl Default for IpRequest {
    fn default() -> Self {
        let buckets = vec![RateBucket { interval: Duration::from_secs(1), rate: 2_000 }];
        Self { enabled: true, dry_run: false, buckets, max_memory_per_ip: 0 }
    }
}

/// What is exempt where nothing is said: addresses that come from nowhere on the internet, `100.64.0.0/10` among them, from which
/// balancers of some clouds ask.
const PRIVATE: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1",
    "fc00::/7",
    "fe80::/10",
];

impl Default for IpConnect {
    fn default() -> Self {
        Self {
            enabled: true,
            dry_run: false,
            buckets: vec![RateBucket { interval: Duration::from_secs(1), rate: 500 }],
            max_concurrent_per_ip: 0,
            exempt: PRIVATE.iter().filter_map(|network| network.parse().ok()).collect(),
        }
    }
}

/// Bytes that one client may send in a second, unless messages are large: what a line from a home carries.
const BYTES_PER_SECOND: usize = 1024 * 1024;

impl Config {
    /// How often clients may do something, with numbers where the configuration says none.
    #[must_use]
    pub(crate) fn client_rates(&self) -> RateLimit {
        let mut rates = self.client.rate_limit.clone();
        let commands = self.client.commands_per_message();
        let fill = |buckets: &mut Vec<RateBucket>, seconds, rate| {
            if buckets.is_empty() {
                *buckets = vec![RateBucket { interval: Duration::from_secs(seconds), rate }];
            }
        };
        fill(&mut rates.client_command.total.buckets, 1, commands);
        fill(&mut rates.client_error.total.buckets, 10, commands);
        fill(&mut rates.room_creation.client, 60, commands);
        fill(&mut rates.client_bytes.buckets, 1, BYTES_PER_SECOND.max(4 * self.websocket.message_size_limit));
        rates
    }
}
