//! What can be published, and every way to receive it.

use std::fmt::Display;
use std::sync::Arc;

use futures::StreamExt;
use futures::executor::block_on;
use roomcast::{Broker, CloseReason, RecvError, Room, Start, TryRecvError};

use crate::support::{drain, finishes, publish_all};

#[test]
fn one_message_reaches_everybody() {
    let broker = Broker::<String>::new();
    let room = broker.room("lobby").unwrap();
    let mut all: Vec<_> = (0..100).map(|_| room.subscribe().now().unwrap()).collect();
    assert_eq!(room.publish("hello".to_string()), Ok(0));
    for subscription in &mut all {
        assert_eq!(subscription.try_recv().as_deref(), Ok("hello"));
        assert_eq!(subscription.try_recv(), Err(TryRecvError::Empty));
    }
}

#[test]
fn many_messages_come_in_order() {
    let broker = Broker::<u64>::builder().capacity(50_000).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    for number in 0..50_000 {
        assert_eq!(room.publish(number), Ok(number));
    }
    assert_eq!(drain(&mut subscription), (0..50_000).collect::<Vec<_>>());
}

#[test]
fn any_type_can_be_a_message() {
    struct NotClone(Box<dyn Display + Send + Sync>);
    let broker = Broker::<NotClone>::new();
    let room = broker.room("boxed").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    room.publish(NotClone(Box::new("text"))).unwrap();
    room.publish(NotClone(Box::new(7))).unwrap();
    assert_eq!(subscription.try_recv_ref().unwrap().0.to_string(), "text");
    assert_eq!(block_on(subscription.recv_ref()).unwrap().0.to_string(), "7");

    let broker = Broker::<()>::builder().capacity(4).build();
    let room = broker.room("no size").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    for _ in 0..3 {
        room.publish(()).unwrap();
    }
    assert_eq!(drain(&mut subscription).len(), 3);

    #[repr(align(128))]
    #[derive(Clone)]
    struct Large([u8; 5_000]);
    let broker = Broker::<Large>::builder().capacity(8).build();
    let room = broker.room("large").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    room.publish(Large([9; 5_000])).unwrap();
    let large = subscription.try_recv_ref().unwrap();
    assert_eq!(std::ptr::from_ref::<Large>(&large) as usize % 128, 0, "aligned in the ring");
    assert!(large.0.iter().all(|&byte| byte == 9));
}

#[test]
fn a_message_may_lead_to_rooms_of_its_own_kind() {
    /// A question says where the answer is to go.
    struct Question {
        number: u64,
        answers: Option<Room<Self>>,
        desk: Option<Broker<Self>>,
    }
    let broker = Broker::<Question>::builder().shards(1).build();
    let (questions, answers) = (broker.room("questions").unwrap(), broker.room("answers").unwrap());
    let mut asked = questions.subscribe().now().unwrap();
    let mut answered = answers.subscribe().now().unwrap();
    let question = Question { number: 6, answers: Some(answers), desk: Some(broker.clone()) };
    assert!(questions.publish(question).is_ok());
    let question = asked.try_recv_ref().ok().unwrap();
    let answer = Question { number: 7 * question.number, answers: None, desk: None };
    assert!(question.answers.as_ref().unwrap().publish(answer).is_ok());
    assert!(question.desk.as_ref().unwrap().get("answers").is_some());
    assert_eq!(answered.try_recv_ref().ok().unwrap().number, 42);
    // It would keep its broker for ever.
    broker.close();
}

#[test]
fn subscribers_share_one_message_instead_of_copies() {
    let broker = Broker::<Vec<u8>>::new();
    let room = broker.room("lobby").unwrap();
    let (mut one, mut two) = (room.subscribe().now().unwrap(), room.subscribe().now().unwrap());
    let message = vec![1, 2, 3];
    let place = message.as_ptr();
    room.publish(message).unwrap();
    assert_eq!(one.try_recv_ref().unwrap().as_ptr(), place);
    assert_eq!(two.try_recv_batch(9).unwrap()[0].as_ptr(), place);
}

#[test]
fn an_arc_is_dropped_once_per_clone() {
    let broker = Broker::<Arc<u64>>::builder().capacity(4).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    let value = Arc::new(7);
    room.publish(value.clone()).unwrap();
    let received = subscription.try_recv().unwrap();
    assert_eq!(Arc::strong_count(&value), 3);
    drop((received, subscription, room, broker));
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn batches_are_slices_of_consecutive_messages() {
    let broker = Broker::<u64>::builder().capacity(256).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    for number in 0..200 {
        room.publish(number).unwrap();
    }
    let mut next = 0;
    while let Ok(batch) = subscription.try_recv_batch(37) {
        assert_eq!(batch.first_sequence(), next);
        assert!((1..=37).contains(&batch.len()));
        for (sequence, time, message) in batch.iter() {
            assert_eq!((sequence, time, *message), (next, None, next));
            next += 1;
        }
        assert_eq!(batch.refs().len(), batch.len());
    }
    assert_eq!(next, 200);
}

#[test]
fn a_batch_of_none_takes_none() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    room.publish(5).unwrap();
    assert!(subscription.try_recv_batch(0).is_err());
    assert_eq!(subscription.try_recv(), Ok(5), "and loses none");
}

#[test]
fn received_on_a_plain_thread() {
    let sum = finishes(|| {
        let broker = Broker::<u64>::new();
        let room = broker.room("lobby").unwrap();
        let mut subscription = room.subscribe().now().unwrap();
        let reader = std::thread::spawn(move || {
            let mut sum = 0;
            loop {
                match subscription.recv_blocking() {
                    Ok(number) => sum += number,
                    Err(end) => return (sum, end),
                }
            }
        });
        publish_all(&room, 1..=1_000);
        room.close();
        reader.join().unwrap()
    });
    assert_eq!(sum, (500_500, RecvError::Closed(CloseReason::Closed)));
}

#[test]
fn a_plain_thread_is_told_of_its_lag() {
    let broker = Broker::<u64>::builder().capacity(4).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().now().unwrap();
    publish_all(&room, 0..20);
    let oldest = room.oldest();
    assert_eq!(subscription.recv_blocking(), Err(RecvError::Lagged(oldest)));
    assert_eq!(subscription.recv_ref_blocking().map(|message| *message), Ok(oldest));
}

#[test]
fn received_on_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let sums = runtime.block_on(async {
        let broker = Broker::<u64>::new();
        let room = broker.room("lobby").unwrap();
        let mut readers = Vec::new();
        for _ in 0..50 {
            let mut subscription = room.subscribe().await.unwrap();
            readers.push(tokio::spawn(async move {
                let mut sum = 0;
                while let Ok(number) = subscription.recv().await {
                    sum += number;
                }
                sum
            }));
        }
        for number in 1..=1_000 {
            room.publish(number).unwrap();
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        room.close();
        let mut sums = Vec::new();
        for reader in readers {
            sums.push(reader.await.unwrap());
        }
        sums
    });
    assert_eq!(sums, [500_500; 50]);
}

#[test]
fn received_as_a_stream_with_lag_in_it() {
    let broker = Broker::<u64>::builder().capacity(4).build();
    let room = broker.room("lobby").unwrap();
    let subscription = room.subscribe().now().unwrap();
    for number in 0..20 {
        room.publish(number).unwrap();
    }
    room.close();
    let all: Vec<_> = block_on(subscription.collect());
    let Some(Err(RecvError::Lagged(missed))) = all.first().cloned() else { panic!("{all:?}") };
    assert_eq!(all[1..], (missed..20).map(Ok).collect::<Vec<_>>());
}

#[test]
fn from_the_oldest_or_from_now() {
    let broker = Broker::<u64>::new();
    let room = broker.room("lobby").unwrap();
    assert_eq!((room.oldest(), room.tail()), (0, 0));
    room.publish(1).unwrap();
    let mut old = room.subscribe_from(Start::Oldest).now().unwrap();
    let mut new = block_on(room.subscribe_from(Start::Latest)).unwrap();
    room.publish(2).unwrap();
    assert_eq!((drain(&mut old), drain(&mut new)), (vec![1, 2], vec![2]));
}

#[test]
fn waiting_for_a_batch_of_none_does_not_wait() {
    finishes(|| {
        let broker = Broker::<u64>::new();
        let room = broker.room("lobby").unwrap();
        let mut subscription = room.subscribe().now().unwrap();
        for published in [false, true] {
            if published {
                room.publish(5).unwrap();
            }
            let none = block_on(subscription.recv_batch(0)).unwrap();
            assert_eq!((none.first_sequence(), none.len()), (0, 0));
        }
        assert_eq!(subscription.try_recv(), Ok(5), "and it loses none");
    });
}
