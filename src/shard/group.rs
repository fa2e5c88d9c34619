//! A shard's members in one room: one cursor for all of them.

use std::cmp::Ordering;

use slab::Slab;

use crate::error::CloseReason;
use crate::message::{Batch, Resumption};
use crate::ring::{Cursor, Nothing, Rest, Run};
use crate::room::{Handler, Join, Promise, RoomRef, Seat, ShardEntry, ShardInbox};
use crate::sync::{Arc, Panicked, Relaxed, SeqCst, fence, guard};

/// Messages that one group handles before other rooms get their turn.
const TURN_MESSAGES: usize = 256;

/// One handler.
struct Member<T> {
    handler: Box<dyn Handler<T>>,
    place: Place<T>,
    /// Where it leaves, too, if it is drained.
    seat: Arc<Seat>,
    /// Who is to be told that it has left, if it is drained and its shard was told.
    leaving: Option<Promise>,
}

/// Where a member stands beside its group's cursor. Nearly always level, and then it costs a delivery nothing.
enum Place<T> {
    Level,
    /// It joined later than the cursor stands and skips what comes before this sequence.
    Ahead(u64),
    /// It reads with a cursor of its own until it has caught up.
    Behind(Box<Cursor<T, RoomRef<T>>>),
}

/// How a turn of a group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is more to do.
    Again,
    /// Everything is handled.
    Idle,
    /// The room has ended, or nobody is left: the group is to go.
    Over,
}

/// The members of one room on one shard.
pub(super) struct Group<T: 'static> {
    pub(super) room_ref: RoomRef<T>,
    pub(super) entry: Arc<ShardEntry<T>>,
    cursor: Cursor<T, RoomRef<T>>,
    members: Slab<Member<T>>,
    /// Members that are not level, and those of them that are behind.
    uneven: usize,
    behind: usize,
    /// Members that are drained, those aside of which the shard was not told yet.
    leaving: usize,
    /// Whether the room is closed and the group has read it to its end; members that are behind go on.
    has_ended: bool,
}

impl<T: 'static> Group<T> {
    pub(super) fn new(room_ref: RoomRef<T>, entry: Arc<ShardEntry<T>>) -> Self {
        let cursor = Cursor::new(room_ref.clone(), room_ref.ring().tail());
        room_ref.list(&entry);
        Self { room_ref, entry, cursor, members: Slab::new(), uneven: 0, behind: 0, leaving: 0, has_ended: false }
    }

    /// Adds a handler and acknowledges it.
    pub(super) fn join(&mut self, join: Join<T>) {
        let (next, _resumption): (u64, Resumption) = self.room_ref.0.begin(join.start);
        let place = match next.cmp(&self.cursor.next()) {
            Ordering::Less => Place::Behind(Box::new(Cursor::new(self.room_ref.clone(), next))),
            Ordering::Equal => Place::Level,
            Ordering::Greater => Place::Ahead(next),
        };
        self.behind += usize::from(matches!(place, Place::Behind(_)));
        self.uneven += usize::from(!matches!(place, Place::Level));
        let seat = join.seat;
        let key = self.members.insert(Member { handler: join.handler, place, seat: seat.clone(), leaving: None });
        seat.assign(key);
        self.room_ref.count_handler();
        // Relaxed: a figure.
        self.inbox().figures.members.fetch_add(1, Relaxed);
        if !join.promise.keep() {
            self.leave(key, &seat);
        }
    }

    /// Removes a handler, if it is the one that sits there.
    pub(super) fn leave(&mut self, key: usize, seat: &Arc<Seat>) {
        if self.is_seated(key, seat) {
            self.remove(key);
        }
    }

    /// Whether it is that handler that sits there.
    pub(super) fn is_seated(&self, key: usize, seat: &Arc<Seat>) -> bool {
        self.members.get(key).is_some_and(|member| Arc::ptr_eq(&member.seat, seat))
    }

    /// Removes a handler when it was given everything before where its seat says that it leaves.
    pub(super) fn drain(&mut self, key: usize, promise: Option<Promise>) {
        self.leaving += usize::from(promise.is_some());
        self.members[key].leaving = promise;
    }

    /// Whether somebody is to be given less than there is.
    fn has_drained(&self) -> bool {
        self.leaving > 0 || self.inbox().is_draining()
    }

    /// Removes those who leave and have come to where they leave.
    fn let_leave(&mut self) {
        if !self.has_drained() {
            return;
        }
        let now = self.cursor.next();
        for key in self.keys(|_| true) {
            let Some(member) = self.members.get_mut(key) else { continue };
            let next = match &member.place {
                Place::Level => now,
                Place::Ahead(next) => now.max(*next),
                Place::Behind(cursor) => cursor.next(),
            };
            if member.end() <= next {
                member.seat.note_drained();
                let leaving = member.leaving.take();
                self.leaving -= usize::from(leaving.is_some());
                self.remove(key);
                leaving.map(Promise::keep);
            }
        }
    }

    fn remove(&mut self, key: usize) {
        self.level(key);
        let member = self.members.remove(key);
        self.leaving -= usize::from(member.leaving.is_some());
        self.room_ref.forget_handler();
        // Relaxed: a figure.
        self.inbox().figures.members.fetch_sub(1, Relaxed);
        let Member { handler, seat, .. } = member;
        if let Err(panic) = guard(|| drop(handler)) {
            self.report("the drop of a handler panicked", &panic);
        }
        seat.vacate();
    }

    /// From here on the member reads with the group.
    fn level(&mut self, key: usize) {
        match std::mem::replace(&mut self.members[key].place, Place::Level) {
            Place::Level => return,
            Place::Ahead(_) => {}
            Place::Behind(_) => self.behind -= 1,
        }
        self.uneven -= 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn inbox(&self) -> &ShardInbox<T> {
        &self.entry.inbox
    }

    /// Runs the handlers for what is there, within a budget. Returns how many messages it was as well.
    pub(super) fn turn(&mut self) -> (Turn, usize) {
        self.entry.unpark();
        // Relaxed, both: a figure that this shard alone counts up.
        let figure = &self.inbox().figures.runs;
        figure.store(figure.load(Relaxed) + 1, Relaxed);
        let more_behind = self.catch_up();
        let mut budget = TURN_MESSAGES;
        let mut turn = self.spend(&mut budget);
        self.let_leave();
        if self.members.is_empty() {
            turn = Turn::Over;
        }
        (if turn == Turn::Idle && more_behind { Turn::Again } else { turn }, TURN_MESSAGES - budget)
    }

    fn spend(&mut self, budget: &mut usize) -> Turn {
        while *budget > 0 {
            if self.members.is_empty() {
                return Turn::Over;
            }
            match self.cursor.look(*budget) {
                Ok(run) => *budget -= self.deliver(run),
                Err(Nothing::Lagged(missed)) => self.lagged(missed),
                Err(Nothing::Closed) if self.behind == 0 => {
                    self.let_leave();
                    self.close(self.room_ref.0.reason());
                    return Turn::Over;
                }
                Err(nothing) => {
                    self.has_ended = nothing == Nothing::Closed;
                    return Turn::Idle;
                }
            }
        }
        Turn::Again
    }

    /// Hands a run to every member; returns how many messages it had.
    fn deliver(&mut self, run: usize) -> usize {
        let has_drained = self.has_drained();
        let Run { first, messages, times } = self.cursor.take(run);
        let run = Batch { first, messages, times };
        let (mut panics, mut delivered, mut settled) = (Vec::new(), 0, Vec::new());
        let mut members = self.members.iter_mut();
        let uneven = self.uneven > 0 || has_drained;
        let mut at = 0;
        // One guard for all members: it is entered again behind a handler that has panicked.
        while let Err(panic) = guard(|| {
            for (key, member) in members.by_ref() {
                at = key;
                let share = if uneven { member.share(&run, key, &mut settled) } else { run.behind(0) };
                if !share.is_empty() {
                    delivered += share.len();
                    member.handler.messages(share);
                }
            }
        }) {
            panics.push((at, panic));
        }
        let count = run.len();
        self.count_deliveries(delivered);
        for key in settled {
            self.level(key);
        }
        for (key, panic) in panics {
            self.panicked(key, &panic);
        }
        count
    }

    fn count_deliveries(&self, delivered: usize) {
        // Relaxed, both: a figure that this shard alone counts up.
        let figure = &self.inbox().figures.deliveries;
        figure.store(figure.load(Relaxed) + delivered as u64, Relaxed);
    }

    /// The group's cursor has jumped by `missed`: tells each member how much of what it wanted is gone.
    fn lagged(&mut self, missed: u64) {
        let now = self.cursor.next();
        for key in self.keys(|place| !matches!(place, Place::Behind(_))) {
            let Some(member) = self.members.get(key) else { continue };
            let next = if let Place::Ahead(next) = member.place { next } else { now - missed };
            let end = member.end().min(now);
            if next <= now {
                self.level(key);
            }
            self.tell_lag(key, end.saturating_sub(next));
        }
    }

    fn tell_lag(&mut self, key: usize, missed: u64) {
        let Some(member) = self.members.get_mut(key) else { return };
        if missed == 0 {
            return;
        }
        self.room_ref.count_lagged(missed);
        if let Err(panic) = guard(|| member.handler.lagged(missed)) {
            self.panicked(key, &panic);
        }
    }

    fn keys(&self, wanted: impl Fn(&Place<T>) -> bool) -> Vec<usize> {
        self.members.iter().filter(|(_, member)| wanted(&member.place)).map(|(key, _)| key).collect()
    }

    /// Lets members that began in the past read on, each within a budget; true if one could read on at once.
    fn catch_up(&mut self) -> bool {
        if self.behind == 0 {
            return false;
        }
        let goal = self.cursor.next();
        let behind = self.keys(|place| matches!(place, Place::Behind(_)));
        behind.into_iter().fold(false, |more, key| self.catch_up_one(key, goal) | more)
    }

    fn catch_up_one(&mut self, key: usize, goal: u64) -> bool {
        let mut budget = TURN_MESSAGES;
        loop {
            let Some(member) = self.members.get_mut(key) else { return false };
            let (end, Place::Behind(cursor)) = (member.end(), &mut member.place) else { return false };
            let goal = goal.min(end);
            if cursor.next() >= goal {
                let next = cursor.next();
                self.level(key);
                if next > self.cursor.next() {
                    // A jump over evicted messages may lead beyond the group.
                    self.members[key].place = Place::Ahead(next);
                    self.uneven += 1;
                }
                return false;
            }
            let before = cursor.next();
            let wanted = budget.min((goal - before) as usize);
            if wanted == 0 {
                return true;
            }
            match cursor.look(wanted) {
                Ok(run) => {
                    let run = cursor.take(run);
                    budget -= run.messages.len();
                    let batch = Batch { first: run.first, messages: run.messages, times: run.times };
                    let (delivered, handler) = (batch.len(), &mut member.handler);
                    let handled = guard(|| handler.messages(batch));
                    self.count_deliveries(delivered);
                    if let Err(panic) = handled {
                        self.panicked(key, &panic);
                    }
                }
                Err(Nothing::Lagged(missed)) => self.tell_lag(key, missed.min(end - before)),
                // A hole: the group began behind it. Whoever fills it calls.
                Err(Nothing::Empty | Nothing::Closed) => return false,
            }
        }
    }

    /// Tells everybody that nothing follows.
    fn close(&mut self, reason: CloseReason) {
        for key in self.keys(|_| true) {
            let closed = guard(|| self.members[key].handler.closed(reason));
            if let Err(panic) = closed {
                self.report("a handler panicked", &panic);
            }
            self.remove(key);
        }
    }

    fn panicked(&mut self, key: usize, panic: &Panicked) {
        self.report("a handler panicked and was removed", panic);
        if self.members.contains(key) {
            self.remove(key);
        }
    }

    fn report(&self, what: &str, panic: &Panicked) {
        // Relaxed: a figure.
        self.inbox().figures.panics.fetch_add(1, Relaxed);
        tracing::error!(room = &*self.room_ref.0.name, panic = panic.text(), "{what}");
    }

    /// The cursors of those who are behind.
    fn behind_cursors(&mut self) -> impl Iterator<Item = &mut Cursor<T, RoomRef<T>>> {
        let members = if self.behind > 0 { Some(self.members.iter_mut()) } else { None };
        members.into_iter().flatten().filter_map(|(_, member)| match &mut member.place {
            Place::Behind(cursor) => Some(&mut **cursor),
            Place::Level | Place::Ahead(_) => None,
        })
    }

    /// Whether [`Group::has_news`] tells all there is to know.
    pub(super) fn may_linger(&self) -> bool {
        self.behind == 0
    }

    /// Whether there is something to do, of a group that may linger. Leaves everything as it is.
    pub(super) fn has_news(&mut self) -> bool {
        self.cursor.peek()
    }

    /// Asks to be called at the next publish; false if there is something to do already.
    pub(super) fn park(&mut self) -> bool {
        self.entry.park();
        if !self.has_ended {
            self.room_ref.0.arm_for(self.cursor.next());
        }
        self.behind_cursors().for_each(|cursor| cursor.holder().0.arm_for(cursor.next()));
        // SeqCst: our arming before our second look. Pairs with the fences of publisher, installer and closer.
        // model: publish_park
        fence(SeqCst);
        let is_asleep = self.has_ended || self.cursor.rest() == Rest::Asleep;
        if is_asleep && self.behind_cursors().all(|cursor| cursor.rest() == Rest::Asleep) {
            return true;
        }
        self.entry.unpark();
        false
    }
}

impl<T> Member<T> {
    /// The first sequence that it is not to be given.
    fn end(&self) -> u64 {
        self.seat.end()
    }

    /// What of a run the member is to be given. Notes a member that is level from this run on.
    #[cold]
    fn share<'a>(&self, run: &Batch<'a, T>, key: usize, settled: &mut Vec<usize>) -> Batch<'a, T> {
        let end = self.end().saturating_sub(run.first).min(run.len() as u64) as usize;
        let skip = match self.place {
            Place::Level => 0,
            Place::Behind(_) => run.len(),
            Place::Ahead(next) => {
                let skip = (next - run.first) as usize;
                if skip <= run.len() {
                    settled.push(key);
                }
                skip.min(run.len())
            }
        };
        run.before(end).behind(skip.min(end))
    }
}

impl<T: 'static> Drop for Group<T> {
    fn drop(&mut self) {
        self.room_ref.unlist(&self.entry);
        // Somebody is left where the shard goes with its runtime, or the room ended at a hole.
        self.close(self.room_ref.0.ended().unwrap_or(CloseReason::ShardGone));
    }
}
