//! The memory that two processes take together while one takes over from the other: that of one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::crash::{Process, memory_of};
use crate::harness::{Client, Folder, eventually, number, publish};

/// What both are given.
const LIMIT: u64 = 256 << 20;

const CONFIG: &str = r#"
[channel.without_namespace]
storage = "off"
history_size = 1000
history_ttl = "1h"
[handover]
close_rate = 1
"#;

const CLIENTS: usize = 5;

fn publish_all(client: &mut Client, rooms: impl Iterator<Item = String>) {
    let rooms: Vec<_> = rooms.collect();
    let data = format!("\"{}\"", "x".repeat(60_000));
    for rooms in rooms.chunks(16) {
        rooms.iter().zip(10..).for_each(|(room, id)| client.send(&publish(id, room, &data)));
        for id in (10..).take(rooms.len()) {
            let reply = client.reply(id);
            assert!(reply.get("publish").is_some(), "{reply}");
        }
    }
}

/// Says so when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn two_processes_have_no_more_memory_together_than_one() {
    let folder = Folder::new();
    let variables: [(&str, PathBuf); 2] =
        [("ROOMCAST_MEMORY_LIMIT", LIMIT.to_string().into()), ("ROOMCAST_SHARDS", "2".into())];
    let mut first = Process::start_by(&folder, CONFIG, &variables);
    // More than it keeps.
    publish_all(&mut first.connected(), (0..2_000).map(|room| format!("room{room}")));
    let clients: Vec<_> = (0..CLIENTS).map(|_| first.connected()).collect();
    let share = "roomcast_memory_limit_bytes{share=\"rings\"}";
    let all = first.metric(share);
    let (peak, next, is_over) = (AtomicU64::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let alone = first.memory("VmRSS");
    let old = first.id();
    let second = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let of = |process| memory_of(process, "VmRSS").unwrap_or(0);
                let both = of(old) + of(next.load(Ordering::Relaxed));
                peak.fetch_max(both, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let _until_it_is_over = Over(&is_over);
        let second = first.taken_over_beside(&folder, CONFIG, &variables, |id| next.store(id, Ordering::Relaxed));
        first.ends();
        second
    });
    let peak = peak.into_inner();
    eprintln!("one process has {alone} bytes, both together had {peak} at most");
    assert!(peak < LIMIT, "{peak} bytes of {LIMIT}; the first one had {alone}");
    eventually("the second one has all of it", || second.metric(share) == all);
    drop(clients);
    // The newest are there, with what was said in them.
    let mut ben = second.connected();
    ben.send(r#"{"id":2,"history":{"channel":"room1999","limit":10}}"#);
    let reply = ben.reply(2);
    assert_eq!(number(&reply["history"]["offset"]), 1);
    assert_eq!(reply["history"]["publications"].as_array().map(Vec::len), Some(1), "it was given");
    publish_all(&mut ben, (2_000..2_500).map(|room| format!("room{room}")));
}
