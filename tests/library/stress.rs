//! Several threads at once, with sums that come out exactly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, Policy, RecvError, Ref, Room, Start, Subscription, TryRecvError};

use crate::support::{Census, Counted, eventually, finishes};

const PUBLISHERS: u64 = 3;
const EACH: u64 = 20_000;

/// Publishes from several threads, closes the room, and returns the sum of what was published.
fn publish_and_close(room: &Room<u64>) -> u64 {
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || (0..EACH).for_each(|number| assert!(room.publish(publisher * EACH + number).is_ok())));
        }
    });
    assert_eq!(room.tail(), PUBLISHERS * EACH);
    room.close();
    (0..PUBLISHERS * EACH).sum()
}

/// Reads to the end, waiting; every `pause`th message it lets the others run. (sum, received, lagged)
fn read(mut subscription: Subscription<u64>, pause: u64) -> (u64, u64, u64) {
    let (mut sum, mut received, mut lagged, mut last) = (0, 0, 0, None);
    loop {
        match subscription.recv_ref_blocking() {
            Ok(message) => {
                assert!(last < Some(message.sequence()), "each sequence once, in order");
                last = Some(message.sequence());
                sum += *message;
                received += 1;
                if received % pause == 0 {
                    thread::yield_now();
                }
            }
            Err(RecvError::Lagged(missed)) => lagged += missed,
            Err(RecvError::Closed(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let account = subscription.accounting();
    assert_eq!((account.received, account.lagged), (received, lagged));
    assert_eq!(received + lagged + account.conflated, account.end - account.start);
    (sum, received, lagged)
}

#[test]
fn nothing_is_lost_in_a_ring_that_holds_it_all() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity((PUBLISHERS * EACH) as usize).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let readers: Vec<_> = [1, 100]
            .map(|pause| (pause, room.subscribe().now().unwrap()))
            .map(|(pause, subscription)| thread::spawn(move || read(subscription, pause)))
            .into();
        let sum = publish_and_close(&room);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), (sum, PUBLISHERS * EACH, 0));
        }
    });
}

#[test]
fn slow_and_fast_readers_of_a_small_ring_account_for_everything_b2_b4_b5() {
    finishes(|| {
        for capacity in [1, 4, 64, 300] {
            let broker = Broker::<u64>::builder().capacity(capacity).shards(1).build();
            let room = broker.room("lobby").unwrap();
            let readers: Vec<_> = [1, 7, 1_000]
                .map(|pause| (pause, room.subscribe().now().unwrap()))
                .map(|(pause, subscription)| thread::spawn(move || read(subscription, pause)))
                .into();
            publish_and_close(&room);
            for reader in readers {
                let (_, received, lagged) = reader.join().unwrap();
                assert_eq!(received + lagged, PUBLISHERS * EACH, "capacity {capacity}");
                assert!(received >= capacity as u64, "what is left at the end is read");
            }
        }
    });
}

#[test]
fn several_publishers_wait_for_a_blocking_reader_b6() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(32).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let subscription = room.subscribe().policy(Policy::Block).now().unwrap();
        let reader = thread::spawn(move || read(subscription, 5));
        thread::scope(|scope| {
            for publisher in 0..PUBLISHERS {
                let room = &room;
                scope.spawn(move || {
                    (0..3_000).for_each(|number| assert!(room.publish_blocking(publisher + number).is_ok()))
                });
            }
        });
        room.close();
        let sum = (0..PUBLISHERS).map(|publisher| (0..3_000).map(|number| publisher + number).sum::<u64>()).sum();
        assert_eq!(reader.join().unwrap(), (sum, PUBLISHERS * 3_000, 0));
    });
}

#[test]
fn subscribers_come_and_go_under_publishers_and_everything_is_dropped_once() {
    finishes(|| {
        let census = Census::default();
        let stop = AtomicBool::new(false);
        let broker = Broker::<Counted>::builder().capacity(64).shards(2).build();
        let room = broker.room("lobby").unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for number in 0..30_000 {
                        room.publish(census.count(number)).unwrap();
                    }
                    stop.store(true, SeqCst);
                });
            }
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    for start in [Start::Latest, Start::Oldest] {
                        let mut subscription = room.subscribe_from(start).now().unwrap();
                        for _ in 0..20 {
                            match subscription.try_recv_ref() {
                                Ok(message) => assert!(message.number < 30_000),
                                Err(error) => {
                                    assert!(matches!(error, TryRecvError::Empty | TryRecvError::Lagged(_)), "{error}");
                                }
                            }
                        }
                    }
                }
            });
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let served = block_on(room.subscribe_with(|message: Ref<'_, Counted>| {
                        assert!(message.number < 30_000);
                    }));
                    drop(served.unwrap());
                }
            });
        });
        eventually("everybody has left", || room.stats().subscribers == 0);
        assert_eq!(broker.stats().shards.iter().map(|shard| shard.panics).sum::<u64>(), 0);
        drop((room, broker));
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn rooms_open_and_close_under_publishers_by_name() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(8).shards(2).build();
        let handled = Arc::new(AtomicU64::new(0));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let publishers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for number in 0..10_000u64 {
                            broker
                                .publish(&format!("room {}", number % 5), number)
                                .expect("by name it always finds one");
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    for number in 0..5 {
                        let room = broker.room(&format!("room {number}")).unwrap();
                        let handled = handled.clone();
                        let served = block_on(room.subscribe_with(move |_: Ref<'_, u64>| {
                            handled.fetch_add(1, SeqCst);
                        }));
                        broker.remove(&format!("room {number}"));
                        drop(served);
                    }
                }
            });
            publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
            stop.store(true, SeqCst);
        });
        assert!(broker.stats().rooms <= 5);
        drop(broker);
    });
}
