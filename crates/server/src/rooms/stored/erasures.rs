//! Rooms of which messages were erased lately, until nobody can have one of them any more.

use crate::util::panics::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::rooms::engine::Erase;
use crate::rooms::visible::Erased;
use roomcast::store::{ErasedMessages, Watermark};
use roomcast::{Room, WeakRoom};
use roomcast_protocol::{Placed, Publication, RoomName};

/// How long what was read of the database before may be on its way to somebody: longer than any command waits for its answer.
const READ_BEFORE: Duration = Duration::from_secs(60);

/// The rooms.
#[derive(Debug, Default)]
pub(super) struct Erasures {
    rooms: Mutex<HashMap<Box<str>, OfRoom>>,
    /// How many there are: nearly always none, and then nobody looks for one.
    count: AtomicUsize,
}

/// What was erased of a room. The watermark of the incarnation that runs knows all of it that it has had, and forgets with it: what was
/// erased while none ran, or of one that is gone, is here, for twice [`READ_BEFORE`] at most.
#[derive(Debug)]
struct OfRoom {
    room: Option<WeakRoom<Publication>>,
    /// Since when nothing of it was forgotten.
    since_ms: u64,
    /// Single messages, of whichever incarnation: in a stored room no place is given twice.
    single: Arc<ErasedMessages>,
    /// Whose messages were erased while it did not run, and when.
    users: Vec<(Box<str>, u64)>,
}

impl Erasures {
    /// Messages of a room before that sequence are to be erased: from here on single ones are in no answer, and no delta is made of them.
    /// `mark` is of the incarnation that runs.
    pub(super) fn begin(&self, name: &RoomName, what: &Erase, before: u64, mark: Option<&Watermark>, now_ms: u64) {
        if let Erase::Offsets(offsets) = what {
            let sequences = offsets.iter().filter_map(|offset| offset.checked_sub(1));
            let sequences = sequences.filter(|sequence| *sequence < before);
            // First: who finds nothing at its place in an answer counts as one who has it.
            mark.inspect(|mark| mark.erased().extend(sequences.clone()));
            self.entry(name, now_ms, |of_room| of_room.single.extend(sequences));
        }
    }

    /// They were erased; `room` is the one that runs.
    pub(super) fn note(&self, name: &RoomName, what: &Erase, room: Option<&Room<Publication>>, now_ms: u64) {
        self.entry(name, now_ms, |of_room| match (room, what) {
            (Some(room), _) if of_room.room.as_ref().is_some_and(|known| *known == *room) => {}
            (Some(room), _) => (of_room.room, of_room.since_ms) = (Some(room.downgrade()), now_ms),
            (None, Erase::User(user)) => {
                of_room.users.retain(|(known, _)| **known != **user);
                of_room.users.push((user.as_str().into(), now_ms));
            }
            (None, Erase::Offsets(_)) => {}
        });
    }

    fn entry(&self, name: &RoomName, now_ms: u64, change: impl FnOnce(&mut OfRoom)) {
        let mut rooms = self.rooms();
        let new = || OfRoom { room: None, since_ms: now_ms, single: Arc::default(), users: Vec::new() };
        change(rooms.entry(name.as_str().into()).or_insert_with(new));
        // Release: pairs with `hide`.
        self.count.store(rooms.len(), Release);
    }

    /// Takes out of what was read of a room before what its watermark may not know of.
    pub(super) fn hide(&self, name: &RoomName, found: &mut [Placed]) {
        // Acquire: pairs with `entry`.
        if self.count.load(Acquire) == 0 {
            return;
        }
        let rooms = self.rooms();
        let Some(OfRoom { single, users, .. }) = rooms.get(name.as_str()) else { return };
        Erased::of(single).hide(found);
        for (user, at_ms) in users {
            // What they have said since is another matter.
            found.iter_mut().filter(|placed| placed.time_ms <= *at_ms).for_each(|placed| Erased::hide_of(user, placed));
        }
    }

    /// Forgets, and lets watermarks forget, what neither a ring nor anybody who has read it can have. That of a room which has ended goes
    /// with the last who has it.
    pub(super) fn forget(&self, now_ms: u64, watermark: impl Fn(&Room<Publication>) -> Option<Arc<Watermark>>) {
        let is_over = |since_ms: u64| now_ms.saturating_sub(since_ms) >= READ_BEFORE.as_millis() as u64;
        let mut rooms = self.rooms();
        rooms.retain(|_, OfRoom { room, since_ms, single, users }| {
            if !is_over(*since_ms) {
                return true;
            }
            *since_ms = now_ms;
            let is_left = |room: Room<_>| {
                room.is_running() && watermark(&room).is_some_and(|mark| !mark.erased().forget_before(room.oldest()))
            };
            *room = room.take().filter(|room| room.upgrade().is_some_and(is_left));
            users.retain(|(_, at_ms)| !is_over(*at_ms));
            // Those of the last time.
            let is_empty = single.forget_before(u64::MAX);
            room.is_some() || !users.is_empty() || !is_empty
        });
        // Release: as in `entry`.
        self.count.store(rooms.len(), Release);
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Box<str>, OfRoom>> {
        lock(&self.rooms)
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;
    use tokio::runtime::Handle;
    use uuid::Uuid;

    use super::*;
    use crate::config::{Config, Storage};
    use crate::rooms::cluster::LocalNode;
    use crate::rooms::engine::Publish;
    use crate::rooms::hub::Hub;
    use roomcast_protocol::{ClientInfo, Payload};

    fn found() -> Vec<Placed> {
        let by = |user: &str| Some(ClientInfo::new(user.to_owned(), "c".to_owned(), None, None));
        let publication = |user| Publication::new(Payload::json("1".into()), by(user));
        let placed = |(offset, user)| Placed { offset, time_ms: 1_000 * offset, publication: publication(user) };
        [(1, "eve"), (2, "ann"), (3, "eve")].into_iter().map(placed).collect()
    }

    #[tokio::test]
    async fn what_is_in_no_answer_any_more_is_the_base_of_no_delta() {
        let folder = std::env::temp_dir().join(format!("roomcast-erasures-{}", std::process::id()));
        let mut config = Config::dev();
        config.channel.without_namespace.storage = Storage::Stored;
        config.data_dir = folder.clone();
        let (cluster, here) = (Arc::new(LocalNode::new(1)), Handle::current());
        let hub = Hub::new(config, Uuid::nil(), || 1_700_000_000_000, cluster, vec![here.clone()], here);
        hub.start_storing().expect("a database");
        let hall = RoomName::parse("hall", 255).expect("a name");
        let engine = hub.engine(&hall).expect("an engine");
        for placed in found() {
            let mut published = engine.publish(smallvec![Publish::new(hall.clone(), placed.publication)]);
            published.pop().expect("an answer").wait().await.expect("published");
        }
        let (stored, room) = (hub.stored_rooms().expect("a database"), hub.rooms.running(&hall).expect("it runs"));
        let edge = engine.edge(&room).expect("an edge");
        assert!(edge.may_be_base(2, &edge.erased(&room)));
        let mark = stored.archive.watermark(&room);
        stored.erasures.begin(&hall, &Erase::Offsets(vec![3, 4]), 3, mark.as_deref(), 2_000);
        assert_eq!(hidden(&stored.erasures, &hall), [false, false, true]);
        let erased = edge.erased(&room);
        assert_eq!([0, 1, 2, 3].map(|sequence| edge.may_be_base(sequence, &erased)), [true, true, false, true]);
        drop(hub);
        let _ = std::fs::remove_dir_all(folder);
    }

    fn hidden(erasures: &Erasures, room: &RoomName) -> [bool; 3] {
        let mut found = found();
        erasures.hide(room, &mut found);
        [0, 1, 2].map(|nth| found[nth].publication.info.is_none())
    }

    #[test]
    fn what_was_erased_of_a_room_that_does_not_run_is_hidden_as_long_as_somebody_may_have_read_it() {
        let [hall, other] = ["hall", "other"].map(|room| RoomName::parse(room, 255).expect("a name"));
        let (user, single) = (Erase::User("eve".to_owned()), Erase::Offsets(vec![0, 2, 3]));
        for (what, expected) in [(user, [true, false, false]), (single, [false, true, false])] {
            let erasures = Erasures::default();
            assert_eq!(hidden(&erasures, &hall), [false; 3]);
            erasures.begin(&hall, &what, 2, None, 2_000);
            erasures.note(&hall, &what, None, 2_000);
            assert_eq!((hidden(&erasures, &hall), hidden(&erasures, &other)), (expected, [false; 3]), "{what:?}");
            erasures.forget(61_999, |_| None);
            assert_eq!(hidden(&erasures, &hall), expected, "it may be on its way");
            erasures.forget(122_000, |_| None);
            erasures.forget(182_000, |_| None);
            assert_eq!((hidden(&erasures, &hall), erasures.count.load(Acquire)), ([false; 3], 0), "{what:?}");
        }
    }
}
