//! Publishing many messages at once into a shared room.

use std::sync::{Arc, mpsc};
use std::thread;

use roomcast::{Broker, Policy, PublishError, TryRecvError};

use crate::support::{Census, drain, finishes};

#[test]
fn a_batch_is_received_in_order_across_segments() {
    let broker = Broker::<u64>::builder().capacity(256).build();
    let room = broker.room("numbers").unwrap();
    let mut numbers = room.subscribe().now().unwrap();
    assert_eq!(room.publish_all(0..200), Ok(0..200));
    for expected in 0..200 {
        assert_eq!(numbers.try_recv(), Ok(expected));
    }
    assert_eq!(numbers.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn an_empty_batch_is_published_nowhere() {
    let broker = Broker::<u64>::new();
    let room = broker.room("numbers").unwrap();
    room.publish(7).unwrap();
    assert_eq!(room.publish_all([]), Ok(1..1));
    assert_eq!(room.tail(), 1);
}

#[test]
fn batches_of_several_publishers_keep_their_own_order() {
    const EACH: u64 = 4_000;
    let broker = Broker::<(u64, u64)>::builder().capacity(3 * EACH as usize).build();
    let room = Arc::new(broker.room("numbers").unwrap());
    let mut all = room.subscribe().now().unwrap();
    let publishers: Vec<_> = [1, 7, 64]
        .into_iter()
        .enumerate()
        .map(|(publisher, size)| {
            let room = room.clone();
            thread::spawn(move || {
                for first in (0..EACH).step_by(size) {
                    let end = EACH.min(first + size as u64);
                    room.publish_all((first..end).map(|number| (publisher as u64, number))).unwrap();
                }
            })
        })
        .collect();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    let mut next = [0; 3];
    for sequence in 0..3 * EACH {
        let message = all.try_recv_ref().unwrap();
        let (publisher, number) = *message;
        assert_eq!((message.sequence(), number), (sequence, next[publisher as usize]));
        next[publisher as usize] += 1;
    }
    assert_eq!(next, [EACH; 3]);
}

#[test]
fn what_does_not_fit_comes_back() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let room = broker.room("ledger").unwrap();
    let mut ledger = room.subscribe().policy(Policy::Block).now().unwrap();
    let mut messages = 0..1_000;
    let Err(PublishError::Full(back)) = room.publish_all(messages.by_ref()) else {
        panic!("the room takes 1,000 messages")
    };
    let taken = room.tail();
    assert!(taken >= 16, "a room retains its capacity");
    assert!(back.into_iter().chain(messages).eq(taken..1_000), "the rest was not taken");
    for expected in 0..taken {
        assert_eq!(ledger.try_recv(), Ok(expected));
    }
    assert_eq!(ledger.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn a_heavy_message_stops_a_batch_before_itself() {
    let broker = Broker::<Vec<u8>>::builder().capacity(4).bytes_max(400, Vec::len).build();
    let room = broker.room("files").unwrap();
    let mut files = room.subscribe().now().unwrap();
    let mut messages = [vec![1; 50], vec![2; 500], vec![3; 50]].into_iter();
    let Err(PublishError::TooLarge(back)) = room.publish_all(messages.by_ref()) else { panic!("the second is heavy") };
    assert!(back.into_iter().chain(messages).eq([vec![2; 500], vec![3; 50]]));
    assert_eq!(files.try_recv(), Ok(vec![1; 50]));
    assert_eq!(files.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(room.stats().bytes, 50);
}

#[test]
fn a_batch_wakes_whoever_waits_for_one_of_it() {
    let broker = Broker::<u64>::new();
    let room = broker.room("numbers").unwrap();
    let mut reader = room.subscribe().now().unwrap();
    let reading = thread::spawn(move || (0..100).map(|_| reader.recv_blocking().unwrap()).sum::<u64>());
    for first in (0..100).step_by(10) {
        room.publish_all(first..first + 10).unwrap();
    }
    assert_eq!(reading.join().unwrap(), 99 * 100 / 2);
}

#[test]
fn an_exclusive_room_takes_no_batch_from_others() {
    let broker = Broker::<u64>::new();
    let publisher = broker.exclusive("prices").unwrap();
    assert_eq!(publisher.room().publish_all([1, 2]), Err(PublishError::Exclusive(vec![1, 2])));
}

#[test]
fn every_message_of_a_batch_is_dropped_once() {
    let census = Census::default();
    let broker = Broker::builder().capacity(8).build();
    let room = broker.room("numbers").unwrap();
    for _ in 0..20 {
        room.publish_all((0..10).map(|number| census.count(number))).ok().unwrap();
    }
    room.close();
    let mut messages = (0..10).map(|number| census.count(number));
    let Err(refused) = room.publish_all(messages.by_ref()) else { panic!("it is closed") };
    let back = refused.into_inner();
    assert_eq!(back.len() + messages.by_ref().count(), 10, "those that were taken");
    drop((back, room, broker));
    assert_eq!(census.alive(), 0);
}

/// An iterator may wait, as that of a channel does, and may have no end. Fails where a refused batch asks it for the rest.
#[test]
fn no_more_is_taken_from_an_iterator_than_a_segment_holds() {
    finishes(|| {
        let broker = Broker::<u64>::new();
        let room = broker.room("numbers").unwrap();
        let mut exclusive = broker.exclusive("prices").unwrap();
        // Whoever gives the numbers closes the room in between.
        for publish in [true, false] {
            let closing = if publish { room.clone() } else { exclusive.room() };
            let mut taken = 0;
            let numbers = (0..).inspect(|number| {
                taken = number + 1;
                if *number == 1_000 {
                    closing.close();
                }
            });
            let published = if publish { room.publish_all(numbers) } else { exclusive.publish_all(numbers) };
            let Err(PublishError::Closed(back)) = published else { panic!("it is closed") };
            let tail = if publish { room.tail() } else { exclusive.room().tail() };
            assert!(back.len() <= 64 && tail <= 1_000 && tail + 64 > 1_000, "{} come back of {tail}", back.len());
            assert!(back.into_iter().eq(tail..taken), "nothing is lost");
        }
        // Nor is anything waited for that would be refused.
        let (sender, receiver) = mpsc::channel();
        assert_eq!(room.publish_all(receiver.iter()), Err(PublishError::Closed(vec![])));
        assert_eq!(exclusive.publish_all(receiver.iter()), Err(PublishError::Closed(vec![])));
        assert_eq!(exclusive.room().publish_all(receiver.iter()), Err(PublishError::Exclusive(vec![])));
        sender.send(7).unwrap();
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<u64>>(), [7], "it is still there");
    });
}

#[test]
fn what_is_refused_goes_on_where_it_stopped() {
    let broker = Broker::<u64>::builder().capacity(16).build();
    let room = broker.room("ledger").unwrap();
    let mut ledger = room.subscribe().policy(Policy::Block).now().unwrap();
    let (mut messages, mut received) = ((0..1_000).collect::<Vec<_>>().into_iter(), Vec::new());
    while let Err(PublishError::Full(back)) = room.publish_all(messages.by_ref()) {
        assert!(back.len() <= 4, "a segment of this room");
        messages = back.into_iter().chain(messages).collect::<Vec<_>>().into_iter();
        received.extend(drain(&mut ledger));
    }
    received.extend(drain(&mut ledger));
    assert!(received.into_iter().eq(0..1_000));
}

#[test]
fn a_run_is_a_slice_in_a_loop_too() {
    let broker = Broker::<String>::new();
    let room = broker.room("notes").unwrap();
    let mut notes = room.subscribe().now().unwrap();
    room.publish_all(["a", "b", "c"].map(String::from)).unwrap();
    let longest: &str = {
        let run = notes.try_recv_batch(2).unwrap();
        let by_reference: Vec<&String> = (&run).into_iter().collect();
        assert_eq!(by_reference, ["a", "b"]);
        assert_eq!(run.as_slice(), run.iter().map(|(_, _, note)| note.clone()).collect::<Vec<_>>());
        let lent = run.refs().next().unwrap();
        assert_eq!(run.into_iter().map(String::len).sum::<usize>(), 2);
        // What was lent outlives the batch and the `Ref` it came in.
        lent.into_ref()
    };
    assert_eq!(longest, "a");
}
