//! Work is spread over the shards.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures::executor::{LocalPool, block_on};
use futures::task::LocalSpawnExt;
use roomcast::{Broker, CloseReason, Handler, RecvError, Ref, Room, SubscribeError, Subscription, TryRecvError};

use crate::support::{Blocked, Census, Counted, Wakes, eventually, finishes, poll_once, publish_all};

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
fn rooms_are_served_however_many_there_are_and_however_long_they_were_quiet() {
    const ROOMS: usize = 40;
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        let rooms: Vec<_> = (0..ROOMS).map(|number| broker.room(&format!("room {number}")).unwrap()).collect();
        let (done, all) = mpsc::channel();
        let serve = |(number, room): (usize, &Room<u64>)| {
            let done = done.clone();
            let handler = move |message: Ref<'_, u64>| done.send((number, message.sequence(), *message)).unwrap();
            block_on(room.subscribe_with(handler)).unwrap()
        };
        let served: Vec<_> = rooms.iter().enumerate().map(serve).collect();
        let mut next = [0; ROOMS];
        for round in 0..4_000 {
            // A few rooms that are busy, and all the others now and then.
            let number = if round % 8 == 0 { round / 8 % ROOMS } else { round % 3 };
            rooms[number].publish(round as u64).unwrap();
            assert_eq!(all.recv().unwrap(), (number, next[number], round as u64));
            next[number] += 1;
            if round % 500 == 0 {
                // Long enough for the shard to fall asleep.
                thread::sleep(Duration::from_millis(2));
            }
        }
        drop(served);
    });
}

#[test]
fn members_come_and_go_and_rooms_end_while_a_shard_still_looks_at_them() {
    struct Told(mpsc::Sender<Option<u64>>);
    impl Handler<u64> for Told {
        fn message(&mut self, message: Ref<'_, u64>) {
            self.0.send(Some(*message)).unwrap();
        }
        fn closed(&mut self, reason: CloseReason) {
            assert_eq!(reason, CloseReason::Closed);
            self.0.send(None).unwrap();
        }
    }
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(1).build();
        for round in 0..500 {
            let room = broker.room(&format!("room {round}")).unwrap();
            let (told, all) = mpsc::channel();
            let first = block_on(room.subscribe_handler(Told(told.clone()))).unwrap();
            room.publish(1).unwrap();
            assert_eq!(all.recv().unwrap(), Some(1));
            if round % 2 == 0 {
                block_on(first.unsubscribe());
                assert_eq!(room.stats().shards, 0);
            } else {
                drop(first);
            }
            let _second = block_on(room.subscribe_handler(Told(told))).unwrap();
            room.publish(2).unwrap();
            room.close();
            let rest: Vec<_> = all.iter().collect();
            let expected = [Some(2), None];
            assert!(rest.ends_with(&expected) && rest.len() <= 3, "{rest:?}");
        }
        eventually("the shard has let all of them go", || broker.stats().shards[0].rooms_served == 0);
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

/// Up to 512 readers need nobody but the publisher, whatever the shards are doing.
#[test]
fn a_shard_in_a_slow_handler_keeps_nobody_asleep_in_another_room() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let blocked = Blocked::new(&broker, "slow");
    blocked.block();
    let room = broker.room("lobby").unwrap();
    for sleepers in [60, 512] {
        let (wakes, waker) = Wakes::new();
        let mut all: Vec<_> = (0..sleepers).map(|_| room.subscribe().now().unwrap()).collect();
        // Readers that are gone, whose places in the list are not yet taken out, count for nothing.
        let mut gone: Vec<_> = (0..sleepers / 3).map(|_| room.subscribe().now().unwrap()).collect();
        for subscription in all.iter_mut().chain(&mut gone) {
            assert!(poll_once(subscription.recv(), &waker).is_pending());
        }
        drop(gone);
        room.publish(7).unwrap();
        assert_eq!(wakes.count(), sleepers, "when the publish returns");
    }
    blocked.release();
}

/// Beyond them each reader that was woken wakes others before it sleeps again, ends or goes.
#[test]
fn readers_wake_each_other_where_the_only_shard_is_in_a_slow_handler() {
    const READERS: usize = 10_000;
    let broker = Broker::<u64>::builder().shards(1).build();
    let blocked = Blocked::new(&broker, "slow");
    blocked.block();
    let room = broker.room("lobby").unwrap();
    let asleep = Arc::new(AtomicUsize::new(0));
    let read = |subscription: Subscription<u64>| {
        let asleep = asleep.clone();
        async move {
            let mut subscription = subscription;
            for number in 0..2 {
                asleep.fetch_add(1, SeqCst);
                assert_eq!(subscription.recv().await, Ok(number));
            }
            asleep.fetch_add(1, SeqCst);
            assert_eq!(subscription.recv().await, Err(RecvError::Closed(CloseReason::Closed)));
        }
    };
    let readers: Vec<_> = (0..READERS).map(|_| read(room.subscribe().now().unwrap())).collect();
    let reading = thread::spawn(|| {
        let mut pool = LocalPool::new();
        for reader in readers {
            pool.spawner().spawn_local(reader).unwrap();
        }
        pool.run();
    });
    eventually("all sleep", || asleep.load(SeqCst) == READERS);
    room.publish(0).unwrap();
    eventually("all have the first message", || asleep.load(SeqCst) == 2 * READERS);
    room.publish(1).unwrap();
    eventually("all have the second", || asleep.load(SeqCst) == 3 * READERS);
    room.close();
    finishes(move || reading.join().unwrap());
    blocked.release();
}

/// Those who were woken may find so much that they never sleep again.
#[test]
fn readers_who_always_find_something_wake_the_others_all_the_same() {
    let broker = Broker::<u64>::builder().shards(1).build();
    let blocked = Blocked::new(&broker, "slow");
    blocked.block();
    for by in ["recv", "try_recv"] {
        let room = broker.room(by).unwrap();
        let mut all: Vec<_> = (0..2_000).map(|_| (room.subscribe().now().unwrap(), Wakes::new())).collect();
        for (subscription, (_, waker)) in &mut all {
            assert!(poll_once(subscription.recv(), waker).is_pending());
        }
        for round in 0..10 {
            // More than one who is woken takes in its turn.
            publish_all(&room, 0..300);
            for (subscription, (wakes, waker)) in &mut all {
                if wakes.count() == 0 {
                    continue;
                }
                for _ in 0..200 {
                    match by {
                        "recv" if poll_once(subscription.recv(), waker).is_pending() => break,
                        "recv" => {}
                        _ => assert!(subscription.try_recv() != Err(TryRecvError::Empty), "round {round}"),
                    }
                }
            }
        }
        let asleep = all.iter().filter(|(_, (wakes, _))| wakes.count() == 0).count();
        assert_eq!(asleep, 0, "of 2,000, where the others read by {by}");
    }
    blocked.release();
}

#[test]
fn sleepers_are_woken_although_the_broker_goes_at_the_same_time() {
    finishes(|| {
        for _ in 0..50 {
            let broker = Broker::<u64>::builder().shards(1).build();
            let room = broker.room("lobby").unwrap();
            let _served = block_on(room.subscribe_with(|_| {})).unwrap();
            let (wakes, waker) = Wakes::new();
            // More than a publisher wakes itself.
            let mut all: Vec<_> = (0..700).map(|_| room.subscribe().now().unwrap()).collect();
            for subscription in &mut all {
                assert!(poll_once(subscription.recv(), &waker).is_pending());
            }
            let publisher = thread::spawn(move || room.publish(1).is_ok());
            drop(broker);
            let _published_in_time = publisher.join().unwrap();
            assert!(wakes.count() >= 700, "{} of 700 woken", wakes.count());
        }
    });
}

#[test]
fn without_shards_publishers_do_everything() {
    let census = Census::default();
    let broker = Broker::<Counted>::builder().capacity(4).shards(0).build();
    assert_eq!(broker.stats().shards.len(), 0);
    let room = broker.room("lobby").unwrap();
    assert_eq!(block_on(room.subscribe_with(|_| {})).err(), Some(SubscribeError::NoShard));
    let (wakes, waker) = Wakes::new();
    let mut all: Vec<_> = (0..1_000).map(|_| room.subscribe().now().unwrap()).collect();
    for subscription in &mut all {
        assert!(poll_once(subscription.recv_ref(), &waker).is_pending());
    }
    for number in 0..100 {
        room.publish(census.count(number)).ok().unwrap();
    }
    assert_eq!(wakes.count(), 1_000, "the publisher wakes everybody");
    assert!(census.alive() < 50, "the publisher drops what it evicts: {}", census.alive());
    drop((all, room, broker));
    assert_eq!(census.alive(), 0);
}
