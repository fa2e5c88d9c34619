//! The delivery of one shard, turn by turn: which rooms are served, and for how long before others have their turn.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use roomcast::{Position, Subscription};
use roomcast_protocol::{CloseCode, Placed, Publication, RoomName};

use crate::delivery::feed::{CaughtUp, MemberKey, MemberOptions, RoomFeed};
use crate::delivery::lag::Lag;
use crate::delivery::sink::MemberSink;
use crate::ops::metrics::ShardMetrics;
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::join_leave::{Event, Inbox};
use crate::rooms::visible::Edge;
use crate::util::panics::guard;
use crate::wire::encoded_batch::EncodedBatch;

/// Ready rooms served before connections have their turn again.
const ROOMS_PER_TURN: usize = 64;

/// Members that batches are written to before connections have their turn: a few milliseconds of system calls.
const WRITES_PER_TURN: usize = 2_048;

/// Messages a shard's clients may publish before the shard delivers, in the midst of reading: a burst from many clients must not
/// run the room's ring around before anybody has been given any of it.
const PUBLISHES_PER_TURN: usize = 256;

/// What a shard delivers, and whom to wake for it.
pub(crate) struct Delivery<S> {
    feed: RefCell<RoomFeed<S>>,
    batch: RefCell<EncodedBatch>,
    waker: RefCell<Waker>,
    undelivered: Cell<usize>,
    metrics: ShardMetrics,
    /// Which shard it is, for the log.
    shard: usize,
}

impl<S: MemberSink> Delivery<S> {
    pub(crate) fn new(shard: usize, metrics: ShardMetrics, inbox: Inbox) -> Self {
        Self {
            feed: RefCell::new(RoomFeed::new(metrics.clone(), inbox)),
            batch: RefCell::default(),
            waker: RefCell::new(Waker::noop().clone()),
            undelivered: Cell::new(0),
            metrics,
            shard,
        }
    }

    /// As [`RoomFeed::join`]; the delivery is woken for it.
    pub(crate) fn join(
        &self,
        room: &RoomName,
        start: Subscription<Publication>,
        sink: &Rc<S>,
        delivery: (DeliveryOptions, Edge),
        member: MemberOptions,
    ) -> MemberKey {
        let member_key = self.feed.borrow_mut().join(room, start, sink, delivery, member);
        self.wake();
        member_key
    }

    /// As [`RoomFeed::position`].
    pub(crate) fn position(&self, member_key: MemberKey) -> Option<Position> {
        self.feed.borrow().position(member_key)
    }

    /// As [`RoomFeed::leave`].
    pub(crate) fn leave(&self, member_key: MemberKey) -> Option<Position> {
        self.feed.borrow_mut().leave(member_key)
    }

    /// As [`RoomFeed::catch_up`].
    pub(crate) fn catch_up(&self, member_key: MemberKey) -> CaughtUp {
        self.feed.borrow_mut().catch_up(member_key, true, &mut self.batch.borrow_mut())
    }

    /// The same of a member that is not to go on from the database yet: where it would have to, it waits.
    pub(crate) fn catch_up_from_ring(&self, member_key: MemberKey) -> CaughtUp {
        self.feed.borrow_mut().catch_up(member_key, false, &mut self.batch.borrow_mut())
    }

    /// As [`RoomFeed::deliver_stored`].
    pub(crate) fn deliver_stored(&self, member_key: MemberKey, from: u64, past: &[Placed]) {
        self.feed.borrow_mut().deliver_stored(member_key, from, past, &mut self.batch.borrow_mut());
    }

    /// As [`RoomFeed::lags`].
    pub(crate) fn lags(&self) -> Vec<Lag> {
        self.feed.borrow().lags()
    }

    /// As [`RoomFeed::reserve`].
    pub(crate) fn reserve(&self, event: &Arc<Event>) -> bool {
        self.feed.borrow_mut().reserve(event)
    }

    /// As [`RoomFeed::release`].
    pub(crate) fn release(&self, event: &Arc<Event>) {
        self.feed.borrow_mut().release(event);
    }

    /// As [`RoomFeed::take_in`]; the delivery is woken for it.
    pub(crate) fn take_in(&self, event: &Arc<Event>) {
        self.feed.borrow_mut().take_in(event);
        self.wake();
    }

    /// As [`RoomFeed::recall`].
    pub(crate) fn recall(&self, room: &RoomName, user: Option<&str>) {
        self.feed.borrow_mut().recall(room, user);
        // It is empty, but for what was in it last.
        self.batch.take();
    }

    /// As [`RoomFeed::count_members`].
    pub(crate) fn count_members(&self, groups: Range<usize>, counted: &mut Vec<(RoomName, u32)>) -> bool {
        self.feed.borrow().count_members(groups, counted)
    }

    /// As [`RoomFeed::wakers`].
    #[cfg(test)]
    pub(crate) fn wakers(&self) -> usize {
        self.feed.borrow().wakers()
    }

    /// As [`RoomFeed::event_bytes`].
    #[cfg(test)]
    pub(crate) fn event_bytes(&self) -> usize {
        self.feed.borrow().event_bytes()
    }

    /// When the next messages will have gathered.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.feed.borrow().due()
    }

    /// Counts a published message; true when it is time to deliver before more is published.
    pub(crate) fn has_published(&self) -> bool {
        self.metrics.messages_in.inc();
        self.undelivered.set(self.undelivered.get() + 1);
        self.undelivered.get() >= PUBLISHES_PER_TURN
    }

    /// Whom to wake when there is something to deliver.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        if !self.waker.borrow().will_wake(waker) {
            *self.waker.borrow_mut() = waker.clone();
        }
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.borrow().clone()
    }

    pub(crate) fn wake(&self) {
        self.waker.borrow().wake_by_ref();
    }

    /// Serves the rooms that are ready, within a budget; true when some are left. Without `now` all that gathers is due,
    /// and nothing of a batch is left for later.
    pub(crate) fn deliver(&self, cx: &mut Context<'_>, now: Option<Instant>) -> bool {
        self.undelivered.set(0);
        self.metrics.turns.inc();
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
                feed.deliver(at, &mut self.batch.borrow_mut(), &mut writes);
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

    /// Delivering a room panicked: its members are told to come again, the others go on.
    fn give_up(&self, at: usize) {
        tracing::error!(shard = self.shard, "delivering a room panicked");
        let members = self.feed.borrow().members(at);
        for member in members {
            member.close_soon(CloseCode::ServerError);
        }
    }
}

impl<S> fmt::Debug for Delivery<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").finish_non_exhaustive()
    }
}
