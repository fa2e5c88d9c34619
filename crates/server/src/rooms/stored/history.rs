//! The past of kept rooms: from the ring where that is enough, from ring and database where it is not.

use std::ops::Range;
use std::sync::Arc;

use super::StoredRooms;
use super::restart_cache::Part;
use crate::config::RecoveryMode;
use crate::rooms::engine::{Entered, EpochName, Erase};
use crate::rooms::history;
use crate::rooms::visible::{Edge, Erased, Visible};
use crate::session::{Recover, Subscribed};
use roomcast::store::{Erasure, HistoryEntry, HistoryLimit, StoreError};
use roomcast::{Room, Subscription};
use roomcast_protocol::{ErrorCode, HistoryQuery, HistoryResult, Placed, Publication, RoomName};

/// Times that entering is tried again when the ring moves past where it was to begin.
const TRIES: usize = 3;

/// Bytes that a member which is behind is given of the database at once: what its socket takes in a few turns.
const FETCHED_BYTES_MAX: usize = 1 << 20;

/// Bytes that are read of a room after a restart, for all who come back.
const CACHED_BYTES_MAX: u64 = 4 << 20;

/// Whether the database may be asked, which takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    Memory,
    MemoryOrDatabase,
}

/// Why there is no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The database has to be asked.
    InTheDatabase,
    /// The command fails.
    Failed(ErrorCode),
}

impl From<ErrorCode> for NoAnswer {
    fn from(code: ErrorCode) -> Self {
        Self::Failed(code)
    }
}

/// Why some of the past was not read.
enum Unread {
    /// Not all of it is kept any more.
    Gone,
    /// The ring has moved on meanwhile.
    Moved,
    No(NoAnswer),
}

impl StoredRooms {
    /// Enters a room: a subscription that goes on exactly after what the reply will hold.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) fn enter(
        &self,
        room: &Room<Publication>,
        recover: Option<&Recover>,
        visible: &Visible,
        publications_max: usize,
        read_from: ReadFrom,
    ) -> Result<Entered, NoAnswer> {
        let mut tries = if read_from == ReadFrom::MemoryOrDatabase { TRIES } else { 1 };
        loop {
            tries -= 1;
            let Some(at_top) = history::from(room, visible.top(room)) else {
                // What is delivered next is stored, so that it lies in the ring, unless more is stored by now.
                if tries == 0 {
                    return Err(if read_from == ReadFrom::MemoryOrDatabase {
                        ErrorCode::Internal.into()
                    } else {
                        NoAnswer::InTheDatabase
                    });
                }
                continue;
            };
            let top = at_top.position().sequence;
            let wanted = recover.and_then(|recover| wanted(recover, visible, top, publications_max));
            let how = recover.map_or((RecoveryMode::Stream, 0), |recover| (recover.mode, recover.bytes_max));
            let (subscription, found) = match wanted.map(|wanted| self.read_on(room, wanted, how, visible, read_from)) {
                None | Some(Err(Unread::Gone)) => (at_top, Vec::new()),
                Some(Ok((subscription, found))) => (subscription, found),
                Some(Err(Unread::Moved)) if tries > 0 => continue,
                Some(Err(Unread::Moved)) if read_from == ReadFrom::Memory => return Err(NoAnswer::InTheDatabase),
                Some(Err(Unread::Moved)) => return Err(ErrorCode::Internal.into()),
                Some(Err(Unread::No(answer))) => return Err(answer),
            };
            let top = visible.position(subscription.position().sequence);
            return Ok(Entered { subscription, subscribed: Subscribed { top, found } });
        }
    }

    /// Answers a history command.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) fn history(
        &self,
        room: &Room<Publication>,
        query: &HistoryQuery,
        visible: &Visible,
        read_from: ReadFrom,
    ) -> Result<HistoryResult, NoAnswer> {
        if query.since.as_ref().is_some_and(|since| !visible.epoch.is_meant_by(&since.epoch)) {
            return Err(NoAnswer::Failed(ErrorCode::UnrecoverablePosition));
        }
        if visible.answer_bytes_max < history::ANSWER_BYTES_MIN {
            return Err(NoAnswer::Failed(ErrorCode::TooManyRequests));
        }
        let mut top = visible.top(room);
        let near = self.near(room, visible, top, read_from);
        let mut window = query.window(near.oldest + 1, top);
        let is_near = near.is_all || query.window(1, top) == window;
        if !is_near {
            if read_from == ReadFrom::Memory {
                return Err(NoAnswer::InTheDatabase);
            }
            let oldest = self.oldest(room, visible, top).map_err(failed)?.unwrap_or(near.oldest).min(near.oldest);
            window = query.window(oldest + 1, top);
        }
        let sequences = window.start.saturating_sub(1)..window.end.saturating_sub(1);
        let mut found = if sequences.is_empty() {
            Vec::new()
        } else if let Some((ring, found)) = near.read(room, sequences.clone(), usize::MAX) {
            top = history::told(&ring, sequences.end.max(near.ring), top);
            found
        } else if read_from == ReadFrom::Memory {
            return Err(NoAnswer::InTheDatabase);
        } else {
            let limit = HistoryLimit::messages((sequences.end - sequences.start) as usize)
                .bytes(visible.answer_bytes_max.min(self.rooms.database_bytes_max()));
            let read = match query.reverse {
                false => self.archive.history(room, sequences, limit),
                true => self.archive.history_newest_first(room, sequences, limit).map(|mut past| {
                    past.reverse();
                    past
                }),
            };
            placed(read.map_err(failed)?)
        };
        if query.reverse {
            found.reverse();
        }
        history::limit_bytes(&mut found, visible.answer_bytes_max);
        Ok(HistoryResult::new(found, visible.position(top)))
    }

    /// What a member has missed from `from` on, at most `count` messages; nothing where the first was removed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) fn fetch(&self, room: &Room<Publication>, from: u64, count: usize) -> Result<Vec<Placed>, ErrorCode> {
        let edge = Edge::archived(&self.archive, room)?;
        let end = edge.range().end;
        let limit = HistoryLimit::messages(count).bytes(FETCHED_BYTES_MAX.min(self.rooms.database_bytes_max()));
        let past = self.archive.history(room, from..end, limit).map_err(failed)?;
        let is_there = past.first().is_some_and(|first| first.sequence == from);
        let mut found = if is_there { placed(past) } else { Vec::new() };
        edge.erased(room).hide(&mut found);
        Ok(found)
    }

    /// Erases messages of a room, in the database and for all who read its ring.
    ///
    /// # Errors
    /// [`ErrorCode::UnrecoverablePosition`] in a room of another epoch; [`ErrorCode::TooManyRequests`] when the database does not take
    /// it, and some may be erased.
    pub(crate) fn erase(&self, name: &RoomName, epoch: &str, what: &Erase) -> Result<u64, ErrorCode> {
        let running = self.rooms.running(name);
        let stands = match &running {
            Some(room) => Some((room.epoch(), room.tail())),
            None => self.archive.span(name.as_str()).map_err(failed)?.map(|span| (span.epoch, span.next)),
        };
        // Nothing was ever published there.
        let Some((stands, before)) = stands else { return Ok(0) };
        if !EpochName::Ring(stands).is_meant_by(epoch) {
            return Err(ErrorCode::UnrecoverablePosition);
        }
        let mark = running.and_then(|room| self.archive.watermark(&room));
        self.erasures.begin(name, what, before, mark.as_deref(), (self.rooms.clock)());
        let erased = {
            // Nobody reads what is to be erased into it meanwhile.
            let _one_at_a_time = self.restart_cache.fill(name.as_str());
            let erased = match what {
                Erase::User(user) => self.archive.erase_in(name.as_str(), Erasure::Author(user)),
                Erase::Offsets(offsets) => {
                    let sequences: Vec<u64> = offsets.iter().filter_map(|offset| offset.checked_sub(1)).collect();
                    self.archive.erase_in(name.as_str(), Erasure::Sequences(&sequences))
                }
            };
            self.restart_cache.remove(name.as_str());
            erased
        };
        let room = self.rooms.running(name);
        self.erasures.note(name, what, room.as_ref(), (self.rooms.clock)());
        if let Some(room) = room {
            self.rooms.erasing.note(&room);
        }
        erased.map_err(|error| {
            tracing::warn!(room = %name, %error, "messages not erased");
            ErrorCode::TooManyRequests
        })
    }

    /// What of the history is in memory.
    fn near(&self, room: &Room<Publication>, visible: &Visible, top: u64, read_from: ReadFrom) -> Near {
        let retained_from = room.oldest();
        let seen = visible.oldest(room, top);
        let trusted = visible.edge.ring_from();
        let ring = seen.max(trusted).min(top);
        // Whatever lies before what has expired in the ring has expired as well.
        let is_all = seen > retained_from.min(top) || ring == 0;
        let near = Near { ring, oldest: ring, is_all, restart_cache: None, erased: visible.edge.erased(room) };
        if near.is_all || ring != retained_from {
            return near;
        }
        let restart_cache = self
            .restart_cache
            .part(room, ring)
            .or_else(|| (read_from == ReadFrom::MemoryOrDatabase).then(|| self.fill_restart_cache(room, visible))?);
        let Some(part) = restart_cache.filter(|part| part.first() >= trusted) else { return near };
        let removed = visible.edge.range().start;
        let oldest = part.first_since(visible.since_ms).max(top.saturating_sub(visible.messages as u64));
        let oldest = oldest.max(removed).min(ring);
        Near { oldest, is_all: oldest > part.first() || oldest == 0, restart_cache: Some(part), ..near }
    }

    /// The first sequence of the history in the database, in a room that stands at `top`.
    fn oldest(&self, room: &Room<Publication>, visible: &Visible, top: u64) -> Result<Option<u64>, StoreError> {
        let span = self.archive.span_since(room.name(), visible.since_ms)?;
        Ok(span.map(|span| span.oldest.max(top.saturating_sub(visible.messages as u64))))
    }

    /// Reads the newest messages before a ring that nothing has been evicted from yet: everybody who comes back asks for them.
    fn fill_restart_cache(&self, room: &Room<Publication>, visible: &Visible) -> Option<Arc<Part>> {
        let border = self.archive.watermark(room)?.first();
        if room.oldest() != border || border == 0 || visible.in_memory == 0 {
            return None;
        }
        let _one_at_a_time = self.restart_cache.fill(room.name());
        if let Some(part) = self.restart_cache.part(room, border) {
            return Some(part);
        }
        let bytes_max = self.rooms.memory.caches.left().min(CACHED_BYTES_MAX);
        let mut reservation = self.rooms.memory.caches.try_reserve(bytes_max)?;
        let limit = HistoryLimit::messages(visible.in_memory).bytes(bytes_max as usize);
        let mut past = self.archive.history_newest_first(room, 0..border, limit).ok()?;
        past.reverse();
        let first = past.first()?.sequence;
        let is_whole = past.iter().zip(first..border).all(|(message, sequence)| message.sequence == sequence);
        (is_whole && past.len() as u64 == border - first).then(|| {
            let messages = placed(past);
            reservation.shrink_to(messages.iter().map(Placed::bytes_held).sum::<usize>() as u64);
            self.restart_cache.put(room.name(), Part::new(room, first, messages, reservation))
        })
    }

    /// All of these sequences, and a subscription that stands behind the last one found: the last ones may be being written at
    /// this moment, and then come as pushes.
    fn read_on(
        &self,
        room: &Room<Publication>,
        mut range: Range<u64>,
        (mode, bytes_max): (RecoveryMode, usize),
        visible: &Visible,
        read_from: ReadFrom,
    ) -> Result<(Subscription<Publication>, Vec<Placed>), Unread> {
        let near = self.near(room, visible, range.end, read_from);
        let mut bytes_max = bytes_max.min(visible.answer_bytes_max);
        if mode == RecoveryMode::Cache {
            // One of these is given: which, memory says, or it is the newest.
            range.start = range.start.max(near.oldest.min(range.end.saturating_sub(1)));
            bytes_max = usize::MAX;
        }
        if range.start >= near.oldest {
            return near.read(room, range, bytes_max).ok_or(Unread::Moved);
        }
        if near.is_all {
            return Err(Unread::Gone);
        }
        if read_from == ReadFrom::Memory {
            return Err(Unread::No(NoAnswer::InTheDatabase));
        }
        let no = |error| Unread::No(failed(error).into());
        if self.oldest(room, visible, range.end).map_err(no)?.is_none_or(|oldest| range.start < oldest) {
            return Err(Unread::Gone);
        }
        let border = near.oldest.min(range.end);
        let count = (border - range.start) as usize;
        // What the database has is told whole or not at all: nobody goes on behind a part of it.
        let limit = HistoryLimit::messages(count).bytes(self.rooms.database_bytes_max());
        let mut found = placed(self.archive.history(room, range.start..border, limit).map_err(no)?);
        if found.len() != count {
            return Err(Unread::Gone);
        }
        let (subscription, rest) = near.read(room, border..range.end, bytes_max).ok_or(Unread::Moved)?;
        found.extend(rest);
        Ok((subscription, found))
    }
}

/// The sequences that who recovers is to be given, of a room that stands at `top`.
fn wanted(recover: &Recover, visible: &Visible, top: u64, publications_max: usize) -> Option<Range<u64>> {
    let asked = &recover.position;
    let range = match recover.mode {
        RecoveryMode::Stream => {
            let is_known = visible.epoch.is_meant_by(&asked.epoch);
            let missed = top.checked_sub(asked.offset)?;
            (is_known && missed <= publications_max as u64).then_some(asked.offset..top)?
        }
        RecoveryMode::Cache => top.saturating_sub(recover.newest_max(publications_max) as u64)..top,
    };
    (!range.is_empty()).then_some(range)
}

/// What of a room's history is in memory.
struct Near {
    /// From here on the ring has everything.
    ring: u64,
    /// From here on everything is in memory.
    oldest: u64,
    /// Whether that is the whole history.
    is_all: bool,
    /// What lies before the ring.
    restart_cache: Option<Arc<Part>>,
    erased: Erased,
}

impl Near {
    /// Reads these sequences, and stands behind the last one found. `None` when they are not all there any more.
    fn read(
        &self,
        room: &Room<Publication>,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Option<(Subscription<Publication>, Vec<Placed>)> {
        if range.start < self.oldest {
            return None;
        }
        let (subscription, in_ring) =
            history::read(room, range.start.max(self.ring)..range.end.max(self.ring), bytes_max, &self.erased)?;
        let restart_cache =
            self.restart_cache.as_ref().map_or(&[][..], |part| part.slice(range.start..range.end.min(self.ring)));
        let mut found: Vec<Placed> = restart_cache.iter().cloned().chain(in_ring).collect();
        self.erased.hide(&mut found);
        Some((subscription, found))
    }
}

/// What was erased keeps its place, so that who recovers does not take it for lost.
fn placed(past: Vec<HistoryEntry<Publication>>) -> Vec<Placed> {
    let erased = Erased::empty;
    let placed = |HistoryEntry { sequence, time, message }| Placed {
        offset: sequence + 1,
        time_ms: time,
        publication: message.unwrap_or_else(erased),
    };
    past.into_iter().map(placed).collect()
}

fn failed(error: StoreError) -> ErrorCode {
    tracing::warn!(%error, "the past could not be read");
    ErrorCode::Internal
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::config::Config;
    use crate::rooms::hub::Hub;
    use roomcast_protocol::{Payload, RoomName, StreamPosition};

    fn hub(folder: &std::path::Path) -> Hub {
        let mut config = Config::dev();
        config.data_dir = folder.to_owned();
        config.channel.without_namespace.history_size = 100_000;
        let hub = Hub::alone(config);
        hub.start_storing().unwrap();
        hub
    }

    async fn publish(room: &Room<Publication>, count: u64) {
        for _ in 0..count {
            room.publish_wait(Publication::new(Payload::json("1".into()), None)).await.unwrap();
        }
    }

    fn recover(hub: &Hub, room: &Room<Publication>, offset: u64, read_from: ReadFrom) -> Result<Vec<u64>, NoAnswer> {
        let position = StreamPosition { offset, epoch: String::new() };
        let recover = Recover::new(position, RecoveryMode::Stream);
        let visible = hub.stored_rooms().unwrap().visible(room)?;
        let entered = hub.stored_rooms().unwrap().enter(room, Some(&recover), &visible, 10_000, read_from)?;
        Ok(entered.subscribed.found.iter().map(|placed| placed.offset).collect())
    }

    #[tokio::test]
    async fn after_a_restart_the_database_is_asked_once_by_all_who_come_back() {
        let folder = std::env::temp_dir().join(format!("roomcast-warm-{}", std::process::id()));
        let name = RoomName::parse("hall", 255).unwrap();
        let first = hub(&folder);
        publish(&first.stored_rooms().unwrap().open(&name).unwrap(), 6_000).await;
        first.stored_rooms().unwrap().archive.close().unwrap();
        drop(first);

        let second = hub(&folder);
        let room = second.stored_rooms().unwrap().open(&name).unwrap();
        let found = |offset, read_from| {
            recover(&second, &room, offset, read_from).map(|found| (found.len(), found.first().copied()))
        };
        assert_eq!(found(5_900, ReadFrom::Memory), Err(NoAnswer::InTheDatabase));
        assert_eq!(found(5_900, ReadFrom::MemoryOrDatabase), Ok((100, Some(5_901))));
        publish(&room, 10).await;
        assert_eq!(found(2_000, ReadFrom::Memory), Ok((4_010, Some(2_001))), "from both, as one");
        assert_eq!(found(6_005, ReadFrom::Memory), Ok((5, Some(6_006))));
        assert_eq!(found(6_010, ReadFrom::Memory), Ok((0, None)));
        assert_eq!(found(100, ReadFrom::Memory), Err(NoAnswer::InTheDatabase), "too far back");
        assert_eq!(found(100, ReadFrom::MemoryOrDatabase), Ok((5_910, Some(101))));
        publish(&room, 6_000).await;
        assert_eq!(found(5_900, ReadFrom::Memory), Err(NoAnswer::InTheDatabase), "the ring has moved on");
        assert_eq!(found(5_900, ReadFrom::MemoryOrDatabase), Ok((6_110, Some(5_901))));
        second.stored_rooms().unwrap().archive.close().unwrap();
        let _ = std::fs::remove_dir_all(&folder);
    }
}
