//! Reads of the database, some at a time, in the order in which they were asked for.
//!
//! Each client has one under way at most, so that they take turns. Whoever publishes, opens a room, or erases waits for none of them:
//! a shard has more threads that may wait than there are reads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use roomcast_protocol::ErrorCode;

/// Reads under way at once, for all shards together: as many as the database has idle readers, and a disk serves. Each holds what one
/// answer may hold.
pub(crate) const READS_AT_ONCE: usize = 4;

/// Who waits to read.
pub(super) struct Reads(Arc<Semaphore>);

impl Reads {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(READS_AT_ONCE)))
    }

    /// A turn to read, for as long as it is kept, if it comes within `patience`.
    ///
    /// # Errors
    /// [`ErrorCode::TooManyRequests`] if it does not.
    ///
    /// # Cancel safety
    /// Who drops this has not had a turn.
    pub(super) async fn turn(&self, patience: Duration) -> Result<OwnedSemaphorePermit, ErrorCode> {
        let turn = timeout(patience, Arc::clone(&self.0).acquire_owned()).await;
        turn.map_err(|_| ErrorCode::TooManyRequests)?.map_err(|_| ErrorCode::Internal)
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads").field("left", &self.0.available_permits()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use tokio::task::spawn_blocking;

    use super::*;
    use crate::config::Config;
    use crate::rooms::engine::{Answer, Publish};
    use crate::rooms::hub::Hub;
    use roomcast_protocol::{Payload, Publication, RoomName};
    use smallvec::smallvec;

    /// A database that answers no reads until it is let go.
    #[derive(Default)]
    struct Slow {
        reading: Mutex<Reading>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct Reading {
        now: usize,
        most: usize,
        begun: usize,
        is_let_go: bool,
    }

    impl Slow {
        fn read(&self) {
            let mut reading = self.reading.lock().unwrap();
            reading.now += 1;
            reading.begun += 1;
            reading.most = reading.most.max(reading.now);
            self.changed.notify_all();
            let mut reading = self.changed.wait_while(reading, |reading| !reading.is_let_go).unwrap();
            reading.now -= 1;
        }

        fn wait_for(&self, readers: usize) {
            drop(self.changed.wait_while(self.reading.lock().unwrap(), |reading| reading.now < readers).unwrap());
        }

        fn let_go(&self) {
            self.reading.lock().unwrap().is_let_go = true;
            self.changed.notify_all();
        }
    }

    impl Reads {
        /// Reads when it is its turn, as the engine does.
        async fn read<R: Send + 'static>(
            &self,
            patience: Duration,
            work: impl FnOnce() -> R + Send + 'static,
        ) -> Result<R, ErrorCode> {
            let turn = self.turn(patience).await?;
            let reading = spawn_blocking(move || {
                let _until_it_is_read = turn;
                work()
            });
            reading.await.map_err(|_| ErrorCode::Internal)
        }
    }

    #[test]
    fn who_publishes_waits_for_nobody_who_reads() {
        let folder = std::env::temp_dir().join(format!("roomcast-reads-{}", std::process::id()));
        let (folder_of, slow) = (folder.clone(), Arc::new(Slow::default()));
        // As a shard has it.
        crate::runtime().expect("a runtime").block_on(async move {
            let mut config = Config::dev();
            config.data_dir = folder_of;
            let hub = Hub::alone(config);
            hub.start_storing().expect("a database");
            let reads = Arc::new(Reads::new());
            let read = |number: usize| {
                let (reads, slow) = (Arc::clone(&reads), Arc::clone(&slow));
                tokio::spawn(async move {
                    let work = move || {
                        slow.read();
                        number
                    };
                    reads.read(Duration::from_secs(600), work).await
                })
            };
            let readers: Vec<_> = (0..100).map(read).collect();
            tokio::task::yield_now().await;
            slow.wait_for(READS_AT_ONCE);
            // Its room has to be opened, which asks the database.
            let room = RoomName::parse("hall", 255).expect("a name");
            let publication = Publication::new(Payload::json("1".into()), None);
            let published = hub
                .engine(&room)
                .expect("it is configured")
                .publish(smallvec![Publish::new(room.clone(), publication)])
                .pop();
            let Some(answer @ Answer::Later(_)) = published else { panic!("nothing had to be asked: {published:?}") };
            let accepted = timeout(Duration::from_secs(60), answer.wait()).await.expect("readers hold up a publisher");
            assert_eq!(accepted.map(|accepted| accepted.offset), Ok(1));
            let late = reads.read(Duration::ZERO, || ()).await;
            assert_eq!(late, Err(ErrorCode::TooManyRequests), "whose turn does not come in time is told");
            slow.let_go();
            for (number, reader) in readers.into_iter().enumerate() {
                assert_eq!(reader.await.expect("it ends"), Ok(number));
            }
            assert_eq!(slow.reading.lock().unwrap().most, READS_AT_ONCE, "no more at once");
            hub.stored_rooms().expect("rooms are stored").archive.close().expect("it ends");
        });
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[tokio::test]
    async fn who_gives_up_before_its_turn_keeps_nobody_waiting() {
        let (reads, slow) = (Reads::new(), Arc::new(Slow::default()));
        let under_way = |slow: &Arc<Slow>| {
            let slow = Arc::clone(slow);
            reads.read(Duration::from_secs(600), move || slow.read())
        };
        let mut all: Vec<_> = (0..=READS_AT_ONCE).map(|_| Box::pin(under_way(&slow))).collect();
        for reading in &mut all {
            assert!(at_once(reading.as_mut()).await.is_none());
        }
        slow.wait_for(READS_AT_ONCE);
        drop(all.pop());
        slow.let_go();
        for reading in all {
            assert_eq!(reading.await, Ok(()));
        }
        assert_eq!(slow.reading.lock().unwrap().begun, READS_AT_ONCE, "what was given up was not read");
    }

    /// What it comes to, if it does at once.
    async fn at_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
