//! A shard's members in one room: one cursor for all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use slab::Slab;

use crate::message::{Batch, Resumption};
use crate::ring::{Cursor, Nothing, Rest, Run};
use crate::room::{Handler, Inside, Join, Port, Record, Seat, panic_text};
use crate::sync::{Arc, Relaxed, SeqCst, fence};

/// Messages that one group handles before other rooms get their turn.
const TURN_MESSAGES: usize = 256;

/// One handler.
struct Member<T> {
    handler: Box<dyn Handler<T>>,
    /// The next sequence it wants; ahead of the group's cursor if it joined later than the cursor stands.
    next: u64,
    seat: Arc<Seat>,
    /// Set while it is behind the group: a cursor of its own until it has caught up.
    behind: Option<Cursor<T, Inside<T>>>,
}

/// How a turn of a group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is more to do.
    Again,
    /// Everything is handled, and the next publish will call.
    Parked,
    /// The room has ended, or nobody is left: the group is to go.
    Over,
}

/// The members of one room on one shard.
pub(super) struct Group<T: 'static> {
    pub(super) inside: Inside<T>,
    pub(super) record: Arc<Record<T>>,
    cursor: Cursor<T, Inside<T>>,
    members: Slab<Member<T>>,
    /// Members with a cursor of their own.
    behind: usize,
}

impl<T: 'static> Group<T> {
    pub(super) fn new(inside: Inside<T>, record: Arc<Record<T>>) -> Self {
        let cursor = Cursor::new(inside.clone(), inside.tail());
        inside.list(&record);
        Self { inside, record, cursor, members: Slab::new(), behind: 0 }
    }

    /// Adds a handler and acknowledges it.
    pub(super) fn join(&mut self, join: Join<T>) {
        let (next, _resumption): (u64, Resumption) = self.inside.0.begin(join.start);
        let behind = (next < self.cursor.next()).then(|| Cursor::new(self.inside.clone(), next));
        self.behind += usize::from(behind.is_some());
        let seat = join.seat;
        let key = self.members.insert(Member { handler: join.handler, next, seat: seat.clone(), behind });
        seat.assign(key);
        self.inside.count_handler();
        // Relaxed: a figure.
        self.port().figures.members.fetch_add(1, Relaxed);
        if !join.promise.keep() {
            self.leave(key, &seat);
        }
    }

    /// Removes a handler, if it is the one that sits there.
    pub(super) fn leave(&mut self, key: usize, seat: &Arc<Seat>) {
        if self.members.get(key).is_some_and(|member| Arc::ptr_eq(&member.seat, seat)) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        let member = self.members.remove(key);
        self.behind -= usize::from(member.behind.is_some());
        self.inside.forget_handler();
        // Relaxed: a figure.
        self.port().figures.members.fetch_sub(1, Relaxed);
        let Member { handler, seat, .. } = member;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            self.report("the drop of a handler panicked", &*panic);
        }
        seat.vacate();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn port(&self) -> &Port<T> {
        &self.record.port
    }

    /// Runs the handlers for what is there, within a budget.
    pub(super) fn turn(&mut self) -> Turn {
        self.record.unpark();
        // Relaxed: a figure.
        self.port().figures.runs.fetch_add(1, Relaxed);
        let more_behind = self.catch_up();
        let mut budget = TURN_MESSAGES;
        while budget > 0 {
            if self.members.is_empty() {
                return Turn::Over;
            }
            match self.cursor.look(budget) {
                Ok(run) => budget -= self.deliver(run),
                Err(Nothing::Lagged(_)) => self.lagged(),
                Err(Nothing::Closed) if !more_behind => {
                    self.close();
                    return Turn::Over;
                }
                Err(Nothing::Closed) => return Turn::Again,
                Err(Nothing::Empty) if more_behind => return Turn::Again,
                Err(Nothing::Empty) => return self.park(),
            }
        }
        Turn::Again
    }

    /// Hands a run to every member; returns how many messages it had.
    fn deliver(&mut self, run: usize) -> usize {
        let Run { first, messages, times } = self.cursor.take(run);
        let (mut panicked, mut delivered) = (Vec::new(), 0);
        let end = first + messages.len() as u64;
        for (key, member) in self.members.iter_mut().filter(|(_, member)| member.behind.is_none()) {
            // A member that joined within the run skips what came before it.
            let skip = member.next.saturating_sub(first).min(messages.len() as u64) as usize;
            if skip == messages.len() {
                continue;
            }
            member.next = end;
            delivered += messages.len() - skip;
            let batch = Batch {
                first: first + skip as u64,
                messages: &messages[skip..],
                times: times.get(skip..).unwrap_or(&[]),
            };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| member.handler.messages(batch))) {
                panicked.push((key, panic));
            }
        }
        let count = messages.len();
        self.count_deliveries(delivered);
        for (key, panic) in panicked {
            self.panicked(key, &*panic);
        }
        count
    }

    fn count_deliveries(&self, delivered: usize) {
        // Relaxed: a figure.
        self.port().figures.deliveries.fetch_add(delivered as u64, Relaxed);
    }

    /// The group's cursor has jumped: tells each member how much of what it wanted is gone.
    fn lagged(&mut self) {
        let now = self.cursor.next();
        let keys: Vec<usize> = self.members.iter().filter(|(_, m)| m.behind.is_none()).map(|(key, _)| key).collect();
        for key in keys {
            self.tell_lag(key, now);
        }
    }

    fn tell_lag(&mut self, key: usize, now: u64) {
        let Some(member) = self.members.get_mut(key) else { return };
        let missed = now.saturating_sub(member.next);
        member.next += missed;
        self.inside.count_lagged(missed);
        if missed > 0
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| member.handler.lagged(missed)))
        {
            self.panicked(key, &*panic);
        }
    }

    /// Lets members that began in the past read on, each within a budget; true if one is still behind.
    fn catch_up(&mut self) -> bool {
        if self.behind == 0 {
            return false;
        }
        let goal = self.cursor.next();
        let keys: Vec<usize> = self.members.iter().filter(|(_, m)| m.behind.is_some()).map(|(key, _)| key).collect();
        for key in keys {
            self.catch_up_one(key, goal);
        }
        self.behind > 0
    }

    fn catch_up_one(&mut self, key: usize, goal: u64) {
        let mut budget = TURN_MESSAGES;
        loop {
            let Some(member) = self.members.get_mut(key) else { return };
            let Some(cursor) = &mut member.behind else { return };
            if cursor.next() >= goal {
                member.next = cursor.next();
                member.behind = None;
                self.behind -= 1;
                return;
            }
            let wanted = budget.min((goal - cursor.next()) as usize);
            if wanted == 0 {
                return;
            }
            match cursor.look(wanted) {
                Ok(run) => {
                    let run = cursor.take(run);
                    budget -= run.messages.len();
                    member.next = run.first + run.messages.len() as u64;
                    let batch = Batch { first: run.first, messages: run.messages, times: run.times };
                    let (delivered, handler) = (batch.len(), &mut member.handler);
                    let handled = catch_unwind(AssertUnwindSafe(|| handler.messages(batch)));
                    self.count_deliveries(delivered);
                    if let Err(panic) = handled {
                        self.panicked(key, &*panic);
                    }
                }
                Err(Nothing::Lagged(_)) => {
                    let now = cursor.next();
                    self.tell_lag(key, now);
                }
                // What the group has read is committed, so this is a segment given up early; look again next turn.
                Err(Nothing::Empty | Nothing::Closed) => return,
            }
        }
    }

    fn close(&mut self) {
        let reason = self.inside.0.reason();
        let keys: Vec<usize> = self.members.iter().map(|(key, _)| key).collect();
        for key in keys {
            let closed = catch_unwind(AssertUnwindSafe(|| self.members[key].handler.closed(reason)));
            if let Err(panic) = closed {
                self.report("a handler panicked", &*panic);
            }
            self.remove(key);
        }
    }

    fn panicked(&mut self, key: usize, panic: &(dyn std::any::Any + Send)) {
        self.report("a handler panicked and was removed", panic);
        if self.members.contains(key) {
            self.remove(key);
        }
    }

    fn report(&self, what: &str, panic: &(dyn std::any::Any + Send)) {
        // Relaxed: a figure.
        self.port().figures.panics.fetch_add(1, Relaxed);
        tracing::error!(room = &*self.inside.0.name, panic = panic_text(panic), "{what}");
    }

    /// Asks to be called at the next publish, unless there is something already.
    fn park(&mut self) -> Turn {
        self.record.park();
        self.inside.0.arm_for(self.cursor.next());
        // SeqCst: our arming before our second look. Pairs with the fences of publisher, installer and closer.
        // model: publish_park
        fence(SeqCst);
        match self.cursor.rest() {
            Rest::Asleep => Turn::Parked,
            Rest::Ready | Rest::Imminent => {
                self.record.unpark();
                Turn::Again
            }
        }
    }
}

impl<T: 'static> Drop for Group<T> {
    fn drop(&mut self) {
        self.inside.unlist(&self.record);
        for key in self.members.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            self.remove(key);
        }
    }
}
