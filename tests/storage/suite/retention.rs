//! What does not stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use roomcast::store::{Durability, Erasure, HistoryPage, Options, Retention, RetentionCutoff, Store, Watermark};
use roomcast::{Broker, Room, Start};

use crate::faulty::Faulty;
use crate::support::{Place, Run, until};

/// Milliseconds that pass when the test says so.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn set(&self, now: u64) {
        self.0.store(now, SeqCst);
    }

    fn start(&self, store: Arc<dyn Store>, retention: Retention) -> Run {
        let (clock, same) = (self.clone(), self.clone());
        let broker = Broker::builder().shards(1).capacity(64).clock(move || clock.0.load(SeqCst)).build();
        let options = Options::all(Durability::Async);
        let options = match retention == Retention::default() {
            true => options,
            false => options.retention(move |_| retention, move || same.0.load(SeqCst)),
        };
        Run::with(broker, store, options)
    }
}

fn publish(room: &Room<String>, author: &str, count: u64) {
    (0..count).for_each(|_| _ = room.publish_blocking(format!("{author}: {}", room.tail())).unwrap());
}

fn sequences(history: HistoryPage<String>) -> Vec<u64> {
    history.into_iter().map(|message| message.sequence).collect()
}

/// Both ways of reading say the same.
#[track_caller]
fn read(run: &Run, room: &Room<String>) -> Vec<u64> {
    let oldest = sequences(run.archive.history(room, 0..room.tail(), 10_000).unwrap());
    let mut newest = sequences(run.archive.history_newest_first(room, 0..room.tail(), 10_000).unwrap());
    newest.reverse();
    assert_eq!(oldest, newest);
    oldest
}

/// What the store still has, whatever may be read of it.
fn kept_from(run: &Run, room: &str) -> u64 {
    run.archive.store().span(room, RetentionCutoff::default()).unwrap().expect("the room is known").oldest
}

pub(crate) fn messages_go_with_their_time(place: &dyn Place) {
    let clock = Clock::default();
    let retention = Retention { ttl: Some(Duration::from_secs(10)), messages_max: None };
    let run = clock.start(place.open(), retention);
    let room = run.open("lobby");
    for second in 1..=20 {
        clock.set(second * 1_000);
        publish(&room, "a", 10);
    }
    run.flush();
    // What was published in the tenth second is ten seconds old; the ring has the newest 64 or some more.
    assert_eq!(read(&run, &room), (90..200).collect::<Vec<_>>());
    assert_eq!(run.archive.span("lobby").unwrap().unwrap().oldest, 90);
    clock.set(25_000);
    assert_eq!(read(&run, &room), (140..200).collect::<Vec<_>>());
    clock.set(29_500);
    assert_eq!(read(&run, &room), (190..200).collect::<Vec<_>>(), "in the ring, too");
    clock.set(31_000);
    assert!(read(&run, &room).is_empty());
    assert_eq!(room.publish("a: on".to_owned()), Ok(200), "the place stays");
    assert_eq!(read(&run, &room), [200]);
    run.end();

    let run = clock.start(place.open(), retention);
    until("what is too old is taken out", || kept_from(&run, "lobby") == 200);
    assert_eq!(run.open("lobby").tail(), 201);
    run.end();
}

pub(crate) fn times_do_not_fall_where_the_clock_was_set_back(place: &dyn Place) {
    let clock = Clock::default();
    let retention = Retention { ttl: Some(Duration::from_secs(10)), messages_max: None };
    clock.set(100_000);
    let run = clock.start(place.open(), retention);
    publish(&run.open("lobby"), "a", 100);
    run.end();

    for (begins_at, tail) in [(50_000, 200), (60_000, 300)] {
        clock.set(begins_at);
        let run = clock.start(place.open(), retention);
        let room = run.open("lobby");
        publish(&room, "a", 100);
        assert_eq!(room.tail(), tail);
        run.end();
    }

    clock.set(70_000);
    let run = clock.start(place.open(), retention);
    let room = run.open("lobby");
    publish(&room, "a", 1);
    run.flush();
    let times = run.archive.history(&room, 0..301, 1_000).unwrap().into_iter().map(|message| message.time);
    assert!(times.is_sorted(), "times fall along the sequences");
    clock.set(105_000);
    assert_eq!(read(&run, &room), (0..301).collect::<Vec<_>>(), "none is ten seconds old");
    publish(&room, "a", 1);
    clock.set(111_000);
    assert_eq!(read(&run, &room), [301], "the clock has come to where it was, and counts");
    run.end();
}

pub(crate) fn only_so_many_messages_stay(place: &dyn Place) {
    let clock = Clock::default();
    let run = clock.start(place.open(), Retention::default());
    for room in 0..100 {
        publish(&run.open(&format!("room:{room}")), "a", 150);
    }
    run.end();

    let retention = Retention { ttl: None, messages_max: Some(20) };
    let run = clock.start(place.open(), retention);
    let room = run.open("room:1");
    assert_eq!(read(&run, &room), (130..150).collect::<Vec<_>>());
    publish(&room, "a", 100);
    assert_eq!(read(&run, &room), (230..250).collect::<Vec<_>>(), "though the ring has more");
    until("what is too much is taken out", || (2..100).all(|room| kept_from(&run, &format!("room:{room}")) == 130));
    run.end();
}

pub(crate) fn removed_messages_are_gone_and_the_place_stays(place: &dyn Place) {
    let run = Clock::default().start(place.open(), Retention::default());
    let (room, other) = (run.open("lobby"), run.open("other"));
    publish(&room, "a", 200);
    publish(&other, "a", 5);
    run.archive.remove("lobby").unwrap();
    assert!(run.texts("lobby").is_empty() && read(&run, &room).is_empty());
    assert_eq!(read(&run, &other).len(), 5);
    publish(&room, "a", 1);
    assert_eq!(read(&run, &room), [200]);
    run.archive.remove("unknown").unwrap();
    run.end();

    let run = Clock::default().start(place.open(), Retention::default());
    let again = run.open("lobby");
    assert_eq!((again.epoch(), again.tail()), (room.epoch(), 201));
    assert_eq!(read(&run, &again), [200]);
    run.archive.remove("lobby").unwrap();
    run.end();
    let run = Clock::default().start(place.open(), Retention::default());
    assert_eq!((run.open("lobby").epoch(), run.open("lobby").tail()), (room.epoch(), 201), "empty, and not forgotten");
    run.end();
}

/// Its last messages are not committed yet when they are to be removed.
pub(crate) fn a_room_that_ended_is_removed_whole(place: &dyn Place) {
    let store = Faulty::new(place.open());
    let run = Run::start(store.clone(), Options::all(Durability::Async));
    publish(&run.open("lobby"), "a", 5);
    run.flush();
    store.stall(true);
    publish(&run.open("lobby"), "a", 5);
    run.broker.expire_idle();
    assert_eq!(run.broker.expire_idle(), 1);
    thread::scope(|scope| {
        scope.spawn(|| run.archive.remove("lobby").unwrap());
        // Time for the request to be made.
        thread::sleep(Duration::from_millis(20));
        store.stall(false);
    });
    assert_eq!(run.texts("lobby"), []);
    assert_eq!(run.open("lobby").tail(), 10);
    run.end();
}

pub(crate) fn what_an_author_said_is_erased_and_its_place_stays(place: &dyn Place) {
    let clock = Clock::default();
    clock.set(1_000);
    let run = clock.start(place.open(), Retention::default());
    let rooms = [run.open("lobby"), run.open("hall")];
    for room in &rooms {
        for _ in 0..60 {
            publish(room, "eve", 1);
            publish(room, "bob", 1);
        }
    }
    assert_eq!(run.archive.erase("eve").unwrap(), 120);
    assert_eq!(run.archive.erase("eve").unwrap(), 0);
    clock.set(2_000);
    publish(&rooms[0], "eve", 1);
    run.flush();
    for room in &rooms {
        let history = run.archive.history(room, 0..120, 1_000).unwrap();
        assert_eq!(history.len(), 120, "the places stay");
        for message in &history {
            let expected = (message.sequence % 2 == 1).then(|| format!("bob: {}", message.sequence));
            assert_eq!(message.message, expected);
        }
        let mut newest_first = run.archive.history_newest_first(room, 0..120, 1_000).unwrap();
        newest_first.reverse();
        assert_eq!(newest_first, history);
        let records = run.stored(room.name());
        assert!(records.iter().take(120).all(|record| record.author.is_some() == record.body.is_some()));
    }
    let later = run.archive.history(&rooms[0], 120..121, 1).unwrap();
    assert_eq!(later[0].message.as_deref(), Some("eve: 120"), "what is said later is not meant");
    run.end();
}

/// The store has erased them, so that it finds them no more, and the ring still has them.
pub(crate) fn an_erasure_whose_answer_was_lost_is_made_again(place: &dyn Place) {
    let store = Faulty::new(place.open());
    let run = Run::start(store.clone(), Options::all(Durability::Async));
    let room = run.open("lobby");
    publish(&room, "eve", 2);
    publish(&room, "bob", 1);
    store.lose_an_erasure();
    run.archive.erase_in("lobby", Erasure::Author("eve")).unwrap_err();
    assert_eq!(run.archive.erase_in("lobby", Erasure::Author("eve")).unwrap(), 0, "they are erased");
    let erased = run.archive.watermark(&room).unwrap().erased().clone();
    assert_eq!([0, 1, 2].map(|sequence| erased.contains(sequence)), [true, true, false]);
    let said = run.archive.history(&room, 0..3, 3).unwrap();
    assert_eq!(said.iter().map(|entry| entry.message.as_deref()).collect::<Vec<_>>(), [None, None, Some("bob: 2")]);
    run.end();
}

/// Nobody is in it when that begins. Who opens it meanwhile may have read what is to go, and publishes what is not meant.
pub(crate) fn a_room_that_is_opened_while_it_is_erased_shows_nothing_of_it(place: &dyn Place) {
    for erasure in [Erasure::Sequences(&[0, 2, 3]), Erasure::Author("eve")] {
        let store = Faulty::new(place.open());
        let run = Run::start(store.clone(), Options::all(Durability::Stored));
        let name = format!("{erasure:?}");
        let watermark = {
            let room = run.open(&name);
            publish(&room, "eve", 3);
            run.archive.watermark(&room).unwrap()
        };
        run.flush();
        run.broker.expire_idle();
        assert_eq!(run.broker.expire_idle(), 1);
        until("its end is stored", || watermark.is_complete());
        let other = run.open("other");
        store.stall(true);
        publish(&other, "bob", 1);
        store.until_stalled();
        let room = thread::scope(|scope| {
            let erasing = scope.spawn(|| run.archive.erase_in(&name, erasure).unwrap());
            // Time for it to have begun.
            thread::sleep(Duration::from_millis(50));
            let room = run.open(&name);
            publish(&room, "eve", 1);
            store.stall(false);
            assert_eq!(erasing.join().unwrap(), if let Erasure::Author(_) = erasure { 3 } else { 2 });
            room
        });
        let erased = run.archive.watermark(&room).unwrap().erased().clone();
        assert_eq!([0, 2, 3].map(|sequence| erased.contains(sequence)), [true, true, false], "{erasure:?}");
        assert!(run.archive.history(&room, 3..4, 1).unwrap()[0].message.is_some(), "it came later");
        run.end();
    }
}

pub(crate) fn who_reads_a_room_that_has_ended_learns_of_what_is_erased(place: &dyn Place) {
    let run = Run::start(place.open(), Options::all(Durability::Stored));
    let end = |name: &str| {
        let room = run.open(name);
        publish(&room, "eve", 2);
        publish(&room, "bob", 2);
        let (mark, reader) = (run.archive.watermark(&room).unwrap(), room.subscribe_from(Start::Oldest).now().unwrap());
        assert!(run.broker.remove(name));
        until("its end is stored", || mark.is_complete());
        (mark, reader)
    };
    let [(hall, mut reader), (twice, _), (other, _), _] = ["hall", "twice", "other", "lobby"].map(end);
    let erased = |mark: &Watermark| [0, 1, 2, 3, 4].map(|sequence| mark.erased().contains(sequence));
    let erase = |name: &str, erasure: Erasure<'_>| run.archive.erase_in(name, erasure).unwrap();

    let room = run.open("hall");
    publish(&room, "eve", 1);
    let running = run.archive.watermark(&room).unwrap();
    assert_eq!(erase("hall", Erasure::Sequences(&[2, 4])), 2);
    assert_eq!(erased(&hall), [false, false, true, false, false], "what is of the next one is not of its own");
    assert_eq!(erased(&running), [false, false, true, false, true]);
    assert_eq!((hall.ring_from(), running.ring_from()), (0, 0), "of the others everything is there");
    assert_eq!(erase("hall", Erasure::Author("eve")), 2);
    assert_eq!(erased(&hall), [true, true, true, false, false]);
    let said = |sequence| (!hall.erased().contains(sequence)).then_some(sequence);
    let read = std::iter::from_fn(|| reader.try_recv_ref().ok().map(|message| message.sequence()));
    assert_eq!(read.filter_map(said).collect::<Vec<_>>(), [3], "its ring is read on all the same");

    // One whose answer was lost: the store has nothing of hers any more.
    run.open("twice");
    assert_eq!(run.archive.store().erase_in("twice", Erasure::Author("eve"), 4, 10).unwrap(), [0, 1]);
    assert_eq!((erase("twice", Erasure::Author("eve")), twice.ring_from()), (0, 4), "its ring is not read any more");

    // Nobody has opened it again.
    assert_eq!(erase("other", Erasure::Sequences(&[1])), 1);
    assert_eq!((erased(&other), other.ring_from()), ([false, true, false, false, false], 0));
    assert_eq!(run.archive.erase("bob").unwrap(), 7);
    assert_eq!(other.ring_from(), 4);
    run.end();
}

pub(crate) fn single_messages_of_a_room_are_erased_from_store_and_ring(place: &dyn Place) {
    for round in 0..2 {
        let run = Run::start(place.open(), Options::all(Durability::Async));
        let rooms = [run.open("lobby"), run.open("hall")];
        let first = rooms[0].tail();
        for room in &rooms {
            for _ in 0..30 {
                publish(room, "eve", 1);
                publish(room, "bob", 1);
            }
        }
        let erase = |erasure: Erasure<'_>| run.archive.erase_in("lobby", erasure).unwrap();
        // Of an earlier incarnation, too, that this one goes on from; and none twice, nor any that is to come.
        assert_eq!(erase(Erasure::Sequences(&[first, 3, 5, 5, first + 1_000])), if round == 0 { 3 } else { 1 });
        assert_eq!(erase(Erasure::Sequences(&[first, 3])), 0);
        let others =
            (first..first + 60).filter(|sequence| sequence % 2 == 0 && ![3, 5, first].contains(sequence)).count();
        // The two that she said after she was erased.
        assert_eq!(erase(Erasure::Author("eve")), others as u64 + if round == 0 { 0 } else { 2 });
        assert_eq!(erase(Erasure::Author("nobody")), 0);
        publish(&rooms[0], "eve", 1);
        publish(&rooms[0], "eve", 1);
        let end = first + 60;
        let said = |room: &Room<String>, sequence| {
            run.archive.history(room, sequence..sequence + 1, 1).unwrap()[0].message.is_some()
        };
        for sequence in 0..end {
            let nth = sequence % 62;
            let is_erased = [3, 5].contains(&sequence) || if nth < 60 { nth % 2 == 0 } else { sequence < first };
            assert_eq!(said(&rooms[0], sequence), !is_erased, "{sequence} in round {round}");
            assert!(sequence >= rooms[1].tail() || said(&rooms[1], sequence), "another room is another matter");
        }
        assert!(said(&rooms[0], end), "what is said later is not meant");
        let watermark = run.archive.watermark(&rooms[0]).unwrap();
        assert!(watermark.erased().contains(first) && !watermark.erased().contains(end), "who reads the ring can know");
        let records = run.stored("lobby");
        assert_eq!(records.iter().filter(|record| record.body.is_none()).count(), if round == 0 { 32 } else { 64 });
        run.end();
    }
}
