//! A room as a sink.

use futures::executor::block_on;
use futures::{FutureExt, SinkExt, StreamExt, stream};
use roomcast::{Broker, CloseReason, Policy, PublishError};

use crate::support::finishes;

#[test]
fn a_stream_runs_through_a_room_with_a_slow_reader() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(8).build();
        let room = broker.room("numbers").unwrap();
        let numbers = room.subscribe().policy(Policy::Block).now().unwrap();
        let sending = async {
            room.sink().send_all(&mut stream::iter(0..1_000).map(Ok)).await.unwrap();
            room.close();
        };
        let receiving = numbers.map(Result::unwrap).collect::<Vec<_>>();
        let ((), received) = block_on(futures::future::join(sending, receiving));
        assert_eq!(received, (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_full_room_makes_the_sink_wait_with_one_message() {
    let broker = Broker::<u64>::builder().capacity(1).build();
    let room = broker.room("numbers").unwrap();
    let mut slow = room.subscribe().policy(Policy::Block).now().unwrap();
    let mut sink = room.sink();
    let mut sent = 0;
    while sink.send(sent).now_or_never().is_some_and(|done| done.is_ok()) {
        sent += 1;
    }
    assert_eq!(room.tail(), sent, "the last one waits in the sink");
    for expected in 0..sent {
        assert_eq!(slow.try_recv(), Ok(expected));
    }
    assert_eq!(sink.flush().now_or_never(), Some(Ok(())));
    assert_eq!(slow.try_recv(), Ok(sent));
}

#[test]
fn a_closed_room_gives_the_message_back() {
    let broker = Broker::<u64>::new();
    let room = broker.room("numbers").unwrap();
    let mut sink = room.sink();
    assert_eq!(block_on(sink.send(1)), Ok(()));
    room.close();
    assert_eq!(block_on(sink.send(2)), Err(PublishError::Closed(2)));
    assert_eq!(sink.room().ended(), Some(CloseReason::Closed));
}

#[test]
fn closing_the_sink_leaves_the_room_open() {
    let broker = Broker::<u64>::new();
    let room = broker.room("numbers").unwrap();
    let mut sink = room.sink();
    block_on(sink.feed(1)).unwrap();
    block_on(sink.close()).unwrap();
    assert!(room.is_running());
    assert_eq!(room.publish(2), Ok(1));
}

/// Fails where a sink that is refused asks its stream for more.
#[test]
fn a_refused_sink_takes_one_message_of_its_stream() {
    let broker = Broker::<u64>::new();
    let room = broker.room("numbers").unwrap();
    room.close();
    let mut numbers = stream::iter(0..).map(Ok);
    assert_eq!(block_on(room.sink().send_all(&mut numbers)), Err(PublishError::Closed(0)));
    assert_eq!(block_on(numbers.next()), Some(Ok(1)));
}
