//! Delivery without sockets, against a plain list of what everybody is to be given.

mod archive;
mod erased;
mod held;
mod queues;
mod world;

use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use proptest::prelude::*;
use roomcast_protocol::CloseCode;

use self::world::{CAPACITY, Item, KINDS, World, filter_of, member};
use crate::config::{Echo, SlowConsumer};
use crate::delivery::feed::{CaughtUp, MemberOptions};
use crate::rooms::delivery_options::DeliveryOptions;
use crate::session::View;

fn options(slow_consumer: SlowConsumer, has_database: bool) -> DeliveryOptions {
    DeliveryOptions { slow_consumer, has_database, ..DeliveryOptions::default() }
}

/// What happens in a room.
#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    /// More than the ring holds, so that whoever is full loses its place in it.
    Lap,
    /// Of which kind it is, how many batches it takes, how far back it begins.
    Join(usize, u8, u8),
    Leave(usize),
    Announce(usize, bool),
    Tell(usize),
    /// A member takes so many batches more.
    Take(usize, u8),
    /// A member takes nothing any more.
    Fill(usize),
    /// What was published is stored, where the room is.
    Store,
    Turn,
    CatchUp(usize),
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..24_u8).prop_map(Step::Publish),
        1 => Just(Step::Lap),
        3 => (0..KINDS, 0..12_u8, 0..40_u8).prop_map(|(kind, takes, back)| Step::Join(kind, takes, back)),
        1 => any::<usize>().prop_map(Step::Leave),
        3 => (0..9_usize, any::<bool>()).prop_map(|(client, is_join)| Step::Announce(client, is_join)),
        1 => (0..9_usize).prop_map(Step::Tell),
        3 => (any::<usize>(), 0..6_u8).prop_map(|(person, batches)| Step::Take(person, batches)),
        1 => any::<usize>().prop_map(Step::Fill),
        2 => Just(Step::Store),
        4 => Just(Step::Turn),
        2 => any::<usize>().prop_map(Step::CatchUp),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..60)
}

fn play(world: &mut World, steps: &[Step]) {
    world.has_compressed = true;
    // Some, and which, that go along from the beginning: two hear who comes and goes, two do not.
    for kind in [0, 1, steps.len() % KINDS, steps.len() / 7 % KINDS] {
        world.join_as(member(kind), usize::MAX, 0);
    }
    for step in steps {
        let count = world.people.len();
        match *step {
            Step::Publish(messages) => world.publish(messages.into()),
            Step::Lap => world.publish(CAPACITY + 1),
            Step::Join(kind, takes, back) => drop(world.join_as(member(kind), takes.into(), back.into())),
            Step::Leave(person) => world.leave(person % count),
            Step::Announce(client, is_join) => world.announce(client, is_join),
            Step::Tell(message) => world.tell(message),
            Step::Take(person, batches) => {
                let takes = &world.people[person % count].sink.takes;
                takes.set(takes.get().saturating_add(batches.into()));
            }
            Step::Fill(person) => world.people[person % count].sink.takes.set(0),
            Step::Store => world.store(),
            Step::Turn => drop(world.turn()),
            Step::CatchUp(person) => drop(world.catch_up(person % count)),
            Step::Settle => world.settle(),
        }
        world.assert_nothing_too_early();
    }
}

proptest! {
    /// Whoever has the database behind it is given everything, in order, once, however slow it was.
    #[test]
    fn nobody_misses_anything_that_the_database_has(steps in steps()) {
        let mut world = World::new(options(SlowConsumer::Disconnect, true));
        play(&mut world, &steps);
        world.settle_all();
        for person in 0..world.people.len() {
            prop_assert_eq!(world.people[person].sink.doom.get(), None);
            world.assert_given(person);
        }
    }

    /// Of a `stored` room nobody is given what is not on the disk, and everybody what is.
    #[test]
    fn what_is_stored_is_given_to_all_and_nothing_before_it_is(steps in steps()) {
        let mut world = World::stored(options(SlowConsumer::Disconnect, true));
        play(&mut world, &steps);
        world.settle_all();
        world.assert_nothing_too_early();
        world.store();
        world.settle_all();
        for person in 0..world.people.len() {
            prop_assert_eq!(world.people[person].sink.doom.get(), None);
            world.assert_given(person);
        }
    }

    /// When the disk takes nothing more, what it does not have is given to nobody, and events come without it.
    #[test]
    fn what_is_never_stored_is_never_given_and_holds_up_no_event(steps in steps(), more in 1..CAPACITY) {
        let mut world = World::stored(options(SlowConsumer::Disconnect, true));
        play(&mut world, &steps);
        world.store();
        world.publish(more);
        world.give_up_storing();
        world.announce(7, true);
        world.settle_all();
        world.assert_nothing_too_early();
        for person in 0..world.people.len() {
            prop_assert_eq!(world.people[person].sink.doom.get(), None);
            world.assert_given(person);
        }
    }

    /// Without it, whoever has fallen behind the ring is closed, or leaves the room, and was given everything up to there; all
    /// others are given everything.
    #[test]
    fn whoever_falls_behind_the_ring_goes_and_was_given_all_before(steps in steps(), skips in any::<bool>()) {
        let policy = if skips { SlowConsumer::Skip } else { SlowConsumer::Disconnect };
        let mut world = World::new(options(policy, false));
        play(&mut world, &steps);
        world.settle_all();
        for person in 0..world.people.len() {
            if world.people[person].sink.doom.get().is_some() {
                // It is closed at this moment, wherever it is.
                prop_assert_eq!(world.people[person].sink.doom.get(), Some(CloseCode::Slow));
                prop_assert!(!skips, "who skips is not closed");
                let given = world.people[person].sink.items();
                prop_assert_eq!(&given[..], &world.expected(person)[..given.len()]);
            } else {
                world.assert_given(person);
            }
        }
    }

    /// Whoever asks for the latest alone may miss some, never the newest, and nothing comes twice or out of order.
    #[test]
    fn the_latest_is_given_to_whoever_falls_behind(steps in steps()) {
        let mut world = World::new(options(SlowConsumer::Latest, false));
        play(&mut world, &steps);
        world.settle_all();
        for person in 0..world.people.len() {
            let is_publication = |item: &&Item| matches!(item, Item::Publication(_));
            let given = world.people[person].sink.items();
            let (given, expected) = (given.iter().filter(is_publication), world.expected(person));
            let given: Vec<_> = given.copied().collect();
            let expected: Vec<_> = expected.iter().filter(is_publication).copied().collect();
            let mut left = expected.iter();
            prop_assert!(given.iter().all(|item| left.any(|other| other == item)), "{given:?} of {expected:?}");
            // To whoever is given some alone, it may be that the newest of these is passed over.
            if world.people[person].until.is_none() && world.people[person].options.view.shows_all() {
                prop_assert_eq!(given.last(), expected.last());
            }
        }
    }
}

#[test]
fn a_member_whose_writing_panics_ends_its_room_and_no_other() {
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    let (broken, whole) = (world.join(false, usize::MAX, 0), world.join(true, usize::MAX, 0));
    world.people[broken].sink.panics.set(true);
    world.publish(3);
    world.settle();
    assert_eq!(world.people[broken].sink.doom.get(), Some(CloseCode::ServerError));
    assert_eq!(world.people[whole].sink.doom.get(), None, "it is in another group");
    world.assert_given(whole);
}

/// Who is behind comes again, and is told.
#[test]
fn a_closed_room_is_delivered_to_its_end_to_those_who_go_along() {
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    let (quick, slow) = (world.join(false, usize::MAX, 0), world.join(false, 0, 0));
    world.publish(5);
    world.turn();
    world.room.close();
    world.people[slow].sink.takes.set(usize::MAX);
    world.settle();
    let numbers: Vec<_> = (0..5).map(Item::Publication).collect();
    assert_eq!((world.people[quick].sink.items(), world.people[slow].sink.items()), (numbers, Vec::new()));
    for person in [quick, slow] {
        assert!(world.people[person].until.is_some(), "it is told that the room has ended");
    }
}

/// They are told by having their connections closed, and find all of it where they come back.
#[test]
fn members_of_a_room_that_is_another_processs_by_now_hear_neither_lag_nor_end() {
    for slow_consumer in [SlowConsumer::Disconnect, SlowConsumer::Skip] {
        let mut world = World::new(options(slow_consumer, false));
        let people = [false, true].map(|hears| [usize::MAX, 0].map(|takes| world.join(hears, takes, 0)));
        world.publish(CAPACITY / 2);
        world.turn();
        // Of these some are lost to those who have taken nothing, and to nobody else.
        world.publish(CAPACITY);
        world.give_away();
        for slow in [people[0][1], people[1][1]] {
            world.people[slow].sink.takes.set(usize::MAX);
        }
        world.settle();
        for person in people.concat() {
            assert!(world.people[person].until.is_none(), "{person} is told that the room has ended");
            assert_eq!(world.people[person].sink.doom.get(), None, "{person} is sent away");
            let (given, expected) = (world.people[person].sink.items(), world.expected(person));
            assert_eq!(given, expected[..given.len()], "{person} is given something else");
            world.leave(person);
        }
        assert!(!world.turn(), "nothing is left to do");
    }
}

/// A delta for each of them would be made for each of them alone.
#[test]
fn deltas_are_shared_by_all_who_have_the_base_and_the_others_share_one_whole_publication() {
    const DELTAS: usize = 2;
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    let plain = world.join(false, usize::MAX, 0);
    let first = world.join_as(member(DELTAS), usize::MAX, 0);
    world.publish(1);
    world.settle();
    assert_eq!(world.people[first].sink.deltas(), 0, "the first is whole");
    for published in 1..5 {
        world.publish(1);
        world.settle();
        assert_eq!(world.people[first].sink.deltas(), published);
    }
    let late: Vec<_> = (0..3).map(|_| world.join_as(member(DELTAS), usize::MAX, 0)).collect();
    for person in &late {
        // Nothing is known of what they have.
        assert_eq!(world.people[*person].sink.deltas(), 0);
    }
    // The sixth publication is not to be a delta; the next ones are.
    world.publish(1);
    world.settle();
    assert_eq!(world.people[first].sink.deltas(), 4);
    for _ in 0..3 {
        world.publish(1);
        world.settle();
    }
    assert_eq!(world.people[first].sink.deltas(), 7);
    for person in late {
        assert_eq!(world.people[person].sink.deltas(), 3);
        world.assert_given(person);
    }
    world.publish(1);
    world.publish(1);
    world.settle();
    world.assert_given(first);
    world.assert_given(plain);
    assert_eq!(world.people[plain].sink.deltas(), 0);
    assert!(world.people[first].sink.bytes() < world.people[plain].sink.bytes());
}

/// Nobody but who has published pays for it.
#[test]
fn whose_own_is_in_a_batch_is_given_the_rest_and_others_share_it_untouched() {
    const NOT_CLIENT: usize = 7;
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    let plain = world.join(false, usize::MAX, 0);
    let author = world.join_as(member(NOT_CLIENT), usize::MAX, 0);
    // Its own is the first, and then the eighth.
    world.publish(1);
    world.turn();
    assert_eq!(world.people[author].sink.behind(), 0, "of what is all its own nothing is left to be given");
    assert_eq!(world.people[author].sink.items(), []);
    world.publish(5);
    world.turn();
    assert_eq!(world.people[author].sink.behind(), 0, "nothing of that is its own");
    assert_eq!(world.people[author].sink.items().len(), 5);
    world.publish(3);
    world.turn();
    assert_eq!(world.people[author].sink.behind(), 0, "it has gone on at once");
    assert_eq!(world.people[plain].sink.items().len(), 9);
    world.assert_given(author);
    world.assert_given(plain);
    assert_eq!(world.people[author].sink.items().len(), 7);
}

#[test]
fn who_takes_deltas_and_is_not_given_its_own_has_no_base_behind_it() {
    const DELTAS_OF_OTHERS: usize = 9;
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    let person = world.join_as(member(DELTAS_OF_OTHERS), usize::MAX, 0);
    // Each by itself: the first two of each seven are its own, and what comes behind them is to be made of nothing of these.
    for _ in 0..30 {
        world.publish(1);
        world.settle();
    }
    world.assert_given(person);
    let deltas = world.people[person].sink.deltas();
    assert!(deltas > 0);
    // The same when they come together.
    for _ in 0..10 {
        world.publish(7);
        world.settle();
    }
    world.assert_given(person);
    assert_eq!(world.people[person].sink.deltas(), deltas, "what is encoded for it alone is whole");
}

/// A delta takes time that nobody sees in the bytes that are sent.
#[test]
fn large_payloads_that_are_made_deltas_of_leave_others_their_turns() {
    const DELTAS: usize = 3;
    const BYTES: usize = 64 * 1024;
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    let [plain, chain] = [1, DELTAS].map(|kind| world.join_as(member(kind), usize::MAX, 0));
    (0..CAPACITY - 1).for_each(|number| world.publish_large(number, BYTES));
    let mut turns = 0;
    while world.people[chain].sink.items().len() < CAPACITY as usize - 1 {
        world.delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now()));
        turns += 1;
        if turns == 1 {
            world.assert_given(plain);
        }
    }
    assert!(world.people[chain].sink.bytes() < 2 * BYTES, "all but the first are small");
    assert!((4..CAPACITY).contains(&turns), "{turns}");
    world.assert_given(chain);
}

/// Its client has something of another room read.
#[test]
fn who_may_not_ask_the_database_yet_waits() {
    let mut world = World::stored(options(SlowConsumer::Disconnect, true));
    let slow = world.join_as(member(1), usize::MAX, 0);
    world.people[slow].sink.takes.set(0);
    for _ in 0..3 {
        world.publish(CAPACITY / 2);
        world.store();
        world.settle();
    }
    let key = world.people[slow].key.expect("it is there");
    world.people[slow].sink.takes.set(usize::MAX);
    for _ in 0..2 {
        assert!(matches!(world.delivery.catch_up_from_ring(key), CaughtUp::Waits));
    }
    assert!(matches!(world.delivery.catch_up(key), CaughtUp::InTheDatabase(..)), "and may later");
    world.delivery.deliver_stored(key, 0, &[]);
}

/// Nobody is given anything, and nothing is written: it is the looking that takes time.
#[test]
fn filters_that_nothing_matches_leave_others_their_turns() {
    const GROUPS: usize = 60;
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    for group in 0..GROUPS {
        let leaves: Vec<String> =
            (0..127).map(|leaf| format!("{{\"key\":\"k\",\"cmp\":\"eq\",\"val\":\"{group}-{leaf}\"}}")).collect();
        let filter = filter_of(&format!("{{\"op\":\"or\",\"nodes\":[{}]}}", leaves.join(",")));
        let view = View { filter, echo: Echo::All, is_delta: false, has_newest: false };
        world.join_as(MemberOptions { hears: false, view, own: None }, usize::MAX, 0);
    }
    world.publish(CAPACITY - 1);
    let mut turns = 1;
    while world.delivery.deliver(&mut Context::from_waker(Waker::noop()), Some(Instant::now())) {
        turns += 1;
    }
    let comparisons = GROUPS * 128 * (CAPACITY as usize - 1);
    assert!((3..GROUPS).contains(&turns), "{comparisons} comparisons in {turns} turns");
}

/// A member with deltas that takes nothing for so long that the ring moves past it; beside it one that takes all, and one that takes
/// nothing either.
fn behind_the_ring(policy: SlowConsumer) -> (World, [usize; 3]) {
    const DELTAS: usize = 3;
    let mut world = World::stored(options(policy, true));
    let [quick, slow, late] = [(); 3].map(|()| world.join_as(member(DELTAS), usize::MAX, 0));
    publish_stored(&mut world, 2);
    [slow, late].iter().for_each(|person| world.people[*person].sink.takes.set(0));
    (0..3).for_each(|_| publish_stored(&mut world, CAPACITY / 2));
    (world, [quick, slow, late])
}

fn publish_stored(world: &mut World, messages: u64) {
    world.publish(messages);
    world.store();
    world.settle();
}

/// Nothing is left there to be given, and who has missed it is told.
#[test]
fn who_is_behind_the_ring_where_the_history_is_removed_is_told_as_who_is_overrun() {
    let (mut world, [quick, slow, late]) = behind_the_ring(SlowConsumer::Disconnect);
    [slow, late].iter().for_each(|person| world.people[*person].sink.takes.set(usize::MAX));
    let [of_slow, of_late] = [slow, late].map(|person| world.people[person].key.expect("it is there"));
    // One of them is reading what it has missed.
    let CaughtUp::InTheDatabase(_, from) = world.delivery.catch_up(of_late) else { panic!("the ring has moved on") };
    world.remove();
    world.delivery.deliver_stored(of_late, from, &[]);
    for key in [of_slow, of_late] {
        assert!(matches!(world.delivery.catch_up(key), CaughtUp::Missed(_)));
    }
    world.settle_all();
    for person in [slow, late] {
        assert_eq!(world.people[person].sink.items(), [0, 1].map(Item::Publication), "the rest is removed");
    }
    publish_stored(&mut world, 1);
    let newest = Item::Publication(world.room.tail() - 1);
    assert_eq!(world.people[quick].sink.items().last(), Some(&newest), "others go on");
}

/// What lies before it was never given it, and its group has it.
#[test]
fn who_takes_deltas_and_is_led_past_messages_has_no_base() {
    let (mut world, [quick, slow, late]) = behind_the_ring(SlowConsumer::Latest);
    world.remove();
    world.settle_all();
    let newest = Item::Publication(world.room.tail() - 1);
    for person in [slow, late] {
        assert_eq!(world.people[person].sink.items(), [Item::Publication(0), Item::Publication(1), newest]);
        assert_eq!(world.people[person].sink.behind(), 0);
    }
    let before = world.people[quick].sink.deltas();
    publish_stored(&mut world, 1);
    publish_stored(&mut world, 1);
    assert_eq!(world.people[quick].sink.deltas(), before + 2, "who has the base is given deltas");
    for person in [quick, slow, late] {
        // Each payload is made of what it has.
        let items = world.people[person].sink.items();
        let end = world.room.tail();
        assert_eq!(items[items.len() - 2..], [end - 2, end - 1].map(Item::Publication));
    }
}

#[test]
fn what_many_take_compressed_is_compressed_once_and_what_one_takes_alone_is_not() {
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    let [plain, other_plain] = [0, 1].map(|_| world.join(false, usize::MAX, 0));
    world.has_compressed = true;
    let slow = world.join(false, 1, 0);
    world.has_compressed = false;
    world.join(false, usize::MAX, 0);
    world.has_compressed = true;
    let quick = world.join(false, usize::MAX, 0);
    let sink = |world: &World, person: usize| Rc::clone(&world.people[person].sink);
    world.publish(20);
    while world.turn() {}
    let [slow, quick, plain, other_plain] = [slow, quick, plain, other_plain].map(|person| sink(&world, person));
    assert_eq!((slow.compressed_frames.get(), quick.compressed_frames.get()), (1, 1));
    assert_eq!((slow.items(), quick.items()), (plain.items(), plain.items()));
    assert_eq!(plain.bytes(), other_plain.bytes());
    assert!(quick.bytes() * 2 < plain.bytes(), "{} of {} bytes", quick.bytes(), plain.bytes());
    assert_eq!(quick.bytes(), slow.bytes(), "the same bytes");
    world.publish(20);
    while world.turn() {}
    slow.takes.set(usize::MAX);
    world.settle();
    assert_eq!((slow.compressed_frames.get(), quick.compressed_frames.get()), (1, 2), "it goes on by itself");
    assert_eq!(slow.items(), plain.items());
}

#[test]
fn what_is_compressed_is_work_and_others_have_their_turns_meanwhile() {
    let mut world = World::new(options(SlowConsumer::Disconnect, false));
    world.has_compressed = true;
    let member = world.join(false, usize::MAX, 0);
    // Much that becomes little.
    (0..CAPACITY / 2).for_each(|number| world.publish_large(number, 100_000));
    assert!(world.turn(), "more is left");
    while world.turn() {}
    assert_eq!(world.people[member].sink.items().len() as u64, CAPACITY / 2);
}
