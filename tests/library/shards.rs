//! Work is spread over the shards.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc;
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, Ref};

use crate::support::{Wakes, eventually, finishes, poll_once};

#[test]
fn every_shard_does_work_of_its_own() {
    const SHARDS: usize = 4;
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(SHARDS).build();
        let (done, all) = mpsc::channel();
        let mut served = Vec::new();
        for number in 0..64 {
            let done = done.clone();
            let room = broker.room(&format!("room {number}")).unwrap();
            let handler = move |message: Ref<'_, u64>| {
                let name = thread::current().name().expect("a shard's thread has a name").to_string();
                done.send((name, number, *message)).unwrap();
            };
            served.push(block_on(room.subscribe_with(handler)).unwrap());
        }
        for number in 0..64 {
            broker.publish(&format!("room {number}"), number).unwrap();
        }
        let mut rooms_by_shard = HashMap::<String, HashSet<u64>>::new();
        for (shard, number, message) in all.iter().take(64) {
            assert_eq!(number, message);
            assert!(rooms_by_shard.entry(shard).or_default().insert(number));
        }
        let names: HashSet<_> = rooms_by_shard.keys().cloned().collect();
        assert_eq!(names, (0..SHARDS).map(|number| format!("roomcast-shard-{number}")).collect());
        assert!(rooms_by_shard.values().all(|rooms| rooms.len() == 64 / SHARDS), "{rooms_by_shard:?}");
        let stats = broker.stats();
        assert_eq!(stats.shards.len(), SHARDS);
        for shard in &stats.shards {
            assert!(shard.handler_runs > 0 && shard.actions >= 16, "{shard:?}");
            assert_eq!((shard.handlers, shard.rooms_served, shard.panics), (16, 16, 0));
        }
        assert_eq!(stats.shards.iter().map(|shard| shard.rooms).sum::<u32>(), 64);
        assert!(stats.shards.iter().all(|shard| shard.rooms > 0), "homes are spread by name: {stats:?}");
    });
}

#[test]
fn one_room_is_served_by_all_shards_at_once() {
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(3).build();
        let room = broker.room("hot").unwrap();
        let (done, all) = mpsc::channel();
        let served: Vec<_> = (0..30)
            .map(|_| {
                let done = done.clone();
                block_on(room.subscribe_with(move |_: Ref<'_, u64>| {
                    done.send(thread::current().name().map(str::to_string)).unwrap();
                }))
            })
            .collect();
        assert_eq!(room.stats().shards, 3);
        room.publish(1).unwrap();
        let by: HashSet<_> = all.iter().take(30).collect();
        assert_eq!(by.len(), 3);
        drop(served);
        eventually("the last handler of a shard takes the shard off the room", || room.stats().shards == 0);
    });
}

#[test]
fn many_sleepers_are_woken_with_the_help_of_a_shard_b9() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let room = broker.room("lobby").unwrap();
    let (wakes, waker) = Wakes::new();
    let mut all: Vec<_> = (0..1_000).map(|_| room.subscribe().now().unwrap()).collect();
    for round in 1..=5 {
        for subscription in &mut all {
            assert!(poll_once(subscription.recv(), &waker).is_pending());
        }
        room.publish(round).unwrap();
        eventually("everybody is woken once", || wakes.count() as u64 == 1_000 * round);
        for subscription in &mut all {
            assert_eq!(subscription.try_recv(), Ok(round));
        }
    }
}

#[test]
fn sleepers_are_woken_although_the_broker_goes_at_the_same_time() {
    finishes(|| {
        for _ in 0..50 {
            let broker = Broker::<u64>::builder().shards(1).build();
            let room = broker.room("lobby").unwrap();
            let (wakes, waker) = Wakes::new();
            let mut all: Vec<_> = (0..100).map(|_| room.subscribe().now().unwrap()).collect();
            for subscription in &mut all {
                assert!(poll_once(subscription.recv(), &waker).is_pending());
            }
            let publisher = thread::spawn(move || room.publish(1).is_ok());
            drop(broker);
            let _published_in_time = publisher.join().unwrap();
            assert!(wakes.count() >= 100, "{} of 100 woken", wakes.count());
        }
    });
}

#[test]
fn no_shard_is_no_number() {
    let broker = Broker::<u64>::builder().shards(0).build();
    assert_eq!(broker.stats().shards.len(), 1, "there is always one");
}
