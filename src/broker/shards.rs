//! The shards of a broker: their threads start when they are needed, and nobody waits for their end without a bound.

use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use crate::error::ShutdownError;
use crate::room::{ShardInbox, Shared, StartShard, is_serving};
use crate::shard::{Shard, run_on_thread};
use crate::sync::{self, JoinHandle, Panicked, Queue, block_anywhere_for, block_on_for};

/// How long the drop of the last handle waits for handlers that are still running: long for any that keep to what they
/// are told, and no harm where somebody waits in a circle.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// The threads of the shards that were started; at most one each.
#[derive(Clone)]
pub(super) struct Threads(Arc<Queue<JoinHandle>>);

impl Threads {
    pub(super) fn new() -> Self {
        Self(Arc::new(Queue::new()))
    }

    /// How to start shards that are kept here.
    pub(super) fn starting<T: Send + Sync + 'static>(self) -> Box<StartShard<T>> {
        Box::new(move |number, inbox, broker| {
            let inbox = inbox.clone();
            // Made there: one that the system refuses to start is to be started another time.
            let run = move || run_on_thread(Shard::new(inbox, broker));
            self.0.push(sync::spawn_named(format!("roomcast-shard-{number}"), run)?);
            Ok(())
        })
    }
}

/// What a broker keeps of its shards.
pub(super) struct Shards<T> {
    shared: sync::Arc<Shared<T>>,
    count: usize,
    /// Their threads, if they have threads of their own.
    threads: Option<Threads>,
}

impl<T> Shards<T> {
    /// So many shards. Without any there is an inbox all the same, at which nothing is done.
    pub(super) fn new(shared: sync::Arc<Shared<T>>, count: usize, threads: Option<Threads>) -> Self {
        if count == 0 {
            shared.inboxes.iter().for_each(|inbox| end_unbegun(inbox));
        }
        Self { shared, count, threads }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Tells them to end when they have served what is there.
    fn stop(&self) {
        for inbox in &self.shared.inboxes {
            inbox.stop();
            // Behind it: whoever is about to start the shard and cannot sees that it is to end.
            end_unbegun(inbox);
        }
    }

    /// Whether this thread is in the midst of one of the handlers.
    fn are_here(&self) -> bool {
        is_serving(sync::Arc::as_ptr(&self.shared) as usize)
    }

    /// Waits until they have ended.
    async fn gone(&self) {
        for inbox in &self.shared.inboxes {
            inbox.wait_until_gone().await;
        }
    }

    /// Joins the threads of shards that have ended: they have said their last word and are about to return.
    fn join(&self) {
        let is_forked = self.shared.inboxes.iter().any(|inbox| inbox.is_elsewhere());
        while let Some(thread) = self.threads.as_ref().filter(|_| !is_forked).and_then(|threads| threads.0.pop()) {
            drop(thread.join().map_err(Panicked::from_join));
        }
    }

    /// Ends them, and waits a moment for those that have threads.
    pub(super) fn end(&self) {
        self.stop();
        // The last handle may be dropped by a handler: a shard that waited for itself would wait for nothing.
        if self.threads.is_some() && !self.are_here() && block_anywhere_for(self.gone(), DROP_WAIT).is_some() {
            self.join();
        }
    }
}

/// Ends an inbox at which no shard was started: none will be.
fn end_unbegun<T>(inbox: &ShardInbox<T>) {
    if inbox.begin() {
        inbox.finish();
    }
}

impl<T: Send + Sync + 'static> Broker<T> {
    /// Closes the broker and waits until its shards have ended: every handler has been given what was published, was told
    /// the end, and is dropped. Other handles on the broker find it closed. May be called again.
    ///
    /// # Errors
    /// [`ShutdownError::StillRunning`] when `limit` is over before; the broker is closed, and the rest goes on.
    /// [`ShutdownError::OnShard`] in a handler of this broker.
    ///
    /// # Panics
    /// With the feature `tokio`, when it has to wait on a thread that runs the tasks of a tokio runtime; wrap it in
    /// `spawn_blocking`.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// use futures::executor::block_on;
    /// use roomcast::{Broker, ShutdownError};
    ///
    /// let broker = Broker::<u32>::new();
    /// let (go_on, may_go_on) = mpsc::channel::<()>();
    /// let room = broker.room("lobby")?;
    /// let served = block_on(room.subscribe_with(move |_| drop(may_go_on.recv())))?;
    /// room.publish(7)?;
    /// assert_eq!(broker.shutdown(Duration::from_millis(1)), Err(ShutdownError::StillRunning));
    /// drop(go_on);
    /// assert_eq!(broker.shutdown(Duration::from_secs(60)), Ok(()));
    /// assert!(!served.is_running());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(&self, limit: Duration) -> Result<(), ShutdownError> {
        let shards = &self.inner.shards;
        self.inner.close();
        shards.stop();
        if shards.are_here() {
            return Err(ShutdownError::OnShard);
        }
        block_on_for(shards.gone(), limit).ok_or(ShutdownError::StillRunning)?;
        shards.join();
        Ok(())
    }
}

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;
    use crate::SubscribeError;
    use crate::message::Epoch;
    use crate::ring::{Geometry, Ring};
    use crate::room::{Room, RoomCore, RoomRef};
    use crate::sync::{AtomicU32, process_id};

    /// A fork copies the broker and none of its threads. Here the inbox is told that it was copied.
    #[test]
    fn in_a_process_that_was_forked_off_nothing_hangs() {
        let broker = Broker::<u64>::builder().shards(1).build();
        let room = broker.room("lobby").unwrap();
        let served = crate::sync::block_on(room.subscribe_with(|_: crate::Ref<'_, u64>| {})).unwrap();
        let inbox = room.room_ref.0.shared.inboxes[0].clone();
        let parent = inbox.set_process(process_id() ^ 1);
        assert!(inbox.is_elsewhere() && inbox.is_gone());
        let refused = crate::sync::block_on(room.subscribe_with(|_: crate::Ref<'_, u64>| {}));
        assert_eq!(refused.err(), Some(SubscribeError::NoShard));
        crate::sync::block_on(served.unsubscribe());
        let mut reader = room.subscribe().now().unwrap();
        room.publish(7).unwrap();
        assert_eq!(reader.try_recv(), Ok(7));
        assert_eq!(broker.shutdown(Duration::from_secs(60)), Ok(()));
        inbox.set_process(parent);
        drop(broker);
    }

    /// In the child the inboxes of the parent do nothing more, and so must be left nothing that leads back to them.
    #[test]
    fn in_a_process_that_was_forked_off_rooms_are_let_go() {
        let broker = Broker::<Arc<()>>::builder().shards(1).capacity(4).build();
        let room = broker.room("lobby").unwrap();
        let served = crate::sync::block_on(room.subscribe_with(|_: crate::Ref<'_, Arc<()>>| {})).unwrap();
        let inbox = room.room_ref.0.shared.inboxes[0].clone();
        crate::sync::block_on(served.unsubscribe());
        let parent = inbox.set_process(process_id() ^ 1);
        let message = Arc::new(());
        let other = broker.room("other").unwrap();
        (0..100).for_each(|_| drop(other.publish(message.clone())));
        broker.remove("other");
        drop(other);
        assert_eq!(Arc::strong_count(&message), 1, "the room is kept by what it has left for a shard");
        inbox.set_process(parent);
    }

    /// What rooms share where no thread can be started; `meanwhile` happens while one tries.
    fn without_threads(meanwhile: impl Fn() + Send + Sync + 'static) -> sync::Arc<Shared<u64>> {
        sync::Arc::new(Shared {
            inboxes: [ShardInbox::new()].into(),
            start: Some(Box::new(move |_, _, _| {
                meanwhile();
                Err(std::io::ErrorKind::OutOfMemory.into())
            })),
            clock: None,
            next_shard: AtomicU32::new(0),
            nobody: Arc::default(),
        })
    }

    fn room_of(shared: &sync::Arc<Shared<u64>>) -> Room<u64> {
        let ring = Ring::new(Geometry::for_capacity(4), false, None);
        Room::new(RoomRef(RoomCore::new("lobby", Epoch(1), 0, false, 0, ring, shared.clone())))
    }

    /// Who finds that another one is just starting the shard, which then fails, is refused as well.
    #[test]
    fn of_two_who_need_a_thread_that_cannot_be_started_none_waits() {
        let (rooms, others) = (Arc::new(Queue::<Room<u64>>::new()), Arc::new(Queue::new()));
        let shared = {
            let (rooms, others) = (rooms.clone(), others.clone());
            without_threads(move || {
                let mut other = Box::pin(rooms.pop().unwrap().subscribe_with(|_| {}));
                let context = &mut Context::from_waker(Waker::noop());
                assert!(other.as_mut().poll(context).is_pending(), "the shard is just being started");
                others.push(other);
            })
        };
        let room = room_of(&shared);
        rooms.push(room.clone());
        let refused = crate::sync::block_on(room.subscribe_with(|_| {}));
        assert_eq!(refused.err(), Some(SubscribeError::NoShard));
        let refused = block_on_for(others.pop().unwrap(), Duration::ZERO);
        assert_eq!(
            refused.map(Result::err),
            Some(Some(SubscribeError::NoShard)),
            "it waits for a shard that is not there"
        );
    }

    /// Nobody waits for the end of a shard that was to be started meanwhile and could not.
    #[test]
    fn a_thread_that_cannot_be_started_is_not_waited_for() {
        let ending = Arc::new(Queue::<Arc<Shards<u64>>>::new());
        let shared = {
            let ending = ending.clone();
            without_threads(move || ending.pop().unwrap().stop())
        };
        let shards = Arc::new(Shards::new(shared.clone(), 1, None));
        ending.push(shards.clone());
        let refused = crate::sync::block_on(room_of(&shared).subscribe_with(|_| {}));
        assert_eq!(refused.err(), Some(SubscribeError::NoShard));
        assert!(block_on_for(shards.gone(), Duration::ZERO).is_some(), "the end of what never began is waited for");
    }
}
