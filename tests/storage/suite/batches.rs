//! What is committed together.

use std::thread;
use std::time::Duration;

use futures::executor::block_on;

use roomcast::store::{Durability, Options};

use crate::faulty::Faulty;
use crate::support::{Place, Run};

/// As long as a test never takes.
const FOR_EVER: Duration = Duration::from_secs(100_000);

/// Publishes so many messages of so many bytes in each of four rooms while the store stalls, lets it go on, and says what the
/// batches were.
fn batches(place: &dyn Place, options: Options, messages: usize, bytes: usize) -> Vec<(usize, usize)> {
    let store = Faulty::new(place.open());
    let run = Run::start(store.clone(), options);
    store.stall(true);
    run.open("first").publish(String::new()).unwrap();
    let flush = run.archive.flush_within(Duration::ZERO);
    store.until_stalled();
    assert!(flush.is_err());
    for room in ["a", "b", "c", "d"] {
        let room = run.open(room);
        (0..messages).for_each(|_| _ = room.publish("x".repeat(bytes)).expect("there is space"));
    }
    store.stall(false);
    run.end();
    let seen: Vec<_> = store.seen().iter().skip(1).map(|batch| (batch.messages, batch.bytes)).collect();
    assert_eq!(seen.iter().map(|(messages, _)| messages).sum::<usize>(), 4 * messages);
    seen
}

pub(crate) fn a_batch_ends_at_its_most_messages(place: &dyn Place) {
    let seen = batches(place, Options::all(Durability::Async).batch_messages_max(10).batch_delay(FOR_EVER), 60, 5);
    assert!(seen.iter().all(|(messages, _)| *messages <= 10), "{seen:?}");
    assert_eq!(seen.len(), 24, "{seen:?}");
}

pub(crate) fn a_batch_ends_at_its_most_bytes(place: &dyn Place) {
    let seen = batches(place, Options::all(Durability::Async).batch_bytes_max(1_000).batch_delay(FOR_EVER), 60, 90);
    assert!(seen.iter().all(|(_, bytes)| *bytes < 1_000 + 90), "{seen:?}");
    let seen = batches(place, Options::all(Durability::Async).batch_bytes_max(1_000).batch_delay(FOR_EVER), 5, 2_000);
    assert!(seen.iter().all(|(messages, _)| *messages == 1), "a larger one goes alone: {seen:?}");
}

pub(crate) fn messages_nobody_waits_for_gather_until_they_are_asked_for(place: &dyn Place) {
    let store = Faulty::new(place.open());
    let run = Run::start(store.clone(), Options::all(Durability::Async).batch_delay(FOR_EVER));
    let room = run.open("lobby");
    for count in 0..3 {
        room.publish(format!("a: {count}")).unwrap();
        // Time for the archive to do it wrong.
        thread::sleep(Duration::from_millis(5));
    }
    run.flush();
    let seen = store.seen();
    assert_eq!((seen.len(), seen[0].messages), (1, 3));
    assert_eq!(run.archive.status().batches, 1);
    run.close();
}

pub(crate) fn stored_messages_wait_for_no_others(place: &dyn Place) {
    let run = Run::start(place.open(), Options::all(Durability::Stored).batch_delay(FOR_EVER));
    let room = run.open("ledger");
    let watermark = run.archive.watermark(&room).unwrap();
    for count in 0..20 {
        let sequence = room.publish(format!("a: {count}")).unwrap();
        block_on(watermark.reached(sequence + 1)).expect("the archive runs");
        assert_eq!(run.stored("ledger").len(), count + 1, "it is there when the watermark says so");
    }
    run.close();
}

pub(crate) fn a_batch_is_as_durable_as_its_safest_message(place: &dyn Place) {
    let store = Faulty::new(place.open());
    let kinds = |room: &str| Some(if room == "ledger" { Durability::Stored } else { Durability::Async });
    let run = Run::start(store.clone(), Options::by_room(kinds));
    let (chat, ledger) = (run.open("chat"), run.open("ledger"));
    chat.publish("a: first".to_owned()).unwrap();
    run.flush();
    store.stall(true);
    chat.publish("a: second".to_owned()).unwrap();
    ledger.publish("a: third".to_owned()).unwrap();
    store.stall(false);
    run.flush();
    chat.publish("a: last".to_owned()).unwrap();
    run.flush();
    let seen: Vec<_> = store.seen().iter().map(|batch| batch.durability).collect();
    assert_eq!((seen[0], seen[seen.len() - 1]), (Durability::Async, Durability::Async));
    assert!(seen.contains(&Durability::Stored), "{seen:?}");
    run.close();
}
