//! A shard: one thread that owns its connections and delivers to them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::Router;
use slab::Slab;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use super::connection::{Connection, ConnectionKey};
use super::emulation::Letter;
use super::entrance;
use super::events::Inbox;
use super::feed::Feed;
use super::http;
use super::hub::Hub;
use super::lag::Shown;
use super::listener::Door;
use super::metrics::ShardMetrics;
use super::run::Run;
use super::session::Action;
use super::wheel::{Due, TICK_MS, Wheel};
use crate::protocol::CloseCode;
use crate::sync::guard;

/// The one buffer into which all connections of a shard are read, one after the other.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Ready rooms served before connections have their turn again.
const ROOMS_PER_TURN: usize = 64;

/// Members that runs are written to before connections have their turn: a few milliseconds of system calls.
const WRITES_PER_TURN: usize = 2_048;

/// Ticks of the timer between two looks at who lags.
const LAG_TICKS: u64 = 4;

/// A tick that comes so late says that the shard stood still: the process was stopped, or the machine had no time for it. It has
/// read nothing meanwhile, and judges nobody by that time.
const STOOD_STILL_MS: u64 = 2_000;

/// Messages a shard's clients may publish before the shard delivers, in the midst of reading: a burst from many clients must not
/// run the room's ring around before anybody has been given any of it.
const PUBLISHES_PER_TURN: usize = 256;

/// Connections accepted that wait for their shard.
pub(crate) const INBOX_CONNECTIONS: usize = 1_024;

/// Where a shard's connections come from.
pub(crate) enum WayIn {
    /// It accepts them, for itself and for others.
    Door(Door),
    /// It is given them.
    Inbox(mpsc::Receiver<std::net::TcpStream>),
}

/// What the connections and the delivery of one shard share.
pub(crate) struct Shard {
    itself: Weak<Self>,
    pub(crate) index: usize,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: ShardMetrics,
    pub(crate) feed: RefCell<Feed>,
    pub(crate) run: RefCell<Run>,
    /// Where replies are built, for one turn of one connection.
    replies: Cell<Run>,
    actions: Cell<VecDeque<Action>>,
    pub(crate) router: Router,
    /// Turns true when the server drains.
    pub(crate) draining: watch::Receiver<bool>,
    started: Instant,
    /// Since when the shard has not stood still.
    awake_since_ms: Cell<u64>,
    connections: RefCell<Slab<Rc<Connection>>>,
    next_number: Cell<u64>,
    read_buffer: Cell<Vec<u8>>,
    wheel: RefCell<Wheel<ConnectionKey>>,
    delivery: RefCell<Waker>,
    undelivered: Cell<usize>,
    /// Connections with replies that have not been written.
    unflushed: RefCell<Vec<Rc<Connection>>>,
    sockets: Cell<usize>,
    socket_closed: Notify,
}

impl Shard {
    /// Runs a shard on this thread until the server drains and its connections are gone, or the time for that is up.
    ///
    /// # Errors
    /// As [`Door::keep`].
    pub(crate) fn run(
        runtime: &Runtime,
        hub: Arc<Hub>,
        index: usize,
        way_in: WayIn,
        mut draining: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let tasks = LocalSet::new();
        tasks.block_on(runtime, async move {
            let inbox = hub.events.inbox(index).ok_or_else(|| io::Error::other("a shard runs twice"))?;
            let shard = Rc::new_cyclic(|itself| Self::new(itself.clone(), hub, index, inbox, draining.clone()));
            tokio::task::spawn_local(Self::deliver_forever(Rc::clone(&shard)));
            tokio::task::spawn_local(Self::tick_forever(Rc::clone(&shard)));
            tokio::task::spawn_local(Self::read_letters(Rc::clone(&shard)));
            let coming = async {
                match way_in {
                    WayIn::Door(door) => door.keep(Rc::clone(&shard)).await,
                    WayIn::Inbox(mut inbox) => {
                        while let Some(stream) = inbox.recv().await {
                            shard.accept(stream);
                        }
                        Ok(())
                    }
                }
            };
            let came = tokio::select! {
                biased;
                _ = draining.wait_for(|draining| *draining) => Ok(()),
                came = coming => came,
            };
            shard.drain().await;
            came
        })
    }

    fn new(itself: Weak<Self>, hub: Arc<Hub>, index: usize, inbox: Inbox, draining: watch::Receiver<bool>) -> Self {
        let metrics = hub.metrics.shard(index);
        Self {
            itself,
            index,
            feed: RefCell::new(Feed::new(metrics.clone(), inbox)),
            metrics,
            router: http::router(Arc::clone(&hub)),
            hub,
            run: RefCell::default(),
            replies: Cell::default(),
            actions: Cell::default(),
            draining,
            started: Instant::now(),
            awake_since_ms: Cell::new(0),
            connections: RefCell::default(),
            next_number: Cell::new(0),
            read_buffer: Cell::default(),
            wheel: RefCell::new(Wheel::new(0)),
            delivery: RefCell::new(Waker::noop().clone()),
            undelivered: Cell::new(0),
            unflushed: RefCell::default(),
            sockets: Cell::new(0),
            socket_closed: Notify::new(),
        }
    }

    /// A handle for what outlives a turn; `None` once the shard is over.
    pub(crate) fn itself(&self) -> Option<Rc<Self>> {
        self.itself.upgrade()
    }

    /// Milliseconds since the shard started; timers and sessions count in them.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Since when it has looked after its connections without standing still; 0 if it never has.
    pub(crate) fn awake_since_ms(&self) -> u64 {
        self.awake_since_ms.get()
    }

    /// How long a full socket may take nothing.
    pub(crate) fn write_timeout_ms(&self) -> u64 {
        self.hub.config.client.write_timeout.as_millis() as u64
    }

    /// Gives a new connection its place.
    pub(crate) fn admit(&self, connection: impl FnOnce(ConnectionKey) -> Connection) -> Rc<Connection> {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let mut connections = self.connections.borrow_mut();
        let place = connections.vacant_entry();
        let slot = place.key();
        let connection = Rc::new(connection(ConnectionKey { slot, number }));
        place.insert(Rc::clone(&connection));
        connection
    }

    /// Takes the place back.
    pub(crate) fn dismiss(&self, connection: &Connection) {
        let mut connections = self.connections.borrow_mut();
        let slot = connection.key.slot;
        if connections.get(slot).is_some_and(|c| c.key == connection.key) {
            connections.remove(slot);
        }
    }

    /// Runs the connection's timer at `at_ms`, once; an earlier time replaces a later one.
    pub(crate) fn schedule(&self, connection: &Connection, at_ms: u64) {
        connection.due_ms.set(at_ms);
        self.wheel.borrow_mut().schedule(at_ms, connection.key);
    }

    /// The read buffer, for one read.
    pub(crate) fn take_read_buffer(&self) -> Vec<u8> {
        let mut buffer = self.read_buffer.take();
        if buffer.is_empty() {
            buffer.resize(READ_BUFFER_BYTES, 0);
        }
        buffer
    }

    pub(crate) fn return_read_buffer(&self, buffer: Vec<u8>) {
        self.read_buffer.set(buffer);
    }

    /// What a turn builds its replies in, and where its actions wait; both empty.
    pub(crate) fn lend(&self) -> (Run, VecDeque<Action>) {
        (self.replies.take(), self.actions.take())
    }

    /// Takes back what was lent, for the next turn.
    pub(crate) fn take_back(&self, mut replies: Run, actions: VecDeque<Action>) {
        debug_assert!(actions.is_empty(), "an action would be done for another client");
        replies.clear();
        self.replies.set(replies);
        self.actions.set(actions);
    }

    /// Counts a published message; true when it is time to deliver before more is published.
    pub(crate) fn has_published(&self) -> bool {
        self.metrics.messages_in.inc();
        self.undelivered.set(self.undelivered.get() + 1);
        self.undelivered.get() >= PUBLISHES_PER_TURN
    }

    /// Writes what waits for a connection when the rooms that are ready have been served.
    pub(crate) fn flush_later(&self, connection: &Rc<Connection>) {
        self.unflushed.borrow_mut().push(Rc::clone(connection));
        self.wake_delivery();
    }

    fn flush_all(&self) {
        // Nothing is added meanwhile: writing runs nobody's code.
        let mut unflushed = self.unflushed.borrow_mut();
        unflushed.drain(..).for_each(|connection| connection.flush());
        unflushed.shrink_to(UNFLUSHED_KEPT);
    }

    /// Wakes the delivery: a feed has a new member.
    pub(crate) fn wake_delivery(&self) {
        self.delivery.borrow().wake_by_ref();
    }

    /// Delivers now, in the midst of another turn, and to the last member: those who publish have to wait for it.
    pub(crate) fn deliver_now(&self) {
        let waker = self.delivery.borrow().clone();
        if self.deliver(&mut Context::from_waker(&waker), None) {
            waker.wake();
        }
    }

    /// Serves the rooms that are ready, within a budget; true when some are left. Without `now` all that gathers is due,
    /// and nothing of a run is left for later.
    fn deliver(&self, cx: &mut Context<'_>, now: Option<Instant>) -> bool {
        self.undelivered.set(0);
        self.metrics.turns.inc();
        let is_left = self.deliver_rooms(cx, now);
        self.flush_all();
        is_left
    }

    fn deliver_rooms(&self, cx: &mut Context<'_>, now: Option<Instant>) -> bool {
        let feed = &self.feed;
        feed.borrow_mut().poll_events(cx);
        let mut writes = WRITES_PER_TURN;
        let unfinished = feed.borrow_mut().next_unfinished();
        for turn in 0..ROOMS_PER_TURN {
            let found = match unfinished.filter(|_| turn == 0) {
                Some(at) => Poll::Ready(at),
                None => feed.borrow_mut().poll_ready(cx, now),
            };
            let Poll::Ready(at) = found else {
                return feed.borrow().has_unfinished();
            };
            let visit = || {
                let mut feed = feed.borrow_mut();
                feed.deliver(at, &mut self.run.borrow_mut(), &mut writes);
                while now.is_none()
                    && let Some(at) = feed.next_unfinished()
                {
                    feed.finish(at);
                }
            };
            if guard(visit).is_err() {
                self.give_up(at);
            }
            if writes == 0 {
                break;
            }
        }
        true
    }

    /// Delivering a room panicked: its members are told to come again, the shard goes on.
    fn give_up(&self, at: usize) {
        tracing::error!(shard = self.index, "delivering a room panicked");
        let members = self.feed.borrow().connections(at);
        for connection in members {
            connection.close_soon(CloseCode::ServerError);
        }
    }

    async fn deliver_forever(shard: Rc<Self>) {
        // For rooms that let messages gather.
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        std::future::poll_fn(|cx| {
            if !shard.delivery.borrow().will_wake(cx.waker()) {
                *shard.delivery.borrow_mut() = cx.waker().clone();
            }
            let is_unfinished = shard.deliver(cx, Some(Instant::now()));
            let due = shard.feed.borrow().due();
            let is_due = due.is_some_and(|due| {
                timer.as_mut().reset(due.into());
                timer.as_mut().poll(cx).is_ready()
            });
            if is_unfinished || is_due {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Takes commands of emulated connections to them.
    async fn read_letters(shard: Rc<Self>) {
        let Some(mut mailbox) = shard.hub.emulation.mailbox(shard.index) else { return };
        while let Some(Letter { to, frame }) = mailbox.recv().await {
            shard.metrics.bytes_in.inc_by(frame.len() as u64);
            if let Some(connection) = shard.find(to) {
                connection.hear(&shard, frame);
            }
        }
    }

    fn find(&self, key: ConnectionKey) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.get(key.slot).filter(|connection| connection.key == key).cloned()
    }

    async fn tick_forever(shard: Rc<Self>) {
        let mut due = Vec::new();
        let mut lagging = Shown::default();
        for tick in 0_u64.. {
            let expected_ms = shard.now_ms() + TICK_MS;
            tokio::time::sleep(Duration::from_millis(TICK_MS)).await;
            if shard.now_ms() > expected_ms + STOOD_STILL_MS {
                shard.awake_since_ms.set(shard.now_ms());
            }
            if tick.is_multiple_of(LAG_TICKS) && (shard.metrics.behind.get() > 0 || !lagging.is_empty()) {
                let lags = shard.feed.borrow().lags();
                lagging.replace(&shard.hub, shard.index, lags);
            }
            shard.wheel.borrow_mut().advance(shard.now_ms(), &mut due);
            for Due { at_ms, what: key } in due.drain(..) {
                if let Some(connection) = shard.find(key)
                    && connection.due_ms.get() == at_ms
                {
                    connection.on_timer(&shard);
                }
            }
            due.shrink_to(DUE_KEPT);
        }
    }

    /// Serves a connection that was accepted here.
    pub(crate) fn take_in(self: &Rc<Self>, stream: TcpStream) {
        let socket = SocketGuard::new(self);
        tokio::task::spawn_local(entrance::serve(Rc::clone(self), stream, socket));
    }

    fn accept(self: &Rc<Self>, stream: std::net::TcpStream) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.take_in(stream),
            Err(error) => tracing::warn!(%error, shard = self.index, "lost a connection"),
        }
    }

    /// Closes every connection and waits until they are gone, or the configured time is up.
    async fn drain(&self) {
        let connections: Vec<_> = {
            let connections = self.connections.borrow();
            connections.iter().map(|(_, c)| Rc::clone(c)).collect()
        };
        for connection in connections {
            connection.close_with(self, CloseCode::Shutdown);
        }
        let gone = async {
            while self.sockets.get() > 0 {
                self.socket_closed.notified().await;
            }
        };
        let timeout = self.hub.config.shutdown.timeout;
        if tokio::time::timeout(timeout, gone).await.is_err() {
            let left = self.sockets.get();
            tracing::warn!(shard = self.index, left, "connections are cut");
        }
    }
}

/// Room for connections with replies that is kept between turns.
const UNFLUSHED_KEPT: usize = 256;

/// Room for due entries that is kept between ticks.
const DUE_KEPT: usize = 256;

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Counts a socket as long as it is open.
#[derive(Debug)]
pub(crate) struct SocketGuard(Rc<Shard>);

impl SocketGuard {
    pub(crate) fn new(shard: &Rc<Shard>) -> Self {
        shard.sockets.set(shard.sockets.get() + 1);
        shard.hub.metrics.sockets.inc();
        Self(Rc::clone(shard))
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        let Self(shard) = self;
        shard.sockets.set(shard.sockets.get() - 1);
        shard.hub.metrics.sockets.dec();
        shard.socket_closed.notify_waiters();
    }
}
