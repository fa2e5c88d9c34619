//! Instructions, counted by callgrind: two runs that differ in nothing but how often they do it, subtracted.

use std::process::{Command, id};
use std::time::Duration;
use std::{env, fs};

use harness::measure::{Cases, Figure, figure};
use harness::run::bounded;
use roomcast::Broker;

use super::drain::{BURST, READERS, Scene};
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::disruptor::{ManyProducers, OneProducer};
use crate::contenders::roomcast::{Exclusive, Shared, Slices};
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{CAPACITY, Contender};

/// Counting is slow, but not that slow.
const LIMIT: Duration = Duration::from_secs(60);

const DELIVER: [&str; 7] =
    ["roomcast", "roomcast slices", "roomcast exclusive", "tokio", "async-broadcast", "disruptor 1P", "disruptor MP"];

/// How a publisher's instructions are counted: with nobody in its way, and with readers that have stopped.
const PUBLISH: [&str; 3] = ["roomcast", "roomcast, one holds a message", "roomcast, one does not poll"];

/// Adds the instructions of a delivery, with its share of the publish.
pub fn add_deliveries(cases: &mut Cases) {
    cases.exact(|cases| {
        for contender in DELIVER {
            let run = move |_| instructions("deliver", contender, READERS as u64 * BURST);
            cases.add("L2", "u64, counted", contender, run);
        }
    });
}

/// Adds the instructions of a publish.
pub fn add_publishes(cases: &mut Cases) {
    cases.exact(|cases| {
        for contender in PUBLISH {
            cases.add("W8", "u64, counted", contender, move |_| instructions("publish", contender, CAPACITY as u64));
        }
    });
}

/// Does something a number of times; nothing when there is no such thing.
pub fn count(what: &str, contender: &str, times: u64) -> Option<()> {
    match (what, contender) {
        ("deliver", "roomcast") => deliver::<Shared>(times),
        ("deliver", "roomcast slices") => deliver::<Shared<Slices>>(times),
        ("deliver", "roomcast exclusive") => deliver::<Exclusive>(times),
        ("deliver", "tokio") => deliver::<Tokio>(times),
        ("deliver", "async-broadcast") => deliver::<AsyncBroadcast>(times),
        ("deliver", "disruptor 1P") => deliver::<OneProducer>(times),
        ("deliver", "disruptor MP") => deliver::<ManyProducers>(times),
        ("publish", contender) if PUBLISH.contains(&contender) => publish(contender, times),
        _ => return None,
    }
    Some(())
}

fn deliver<C: Contender<u64>>(times: u64) {
    let mut scene = Scene::<u64, C>::new();
    for _ in 0..times {
        scene.burst();
        scene.drain();
    }
    scene.finish();
}

fn publish(contender: &str, times: u64) {
    let broker = Broker::<u64>::new();
    let room = broker.room("counted").expect("a new broker has space");
    let mut holder = room.subscribe().now().expect("the room is open");
    let stalled = room.subscribe().now().expect("the room is open");
    room.publish(0).expect("the room is open");
    let held = contender.ends_with("holds a message").then(|| holder.try_recv_ref().expect("it was published"));
    if !contender.ends_with("does not poll") {
        drop(stalled);
    }
    for message in 0..times * CAPACITY as u64 {
        room.publish(message).expect("the room is open");
    }
    assert!(held.is_none_or(|message| *message == 0), "what is held stays what it was");
}

const TIMES: [u64; 2] = [8, 40];

fn instructions(what: &str, contender: &str, operations: u64) -> Vec<Figure> {
    let [few, many] = TIMES.map(|times| collected(what, contender, times));
    let each = (many - few) / ((TIMES[1] - TIMES[0]) * operations) as f64;
    vec![figure("instructions", "each", each)]
}

fn collected(what: &str, contender: &str, times: u64) -> f64 {
    let out = env::temp_dir().join(format!("rivals-{}.callgrind", id()));
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(env::current_exe().expect("this program has a path"));
    command.args(["count", what, contender, &times.to_string()]);
    let (success, _, said) = bounded(command, LIMIT).unwrap_or_else(|failure| panic!("{failure}"));
    let _ = fs::remove_file(out);
    assert!(success, "valgrind failed: {said}");
    let total = said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    total.unwrap_or_else(|| panic!("valgrind told no total: {said}"))
}
