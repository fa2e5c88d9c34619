//! What errors give back and say, and what can be printed without asking anything of the message.

use std::error::Error;

use futures::executor::block_on;
use roomcast::{
    Broker, CloseReason, Epoch, NAME_BYTES_MAX, Policy, PublishByNameError, PublishError, RecvError, RecvTimeoutError,
    Ref, RoomError, RoomOptions, RoomSet, SubscribeError, TryRecvError,
};

/// Not `Debug`, not `Clone`, not `PartialEq`.
struct Bare(u64);

#[test]
fn an_error_gives_the_message_back() {
    let errors = [
        PublishError::Closed(Bare(1)),
        PublishError::Crashed(Bare(2)),
        PublishError::Full(Bare(3)),
        PublishError::TooLarge(Bare(4)),
        PublishError::Exclusive(Bare(5)),
        PublishError::OnShard(Bare(6)),
        PublishError::Pinned(Bare(7)),
    ];
    assert!(errors.into_iter().map(|error| error.into_inner().0).eq(1..=7));

    let broker = Broker::<Bare>::builder().bytes_max(1_000, |bare| bare.0 as usize).capacity(4).rooms_max(2).build();
    let room = broker.room("lobby").unwrap();
    assert!(matches!(room.publish(Bare(10_000)), Err(PublishError::TooLarge(Bare(10_000)))));
    let refused = broker.publish("lobby", Bare(10_000));
    assert!(matches!(refused, Err(PublishByNameError::Publish(PublishError::TooLarge(Bare(10_000))))));
    let mut publisher = broker.exclusive("prices").unwrap();
    assert!(matches!(publisher.room().publish(Bare(1)), Err(PublishError::Exclusive(Bare(1)))));
    assert!(matches!(block_on(publisher.room().publish_wait(Bare(2))), Err(PublishError::Exclusive(Bare(2)))));
    let nowhere = broker.publish("third", Bare(3));
    assert!(matches!(nowhere, Err(PublishByNameError::Room(RoomError::TooManyRooms, Bare(3)))));
    assert_eq!(nowhere.map_err(|error| error.into_inner().0), Err(3));
    let mut messages = [Bare(1), Bare(10_000), Bare(2)].into_iter();
    let Err(PublishError::TooLarge(back)) = publisher.publish_all(messages.by_ref()) else {
        panic!("the second is too large")
    };
    assert!(back.iter().map(|bare| bare.0).eq([10_000]), "what was taken and not published comes back");
    assert!(messages.map(|bare| bare.0).eq([2]), "and no more was taken");
    broker.close();
    assert!(matches!(room.publish(Bare(4)), Err(PublishError::Closed(Bare(4)))));
    assert!(matches!(publisher.publish(Bare(5)), Err(PublishError::Closed(Bare(5)))));
}

#[test]
fn an_error_says_what_to_do() {
    let says = |error: &dyn Error, advice: &str| {
        let text = error.to_string();
        assert!(text.contains(advice), "{text:?} does not say {advice:?}");
        assert!(!text.ends_with('.') && text.starts_with(|first: char| !first.is_uppercase()), "{text:?}");
    };
    says(&PublishError::Closed(()), "open it again by name");
    says(&PublishError::Crashed(()), "open it again by name");
    says(&PublishError::Full(()), "a blocking subscriber has not read far enough");
    says(&PublishError::Pinned(()), "65,535 readers have stopped");
    says(&PublishError::TooLarge(()), "larger than the room's byte budget allows");
    says(&PublishError::Exclusive(()), "publish with its publisher");
    says(&PublishError::OnShard(()), "must not wait for its own broker");
    says(&RecvError::Lagged(17), "17 messages were missed; reading goes on");
    says(&RecvError::Disconnected(17), "disconnected after falling 17 messages behind");
    says(&RecvError::OnShard, "must not wait for its own broker");
    says(&TryRecvError::Empty, "nothing to receive yet");
    says(&RecvTimeoutError::Timeout, "the next call waits for the same message");
    says(&RecvTimeoutError::Lagged(17), "17 messages were missed; reading goes on");
    says(&RecvTimeoutError::Disconnected(17), "17 messages behind");
    says(&RecvTimeoutError::OnShard, "must not wait for its own broker");
    says(&TryRecvError::Lagged(17), "17 messages were missed; reading goes on");
    says(&TryRecvError::Disconnected(17), "17 messages behind");
    says(&SubscribeError::OnShard, "await it elsewhere");
    says(&RoomError::Taken, "choose another or remove it");
    says(&RoomError::NameEmpty, "needs a name");
    says(&RoomError::NameTooLong, &NAME_BYTES_MAX.to_string());
    says(&RoomError::TooManyRooms, "remove some");
    says(&RoomError::Closed, "the broker is closed");
    for reason in [CloseReason::Closed, CloseReason::Removed, CloseReason::Crashed, CloseReason::BrokerClosed] {
        says(&RecvError::Closed(reason), &reason.to_string());
        says(&TryRecvError::Closed(reason), &reason.to_string());
        says(&RecvTimeoutError::Closed(reason), &reason.to_string());
        says(&SubscribeError::Closed(reason), &format!("{reason}; open it again by name"));
    }
    says(&PublishByNameError::Room(RoomError::NameEmpty, ()), "needs a name");
    says(&PublishByNameError::Publish(PublishError::Full(())), "is full");
    says(&"no epoch".parse::<Epoch>().unwrap_err(), "invalid digit");
}

#[test]
fn everything_prints_whatever_the_message_is() {
    let broker = Broker::<Bare>::builder().shards(1).capacity(8).build();
    let room = broker.room("lobby").unwrap();
    let mut subscription = room.subscribe().policy(Policy::Latest).now().unwrap();
    let (subscribe, publish) = (room.subscribe(), room.publish_wait(Bare(1)));
    let with = room.subscribe_with(|_: Ref<'_, Bare>| {});
    let served = block_on(room.subscribe_with(|_: Ref<'_, Bare>| {})).unwrap();
    let publisher = broker.exclusive("prices").unwrap();
    let mut set = RoomSet::new();
    let key = set.join(room.subscribe().now().unwrap());
    let pattern = broker.subscribe_pattern("lob*");
    let has = |text: String, parts: &[&str]| {
        assert!(parts.iter().all(|part| text.contains(part)), "{text} lacks one of {parts:?}");
    };
    has(format!("{broker:?}"), &["Broker", "rooms: 2"]);
    has(format!("{:?}", Broker::<Bare>::builder().capacity(7)), &["Builder", "capacity: Some(7)"]);
    has(format!("{room:?}"), &["Room", "lobby", "epoch"]);
    has(format!("{subscription:?}"), &["Subscription", "lobby", "next: 0", "Latest"]);
    has(format!("{subscribe:?}"), &["Subscribe", "lobby", "Latest"]);
    has(format!("{with:?} {served:?}"), &["SubscribeWith", "HandlerSubscription", "lobby", "running: true"]);
    has(format!("{publish:?}"), &["PublishWait", "lobby"]);
    has(format!("{publisher:?}"), &["Publisher", "prices"]);
    has(format!("{set:?} {key:?}"), &["RoomSet", "len: 1", "RoomKey"]);
    has(format!("{pattern:?}"), &["PatternSubscription", "lob*"]);
    has(format!("{:?}", subscription.recv_ref()), &["RecvRef"]);
    has(format!("{:?}", subscription.recv_batch(9)), &["RecvBatch", "max: 9"]);
    has(format!("{:?}", PublishError::Full(Bare(1))), &["Full"]);
    has(format!("{:?}", PublishByNameError::Room(RoomError::Taken, Bare(1))), &["Room", "Taken"]);
    has(format!("{:?}", PublishByNameError::Publish(PublishError::Full(Bare(1)))), &["Publish", "Full"]);
    has(format!("{:?}", RoomOptions::new().capacity(3)), &["capacity: Some(3)"]);
    // What is lent prints its messages, where these can be printed.
    let numbers = Broker::<u64>::builder().shards(1).build().room("numbers").unwrap();
    assert!(numbers.publish(1).is_err(), "its broker is gone");
    let broker = Broker::<u64>::builder().shards(1).build();
    let mut read = broker.room("numbers").unwrap().subscribe().now().unwrap();
    broker.publish("numbers", 41).unwrap();
    broker.publish("numbers", 42).unwrap();
    has(format!("{:?}", read.try_recv_ref().unwrap()), &["Ref", "sequence: 0", "41"]);
    has(format!("{:?}", read.try_recv_batch(9).unwrap()), &["Batch", "first: 1", "[42]"]);
}
