//! Any order of who comes and goes, of writes, crashes and time: what a backend is told agrees with who is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::World;
use crate::config::RoomEventsOptions;
use crate::events::event::Reason;

const ROOMS: [&str; 3] = ["hall", "yard", "attic"];

#[derive(Clone, Debug)]
enum Step {
    Enter { room: usize, client: u8 },
    Leave { room: usize, client: u8 },
    Connect { client: u8 },
    Disconnect { client: u8 },
    Write,
    Tell,
    Crash,
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (room, client) = (0..ROOMS.len(), 0..4_u8);
    prop_oneof![
        6 => (room.clone(), client.clone()).prop_map(|(room, client)| Step::Enter { room, client }),
        5 => (room, client.clone()).prop_map(|(room, client)| Step::Leave { room, client }),
        2 => client.clone().prop_map(|client| Step::Connect { client }),
        2 => client.prop_map(|client| Step::Disconnect { client }),
        3 => Just(Step::Write),
        1 => Just(Step::Tell),
        1 => Just(Step::Crash),
        2 => (0..6_000_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// Who is there.
#[derive(Default)]
struct There {
    members: BTreeSet<(String, String)>,
    connected: BTreeMap<String, String>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_backend_that_is_told_everything_knows_who_is_there(
        steps in prop::collection::vec(step(), 1..120),
        waiting_max in prop_oneof![Just(usize::MAX), Just(900_usize)],
    ) {
        let mut world = World::with(RoomEventsOptions::default(), waiting_max);
        let (mut there, mut number, mut names) = (There::default(), 0, BTreeMap::new());
        for step in steps {
            // A connection that comes again is another client.
            let mut name = |client: u8| names.entry(client).or_insert_with(|| { number += 1; format!("{client}-{number}") }).clone();
            match step {
                Step::Enter { room, client } => {
                    let client = name(client);
                    world.journal.enter(ROOMS[room], &client, "ann");
                    there.members.insert((ROOMS[room].to_owned(), client));
                }
                Step::Leave { room, client } => {
                    let client = name(client);
                    world.journal.leave(ROOMS[room], &client, Reason::UNSUBSCRIBE);
                    there.members.remove(&(ROOMS[room].to_owned(), client));
                }
                Step::Connect { client } => {
                    let client = name(client);
                    world.journal.connect(&client, "ann");
                    there.connected.insert(client, "ann".to_owned());
                }
                Step::Disconnect { client } => {
                    let client = name(client);
                    for room in ROOMS {
                        world.journal.leave(room, &client, Reason::DISCONNECT);
                        there.members.remove(&(room.to_owned(), client.clone()));
                    }
                    world.journal.disconnect(&client, Reason::DISCONNECT);
                    there.connected.remove(&client);
                    names.retain(|_, known| *known != client);
                }
                Step::Write => {
                    world.write();
                    let told = world.tell();
                    prop_assert_eq!(&told.members, &there.members);
                    prop_assert_eq!(&told.connected, &there.connected);
                }
                Step::Tell => drop(world.tell()),
                Step::Crash => {
                    world.crash();
                    there = There::default();
                    names.clear();
                    let told = world.tell();
                    prop_assert_eq!(&told.members, &there.members, "nobody is there");
                    prop_assert_eq!(&told.connected, &there.connected);
                }
                Step::Pass { ms } => world.pass(Duration::from_millis(ms)),
            }
        }
        world.write();
        world.pass(Duration::from_secs(6));
        world.write();
        let told = world.tell();
        prop_assert_eq!(&told.members, &there.members);
        let occupied: BTreeSet<String> = there.members.into_iter().map(|(room, _)| room).collect();
        prop_assert_eq!(&told.occupied, &occupied, "a room is occupied as long as somebody is in it");
    }
}
