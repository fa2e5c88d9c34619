//! One order per room, the same for everybody, by sequence and by time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use roomcast::{Broker, RecvError, Room, Subscription};

use crate::support::publish_all;

const PUBLISHERS: u64 = 3;
const EACH: u64 = 5_000;

/// (publisher, number) as one word.
fn message(publisher: u64, number: u64) -> u64 {
    publisher << 32 | number
}

fn publish_from_several(room: &Room<u64>) {
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || {
                let mut last = None;
                for number in 0..EACH {
                    let sequence = room.publish(message(publisher, number)).unwrap();
                    assert!(last < Some(sequence), "a publisher's own sequences rise");
                    last = Some(sequence);
                }
            });
        }
    });
}

/// Reads to the end: (sequence, time, message) of each.
fn read_all(mut subscription: Subscription<u64>) -> Vec<(u64, Option<u64>, u64)> {
    let mut all = Vec::new();
    loop {
        match subscription.recv_ref_blocking() {
            Ok(message) => all.push((message.sequence(), message.time(), *message)),
            Err(RecvError::Closed(_)) => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn everybody_sees_the_same_order_and_each_publishers_own() {
    let broker = Broker::<u64>::builder().capacity((PUBLISHERS * EACH) as usize).build();
    let room = broker.room("lobby").unwrap();
    let readers: Vec<_> =
        (0..3).map(|_| room.subscribe().now().unwrap()).map(|reader| thread::spawn(|| read_all(reader))).collect();
    publish_from_several(&room);
    room.close();
    let seen: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(seen.iter().all(|other| *other == seen[0]), "the same order for every subscriber");
    let sequences: Vec<_> = seen[0].iter().map(|&(sequence, ..)| sequence).collect();
    assert_eq!(sequences, (0..PUBLISHERS * EACH).collect::<Vec<_>>(), "each sequence once");
    for publisher in 0..PUBLISHERS {
        let own = seen[0].iter().map(|&(.., message)| message).filter(|message| message >> 32 == publisher);
        assert!(own.eq((0..EACH).map(|number| message(publisher, number))), "publisher {publisher} in its own order");
    }
}

#[test]
fn times_never_fall_although_the_clock_jumps_back() {
    let ticks = AtomicU64::new(0);
    // Forward most of the time, and back by up to a thousand at every seventh look.
    let clock = move || {
        let tick = ticks.fetch_add(1, SeqCst) + 2_000;
        if tick.is_multiple_of(7) { tick - tick % 1_000 } else { tick }
    };
    let broker = Broker::<u64>::builder().capacity((PUBLISHERS * EACH) as usize).clock(clock).build();
    let room = broker.room("lobby").unwrap();
    let subscription = room.subscribe().now().unwrap();
    publish_from_several(&room);
    room.close();
    let all = read_all(subscription);
    assert_eq!(all.len() as u64, PUBLISHERS * EACH);
    let times: Vec<u64> = all.iter().map(|&(_, time, _)| time.expect("there is a clock")).collect();
    assert!(times.is_sorted(), "times never fall along the sequences");
    assert!(times[0] >= 1_000 && times[times.len() - 1] > times[0]);
}

#[test]
fn times_are_carried_over_every_rotation() {
    let now = Arc::new(AtomicU64::new(100));
    let clock = now.clone();
    let broker = Broker::<u64>::builder().capacity(4).clock(move || clock.load(SeqCst)).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    let mut latest = 0;
    for (number, time) in [100, 50, 120, 0, 119, 7, 130, 1, 1, 1, 1, 200, 3].into_iter().enumerate() {
        now.store(time, SeqCst);
        room.publish(number as u64).unwrap();
        latest = time.max(latest);
        let message = subscription.try_recv_ref().unwrap();
        assert_eq!((*message, message.time()), (number as u64, Some(latest)), "the latest time so far");
    }
}

#[test]
fn batches_carry_the_same_times() {
    let broker = Broker::<u64>::builder().capacity(64).clock(|| 77).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    publish_all(&room, 0..10);
    let batch = subscription.try_recv_batch(10).unwrap();
    assert!(
        batch.iter().all(|(_, time, _)| time == Some(77)) && batch.refs().all(|message| message.time() == Some(77))
    );
}
