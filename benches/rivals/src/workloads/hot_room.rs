//! W9: 25,000 subscribers in one room, beside as many in fifty rooms.

use harness::machine::wait_until;
use harness::measure::{Cases, Effort, Figure, figure, grouped};
use roomcast::Broker;

use super::crowd::Crowd;
use super::each;
use super::parked::tasks;
use crate::contenders::roomcast::Shared;
use crate::contenders::tokio_broadcast::Tokio;

const TABLE: &str = "W9";
const SUBSCRIBERS: usize = 25_000;

pub fn add(cases: &mut Cases) {
    for rooms in [1, 50] {
        let each = SUBSCRIBERS / rooms;
        cases.add(TABLE, format!("{rooms} × {} handlers", grouped(each)), "roomcast", move |effort| {
            handlers(rooms, each, effort)
        });
        each!(cases, TABLE, format!("{rooms} × {} tasks", grouped(each)); "roomcast" => Shared, "tokio" => Tokio;
            |effort, C| tasks::<C>(rooms, each, effort));
    }
}

/// A message into every room, and the time until the last handler has it. The shards are kept awake by the last round.
fn handlers(rooms: usize, each: usize, effort: Effort) -> Vec<Figure> {
    let broker = Broker::<u64>::new();
    let names = (0..rooms).map(|number| format!("hot.{number}"));
    let rooms: Vec<_> = names.map(|name| broker.room(&name).expect("a new broker has space")).collect();
    let mut crowd = futures::executor::block_on(Crowd::join(&rooms, each));
    crowd.gather_blocking(&rooms, 1);
    let mut round = 0;
    let took = effort.median(|| {
        round += 1;
        let called_at = crowd.now();
        rooms.iter().for_each(|room| assert!(room.publish(round).is_ok(), "the room is open"));
        wait_until(|| crowd.have_done(round));
        (crowd.done_at() - called_at) / 1e3
    });
    crowd.leave(broker, round + 1);
    vec![figure("until the last has it", "µs", took)]
}
