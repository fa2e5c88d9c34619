//! Rooms of which messages were erased lately, or the history was removed: what their rings have of it is taken out.
//!
//! What is erased is shown to nobody from the acknowledgement on ([`Edge::erased`](crate::rooms::visible::Edge::erased)), and goes from
//! memory shortly afterwards, whether anything is published there or not: at once where nobody is reading it, and else when a later look
//! finds that nobody is any more. What is removed with a history is still given to members who were there when it was published, and
//! have not come so far; those who need longer than [`REMOVED_DELAY`] have missed it, and are told so.

use crate::util::panics::lock;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use roomcast::Room;
use roomcast_protocol::Publication;

/// How often rings are looked at that may still have something of what was erased.
pub(crate) const ERASING_INTERVAL: Duration = Duration::from_secs(5);

/// Looks at a ring after an erasure, at least: who was reading when the first found nobody has gone on by the last.
const LOOKS_MIN: u32 = 4;

/// The rooms.
#[derive(Default)]
pub(crate) struct Erasing(Mutex<HashMap<Box<str>, ToErase>>);

/// How long members may take to come past a history that was removed: with the looks after it less than a minute, also of what is
/// removed while something else waits to go. A socket that takes nothing for so long is closed soon.
const REMOVED_DELAY: Duration = Duration::from_secs(20);

/// A room, and how often its ring was looked at since something was erased last.
struct ToErase {
    room: Room<Publication>,
    looks: u32,
    /// What was removed of it, and is still there.
    removed: Option<Removed>,
}

/// A history that was removed.
#[derive(Clone, Copy)]
struct Removed {
    /// What lies before this goes then.
    before: u64,
    until_ms: u64,
    /// What was removed since; it goes in turn.
    next: u64,
}

impl Erasing {
    /// Messages of a room were erased.
    pub(crate) fn note(&self, room: &Room<Publication>) {
        self.entry(room, |to_erase| to_erase.looks = 0);
    }

    /// The history of a room was removed, as far as `before`.
    pub(crate) fn note_removed(&self, room: &Room<Publication>, before: u64, now_ms: u64) {
        self.entry(room, |to_erase| match &mut to_erase.removed {
            Some(removed) => removed.next = before.max(removed.next),
            none => *none = Some(Removed::at(before, now_ms)),
        });
    }

    fn entry(&self, room: &Room<Publication>, change: impl FnOnce(&mut ToErase)) {
        let mut rooms = self.rooms();
        let new = || ToErase { room: room.clone(), looks: 0, removed: None };
        let to_erase = rooms.entry(room.name().into()).or_insert_with(new);
        if to_erase.room != *room {
            *to_erase = new();
        }
        change(to_erase);
    }

    /// Has each of the rooms looked at by `take_out`, which says whether its ring has nothing any more of what was erased, that before a
    /// sequence included where one is named.
    pub(crate) fn go_on(&self, now_ms: u64, take_out: impl Fn(&Room<Publication>, Option<u64>) -> bool) {
        let due = |to_erase: &mut ToErase| {
            let removed = to_erase.removed.filter(|removed| removed.until_ms <= now_ms)?;
            to_erase.looks = 0;
            to_erase.removed = (removed.next > removed.before).then(|| Removed::at(removed.next, now_ms));
            Some(removed.before)
        };
        let rooms: Vec<_> = self.rooms().values_mut().map(|to_erase| (to_erase.room.clone(), due(to_erase))).collect();
        for (room, before) in rooms {
            // A ring goes with its room, and who is in it comes to its end, or is led out by a recall.
            let is_out = !room.is_running() || take_out(&room, before);
            let mut rooms = self.rooms();
            if let Some(to_erase) = rooms.get_mut(room.name()).filter(|to_erase| to_erase.room == room) {
                to_erase.looks += 1;
                let is_done = is_out && to_erase.removed.is_none() && to_erase.looks >= LOOKS_MIN;
                if is_done || !room.is_running() {
                    rooms.remove(room.name());
                }
            }
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Box<str>, ToErase>> {
        lock(&self.0)
    }
}

impl Removed {
    fn at(before: u64, now_ms: u64) -> Self {
        Self { before, until_ms: now_ms.saturating_add(REMOVED_DELAY.as_millis() as u64), next: 0 }
    }
}

impl fmt::Debug for Erasing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Erasing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use smallvec::smallvec;
    use tokio::runtime::Handle;
    use uuid::Uuid;

    use super::*;
    use crate::config::{Config, Storage};
    use crate::rooms::cluster::LocalNode;
    use crate::rooms::engine::Publish;
    use crate::rooms::hub::Hub;
    use crate::rooms::visible::Erased;
    use roomcast::{Broker, Start};
    use roomcast_protocol::{Payload, RoomName};

    /// The looks at the ring at a time: what is to go beyond what is erased.
    fn looks(erasing: &Erasing, now_ms: u64) -> Vec<Option<u64>> {
        let looks = RefCell::new(Vec::new());
        erasing.go_on(now_ms, |_, before| {
            looks.borrow_mut().push(before);
            true
        });
        looks.into_inner()
    }

    #[test]
    fn what_is_removed_goes_after_a_while_and_what_is_removed_meanwhile_not_much_later() {
        let broker = Broker::<Publication>::new();
        let room = broker.room("hall").expect("a room");
        let erasing = Erasing::default();
        erasing.note_removed(&room, 5, 0);
        erasing.note_removed(&room, 7, 1_000);
        erasing.note_removed(&room, 6, 2_000);
        assert_eq!(looks(&erasing, 5_000), [None], "members have time");
        assert_eq!(looks(&erasing, 20_000), [Some(5)]);
        assert_eq!(looks(&erasing, 39_999), [None]);
        assert_eq!(looks(&erasing, 40_000), [Some(7)]);
        for now_ms in [45_000, 50_000, 55_000] {
            assert_eq!(looks(&erasing, now_ms), [None], "who was reading then may have gone on by now");
        }
        assert_eq!(looks(&erasing, 60_000), [], "it is done");
    }

    #[test]
    fn a_room_of_the_same_name_has_nothing_to_do_with_it() {
        let brokers = [(); 2].map(|()| Broker::<Publication>::new());
        let [first, second] = brokers.each_ref().map(|broker| broker.room("hall").expect("a room"));
        let erasing = Erasing::default();
        erasing.note_removed(&first, 5, 0);
        erasing.note(&second);
        assert_eq!(looks(&erasing, 60_000), [None]);
    }

    /// A hub whose time passes when it is told to.
    fn hub(storage: Storage, folder: &Path, clock: &Arc<AtomicU64>) -> Hub {
        let mut config = Config::dev();
        config.channel.without_namespace.storage = storage;
        config.data_dir = folder.to_owned();
        let clock = Arc::clone(clock);
        let now = move || clock.load(Relaxed);
        let (cluster, here) = (Arc::new(LocalNode::new(1)), Handle::current());
        let hub = Hub::new(config, Uuid::nil(), now, cluster, vec![here.clone()], here);
        hub.start_storing().expect("a database");
        hub
    }

    /// What the ring of a room has.
    fn in_ring(room: &Room<Publication>) -> Vec<Payload> {
        let mut ring = room.subscribe_from(Start::Oldest).now().expect("a room that runs");
        std::iter::from_fn(|| ring.try_recv_ref().ok().map(|publication| publication.data.clone())).collect()
    }

    #[tokio::test]
    async fn a_history_that_was_removed_leaves_the_ring_of_a_room_in_which_nothing_happens() {
        let payload = |text: &str| Payload::json(format!("\"{text}\"").into());
        for storage in [Storage::Off, Storage::Stored] {
            let folder = std::env::temp_dir().join(format!("roomcast-removed-{storage:?}-{}", std::process::id()));
            let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
            let hub = hub(storage, &folder, &clock);
            let name = RoomName::parse("hall", 255).expect("a name");
            let engine = hub.engine(&name).expect("an engine");
            let publish = async |text: &str| {
                let publish = Publish::new(name.clone(), Publication::new(payload(text), None));
                engine.publish(smallvec![publish]).pop().expect("an answer").wait().await.expect("published");
            };
            publish("first").await;
            publish("second").await;
            engine.remove_history(&name).wait().await.expect("removed");
            publish("third").await;
            let room = hub.rooms.running(&name).expect("a room that runs");
            hub.go_on_erasing();
            assert_eq!(in_ring(&room), ["first", "second", "third"].map(payload), "members may be behind");
            clock.fetch_add(REMOVED_DELAY.as_millis() as u64, Relaxed);
            hub.go_on_erasing();
            let empty = Erased::empty().data;
            assert_eq!(in_ring(&room), [empty.clone(), empty, payload("third")], "{storage:?}");
            publish("fourth").await;
            assert_eq!(room.tail(), 4, "its position is as it was");
            drop(hub);
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
