//! L4, the other half: handlers that the shards of the broker serve.

use std::time::Instant;

use harness::machine::wait_until;
use harness::measure::{Cases, Effort, Figure, figure, grouped};
use roomcast::{Broker, Builder, Room};

use super::crowd::Crowd;

const TABLE: &str = "L4";

pub fn add(cases: &mut Cases) {
    for window in [1, 64] {
        for members in [100, 1000] {
            let name = &format!("handlers: {}, windows of {window}", grouped(members));
            let threads = |shards: Option<usize>| {
                move |effort| on_threads(shards.map_or_else(Broker::builder, one_shard), members, window, effort)
            };
            cases.add(TABLE, name, "roomcast", threads(None));
            cases.add(TABLE, name, "roomcast, one shard", threads(Some(1)));
            cases.add(TABLE, name, "roomcast, in the publisher's runtime", move |effort| {
                in_runtime(members, window, effort)
            });
        }
    }
    cases.lack(TABLE, "everybody else, handlers", "they have none; a task for each subscriber is what comes nearest");
}

fn one_shard(shards: usize) -> Builder<u64> {
    Broker::builder().shards(shards)
}

fn publish(room: &Room<u64>, next: &mut u64, window: u64) {
    for number in *next..*next + window {
        assert!(room.publish(number).is_ok(), "the room is open");
    }
    *next += window;
}

fn rate(messages: u64, members: usize, begin: Instant) -> Vec<Figure> {
    vec![figure("deliveries", "M/s", (messages * members as u64) as f64 / begin.elapsed().as_secs_f64() / 1e6)]
}

/// Shards on threads of their own; the publisher watches from a third one until a window is done.
fn on_threads(builder: Builder<u64>, members: usize, window: u64, effort: Effort) -> Vec<Figure> {
    let broker = builder.build();
    let rooms = [broker.room("crowd").expect("a new broker has space")];
    let mut crowd = futures::executor::block_on(Crowd::join(&rooms, members));
    crowd.gather_blocking(&rooms, window);
    let (mut next, mut windows) = (1, 0);
    let begin = Instant::now();
    while begin.elapsed() < effort.time() {
        publish(&rooms[0], &mut next, window);
        windows += 1;
        wait_until(|| crowd.have_done(windows));
    }
    let figures = rate(next - 1, members, begin);
    crowd.leave(broker, next);
    figures
}

/// One shard as a task, the publisher as another, in a runtime with one thread.
fn in_runtime(members: usize, window: u64, effort: Effort) -> Vec<Figure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let broker = Broker::builder().on_tokio(vec![runtime.handle().clone()]).build();
    let room = broker.room("crowd").expect("a new broker has space");
    let (crowd, next, figures) = runtime.block_on(async {
        let mut crowd = Crowd::join(std::slice::from_ref(&room), members).await;
        let (mut next, mut windows) = (0, 0);
        publish(&room, &mut next, 1);
        while !crowd.gather(window) {
            tokio::task::yield_now().await;
        }
        let begin = Instant::now();
        while begin.elapsed() < effort.time() {
            publish(&room, &mut next, window);
            windows += 1;
            while !crowd.have_done(windows) {
                tokio::task::yield_now().await;
            }
        }
        (crowd, next, rate(next - 1, members, begin))
    });
    // The runtime has to go on until the handlers have left.
    let leaving = std::thread::spawn(move || crowd.leave(broker, next));
    runtime.block_on(async {
        while !leaving.is_finished() {
            tokio::task::yield_now().await;
        }
    });
    leaving.join().expect("everybody's books are right");
    figures
}
