//! Everything that can be awaited, each time really asleep before what it waits for happens.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;

use futures::StreamExt;
use roomcast::{Broker, CloseReason, Policy, PublishError, RecvError, Ref, RoomSet, Start, TryRecvError};

/// Awaits `future`, which must have to wait, and has `then` done by another thread once it does. Both are over in the end.
pub(super) async fn asleep<F: Future>(future: F, then: impl FnOnce() + Send + 'static) -> F::Output {
    let mut future = pin!(future);
    let (mut then, mut thread) = (Some(then), None);
    let output = poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        if polled.is_pending()
            && let Some(then) = then.take()
        {
            thread = Some(thread::spawn(then));
        }
        polled
    })
    .await;
    thread.expect("it had to wait").join().unwrap();
    output
}

/// The whole suite, in rooms of its own.
pub(super) async fn everything(broker: Broker<u64>) {
    for _ in 0..20 {
        messages(&broker).await;
        streams(&broker).await;
        references(&broker).await;
        handlers(&broker).await;
        waiting_publishers(&broker).await;
        sets(&broker).await;
        patterns(&broker).await;
        ends(&broker).await;
        assert_eq!(broker.stats().rooms, 0, "each has taken its rooms away");
    }
}

async fn messages(broker: &Broker<u64>) {
    let room = broker.room("messages").unwrap();
    let mut subscription = room.subscribe().await.unwrap();
    for number in 0..20 {
        let publisher = room.clone();
        let publish = move || assert_eq!(publisher.publish(number), Ok(number));
        let received = match number % 3 {
            0 => asleep(subscription.recv(), publish).await,
            1 => asleep(subscription.recv_ref(), publish).await.map(|message| *message),
            _ => asleep(subscription.recv_batch(5), publish).await.map(|batch| batch[0]),
        };
        assert_eq!(received, Ok(number));
    }
    subscription.unsubscribe().await;
    assert!(broker.remove("messages"));
}

async fn streams(broker: &Broker<u64>) {
    let room = broker.room_with("streams", roomcast::RoomOptions::new().capacity(4)).unwrap();
    let mut stream = room.subscribe().await.unwrap();
    let publisher = room.clone();
    let next =
        asleep(stream.next(), move || (0..3).for_each(|number| assert!(publisher.publish(number).is_ok()))).await;
    assert_eq!(next, Some(Ok(0)));
    for number in 3..40 {
        room.publish(number).unwrap();
    }
    room.close();
    let rest: Vec<_> = stream.by_ref().collect().await;
    let lagged: u64 = rest.iter().map(|item| if let Err(RecvError::Lagged(missed)) = item { *missed } else { 0 }).sum();
    let received = rest.iter().filter(|item| item.is_ok()).count() as u64;
    assert!(lagged > 0 && received >= 4);
    assert_eq!(received + lagged, 39);
    assert_eq!((stream.next().await, stream.next().await), (None, None), "it stays at its end");
    assert!(broker.remove("streams"));
}

async fn references(broker: &Broker<u64>) {
    let room = broker.room_with("references", roomcast::RoomOptions::new().capacity(4)).unwrap();
    let (mut holding, mut reading) = (room.subscribe().await.unwrap(), room.subscribe().await.unwrap());
    room.publish(7).unwrap();
    let held = holding.recv_ref().await.unwrap();
    assert_eq!(reading.recv().await, Ok(7));
    for number in 0..20 {
        let publisher = room.clone();
        assert_eq!(asleep(reading.recv(), move || assert!(publisher.publish(number).is_ok())).await, Ok(number));
    }
    assert_eq!((*held, held.sequence()), (7, 0), "held across every await, and long evicted");
    assert!(room.oldest() > 0);
    assert!(broker.remove("references"));
}

async fn handlers(broker: &Broker<u64>) {
    let room = broker.room("handlers").unwrap();
    room.publish(0).unwrap();
    for start in [Start::Latest, Start::Oldest] {
        let (seen, all) = mpsc::channel();
        let first = if start == Start::Oldest { 0 } else { room.tail() };
        let served = room.subscribe_with_from(start, move |message: Ref<'_, u64>| seen.send(*message).unwrap());
        let served = served.await.unwrap();
        let mut acknowledged = room.subscribe().await.unwrap();
        room.publish(room.tail()).unwrap();
        assert!(acknowledged.recv().await.is_ok());
        while room.tail() < first + 5 {
            room.publish(room.tail()).unwrap();
        }
        // Everything that was published has to be handled before the room ends, so not by `unsubscribe`.
        let expected: Vec<_> = (first..room.tail()).collect();
        let mut handled = Vec::new();
        while handled.len() < expected.len() {
            handled.extend(all.try_iter());
            yield_now().await;
        }
        assert_eq!(handled, expected);
        served.unsubscribe().await;
        room.publish(room.tail()).unwrap();
        assert_eq!(all.try_recv(), Err(mpsc::TryRecvError::Disconnected), "the handler is gone");
    }
    assert!(broker.remove("handlers"));
}

async fn waiting_publishers(broker: &Broker<u64>) {
    let room = broker.room_with("full", roomcast::RoomOptions::new().capacity(4)).unwrap();
    let mut blocking = room.subscribe().policy(Policy::Block).await.unwrap();
    let filled = (0..).find(|number| room.publish(*number).is_err()).expect("it is full at some time");
    let reads = move || {
        for number in 0..filled {
            assert_eq!(blocking.recv_blocking(), Ok(number));
        }
        assert_eq!(blocking.recv_blocking(), Ok(99), "what was waiting comes next");
    };
    assert_eq!(asleep(room.publish_wait(99), reads).await, Ok(filled));
    // By leaving, and by the end of the room.
    let mut blocking = Some(room.subscribe().policy(Policy::Block).await.unwrap());
    while room.publish(0).is_ok() {}
    assert!(asleep(room.publish_wait(1), move || drop(blocking.take())).await.is_ok());
    let _blocking = room.subscribe().policy(Policy::Block).await.unwrap();
    while room.publish(0).is_ok() {}
    let remover = broker.clone();
    let refused = asleep(room.publish_wait(2), move || assert!(remover.remove("full"))).await;
    assert_eq!(refused, Err(PublishError::Closed(2)));
}

async fn sets(broker: &Broker<u64>) {
    let rooms = ["set 0", "set 1", "set 2"].map(|name| broker.room(name).unwrap());
    let mut set = RoomSet::new();
    let keys = rooms.each_ref().map(|room| set.join(room.subscribe().now().unwrap()));
    for number in [2, 0, 1, 1] {
        let room = rooms[number].clone();
        let key = asleep(set.ready(), move || assert!(room.publish(number as u64).is_ok())).await;
        assert_eq!(key, keys[number]);
        assert_eq!(set.get_mut(key).unwrap().try_recv(), Ok(number as u64));
    }
    for room in &rooms {
        assert!(broker.remove(room.name()));
    }
    while !set.is_empty() {
        let key = set.ready().await;
        let end = set.leave(key).unwrap().try_recv();
        assert_eq!(end, Err(TryRecvError::Closed(CloseReason::Removed)));
    }
}

async fn patterns(broker: &Broker<u64>) {
    let mut pattern = broker.subscribe_pattern("pattern *");
    for number in 0..3 {
        let (publisher, name) = (broker.clone(), format!("pattern {number}"));
        let publish = move || assert!(publisher.publish(&name, number).is_ok());
        let key = asleep(pattern.ready(), publish).await.unwrap();
        assert_eq!(pattern.get_mut(key).unwrap().recv().await, Ok(number), "the first message of a new room");
    }
    for number in 0..3 {
        assert!(broker.remove(&format!("pattern {number}")));
        let key = pattern.ready().await.unwrap();
        assert!(pattern.leave(key).is_some());
    }
}

async fn ends(broker: &Broker<u64>) {
    for removes in [false, true] {
        let room = broker.room("ends").unwrap();
        let mut subscription = room.subscribe().await.unwrap();
        let (broker, closer) = (broker.clone(), room.clone());
        let end = move || assert!(if removes { broker.remove("ends") } else { closer.close() });
        let reason = if removes { CloseReason::Removed } else { CloseReason::Closed };
        assert_eq!(asleep(subscription.recv(), end).await, Err(RecvError::Closed(reason)));
    }
}

/// Lets whatever else the executor has go on, once.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        match std::mem::replace(&mut yielded, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
