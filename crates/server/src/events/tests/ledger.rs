//! What events come of who comes and goes, of time, and of a log that is too long.

use std::path::Path;
use std::time::Duration;

use super::{Folder, START_MS, World, body};
use crate::config::RoomEventsOptions;
use crate::events::event::Reason;
use crate::events::ledger::{Before, Ledger, skip};
use crate::events::log::{self, Log};

#[test]
fn the_first_who_comes_occupies_a_room_and_who_is_gone_for_long_vacates_it() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    world.journal.enter("hall", "b", "bob");
    world.journal.leave("hall", "a", Reason::UNSUBSCRIBE);
    world.journal.leave("hall", "b", Reason::DISCONNECT);
    world.write();
    let so_far = ["occupied hall", "join hall a", "join hall b", "leave hall a unsubscribe", "leave hall b disconnect"];
    assert_eq!(world.words(), so_far);
    world.pass(Duration::from_millis(4_999));
    world.write();
    assert_eq!(world.words(), so_far, "it may be that somebody comes back");
    world.pass(Duration::from_millis(1));
    world.write();
    assert_eq!(world.words()[5..], ["vacated hall"]);
    world.journal.enter("hall", "c", "");
    world.write();
    assert_eq!(world.words()[6..], ["occupied hall", "join hall c"]);
}

#[test]
fn a_room_to_which_somebody_comes_back_was_never_vacated() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    world.journal.leave("hall", "a", Reason::DISCONNECT);
    world.write();
    world.pass(Duration::from_secs(4));
    world.journal.enter("hall", "b", "ann");
    world.write();
    world.pass(Duration::from_secs(60));
    world.write();
    assert_eq!(world.words(), ["occupied hall", "join hall a", "leave hall a disconnect", "join hall b"]);
    assert_eq!(world.ledger.as_ref().and_then(crate::events::ledger::Ledger::due_ms), None);
}

#[test]
fn a_room_is_vacated_though_the_clock_was_put_back_by_a_day() {
    let mut world = World::new();
    let day = Duration::from_secs(24 * 60 * 60);
    world.pass(day);
    world.journal.enter("hall", "a", "ann");
    world.journal.leave("hall", "a", Reason::DISCONNECT);
    world.write();
    world.now_ms.fetch_sub(day.as_millis() as u64, std::sync::atomic::Ordering::Relaxed);
    world.write();
    assert_eq!(world.words().len(), 3, "it has been empty for a moment");
    world.pass(Duration::from_secs(5));
    world.write();
    assert_eq!(world.words()[3..], ["vacated hall"]);
}

#[test]
fn names_may_be_whatever_they_like() {
    let mut world =
        World::with(RoomEventsOptions { log_max_age: Duration::from_secs(60), ..Default::default() }, usize::MAX);
    let long = "é".repeat(127) + "x";
    let names = ["a\0b", "a\0c", "it's \"quoted\"; DROP TABLE events", "\u{1f600}\u{7f}\n", &*long];
    for name in names {
        world.journal.enter(name, "a", name);
        world.journal.enter(name, name, name);
        world.journal.leave(name, "a", Reason::UNSUBSCRIBE);
    }
    world.write();
    assert_eq!(world.tell().members.len(), names.len());
    let told: serde_json::Value = serde_json::from_str(&body(&world.read(0))).expect("JSON");
    let joined: Vec<_> =
        told["events"].as_array().expect("events").iter().filter(|it| it["type"] == "occupied").collect();
    assert_eq!(joined.iter().map(|it| it["channel"].as_str().expect("a room")).collect::<Vec<_>>(), names);
    world.crash();
    world.tell();
    assert!(world.backend.members.is_empty());
    world.pass(Duration::from_secs(600));
    while world.write().is_unfinished {}
    world.pass(Duration::from_secs(600));
    while world.write().is_unfinished {}
    assert_eq!(world.ledger.as_ref().expect("it runs").position().bytes, 0, "what goes weighs what it weighed");
}

#[test]
fn events_with_names_of_a_megabyte_are_read_a_few_at_once() {
    let mut world = World::new();
    let user = "x".repeat(100_000);
    for at in 0..20 {
        world.journal.enter("hall", &at.to_string(), &user);
    }
    world.write();
    let connection = log::open_to_read(&world.folder.log()).expect("a log");
    let (events, head) = log::read(&connection, 0, 1_000, 0).expect("a log");
    assert_eq!((events.len(), head), (7, 21));
    drop(connection);
    assert_eq!(world.read(0).len(), 21, "all of it all the same");
}

#[test]
fn a_log_that_is_asked_for_what_is_beyond_any_end_has_nothing() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "");
    world.write();
    assert!(world.read(u64::MAX).is_empty());
}

#[test]
fn a_log_that_somebody_removes_is_known_to_be_gone() {
    let world = World::new();
    let ledger = world.ledger.as_ref().expect("it runs");
    assert!(ledger.file().1);
    std::fs::remove_file(world.folder.log()).expect("a file");
    assert!(!ledger.file().1);
    std::fs::write(world.folder.log(), "").expect("a file");
    assert!(!ledger.file().1, "another one is not it");
}

#[test]
fn a_crash_ends_every_stay_and_leaves_rooms_time_to_fill_again() {
    let mut world = World::new();
    world.journal.connect("a", "ann");
    world.journal.enter("hall", "a", "ann");
    world.journal.enter("yard", "a", "ann");
    world.write();
    world.journal.leave("yard", "a", Reason::UNSUBSCRIBE);
    world.journal.enter("hall", "b", "bob");
    world.crash();
    world.journal.enter("hall", "c", "ann");
    world.write();
    world.pass(Duration::from_secs(5));
    world.write();
    assert_eq!(
        world.words(),
        [
            "connect a ann",
            "occupied hall",
            "join hall a",
            "occupied yard",
            "join yard a",
            // What came after the last write nobody was told of.
            "leave yard a restart",
            "leave hall a restart",
            "disconnect a 0 restart",
            "join hall c",
            "vacated yard",
        ]
    );
    world.tell();
}

#[test]
fn who_comes_twice_or_goes_twice_does_so_once() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    world.journal.enter("hall", "a", "ann");
    world.journal.leave("hall", "a", Reason::UNSUBSCRIBE);
    world.journal.leave("hall", "a", Reason::DISCONNECT);
    world.journal.disconnect("a", Reason::DISCONNECT);
    world.write();
    assert_eq!(world.words(), ["occupied hall", "join hall a", "leave hall a unsubscribe"]);
}

#[test]
fn what_is_too_much_becomes_one_gap_which_grows_and_is_told_once() {
    let mut world = World::with(RoomEventsOptions { log_max_size: 1_000, ..RoomEventsOptions::default() }, usize::MAX);
    world.journal.enter("hall", "first", "");
    world.write();
    world.tell();
    let mut lost = 0;
    for at in 0..100 {
        world.journal.enter("hall", &format!("client-{at}"), "");
        lost += world.write().lost;
    }
    let events = world.read(2);
    assert_eq!(events[0].first(), 3, "all that are missing");
    assert_eq!(lost, events[0].offset - 2, "and they are counted once");
    assert!(super::words(&events[0]).starts_with("gap 3 "), "{events:?}");
    assert!(events.len() > 10 && events[1..].iter().all(|event| super::words(event).starts_with("join")), "{events:?}");
    assert_eq!(events.last().map(|last| last.offset), Some(102), "the newest are there");
    let bytes = world.ledger.as_ref().expect("it runs").position().bytes;
    assert!((800..=1_000).contains(&bytes), "{bytes}");
    // The backend takes the gap, and nothing of it is left.
    world.journal.deliver(events[0].offset);
    world.crash();
    assert!(super::words(&world.read(events[0].offset)[0]).starts_with("join"));
}

#[test]
fn what_a_gap_said_is_missing_is_not_counted_again_when_the_gap_itself_goes() {
    let options = || RoomEventsOptions { log_max_size: 1_000, ..RoomEventsOptions::default() };
    let mut world = World::with(options(), 500);
    for at in 0..50 {
        world.journal.enter("hall", &format!("client-{at:02}"), "");
    }
    // More than was kept in memory, so a gap; then enough for it to go.
    let mut lost = world.write().lost;
    assert!(world.words().iter().any(|event| event.starts_with("gap ")), "{:?}", world.words());
    for at in 0..50 {
        world.journal.leave("hall", &format!("client-{at:02}"), Reason::UNSUBSCRIBE);
        lost += world.write().lost;
    }
    let kept = world.read(0).iter().filter(|event| !super::words(event).starts_with("gap ")).count() as u64;
    let head = world.ledger.as_ref().expect("it runs").position().head;
    assert_eq!(lost, head - kept, "each that the backend is not told of, once");
}

#[test]
fn what_the_backend_has_taken_is_no_loss() {
    let mut world = World::with(RoomEventsOptions { log_max_size: 1_000, ..RoomEventsOptions::default() }, usize::MAX);
    for at in 0..200 {
        world.journal.enter("hall", &format!("client-{at}"), "");
        assert_eq!(world.write().lost, 0);
        world.tell();
    }
    assert_eq!(world.backend.gaps, 0);
}

#[test]
fn what_is_too_old_goes_when_nothing_else_happens() {
    let age = Duration::from_secs(3_600);
    let mut world = World::with(RoomEventsOptions { log_max_age: age, ..RoomEventsOptions::default() }, usize::MAX);
    world.journal.enter("hall", "a", "");
    world.write();
    world.pass(age);
    world.journal.enter("hall", "b", "");
    assert_eq!(world.write().lost, 0, "not older than it may be");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.write().lost, 2);
    assert_eq!(world.words(), ["gap 1 2", "join hall b"]);
    world.pass(age);
    world.write();
    assert_eq!(world.words(), ["gap 1 3"], "of an empty log, too");
    world.journal.enter("hall", "c", "");
    world.write();
    assert_eq!(world.words(), ["gap 1 3", "join hall c"], "no offset is given twice");
}

#[test]
fn the_file_is_about_as_large_as_the_log_may_be() {
    const BYTES: usize = 500_000;
    let mut world = World::with(RoomEventsOptions { log_max_size: BYTES, ..RoomEventsOptions::default() }, usize::MAX);
    for round in 0..40 {
        for at in 0..500 {
            let client = format!("0a1b2c3d-4e5f-4a6b-8c7d-{round:04}{at:08}");
            world.journal.enter("chat:a-room-of-usual-length", &client, "12345678");
            world.journal.leave("chat:a-room-of-usual-length", &client, Reason::DISCONNECT);
        }
        world.write();
    }
    world.ledger = None;
    let connection = log::open_to_read(&world.folder.log()).expect("a log");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    let bytes = std::fs::metadata(world.folder.log()).expect("a file").len() as usize;
    // One round more than it may hold was in it each time before the oldest went.
    assert!((BYTES / 2..BYTES * 2).contains(&bytes), "{bytes}");
}

#[test]
fn a_log_that_is_far_too_long_is_cut_piece_by_piece() {
    let mut world = World::far_too_long();
    let mut rounds = 0;
    while world.write().is_unfinished {
        rounds += 1;
        assert!(rounds < 10, "it ends");
    }
    assert!(rounds >= 4, "{rounds}: 50,001 events do not go at once");
    assert!(world.ledger.as_ref().expect("it runs").position().bytes <= 10_000);
}

#[test]
fn rooms_that_nobody_came_back_to_are_vacated_piece_by_piece() {
    let mut world = World::new();
    for at in 0..25_000 {
        world.journal.enter(&format!("room-{at}"), "a", "");
    }
    world.write();
    world.crash();
    world.pass(Duration::from_secs(5));
    let mut rounds = 1;
    while world.write().is_unfinished {
        rounds += 1;
        assert!(rounds < 10, "it ends");
        world.journal.enter(&format!("late-{rounds}"), "b", "");
    }
    assert_eq!(rounds, 3, "who comes meanwhile waits for some of them");
    assert_eq!(world.tell().occupied.len(), 2);
}

#[test]
fn one_process_has_the_log_and_another_is_told_so() {
    let world = World::new();
    let second = Log::open(&world.folder.log(), "other").expect_err("it is had");
    assert!(second.to_string().contains("another process has"), "{second}");
    log::open_to_read(&world.folder.log()).expect("it may be read");
}

/// Whoever removes the lock lets a second process in; the first one must not write beside it.
#[test]
fn nothing_is_written_beside_a_process_that_came_in_past_a_removed_lock() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "");
    world.write();
    let lock = world.folder.0.join("events.db.lock");
    std::fs::remove_file(&lock).expect("a lock");
    let refused = |world: &mut World| {
        let ledger = world.ledger.as_mut().expect("it runs");
        if world.taken.is_empty() {
            world.journal.take(&mut world.taken);
        }
        let refused = ledger.write(&world.taken, 0, START_MS, |_| 0).expect_err("it may be another's");
        assert!(refused.to_string().contains("events.db.lock was removed"), "{refused}");
    };
    world.journal.enter("hall", "b", "");
    refused(&mut world);
    let second =
        Ledger::begin(Log::open(&world.folder.log(), "log").expect("a log"), &world.options, START_MS, Before::Over);
    assert!(lock.exists());
    refused(&mut world);
    drop(second.expect("it has the log"));
    assert_eq!(world.words(), ["occupied hall", "join hall a", "leave hall a restart"]);
}

/// Whatever others may do by default.
#[cfg(unix)]
#[test]
fn the_log_and_its_folder_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let log = folder.0.join("data/here/events.db");
    let _log = Log::open(&log, "log").expect("a log");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!([mode(&folder.0.join("data")), mode(&folder.0.join("data/here"))], [0o700; 2]);
    for end in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(&roomcast::internal::named(&log, end)), 0o600, "{end}");
    }
}

#[test]
fn what_is_no_log_is_left_alone() {
    let folder = Folder::new();
    let missing = log::open_to_read(&folder.log()).expect_err("there is none");
    assert!(missing.to_string().contains("no log of room events"), "{missing}");
    std::fs::write(folder.log(), "").expect("a file");
    let empty = log::open_to_read(&folder.log()).expect_err("there is none yet");
    assert!(empty.to_string().contains("no log of room events"), "{empty}");
    std::fs::write(folder.log(), "this is no database, and is as long as the head of one: 100 bytes. ".repeat(4))
        .expect("a file");
    let error = Log::open(&folder.log(), "log").expect_err("no database");
    assert!(error.to_string().contains("damaged"), "{error}");
    std::fs::remove_file(folder.log()).expect("a file");
    let other = rusqlite::Connection::open(folder.log()).expect("a database");
    other.execute_batch("CREATE TABLE things (thing)").expect("a table");
    let error = Log::open(&folder.log(), "log").expect_err("another's");
    assert!(error.to_string().contains("is no log of room events"), "{error}");
    drop(other);
    std::fs::remove_file(folder.log()).expect("a file");
    drop(Log::open(&folder.log(), "log").expect("a log"));
    let newer = rusqlite::Connection::open(folder.log()).expect("a database");
    newer.pragma_update(None, "user_version", 99).expect("a version");
    drop(newer);
    let error = Log::open(&folder.log(), "log").expect_err("a newer one");
    assert!(error.to_string().contains("a newer version"), "{error}");
}

#[test]
fn a_log_has_one_name_for_good() {
    let folder = Folder::new();
    drop(Log::open(&folder.log(), "first").expect("a log"));
    let log = Log::open(&folder.log(), "second").expect("a log");
    assert_eq!(log::position(log.connection()).expect("a position").epoch, "first");
}

#[test]
fn the_backend_is_put_on_or_back_and_not_beyond_the_end() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "");
    world.write();
    world.tell();
    world.write();
    world.ledger = None;
    let log = Log::open(&world.folder.log(), "log").expect("a log");
    assert_eq!(skip(&log, 1).expect("it is there"), 2);
    assert_eq!(log::position(log.connection()).expect("a position").cursor, 1);
    let beyond = skip(&log, 3).expect_err("it is not there");
    assert!(beyond.to_string().contains("newest event is 2"), "{beyond}");
    drop(log);
    world.start();
}

#[test]
fn a_batch_is_json_that_names_the_log() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    world.write();
    let time_ms = world.now_ms();
    assert_eq!(
        body(&world.read(0)),
        format!(
            r#"{{"epoch":"log","events":[{{"offset":1,"time_ms":{time_ms},"type":"occupied","channel":"hall"}},{{"offset":2,"time_ms":{time_ms},"type":"join","channel":"hall","client":"a","user":"ann"}}]}}"#
        )
    );
}
