//! The server: listener, transports, sessions, delivery.
//!
//! The first shard accepts and deals connections out to all. A shard is one thread that owns its connections: it reads their
//! commands, carries them out, and delivers what rooms have gathered to its members. Shards meet in the rooms, which are
//! lock-free, and in presence, when members come and go.

mod api;
mod auth;
mod backend;
mod callbacks;
mod client;
pub mod config;
pub mod db_tools;
mod delivery;
mod events;
#[cfg(any(test, roomcast_fuzz))]
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod net;
mod ops;
mod reloading;
mod rooms;
mod session;
#[cfg(test)]
mod simulation;
mod util;
mod wire;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, watch};

#[doc(hidden)]
pub use self::auth::tools as token_tools;
use self::client::shard::Shard;
use self::config::{Config, TlsOptions};
pub use self::events::EventsError;
#[doc(hidden)]
pub use self::events::tools as event_tools;
use self::net::accept::{self, Acceptor, WayIn};
#[doc(hidden)]
pub use self::net::arrival::Role;
use self::net::certificates::Certificates;
use self::net::inherited::inherited;
#[doc(hidden)]
pub use self::net::listeners::Given;
pub use self::net::listeners::ListenAt;
use self::net::listeners::{self, Listener, NotBound, Tls};
pub use self::ops::logging;
use self::ops::rlimit;
use self::ops::shutdown::{self, OnHangup};
pub use self::ops::shutdown::{Shutdown, hold_hangups};
use self::ops::systemd::Manager;
pub use self::reloading::Reloading;
#[doc(hidden)]
pub use self::rooms::cluster::{Commands, Untold};
use self::rooms::cluster::{LocalNode, OneNode};
use self::rooms::hub::Hub;
#[doc(hidden)]
pub use self::rooms::users::Recipients;
use self::rooms::{erasing, expiry, stored};
use self::util::clock;
use self::util::rng::{self, Rng};
use self::util::timer_wheel;
use roomcast::store::StoreError;

/// Serves until SIGINT or SIGTERM, then drains and returns; a second signal ends the process at once.
///
/// # Errors
/// As [`Server::bind`] and [`Server::run`].
pub fn run(config: Config) -> Result<(), ServeError> {
    let mut server = Server::bind_with(config, inherited().map_err(ServeError::Start)?)?;
    server.signals = Some(None);
    server.run()
}

/// The same, and reads its configuration again at SIGHUP; see [`Reloading`].
///
/// # Errors
/// As [`run`].
pub fn run_and_reload(config: Config, reloading: Reloading) -> Result<(), ServeError> {
    let mut server = Server::bind_with(config, inherited().map_err(ServeError::Start)?)?;
    server.signals = Some(Some(reloading));
    server.run()
}

/// A server that listens and has not begun to serve.
///
/// ```
/// use roomcast_server::{Server, config::Config};
///
/// let mut config = Config::dev();
/// config.http_server.port = 0;
/// # let data = std::env::temp_dir().join(format!("roomcast-example-{}", std::process::id()));
/// # config.data_dir = data.clone();
/// let server = Server::bind(config)?;
/// assert_ne!(server.local_addr().port(), 0);
/// let shutdown = server.shutdown();
/// let serving = std::thread::spawn(|| server.run());
/// shutdown.begin();
/// serving.join().expect("no panic")?;
/// # std::fs::remove_dir_all(data).expect("it was made");
/// # Ok::<(), roomcast_server::ServeError>(())
/// ```
#[derive(Debug)]
pub struct Server {
    config: Config,
    listeners: Vec<Listener>,
    tls: Tls,
    local: Arc<LocalNode>,
    shards: usize,
    shutdown: Shutdown,
    /// Whether it obeys signals, and what it does at a hangup: it ends, or reads its configuration again.
    signals: Option<Option<Reloading>>,
}

impl Server {
    /// Takes the configured addresses; connections wait there until [`Server::run`].
    ///
    /// # Errors
    /// [`ServeError::Bind`] when one is in use or not one of this machine.
    pub fn bind(config: Config) -> Result<Self, ServeError> {
        Self::bind_with(config, Vec::new())
    }

    /// The same, with sockets that are open already.
    ///
    /// # Errors
    /// As [`Server::bind`].
    #[doc(hidden)]
    pub fn bind_with(config: Config, given: Vec<Given>) -> Result<Self, ServeError> {
        let tls = Tls::new(&config.http_server, &config.data_dir).map_err(ServeError::Tls)?;
        let bound = listeners::open(&config.http_server, given, &tls);
        let listeners = bound.map_err(|NotBound { place, source }| ServeError::Bind { place, source })?;
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let shards = config.shards.unwrap_or_else(cores).get();
        let local = Arc::new(LocalNode::new(shards));
        Ok(Self { config, listeners, tls, local, shards, shutdown: Shutdown::new(), signals: None })
    }

    /// Where it listens for clients; with the port it was given where the configuration said 0. Port 0 where there is none.
    pub fn local_addr(&self) -> SocketAddr {
        self.address_of(Role::serves_clients).unwrap_or_else(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }

    /// Where it listens for the operator and the backend; `None` where there is no port.
    pub fn internal_addr(&self) -> Option<SocketAddr> {
        self.address_of(Role::serves_inside)
    }

    /// Its sockets for another process, with those whom they are for; that one answers for files of Unix sockets from now on.
    ///
    /// # Errors
    /// When there is no descriptor left.
    #[doc(hidden)]
    pub fn pass_sockets_on(&mut self) -> io::Result<Vec<(OwnedFd, Role)>> {
        self.listeners.iter_mut().map(|it| Ok((it.socket.pass_on()?, it.way.role))).collect()
    }

    fn address_of(&self, is_it: impl Fn(Role) -> bool) -> Option<SocketAddr> {
        let mut ports = self.listeners.iter().filter(|it| is_it(it.way.role));
        ports.find_map(|it| if let ListenAt::Tcp(address) = it.place { Some(address) } else { None })
    }

    /// A handle that ends it.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// What commands its connections.
    #[doc(hidden)]
    pub fn commands(&self) -> Commands {
        Commands::new(OneNode(Arc::clone(&self.local)))
    }

    /// Serves until it is shut down and drained; blocks meanwhile.
    ///
    /// # Errors
    /// [`ServeError::Start`] when the system refuses threads or descriptors, [`ServeError::NoDescriptors`] when it allows too few;
    /// [`ServeError::Unstored`] at the end.
    pub fn run(self) -> Result<(), ServeError> {
        let descriptors = rlimit::raise_limit();
        if self.config.http_api.insecure && !self.config.http_api.disabled {
            tracing::warn!("server API is open to everybody: `http_api.insecure` is set");
        }
        let shards = self.shards;
        let runtimes: Vec<Runtime> =
            (0..shards).map(|_| runtime()).collect::<Result<_, _>>().map_err(ServeError::Start)?;
        let handles = runtimes.iter().map(|r| r.handle().clone()).collect();
        let rng = || rng::system_seed().map(Rng::from_seed).map_err(ServeError::Start);
        let background = background().map_err(ServeError::Start)?;
        let signals = match self.signals {
            None => None,
            Some(reloading) => {
                let _runtime = background.enter();
                // What comes from here on waits until the server serves.
                Some((shutdown::Signals::hear().map_err(ServeError::Start)?, reloading))
            }
        };
        let (node, local, handle) = (rng()?.uuid(), self.local, background.handle().clone());
        let hub = Arc::new(Hub::new(self.config, node, clock::unix_ms, local, handles, handle));
        hub.start_storing().map_err(ServeError::Store)?;
        hub.start_events(rng()?).map_err(ServeError::Events)?;

        let allowed = connections_allowed(hub.now().config.client.connection_limit as u64, descriptors)?;
        hub.connections.allow(allowed.min(hub.rooms.memory.connections_max()));
        hub.connections.follow(&hub.now().config.client);

        hub.serve_until(self.shutdown.watch());
        let of_listener = |it: &Listener| (it.place.clone(), it.way.role.name(), it.way.tls.is_some());
        let places: Vec<_> = self.listeners.iter().map(of_listener).collect();
        let (others, inboxes): (Vec<_>, Vec<_>) = (1..shards).map(|_| mpsc::channel(accept::INBOX_CONNECTIONS)).unzip();
        let acceptor = WayIn::Acceptor(Acceptor { listeners: self.listeners, others });
        let ways_in = std::iter::once(acceptor).chain(inboxes.into_iter().map(WayIn::Inbox));
        let mut threads = Vec::with_capacity(shards);
        for ((index, runtime), way_in) in runtimes.into_iter().enumerate().zip(ways_in) {
            let (hub, rng, draining) = (Arc::clone(&hub), rng()?, self.shutdown.watch());
            let thread = thread::Builder::new()
                .name(format!("roomcast-shard-{index}"))
                .spawn(move || Shard::run(&runtime, hub, index, rng, draining, |shard| way_in.serve(shard)))
                .map_err(ServeError::Start)?;
            threads.push(thread);
        }

        let rng_of_autocert = self.tls.autocert.is_some().then(rng).transpose()?;
        let (shutdown, expiring) = (self.shutdown, Arc::clone(&hub));
        let served = background.block_on(async {
            let certificates = self.tls.all();
            if let Some((signals, reloading)) = signals {
                let manager = Arc::new(Manager::of_this_process());
                manager.ready("serving");
                if let Some(every) = manager.watchdog() {
                    tokio::spawn(keep_watch(Arc::clone(&manager), Arc::clone(&expiring), (every / 2).max(TURNS_EVERY)));
                }
                tokio::spawn(say_when_stopping(Arc::clone(&manager), shutdown.watch()));
                let on_hangup = match reloading {
                    None => OnHangup::End,
                    Some(reloading) => {
                        let (on_hangup, hangups) = OnHangup::tell();
                        let files = certificates.clone();
                        let parts = (Arc::clone(&expiring), Arc::clone(&manager));
                        tokio::spawn(reloading.obey(parts, files, hangups, shutdown.watch()));
                        on_hangup
                    }
                };
                tokio::spawn(signals.obey(shutdown.clone(), on_hangup));
            }
            tokio::spawn(expire_forever(Arc::clone(&expiring)));
            tokio::spawn(make_room_forever(Arc::clone(&expiring)));
            tokio::spawn(erase_forever(Arc::clone(&expiring)));
            tokio::spawn(watch_certificates(Arc::clone(&expiring), certificates));
            if let (Some(autocert), Some(rng)) = (self.tls.autocert, rng_of_autocert) {
                let (clock, metrics) = (Arc::clone(&expiring), expiring.metrics.tls.clone());
                let clock = move || Duration::from_millis((clock.rooms.clock)());
                tokio::spawn(autocert.keep(Handle::current(), rng, clock, metrics));
            }
            for (address, whose, is_tls) in &places {
                let scheme = match address {
                    ListenAt::Unix(_) => "",
                    ListenAt::Tcp(_) if *is_tls => "https://",
                    ListenAt::Tcp(_) => "http://",
                };
                tracing::info!(%address, whose, shards, "listening on {scheme}{address}");
            }
            // Signals are heard meanwhile.
            let end = |thread: thread::JoinHandle<io::Result<()>>| {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a shard panicked")))
            };
            tokio::task::spawn_blocking(move || threads.into_iter().try_for_each(end))
                .await
                .map_err(io::Error::other)?
        });
        let mut served = served.map_err(ServeError::Start);
        // Nobody is left who waits for what is under way there.
        background.shutdown_background();
        hub.close();
        hub.close_events();
        if let Some(stored_rooms) = hub.stored_rooms()
            && let Err(error) = stored_rooms.archive.close_within(hub.now().config.shutdown.timeout)
        {
            tracing::error!(%error, "not everything was stored; rooms will begin new epochs");
            served = served.and(Err(ServeError::Unstored(error)));
        }
        tracing::info!("drained");
        served
    }
}

/// How many connections descriptors allow beside those that are open; says how many are taken, 0 being no limit.
fn connections_allowed(limit: u64, descriptors: Option<u64>) -> Result<u64, ServeError> {
    let allowed = descriptors.map_or(u64::MAX, rlimit::connections_left);
    let connections_max = if limit == 0 { allowed } else { limit.min(allowed) };
    if connections_max == 0 {
        return Err(ServeError::NoDescriptors { descriptors: descriptors.unwrap_or(0) });
    }
    if limit > allowed {
        tracing::warn!(connections_max, limit, "descriptors allow fewer connections than `client.connection_limit`");
    }
    tracing::info!(connections_max, "descriptors allow this many connections");
    Ok(allowed)
}

/// A shard that is well has turned in this time, whatever it has to do.
const TURNS_EVERY: Duration = Duration::from_millis(3 * timer_wheel::TICK_MS);

/// Tells the service manager that the server lives, as long as every shard turns.
async fn keep_watch(manager: Arc<Manager>, hub: Arc<Hub>, every: Duration) {
    let mut before = hub.turns();
    loop {
        tokio::time::sleep(every).await;
        let turns = hub.turns();
        let stuck = before.iter().zip(&turns).position(|(before, now)| before == now);
        match stuck {
            None => manager.alive(),
            // Those that have ended turn no more.
            Some(_) if hub.drains() => manager.alive(),
            Some(shard) => {
                tracing::error!(shard, "a shard does not turn; the watchdog is not told that the server lives")
            }
        }
        before = turns;
    }
}

async fn say_when_stopping(manager: Arc<Manager>, mut draining: watch::Receiver<bool>) {
    if draining.wait_for(|draining| *draining).await.is_ok() {
        manager.stopping();
    }
}

/// How connections to a server are made that speaks TLS; for tools.
///
/// # Errors
/// Which option cannot be used, and why.
#[doc(hidden)]
pub fn tls_client(options: &TlsOptions) -> Result<Arc<rustls::ClientConfig>, String> {
    options.client().map(Arc::new)
}

/// Lets the coldest rooms go when there is little memory left for messages.
async fn make_room_forever(hub: Arc<Hub>) {
    loop {
        hub.rooms.ring_memory.is_tight().await;
        hub.rooms.ring_memory.make_room(&hub.rooms);
    }
}

async fn expire_forever(hub: Arc<Hub>) {
    loop {
        let mut looks = 1;
        tokio::select! {
            () = tokio::time::sleep(expiry::EXPIRY_INTERVAL) => {}
            () = hub.rooms.crowded.notified() => looks = expiry::LOOKS,
        }
        let expired: usize = (0..looks).map(|_| hub.expire_rooms((hub.rooms.clock)())).sum();
        if looks > 1 {
            // All of them are looked at; in between others have their turn.
            tokio::time::sleep(expiry::CROWDED_INTERVAL).await;
        }
        if expired > 0 {
            tracing::debug!(expired, "rooms expired");
        }
    }
}

/// How soon a changed interval is one.
const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// Takes certificates over when their files change, and warns of those that end soon.
async fn watch_certificates(hub: Arc<Hub>, all: Vec<Arc<Certificates>>) {
    while !all.is_empty() {
        let (of_look, all) = (Arc::clone(&hub), all.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let now = Duration::from_millis((of_look.rooms.clock)());
            all.iter().for_each(|certificates| certificates.reload_loudly(&of_look.metrics.tls, false, now));
        });
        if looked.await.is_err() {
            tracing::error!("looking after certificates panicked");
        }
        // Once in a while it is looked whether this is another one.
        let looked_at = tokio::time::Instant::now();
        while looked_at.elapsed() < hub.now().config.http_server.tls_check_interval {
            let left = hub.now().config.http_server.tls_check_interval.saturating_sub(looked_at.elapsed());
            tokio::time::sleep(left.min(LOOKS_EVERY)).await;
        }
    }
}

async fn erase_forever(hub: Arc<Hub>) {
    loop {
        tokio::time::sleep(erasing::ERASING_INTERVAL).await;
        let hub = Arc::clone(&hub);
        // What is left is looked at again.
        let _ = tokio::task::spawn_blocking(move || hub.go_on_erasing()).await;
    }
}

/// Threads of a shard that may wait for the database: as many as a disk serves at once for those who publish, and all reads besides.
const WAITING_THREADS: usize = 4 + stored::READS_AT_ONCE;

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(WAITING_THREADS).build()
}

/// Threads beside those of the shards that may wait for the system: two look-ups of each server that is called, and the end.
const BACKGROUND_THREADS: usize = 64;

/// A runtime for what is no shard's: signals, expiry, calls to the backend.
fn background() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BACKGROUND_THREADS).build()
}

/// Why a server does not serve.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// An address could not be taken.
    Bind {
        /// The place asked for.
        place: ListenAt,
        /// What the system said.
        source: io::Error,
    },
    /// TLS cannot be spoken with what is configured.
    Tls(String),
    /// The database could not be begun.
    Store(StoreError),
    /// The system allows so few open files that there would be none for a connection.
    NoDescriptors {
        /// How many it allows.
        descriptors: u64,
    },
    /// The log of room events could not be begun.
    Events(EventsError),
    /// It has served, and at the end the database did not take everything that was published.
    Unstored(StoreError),
    /// The system refused threads or descriptors, or a thread of the server died.
    Start(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { place: ListenAt::Unix(path), source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    write!(
                        f,
                        "somebody listens at {}: stop that program or choose another `unix_socket`",
                        path.display()
                    )
                }
                _ => write!(
                    f,
                    "cannot listen at {}: {source}; see `unix_socket` in section `[http_server]`",
                    path.display()
                ),
            },
            Self::Bind { place, source } => match source.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "{place} is in use: stop the program that listens there or choose another \
                     address with --listen"
                ),
                io::ErrorKind::AddrNotAvailable => {
                    write!(f, "{place} is not an address of this machine: choose one with --listen")
                }
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "listening on {place} is not permitted: choose a port from 1024 up with \
                     --listen"
                ),
                _ => write!(f, "cannot listen on {place}: {source}"),
            },
            Self::NoDescriptors { descriptors } => write!(
                f,
                "{descriptors} open files are allowed, which leaves none for a connection: raise the limit (`ulimit -n`, LimitNOFILE= of \
                 systemd) or have fewer shards with --shards"
            ),
            Self::Tls(error) => write!(f, "`http_server.tls`: {error}"),
            Self::Store(error) => error.fmt(f),
            Self::Events(error) => error.fmt(f),
            Self::Unstored(error) => write!(f, "not everything that was published is stored: {error}"),
            Self::Start(source) => write!(
                f,
                "the server cannot go on: {source}; see whether the system is short of threads \
                 or descriptors"
            ),
        }
    }
}

impl Error for ServeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Start(source) => Some(source),
            Self::Store(error) | Self::Unstored(error) => Some(error),
            Self::Events(error) => Some(error),
            Self::NoDescriptors { .. } => None,
            Self::Tls(_) => None,
        }
    }
}
