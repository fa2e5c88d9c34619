//! A shard: one thread that owns its connections and delivers to them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::client::connection::Connection;
use crate::client::connection_table::ConnectionTable;
use crate::client::scratch::Scratch;
use crate::delivery::lag::Shown;
use crate::delivery::sink::MemberSink as _;
use crate::delivery::turns::Delivery;
use crate::limits::address::AddressKey;
use crate::limits::connections::{Excess, Place};
use crate::ops::metrics::ShardMetrics;
use crate::rooms::for_all::{Coming, Step};
use crate::rooms::hub::Hub;
use crate::rooms::join_leave::Inbox;
use crate::rooms::shard_commands::{Addressed, ShardCommand, To};
use crate::rooms::users::Selection;
use crate::util::key::ConnectionKey;
use crate::util::lane::Lane;
use crate::util::rng::Rng;
use crate::util::timer_wheel::{Due, TICK_MS};
use roomcast_protocol::{CloseCode, RoomName};

/// Steps of newcomers and of HTTP, requests to the server API at a port for clients among them, in a round of all that is ready: a
/// fraction of a millisecond. Clients do not wait for more of them, however many come at once.
pub(crate) const NEWCOMERS_PER_ROUND: usize = 16;

/// Turns, in a round, of clients that have not come to the end of what they have said: nobody waits for more than one of these.
const BUSY_PER_ROUND: usize = 1;

/// Ticks of the timer between two looks at who lags.
const LAG_TICKS: u64 = 4;

/// A tick that comes so late says that the shard stood still: the process was stopped, or the machine had no time for it. It has
/// read nothing meanwhile, and judges nobody by that time.
const STOOD_STILL_MS: u64 = 2_000;

/// What the connections and the delivery of one shard share.
pub(crate) struct Shard {
    itself: Weak<Self>,
    pub(crate) index: usize,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: ShardMetrics,
    pub(crate) connections: ConnectionTable,
    pub(crate) delivery: Delivery<Connection>,
    pub(crate) scratch: Scratch,
    /// Newcomers, and who speaks HTTP.
    pub(crate) newcomers: Lane,
    /// Clients that have said more than is done in a turn.
    pub(super) busy: Lane,
    sockets: Sockets,
    /// Turns true when the server drains.
    pub(crate) draining: watch::Receiver<bool>,
    /// Where the ids of its connections come from.
    pub(crate) rng: Rng,
    /// By the clock of its runtime, as every timer of it.
    started: Instant,
    /// Since when the shard has not stood still.
    awake_since_ms: Cell<u64>,
    /// Those that are to be closed one by one, the last one first; nothing as long as it serves.
    leaving: RefCell<Option<Vec<ConnectionKey>>>,
}

impl Shard {
    /// Runs a shard on this thread until the server drains and its connections are gone, or the time for that is up.
    ///
    /// Meanwhile it waits for `coming`, which brings it its connections. What it knows of time it has of `runtime`'s clock, and
    /// of chance from `rng`: whoever gives it a clock that is stepped, and a seed, sees it do the same again.
    ///
    /// # Errors
    /// Those of `coming`.
    pub(crate) fn run<Coming: Future<Output = io::Result<()>>>(
        runtime: &Runtime,
        hub: Arc<Hub>,
        index: usize,
        rng: Rng,
        draining: watch::Receiver<bool>,
        coming: impl FnOnce(Rc<Self>) -> Coming,
    ) -> io::Result<()> {
        LocalSet::new().block_on(runtime, Self::live(hub, index, rng, draining, coming))
    }

    /// The same among tasks that are there already, of which others may be shards, too.
    ///
    /// # Errors
    /// As [`Shard::run`].
    pub(crate) async fn live<Coming: Future<Output = io::Result<()>>>(
        hub: Arc<Hub>,
        index: usize,
        rng: Rng,
        mut draining: watch::Receiver<bool>,
        coming: impl FnOnce(Rc<Self>) -> Coming,
    ) -> io::Result<()> {
        let inbox = hub.events.inbox(index).ok_or_else(|| io::Error::other("a shard runs twice"))?;
        let shard = Rc::new_cyclic(|itself| Self::new(itself.clone(), hub, (index, rng), inbox, draining.clone()));
        tokio::task::spawn_local(Self::deliver_forever(Rc::clone(&shard)));
        tokio::task::spawn_local(Self::go_round_forever(Rc::clone(&shard)));
        tokio::task::spawn_local(Self::tick_forever(Rc::clone(&shard)));
        tokio::task::spawn_local(Self::run_commands(Rc::clone(&shard)));
        tokio::task::spawn_local(Self::take_in_events(Rc::clone(&shard)));
        let came = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => Ok(()),
            came = coming(Rc::clone(&shard)) => came,
        };
        shard.drain().await;
        came
    }

    fn new(
        itself: Weak<Self>,
        hub: Arc<Hub>,
        (index, rng): (usize, Rng),
        inbox: Inbox,
        draining: watch::Receiver<bool>,
    ) -> Self {
        let metrics = hub.metrics.shard(index);
        Self {
            itself,
            index,
            delivery: Delivery::new(index, metrics.clone(), inbox),
            metrics,
            hub,
            connections: ConnectionTable::new(),
            scratch: Scratch::default(),
            newcomers: Lane::new(NEWCOMERS_PER_ROUND),
            busy: Lane::new(BUSY_PER_ROUND),
            sockets: Sockets::default(),
            draining,
            rng,
            started: Instant::now(),
            awake_since_ms: Cell::new(0),
            leaving: RefCell::new(None),
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

    /// Since when its milliseconds count.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Since when it has looked after its connections without standing still; 0 if it never has.
    pub(crate) fn awake_since_ms(&self) -> u64 {
        self.awake_since_ms.get()
    }

    /// How long a full socket may take nothing.
    pub(crate) fn write_timeout_ms(&self) -> u64 {
        self.hub.now().config.client.write_timeout.as_millis() as u64
    }

    /// Writes what waits for a connection when the rooms that are ready have been served.
    pub(crate) fn flush_later(&self, connection: &Rc<Connection>) {
        self.connections.flush_later(connection);
        self.delivery.wake();
    }

    /// Delivers now, in the midst of another turn, and to the last member: those who publish have to wait for it.
    pub(crate) fn deliver_now(&self) {
        let waker = self.delivery.waker();
        if self.deliver(&mut Context::from_waker(&waker), None) {
            waker.wake();
        }
    }

    /// Serves the rooms that are ready, as [`Delivery::deliver`] does, and writes what waits for connections.
    fn deliver(&self, cx: &mut Context<'_>, now: Option<Instant>) -> bool {
        let is_left = self.delivery.deliver(cx, now.map(Instant::into_std));
        self.connections.flush_all();
        is_left
    }

    async fn deliver_forever(shard: Rc<Self>) {
        // For rooms that let messages gather.
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        std::future::poll_fn(|cx| {
            shard.delivery.set_waker(cx.waker());
            let is_unfinished = shard.deliver(cx, Some(Instant::now()));
            let due = shard.delivery.due();
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

    /// Begins the rounds of its lanes.
    async fn go_round_forever(shard: Rc<Self>) {
        std::future::poll_fn(|cx| {
            shard.newcomers.poll_rounds(cx);
            shard.busy.poll_rounds(cx);
            Poll::Pending
        })
        .await
    }

    /// Takes commands to the connections that they are for.
    async fn run_commands(shard: Rc<Self>) {
        let Some(mut inbox) = shard.hub.local.commands.inbox(shard.index) else { return };
        while let Some(Addressed { to, command }) = inbox.next().await {
            if let ShardCommand::Frame(frame) = &command {
                shard.metrics.bytes_in.inc_by(frame.len() as u64);
            }
            match to {
                To::Connection(key) => {
                    if let Some(connection) = shard.connections.find(key) {
                        connection.obey(&shard, command);
                    }
                }
                To::Shard => match command {
                    ShardCommand::Census(census) => census.answer(shard.count_members().await),
                    ShardCommand::Recall(recall) => {
                        shard.delivery.recall(&recall.room, recall.user.as_deref());
                        shard.recall(&recall.room, recall.user.as_deref()).await;
                        shard.scratch.forget();
                        recall.done();
                    }
                    ShardCommand::LetGo(let_go) => {
                        let left = shard.let_go(let_go.count);
                        let_go.answer(shard.index, left);
                    }
                    _ => {}
                },
                To::WithoutUser(selection) => shard.command_without_user(&selection, &command).await,
            }
        }
    }

    /// Takes a command to those of its connections without a user; others have their turn meanwhile, and none is kept for it.
    async fn command_without_user(&self, selection: &Selection, command: &ShardCommand) {
        // Who comes later came after the command.
        let end = self.connections.next_number();
        let mut slot = 0;
        for nth in 1_usize.. {
            {
                let Some(connection) = self.connections.next_from(slot) else { return };
                slot = connection.key.slot + 1;
                let is_meant = connection.key.number < end && connection.driver.borrow().is_without_user(selection);
                if is_meant {
                    connection.obey(self, command.clone());
                }
            }
            if nth.is_multiple_of(LOOKED_AT_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Closes so many connections, those first whose clients cannot send it anything any more; how many are left. Nobody else comes
    /// meanwhile: what the server had is another process's.
    fn let_go(&self, count: usize) -> usize {
        let mut leaving = self.leaving.borrow_mut();
        let leaving = leaving.get_or_insert_with(|| {
            let (emulated, others): (Vec<_>, Vec<_>) =
                self.connections.all().into_iter().partition(|connection| connection.framing().is_emulated());
            // From the end.
            others.iter().chain(&emulated).map(|connection| connection.key).collect()
        });
        let mut closed = 0;
        while closed < count
            && let Some(key) = leaving.pop()
        {
            if let Some(connection) = self.connections.find(key).filter(|connection| connection.is_open()) {
                connection.obey(self, ShardCommand::Disconnect(CloseCode::Shutdown.into()));
                closed += 1;
            }
        }
        leaving.len()
    }

    /// Whether its clients go to another process, one by one.
    pub(crate) fn lets_go(&self) -> bool {
        self.leaving.borrow().is_some()
    }

    /// Ends the connections that have something left to be written in which what was erased of a room may be: those that are closing, and
    /// those that were answered what has been published there. Others have their turn meanwhile.
    async fn recall(&self, room: &RoomName, user: Option<&str>) {
        let mut slot = 0;
        for nth in 1_usize.. {
            let Some(connection) = self.connections.next_from(slot) else { return };
            slot = connection.key.slot + 1;
            connection.recall(self, room, user);
            connection.cut_if_closing();
            if nth.is_multiple_of(LOOKED_AT_PER_TURN) {
                drop(connection);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes what all members of a room are given to its delivery.
    async fn take_in_events(shard: Rc<Self>) {
        let Some(mut inbox) = shard.hub.rooms.for_all.inbox(shard.index) else { return };
        while let Some(Coming { event, step }) = inbox.next().await {
            // Whoever waits for an answer may have gone.
            match step {
                Step::Reserve(reserve) => drop(reserve.send(shard.delivery.reserve(&event))),
                Step::Take(take) => {
                    shard.delivery.take_in(&event);
                    let _ = take.send(());
                }
                Step::Release => shard.delivery.release(&event),
            }
        }
    }

    /// How many of its connections are in each room; others have their turn meanwhile.
    async fn count_members(&self) -> Vec<(RoomName, u32)> {
        let (mut members, mut from) = (Vec::new(), 0);
        while self.delivery.count_members(from..from + LOOKED_AT_PER_TURN, &mut members) {
            from += LOOKED_AT_PER_TURN;
            tokio::task::yield_now().await;
        }
        members
    }

    async fn tick_forever(shard: Rc<Self>) {
        let mut due = Vec::new();
        let mut lagging = Shown::default();
        for tick in 0_u64.. {
            let expected_ms = shard.now_ms() + TICK_MS;
            tokio::time::sleep(Duration::from_millis(TICK_MS)).await;
            shard.hub.has_turned(shard.index);
            if shard.now_ms() > expected_ms + STOOD_STILL_MS {
                shard.awake_since_ms.set(shard.now_ms());
            }
            if tick.is_multiple_of(LAG_TICKS) && (shard.metrics.behind.get() > 0 || !lagging.is_empty()) {
                let lags = shard.delivery.lags();
                lagging.replace(&shard.hub, shard.index, lags);
            }
            shard.connections.take_due(shard.now_ms(), &mut due);
            for Due { at_ms, what: key } in due.drain(..) {
                if let Some(connection) = shard.connections.find(key)
                    && connection.due_ms.get() == at_ms
                {
                    connection.on_timer(&shard);
                }
            }
            due.shrink_to(DUE_KEPT);
            shard.relieve();
        }
    }

    /// Closes every connection and waits until they are gone, or the configured time is up.
    async fn drain(&self) {
        for connection in self.connections.all() {
            connection.obey(self, ShardCommand::Disconnect(CloseCode::Shutdown.into()));
        }
        let timeout = self.hub.now().config.shutdown.timeout;
        if tokio::time::timeout(timeout, self.sockets.gone()).await.is_err() {
            let left = self.sockets.open();
            tracing::warn!(shard = self.index, left, "connections are cut");
        }
    }
}

/// Connections, or rooms, that a command looks at before the others have their turn.
const LOOKED_AT_PER_TURN: usize = 64;

/// Room for due entries that is kept between ticks.
const DUE_KEPT: usize = 256;

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("index", &self.index).finish_non_exhaustive()
    }
}

/// The sockets that a shard has open.
#[derive(Debug, Default)]
struct Sockets {
    open: Cell<usize>,
    one_closed: Notify,
}

impl Sockets {
    fn open(&self) -> usize {
        self.open.get()
    }

    fn opened(&self) {
        self.open.set(self.open.get() + 1);
    }

    fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.one_closed.notify_waiters();
    }

    /// Returns when none is open.
    async fn gone(&self) {
        while self.open.get() > 0 {
            self.one_closed.notified().await;
        }
    }
}

/// Counts a socket as long as it is open.
#[derive(Debug)]
pub(crate) struct SocketGuard {
    shard: Rc<Shard>,
    /// Whom it is counted for, if for anybody.
    address: Option<AddressKey>,
}

impl SocketGuard {
    pub(crate) fn new(shard: &Rc<Shard>, place: Place) -> Self {
        shard.sockets.opened();
        shard.hub.metrics.sockets.inc();
        Self { shard: Rc::clone(shard), address: place.settle() }
    }

    /// It turns out that the client comes from that address: the one that it was counted for before was a proxy's.
    ///
    /// # Errors
    /// That one has too many already.
    pub(crate) fn came_from(&mut self, address: IpAddr) -> Result<(), Excess> {
        let Self { shard, address: counted_for } = self;
        shard.hub.connections.recount(counted_for, Some(address), shard.now_ms()).inspect_err(|excess| {
            shard.hub.metrics.refused.inc();
            tracing::warn!(%address, limit = excess.limit(), "refused a connection: there are too many");
        })
    }

    pub(crate) fn address(&self) -> Option<AddressKey> {
        self.address
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        let Self { shard, address } = self;
        shard.hub.connections.gone(*address);
        shard.sockets.closed();
        shard.hub.metrics.sockets.dec();
    }
}
