//! W12: what does nothing: idle rooms and subscribers, what they take, and what it costs to have a million of them.

use std::future::pending;
use std::thread;
use std::time::{Duration, Instant};

use harness::machine::{nanos, process_cpu};
use harness::measure::{Cases, Effort, Figure, figure, heap};
use roomcast::{Broker, Ref, Subscription};

use super::each;
use super::tasks::runtime;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::bus::Seats;
use crate::contenders::channels::{Crossbeam, PerSubscriber, TokioMpsc};
use crate::contenders::disruptor::{ManyProducers, OneProducer};
use crate::contenders::registry::{DashMapOfMpsc, Mapped};
use crate::contenders::ringcast::Ringcast;
use crate::contenders::roomcast::Shared;
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Contender, drain, finish};
use crate::tally::Tally;

const TABLE: &str = "W12";

pub fn add(cases: &mut Cases) {
    cases.counting(|cases| {
        cases.exact(|cases| {
            each!(cases, TABLE, "heap, capacity 64";
                "roomcast" => Shared, "tokio" => Tokio, "async-broadcast" => AsyncBroadcast, "bus" => Seats,
                "disruptor 1P" => OneProducer, "disruptor MP" => ManyProducers, "ringcast" => Ringcast,
                "crossbeam each" => PerSubscriber<Crossbeam>, "tokio mpsc each" => PerSubscriber<TokioMpsc>;
                |_effort, C| sizes::<C>());
            cases.add(TABLE, "heap, capacity 64, more", "roomcast", |_| more_sizes());
        });
    });
    cases.add(TABLE, "a million rooms", "roomcast", create);
    cases.add(TABLE, "look up one of a million and publish", "roomcast", look_up);
    cases.add(TABLE, "look up one of a million and publish", "DashMap of mpsc", look_up_in_map);
    cases.add(TABLE, "idle: 1,000 rooms, 1,000 tasks and 1,000 handlers asleep", "roomcast", idle);
    cases.lack(TABLE, "everybody else, by name", "they have no rooms");
}

const ROOMS: usize = 500;

/// The heap of rooms with one subscriber and with eleven, handles included.
fn sizes<C: Contender<u64>>() -> Vec<Figure> {
    let with = |readers: usize| {
        let before = heap();
        let rooms = C::open_many(ROOMS, 64, readers);
        let each = (heap() - before) / rooms.len() as f64;
        drop(rooms);
        each
    };
    // The first time around, what is there once for all rooms is made too.
    with(1);
    let (one, eleven) = (with(1), with(11));
    vec![figure("room with a subscriber", "B", one), figure("each further", "B", (eleven - one) / 10.0)]
}

/// The heap of a room beyond its name, without a subscriber, with one, and after one message.
fn more_sizes() -> Vec<Figure> {
    const ROOMS: usize = 10_000;
    let broker = Broker::<u64>::builder().capacity(64).build();
    let names: Vec<_> = (0..ROOMS).map(|number| format!("room.{number:05}")).collect();
    let mut subscriptions = Vec::with_capacity(ROOMS);
    let before = heap();
    let each = || (heap() - before) / ROOMS as f64 - names[0].len() as f64;
    names.iter().for_each(|name| assert!(broker.room(name).is_ok()));
    let room = each();
    for name in &names {
        subscriptions.push(broker.get(name).expect("it was made").subscribe().now().expect("it is open"));
    }
    // The list was there before, the subscriptions in it were not.
    let inline = size_of::<Subscription<u64>>() as f64;
    let subscribed = each() + inline;
    names.iter().for_each(|name| assert!(broker.publish(name, 7).is_ok()));
    let published = each() + inline;
    assert!(subscriptions.iter_mut().all(|subscription| subscription.try_recv() == Ok(7)));
    vec![
        figure("room beyond its name", "B", room),
        figure("with a subscriber", "B", subscribed),
        figure("with a subscriber, after a message", "B", published),
    ]
}

/// Rooms that are made, and subscribed to, one after the other.
fn create(effort: Effort) -> Vec<Figure> {
    let count: usize = effort.choose(1_000_000, 200_000);
    let tenth = count / 10;
    let broker = Broker::<u64>::new();
    let (mut rooms, mut subscriptions) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut costs = Vec::new();
    for ten in 0..10 {
        let begin = Instant::now();
        for number in ten * tenth..(ten + 1) * tenth {
            rooms.push(broker.room(&format!("room.{number}")).expect("there is space for a million"));
        }
        costs.push(nanos(begin.elapsed()) / tenth as f64);
    }
    let begin = Instant::now();
    subscriptions.extend(rooms.iter().map(|room| room.subscribe().now().expect("the room is open")));
    let subscribe = nanos(begin.elapsed()) / count as f64;
    assert!(broker.publish("room.0", 7).is_ok() && subscriptions[0].try_recv() == Ok(7));
    vec![
        figure("create one, first tenth", "ns", costs[0]),
        figure("create one, last tenth", "ns", costs[9]),
        figure("subscribe", "ns", subscribe),
    ]
}

/// Rooms that are in use among the million.
const HOT: usize = 64;

fn hot_names() -> Vec<String> {
    (0..HOT).map(|number| format!("room.{}", number * 1_009)).collect()
}

/// Look-ups and publishes that fit into the smallest of the channels before somebody reads them.
const TURNS: usize = 8;

fn look_up(effort: Effort) -> Vec<Figure> {
    let broker = Broker::<u64>::new();
    for number in 0..effort.choose(1_000_000, 200_000) {
        broker.room(&format!("room.{number}")).expect("there is space for a million");
    }
    let names = hot_names();
    let subscribe = |name: &String| broker.get(name).expect("it was made").subscribe().now().expect("it is open");
    let readers: Vec<_> = names.iter().map(subscribe).collect();
    let mut next = 0;
    let cost = effort.median(|| {
        let begin = Instant::now();
        for number in next..next + TURNS as u64 {
            for name in &names {
                assert!(broker.publish(name, number).is_ok(), "the room is open");
            }
        }
        next += TURNS as u64;
        nanos(begin.elapsed()) / (TURNS * HOT) as f64
    });
    finish::<u64, Shared>(readers, vec![Tally::from(0); HOT], next);
    vec![figure("look up and publish", "ns", cost)]
}

fn look_up_in_map(effort: Effort) -> Vec<Figure> {
    let map = Mapped::<u64>::with_rooms(effort.choose(1_000_000, 200_000));
    let names = hot_names();
    let mut readers: Vec<_> = names.iter().map(|name| (map.enter(name), Tally::from(0))).collect();
    let mut next = 0;
    let cost = effort.median(|| {
        let begin = Instant::now();
        for number in next..next + TURNS as u64 {
            for name in &names {
                map.publish(name, number);
            }
        }
        next += TURNS as u64;
        let took = nanos(begin.elapsed()) / (TURNS * HOT) as f64;
        for (reader, tally) in &mut readers {
            drain::<u64, DashMapOfMpsc>(reader, tally);
        }
        took
    });
    readers.iter().for_each(|(_, tally)| tally.check(next));
    vec![figure("look up and publish", "ns", cost)]
}

/// A broker in which nothing happens: processor time as a part of a core.
fn idle(effort: Effort) -> Vec<Figure> {
    const EACH: usize = 1_000;
    let broker = Broker::<u64>::new();
    let runtime = runtime();
    let mut served = Vec::new();
    for number in 0..EACH {
        let room = broker.room(&format!("room.{number}")).expect("a new broker has space");
        let mut asleep = room.subscribe().now().expect("the room is open");
        runtime.spawn(async move {
            let _ = asleep.recv().await;
            pending::<()>().await;
        });
        served.push(futures::executor::block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).expect("the room is open"));
    }
    thread::sleep(effort.time());
    let (begin, cpu) = (Instant::now(), process_cpu());
    thread::sleep(effort.choose(Duration::from_secs(3), Duration::from_millis(300)));
    let used = (process_cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
    assert!(served.iter().all(roomcast::HandlerSubscription::is_running));
    vec![figure("processor", "% of a core", 100.0 * used)]
}
