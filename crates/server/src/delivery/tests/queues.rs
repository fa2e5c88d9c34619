//! Event queues that are full: who goes along loses nothing for those who are behind.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use roomcast::{Broker, Position, Room};
use roomcast_protocol::{ClientInfo, Payload, Publication, RoomName};

use super::world::{Item, Sink, filter};
use crate::config::SlowConsumer;
use crate::delivery::feed::{CaughtUp, MemberKey, MemberOptions};
use crate::delivery::turns::Delivery;
use crate::ops::metrics::Metrics;
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::join_leave::{Event, Events, INBOX_BYTES_MAX, What};
use crate::rooms::visible::Edge;
use crate::session::View;

/// Bytes of a message, about.
const LARGE: usize = 60_000;

/// A shard, and rooms named `hall` in all of which the same happens.
struct World {
    broker: Broker<Publication>,
    events: Arc<Events>,
    delivery: Delivery<Sink>,
}

impl World {
    fn new() -> Self {
        let events = Arc::new(Events::new(1));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        Self { broker: Broker::builder().shards(1).build(), events, delivery }
    }

    fn room(&self, nth: usize) -> (RoomName, Room<Publication>) {
        let name = RoomName::parse(&format!("hall-{nth}"), 255).expect("a name");
        (name.clone(), self.broker.room(name.as_str()).expect("there is space"))
    }

    fn join(&self, nth: usize, takes: usize) -> (Rc<Sink>, MemberKey) {
        let ((name, room), sink) = (self.room(nth), Sink::taking(takes));
        let options = DeliveryOptions { slow_consumer: SlowConsumer::Disconnect, ..DeliveryOptions::default() };
        let start = room.subscribe().now().expect("the room is open");
        let member = MemberOptions { hears: true, ..MemberOptions::default() };
        let key = self.delivery.join(&name, start, &sink, (options, Edge::published()), member);
        (sink, key)
    }

    /// A member that is given what has a tag of its own.
    fn join_with_filter(&self, nth: usize, own: usize) -> (Rc<Sink>, MemberKey) {
        let ((name, room), sink) = (self.room(nth), Sink::taking(usize::MAX));
        let start = room.subscribe().now().expect("the room is open");
        let view = View { filter: filter("for", &own.to_string()), ..View::default() };
        let member = MemberOptions { hears: true, view, own: None };
        let key = self.delivery.join(&name, start, &sink, (DeliveryOptions::default(), Edge::published()), member);
        (sink, key)
    }

    /// Gives all members of a room a large message without an offset; whether they are given it.
    fn tell(&self, nth: usize, message: usize) -> bool {
        let event = self.message(nth, message);
        let has_space = self.delivery.reserve(&event);
        if has_space {
            self.delivery.take_in(&event);
        }
        has_space
    }

    fn message(&self, nth: usize, message: usize) -> Arc<Event> {
        let ((room, ring), data) = (self.room(nth), format!("{message}{}", " ".repeat(LARGE)));
        let after = Position { epoch: ring.epoch(), sequence: ring.tail() };
        let what = What::Message(Publication::new(Payload::json(data.into()), None), 0);
        Arc::new(Event { room, what, after })
    }

    fn turn(&self) {
        while self.delivery.deliver(&mut Context::from_waker(Waker::noop()), None) {}
    }
}

fn messages(sink: &Sink) -> usize {
    sink.items().iter().filter(|item| matches!(item, Item::Message(_))).count()
}

#[test]
fn who_goes_along_loses_nothing_for_who_is_behind_in_other_rooms() {
    let world = World::new();
    let rooms: Vec<_> = (0..24).map(|nth| (world.join(nth, 0), world.join(nth, usize::MAX))).collect();
    for message in 0..16 {
        for nth in 0..rooms.len() {
            assert!(world.tell(nth, message), "those who are behind give way");
            world.turn();
        }
    }
    for (_, (sink, _)) in &rooms {
        assert_eq!((messages(sink), sink.doom.get()), (16, None));
    }
    // Some of those who are behind have lost something, and are told so; the others go on.
    let mut lost = 0;
    for ((sink, key), _) in &rooms {
        sink.takes.set(usize::MAX);
        match world.delivery.catch_up(*key) {
            CaughtUp::EventsLost => lost += 1,
            _ => assert_eq!(messages(sink), 16),
        }
    }
    assert!((1..rooms.len()).contains(&lost), "{lost}");
}

#[test]
fn what_does_not_fit_is_not_promised_and_takes_nothing_else_with_it() {
    let world = World::new();
    let (sink, key) = world.join(0, usize::MAX);
    let told = (0..1_000).take_while(|message| world.tell(0, *message)).count();
    assert!(told * LARGE > INBOX_BYTES_MAX / 2 && told < 1_000, "{told}");
    world.turn();
    assert_eq!(messages(&sink), told);
    assert!(!matches!(world.delivery.catch_up(key), CaughtUp::EventsLost));
    assert!(world.tell(0, 0), "and there is space again");
}

#[test]
fn space_that_is_kept_is_for_what_it_is_kept_for_whatever_comes_meanwhile() {
    let world = World::new();
    let (sink, key) = world.join(0, usize::MAX);
    world.join(1, usize::MAX);
    let kept: Vec<_> =
        (0..1_000).map(|message| world.message(0, message)).take_while(|event| world.delivery.reserve(event)).collect();
    assert!(kept.len() * LARGE > 2 * INBOX_BYTES_MAX - 2 * LARGE && kept.len() < 1_000, "{}", kept.len());
    assert!(!world.tell(1, 0), "others find none");
    let (taken, given_up) = kept.split_at(kept.len() / 2);
    given_up.iter().chain(given_up).for_each(|event| world.delivery.release(event));
    assert!(world.tell(1, 0), "what does not come gives it back, once");
    taken.iter().for_each(|event| world.delivery.take_in(event));
    world.turn();
    assert_eq!(messages(&sink), taken.len());
    assert!(!matches!(world.delivery.catch_up(key), CaughtUp::EventsLost));
}

#[test]
fn joins_that_are_lost_take_no_message_with_them() {
    let world = World::new();
    let (sink, key) = world.join(0, usize::MAX);
    assert!(world.tell(0, 1));
    let (name, ring) = world.room(0);
    let after = Position { epoch: ring.epoch(), sequence: ring.tail() };
    for client in 0..INBOX_BYTES_MAX / 128 {
        let info = ClientInfo::new(String::new(), client.to_string(), None, None);
        world.events.announce(&name, What::Join(info), after);
    }
    world.turn();
    assert!(matches!(world.delivery.catch_up(key), CaughtUp::EventsLost), "it is told");
    assert_eq!(sink.items().first(), Some(&Item::Message(1)), "it was promised, and is given before");
}

/// They have groups of their own, and share what is in the queues.
#[test]
fn a_crowd_with_a_filter_each_hears_of_all_who_come_and_is_given_what_has_no_history() {
    const MEMBERS: usize = 1_000;
    const JOINS: usize = 300;
    let world = World::new();
    let members: Vec<_> = (0..MEMBERS).map(|own| world.join_with_filter(0, own)).collect();
    let (name, ring) = world.room(0);
    let after = Position { epoch: ring.epoch(), sequence: ring.tail() };
    assert!(world.tell(0, 0), "one large message is not too much");
    for client in 0..JOINS {
        let info = ClientInfo::new(String::new(), client.to_string(), None, None);
        world.events.announce(&name, What::Join(info), after);
    }
    world.turn();
    for (sink, key) in &members {
        assert!(!matches!(world.delivery.catch_up(*key), CaughtUp::EventsLost));
        assert_eq!(sink.items().len(), JOINS, "and the message is for none of them");
    }
}

#[test]
fn what_comes_in_for_nobody_any_more_is_neither_held_nor_told_to_who_comes_next() {
    let world = World::new();
    let (_, last) = world.join(0, usize::MAX);
    let (name, room) = world.room(0);
    let after = Position { epoch: room.epoch(), sequence: room.tail() };
    let gone = ClientInfo::new("ann".to_owned(), "c1".to_owned(), None, None);
    world.events.announce(&name, What::Leave(gone), after);
    world.delivery.leave(last);
    assert_eq!(world.events.bytes(), 0, "it is held for nobody");
    let (next, _) = world.join(0, usize::MAX);
    world.delivery.deliver(&mut Context::from_waker(Waker::noop()), None);
    assert_eq!(next.items(), [], "it went before");
}
