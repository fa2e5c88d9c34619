//! Rooms whose messages are in memory and nowhere else.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::rooms::engine::{
    Accepted, Answer, Engine, Entered, EpochName, Erase, Publish, PublishAnswers, PublishBatch, Remains, begun,
    publish_each,
};
use crate::rooms::history;
use crate::rooms::local::{LocalRooms, TRIES, not_published};
use crate::rooms::terms::{Begun, Terms};
use crate::rooms::visible::{Edge, Visible};
use crate::session::Recover;
use crate::util::blocking::blocking;
use roomcast::{PublishError, Room};
use roomcast_protocol::{ErrorCode, HistoryQuery, HistoryResult, Placed, Publication, RoomName};

/// How long a room without history, or whose history is elsewhere, lives on when nobody is in it: there is nothing in it
/// that anybody could come back for.
pub(crate) const IDLE_WITHOUT_HISTORY: Duration = Duration::from_secs(60);

/// The engine of rooms that are not stored: their rings are all there is.
#[derive(Clone)]
pub(crate) struct MemoryEngine {
    rooms: Arc<LocalRooms>,
}

impl MemoryEngine {
    pub(crate) fn new(rooms: Arc<LocalRooms>) -> Self {
        Self { rooms }
    }

    fn publish_one(&self, Publish { room, publication, terms }: Publish) -> Answer<Result<Accepted, ErrorCode>> {
        match terms {
            None => Answer::Now(Self::publish_now(&self.rooms, &room, publication)),
            Some(terms) => {
                let asked = self.rooms.under_way.begin();
                begun(asked.until(Self::publish_on(Arc::clone(&self.rooms), room, publication, *terms)))
            }
        }
    }

    async fn publish_on(
        rooms: Arc<LocalRooms>,
        name: RoomName,
        publication: Publication,
        terms: Terms,
    ) -> Result<Accepted, ErrorCode> {
        let stands = || rooms.open(&name).map(|room| Accepted::nowhere(&room));
        let (accepted, reservation) = match rooms.terms.begin(&name, &terms).await {
            Begun::Before(accepted) => return Ok(accepted),
            Begun::Outdated(reservation) => (stands()?, reservation),
            Begun::New(reservation) if rooms.skips_history(&name, &terms) => {
                return rooms.announce_on(reservation, &name, publication).await;
            }
            Begun::New(reservation) => (Self::publish_now(&rooms, &name, publication)?, reservation),
        };
        reservation.done(&accepted);
        Ok(accepted)
    }

    fn publish_now(rooms: &LocalRooms, name: &RoomName, mut publication: Publication) -> Result<Accepted, ErrorCode> {
        for _ in 0..TRIES {
            let room = rooms.open(name)?;
            rooms.ring_memory.admit(rooms, &room, &publication)?;
            match room.publish(publication) {
                Ok(sequence) => return Ok(Accepted::in_ring(&room, sequence)),
                // Removed between the look-up and the publish: the next look-up opens a fresh one.
                Err(PublishError::Closed(back) | PublishError::Crashed(back)) => publication = back,
                Err(refused) => return Err(not_published(&refused)),
            }
        }
        Err(ErrorCode::Internal)
    }

    /// Publishes as one does that asked for its engine long ago.
    #[cfg(test)]
    pub(crate) fn publish_late(&self, room: &RoomName) -> impl Future<Output = Result<Accepted, ErrorCode>> + use<> {
        let publication = Publication::new(roomcast_protocol::Payload::json("1".into()), None);
        self.publish_one(Publish::new(room.clone(), publication)).wait()
    }

    /// Erases these messages, and says how many of them are there and were not erased.
    fn erase_now(&self, room: &Room<Publication>, sequences: impl IntoIterator<Item = u64>) -> u64 {
        let erased = self.seen_of(room).erased(room);
        let (oldest, tail) = (room.oldest(), room.tail());
        // Those that the ring has no longer may wait in an answer, as may those of an earlier incarnation that this one goes on from.
        let all: Vec<u64> = sequences.into_iter().filter(|sequence| *sequence < tail).collect();
        self.rooms.removed.erase(room, all.iter().copied());
        self.rooms.erasing.note(room);
        all.iter().filter(|sequence| **sequence >= oldest && !erased.is_at(**sequence)).count() as u64
    }

    fn seen_of(&self, room: &Room<Publication>) -> Edge {
        Edge::published_but(&self.rooms.removed, room)
    }

    fn visible(&self, room: &Room<Publication>) -> Result<Visible, ErrorCode> {
        self.rooms.visible(room, EpochName::Ring(room.epoch()), self.seen_of(room))
    }

    fn enter_now(
        &self,
        name: &RoomName,
        recover: Option<&Recover>,
        publications_max: usize,
    ) -> Result<Entered, ErrorCode> {
        let mut entered = Err(ErrorCode::Internal);
        for _ in 0..TRIES {
            let room = self.rooms.open(name)?;
            entered = history::enter(&room, recover, &self.visible(&room)?, publications_max);
            // A room that expired between the look-up and the entering: the next look-up opens a fresh one.
            if entered.is_ok() {
                break;
            }
        }
        entered
    }
}

impl Engine for MemoryEngine {
    fn publish(&self, batch: PublishBatch) -> PublishAnswers {
        publish_each(
            self,
            batch,
            |memory| memory.rooms.under_way.begin(),
            Self::publish_one,
            |memory, batch| batch.into_iter().map(|publish| memory.publish_one(publish)).collect(),
        )
    }

    fn enter(
        &self,
        room: &RoomName,
        recover: Option<&Recover>,
        publications_max: usize,
    ) -> Answer<Result<Entered, ErrorCode>> {
        Answer::Now(self.enter_now(room, recover, publications_max))
    }

    fn history(&self, name: &RoomName, query: &HistoryQuery) -> Answer<Result<HistoryResult, ErrorCode>> {
        let read = || {
            let room = self.rooms.open(name)?;
            history::history(&room, query, &self.visible(&room)?)
        };
        Answer::Now(read())
    }

    fn remove_history(&self, name: &RoomName) -> Answer<Result<(), ErrorCode>> {
        // Of a room that does not run nothing is left but its position.
        if let Some(room) = self.rooms.running(name) {
            self.rooms.removed.remove(&room);
            self.rooms.erasing.note_removed(&room, self.rooms.removed.floor(&room), (self.rooms.clock)());
        }
        Answer::Now(self.rooms.unless_too_late(()))
    }

    fn erase(&self, name: &RoomName, epoch: &str, what: Erase) -> Answer<Result<u64, ErrorCode>> {
        // Of a room that does not run nothing is left but its position.
        let Some(room) = self.rooms.running(name) else { return Answer::Now(self.rooms.unless_too_late(0)) };
        if !EpochName::Ring(room.epoch()).is_meant_by(epoch) {
            return Answer::Now(Err(ErrorCode::UnrecoverablePosition));
        }
        match what {
            Erase::Offsets(offsets) => {
                let sequences: BTreeSet<u64> = offsets.iter().filter_map(|offset| offset.checked_sub(1)).collect();
                let erased = self.erase_now(&room, sequences);
                Answer::Now(self.rooms.unless_too_late(erased))
            }
            // It looks at all that the ring has.
            Erase::User(user) => {
                let memory = self.clone();
                let asked = self.rooms.under_way.begin();
                let erase = move || {
                    let erased = memory.erase_now(&room, history::sequences_of(&room, &user));
                    memory.rooms.unless_too_late(erased)
                };
                Answer::later(asked.until(async move { blocking(erase).await.unwrap_or(Err(ErrorCode::Internal)) }))
            }
        }
    }

    fn fetch(&self, room: &Room<Publication>, from: u64, count: usize) -> Answer<Result<Vec<Placed>, ErrorCode>> {
        if from < self.rooms.removed.floor(room) {
            return Answer::Now(Ok(Vec::new()));
        }
        let end = room.tail().min(from.saturating_add(count as u64));
        let found = history::read(room, from..end, history::ANSWER_BYTES_MAX, &self.seen_of(room).erased(room));
        Answer::Now(Ok(found.map_or_else(Vec::new, |(_, found)| found)))
    }

    fn has_more_than_ring(&self) -> bool {
        false
    }

    fn edge(&self, room: &Room<Publication>) -> Result<Edge, ErrorCode> {
        Ok(self.seen_of(room))
    }

    fn remains(&self, room: &Room<Publication>) -> Remains {
        let now = self.rooms.now();
        let options = now.options(room.name()).filter(|options| options.history_size > 0);
        match (history::newest_ms(room), options) {
            (Some(newest_ms), Some(options)) => {
                let empty_ms = after(newest_ms, options.history_ttl);
                Remains { empty_ms, until_ms: after(newest_ms, options.history_meta_ttl).max(empty_ms) }
            }
            (Some(newest_ms), None) => Remains { empty_ms: after(newest_ms, IDLE_WITHOUT_HISTORY), until_ms: 0 },
            // Nothing was published since it was made; it may have gone on from a rest.
            (None, _) => Remains { empty_ms: 0, until_ms: self.rooms.dormant.until_ms(room.name()).unwrap_or(0) },
        }
    }
}

pub(crate) fn after(ms: u64, time: Duration) -> u64 {
    ms.saturating_add(time.as_millis() as u64)
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEngine").finish_non_exhaustive()
    }
}
