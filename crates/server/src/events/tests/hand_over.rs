//! A process hands the log over while its clients are still there: they stay in their rooms until they have had time to come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::World;
use crate::config::RoomEventsOptions;
use crate::events::event::Reason;
use crate::events::journal::Journal;

#[test]
fn who_comes_back_within_the_delay_was_never_away() {
    let mut world = World::new();
    world.journal.connect("a", "ann");
    world.journal.enter("hall", "a", "ann");
    world.journal.enter("yard", "a", "ann");
    let before = world.hand_over();
    let so_far = ["connect a ann", "occupied hall", "join hall a", "occupied yard", "join yard a"];
    world.pass(Duration::from_secs(60));
    world.write();
    assert_eq!(world.words(), so_far, "nobody has gone, however long that takes");

    before.leave("hall", "a", Reason::HAND_OVER);
    before.leave("yard", "a", Reason::HAND_OVER);
    before.disconnect("a", Reason::HAND_OVER);
    world.hear_of_leavers(&before);
    world.write();
    world.pass(Duration::from_secs(1));
    world.journal.connect("b", "ann");
    world.journal.enter("hall", "b", "ann");
    world.write();
    world.pass(Duration::from_millis(3_999));
    world.write();
    assert_eq!(world.words()[5..], ["connect b ann", "join hall b"]);
    world.pass(Duration::from_millis(1));
    world.write();
    let gone = ["leave hall a hand_over", "leave yard a hand_over", "disconnect a 0 hand_over"];
    assert_eq!(world.words()[7..], gone, "in the order in which it went");
    world.pass(Duration::from_secs(5));
    world.write();
    assert_eq!(world.words()[10..], ["vacated yard"], "nobody has come back there");
    world.tell();
}

#[test]
fn who_is_heard_of_when_the_delay_is_over_is_gone_by_the_next_write_which_follows_at_once() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    let before = world.hand_over();
    before.leave("hall", "a", Reason::HAND_OVER);
    world.hear_of_leavers(&before);
    world.pass(Duration::from_secs(5));
    world.write();
    assert_eq!(world.words()[2..], [] as [&str; 0]);
    assert!(world.is_due());
    world.write();
    assert_eq!(world.words()[2..], ["leave hall a hand_over"]);
    assert!(!world.is_due());
}

#[test]
fn who_goes_from_the_old_process_by_itself_is_gone_at_once() {
    let mut world = World::new();
    world.journal.connect("a", "ann");
    world.journal.enter("hall", "a", "ann");
    let before = world.hand_over();
    before.leave("hall", "a", Reason::DISCONNECT);
    before.disconnect("a", Reason { code: 3000, text: "".into() });
    before.enter("hall", "late", "ann");
    before.leave("hall", "late", Reason::DISCONNECT);
    world.hear_of_leavers(&before);
    world.write();
    assert_eq!(world.words()[3..], ["leave hall a disconnect", "disconnect a 3000 "]);
    world.tell();
}

#[test]
fn who_goes_while_the_log_is_handed_over_is_told_of_once() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    world.journal.enter("hall", "b", "bob");
    world.write();
    // The last that the old process writes, and the first that it does not.
    world.journal.leave("hall", "a", Reason::UNSUBSCRIBE);
    world.write();
    world.journal.close();
    world.journal.leave("hall", "b", Reason::UNSUBSCRIBE);
    let before = world.next_journal();
    world.start_after(crate::events::ledger::Before::Closes);
    world.hear_of_leavers(&before);
    world.write();
    assert_eq!(world.words()[3..], ["leave hall a unsubscribe", "leave hall b unsubscribe"]);
}

#[test]
fn of_an_old_process_that_is_gone_without_a_word_nobody_is_left() {
    let mut world = World::new();
    world.journal.connect("a", "ann");
    world.journal.enter("hall", "a", "ann");
    world.hand_over();
    world.journal.enter("hall", "b", "ann");
    world.journal.others_are_gone();
    world.write();
    world.pass(Duration::from_millis(4_999));
    world.write();
    assert_eq!(world.words()[3..], ["join hall b"]);
    world.pass(Duration::from_millis(1));
    world.write();
    assert_eq!(world.words()[4..], ["leave hall a hand_over", "disconnect a 0 hand_over"]);
    world.pass(Duration::from_secs(60));
    world.write();
    assert_eq!(world.words().len(), 6, "and that once");
    assert_eq!(world.ledger.as_ref().and_then(crate::events::ledger::Ledger::due_ms), None);
}

#[test]
fn a_clock_that_is_put_back_keeps_nobody_for_longer() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    world.journal.enter("hall", "b", "bob");
    let before = world.hand_over();
    before.leave("hall", "a", Reason::HAND_OVER);
    world.hear_of_leavers(&before);
    world.journal.others_are_gone();
    world.write();
    world.now_ms.fetch_sub(3_600_000, std::sync::atomic::Ordering::Relaxed);
    world.write();
    world.pass(Duration::from_millis(4_999));
    world.write();
    assert_eq!(world.words()[3..], [] as [&str; 0]);
    world.pass(Duration::from_millis(1));
    world.write();
    assert_eq!(world.words()[3..], ["leave hall a hand_over", "leave hall b hand_over"]);
}

#[test]
fn very_many_are_told_to_be_gone_piece_by_piece() {
    for is_told in [false, true] {
        let mut world = World::new();
        for at in 0..25_000 {
            world.journal.enter("hall", &at.to_string(), "");
        }
        let before = world.hand_over();
        if is_told {
            (0..25_000).for_each(|at| before.leave("hall", &at.to_string(), Reason::HAND_OVER));
            world.hear_of_leavers(&before);
        }
        world.journal.others_are_gone();
        world.write();
        world.pass(Duration::from_secs(5));
        let mut rounds = 1;
        while world.write().is_unfinished {
            rounds += 1;
            assert!(rounds < 10, "it ends");
        }
        assert_eq!(rounds, 3, "who comes meanwhile waits for some of them");
        assert!(world.tell().members.is_empty());
    }
}

#[test]
fn a_new_process_that_is_killed_in_the_midst_ends_all_stays_when_it_starts_again() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    world.journal.enter("hall", "b", "bob");
    let before = world.hand_over();
    world.journal.enter("hall", "c", "ann");
    before.leave("hall", "a", Reason::HAND_OVER);
    world.hear_of_leavers(&before);
    world.write();
    world.crash();
    let gone = ["leave hall c restart", "leave hall b restart", "leave hall a restart"];
    assert_eq!(world.words()[4..], gone);
    before.leave("hall", "b", Reason::HAND_OVER);
    world.hear_of_leavers(&before);
    world.write();
    world.pass(Duration::from_secs(5));
    world.write();
    assert_eq!(world.words()[7..], ["vacated hall"]);
    world.tell();
}

#[test]
fn what_cannot_be_written_is_written_later_and_once() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "ann");
    world.journal.enter("hall", "b", "bob");
    let before = world.hand_over();
    before.leave("hall", "a", Reason::HAND_OVER);
    world.hear_of_leavers(&before);
    world.write();
    world.pass(Duration::from_secs(5));
    let other = rusqlite::Connection::open(world.folder.log()).expect("a log");
    other
        .execute_batch("CREATE TRIGGER no BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
        .expect("a trigger");
    let ledger = world.ledger.as_mut().expect("it runs");
    ledger.write(&world.taken, 0, world.now_ms.load(std::sync::atomic::Ordering::Relaxed), |_| 0).expect_err("no");
    other.execute_batch("DROP TRIGGER no").expect("no trigger");
    world.write();
    assert_eq!(world.words()[3..], ["leave hall a hand_over"]);
    assert_eq!(world.tell().members.len(), 1);
}

#[test]
fn who_is_still_in_the_old_process_is_no_overflow_of_the_new_one() {
    let mut world = World::with(RoomEventsOptions::default(), 900);
    world.journal.enter("hall", "a", "ann");
    world.hand_over();
    for at in 0..20 {
        world.journal.enter("hall", &format!("c-{at}"), "bob");
    }
    assert!(world.write().lost > 0);
    assert_eq!(world.tell().members.len(), 21);
    assert!(world.backend.members.contains(&("hall".to_owned(), "a".to_owned())));
}

const ROOMS: [&str; 2] = ["hall", "yard"];

#[derive(Clone, Debug)]
enum Step {
    Enter {
        room: usize,
        client: u8,
    },
    Leave {
        room: usize,
        client: u8,
    },
    HandOver,
    /// A client of the old process goes by itself.
    GoesBefore {
        client: u8,
    },
    /// The old process closes one.
    Closes {
        client: u8,
    },
    Write,
    /// The new process is killed.
    Crash,
    /// The old process ends.
    Ends,
    Pass {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (room, client) = (0..ROOMS.len(), 0..4_u8);
    prop_oneof![
        6 => (room.clone(), client.clone()).prop_map(|(room, client)| Step::Enter { room, client }),
        3 => (room, client.clone()).prop_map(|(room, client)| Step::Leave { room, client }),
        2 => Just(Step::HandOver),
        2 => client.clone().prop_map(|client| Step::GoesBefore { client }),
        4 => client.prop_map(|client| Step::Closes { client }),
        3 => Just(Step::Write),
        1 => Just(Step::Crash),
        1 => Just(Step::Ends),
        3 => (0..6_000_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

type Members = BTreeSet<(String, String)>;

/// A process that has handed over, and who is still there.
struct Old {
    journal: Arc<Journal>,
    there: Members,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_backend_knows_who_is_in_either_process_or_on_the_way(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        let (mut number, mut there, mut old) = (0, Members::new(), None::<Old>);
        // Those who were closed, and until when they have time.
        let mut on_the_way = BTreeMap::<(String, String), u64>::new();
        let (mut gone_at, mut names) = (None::<u64>, BTreeMap::new());
        for step in steps {
            let mut name = |client: u8| names.entry(client).or_insert_with(|| { number += 1; format!("{client}-{number}") }).clone();
            match step {
                Step::Enter { room, client } => {
                    let client = name(client);
                    world.journal.enter(ROOMS[room], &client, "ann");
                    there.insert((ROOMS[room].to_owned(), client));
                }
                Step::Leave { room, client } => {
                    let client = name(client);
                    world.journal.leave(ROOMS[room], &client, Reason::UNSUBSCRIBE);
                    there.remove(&(ROOMS[room].to_owned(), client));
                }
                Step::HandOver if old.is_none() && gone_at.is_none() && on_the_way.is_empty() => {
                    old = Some(Old { journal: world.hand_over(), there: std::mem::take(&mut there) });
                    // Whoever comes is another client there.
                    names.clear();
                }
                Step::GoesBefore { client } => if let Some(old) = &mut old {
                    let prefix = format!("{client}-");
                    let going: Vec<_> = old.there.iter().filter(|(_, it)| it.starts_with(&prefix)).cloned().collect();
                    for it in going {
                        old.journal.leave(&it.0, &it.1, Reason::DISCONNECT);
                        old.there.remove(&it);
                    }
                    world.hear_of_leavers(&old.journal);
                }
                Step::Closes { client } => if let Some(old) = &mut old {
                    let prefix = format!("{client}-");
                    let going: Vec<_> = old.there.iter().filter(|(_, it)| it.starts_with(&prefix)).cloned().collect();
                    for it in going {
                        old.journal.leave(&it.0, &it.1, Reason::HAND_OVER);
                        old.there.remove(&it);
                        on_the_way.insert(it, world.now_ms() + 5_000);
                    }
                    world.hear_of_leavers(&old.journal);
                }
                Step::Write => {
                    let now_ms = world.now_ms();
                    world.write();
                    // One who was heard of so long ago is known since this write, and the next follows at once.
                    if world.is_due() {
                        world.write();
                    }
                    prop_assert!(!world.is_due());
                    if gone_at.is_some_and(|at| at <= now_ms) {
                        (gone_at, old) = (None, None);
                        on_the_way.clear();
                    }
                    on_the_way.retain(|_, until| *until > now_ms);
                    let mut expected = there.clone();
                    expected.extend(on_the_way.keys().cloned());
                    expected.extend(old.iter().flat_map(|old| old.there.iter().cloned()));
                    prop_assert_eq!(&world.tell().members, &expected);
                }
                Step::Crash => {
                    world.crash();
                    (old, gone_at) = (None, None);
                    there.clear();
                    on_the_way.clear();
                    names.clear();
                    prop_assert!(world.tell().members.is_empty());
                }
                Step::Ends => if old.is_some() && gone_at.is_none() {
                    world.journal.others_are_gone();
                    // It is known when it is written.
                    world.write();
                    gone_at = Some(world.now_ms() + 5_000);
                }
                Step::HandOver => {}
                Step::Pass { ms } => world.pass(Duration::from_millis(ms)),
            }
        }
        if old.is_some() && gone_at.is_none() {
            world.journal.others_are_gone();
        }
        for _ in 0..3 {
            world.write();
            world.pass(Duration::from_secs(6));
        }
        let told = world.tell();
        prop_assert_eq!(&told.members, &there);
        let occupied: BTreeSet<String> = there.into_iter().map(|(room, _)| room).collect();
        prop_assert_eq!(&told.occupied, &occupied);
    }
}
