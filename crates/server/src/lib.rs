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
mod handover;
mod limits;
mod net;
mod ops;
mod reloading;
mod rooms;
mod serve_error;
mod session;
#[cfg(test)]
mod simulation;
mod util;
mod wire;

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
use self::events::Before;
pub use self::events::EventsError;
#[doc(hidden)]
pub use self::events::tools as event_tools;
use self::handover::new_process::{NewProcess, TakenOver};
use self::handover::old_process::{self, Left, OldProcess};
use self::handover::opening::{self, OPEN_WITHIN};
use self::handover::successor::Successors;
use self::limits::memory::Memory;
use self::net::accept::{self, Accepting, Acceptor, WayIn};
#[doc(hidden)]
pub use self::net::arrival::Role;
use self::net::certificates::Certificates;
use self::net::inherited::inherited;
#[doc(hidden)]
pub use self::net::listeners::Given;
pub use self::net::listeners::ListenAt;
use self::net::listeners::{self, Listener, Tls};
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
pub use self::serve_error::ServeError;
use self::util::clock;
use self::util::rng::{self, Rng};
use self::util::timer_wheel;

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

/// The same, in place of the process that serves by the same data directory, if there is one; see [`Server::take_over`].
///
/// # Errors
/// As [`run`], and [`ServeError::NotHandedOver`].
pub fn take_over_and_reload(config: Config, reloading: Reloading) -> Result<(), ServeError> {
    let mut server = Server::take_over_with(config, inherited().map_err(ServeError::Start)?)?;
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
    sockets: Sockets,
    tls: Tls,
    local: Arc<LocalNode>,
    shards: usize,
    shutdown: Shutdown,
    /// Whether it obeys signals, and what it does at a hangup: it ends, or reads its configuration again.
    signals: Option<Option<Reloading>>,
}

/// Where its sockets are.
#[derive(Debug)]
enum Sockets {
    Open(Vec<Listener>),
    /// With the process that is to hand them over.
    Awaited(Box<NewProcess>),
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
        let listeners = listeners::open(&config.http_server, given, &tls)?;
        Ok(Self::new(config, tls, Sockets::Open(listeners)))
    }

    /// Asks the process that serves by the same data directory to hand over its sockets and rooms: [`Server::run`] takes them, and
    /// serves in its place. Where nobody serves, this is [`Server::bind`].
    ///
    /// # Errors
    /// As [`Server::bind`], [`ServeError::Store`] when the database could not be had, and [`ServeError::NotHandedOver`]. The other process
    /// goes on as before.
    pub fn take_over(config: Config) -> Result<Self, ServeError> {
        Self::take_over_with(config, Vec::new())
    }

    fn take_over_with(config: Config, given: Vec<Given>) -> Result<Self, ServeError> {
        let path = config.handover_socket();
        let tls = Tls::new(&config.http_server, &config.data_dir).map_err(ServeError::Tls)?;
        match NewProcess::begin(&path, &config.handover, &config.http_server)? {
            Some(taking) => {
                stored::look_at_database(&config).map_err(ServeError::Store)?;
                Ok(Self::new(config, tls, Sockets::Awaited(Box::new(taking))))
            }
            None => {
                let listeners = listeners::open(&config.http_server, given, &tls)?;
                Ok(Self::new(config, tls, Sockets::Open(listeners)))
            }
        }
    }

    fn new(config: Config, tls: Tls, sockets: Sockets) -> Self {
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let shards = config.shards.unwrap_or_else(cores).get();
        let local = Arc::new(LocalNode::new(shards));
        Self { config, sockets, tls, local, shards, shutdown: Shutdown::new(), signals: None }
    }

    /// Those that are open.
    fn listeners(&self) -> &[Listener] {
        if let Sockets::Open(listeners) = &self.sockets { listeners } else { &[] }
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
        match &mut self.sockets {
            Sockets::Open(listeners) => {
                listeners.iter_mut().map(|it| Ok((it.socket.pass_on()?, it.way.role))).collect()
            }
            Sockets::Awaited(_) => Ok(Vec::new()),
        }
    }

    fn address_of(&self, is_it: impl Fn(Role) -> bool) -> Option<SocketAddr> {
        let mut ports = self.listeners().iter().filter(|it| is_it(it.way.role));
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
    /// [`ServeError::Unstored`] at the end, or [`ServeError::Orphaned`].
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
        let hub = Arc::new(Hub::new(self.config, node, clock::unix_ms, local, handles, handle.clone()));
        let (mut listeners, taken) = match self.sockets {
            Sockets::Open(listeners) => (listeners, None),
            Sockets::Awaited(taking) => {
                let mut taken = taking.finish(&hub)?;
                let given = std::mem::take(&mut taken.sockets);
                (listeners::open(&hub.now().config.http_server, given, &self.tls)?, Some(taken))
            }
        };
        let patience = if taken.is_some() { OPEN_WITHIN } else { Duration::ZERO };
        opening::open(patience, || hub.start_storing()).map_err(ServeError::Store)?;
        let before = taken.as_ref().map_or(Before::Over, TakenOver::before);
        hub.start_events(rng()?, before).map_err(ServeError::Events)?;

        let limit = hub.now().config.client.connection_limit as u64;
        let allowed = connections_allowed(limit, descriptors)?;
        hub.connections.allow(allowed.min(connections_with_memory(limit, &hub.rooms.memory)));
        hub.connections.follow(&hub.now().config.client);

        hub.serve_until(self.shutdown.watch());
        let of_listener = |it: &Listener| (it.place.clone(), it.way.role.name(), it.way.tls.is_some());
        let places: Vec<_> = listeners.iter().map(of_listener).collect();
        let may_hand_over = hub.now().config.handover.enabled;
        let held = old_process::Sockets::of(&mut listeners, may_hand_over).map_err(ServeError::Start)?;
        let (accept, accepting) = watch::channel(Accepting::On);
        let manager = Arc::new(if signals.is_some() { Manager::of_this_process() } else { Manager::default() });
        let parts = (Arc::clone(&hub), held, accept, Arc::clone(&manager), self.shutdown.clone());
        let giving = Arc::new(OldProcess::new(parts, handle));
        let (others, inboxes): (Vec<_>, Vec<_>) = (1..shards).map(|_| mpsc::channel(accept::INBOX_CONNECTIONS)).unzip();
        let acceptor = WayIn::Acceptor(Acceptor { listeners, accepting, others });
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
        let handing_over = Arc::clone(&giving);
        let served = background.block_on(async {
            let certificates = self.tls.all();
            if let Some(taken) = taken {
                taken.served(&expiring);
            }
            tokio::spawn(hand_over(Arc::clone(&handing_over), Arc::clone(&expiring), shutdown.watch()));
            if let Some((signals, reloading)) = signals {
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
                let (successors, of_manager) = (Successors::new(Arc::clone(&manager)), Arc::clone(&manager));
                let start_successor = move || {
                    if may_hand_over {
                        successors.start();
                    } else {
                        tracing::warn!("no other process is started: `handover.enabled` is false");
                        of_manager.not_handed_over("`handover.enabled` is false");
                    }
                };
                tokio::spawn(signals.obey(shutdown.clone(), on_hangup, start_successor));
            }
            tokio::spawn(expire_forever(Arc::clone(&expiring)));
            tokio::spawn(make_room_forever(Arc::clone(&expiring)));
            tokio::spawn(erase_forever(Arc::clone(&expiring)));
            tokio::spawn(watch_certificates(Arc::clone(&expiring), certificates));
            if let (Some(autocert), Some(rng)) = (self.tls.autocert, rng_of_autocert) {
                let (clock, metrics) = (Arc::clone(&expiring), expiring.metrics.tls.clone());
                let clock = move || Duration::from_millis((clock.rooms.clock)());
                // One process at a time asks for certificates.
                handing_over.ends(tokio::spawn(autocert.keep(Handle::current(), rng, clock, metrics)).abort_handle());
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
        let left = giving.conclude(hub.now().config.shutdown.timeout);
        // Nobody is left who waits for what is under way there.
        background.shutdown_background();
        if let Left::Away { is_served, is_unstored } = left {
            tracing::info!("drained");
            return served.and(match (is_served, is_unstored) {
                (true, false) => Ok(()),
                (true, true) => Err(ServeError::Orphaned(UNSTORED)),
                (false, _) => Err(ServeError::Orphaned(UNSERVED)),
            });
        }
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

/// What is wrong when the rooms were given away.
const UNSTORED: &str = "not everything that was published was stored before another process took over; see the log";
const UNSERVED: &str = "another process was taking over, had everything, and was lost: start the server again";

/// Lets another process take over as long as the server serves; its sockets are nobody's when it ends.
async fn hand_over(giving: Arc<OldProcess>, hub: Arc<Hub>, mut draining: watch::Receiver<bool>) {
    let now = hub.settled();
    if now.config.handover.enabled {
        tokio::spawn(Arc::clone(&giving).keep(now.config.handover_socket()));
    }
    drop((now, hub));
    let _ = draining.wait_for(|draining| *draining).await;
    giving.close();
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

/// How many connections there is memory for, here and in the system; says so where more are asked for, 0 being no limit.
fn connections_with_memory(limit: u64, memory: &Memory) -> u64 {
    let (here, in_system) = (memory.connections_max(), memory.sockets_max());
    if limit > here.min(in_system) {
        tracing::warn!(
            limit,
            here,
            in_system,
            "there is memory for fewer connections than `client.connection_limit`; see `memory.limit`"
        );
    } else {
        tracing::info!(here, in_system, "there is memory for this many connections");
    }
    // Who names a number may know that the system has more.
    if limit == 0 { here.min(in_system) } else { here }
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
