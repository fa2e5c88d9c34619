//! One run of a server, from its start to its end or its death: the shipped hub, shards, engines and archive, over doubles.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as StdInstant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use super::clock::SystemClock;
use super::dice::Dice;
use super::disk::Disk;
use super::events::{LogFile, Told, take_forever};
use super::site::{Said, answer_forever};
use super::store::LogStore;
use super::threads::{Pause, Thread, next_look, pause, work_forever};
use super::token::{Term, token};
use crate::backend::double;
use crate::client::connection::{Connection, Takeover};
use crate::client::shard::{Shard, SocketGuard};
use crate::config::Config;
use crate::delivery::sink::MemberSink as _;
use crate::events::stepped::{self as stepped_events, Course};
use crate::rooms::cluster::LocalNode;
use crate::rooms::expiry;
use crate::rooms::hub::Hub;
use crate::rooms::stored::StoredRooms;
use crate::util::panics::lock;
use crate::util::stepped::{self, Bounds};
use crate::wire::framing::Framing;
use crate::wire::socket_double::SocketDouble;
use crate::wire::stream::Stream;
use bytes::Bytes;
use roomcast::internal::{BatchWriter, Environment, Next};
use roomcast::store::{Archive, Store};
use roomcast_protocol::Publication;

/// How often rooms are looked at that nobody is in: oftener than a server does, since its days are short.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is looked whether the batch writer has ended.
pub(super) const WRITER_LOOK: Duration = Duration::from_millis(1);

/// A server that runs.
pub(super) struct Server {
    pub(super) hub: Arc<Hub>,
    shards: Vec<Rc<Shard>>,
    draining: watch::Sender<bool>,
    running: RefCell<Vec<JoinHandle<std::io::Result<()>>>>,
    has_stored_all: Rc<RefCell<Option<bool>>>,
    /// What it tells the backend of who comes and goes.
    pub(super) events: Option<Course>,
    telling: RefCell<Option<JoinHandle<()>>>,
    /// How long it may take to end.
    pub(super) shutdown_timeout: Duration,
}

/// What an archive has instead of the system.
struct Simulated {
    drawn: AtomicU64,
}

impl Environment for Simulated {
    fn now(&self) -> StdInstant {
        Instant::now().into_std()
    }

    fn park(&self, until: Option<StdInstant>) {
        pause(Pause::Parked(until.map(Instant::from_std)));
    }

    fn sleep(&self, time: Duration) {
        pause(Pause::For(time));
    }

    fn draw(&self) -> u64 {
        // Relaxed: one thread runs at a time.
        Dice::new(self.drawn.fetch_add(1, Relaxed)).number()
    }
}

impl Server {
    /// Starts one with so many shards and these bounds, among the tasks of whoever calls.
    pub(super) async fn start(
        config: Config,
        (shards, bounds): (usize, Bounds),
        (disk, clock): (&Arc<Disk>, &SystemClock),
        (site, told): (Rc<RefCell<Said>>, Option<&Backend>),
        mut dice: Dice,
    ) -> Self {
        let (calls, called) = mpsc::unbounded_channel();
        double::give(calls);
        spawn_local(answer_forever(called, site, dice.fork()));
        let (threads, works) = mpsc::unbounded_channel();
        stepped::give(threads, dice.number(), bounds);
        spawn_local(work_forever(works));
        let runtime = Handle::current();
        let local = Arc::new(LocalNode::new(shards));
        let node = dice.rng().uuid();
        let shutdown_timeout = config.shutdown.timeout;
        let hub = Hub::new(config, node, clock.start(), local, vec![runtime.clone(); shards], runtime);
        let has_stored_all = Rc::new(RefCell::new(None));
        let environment = Arc::new(Simulated { drawn: AtomicU64::new(dice.number()) });
        let stored = StoredRooms::over(Arc::clone(&hub.rooms), |broker, codec, options| {
            let store: Arc<dyn Store> = Arc::new(LogStore::new(Arc::clone(disk)));
            let (archive, writer) = Archive::start_stepped(broker, store, codec, options, environment)?;
            spawn_local(write_forever(writer, Rc::clone(&has_stored_all)));
            Ok(archive)
        });
        hub.store_in(stored.expect("the disk of the simulation can be begun"));
        let (events, telling) = told.map(|told| tell_forever(&hub, told, &mut dice)).unzip();
        let hub = Arc::new(hub);
        let (draining, is_draining) = watch::channel(false);
        let started = Rc::new(RefCell::new(Vec::new()));
        let run = |index| {
            let (started, rng) = (Rc::clone(&started), dice.rng());
            let coming = move |shard| async move {
                started.borrow_mut().push(shard);
                pending().await
            };
            spawn_local(Shard::live(Arc::clone(&hub), index, rng, is_draining.clone(), coming))
        };
        let running = RefCell::new((0..shards).map(run).collect());
        spawn_local(expire_forever(Arc::clone(&hub)));
        sleep(Duration::from_millis(1)).await;
        let shards = started.take();
        let telling = RefCell::new(telling);
        Self { hub, shards, draining, running, has_stored_all, events, telling, shutdown_timeout }
    }

    /// Waits until the log of who has come and gone is closed, which it is told.
    pub(super) async fn has_told_all(&self) {
        let telling = self.telling.take();
        if let Some(telling) = telling {
            let _ = telling.await;
        }
    }

    /// Takes a socket in as a client's of that user, which brings its first commands.
    pub(super) fn take_in(&self, socket: &SocketDouble, framing: Framing, user: Option<&str>, frame: Bytes, on: usize) {
        let shard = &self.shards[on % self.shards.len()];
        let place = self.hub.connections.admit(None, 0).expect("there is place");
        let takeover = Takeover::of_commands(framing, user, frame);
        Connection::start(shard, Stream::Double(socket.server_end()), takeover, SocketGuard::new(shard, place));
    }

    /// A token for that user: of who it is, or for a room.
    pub(super) fn token(&self, user: &str, room: Option<&str>, term: Term) -> String {
        token(&self.hub.now().config.client, user, room, (self.hub.rooms.clock)(), term.ttl_s())
    }

    /// Bytes that wait to be written to that client.
    pub(super) fn waiting_bytes(&self, client: &str) -> usize {
        let connections = self.shards.iter().flat_map(|shard| shard.connections.all());
        connections
            .filter(|connection| connection.client() == client)
            .map(|connection| connection.waiting_bytes())
            .sum()
    }

    pub(super) fn shards(&self) -> &[Rc<Shard>] {
        &self.shards
    }

    /// How its archive has ended, once it has.
    pub(super) fn has_stored_all(&self) -> Option<bool> {
        *self.has_stored_all.borrow()
    }

    /// Ends as a server does that is told to, and says whether everything was stored.
    pub(super) async fn end(&self) -> bool {
        let _ = self.draining.send(true);
        for running in self.running.take() {
            let _ = running.await;
        }
        let until = Instant::now() + self.shutdown_timeout;
        self.hub.close();
        self.hub.close_events();
        self.has_told_all().await;
        if let Some(stored_rooms) = self.hub.stored_rooms() {
            let _ = stored_rooms.archive.close();
        }
        while self.has_stored_all.borrow().is_none() && Instant::now() < until {
            sleep(WRITER_LOOK).await;
        }
        self.has_stored_all.borrow().unwrap_or(false)
    }
}

/// Where it is told who comes and goes.
pub(super) type Backend = (LogFile, Rc<RefCell<Told>>);

/// Begins to tell the backend who comes and goes.
fn tell_forever(hub: &Hub, (file, told): &Backend, dice: &mut Dice) -> (Course, JoinHandle<()>) {
    let (posts, posted) = mpsc::unbounded_channel();
    spawn_local(take_forever(posted, Rc::clone(told), dice.fork()));
    let rooms = Arc::clone(&hub.rooms);
    let system = (move || (rooms.clock)(), dice.rng());
    let options = hub.now().config.events.clone();
    let begun = stepped_events::begin(&file.path(), &options, &hub.metrics.room_events, system, posts);
    let (room_events, course, work) = begun.expect("the log of a world can be begun");
    hub.tell_events_to(room_events);
    (course, spawn_local(work))
}

/// Steps the writer of an archive on a thread of its own, and says how it has ended.
async fn write_forever(writer: BatchWriter<Publication>, has_stored_all: Rc<RefCell<Option<bool>>>) {
    let (writer, ended) = (Arc::new(Mutex::new(Some(writer))), Arc::new(Mutex::new(None)));
    let (stepped, end) = (Arc::clone(&writer), Arc::clone(&ended));
    let thread = Thread::new(move || {
        loop {
            let next = lock(&stepped).as_mut().map(BatchWriter::step);
            match next {
                Some(Next::Wait(until)) => pause(Pause::Parked(until.map(Instant::from_std))),
                Some(Next::Ended(how)) => {
                    *lock(&end) = Some(how.is_ok());
                    // As where it ends with its thread: whoever waits is told.
                    return drop(lock(&stepped).take());
                }
                Some(_) => {}
                None => return,
            }
        }
    });
    while let Some(pause) = thread.go_on() {
        match pause {
            Pause::For(time) => sleep(time).await,
            Pause::Parked(until) => {
                let is_woken = || lock(&writer).as_ref().is_none_or(BatchWriter::is_woken);
                let since = Instant::now();
                while !is_woken() && until.is_none_or(|until| Instant::now() < until) {
                    let soon = next_look(since);
                    sleep_until(until.map_or(soon, |until| until.min(soon))).await;
                }
            }
        }
    }
    *has_stored_all.borrow_mut() = Some(lock(&ended).unwrap_or(false));
}

async fn expire_forever(hub: Arc<Hub>) {
    loop {
        let mut looks = 1;
        tokio::select! {
            biased;
            () = hub.rooms.crowded.notified() => looks = expiry::LOOKS,
            () = sleep(EXPIRY_INTERVAL) => {}
        }
        for _ in 0..looks {
            hub.expire_rooms((hub.rooms.clock)());
        }
        if looks > 1 {
            sleep(expiry::CROWDED_INTERVAL).await;
        }
    }
}
