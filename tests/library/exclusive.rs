//! Rooms with one publisher.

use std::task::Poll;
use std::thread;

use futures::FutureExt;
use roomcast::{Broker, CloseReason, Policy, PublishError, RecvError, RoomError, RoomOptions, Start, TryRecvError};

use crate::support::{Census, Counted, Wakes, drain, finishes, poll_once};

#[test]
fn there_is_one_publisher_and_no_other_way_in() {
    let broker = Broker::<u64>::new();
    let mut publisher = broker.exclusive("prices").unwrap();
    assert_eq!(broker.exclusive("prices").err(), Some(RoomError::Taken));
    assert!(publisher.room().publish(1).is_err());
    assert!(broker.publish("prices", 1).is_err());
    assert_eq!(publisher.publish(1), Ok(0));
    broker.room("shared").unwrap();
    assert_eq!(broker.exclusive("shared").err(), Some(RoomError::Taken));
    drop(publisher);
    assert_eq!(broker.exclusive("prices").unwrap().publish(5), Ok(0), "the room ended with its publisher");
}

#[test]
fn batches_and_single_messages_make_one_order() {
    let broker = Broker::<u64>::builder().capacity(1_000).build();
    let mut publisher = broker.exclusive("prices").unwrap();
    let mut subscription = publisher.room().subscribe().now().unwrap();
    let mut next = 0;
    for size in [0, 1, 2, 63, 64, 65, 130, 1, 0, 7] {
        assert_eq!(publisher.publish_all(next..next + size), Ok(next..next + size));
        next += size;
        assert_eq!(publisher.publish(next), Ok(next));
        next += 1;
    }
    assert_eq!(drain(&mut subscription), (0..next).collect::<Vec<_>>());
}

#[test]
fn a_reader_is_lapped_and_told_exactly() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let mut publisher = broker.exclusive("prices").unwrap();
    let room = publisher.room();
    let mut slow = room.subscribe().now().unwrap();
    let mut received = 0;
    let mut lagged = 0;
    for round in 0..50u64 {
        publisher.publish_all(room.tail()..room.tail() + round % 29).unwrap();
        for _ in 0..9 {
            match slow.try_recv_ref() {
                Ok(message) => {
                    assert_eq!(*message, message.sequence());
                    received += 1;
                }
                Err(TryRecvError::Lagged(missed)) => lagged += missed,
                Err(error) => assert_eq!(error, TryRecvError::Empty),
            }
        }
        assert_eq!(received + lagged, slow.position().sequence);
    }
    assert!(lagged > 0 && received > 0);
}

#[test]
fn everything_is_dropped_once_also_what_came_back() {
    let census = Census::default();
    let broker = Broker::<Counted>::builder().capacity(16).shards(1).build();
    let mut publisher = broker.exclusive("prices").unwrap();
    let room = publisher.room();
    for round in 0..20 {
        publisher.publish_all((0..50).map(|number| census.count(round * 50 + number))).unwrap();
    }
    room.close();
    let mut messages = (0..5).map(|number| census.count(number));
    let Err(PublishError::Closed(mut back)) = publisher.publish_all(messages.by_ref()) else {
        panic!("a closed room takes nothing")
    };
    back.extend(messages);
    assert_eq!(back.iter().map(|message| message.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4], "in order");
    let Err(PublishError::Closed(one)) = publisher.publish(census.count(9)) else { panic!("nor one") };
    assert_eq!(one.number, 9);
    drop((back, one, room, publisher, broker));
    assert_eq!(census.alive(), 0);
}

#[test]
fn the_end_comes_after_the_last_message() {
    let broker = Broker::<u64>::new();
    let mut publisher = broker.exclusive("prices").unwrap();
    let mut subscription = publisher.room().subscribe().now().unwrap();
    publisher.publish_all([1, 2, 3]).unwrap();
    drop(publisher);
    assert_eq!((0..3).map(|_| subscription.try_recv().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(subscription.try_recv(), Err(TryRecvError::Closed(CloseReason::Closed)));
}

#[test]
fn sleepers_are_woken_once_per_batch() {
    let broker = Broker::<u64>::new();
    let mut publisher = broker.exclusive("prices").unwrap();
    let mut subscription = publisher.room().subscribe().now().unwrap();
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(subscription.recv(), &waker).is_pending());
    publisher.publish_all(0..40).unwrap();
    publisher.publish(40).unwrap();
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_once(subscription.recv(), &waker), Poll::Ready(Ok(0)));
}

#[test]
fn a_blocking_subscriber_holds_the_publisher_up_and_loses_nothing() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let mut publisher = broker.exclusive("prices").unwrap();
    let mut blocking = publisher.room().subscribe().policy(Policy::Block).now().unwrap();
    let mut all = Vec::new();
    let mut waiting = (0..500).collect::<Vec<u64>>().into_iter();
    while waiting.len() > 0 {
        match publisher.publish_all(waiting.by_ref()) {
            Ok(_) => {}
            Err(PublishError::Full(back)) => waiting = back.into_iter().chain(waiting).collect::<Vec<_>>().into_iter(),
            Err(error) => panic!("{error}"),
        }
        all.extend(drain(&mut blocking));
    }
    assert_eq!(all, (0..500).collect::<Vec<_>>());
}

#[test]
fn subscribing_beside_a_publisher_at_full_speed_reads_whole_messages_only_b3() {
    finishes(|| {
        let broker = Broker::<[u64; 4]>::builder().capacity(64).build();
        let mut publisher = broker.exclusive("prices").unwrap();
        let room = publisher.room();
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            for start in [Start::Latest, Start::Oldest] {
                let (room, done) = (&room, &done);
                scope.spawn(move || {
                    while !done.load(std::sync::atomic::Ordering::SeqCst) {
                        let mut subscription = room.subscribe_from(start).now().unwrap();
                        for _ in 0..3 {
                            match subscription.try_recv_ref() {
                                Ok(message) => assert_eq!(*message, [message.sequence(); 4]),
                                Err(TryRecvError::Empty | TryRecvError::Lagged(_)) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                });
            }
            for _ in 0..20_000 {
                let tail = room.tail();
                publisher.publish_all((tail..tail + 5).map(|sequence| [sequence; 4])).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
    });
}

#[test]
fn parked_readers_follow_to_the_end() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(1 << 16).build();
        let mut publisher = broker.exclusive("prices").unwrap();
        let readers: Vec<_> = (0..2)
            .map(|_| publisher.room().subscribe().now().unwrap())
            .map(|mut subscription| {
                thread::spawn(move || {
                    let mut next = 0;
                    loop {
                        match subscription.recv_blocking() {
                            Ok(message) => assert_eq!(message, next),
                            Err(RecvError::Closed(_)) => return next,
                            Err(error) => panic!("{error}"),
                        }
                        next += 1;
                    }
                })
            })
            .collect();
        (0..30_000).for_each(|number| assert_eq!(publisher.publish(number), Ok(number)));
        drop(publisher);
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 30_000));
    });
}

#[test]
fn its_publisher_waits_for_space() {
    finishes(|| {
        let broker = Broker::<u64>::new();
        let mut publisher = broker.exclusive_with("prices", RoomOptions::new().capacity(4)).unwrap();
        let room = publisher.room();
        let mut blocking = room.subscribe().policy(Policy::Block).now().unwrap();
        let reading = thread::spawn(move || (0..5_000).map(|_| blocking.recv_blocking().unwrap()).collect::<Vec<_>>());
        for number in 0..5_000 {
            let published = match number % 2 {
                0 => publisher.publish_blocking(number),
                _ => futures::executor::block_on(publisher.publish_wait(number)),
            };
            assert_eq!(published, Ok(number));
        }
        assert_eq!(reading.join().unwrap(), (0..5_000).collect::<Vec<_>>());
        room.close();
        let (wakes, waker) = Wakes::new();
        let mut refused = publisher.publish_wait(1);
        assert!(format!("{refused:?}").contains("prices"));
        assert_eq!(poll_once(&mut refused, &waker), Poll::Ready(Err(PublishError::Closed(1))));
        assert_eq!(wakes.count(), 0);
    });
}

#[test]
fn a_wait_that_is_dropped_publishes_nothing() {
    let broker = Broker::<u64>::new();
    let mut publisher = broker.exclusive_with("prices", RoomOptions::new().capacity(1)).unwrap();
    let mut blocking = publisher.room().subscribe().policy(Policy::Block).now().unwrap();
    let filled = (0..).find(|number| publisher.publish(*number).is_err()).expect("it is full at some time");
    assert!(publisher.publish_wait(99).now_or_never().is_none());
    assert_eq!(drain(&mut blocking), (0..filled).collect::<Vec<_>>());
    assert_eq!(publisher.publish_wait(filled).now_or_never(), Some(Ok(filled)));
    assert_eq!(drain(&mut blocking), [filled]);
}

#[test]
fn it_has_the_options_of_other_rooms() {
    let broker = Broker::<Vec<u8>>::builder().weigh(Vec::len).clock(|| 41).build();
    let options = RoomOptions::new().capacity(16).bytes_max(1_600);
    let mut publisher = broker.exclusive_with("files", options).unwrap();
    let room = publisher.room();
    assert_eq!(broker.exclusive_with("files", options).err(), Some(RoomError::Taken));
    for _ in 0..100 {
        publisher.publish(vec![0; 50]).unwrap();
        assert!(room.stats().bytes <= 1_600);
    }
    assert!(room.tail() - room.oldest() <= 32);
    assert!(matches!(publisher.publish(vec![0; 401]), Err(PublishError::TooLarge(_))));
    let mut files = room.subscribe_from(Start::Last(1)).now().unwrap();
    assert_eq!(files.try_recv_ref().unwrap().time(), Some(41));
    let unweighed = Broker::<u8>::new().exclusive_with("files", options).err();
    assert_eq!(unweighed, Some(RoomError::Unweighed));
    // It goes on where another life of it has ended.
    let left_at = files.position();
    let today = Broker::<Vec<u8>>::new();
    let mut publisher = today.exclusive_with("files", RoomOptions::new().starting_at(left_at)).unwrap();
    assert_eq!(publisher.publish(vec![]), Ok(100));
}
