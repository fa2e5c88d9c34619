//! Many `stored` rooms at rest: what they cost, and that each goes on when its own watermark moves.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};

use roomcast::{Broker, Position, Room, Start};
use roomcast_protocol::{Payload, Publication, RoomName};

use super::archive::Disk;
use super::options;
use super::world::Sink;
use crate::config::SlowConsumer;
use crate::delivery::feed::{CaughtUp, MemberKey, MemberOptions};
use crate::delivery::turns::Delivery;
use crate::ops::metrics::Metrics;
use crate::rooms::join_leave::Events;
use crate::rooms::visible::POLLS;

/// More than are served in a turn.
const ROOMS: usize = 200;

/// Batches that a member takes, more than it is given.
const TAKES: usize = 10;

/// Counts how often the delivery is woken.
#[derive(Debug, Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Stored rooms.
struct Building {
    disk: Disk,
    rooms: Vec<Room<Publication>>,
    delivery: Delivery<Sink>,
    wakes: Arc<Wakes>,
    _broker: Broker<Publication>,
}

impl Building {
    fn new() -> Self {
        let broker = Broker::builder().shards(1).build();
        let disk = Disk::new(&broker);
        let rooms = (0..ROOMS).map(|number| disk.open(&number.to_string())).collect();
        let inbox = Arc::new(Events::new(1)).inbox(0).expect("it is asked for once");
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), inbox);
        Self { disk, rooms, delivery, wakes: Arc::default(), _broker: broker }
    }

    fn join(&self, number: usize) -> (Rc<Sink>, MemberKey) {
        self.join_at(number, self.disk.edge(&self.rooms[number]).range().end)
    }

    fn join_at(&self, number: usize, sequence: u64) -> (Rc<Sink>, MemberKey) {
        let (room, sink) = (&self.rooms[number], Sink::taking(TAKES));
        let name = RoomName::parse(room.name(), 255).expect("a name");
        let position = Position { epoch: room.epoch(), sequence };
        let start = room.subscribe_from(Start::Resume(position)).now().expect("the room is open");
        let delivery = (options(SlowConsumer::Disconnect, true), self.disk.edge(room));
        let key = self.delivery.join(&name, start, &sink, delivery, MemberOptions::default());
        (sink, key)
    }

    fn publish(&self, number: usize) {
        self.rooms[number].publish(Publication::new(Payload::json("1".into()), None)).expect("there is space");
    }

    fn turn(&self) -> bool {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.delivery.deliver(&mut Context::from_waker(&waker), None)
    }

    /// Turns until there is nothing to do; how often somebody has looked at an edge meanwhile.
    fn settle(&self) -> usize {
        let before = POLLS.get();
        while self.turn() {}
        POLLS.get() - before
    }
}

#[test]
fn a_turn_looks_only_at_those_rooms_at_rest_that_have_moved() {
    let mut building = Building::new();
    let members: Vec<_> = (0..ROOMS).map(|number| building.join(number).0).collect();
    (0..ROOMS).for_each(|number| building.publish(number));
    assert_eq!(building.settle(), ROOMS, "each comes to its edge");
    assert_eq!(building.settle(), 0);
    let before = building.wakes.0.load(Relaxed);
    building.disk.store();
    assert_eq!(building.wakes.0.load(Relaxed) - before, 1, "the delivery is woken once for all of them");
    let given = |nth: usize| TAKES - members[nth].takes.get();
    assert_eq!(building.settle(), 2 * ROOMS, "each is looked at when it is woken and when it is at its edge again");
    assert!((0..ROOMS).all(|number| given(number) == 1));
    building.publish(7);
    building.disk.store();
    assert_eq!(building.settle(), 2);
    assert!((0..ROOMS).all(|number| given(number) == 1 + usize::from(number == 7)));
}

#[test]
fn who_comes_to_a_room_at_rest_and_goes_leaves_no_waker_there() {
    let building = Building::new();
    // The disk takes its time.
    building.publish(3);
    for _ in 0..100 {
        let (_, key) = building.join(3);
        building.settle();
        assert_eq!(building.delivery.wakers(), 1);
        building.delivery.leave(key);
        assert_eq!(building.delivery.wakers(), 0, "the room keeps what nobody waits for");
    }
}

#[test]
fn a_member_at_rest_behind_its_group_is_woken_when_its_watermark_moves() {
    let mut building = Building::new();
    building.publish(3);
    // One whose group stands where nothing may be seen yet, and one that begins before it, twice.
    let (ahead, _) = building.join_at(3, 1);
    let [(behind, key), (_, gone_key)] = [(); 2].map(|()| building.join_at(3, 0));
    building.settle();
    for key in [key, gone_key] {
        assert!(matches!(building.delivery.catch_up(key), CaughtUp::Held));
        assert!(matches!(building.delivery.catch_up(key), CaughtUp::Held), "it may look as often as it likes");
    }
    assert_eq!(building.delivery.wakers(), 2, "one for each");
    building.delivery.leave(gone_key);
    assert_eq!((building.delivery.wakers(), building.settle(), behind.wakes.get()), (1, 0, 0));
    building.disk.store();
    assert_eq!((building.settle(), behind.wakes.get()), (1, 1));
    assert!(matches!(building.delivery.catch_up(key), CaughtUp::Rejoined));
    assert_eq!((behind.takes.get(), ahead.takes.get(), building.delivery.wakers()), (TAKES - 1, TAKES, 0));
}
