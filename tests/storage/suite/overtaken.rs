//! Two processes that write the same store, the lock between them gone.

use std::sync::Arc;
use std::time::Instant;

use futures::executor::block_on;

use roomcast::store::{
    Batch, Durability, Erasure, Incarnation, NotStored, OpenError, Options, Record, Store, StoreErrorKind,
};
use roomcast::{PublishError, RoomOptions};

use crate::support::{PATIENCE, Place, Run, until};

fn kinds() -> Options {
    Options::by_room(|room| Some(if room == "ledger" { Durability::Stored } else { Durability::Async }))
}

/// Whoever has begun last writes, and nobody else: what either has acknowledged is there, under one epoch and one place each.
pub(crate) fn a_process_that_was_overtaken_stops_and_loses_nothing(place: &dyn Place) {
    let run = Run::start(place.open(), kinds());
    let (ledger, chat) = (run.open("ledger"), run.open("chat"));
    for n in 0..10 {
        ledger.publish(format!("a: {n}")).unwrap();
        chat.publish(format!("a: {n}")).unwrap();
    }
    run.flush();
    place.unlock();
    let other = Run::start(place.open(), kinds());
    let theirs = other.open("ledger");
    assert_eq!((theirs.epoch(), theirs.tail()), (ledger.epoch(), 10), "it takes the room over where it stood");
    // Both publish. One is told that it was not stored, the other that it was.
    let place_of_ours = ledger.publish("a: lost".to_owned()).unwrap();
    let watermark = run.archive.watermark(&ledger).unwrap();
    assert_eq!(block_on(watermark.reached(place_of_ours + 1)), Err(NotStored));
    assert_eq!(theirs.publish("b: kept".to_owned()), Ok(10));
    assert_eq!(block_on(other.archive.watermark(&theirs).unwrap().reached(11)), Ok(()));

    let status = run.archive.status();
    assert!(status.is_stopped && run.archive.is_stopped());
    let (kind, text) = status.trouble.expect("it says why");
    assert!(kind == StoreErrorKind::Overtaken && text.contains("another process has used"), "{kind:?} {text}");
    assert!(text.contains("restart this one"), "{text}");
    // Nothing is taken that would be lost: not by the rooms there are, nor by others, and nobody waits in vain.
    let taken = (0..100_000).find(|n| matches!(chat.publish(format!("a: {n}")), Err(PublishError::Full(_))));
    assert!(taken.is_some_and(|taken| taken <= 128), "the room refuses: {taken:?}");
    assert!(matches!(run.archive.open("new", RoomOptions::new()), Err(OpenError::Store(_))));
    assert_eq!(run.archive.flush_within(PATIENCE).unwrap_err().kind(), StoreErrorKind::Overtaken);
    for refused in [run.archive.remove("ledger"), run.archive.erase("a").map(|_| ()), run.archive.close()] {
        assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Overtaken);
    }

    let texts: Vec<_> = (0..10).map(|n| (n, format!("a: {n}"))).chain([(10, "b: kept".to_owned())]).collect();
    assert_eq!(other.texts("ledger"), texts);
    assert_eq!(other.texts("chat").len(), 10);
    other.end();
}

/// Both at full rate: whatever was acknowledged to a publisher of either is in its place.
pub(crate) fn what_two_processes_acknowledge_is_all_there(place: &dyn Place) {
    let acknowledged = |run: &Run, who: &str, most: u64| {
        let ledger = run.open("ledger");
        let watermark = run.archive.watermark(&ledger).unwrap();
        let mut acknowledged = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while acknowledged.len() < most as usize && Instant::now() < deadline {
            let text = format!("{who}: {}", acknowledged.len());
            let Ok(sequence) = ledger.publish(text.clone()) else { break };
            if block_on(watermark.reached(sequence + 1)).is_err() {
                break;
            }
            acknowledged.push((sequence, text));
        }
        acknowledged
    };
    let run = Run::start(place.open(), kinds());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| acknowledged(&run, "a", u64::MAX));
        until("it is on its way", || run.archive.status().stored > 20);
        let other = Run::overtaking(place, kinds());
        let second = acknowledged(&other, "b", 200);
        let all: Vec<_> = first.join().unwrap().into_iter().chain(second).collect();
        let stored = other.texts("ledger");
        assert!(all.len() > 220, "{}", all.len());
        for (sequence, text) in &all {
            assert_eq!(stored[*sequence as usize].1, *text, "what was acknowledged is there");
        }
        other.end();
    });
}

/// Each statement that changes something asks, and keeps nothing of what it was to do.
pub(crate) fn nothing_at_all_is_written_by_who_was_overtaken(place: &dyn Place) {
    let incarnation = Incarnation::going_on("lobby", None, Durability::Stored);
    let message = |sequence, text: &str| {
        let body = Some(text.as_bytes().to_vec());
        let mut batch = Batch::default();
        batch.add(&incarnation, &Record { sequence, time: 7, author: Some("a".to_owned()), body });
        batch
    };
    let store = begun(place);
    store.commit(&message(0, "a: 0")).unwrap();
    place.unlock();
    let other = begun(place);
    // A connection that was ended shows it once.
    let _ = store.finish();
    let refusals = [
        store.commit(&message(1, "a: 1")),
        store.commit(&message(0, "a: 0")),
        store.remove("lobby", 1, 9).map(|_| ()),
        store.erase("a", 9).map(|_| ()),
        store.finish(),
    ];
    for refused in refusals {
        assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Overtaken);
    }
    assert_eq!(crate::support::stored(&*other, "lobby").len(), 1);
    assert!(other.span("lobby", Default::default()).unwrap().unwrap().is_whole);
    other.commit(&message(1, "b: 1")).unwrap();
    other.finish().unwrap();
}

/// A batch that comes again is a repeat where it says the same, or was erased since. Another message in its place is none, and
/// neither is a place behind others that are not there.
pub(crate) fn another_message_in_the_place_of_ours_is_no_repeat(place: &dyn Place) {
    let incarnation = Incarnation::going_on("lobby", None, Durability::Stored);
    let batch = |records: &[(u64, u64, &str, &str)]| {
        let mut batch = Batch::default();
        for &(sequence, time, author, text) in records {
            let (author, body) = (Some(author.to_owned()), Some(text.as_bytes().to_vec()));
            batch.add(&incarnation, &Record { sequence, time, author, body });
        }
        batch
    };
    let ours = [(0, 5, "ann", "zero"), (1, 6, "bob", "one")];
    let store = begun(place);
    store.commit(&batch(&ours)).unwrap();
    store.commit(&batch(&ours)).expect("the same again");
    for other in [(1, 6, "bob", "uno"), (1, 7, "bob", "one"), (1, 6, "eve", "one")] {
        let error = store.commit(&batch(&[other, (2, 9, "bob", "two")])).expect_err("it is another");
        assert_eq!(error.kind(), StoreErrorKind::Overtaken);
        assert!(error.to_string().contains("offset 2 of \"lobby\" is another message"), "{error}");
    }
    let error = store.commit(&batch(&[(3, 9, "bob", "three")])).expect_err("two is not there");
    assert!(error.kind() == StoreErrorKind::Overtaken && error.to_string().contains("went back"), "{error}");
    assert_eq!(crate::support::stored(&*store, "lobby").len(), 2, "nothing of it was kept");
    assert_eq!(store.erase("bob", 9).unwrap(), 1);
    store.commit(&batch(&ours)).expect("the same again, erased meanwhile");
    store.commit(&batch(&[(2, 9, "bob", "two")])).unwrap();
    store.finish().unwrap();
}

/// What nobody can reach any more is in the database all the same: the room began anew, with other messages in its places.
pub(crate) fn what_an_author_said_in_an_earlier_incarnation_is_erased(place: &dyn Place) {
    let store = begun(place);
    for epoch in [None, None] {
        let incarnation = Incarnation::going_on("lobby", epoch, Durability::Stored);
        let mut batch = Batch::default();
        for sequence in 0..2 {
            let (author, body) = (Some("eve".to_owned()), Some(b"an address".to_vec()));
            batch.add(&incarnation, &Record { sequence, time: 5, author, body });
        }
        store.commit(&batch).unwrap();
    }
    assert_eq!(
        store.erase_in("lobby", Erasure::Author("eve"), 1, 9).unwrap(),
        [0],
        "of what can be reached, what is before"
    );
    assert_eq!(store.erase("eve", 9).unwrap(), 1, "what was said afterwards is all that is left");
    store.finish().unwrap();
}

/// Nothing is published, so nothing is committed: it is noticed all the same, within some seconds.
pub(crate) fn who_has_nothing_to_write_notices_too(place: &dyn Place) {
    let run = Run::start(place.open(), kinds());
    run.open("ledger");
    run.flush();
    let other = Run::overtaking(place, kinds());
    until("it is noticed", || run.archive.is_stopped());
    let (kind, text) = run.archive.status().trouble.expect("it says why");
    assert!(kind == StoreErrorKind::Overtaken && text.contains("another process has used"), "{kind:?} {text}");
    other.end();
}

/// What is read of a room may be what another process has just written: its incarnation is not gone on in.
pub(crate) fn the_incarnation_of_another_process_is_not_gone_on_in(place: &dyn Place) {
    let run = Run::start(place.open(), kinds());
    let other = Run::overtaking(place, kinds());
    for room in ["chat", "ledger"] {
        other.open(room).publish("b: theirs".to_owned()).unwrap();
    }
    other.flush();
    for room in ["chat", "ledger"] {
        match run.archive.open(room, RoomOptions::new()) {
            Err(OpenError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::Overtaken),
            opened => panic!("{room} is opened: {opened:?}"),
        }
    }
    other.end();
}

/// What was acknowledged is not there any more, so its places would be handed out again: under another epoch.
pub(crate) fn a_store_that_went_back_begins_new_incarnations(place: &dyn Place) {
    let incarnation = Incarnation::going_on("lobby", None, Durability::Stored);
    let message = |sequence| {
        let mut batch = Batch::default();
        batch.add(&incarnation, &Record { sequence, time: 7, author: None, body: Some(b"a".to_vec()) });
        batch
    };
    let store = begun(place);
    store.commit(&message(0)).unwrap();
    assert!(store.span("lobby", Default::default()).unwrap().unwrap().is_whole);
    // As if 1 had been acknowledged by a server that is not asked any more.
    assert_eq!(store.commit(&message(2)).unwrap_err().kind(), StoreErrorKind::Overtaken);
    drop(store);
    let store = begun(place);
    let span = store.span("lobby", Default::default()).unwrap().unwrap();
    assert!(!span.is_whole && span.next == 1, "{span:?}");
    store.finish().unwrap();
}

/// The store, begun: one that was let go a moment ago may be held still.
fn begun(place: &dyn Place) -> Arc<dyn Store> {
    let store = place.open();
    until("the store begins", || store.begin().is_ok());
    store
}
