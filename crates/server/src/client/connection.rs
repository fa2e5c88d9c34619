//! One connection, of whatever transport: its socket, what waits to be written, its end.
//!
//! A connection is a task on its shard, woken when its socket can be read or, while something waits, written. The shard's delivery
//! writes to it directly. Everything happens on one thread, in turns that never wait, so nothing here needs a lock.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::client::connection_task::Task;
use crate::client::driver::SessionDriver;
use crate::client::shard::{Shard, SocketGuard};
pub(crate) use crate::client::takeover::Takeover;
use crate::delivery::sink::{MemberSink, Written};
use crate::rooms::shard_commands::ShardCommand;
use crate::util::key::ConnectionKey;
use crate::util::panics::guard;
use crate::wire::disconnect::Disconnect;
use crate::wire::encoded_batch::EncodedBatch;
use crate::wire::framing::Framing;
use crate::wire::send_queue::{SendQueue, write_some};
use crate::wire::stream::Stream;
use roomcast_protocol::{CloseCode, RoomName};

/// Reads of one connection before others on its shard have their turn.
const READS_PER_TURN: usize = 4;

/// How long a closed connection may take to accept the close frame and to answer it. A client that does not read is cut after it.
const CLOSE_LINGER_MS: u64 = 2_000;

const NOT_STALLED: u64 = u64::MAX;

const SLOW: u16 = CloseCode::Slow.code();

/// One client's connection.
pub(crate) struct Connection {
    pub(crate) key: ConnectionKey,
    framing: Framing,
    stream: RefCell<Stream>,
    waker: RefCell<Waker>,
    phase: Cell<Phase>,
    /// The socket is full; whatever waits in `send_queue` goes first when it is not.
    blocked: Cell<bool>,
    /// Something waits in `send_queue` for the end of the shard's turn.
    unflushed: Cell<bool>,
    /// Writing failed; the connection's task ends it.
    broken: Cell<bool>,
    /// To be closed with this code by the connection's task.
    doom: Cell<Option<CloseCode>>,
    /// To be ended by the connection's task without another byte.
    is_cut: Cell<bool>,
    /// What it has missed of a room is being read from the database.
    pub(super) is_fetching: Cell<bool>,
    pub(super) send_queue: RefCell<SendQueue>,
    /// Memberships that are behind their group.
    pub(super) behind: Cell<u32>,
    /// Since when the full socket has taken nothing; [`NOT_STALLED`] while nothing waits for it.
    stalled_since_ms: Cell<u64>,
    /// When its timer runs; see [`crate::util::timer_wheel`].
    pub(crate) due_ms: Cell<u64>,
    pub(crate) driver: RefCell<SessionDriver>,
    pub(super) socket: SocketGuard,
}

/// Open → Closing (the close frame is on its way) → Gone; Open → Gone when the peer vanished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing more is said; what waits is written, then the peer's end is awaited.
    Closing {
        /// Our side of the socket is shut.
        shut: bool,
    },
    Gone,
}

impl MemberSink for Connection {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn write_batch(&self, batch: &mut EncodedBatch) -> Written {
        if self.blocked.get() || self.phase.get() != Phase::Open {
            return Written::Full;
        }
        let bytes = batch.as_bytes();
        let written = {
            let (stream, mut send_queue) = (self.stream.borrow(), self.send_queue.borrow_mut());
            if send_queue.is_empty() {
                match write_some(&stream, bytes) {
                    // What nearly all members come to: kept apart, it needs few registers.
                    Ok(n) if n == bytes.len() && stream.held() == 0 => return Written::Taken,
                    written => written.map(Some),
                }
            } else {
                send_queue.write_with_batch(&stream, bytes)
            }
        };
        self.note_write(batch, written)
    }

    fn client(&self) -> String {
        self.driver.borrow().client().to_owned()
    }

    fn is_full(&self) -> bool {
        self.blocked.get()
    }

    fn fell_behind(&self) {
        self.behind.set(self.behind.get() + 1);
        self.wake();
    }

    fn caught_up(&self) {
        self.behind.set(self.behind.get() - 1);
    }

    fn close_soon(&self, code: CloseCode) {
        self.doom.set(Some(code));
        self.wake();
    }

    fn has_left(&self, room: &RoomName) {
        self.note_told_of(vec![room.clone()]);
    }

    fn cut(&self) {
        // Nothing is written before its task sees it: the socket is full, or nobody else writes.
        self.is_cut.set(true);
        self.wake();
    }

    fn wake(&self) {
        self.waker.borrow().wake_by_ref();
    }
}

impl Connection {
    /// What is to be done about a batch of which so much was taken behind the replies, nothing where not all of those were.
    #[inline(never)]
    fn note_write(&self, batch: &mut EncodedBatch, written: io::Result<Option<usize>>) -> Written {
        match written {
            Ok(Some(n)) if n == batch.as_bytes().len() => {
                if self.stream.borrow().held() > 0 {
                    self.block();
                }
                Written::Taken
            }
            Ok(None | Some(0)) => {
                self.block();
                Written::Full
            }
            Ok(Some(n)) => {
                self.send_queue.borrow_mut().keep_batch(batch.share(n));
                self.block();
                Written::InPart
            }
            Err(error) => {
                self.fail(&error);
                Written::Full
            }
        }
    }

    /// Starts a connection on `shard`.
    pub(crate) fn start(shard: &Rc<Shard>, stream: Stream, takeover: Takeover, socket: SocketGuard) {
        let Takeover { framing, head, unanswered, frame, behind, user, headers } = takeover;
        if framing.only_listens() && !framing.is_websocket() {
            let client = &shard.hub.now().config.client;
            let (interval, timeout) = (client.ping_interval, client.pong_timeout);
            if !interval.is_zero() && !timeout.is_zero() {
                stream.notice_silence(interval + timeout);
            }
        }
        let connection = shard.connections.admit(|key| Self {
            key,
            framing,
            stream: RefCell::new(stream),
            waker: RefCell::new(Waker::noop().clone()),
            phase: Cell::new(Phase::Open),
            // Its task writes the head before anything else.
            blocked: Cell::new(!head.is_empty()),
            unflushed: Cell::new(false),
            broken: Cell::new(false),
            doom: Cell::new(None),
            is_cut: Cell::new(false),
            is_fetching: Cell::new(false),
            send_queue: RefCell::new(SendQueue::of(head)),
            behind: Cell::new(0),
            stalled_since_ms: Cell::new(NOT_STALLED),
            due_ms: Cell::new(0),
            driver: RefCell::new(SessionDriver::new(shard, framing, key, (user, headers), unanswered)),
            socket,
        });
        shard.metrics.connections.inc();
        shard.metrics.connected.inc();
        let due_ms = connection.driver.borrow().due_ms();
        shard.connections.schedule(&connection, due_ms);
        if *shard.draining.borrow() {
            // Its handshake was under way when the others were closed.
            connection.close_soon(CloseCode::Shutdown);
        }
        let first = (frame.is_some() || !behind.is_empty()).then_some((frame, behind));
        tokio::task::spawn_local(Task::new(shard, connection, first));
    }

    /// Keeps bytes for this client alone, behind whatever waits. They are written with the next batch that the shard delivers
    /// to it, and behind those deliveries in any case: a publisher's reply and its own message share a system call.
    pub(crate) fn write_own(self: &Rc<Self>, shard: &Shard, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.send_queue.borrow_mut().keep_replies(bytes);
        if self.blocked.get() {
            return;
        }
        if self.is_saturated() {
            self.flush();
        } else if !self.unflushed.replace(true) {
            shard.flush_later(self);
        }
    }

    /// What waits to be written tells of what those rooms have published.
    pub(super) fn note_told_of(&self, rooms: Vec<RoomName>) {
        self.send_queue.borrow_mut().note_told_of(rooms);
    }

    /// Something of a room was erased, single messages or what `user` has said: writes what only waits for the end of a turn, ends the
    /// connection without another byte if what tells of the room waits for its socket, and takes it out of what is not written yet.
    pub(super) fn recall(&self, shard: &Shard, room: &RoomName, user: Option<&str>) {
        if self.unflushed.get() {
            self.flush();
        }
        self.driver.borrow_mut().recall(shard, room, user);
        if self.send_queue.borrow().tells_of(room) {
            self.cut();
        }
    }

    /// Bytes of memory that its socket has for what is not whole or was not sent.
    pub(super) fn buffered(&self) -> usize {
        self.stream.try_borrow().map_or(0, |stream| stream.buffered())
    }

    /// Writes what waits, as much as the socket takes.
    pub(crate) fn flush(&self) {
        self.unflushed.set(false);
        if self.blocked.get() {
            return;
        }
        let flushed = self.send_queue.borrow_mut().flush(&self.stream.borrow());
        match flushed {
            Ok(true) => {}
            Ok(false) => self.block(),
            Err(error) => self.fail(&error),
        }
    }

    /// How long the full socket has taken nothing, of the time in which we were there to see it; `None` while nothing waits
    /// for it.
    pub(crate) fn stalled_ms(&self, shard: &Shard) -> Option<u64> {
        let since_ms = self.stalled_since_ms.get();
        (since_ms != NOT_STALLED).then(|| shard.now_ms().saturating_sub(since_ms.max(shard.awake_since_ms())))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    pub(super) fn is_gone(&self) -> bool {
        self.phase.get() == Phase::Gone
    }

    /// Leaves every room and says goodbye, behind whatever waits to be written.
    pub(crate) fn close(self: &Rc<Self>, shard: &Shard, disconnect: &Disconnect) {
        if !self.is_open() {
            return;
        }
        self.phase.set(Phase::Closing { shut: false });
        let unanswered = {
            let mut driver = self.driver.borrow_mut();
            driver.depart(shard, self.key, disconnect);
            driver.unanswered()
        };
        let mut last = Vec::new();
        match unanswered {
            None => self.write_goodbye(shard, disconnect, &mut last),
            Some(unanswered) => unanswered.write_refusal(disconnect, &mut last),
        }
        self.write_own(shard, &last);
        // Its task shuts the socket behind it.
        self.flush();
        shard.hub.metrics.closed(disconnect.code());
        if disconnect.code() == SLOW {
            shard.metrics.slow_consumers.inc();
        }
        shard.connections.schedule(self, shard.now_ms() + CLOSE_LINGER_MS);
        self.wake();
    }

    fn write_goodbye(&self, shard: &Shard, disconnect: &Disconnect, last: &mut Vec<u8>) {
        if self.framing.only_listens()
            && self.framing.is_websocket()
            && disconnect.is_said_in_words()
            && !shard.hub.now().config.unidirectional.websocket.disable_disconnect_push
        {
            self.framing.for_one().push_disconnect(disconnect.code(), disconnect.reason(), last);
        }
        disconnect.write(self.framing, last);
    }

    /// The same for a code of the protocol.
    pub(crate) fn close_with(self: &Rc<Self>, shard: &Shard, code: CloseCode) {
        if self.is_open() {
            let driver = self.driver.borrow();
            let (client, shard) = (driver.client(), shard.index);
            let (code, reason) = (code.code(), code.reason());
            match code {
                SLOW => tracing::warn!(client, shard, code, reason, "slow consumer"),
                _ => tracing::debug!(client, shard, code, reason, "closing"),
            }
        }
        self.close(shard, &code.into());
    }

    /// Runs the connection's timer.
    pub(crate) fn on_timer(self: &Rc<Self>, shard: &Shard) {
        match self.phase.get() {
            Phase::Gone => {}
            Phase::Closing { .. } => {
                self.phase.set(Phase::Gone);
                self.wake();
            }
            Phase::Open => {
                let turn = || {
                    // However punctual its pongs: what it does not take is held for it.
                    if self.stalled_ms(shard).is_some_and(|ms| ms >= shard.write_timeout_ms()) {
                        return self.close_with(shard, CloseCode::Slow);
                    }
                    SessionDriver::tick(self, shard);
                };
                if guard(turn).is_err() {
                    self.survive(shard);
                }
                if self.is_open() {
                    shard.connections.schedule(self, self.next_due_ms(shard));
                }
            }
        }
    }

    /// Obeys a command that came from anywhere in the server.
    pub(crate) fn obey(self: &Rc<Self>, shard: &Shard, command: ShardCommand) {
        match command {
            ShardCommand::Frame(frame) => {
                self.take_turn(shard, |this, shard| SessionDriver::receive_frame(this, shard, frame));
            }
            ShardCommand::Disconnect(disconnect) => self.take_turn(shard, |this, shard| {
                let (client, code) = (this.driver.borrow().client().to_owned(), disconnect.code());
                tracing::debug!(client, code, "disconnected by command");
                this.close(shard, &disconnect);
            }),
            ShardCommand::Session(command) => {
                self.go_on(shard, |this, shard| SessionDriver::command(this, shard, command));
            }
            // The shard's own.
            ShardCommand::Census(_) | ShardCommand::Recall(_) | ShardCommand::LetGo(_) => {}
        }
    }

    /// Takes a turn for something that was waited for, and then goes on reading.
    pub(crate) fn go_on(self: &Rc<Self>, shard: &Shard, turn: impl FnOnce(&Rc<Self>, &Shard)) {
        self.take_turn(shard, turn);
        self.wake();
    }

    fn take_turn(self: &Rc<Self>, shard: &Shard, turn: impl FnOnce(&Rc<Self>, &Shard)) {
        if !self.is_open() {
            return;
        }
        if guard(|| turn(self, shard)).is_err() {
            self.survive(shard);
        }
        if self.driver.borrow().waits_for_turn() {
            // The socket has nothing to do with it, and does not wake its task for what is left.
            self.wake();
        }
        self.hasten(shard);
    }

    /// Brings the timer forward when the conversation is due earlier than it was: once a client has connected, its first
    /// ping may be due before its silence would have been.
    pub(super) fn hasten(&self, shard: &Shard) {
        let due_ms = self.next_due_ms(shard);
        if self.is_open() && due_ms < self.due_ms.get() {
            shard.connections.schedule(self, due_ms);
        }
    }

    /// When there is something to be looked after next: the conversation, or a socket that takes nothing.
    fn next_due_ms(&self, shard: &Shard) -> u64 {
        let since_ms = self.stalled_since_ms.get().max(shard.awake_since_ms());
        let stalled_at_ms = since_ms.saturating_add(shard.write_timeout_ms());
        self.driver.borrow().due_ms().min(stalled_at_ms)
    }

    /// After a panic in its own work: the client is told, nobody else notices.
    pub(crate) fn survive(self: &Rc<Self>, shard: &Shard) {
        tracing::error!(shard = shard.index, "a connection's handling panicked");
        let close = || self.close_with(shard, CloseCode::ServerError);
        if !self.is_open() || guard(close).is_err() {
            self.phase.set(Phase::Gone);
            self.wake();
        }
    }

    /// Ends it without another byte, if it is closing and something waits to be written.
    pub(crate) fn cut_if_closing(&self) {
        let closes = matches!(self.phase.get(), Phase::Closing { .. });
        if closes && !self.send_queue.borrow().is_empty() {
            self.cut();
        }
    }

    pub(super) fn poll(self: &Rc<Self>, shard: &Rc<Shard>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waker.borrow().will_wake(cx.waker()) {
            *self.waker.borrow_mut() = cx.waker().clone();
        }
        if self.is_cut.get() {
            tracing::info!(
                client = self.driver.borrow().client(),
                shard = shard.index,
                "connection cut: what waited for its socket was erased"
            );
            self.phase.set(Phase::Gone);
            return Poll::Ready(());
        }
        if let Some(code) = self.doom.take() {
            self.close_with(shard, code);
        }
        if self.is_open() {
            let was_full = self.is_full();
            if self.poll_flush(shard, cx).is_pending() {
                self.hasten(shard);
            } else {
                if was_full {
                    self.driver.borrow_mut().has_taken_all(shard);
                }
                if self.behind.get() > 0 {
                    SessionDriver::catch_up(self, shard);
                }
            }
            self.poll_input(shard, cx);
        }
        match self.is_open() {
            true => self.reserve_memory(shard),
            false => self.give_back_memory(&shard.connections),
        }
        if self.broken.get() {
            self.phase.set(Phase::Gone);
        }
        if let Phase::Closing { .. } = self.phase.get() {
            ready!(self.poll_closing(shard, cx));
            self.phase.set(Phase::Gone);
        }
        let waits_for_lane = |driver: &SessionDriver| driver.waits_for_turn() && !driver.waits_in_lane();
        if self.is_open() && !self.is_saturated() && waits_for_lane(&self.driver.borrow()) {
            self.wake();
        }
        if self.is_gone() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends it without another byte.
    pub(super) fn end(&self) {
        self.phase.set(Phase::Gone);
        self.wake();
    }

    /// Ready once nothing waits to be written.
    fn poll_flush(&self, shard: &Shard, cx: &mut Context<'_>) -> Poll<()> {
        while self.blocked.get() && !self.broken.get() {
            if self.stalled_since_ms.get() == NOT_STALLED {
                self.stalled_since_ms.set(shard.now_ms());
            }
            let stream = self.stream.borrow();
            let mut send_queue = self.send_queue.borrow_mut();
            let waited = send_queue.bytes() + stream.held();
            let flushed = match ready!(stream.poll_write_ready(cx)) {
                Ok(()) => send_queue.flush(&stream),
                Err(error) => Err(error),
            };
            if send_queue.bytes() + stream.held() < waited {
                self.stalled_since_ms.set(shard.now_ms());
            }
            match flushed {
                Ok(emptied) => self.blocked.set(!emptied),
                Err(error) => self.fail(&error),
            }
        }
        self.stalled_since_ms.set(NOT_STALLED);
        Poll::Ready(())
    }

    /// Handles what was held back and what can be read, as long as the client takes its replies.
    fn poll_input(self: &Rc<Self>, shard: &Rc<Shard>, cx: &mut Context<'_>) {
        if !self.is_saturated() {
            // In turn with the others who have more to do than fits into a turn.
            if self.driver.borrow_mut().poll_turn(&shard.busy, cx).is_pending() {
                return;
            }
            SessionDriver::resume(self, shard);
        }
        for _ in 0..READS_PER_TURN {
            // A saturated connection is woken when its socket takes more, one that waits when it has what it waits for.
            if !self.is_open() || self.broken.get() || self.is_saturated() || self.driver.borrow().waits() {
                return;
            }
            let mut buffer = shard.scratch.take_read_buffer();
            let read = self.poll_read(&mut buffer, cx);
            match read {
                Poll::Ready(Ok(n)) if n > 0 => {
                    shard.metrics.bytes_in.inc_by(n as u64);
                    // Behind a request there is nothing more to say; an emulated client is heard through others.
                    if self.framing.is_websocket() {
                        SessionDriver::receive(self, shard, &mut buffer[..n]);
                        self.hasten(shard);
                    }
                }
                Poll::Ready(_) => self.vanish(),
                Poll::Pending => {}
            }
            shard.scratch.return_read_buffer(buffer);
            if read.is_pending() {
                return;
            }
        }
        self.wake();
    }

    fn poll_read(&self, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let mut stream = self.stream.borrow_mut();
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Sends what waits, shuts our side, and waits for the peer's end: closing earlier could destroy the close frame.
    fn poll_closing(&self, shard: &Rc<Shard>, cx: &mut Context<'_>) -> Poll<()> {
        let flushed = self.poll_flush(shard, cx).is_ready();
        if flushed && self.phase.get() == (Phase::Closing { shut: false }) {
            self.phase.set(Phase::Closing { shut: true });
            let mut stream = self.stream.borrow_mut();
            if let Poll::Ready(Err(_)) = Pin::new(&mut *stream).poll_shutdown(cx) {
                return Poll::Ready(());
            }
        }
        for _ in 0..READS_PER_TURN {
            let mut buffer = shard.scratch.take_read_buffer();
            let read = self.poll_read(&mut buffer, cx);
            shard.scratch.return_read_buffer(buffer);
            match ready!(read) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
        self.wake();
        Poll::Pending
    }

    /// The peer is gone without a word. It may have shut its side only and still read what it asked for.
    fn vanish(&self) {
        self.flush();
        self.phase.set(Phase::Gone);
    }

    fn block(&self) {
        self.blocked.set(true);
        self.wake();
    }

    fn fail(&self, error: &io::Error) {
        tracing::debug!(%error, "writing failed");
        self.broken.set(true);
        self.wake();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("key", &self.key).field("phase", &self.phase.get()).finish_non_exhaustive()
    }
}
