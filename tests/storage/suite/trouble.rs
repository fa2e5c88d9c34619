//! A store that does not do its part.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;

use roomcast::store::{Archive, Codec, Durability, NotStored, Options, StoreErrorKind, Undecodable};
use roomcast::{Broker, PublishError, Room, RoomOptions};

use crate::faulty::{Fate, Faulty, REFUSAL};
use crate::support::{Place, Run, until};

fn start(place: &dyn Place) -> (Arc<Faulty>, Run) {
    let store = Faulty::new(place.open());
    let run = Run::start(store.clone(), Options::all(Durability::Async));
    (store, run)
}

fn publish(room: &Room<String>, count: u64) {
    (0..count).for_each(|_| _ = room.publish_blocking(format!("a: {}", room.tail())).unwrap());
}

fn numbered(count: u64) -> Vec<(u64, String)> {
    (0..count).map(|sequence| (sequence, format!("a: {sequence}"))).collect()
}

pub(crate) fn a_commit_whose_answer_is_lost_is_kept_once(place: &dyn Place) {
    let (store, run) = start(place);
    store.will([Fate::Unanswered, Fate::Unanswered, Fate::Refused, Fate::Done, Fate::Unanswered]);
    let room = run.open("lobby");
    publish(&room, 40);
    run.flush();
    publish(&room, 40);
    run.flush();
    assert_eq!(run.texts("lobby"), numbered(80));
    assert_eq!(run.archive.status().stored, 80);
    assert_eq!(run.archive.status().trouble, None);
    run.close();
}

pub(crate) fn a_store_that_fails_gets_everything_when_it_goes_on(place: &dyn Place) {
    let (store, run) = start(place);
    store.be_down(true);
    let room = run.open("lobby");
    publish(&room, 10);
    let trouble = Some((StoreErrorKind::Unavailable, REFUSAL.to_owned()));
    until("the trouble is seen", || run.archive.status().trouble == trouble);
    until("the lag is counted", || run.archive.status().lag == 10);
    let error = run.archive.flush_within(Duration::from_millis(1)).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (StoreErrorKind::Unavailable, REFUSAL));
    assert_eq!(run.archive.watermark(&room).unwrap().stored(), 0);
    store.be_down(false);
    run.flush();
    assert_eq!(run.archive.watermark(&room).unwrap().stored(), 10);
    assert_eq!(run.archive.status().trouble, None);
    until("the lag is gone", || run.archive.status().lag == 0);
    assert_eq!(run.texts("lobby"), numbered(10));
    run.close();
}

/// Rooms take what their rings hold, say so when that is all, and go on with the store.
pub(crate) fn a_stalled_store_fills_the_rings_and_loses_nothing(place: &dyn Place) {
    let (store, run) = start(place);
    store.stall(true);
    let rooms: Vec<_> = (0..4).map(|room| run.open(&format!("room:{room}"))).collect();
    for room in &rooms {
        let accepted = (0..100_000)
            .find(|count| matches!(room.publish(format!("a: {count}")), Err(PublishError::Full(_))))
            .expect("the room is full at some time");
        // Beside the ring there is the batch that was being gathered when the store stalled.
        assert!((64..=10_000).contains(&accepted), "a ring of 64 has taken {accepted}");
    }
    let tails: Vec<u64> = rooms.iter().map(Room::tail).collect();
    let waits: Vec<_> = rooms.iter().map(|room| room.publish_wait(format!("a: {}", room.tail()))).collect();
    store.stall(false);
    for (wait, tail) in waits.into_iter().zip(&tails) {
        assert_eq!(block_on(wait), Ok(*tail), "it was refused without a trace");
    }
    run.close();
    for (room, tail) in rooms.iter().zip(&tails) {
        assert_eq!(run.texts(room.name()), numbered(tail + 1));
    }
}

/// However many ask in vain, each is answered in time, and so is who comes after.
pub(crate) fn whoever_waits_for_a_stalled_store_is_told(place: &dyn Place) {
    let (store, run) = start(place);
    let room = run.open("lobby");
    store.stall(true);
    publish(&room, 1);
    store.until_stalled();
    for _ in 0..1_500 {
        let error = run.archive.flush_within(Duration::ZERO).expect_err("nothing is committed");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    }
    assert_eq!(run.open("another").publish("a: 0".to_owned()), Ok(0));
    store.stall(false);
    run.flush();
    assert_eq!((run.texts("lobby"), run.texts("another")), (numbered(1), numbered(1)));
    run.close();
}

/// Its thread ends and its store is let go, though nothing could be stored; the broker runs on, held up by nobody.
pub(crate) fn an_archive_that_is_dropped_ends(place: &dyn Place) {
    let (store, run) = start(place);
    let room = run.open("lobby");
    store.be_down(true);
    publish(&room, 10);
    let Run { broker, archive } = run;
    drop(archive);
    until("the thread ends", || Arc::strong_count(&store) == 1);
    publish(&room, 1_000);
    assert_eq!(room.tail(), 1_010);
    assert!(!broker.is_closed());
}

/// What comes after it may be lost, so rooms take no more of it than they hold, and whoever waits is told.
pub(crate) fn a_codec_that_panics_stops_the_archive(place: &dyn Place) {
    struct Picky;
    impl Codec<String> for Picky {
        fn encode(&self, message: &String, out: &mut Vec<u8>) {
            assert!(message != "a: 1", "not this one");
            out.extend_from_slice(message.as_bytes());
        }

        fn decode(&self, stored: &[u8]) -> Result<String, Undecodable> {
            String::from_utf8(stored.to_vec()).map_err(|_| Undecodable)
        }
    }
    let broker = Broker::builder().shards(1).capacity(64).build();
    let options = Options::all(Durability::Stored);
    let archive = Archive::start_with(&broker, place.open(), Box::new(Picky), options).unwrap();
    let room = archive.open("lobby", RoomOptions::new()).unwrap();
    let watermark = archive.watermark(&room).unwrap();
    room.publish("a: 0".to_owned()).unwrap();
    assert_eq!(block_on(watermark.reached(1)), Ok(()));
    room.publish("a: 1".to_owned()).unwrap();
    assert_eq!(block_on(watermark.reached(2)), Err(NotStored));
    until("it is said", || archive.status().trouble.is_some_and(|(_, text)| text.contains("panicked")));
    let taken = (0..100_000).find(|n| matches!(room.publish(format!("a: {n}")), Err(PublishError::Full(_))));
    assert!(taken.is_some_and(|taken| taken <= 128), "the room refuses: {taken:?}");
    assert!(archive.close().unwrap_err().to_string().contains("panicked"));
}

pub(crate) fn closing_gives_up_in_time(place: &dyn Place) {
    let (store, run) = start(place);
    let room = run.open("lobby");
    store.be_down(true);
    publish(&room, 10);
    let error = run.archive.close_within(Duration::from_millis(20)).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (StoreErrorKind::Unavailable, REFUSAL));
    assert!(run.broker.is_closed());
    assert_eq!(run.archive.close().unwrap_err().to_string(), REFUSAL, "whoever asks again is told the same");
    let error = run.archive.flush_within(Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.to_string(), REFUSAL, "nobody is told that all is well");
    drop((store, run, room));

    let run = Run::start(place.open(), Options::all(Durability::Async));
    assert_eq!(run.open("lobby").tail(), 0);
    run.close();
}

/// A store that stands still holds up neither the end nor who comes next for longer than they wait; until it has let go nobody else has it.
pub(crate) fn a_store_that_hangs_is_left_behind_and_lets_go_later(place: &dyn Place) {
    let (store, run) = start(place);
    let room = run.open("lobby");
    store.stall(true);
    publish(&room, 3);
    store.until_stalled();
    let soon = Duration::from_millis(20);
    assert_eq!(run.archive.close_within(soon).unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert!(!run.archive.let_go_within(soon));
    assert_eq!(place.open().begin().map_err(|error| error.kind()), Err(StoreErrorKind::Locked));
    store.stall(false);
    until("it is let go of", || place.open().begin().is_ok());

    let other = Run::start(place.open(), Options::all(Durability::Async));
    let again = other.open("lobby");
    assert_eq!(again.tail(), other.stored("lobby").len() as u64);
    let goes_on = again.epoch() == room.epoch();
    assert!(!goes_on || again.tail() == room.tail(), "where something is missing, nobody knows what was seen of it");
    other.close();
}

/// What was published while the store took its time is stored, or it is said that it is not.
pub(crate) fn closing_that_runs_out_of_time_says_what_was_not_read(place: &dyn Place) {
    let (store, run) = start(place);
    let room = run.open("lobby");
    store.stall(true);
    publish(&room, 1);
    store.until_stalled();
    publish(&room, 2);
    let broker = run.broker.clone();
    let closed = std::thread::scope(|scope| {
        let closing = scope.spawn(|| run.archive.close_within(Duration::ZERO));
        until("it is closing", || broker.is_closed());
        store.stall(false);
        closing.join().unwrap()
    });
    drop((store, run, room));
    let run = Run::start(place.open(), Options::all(Durability::Async));
    let stored = run.open("lobby").tail();
    assert!(closed.is_err() || stored == 3, "{closed:?}, and {stored} of 3 are there");
    run.close();
}

/// Whoever waits for a watermark is told that it stays where it is: those who wait already, and who comes later.
pub(crate) fn whoever_waits_for_an_archive_that_gives_up_is_told(place: &dyn Place) {
    let store = Faulty::new(place.open());
    let run = Run::start(store.clone(), Options::all(Durability::Stored));
    let room = run.open("ledger");
    let watermark = run.archive.watermark(&room).unwrap();
    room.publish("a: 0".to_owned()).unwrap();
    block_on(watermark.reached(1)).unwrap();
    store.be_down(true);
    room.publish("a: 1".to_owned()).unwrap();
    assert!(!watermark.is_given_up());
    let waits = std::thread::spawn({
        let watermark = Arc::clone(&watermark);
        move || block_on(watermark.reached(2))
    });
    run.archive.close_within(Duration::from_millis(20)).unwrap_err();
    assert_eq!(waits.join().unwrap(), Err(NotStored));
    assert_eq!((block_on(watermark.reached(1)), block_on(watermark.reached(2))), (Ok(()), Err(NotStored)));
    assert!(watermark.is_given_up() && !watermark.is_complete());
}
