//! Rooms that nobody uses any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use roomcast::{Broker, CloseReason, PublishError, RoomOptions, TryRecvError};

#[test]
fn an_idle_room_expires_at_the_second_call() {
    let broker = Broker::<u8>::new();
    let room = broker.room("lobby").unwrap();
    assert_eq!(broker.expire_idle(), 0);
    assert!(room.is_running());
    assert_eq!(broker.expire_idle(), 1);
    assert_eq!(room.ended(), Some(CloseReason::Expired));
    assert_eq!(room.publish(1), Err(PublishError::Closed(1)));
    assert_eq!(broker.stats().rooms, 0);
    assert_ne!(broker.room("lobby").unwrap().epoch(), room.epoch(), "the name stands for a new room");
}

#[test]
fn whoever_is_subscribed_keeps_a_room() {
    let broker = Broker::<u8>::new();
    let subscription = broker.room("pulled").unwrap().subscribe().now().unwrap();
    let served =
        futures::executor::block_on(broker.room("served").unwrap().subscribe_with(|_: roomcast::Ref<'_, u8>| {}))
            .unwrap();
    assert_eq!([(); 3].map(|()| broker.expire_idle()), [0; 3]);
    drop(subscription);
    futures::executor::block_on(served.unsubscribe());
    assert_eq!(broker.expire_idle(), 2, "nothing was published for long");
}

#[test]
fn publishing_keeps_a_room_for_another_interval() {
    let broker = Broker::<u8>::new();
    for _ in 0..5 {
        broker.publish("lobby", 1).unwrap();
        assert_eq!(broker.expire_idle(), 0);
    }
    assert_eq!(broker.expire_idle(), 1);
}

#[test]
fn a_pattern_keeps_no_room_and_reads_it_to_its_end() {
    let broker = Broker::<u8>::new();
    let mut all = broker.subscribe_pattern("*");
    broker.publish("lobby", 7).unwrap();
    assert_eq!((broker.expire_idle(), broker.expire_idle()), (0, 1));
    let key = futures::executor::block_on(all.ready()).unwrap();
    let lobby = all.get_mut(key).unwrap();
    assert_eq!(lobby.room().stats().patterns, 1);
    assert_eq!(lobby.try_recv(), Ok(7));
    assert_eq!(lobby.try_recv(), Err(TryRecvError::Closed(CloseReason::Expired)));
}

#[test]
fn lasting_and_exclusive_rooms_stay() {
    let broker = Broker::<u8>::new();
    let lasting = broker.room_with("news", RoomOptions::new().lasting()).unwrap();
    let publisher = broker.exclusive("prices").unwrap();
    assert_eq!([(); 4].map(|()| broker.expire_idle()), [0; 4]);
    assert!(lasting.is_running() && publisher.room().is_running());
}

/// Publishers by name lose nothing to rooms that expire under them: each message lies in one life of the room.
#[test]
fn no_message_is_taken_by_a_room_that_expires() {
    const MESSAGES: u64 = 20_000;
    let broker = Broker::<u64>::builder().capacity(MESSAGES as usize).build();
    let mut lives = broker.subscribe_pattern("*");
    let (done, expired) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MESSAGES {
                broker.publish("lobby", number).unwrap();
                if number % 16 == 0 {
                    thread::yield_now();
                }
            }
            done.store(true, Relaxed);
        });
        while !done.load(Relaxed) {
            expired.fetch_add(broker.expire_idle() as u64, Relaxed);
        }
    });
    broker.close();
    let mut numbers = Vec::new();
    futures::executor::block_on(async {
        while let Some(key) = lives.ready().await {
            match lives.get_mut(key).unwrap().try_recv() {
                Ok(number) => numbers.push(number),
                Err(TryRecvError::Closed(_)) => drop(lives.leave(key)),
                Err(error) => panic!("{error}"),
            }
        }
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "{} lives", expired.load(Relaxed) + 1);
}
