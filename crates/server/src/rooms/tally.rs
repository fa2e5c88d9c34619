//! How many rooms there are, and what they take without their messages: each by its own name.
//!
//! A room is counted when it is made, by whoever has made it, and taken off by whoever has ended it; the broker says of each end to one
//! alone that it was theirs.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use prometheus_client::metrics::gauge::Gauge;

/// What a room takes, and for each byte of its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomBytes {
    itself: u64,
    each: u64,
}

/// What a room takes that nobody has published into: measured by a test of the heap, which has these figures, too.
const IN_MEMORY: RoomBytes = RoomBytes { itself: 448, each: 1 };

/// The same where there is a database: the archive knows it as well, by its name.
const STORED: RoomBytes = RoomBytes { itself: 1_184, each: 2 };

impl RoomBytes {
    /// What rooms of a server take that has a database, or has none.
    pub(super) fn of(has_database: bool) -> Self {
        if has_database { STORED } else { IN_MEMORY }
    }

    /// What a room of that name takes.
    pub(super) fn one(self, name: &str) -> u64 {
        self.of_all(1, name.len() as u64)
    }

    fn of_all(self, rooms: u64, name_bytes: u64) -> u64 {
        rooms * self.itself + name_bytes * self.each
    }
}

/// The rooms that there are.
pub(crate) struct Tally {
    rooms: Gauge,
    /// Of all of their names: what each takes is reckoned from that, so that it is the same when it goes as when it came.
    name_bytes: AtomicI64,
}

impl Tally {
    pub(super) fn new(rooms: Gauge) -> Self {
        Self { rooms, name_bytes: AtomicI64::new(0) }
    }

    /// A room was made.
    pub(super) fn add(&self, name: &str) {
        self.rooms.inc();
        // Relaxed, here and below: a sum. For a moment it may lack what has ended before it was counted.
        self.name_bytes.fetch_add(name.len() as i64, Relaxed);
    }

    /// A room that was counted has ended.
    pub(super) fn take_off(&self, name: &str) {
        self.rooms.dec();
        self.name_bytes.fetch_sub(name.len() as i64, Relaxed);
    }

    pub(super) fn rooms(&self) -> u64 {
        u64::try_from(self.rooms.get()).unwrap_or(0)
    }

    /// Of all of their names.
    pub(super) fn name_bytes(&self) -> u64 {
        u64::try_from(self.name_bytes.load(Relaxed)).unwrap_or(0)
    }

    /// What all of them take.
    pub(super) fn bytes(&self, each: RoomBytes) -> u64 {
        each.of_all(self.rooms(), self.name_bytes())
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("rooms", &self.rooms()).field("name_bytes", &self.name_bytes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::PathBuf;
    use std::time::Duration;

    use smallvec::smallvec;

    use super::*;
    use crate::config::{Config, NamespaceOptions, Storage};
    use crate::rooms::engine::Publish;
    use crate::rooms::handing_over::GiveWithin;
    use crate::rooms::hub::Hub;
    use crate::util::clock::unix_ms;
    use crate::util::rng::Rng;
    use roomcast_protocol::{ErrorCode, Payload, Publication, RoomName};

    const LATER_MS: u64 = 400 * 24 * 60 * 60 * 1_000;

    fn config(storage: Storage) -> Config {
        let mut config = Config::dev();
        config.memory.limit = NonZeroUsize::new(128 << 20);
        config.channel.without_namespace.storage = storage;
        config.data_dir = folder(storage);
        config
    }

    fn folder(storage: Storage) -> PathBuf {
        std::env::temp_dir().join(format!("roomcast-tally-{storage:?}-{}", std::process::id()))
    }

    fn name(room: &str) -> RoomName {
        RoomName::parse(room, 255).expect("a name")
    }

    /// Names of all lengths.
    fn names() -> impl Iterator<Item = RoomName> {
        (1..=255).map(|bytes| name(&"x".repeat(bytes)))
    }

    async fn publish(hub: &Hub, room: &RoomName, bytes: usize) {
        let data = Payload::json(format!("\"{}\"", "x".repeat(bytes)).into());
        let publish = Publish::new(room.clone(), Publication::new(data, None));
        let answer = hub.engine(room).expect("an engine").publish(smallvec![publish]).pop().expect("an answer");
        answer.wait().await.expect("there is space");
    }

    /// How many rooms are counted: those that are there, and their names.
    fn counted(hub: &Hub) -> u64 {
        let (tally, rooms) = (&hub.rooms.tally, hub.rooms.broker.rooms());
        let name_bytes = rooms.iter().map(|room| room.name().len() as u64).sum();
        assert_eq!((tally.rooms(), tally.name_bytes()), (rooms.len() as u64, name_bytes));
        assert_eq!(hub.metrics.rooms.get(), rooms.len() as i64);
        tally.rooms()
    }

    fn expire(hub: &Hub) {
        hub.expire_rooms(unix_ms());
        hub.expire_rooms(unix_ms() + LATER_MS);
        assert_eq!((counted(hub), hub.rooms.tally.bytes(IN_MEMORY)), (0, 0));
    }

    #[tokio::test]
    async fn rooms_of_all_lengths_that_end_in_any_way_leave_nothing() {
        let mut declared = config(Storage::Off);
        declared.channel.namespaces.insert("plain".to_owned(), NamespaceOptions::dev());
        let hub = Hub::alone(declared);
        names().for_each(|name| drop(hub.rooms.open(&name).expect("there is space")));
        names().for_each(|name| drop(hub.rooms.open(&name).expect("it is there")));
        assert_eq!(counted(&hub), 255);
        assert!(hub.rooms.end("x") && !hub.rooms.end("x"));
        assert_eq!(counted(&hub), 254);
        // Its namespace is gone.
        (1..200).for_each(|bytes| {
            drop(hub.rooms.open(&name(&format!("plain:{}", "x".repeat(bytes)))).expect("there is space"));
        });
        assert_eq!(counted(&hub), 254 + 199);
        hub.take_over(config(Storage::Off), Rng::from_seed([1; 32])).expect("nothing is wrong with it");
        assert_eq!(counted(&hub), 254);
        // Colder ones are let go, and come back.
        for nth in (0..1_500).chain(0..10) {
            publish(&hub, &name(&format!("{nth:0>width$}", width = 5 + nth % 250)), 60_000).await;
        }
        assert!((300..1_200).contains(&counted(&hub)), "{:?}", hub.rooms.tally);
        expire(&hub);
    }

    #[tokio::test]
    async fn rooms_that_are_handed_over_are_counted_where_they_are() {
        let [old, new, full] = [(); 3].map(|()| Hub::alone(config(Storage::Off)));
        for (room, nth) in names().zip(0..100) {
            publish(&old, &room, 1_000 * nth).await;
        }
        old.settle().await;
        old.release(Duration::from_secs(5)).expect("nothing is to be stored");
        let rings = &full.rooms.memory.rings;
        let _taken = rings.try_reserve(rings.left() - 1_024).expect("it is there");
        for record in old.give_rooms(GiveWithin { bytes: 64 << 20, time: Duration::from_secs(60) }) {
            [&new, &full].into_iter().for_each(|hub| hub.take_rooms(&record).expect("it is taken"));
        }
        assert_eq!(counted(&new), 100);
        assert!(counted(&full) < 90, "their messages have no place");
        expire(&new);
        expire(&full);
    }

    #[tokio::test]
    async fn stored_rooms_leave_nothing() {
        let hub = Hub::alone(config(Storage::Async));
        hub.start_storing().expect("a database");
        let rooms = hub.stored_rooms().expect("a database");
        names().for_each(|name| drop(rooms.open(&name).expect("there is space")));
        names().for_each(|name| drop(rooms.open(&name).expect("it is there")));
        assert_eq!(counted(&hub), 255);
        expire(&hub);
        rooms.archive.close().expect("all is stored");
        let _ = std::fs::remove_dir_all(folder(Storage::Async));
    }

    #[tokio::test]
    async fn as_many_rooms_may_be_made_as_their_names_leave_place_for() {
        for width in [8, 250] {
            let hub = Hub::alone(config(Storage::Off));
            let most = hub.rooms.memory.rooms.limit() / 4 * 3 / IN_MEMORY.one(&"x".repeat(width));
            let open = |nth: u64| hub.rooms.open(&name(&format!("{nth:0>width$}"))).map(drop);
            assert!((0..most).all(|nth| open(nth).is_ok()));
            assert_eq!(open(most), Err(ErrorCode::LimitExceeded));
            assert!(hub.rooms.end(&format!("{:0>width$}", 0)) && open(most).is_ok(), "one for one");
            assert_eq!(counted(&hub), most);
        }
    }
}
