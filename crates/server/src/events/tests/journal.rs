//! The journal: order, bounds, and what becomes of what is beyond them.

use std::sync::Arc;
use std::thread;

use super::World;
use crate::config::RoomEventsOptions;
use crate::events::event::Reason;
use crate::events::journal::{Journal, Moved, SERVER, Taken};

#[test]
fn what_is_more_than_memory_is_given_for_is_a_gap_and_then_what_is_there() {
    let mut world = World::with(RoomEventsOptions::default(), 1_000);
    world.journal.connect("z", "zoe");
    world.journal.enter("hall", "a", "ann");
    world.write();
    // The disk stands still, and more happens than is kept.
    for at in 0..50 {
        world.journal.enter("yard", &format!("client-{at}"), "");
    }
    world.journal.leave("hall", "a", Reason::UNSUBSCRIBE);
    world.journal.disconnect("z", Reason::DISCONNECT);
    for at in 1..50 {
        world.journal.leave("yard", &format!("client-{at}"), Reason::UNSUBSCRIBE);
    }
    let wrote = world.write();
    assert!(wrote.lost > 50, "{wrote:?}");
    let told = world.tell();
    assert_eq!(told.gaps, 1);
    assert_eq!(
        told.members.iter().map(|(room, client)| format!("{room} {client}")).collect::<Vec<_>>(),
        ["yard client-0"]
    );
    assert!(told.connected.is_empty(), "{told:?}");
    let words = world.words();
    assert!(words.contains(&"leave hall a overflow".to_owned()), "{words:?}");
    // It goes on as if nothing had been.
    world.journal.enter("hall", "b", "");
    world.write();
    assert_eq!(world.words().last().map(String::as_str), Some("join hall b"));
}

/// Nobody waits for a copy while all parts are locked; whoever comes meanwhile is not in what is looked at.
#[test]
fn who_is_there_when_much_was_lost_is_looked_at_as_it_was_without_a_copy() {
    let journal = Journal::with_bound(|| 0, 0);
    journal.enter("hall", "a", "ann");
    let mut taken = Taken::default();
    journal.take(&mut taken);
    let [(_, there)] = &taken.there[..] else { panic!("{taken:?}") };
    assert_eq!(Arc::strong_count(there), 2, "it is the part's own");
    // Neither of them changes anything.
    journal.leave("hall", "b", Reason::UNSUBSCRIBE);
    journal.leave("yard", "a", Reason::UNSUBSCRIBE);
    assert_eq!(Arc::strong_count(there), 2);
    journal.enter("hall", "b", "bob");
    journal.leave("hall", "a", Reason::UNSUBSCRIBE);
    let members: Vec<_> = there["hall"].keys().map(|client| &**client).collect();
    assert_eq!((Arc::strong_count(there), members), (1, vec!["a"]));
    journal.written(&mut taken);
    journal.take(&mut taken);
    let members: Vec<_> = taken.there[0].1["hall"].keys().map(|client| &**client).collect();
    assert_eq!(members, ["b"]);
}

#[test]
fn what_one_client_does_is_taken_in_its_order_while_others_do_the_same() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 2_000;
    let journal = Arc::new(Journal::with_bound(|| 0, usize::MAX));
    let others: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let journal = Arc::clone(&journal);
            thread::spawn(move || {
                let client = client.to_string();
                for round in 0..ROUNDS {
                    let room = format!("room-{round}");
                    journal.connect(&client, "ann");
                    journal.enter(&room, &client, "ann");
                    journal.leave(&room, &client, Reason::DISCONNECT);
                    journal.disconnect(&client, Reason::DISCONNECT);
                }
            })
        })
        .collect();
    let (mut taken, mut places, mut changes) = (Taken::default(), vec![0_usize; CLIENTS], 0);
    while changes < CLIENTS * ROUNDS * 4 {
        journal.take(&mut taken);
        for change in &taken.changes {
            let client: usize = change.client.parse().expect("a number");
            let place = places[client];
            places[client] += 1;
            let room = format!("room-{}", place / 4);
            let expected = [(SERVER, true), (&*room, true), (&*room, false), (SERVER, false)][place % 4];
            assert_eq!((&*change.room, matches!(change.what, Moved::In { .. })), expected, "{change:?} at {place}");
        }
        changes += taken.changes.len();
        journal.written(&mut taken);
    }
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    journal.take(&mut taken);
    assert!(taken.is_empty() && !taken.is_unfinished());
}

#[test]
fn what_one_client_does_is_told_in_its_order_when_much_of_it_was_lost() {
    const CLIENTS: usize = 20;
    // A room with a long name is a change that finds no place where a small one still does.
    let room = |client: usize| format!("{client}-{}", "x".repeat(200));
    for waiting_max in [3_000, 3_100, 3_200, 3_300, 3_400] {
        let mut world = World::with(RoomEventsOptions::default(), waiting_max);
        for client in 0..CLIENTS {
            world.journal.connect(&format!("old-{client}"), "ann");
            world.journal.enter(&room(client), &format!("old-{client}"), "ann");
            world.write();
        }
        for client in 0..CLIENTS {
            world.journal.leave(&room(client), &format!("old-{client}"), Reason::DISCONNECT);
            world.journal.disconnect(&format!("old-{client}"), Reason::DISCONNECT);
            world.journal.connect(&format!("new-{client}"), "ann");
            world.journal.enter(&room(client), &format!("new-{client}"), "ann");
        }
        assert!(world.write().lost > 0, "it was too much");
        assert_eq!(world.tell().members.len(), CLIENTS);
        let words = world.words();
        let at = |what: &str, client: &str| {
            let is_it = |word: &&String| word.starts_with(what) && word.split(' ').any(|part| part == client);
            words.iter().position(|word| is_it(&word)).unwrap_or_else(|| panic!("{what} {client}: {words:?}"))
        };
        for client in 0..CLIENTS {
            let (old, new) = (format!("old-{client}"), format!("new-{client}"));
            assert!(at("leave", &old) < at("disconnect", &old), "{words:?}");
            assert!(at("connect", &new) < at("join", &new), "{words:?}");
        }
    }
}
