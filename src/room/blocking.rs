//! Waiting on a plain thread, which sleeps meanwhile, as long as it takes or for a while.

use std::future::poll_fn;
use std::time::Duration;

use super::subscription::Subscription;
use super::wait::PublishWait;
use super::{Publisher, Room};
use crate::error::{PublishError, RecvError, RecvTimeoutError, TryRecvError};
use crate::message::{Batch, Ref};
use crate::sync::{block_on, block_on_for};

impl<T> Subscription<T> {
    /// [`Subscription::recv`] for a plain thread, which sleeps until there is something.
    ///
    /// # Errors
    /// As [`Subscription::recv_ref`]; [`RecvError::OnShard`] in a handler of the same broker, which must not wait for
    /// itself.
    ///
    /// # Panics
    /// With the feature `tokio`, when it has to wait on a thread that runs the tasks of a tokio runtime.
    pub fn recv_blocking(&mut self) -> Result<T, RecvError>
    where
        T: Clone,
    {
        self.recv_ref_blocking().map(|message| T::clone(&message))
    }

    /// [`Subscription::recv_ref`] for a plain thread, which sleeps until there is something.
    ///
    /// # Errors
    /// As [`Subscription::recv_blocking`].
    pub fn recv_ref_blocking(&mut self) -> Result<Ref<'_, T>, RecvError> {
        let Some(run) = self.look_or_sleep(None)? else {
            unreachable!("without a timeout it waits until there is something")
        };
        Ok(Batch::into_first(self.take(run)))
    }

    /// [`Subscription::recv_blocking`] that waits for `timeout` at most.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] when nothing came; nothing was missed by it. The others as
    /// [`Subscription::recv_blocking`].
    ///
    /// # Panics
    /// As [`Subscription::recv_blocking`].
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use roomcast::{Broker, CloseReason, RecvTimeoutError};
    ///
    /// let broker = Broker::<u32>::new();
    /// let room = broker.room("numbers")?;
    /// let mut numbers = room.subscribe().now()?;
    /// assert_eq!(numbers.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    /// room.publish(7)?;
    /// assert_eq!(numbers.recv_timeout(Duration::ZERO), Ok(7), "what is there is received whatever the timeout");
    /// room.close();
    /// let end = RecvTimeoutError::Closed(CloseReason::Closed);
    /// assert_eq!(numbers.recv_timeout(Duration::from_secs(60)), Err(end));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError>
    where
        T: Clone,
    {
        self.recv_ref_timeout(timeout).map(|message| T::clone(&message))
    }

    /// [`Subscription::recv_ref_blocking`] that waits for `timeout` at most.
    ///
    /// # Errors
    /// As [`Subscription::recv_timeout`].
    ///
    /// # Panics
    /// As [`Subscription::recv_blocking`].
    pub fn recv_ref_timeout(&mut self, timeout: Duration) -> Result<Ref<'_, T>, RecvTimeoutError> {
        let run = self.look_or_sleep(Some(timeout))?.ok_or(RecvTimeoutError::Timeout)?;
        Ok(Batch::into_first(self.take(run)))
    }

    /// One message at the cursor, or `None` after `timeout`.
    fn look_or_sleep(&mut self, timeout: Option<Duration>) -> Result<Option<usize>, RecvError> {
        match self.look(1).map_err(TryRecvError::into_recv_error) {
            Ok(run) => return Ok(Some(run)),
            // Said at once: the cursor has moved past what was missed, so a second look would not find it.
            Err(Some(error)) => return Err(error),
            Err(None) if self.is_on_shard() => return Err(RecvError::OnShard),
            Err(None) => {}
        }
        let found = poll_fn(|context| self.poll_look_unbudgeted(1, context));
        match timeout {
            None => block_on(found).map(Some),
            Some(timeout) => block_on_for(found, timeout).transpose(),
        }
    }
}

impl<T> Room<T> {
    /// [`Room::publish_wait`] for a plain thread, which sleeps while the room is full.
    ///
    /// # Errors
    /// As [`Room::publish_wait`].
    ///
    /// # Panics
    /// With the feature `tokio`, when it has to wait on a thread that runs the tasks of a tokio runtime.
    pub fn publish_blocking(&self, message: T) -> Result<u64, PublishError<T>> {
        publish_or_sleep(self.publish_wait(message), None)
    }

    /// [`Room::publish_blocking`] that waits for `timeout` at most.
    ///
    /// # Errors
    /// [`PublishError::Full`] when the room was full all the time; the others as [`Room::publish_wait`].
    ///
    /// # Panics
    /// As [`Room::publish_blocking`].
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use roomcast::{Broker, Policy, PublishError};
    ///
    /// let broker = Broker::<u32>::builder().capacity(1).build();
    /// let room = broker.room("ledger")?;
    /// let mut ledger = room.subscribe().policy(Policy::Block).now()?;
    /// assert_eq!(room.publish_timeout(0, Duration::ZERO), Ok(0));
    /// while room.publish(1).is_ok() {}
    /// assert_eq!(room.publish_timeout(2, Duration::from_millis(1)), Err(PublishError::Full(2)));
    /// ledger.try_recv()?;
    /// ledger.try_recv()?;
    /// assert!(room.publish_timeout(3, Duration::from_secs(60)).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_timeout(&self, message: T, timeout: Duration) -> Result<u64, PublishError<T>> {
        publish_or_sleep(self.publish_wait(message), Some(timeout))
    }
}

impl<T> Publisher<T> {
    /// [`Publisher::publish_wait`] for a plain thread, which sleeps while the room is full.
    ///
    /// # Errors
    /// As [`Publisher::publish_wait`].
    ///
    /// # Panics
    /// As [`Room::publish_blocking`].
    pub fn publish_blocking(&mut self, message: T) -> Result<u64, PublishError<T>> {
        publish_or_sleep(self.publish_wait(message), None)
    }

    /// [`Publisher::publish_blocking`] that waits for `timeout` at most.
    ///
    /// # Errors
    /// [`PublishError::Full`] when the room was full all the time; the others as [`Publisher::publish_wait`].
    ///
    /// # Panics
    /// As [`Room::publish_blocking`].
    pub fn publish_timeout(&mut self, message: T, timeout: Duration) -> Result<u64, PublishError<T>> {
        publish_or_sleep(self.publish_wait(message), Some(timeout))
    }
}

fn publish_or_sleep<T>(mut publish: PublishWait<'_, T>, timeout: Option<Duration>) -> Result<u64, PublishError<T>> {
    let published = poll_fn(|context| publish.poll_unbudgeted(context));
    match timeout {
        None => block_on(published),
        Some(timeout) => match block_on_for(published, timeout) {
            Some(published) => published,
            None => Err(publish.give_up()),
        },
    }
}
