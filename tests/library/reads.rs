//! Messages lent by reference keep their memory, whatever the publishers do meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use futures::executor::block_on;
use roomcast::{Broker, Ref, TryRecvError};

use crate::support::{Census, Counted, finishes, poll_once, publish_all, publish_more};

#[test]
fn a_reference_survives_any_number_of_laps_b14() {
    let census = Census::default();
    let broker = Broker::<Counted>::builder().capacity(4).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    room.publish(census.count(0)).unwrap();
    let held = subscription.try_recv_ref().unwrap();
    for number in 1..10_000 {
        room.publish(census.count(number)).unwrap();
    }
    assert_eq!((held.number, held.sequence()), (0, 0));
    assert!(census.alive() < 100, "only its own segment is kept: {}", census.alive());
    assert!(subscription.try_recv_ref().is_err(), "and the rest is lag");
    drop((subscription, room, broker));
    assert_eq!(census.alive(), 0);
}

#[test]
fn a_reference_is_kept_across_an_await() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let broker = Broker::<String>::builder().capacity(4).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let mut subscription = room.subscribe().await.unwrap();
        room.publish("the first".to_string()).unwrap();
        let reader = tokio::spawn({
            let room = room.clone();
            async move {
                let held = subscription.recv_ref().await.unwrap();
                for number in 0..1_000 {
                    room.publish(format!("number {number}")).unwrap();
                    tokio::task::yield_now().await;
                }
                assert_eq!(*held, "the first");
                let after = subscription.recv_batch(10).await.map(|batch| batch.len());
                assert!(matches!(after, Err(roomcast::RecvError::Lagged(_))));
            }
        });
        reader.await.unwrap();
    });
}

#[test]
fn a_batch_stays_whole_while_the_ring_is_lapped_b12() {
    finishes(|| {
        let broker = Broker::<[u64; 8]>::builder().capacity(64).shards(1).build();
        let room = broker.room("lobby").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let publisher = thread::spawn({
            let (room, stop) = (room.clone(), stop.clone());
            move || while !stop.load(SeqCst) && room.publish([room.tail(); 8]).is_ok() {}
        });
        let mut subscription = room.subscribe().now().unwrap();
        let mut batches = 0;
        while batches < 2_000 {
            match subscription.try_recv_batch(16) {
                Ok(batch) => {
                    let before: Vec<_> = batch.to_vec();
                    thread::yield_now();
                    assert_eq!(*batch, *before, "nobody writes to what is lent");
                    assert!(batch.iter().all(|(sequence, _, message)| *message == [sequence; 8]));
                    batches += 1;
                }
                Err(error) => assert!(matches!(error, TryRecvError::Empty | TryRecvError::Lagged(_)), "{error}"),
            }
        }
        stop.store(true, SeqCst);
        publisher.join().unwrap();
    });
}

#[test]
fn stalled_readers_keep_a_segment_each_which_is_used_again_b7() {
    const READERS: usize = 50;
    let broker = Broker::<u64>::builder().capacity(16).shards(1).build();
    let room = broker.room("lobby").unwrap();
    for round in 0..20 {
        let mut stalled: Vec<_> = (0..READERS).map(|_| room.subscribe().now().unwrap()).collect();
        let mut held: Vec<Ref<'_, u64>> = Vec::new();
        for subscription in &mut stalled {
            // Each is at the newest message when the ring begins to lap it.
            while !matches!(subscription.try_recv_batch(usize::MAX), Err(TryRecvError::Empty)) {}
            publish_more(&room, 1);
            held.push(subscription.try_recv_ref().unwrap());
            publish_more(&room, 8);
        }
        publish_more(&room, 5_000);
        assert!(held.iter().all(|message| **message == message.sequence()), "round {round}");
        assert!(room.stats().segments < READERS + 20, "round {round}: {:?}", room.stats());
    }
    publish_more(&room, 1_000);
    assert_eq!(room.stats().segments_pinned, 0, "{:?}", room.stats());
}

#[test]
fn a_parked_reader_pins_nothing() {
    let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    room.publish(0).unwrap();
    assert_eq!(subscription.try_recv(), Ok(0));
    assert!(poll_once(subscription.recv(), std::task::Waker::noop()).is_pending());
    publish_all(&room, 0..1_000);
    assert_eq!(room.stats().segments_pinned, 0);
    assert!(block_on(subscription.recv()).is_err());
}
