//! Messages that are erased while they are being delivered.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use roomcast::{Broker, Position, Room, RoomOptions, Subscription};
use roomcast_protocol::{Placed, Publication, RoomName};

use super::world::{Item, Sink, compressed, member, publication};
use crate::config::SlowConsumer;
use crate::delivery::feed::{CaughtUp, MemberKey};
use crate::delivery::turns::Delivery;
use crate::ops::metrics::Metrics;
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::join_leave::Events;
use crate::rooms::removed::RemovedHistories;
use crate::rooms::visible::Edge;

/// More than are written to in a visit.
const MEMBERS: usize = 700;

#[test]
fn what_is_erased_is_given_to_nobody_who_has_not_been_given_it() {
    // Whether they hear who comes and goes, whether they take deltas, whether what is on its way is taken back, whether they take it
    // compressed.
    let plain =
        [(0, true), (1, true), (2, true), (3, true), (3, false)].map(|(kind, recalled)| (kind, recalled, false));
    for (kind, is_recalled, is_compressed) in plain.into_iter().chain([(1, true, true), (3, true, true)]) {
        let broker = Broker::<Publication>::builder().shards(1).build();
        let (room, name) =
            (broker.room("hall").expect("there is space"), RoomName::parse("hall", 255).expect("a name"));
        let (removed, events) = (Arc::<RemovedHistories>::default(), Arc::new(Events::new(1)));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        let members: Vec<_> = (0..MEMBERS)
            .map(|nth| {
                // The first of them takes nothing.
                let options = member(kind);
                let sink = Sink::taking_as(&options, if nth == 0 { 0 } else { usize::MAX });
                if is_compressed {
                    sink.framing.set(compressed());
                }
                let edge = Edge::published_but(&removed, &room);
                let start = room.subscribe().now().expect("the room is open");
                let key = delivery.join(&name, start, &sink, (DeliveryOptions::default(), edge), options);
                (sink, key)
            })
            .collect();
        let publish = |number| room.publish(publication(number)).expect("the room is open");
        (0..3).for_each(|number| assert_eq!(publish(number), number));
        let turn = |now| delivery.deliver(&mut Context::from_waker(Waker::noop()), now);
        assert!(turn(Some(Instant::now())), "some have not been given it");
        removed.erase(&room, [1]);
        delivery.recall(&name, None);
        members[0].0.takes.set(usize::MAX);
        let settle = || {
            let mut is_busy = true;
            while is_busy {
                is_busy = turn(Some(Instant::now()));
                for (_, key) in &members {
                    is_busy |= matches!(delivery.catch_up(*key), CaughtUp::Unfinished);
                }
            }
        };
        settle();
        let (whole, empty) =
            ([0, 1, 2].map(Item::Publication), [Item::Publication(0), Item::Empty(1), Item::Publication(2)]);
        let before = members.iter().take_while(|(sink, _)| sink.items() == empty).count();
        assert_eq!(before, 1, "who was behind");
        let given = members.iter().skip(before).take_while(|(sink, _)| sink.items() == whole).count();
        assert!(given > 0 && given < MEMBERS / 4 * 3, "{given}");
        for (sink, _) in members.iter().skip(before + given) {
            assert_eq!(sink.items(), empty, "{kind}");
        }
        publish(3);
        settle();
        assert!(members.iter().all(|(sink, _)| sink.items().last() == Some(&Item::Publication(3))), "and all go on");
        // What most have been given, and one finds empty, is made a delta of for nobody.
        publish(4);
        publish(5);
        settle();
        members[0].0.takes.set(0);
        publish(6);
        settle();
        let deltas: Vec<_> = members.iter().map(|(sink, _)| sink.deltas()).collect();
        removed.erase(&room, [6]);
        if is_recalled {
            delivery.recall(&name, None);
        }
        members[0].0.takes.set(usize::MAX);
        settle();
        assert_eq!(members[0].0.items().last(), Some(&Item::Empty(6)));
        publish(7);
        publish(8);
        settle();
        for ((sink, _), before) in members.iter().zip(deltas) {
            assert_eq!(sink.items().last(), Some(&Item::Publication(8)));
            assert!(sink.deltas() <= before + 1, "the first of both is whole");
        }
    }
}

#[test]
fn who_has_begun_to_take_what_is_erased_is_cut_off_and_nobody_else() {
    let kinds = (0..4).flat_map(|kind| [(kind, false), (kind, true)]);
    for (kind, is_behind, is_compressed) in
        kinds.flat_map(|(kind, behind)| [(kind, behind, false), (kind, behind, true)])
    {
        let broker = Broker::<Publication>::builder().shards(1).build();
        let (room, name) =
            (broker.room("hall").expect("there is space"), RoomName::parse("hall", 255).expect("a name"));
        let (removed, events) = (Arc::<RemovedHistories>::default(), Arc::new(Events::new(1)));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        let begun = usize::from(!is_behind);
        let [slow, quick] = [begun, usize::MAX].map(|batches| {
            let options = member(kind);
            let sink = Sink::taking_as(&options, batches);
            if is_compressed {
                sink.framing.set(compressed());
            }
            let edge = Edge::published_but(&removed, &room);
            let start = room.subscribe().now().expect("the room is open");
            let key = delivery.join(&name, start, &sink, (DeliveryOptions::default(), edge), options);
            (sink, key)
        });
        let turn = || while delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now())) {};
        (0..3).for_each(|number| _ = room.publish(publication(number)).expect("the room is open"));
        turn();
        if is_behind {
            slow.0.takes.set(1);
            let _ = delivery.catch_up(slow.1);
        }
        assert_eq!((slow.0.takes.get(), slow.0.items().len()), (0, 3), "it has all of them, and takes no more");
        (3..6).for_each(|number| _ = room.publish(publication(number)).expect("the room is open"));
        turn();
        removed.erase(&room, [4]);
        delivery.recall(&name, None);
        assert!(!slow.0.is_cut.get(), "it has begun to take another batch");
        removed.erase(&room, [1]);
        delivery.recall(&name, None);
        assert_eq!((slow.0.is_cut.get(), quick.0.is_cut.get()), (true, false), "{kind}, behind: {is_behind}");
    }
}

#[test]
fn who_has_taken_what_is_erased_meanwhile_is_not_cut_off() {
    let broker = Broker::<Publication>::builder().shards(1).build();
    let (room, name) = (broker.room("hall").expect("there is space"), RoomName::parse("hall", 255).expect("a name"));
    let (removed, events) = (Arc::<RemovedHistories>::default(), Arc::new(Events::new(1)));
    let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
    let options = member(1);
    let sink = Sink::taking_as(&options, 1);
    let edge = Edge::published_but(&removed, &room);
    let start = room.subscribe().now().expect("the room is open");
    delivery.join(&name, start, &sink, (DeliveryOptions::default(), edge), options);
    room.publish(publication(0)).expect("the room is open");
    while delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now())) {}
    assert_eq!(sink.takes.get(), 0);
    sink.takes.set(1);
    removed.erase(&room, [0]);
    delivery.recall(&name, None);
    assert!(!sink.is_cut.get());
}

/// A member whose messages the ring has lost before it took any: it goes on from the database.
struct Behind {
    broker: Broker<Publication>,
    room: Room<Publication>,
    name: RoomName,
    removed: Arc<RemovedHistories>,
    delivery: Delivery<Sink>,
    sink: Rc<Sink>,
    key: MemberKey,
    /// The first that it has not been given.
    from: u64,
}

impl Behind {
    fn new(kind: usize) -> Self {
        let broker = Broker::<Publication>::builder().shards(1).capacity(8).build();
        let (room, name) =
            (broker.room("hall").expect("there is space"), RoomName::parse("hall", 255).expect("a name"));
        let (removed, events) = (Arc::<RemovedHistories>::default(), Arc::new(Events::new(1)));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        let options = member(kind);
        let sink = Sink::taking_as(&options, 0);
        let start = room.subscribe().now().expect("the room is open");
        let how = DeliveryOptions { has_database: true, ..DeliveryOptions::default() };
        let key = delivery.join(&name, start, &sink, (how, Edge::published_but(&removed, &room)), options);
        for number in 0..64 {
            room.publish(publication(number)).expect("the room is open");
            while delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now())) {}
        }
        sink.takes.set(usize::MAX);
        let CaughtUp::InTheDatabase(_, from) = delivery.catch_up(key) else { panic!("the ring has lost it") };
        Self { broker, room, name, removed, delivery, sink, key, from }
    }

    /// What the database has of the next `count`.
    fn past(&self, count: u64) -> Vec<Placed> {
        let found = |number| Placed { offset: number + 1, time_ms: 0, publication: publication(number) };
        (self.from..self.from + count).map(found).collect()
    }
}

#[test]
fn what_is_erased_is_not_given_from_what_the_database_said_before() {
    for kind in 0..4 {
        let behind = Behind::new(kind);
        let Behind { room, name, removed, delivery, sink, key, from, .. } = &behind;
        let past = behind.past(3);
        removed.erase(room, [from + 1]);
        delivery.recall(name, None);
        delivery.deliver_stored(*key, *from, &past);
        assert_eq!(
            sink.items(),
            [Item::Publication(*from), Item::Empty(from + 1), Item::Publication(from + 2)],
            "{kind}"
        );
    }
}

/// The next incarnation of a room that ends, in the same epoch or in another.
fn follow(broker: &Broker<Publication>, room: &Room<Publication>, is_same_epoch: bool) -> Room<Publication> {
    let position = Position { epoch: room.epoch(), sequence: room.tail() };
    assert!(broker.remove(room.name()));
    let options = RoomOptions::new();
    let options = if is_same_epoch { options.starting_at(position) } else { options };
    broker.room_with(room.name(), options).expect("there is space")
}

#[test]
fn of_a_room_that_has_ended_nothing_more_is_given_once_something_is_erased() {
    for (kind, is_same_epoch) in (0..4).flat_map(|kind| [(kind, true), (kind, false)]) {
        let broker = Broker::<Publication>::builder().shards(1).build();
        let (room, name) =
            (broker.room("hall").expect("there is space"), RoomName::parse("hall", 255).expect("a name"));
        let (removed, events) = (Arc::<RemovedHistories>::default(), Arc::new(Events::new(1)));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        let enter = |start: Subscription<Publication>, batches: usize| {
            let options = member(kind);
            let sink = Sink::taking_as(&options, batches);
            let edge = Edge::published_but(&removed, &start.room());
            let key = delivery.join(&name, start, &sink, (DeliveryOptions::default(), edge), options);
            (sink, key)
        };
        let at_end = |room: &Room<Publication>| room.subscribe().now().expect("the room is open");
        let turn = || while delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now())) {};
        let [slow, quick] = [1, usize::MAX].map(|batches| enter(at_end(&room), batches));
        let late = at_end(&room);
        (0..3).for_each(|number| _ = room.publish(publication(number)).expect("the room is open"));
        turn();
        (3..6).for_each(|number| _ = room.publish(publication(number)).expect("the room is open"));
        let next = follow(&broker, &room, is_same_epoch);
        let new = enter(at_end(&next), usize::MAX);
        // Of the one that runs; who knows what it was that has ended?
        removed.erase(&next, [next.tail()]);
        delivery.recall(&name, None);
        let first = next.publish(publication(next.tail())).expect("the room is open");
        let second = next.publish(publication(next.tail())).expect("the room is open");
        let late = enter(late, usize::MAX);
        turn();
        assert_eq!((slow.0.is_cut.get(), quick.0.is_cut.get()), (true, false), "{kind} {is_same_epoch}");
        assert_eq!(quick.0.items(), [0, 1, 2].map(Item::Publication), "what it was given before");
        assert_eq!(new.0.items(), [Item::Empty(first), Item::Publication(second)], "{kind} {is_same_epoch}");
        for (sink, key) in [&quick, &late] {
            assert!(matches!(delivery.catch_up(*key), CaughtUp::Ended), "it is told");
            assert!(sink.behind() == 1 && sink.items().len() < 4);
            delivery.leave(*key);
        }
        delivery.leave(slow.1);
        next.publish(publication(next.tail())).expect("the room is open");
        turn();
        assert_eq!(new.0.items().len(), 3, "and the others go on");
    }
}

#[test]
fn what_was_erased_before_a_room_has_ended_is_given_to_nobody_who_reads_it_to_its_end() {
    for is_same_epoch in [true, false] {
        let broker = Broker::<Publication>::builder().shards(1).build();
        let (room, name) =
            (broker.room("hall").expect("there is space"), RoomName::parse("hall", 255).expect("a name"));
        let (removed, events) = (Arc::<RemovedHistories>::default(), Arc::new(Events::new(1)));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        let (options, edge) = (member(1), Edge::published_but(&removed, &room));
        let sink = Sink::taking_as(&options, usize::MAX);
        let start = room.subscribe().now().expect("the room is open");
        let key = delivery.join(&name, start, &sink, (DeliveryOptions::default(), edge), options);
        (0..3).for_each(|number| _ = room.publish(publication(number)).expect("the room is open"));
        removed.erase(&room, [1]);
        delivery.recall(&name, None);
        let next = follow(&broker, &room, is_same_epoch);
        drop(room);
        removed.forget();
        // Its members are somewhere else.
        removed.erase(&next, [0]);
        while delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now())) {}
        assert_eq!(sink.items(), [Item::Publication(0), Item::Empty(1), Item::Publication(2)]);
        assert!(matches!(delivery.catch_up(key), CaughtUp::Ended), "then it is told");
    }
}

#[test]
fn what_the_database_said_of_a_room_that_has_ended_is_not_given_once_something_is_erased() {
    let behind = Behind::new(1);
    let Behind { broker, room, name, delivery, sink, key, from, .. } = &behind;
    let past = behind.past(1);
    follow(broker, room, true);
    delivery.recall(name, None);
    delivery.deliver_stored(*key, *from, &past);
    assert_eq!(sink.items(), []);
    assert!(matches!(delivery.catch_up(*key), CaughtUp::Ended), "it is told");
}

#[test]
fn who_comes_into_the_next_incarnation_is_not_put_to_those_who_are_still_in_the_one_that_has_ended() {
    for kind in 0..4 {
        let broker = Broker::<Publication>::builder().shards(1).build();
        let (room, name) =
            (broker.room("hall").expect("there is space"), RoomName::parse("hall", 255).expect("a name"));
        let (removed, events) = (Arc::<RemovedHistories>::default(), Arc::new(Events::new(1)));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        let enter = |start: Subscription<Publication>| {
            let options = member(kind);
            let sink = Sink::taking_as(&options, usize::MAX);
            let edge = Edge::published_but(&removed, &start.room());
            let key = delivery.join(&name, start, &sink, (DeliveryOptions::default(), edge), options);
            (sink, key)
        };
        let turn = || while delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now())) {};
        let at_end = |room: &Room<Publication>| room.subscribe().now().expect("the room is open");
        let (old, late) = (enter(at_end(&room)), at_end(&room));
        room.publish(publication(0)).expect("the room is open");
        let next = follow(&broker, &room, true);
        turn();
        // The old one was told, and its task has not had its turn.
        let (new, late) = (enter(at_end(&next)), enter(late));
        next.publish(publication(1)).expect("the room is open");
        turn();
        assert_eq!((old.0.items(), new.0.items()), (vec![Item::Publication(0)], vec![Item::Publication(1)]), "{kind}");
        for (sink, key) in [old, late] {
            assert!(sink.wakes.get() > 0 || sink.behind() == 1);
            assert!(matches!(delivery.catch_up(key), CaughtUp::Ended), "whoever is in the old one is told");
            delivery.leave(key);
        }
        next.publish(publication(2)).expect("the room is open");
        turn();
        assert_eq!(new.0.items(), [1, 2].map(Item::Publication), "{kind}");
    }
}

/// Its places in the ring are empty by then; who would be given them has lost what was there.
#[test]
fn who_is_behind_where_a_history_was_removed_for_a_while_is_told_as_who_is_overrun() {
    for policy in [SlowConsumer::Disconnect, SlowConsumer::Skip, SlowConsumer::Latest] {
        let broker = Broker::<Publication>::builder().shards(1).build();
        let (room, name) =
            (broker.room("hall").expect("there is space"), RoomName::parse("hall", 255).expect("a name"));
        let (removed, events) = (Arc::<RemovedHistories>::default(), Arc::new(Events::new(1)));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        let how = DeliveryOptions { slow_consumer: policy, ..DeliveryOptions::default() };
        // One takes all, one nothing, one so much that it stands behind what is removed.
        let [quick, slow, late] = [usize::MAX, 0, 2].map(|takes| {
            let options = member(0);
            let sink = Sink::taking_as(&options, takes);
            let start = room.subscribe().now().expect("the room is open");
            let key = delivery.join(&name, start, &sink, (how, Edge::published_but(&removed, &room)), options);
            (sink, key)
        });
        for number in 0..4 {
            room.publish(publication(number)).expect("the room is open");
            while delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now())) {}
        }
        removed.erase_to(&room, 2);
        slow.0.takes.set(usize::MAX);
        late.0.takes.set(usize::MAX);
        while matches!(delivery.catch_up(late.1), CaughtUp::Unfinished) {}
        let all = [0, 1, 2, 3].map(Item::Publication);
        assert_eq!([quick.0.items(), late.0.items()], [all; 2], "{policy:?}: they have seen what was removed");
        let told = match delivery.catch_up(slow.1) {
            CaughtUp::Missed(missed) => (SlowConsumer::Disconnect, missed),
            CaughtUp::Skipped(missed) => (SlowConsumer::Skip, missed),
            _ => (SlowConsumer::Latest, 2),
        };
        assert_eq!(told, (policy, 2));
        let newest = if policy == SlowConsumer::Latest { &all[3..] } else { &[] };
        assert_eq!(slow.0.items(), newest);
    }
}
