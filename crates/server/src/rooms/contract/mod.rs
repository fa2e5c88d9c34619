//! The contract of [`Engine`](crate::rooms::engine::Engine), tested with every engine: in memory, with a database, and one whose other
//! side is slow, forgets, repeats itself and goes away (`remote`).
//!
//! Clients publish, enter, come back, read and fetch, in any order, and answers are waited for in any order or not at all. All that
//! anybody is told is put together in one [`Ledger`]: it must be one history, in which nothing moves, comes twice or is lost.

mod ledger;
mod remote;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::world::{Asked, Step, World};
use crate::config::{RecoveryMode, Storage};
use crate::rooms::contract::remote::Trouble;
use crate::rooms::engine::{Accepted, Publish};
use crate::rooms::for_all::{self, Coming};
use crate::rooms::terms::Terms;
use roomcast_protocol::{Payload, Publication};
use smallvec::smallvec;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let room = || 0..world::ROOMS;
    let step = prop_oneof![
        6 => prop::collection::vec((room(), asked()), 1..5).prop_map(Step::Publish),
        3 => any::<usize>().prop_map(Step::Await),
        1 => any::<usize>().prop_map(Step::Abandon),
        3 => (0..world::CLIENTS, room(), mode(), prop_oneof![0..4_usize, Just(world::PUBLICATIONS_MAX)]).prop_map(
            |(client, room, mode, publications_max)| Step::Enter { client, room, mode, publications_max }
        ),
        2 => (0..world::CLIENTS).prop_map(Step::Lose),
        4 => (0..world::CLIENTS).prop_map(Step::Receive),
        3 => (room(), -1..9_i32, prop::option::of(0..12_u64), any::<bool>())
            .prop_map(|(room, limit, since, reverse)| Step::History { room, limit, since, reverse }),
        2 => (0..world::CLIENTS, 1..9_usize).prop_map(|(client, count)| Step::Fetch(client, count)),
        1 => room().prop_map(Step::RemoveHistory),
        2 => (room(), any::<u64>()).prop_map(|(room, which)| Step::Erase(room, which)),
        1 => Just(Step::Expire),
        2 => trouble().prop_map(Step::Trouble),
    ];
    prop::collection::vec(step, 1..50)
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        9 => Just(Asked::Nothing),
        2 => (0..3_u64).prop_map(Asked::Key),
        2 => (1..6_u64).prop_map(Asked::Version),
        1 => Just(Asked::SkipHistory),
    ]
}

fn mode() -> impl Strategy<Value = RecoveryMode> {
    prop_oneof![3 => Just(RecoveryMode::Stream), 1 => Just(RecoveryMode::Cache)]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        3 => Just(Trouble::Connected),
        2 => Just(Trouble::Disconnected),
        1 => Just(Trouble::RestartedEmpty),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Plays the steps in a world, and then looks at all of it.
fn play(new: impl FnOnce() -> World, steps: Vec<Step>) {
    let runtime = runtime();
    runtime.block_on(async {
        let mut world = new();
        // Time enough for anything; a call that is not answered by then never is.
        let played = async {
            for step in steps {
                world.step(step).await;
            }
            world.end().await;
        };
        tokio::time::timeout(Duration::from_secs(60), played).await.expect("every call is answered");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn memory_keeps_the_contract(steps in steps()) {
        play(World::in_memory, steps);
    }

    #[test]
    fn an_engine_whose_other_side_is_in_trouble_keeps_the_contract(steps in steps(), seed in any::<u64>()) {
        play(|| World::remote(seed), steps);
    }
}

proptest! {
    // Each of them makes a database.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn storing_keeps_the_contract(steps in steps(), waits in any::<bool>()) {
        play(|| World::stored(if waits { Storage::Stored } else { Storage::Async }), steps);
    }
}

/// Whoever publishes with a key and breaks off, at any moment, and comes again, has published once.
#[tokio::test]
async fn a_publish_that_is_broken_off_and_repeated_is_one() {
    for world in [World::in_memory(), World::stored(Storage::Async), World::stored(Storage::Stored)] {
        let mut inbox = world.rooms.for_all.inbox(0).unwrap();
        for (key, skip_history) in [("quiet", true), ("kept", false)] {
            let publish = || {
                let terms = Terms { idempotency_key: key.to_owned(), skip_history, ..Terms::default() };
                let publication = Publication::new(Payload::json("1".into()), None);
                let publish = Publish { room: world::name(0), publication, terms: Some(Box::new(terms)) };
                world.engine.publish(smallvec![publish]).pop().unwrap().wait()
            };
            // There is a room for who is in it.
            drop(world.engine.enter(&world::name(0), None, 0).wait().await.unwrap());
            let mut first = Box::pin(publish());
            if skip_history {
                let Coming { event, step } = tokio::select! {
                    coming = inbox.next() => coming.unwrap(),
                    _ = &mut first => panic!("no shard has it"),
                };
                let for_all::Step::Reserve(reserve) = step else { panic!("space comes first") };
                drop(first);
                let second = tokio::spawn(publish());
                tokio::task::yield_now().await;
                reserve.send(true).unwrap();
                let for_all::Step::Take(take) = inbox.next().await.unwrap().step else { panic!("it has space") };
                take.send(()).unwrap();
                assert_eq!(second.await.unwrap().unwrap(), Accepted::UNPLACED);
                drop(event);
                let more = tokio::time::timeout(Duration::from_millis(1), inbox.next()).await;
                assert!(more.is_err(), "it was told once");
            } else {
                let _ = begin(&mut first).await;
                drop(first);
                assert_eq!(publish().await.unwrap().offset, 1);
                assert_eq!(publish().await.unwrap().offset, 1, "it is there once");
            }
        }
        world.close();
    }
}

/// Lets work begin, and does not wait for it.
async fn begin<F: Future + Unpin>(work: &mut F) {
    std::future::poll_fn(|context| {
        let _ = std::pin::Pin::new(&mut *work).poll(context);
        std::task::Poll::Ready(())
    })
    .await;
}
