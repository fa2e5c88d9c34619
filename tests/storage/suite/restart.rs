//! What a room is after a restart.

use futures::executor::block_on;

use roomcast::store::{Durability, Options, StoreErrorKind};
use roomcast::{Epoch, Position, Room, RoomOptions};

use crate::faulty::Faulty;
use crate::support::{Place, Run};

fn asynchronous() -> Options {
    Options::all(Durability::Async)
}

/// Where the room's next message will be.
fn place_of(room: &Room<String>) -> Position {
    Position { epoch: room.epoch(), sequence: room.tail() }
}

fn publish(room: &Room<String>, count: u64) {
    (0..count).for_each(|_| _ = room.publish_blocking(format!("a: {}", room.tail())).unwrap());
}

/// A run that is clean, and leaves a room there.
fn after_a_clean_run(place: &dyn Place, room: &str, count: u64) -> Position {
    let run = Run::start(place.open(), asynchronous());
    let room = run.open(room);
    publish(&room, count);
    run.end();
    place_of(&room)
}

/// The archive of the process before is there still, and so is all that reads of it.
pub(crate) fn a_store_that_was_let_go_of_is_free_at_once(place: &dyn Place) {
    let run = Run::start(place.open(), asynchronous());
    let room = run.open("lobby");
    publish(&room, 5);
    run.archive.close().unwrap();
    assert_eq!(place.open().begin().map_err(|error| error.kind()), Err(StoreErrorKind::Locked));
    run.archive.let_go();
    run.archive.let_go();
    let other = Run::start(place.open(), asynchronous());
    assert_eq!(place_of(&other.open("lobby")), place_of(&room));
    assert!(run.archive.remove("lobby").is_err(), "it is not ours any more");
    other.end();
}

/// What was never published into leaves nothing in the store; who knows where it stood may say so, and of no other room.
pub(crate) fn a_start_counts_where_nothing_is_stored(place: &dyn Place) {
    let left = after_a_clean_run(place, "lobby", 5);
    let run = Run::start(place.open(), asynchronous());
    let start = |sequence| RoomOptions::new().starting_at(Position { epoch: Epoch::from(7), sequence });
    assert_eq!(place_of(&run.archive.open("lobby", start(0)).unwrap()), left);
    assert_eq!(place_of(&run.archive.open("hall", start(0)).unwrap()), Position { epoch: Epoch::from(7), sequence: 0 });
    let other = place_of(&run.archive.open("yard", start(3)).unwrap());
    assert!(other.epoch != Epoch::from(7) && other.sequence == 0, "{other:?}");
    run.end();
}

pub(crate) fn a_clean_end_goes_on_in_the_same_incarnation(place: &dyn Place) {
    let mut left = after_a_clean_run(place, "lobby", 5);
    for round in 2..5 {
        let run = Run::start(place.open(), asynchronous());
        let lobby = run.open("lobby");
        assert_eq!(place_of(&lobby), left);
        publish(&lobby, 5);
        assert_eq!(run.archive.history(&lobby, 0..lobby.tail(), 1_000).unwrap().len() as u64, 5 * round);
        run.end();
        left = place_of(&lobby);
        assert_eq!(left.sequence, 5 * round);
    }
}

pub(crate) fn an_unclean_end_begins_a_new_incarnation_at_the_stored_sequence(place: &dyn Place) {
    let run = Run::start(place.open(), asynchronous());
    let lobby = run.open("lobby");
    publish(&lobby, 200);
    run.flush();
    let left = place_of(&lobby);
    let _crashed = run.crash();

    let run = Run::start(place.open(), asynchronous());
    let lobby = run.open("lobby");
    assert_ne!(lobby.epoch(), left.epoch, "clients may be ahead of the store");
    assert_eq!(lobby.tail(), 200, "it goes on where the store ends");
    publish(&lobby, 3);
    let history = run.archive.history(&lobby, 0..lobby.tail(), 1_000).unwrap();
    let sequences: Vec<u64> = history.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, (0..203).collect::<Vec<_>>(), "the earlier incarnation can still be read");
    assert!(history.iter().all(|message| message.message == Some(format!("a: {}", message.sequence))));
    run.end();
    let new = place_of(&lobby);

    let run = Run::start(place.open(), asynchronous());
    assert_eq!(place_of(&run.open("lobby")), new, "the run before was clean");
    run.end();
}

pub(crate) fn stored_rooms_go_on_after_an_unclean_end(place: &dyn Place) {
    let options = || Options::all(Durability::Stored);
    let (mut left, mut crashed): (Option<Position>, Vec<_>) = (None, Vec::new());
    for _ in 0..3 {
        let run = Run::start(place.open(), options());
        let ledger = run.open("ledger");
        if let Some(left) = left {
            assert_eq!(place_of(&ledger), left, "nobody was given what is not stored");
        }
        publish(&ledger, 100);
        block_on(run.archive.watermark(&ledger).unwrap().reached(ledger.tail())).unwrap();
        left = Some(place_of(&ledger));
        crashed.push(run.crash());
    }
}

pub(crate) fn an_unclean_run_counts_for_rooms_nobody_opened_since(place: &dyn Place) {
    let left = after_a_clean_run(place, "lobby", 5);
    let run = Run::start(place.open(), asynchronous());
    assert_eq!(place_of(&run.open("lobby")), left);
    let _crashed = run.crash();
    for _ in 0..3 {
        // Clean ones, which say nothing about the room.
        after_a_clean_run(place, "other", 1);
    }
    let run = Run::start(place.open(), asynchronous());
    let lobby = run.open("lobby");
    assert_eq!(lobby.tail(), 5);
    assert_ne!(lobby.epoch(), left.epoch, "the second run may have published what was never stored");
    run.end();
}

/// What a room promised while it was stored says nothing about a run in which it is not: with nothing committed in that run,
/// only the run itself can tell.
pub(crate) fn a_room_that_is_less_safe_than_before_does_not_trust_its_incarnation(place: &dyn Place) {
    let run = Run::start(place.open(), Options::all(Durability::Stored));
    publish(&run.open("ledger"), 5);
    run.end();

    let store = Faulty::new(place.open());
    let run = Run::start(store.clone(), asynchronous());
    let ledger = run.open("ledger");
    store.be_down(true);
    publish(&ledger, 2);
    let given: Epoch = ledger.epoch();
    drop(store);
    let _crashed = run.crash();

    let run = Run::start(place.open(), asynchronous());
    let ledger = run.open("ledger");
    assert_eq!(ledger.tail(), 5);
    assert_ne!(ledger.epoch(), given, "places 5 and 6 were given out under that epoch");
    run.end();
}

pub(crate) fn a_run_that_cannot_be_finished_is_unclean(place: &dyn Place) {
    let store = Faulty::new(place.open());
    let run = Run::start(store.clone(), asynchronous());
    let lobby = run.open("lobby");
    publish(&lobby, 5);
    store.fail_to_finish();
    run.archive.close().expect_err("the store says so");
    let left = place_of(&lobby);
    drop((run, lobby, store));

    let run = Run::start(place.open(), asynchronous());
    let lobby = run.open("lobby");
    assert_eq!(lobby.tail(), 5);
    assert_ne!(lobby.epoch(), left.epoch);
    run.end();
}

pub(crate) fn a_room_that_was_only_opened_leaves_nothing(place: &dyn Place) {
    let run = Run::start(place.open(), asynchronous());
    let first = run.open("empty").epoch();
    run.end();
    let run = Run::start(place.open(), asynchronous());
    assert_eq!(run.archive.span("empty").unwrap(), None);
    assert_eq!(run.archive.store().rooms(None, 10).unwrap(), []);
    assert_ne!(run.open("empty").epoch(), first);
    run.end();
}

pub(crate) fn a_new_incarnation_is_known_before_anything_is_published(place: &dyn Place) {
    let run = Run::start(place.open(), asynchronous());
    publish(&run.open("lobby"), 5);
    run.flush();
    let _crashed = run.crash();
    let run = Run::start(place.open(), asynchronous());
    let second = place_of(&run.open("lobby"));
    run.end();
    let run = Run::start(place.open(), asynchronous());
    assert_eq!(place_of(&run.open("lobby")), second, "who was given the new epoch is not sent away again");
    run.end();
}

/// Two crashes, one after the other: of the incarnation between them the store knows no more than that it began.
pub(crate) fn an_incarnation_of_which_nothing_is_stored_hides_no_other(place: &dyn Place) {
    let mut crashed = Vec::new();
    for round in 0..4 {
        let run = Run::start(place.open(), asynchronous());
        let lobby = run.open("lobby");
        assert_eq!(lobby.tail(), if round == 0 { 0 } else { 5 });
        publish(&lobby, if round == 0 { 5 } else { 0 });
        run.flush();
        assert_eq!(run.archive.history(&lobby, 0..5, 10).unwrap().len(), 5, "after {round} crashes");
        assert_eq!(run.texts("lobby").len(), 5);
        crashed.push(run.crash());
    }
}
