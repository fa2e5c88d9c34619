//! The engine of stored rooms.
//!
//! What the rings have is answered in the turn that asks; whatever needs the database is done on threads that may wait.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::{NoAnswer, ReadFrom, StoredRooms};
use crate::config::{Overload, Storage};
use crate::rooms::engine::{
    Accepted, Answer, Engine, Entered, EpochName, Erase, Publish, PublishAnswers, PublishBatch, Remains, begun,
    publish_each,
};
use crate::rooms::history;
use crate::rooms::local::{TRIES, not_published};
use crate::rooms::memory::{IDLE_WITHOUT_HISTORY, after};
use crate::rooms::terms::{Begun, Terms};
use crate::rooms::visible::{Edge, Visible};
use crate::session::Recover;
use crate::util;
use roomcast::store::{Durability, Watermark};
use roomcast::{PublishError, Room};
use roomcast_protocol::{ErrorCode, HistoryQuery, HistoryResult, Placed, Publication, RoomName};

/// The engine of rooms whose messages are stored: rings, and a database behind them.
#[derive(Clone)]
pub(crate) struct StoredEngine(Arc<StoredRooms>);

impl StoredEngine {
    pub(crate) fn new(rooms: StoredRooms) -> Self {
        let rooms = Arc::new(rooms);
        let stored = Arc::downgrade(&rooms);
        rooms
            .rooms
            .ring_memory
            .keep_unstored(move |room| stored.upgrade().is_some_and(|stored| !stored.is_stored(room)));
        Self(rooms)
    }

    pub(crate) fn rooms(&self) -> &StoredRooms {
        &self.0
    }

    fn publish_one(&self, Publish { room, publication, terms }: Publish) -> Answer<Result<Accepted, ErrorCode>> {
        let Self(stored) = self;
        if let Some(terms) = terms {
            let asked = stored.rooms.under_way.begin();
            return begun(asked.until(Arc::clone(stored).publish_on(room, publication, *terms)));
        }
        match stored.publish_now(&room, publication) {
            Outcome::Done(published) => Answer::Now(published),
            Outcome::InRing(in_ring) => Answer::later(in_ring.on_disk(stored.patience())),
            Outcome::Waits(publication) => {
                let stored = Arc::clone(stored);
                self.later(async move {
                    stored.publish_later(&room, publication, stored.patience()).await?.on_disk(stored.patience()).await
                })
            }
        }
    }

    /// Publishes each, and those of one room in their order, also where one of them has to wait.
    fn publish_all(&self, batch: PublishBatch) -> PublishAnswers {
        let Self(stored) = self;
        let mut queues = BTreeMap::<RoomName, Vec<(Publication, oneshot::Sender<_>)>>::new();
        let mut answers = PublishAnswers::new();
        let until = stored.patience();
        for Publish { room, publication, .. } in batch {
            let outcome = match queues.contains_key(&room) {
                true => Outcome::Waits(publication),
                false => stored.publish_now(&room, publication),
            };
            answers.push(match outcome {
                Outcome::Done(published) => Answer::Now(published),
                Outcome::InRing(in_ring) => Answer::later(in_ring.on_disk(until)),
                Outcome::Waits(publication) => {
                    let (sender, in_ring) = oneshot::channel::<Result<InRing, ErrorCode>>();
                    queues.entry(room).or_default().push((publication, sender));
                    let stored = Arc::clone(stored);
                    Answer::later(async move {
                        let in_ring = in_ring.await.unwrap_or(Err(ErrorCode::Internal))?;
                        in_ring.on_disk(stored.patience()).await
                    })
                }
            });
        }
        for (room, queue) in queues {
            let (stored, asked) = (Arc::clone(stored), stored.rooms.under_way.begin());
            tokio::spawn(async move {
                let _until_all_are_published = asked;
                for (publication, sender) in queue {
                    // Whoever asked may have gone.
                    let _ = sender.send(stored.publish_later(&room, publication, until).await);
                }
            });
        }
        answers
    }

    /// The answer is what `work` comes to, which is waited for before the rooms are another process's.
    fn later<T: 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Answer<T> {
        Answer::later(self.0.rooms.under_way.begin().until(work))
    }

    /// What `read` finds in memory, or later with the help of the database.
    fn read<R: Send + 'static>(
        &self,
        name: &RoomName,
        read: impl Fn(&StoredRooms, &Room<Publication>, &Visible, ReadFrom) -> Result<R, NoAnswer> + Clone + Send + 'static,
    ) -> Answer<Result<R, ErrorCode>> {
        let Self(stored) = self;
        let now = || {
            let room = stored.rooms.running(name).ok_or(NoAnswer::InTheDatabase)?;
            read(stored, &room, &stored.visible(&room)?, ReadFrom::Memory)
        };
        match now() {
            Ok(read) => Answer::Now(Ok(read)),
            Err(NoAnswer::Failed(code)) => Answer::Now(Err(code)),
            Err(NoAnswer::InTheDatabase) => {
                let (stored, name, read) = (Arc::clone(stored), name.clone(), read.clone());
                self.later(async move {
                    let patience = stored.rooms.now().config.storage.timeout;
                    let turn = stored.reads.turn(patience).await?;
                    let reading = Arc::clone(&stored);
                    let work = move || {
                        let _until_it_is_read = turn;
                        try_twice(&reading, &name, |stored, room, visible| {
                            read(stored, room, visible, ReadFrom::MemoryOrDatabase)
                        })
                    };
                    stored.within_memory(blocking(work)).await
                })
            }
        }
    }
}

impl Engine for StoredEngine {
    fn publish(&self, batch: PublishBatch) -> PublishAnswers {
        publish_each(self, batch, |stored| stored.0.rooms.under_way.begin(), Self::publish_one, Self::publish_all)
    }

    fn enter(
        &self,
        room: &RoomName,
        recover: Option<&Recover>,
        publications_max: usize,
    ) -> Answer<Result<Entered, ErrorCode>> {
        let recover = recover.cloned();
        self.read(room, move |stored, room, visible, read_from| {
            stored.enter(room, recover.as_ref(), visible, publications_max, read_from)
        })
    }

    fn history(&self, room: &RoomName, query: &HistoryQuery) -> Answer<Result<HistoryResult, ErrorCode>> {
        let query = query.clone();
        self.read(room, move |stored, room, visible, read_from| stored.history(room, &query, visible, read_from))
    }

    fn remove_history(&self, room: &RoomName) -> Answer<Result<(), ErrorCode>> {
        let (stored, room) = (Arc::clone(&self.0), room.clone());
        self.later(blocking(move || {
            let removed = stored.archive.remove(room.as_str()).map_err(|error| {
                tracing::warn!(%room, %error, "history not removed");
                ErrorCode::TooManyRequests
            });
            // What was read of it before is not needed any more.
            stored.restart_cache.remove(room.as_str());
            if let Some(running) = stored.rooms.running(&room)
                && let Some(mark) = stored.archive.watermark(&running)
            {
                stored.rooms.erasing.note_removed(&running, mark.floor(), (stored.rooms.clock)());
            }
            removed
        }))
    }

    fn erase(&self, room: &RoomName, epoch: &str, what: Erase) -> Answer<Result<u64, ErrorCode>> {
        let (stored, room, epoch) = (Arc::clone(&self.0), room.clone(), epoch.to_owned());
        self.later(blocking(move || stored.erase(&room, &epoch, &what)))
    }

    fn fetch(&self, room: &Room<Publication>, from: u64, count: usize) -> Answer<Result<Vec<Placed>, ErrorCode>> {
        let (stored, room) = (Arc::clone(&self.0), room.clone());
        self.later(async move {
            // Whoever is behind waits for its turn: it would be closed if it were not given anything.
            let turn = stored.reads.turn(Duration::MAX).await?;
            let reading = Arc::clone(&stored);
            let work = move || {
                let _until_it_is_read = turn;
                reading.fetch(&room, from, count)
            };
            stored.within_memory(blocking(work)).await
        })
    }

    fn has_more_than_ring(&self) -> bool {
        true
    }

    fn edge(&self, room: &Room<Publication>) -> Result<Edge, ErrorCode> {
        Edge::archived(&self.0.archive, room)
    }

    fn remains(&self, room: &Room<Publication>) -> Remains {
        // The database has all of it, and its position too.
        let empty_ms = match self.0.is_stored(room) {
            true => history::newest_ms(room).map_or(0, |newest_ms| after(newest_ms, IDLE_WITHOUT_HISTORY)),
            false => u64::MAX,
        };
        Remains { empty_ms, until_ms: 0 }
    }
}

/// How publishing went, as far as it can be done at once.
enum Outcome {
    Done(Result<Accepted, ErrorCode>),
    /// It must reach the disk.
    InRing(InRing),
    /// The room must be opened, or have space, first.
    Waits(Publication),
}

/// A message that is in the ring of its room.
struct InRing {
    accepted: Accepted,
    sequence: u64,
    /// What tells when it is on the disk; nothing where nobody waits for that, an error where nobody knows.
    mark: Result<Option<Arc<Watermark>>, ErrorCode>,
}

impl InRing {
    /// Waits until it is on the disk.
    ///
    /// # Errors
    /// [`ErrorCode::TooManyRequests`] when it is not in time, or never: either way it is not known to be stored. As
    /// [`Edge::awaited`].
    async fn on_disk(self, until: Instant) -> Result<Accepted, ErrorCode> {
        if let Some(mark) = self.mark? {
            let reached = timeout_at(until, mark.reached(self.sequence + 1)).await;
            reached.map_err(|_| ErrorCode::TooManyRequests)?.map_err(|_| ErrorCode::TooManyRequests)?;
        }
        Ok(self.accepted)
    }
}

impl StoredRooms {
    fn in_ring(&self, room: &Room<Publication>, sequence: u64) -> InRing {
        InRing { accepted: Accepted::in_ring(room, sequence), sequence, mark: Edge::awaited(&self.archive, room) }
    }

    /// Reads from the database when there is memory for what comes of it, and until that is given away.
    async fn within_memory<R>(self: Arc<Self>, read: impl Future<Output = R>) -> R {
        let bytes = 2 * self.rooms.database_bytes_max() as u64;
        let _reserved = self.rooms.memory.database.reserve(bytes).await;
        read.await
    }

    /// Until when what is published now may wait.
    fn patience(&self) -> Instant {
        Instant::now() + self.rooms.now().config.storage.timeout
    }

    fn publish_now(&self, name: &RoomName, publication: Publication) -> Outcome {
        let is_durable =
            self.rooms.now().options(name.as_str()).is_some_and(|options| options.storage == Storage::Stored);
        if self.archive.is_stopped() || is_durable && self.archive.is_in_trouble() {
            return Outcome::Done(Err(ErrorCode::TooManyRequests));
        }
        let Some(room) = self.rooms.running(name) else { return Outcome::Waits(publication) };
        if let Err(code) = self.rooms.ring_memory.admit(&self.rooms, &room, &publication) {
            return Outcome::Done(Err(code));
        }
        match room.publish(publication) {
            Ok(sequence) => match self.in_ring(&room, sequence) {
                InRing { accepted, mark: Ok(None), .. } => Outcome::Done(Ok(accepted)),
                in_ring => Outcome::InRing(in_ring),
            },
            Err(PublishError::Closed(back) | PublishError::Crashed(back)) => Outcome::Waits(back),
            Err(PublishError::Full(back)) if self.overload() == Overload::Wait => Outcome::Waits(back),
            Err(refused) => Outcome::Done(Err(not_published(&refused))),
        }
    }

    /// Publishes what its publisher asks more of.
    async fn publish_on(
        self: Arc<Self>,
        name: RoomName,
        publication: Publication,
        terms: Terms,
    ) -> Result<Accepted, ErrorCode> {
        let reservation = match self.rooms.terms.begin(&name, &terms).await {
            Begun::Before(accepted) => return self.once_stored(&name, accepted).await,
            Begun::Outdated(reservation) => {
                let (stored, name) = (Arc::clone(&self), name.clone());
                let stands = blocking(move || stored.open(&name).map(|room| Accepted::nowhere(&room))).await?;
                reservation.done(&stands);
                return Ok(stands);
            }
            Begun::New(reservation) => reservation,
        };
        if self.rooms.skips_history(&name, &terms) {
            return self.rooms.announce_on(reservation, &name, publication).await;
        }
        let in_ring = match self.publish_now(&name, publication) {
            Outcome::Done(published) => {
                let accepted = published?;
                reservation.done(&accepted);
                return Ok(accepted);
            }
            Outcome::InRing(in_ring) => in_ring,
            Outcome::Waits(publication) => self.publish_later(&name, publication, self.patience()).await?,
        };
        // It has its place, whether the disk has it in time or not: a repetition is no second one.
        reservation.done(&in_ring.accepted);
        in_ring.on_disk(self.patience()).await
    }

    /// Where a message is that was published before, once the disk has it.
    async fn once_stored(&self, name: &RoomName, accepted: Accepted) -> Result<Accepted, ErrorCode> {
        let (EpochName::Ring(epoch), Some(sequence)) = (&accepted.epoch, accepted.offset.checked_sub(1)) else {
            return Ok(accepted);
        };
        // It goes when all is stored, whether the room runs or has ended.
        let mark = self.archive.watermark_of(name.as_str(), *epoch);
        let mark = Ok(mark.filter(|mark| mark.durability() == Durability::Stored));
        InRing { sequence, accepted, mark }.on_disk(self.patience()).await
    }

    /// Publishes into a room that does not run, or has no space at the moment: `until` then, where it may wait for space.
    async fn publish_later(
        self: &Arc<Self>,
        name: &RoomName,
        mut publication: Publication,
        until: Instant,
    ) -> Result<InRing, ErrorCode> {
        for _ in 0..TRIES {
            let room = {
                let (stored, name) = (Arc::clone(self), name.clone());
                blocking(move || stored.open(&name)).await?
            };
            self.rooms.ring_memory.admit(&self.rooms, &room, &publication)?;
            let published = match self.overload() {
                Overload::Refuse => room.publish(publication),
                Overload::Wait => match timeout_at(until, room.publish_wait(publication)).await {
                    Ok(published) => published,
                    Err(_) => return Err(ErrorCode::TooManyRequests),
                },
            };
            match published {
                Ok(sequence) => return Ok(self.in_ring(&room, sequence)),
                // Ended between the look-up and the publish.
                Err(PublishError::Closed(back) | PublishError::Crashed(back)) => publication = back,
                Err(refused) => return Err(not_published(&refused)),
            }
        }
        Err(ErrorCode::Internal)
    }
}

fn try_twice<R>(
    stored: &StoredRooms,
    name: &RoomName,
    work: impl Fn(&StoredRooms, &Room<Publication>, &Visible) -> Result<R, NoAnswer>,
) -> Result<R, ErrorCode> {
    let mut done = Err(ErrorCode::Internal);
    for _ in 0..TRIES {
        let room = stored.open(name)?;
        done = work(stored, &room, &stored.visible(&room)?).map_err(|no| match no {
            NoAnswer::Failed(code) => code,
            NoAnswer::InTheDatabase => ErrorCode::Internal,
        });
        if room.is_running() {
            break;
        }
    }
    done
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, ErrorCode> + Send + 'static,
) -> Result<R, ErrorCode> {
    util::blocking::blocking(work).await.unwrap_or(Err(ErrorCode::Internal))
}

impl fmt::Debug for StoredEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredEngine").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smallvec::smallvec;

    use super::*;
    use crate::config::Config;
    use crate::rooms::hub::Hub;
    use roomcast_protocol::{Payload, Publication};

    /// A disk that takes nothing: somebody else has it.
    #[tokio::test]
    async fn a_repetition_is_not_acknowledged_before_the_first_is_stored_even_where_its_room_has_ended() {
        let folder = std::env::temp_dir().join(format!("roomcast-repeated-{}", std::process::id()));
        let mut config = Config::dev();
        config.data_dir = folder.clone();
        config.storage.timeout = Duration::from_millis(100);
        config.channel.without_namespace.storage = Storage::Stored;
        let hub = Hub::alone(config);
        hub.start_storing().expect("a database");
        let name = RoomName::parse("hall", 255).expect("a name");
        let publish = || {
            let terms = Terms { idempotency_key: "once".to_owned(), ..Terms::default() };
            let publication = Publication::new(Payload::json("1".into()), None);
            let publish = Publish { room: name.clone(), publication, terms: Some(Box::new(terms)) };
            hub.engine(&name).expect("an engine").publish(smallvec![publish]).pop().expect("an answer").wait()
        };
        hub.stored_rooms().expect("a database").open(&name).expect("a room");
        let thief = rusqlite::Connection::open(hub.now().config.database()).expect("a connection");
        thief.busy_timeout(Duration::from_secs(10)).expect("an option");
        thief.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
        assert_eq!(publish().await, Err(ErrorCode::TooManyRequests), "it is in the room, and not on the disk");
        hub.close();
        assert_eq!(publish().await, Err(ErrorCode::TooManyRequests), "nor is it now");
        thief.execute_batch("ROLLBACK").expect("it ends");
        hub.stored_rooms().expect("a database").archive.close().expect("all is stored");
        assert_eq!(publish().await.map(|accepted| accepted.offset), Ok(1), "now it is");
        let _ = std::fs::remove_dir_all(&folder);
    }
}
