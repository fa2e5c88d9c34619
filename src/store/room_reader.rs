//! The room reader: reads what rooms publish into a batch, and says in the rooms what was committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::batch::{Batch, Incarnation};
use super::batch_builder::BatchBuilder;
use super::incarnations::Incarnations;
use super::options::{Durability, Options};
use super::post::Alarm;
use super::watermark::Watermark;
use super::writer::Shared;
use crate::error::TryRecvError;
use crate::room::{PatternSubscription, RoomKey};

/// What is kept of the buffer of a large batch.
const BYTES_KEPT: usize = 1 << 20;

/// The rooms that are kept, and the batch that is filled from them.
pub(super) struct RoomReader<T> {
    pattern: PatternSubscription<T>,
    watermarks: HashMap<RoomKey, Arc<Watermark>>,
    builder: BatchBuilder,
    /// When the first message of the batch was read.
    since: Option<Instant>,
    /// Incarnations that have ended, and whose last messages are in the batch.
    ended: Vec<Arc<Watermark>>,
}

/// How much of what rooms have published is in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// As much as fits.
    Some,
    /// All there was.
    All,
    /// All there will ever be.
    Last,
}

/// What was published until some moment and was not read by then: the rooms, and where each ended.
#[derive(Debug)]
pub(super) struct Unread(Vec<(RoomKey, u64)>);

impl<T> RoomReader<T> {
    pub(super) fn new(pattern: PatternSubscription<T>) -> Self {
        let (watermarks, builder) = (HashMap::new(), BatchBuilder::default());
        Self { pattern, watermarks, builder, since: None, ended: Vec::new() }
    }

    /// Tells all who wait for a watermark that nothing more will be stored.
    pub(super) fn give_up(&self) {
        self.watermarks.values().chain(&self.ended).for_each(|watermark| watermark.give_up());
    }

    /// What was read and is to be committed.
    pub(super) fn batch(&self) -> &Batch {
        &self.builder.batch
    }

    /// When the first message of the batch was read.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether the batch takes no more.
    pub(super) fn is_full(&self, options: &Options) -> bool {
        self.builder.is_full(options)
    }

    /// Whether the batch has the last messages of an incarnation.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }
}

impl<T: Send + Sync + 'static> RoomReader<T> {
    /// Takes an incarnation into the batch, though nothing was published in it.
    pub(super) fn know(&mut self, watermark: &Arc<Watermark>, now: Instant) {
        self.builder.incarnation(watermark);
        self.since.get_or_insert(now);
    }

    /// Reads what there is, until the batch is full.
    pub(super) fn gather(&mut self, shared: &Shared<T>, alarm: &Arc<Alarm>) -> Gathered {
        let waker = Waker::from(Arc::clone(alarm));
        let mut context = Context::from_waker(&waker);
        while !self.is_full(&shared.options) {
            match self.pattern.poll_listed(&mut context) {
                Poll::Ready(Some(key)) => self.read(key, shared),
                Poll::Ready(None) => return Gathered::Last,
                Poll::Pending => return Gathered::All,
            }
        }
        Gathered::Some
    }

    fn read(&mut self, key: RoomKey, shared: &Shared<T>) {
        let now = shared.environment.now();
        let Some(subscription) = self.pattern.get_mut(key) else { return };
        let watermark = match self.watermarks.get(&key) {
            Some(watermark) => Arc::clone(watermark),
            None => {
                let room = subscription.room();
                let known = shared.incarnations.of(room.name(), room.epoch());
                let watermark = known.unwrap_or_else(|| {
                    // Somebody has opened it without asking us: an incarnation of its own.
                    let durability = (shared.options.durability)(room.name()).unwrap_or_default();
                    let first = subscription.position().sequence;
                    let incarnation =
                        Incarnation { room: room.name().to_owned(), epoch: room.epoch(), first, durability };
                    let watermark = Arc::new(Watermark::new(incarnation));
                    shared.incarnations.put(&watermark);
                    watermark
                });
                if watermark.incarnation.durability == Durability::Stored {
                    // Who is given a message after it was stored finds it in the ring.
                    subscription.hold();
                }
                self.watermarks.insert(key, Arc::clone(&watermark));
                watermark
            }
        };
        let options = &shared.options;
        let mut incarnation = None;
        loop {
            if self.builder.is_full(options) {
                return;
            }
            // One by one: how large they are shows when they are encoded, and what was read cannot be put back.
            match subscription.try_recv_batch(1) {
                Ok(batch) => {
                    let incarnation = *incarnation.get_or_insert_with(|| self.builder.incarnation_at(&watermark, key));
                    self.builder.take(incarnation, &batch, &*shared.codec);
                    self.since.get_or_insert(now);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Closed(_) | TryRecvError::Disconnected(_)) => {
                    // The key may be another room's from here on.
                    drop(self.pattern.leave(key));
                    self.watermarks.remove(&key);
                    self.builder.left(&watermark);
                    self.ended.push(watermark);
                    return;
                }
                Err(TryRecvError::Lagged(missed)) => {
                    // A blocking subscription is not overrun.
                    tracing::error!(room = watermark.incarnation.room, missed, "messages were not stored");
                    debug_assert!(false, "{missed} messages were not stored");
                }
            }
        }
    }

    /// Says that the batch was committed, and empties it.
    pub(super) fn committed(&mut self) {
        for (watermark, key, stored) in self.builder.advanced() {
            if watermark.incarnation.durability == Durability::Stored
                && let Some(subscription) = key.and_then(|key| self.pattern.get_mut(key))
            {
                subscription.let_go(stored);
            }
            watermark.advance(stored);
        }
        self.builder.clear(BYTES_KEPT);
        self.since = None;
    }

    /// Says of the incarnations that have ended that they are stored to their ends.
    pub(super) fn complete_ended(&mut self, incarnations: &Incarnations) {
        for watermark in self.ended.drain(..) {
            incarnations.forget(&watermark);
            watermark.complete();
        }
    }

    /// What was published so far and is not read.
    pub(super) fn unread(&mut self) -> Unread {
        let keys: Vec<RoomKey> = self.pattern.keys().collect();
        let unread = |key| self.pattern.get(key).filter(|room| room.lag() > 0);
        let end = |key| unread(key).map(|room| (key, room.position().sequence + room.lag()));
        Unread(keys.into_iter().filter_map(end).collect())
    }

    /// Whether all of it was read since.
    pub(super) fn has_read(&self, Unread(ends): &mut Unread) -> bool {
        // A room that is gone was read to its end.
        ends.retain(|(key, end)| self.pattern.get(*key).is_some_and(|room| room.position().sequence < *end));
        ends.is_empty()
    }

    /// How many messages were published and not committed, in all rooms.
    pub(super) fn lag(&mut self) -> u64 {
        let keys: Vec<RoomKey> = self.watermarks.keys().copied().collect();
        let mut unread = 0;
        for key in keys {
            unread += self.pattern.get_mut(key).map_or(0, |room| room.lag());
        }
        unread + self.builder.batch.len() as u64
    }
}
