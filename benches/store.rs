//! Permanent storage: what it takes in, and what it costs who publishes.
//!
//! `cargo bench --features sqlite --bench store`, and for what publishing costs, in instructions:
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='*measured_publishes*' --callgrind-out-file=/dev/null BENCH publish off
//! valgrind --tool=callgrind --toggle-collect='*measured_publishes*' --callgrind-out-file=/dev/null BENCH publish async
//! ```

#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::env;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::LocalPool;
use futures::task::LocalSpawnExt as _;
use roomcast::store::{Archive, Codec, Durability, Options, SqliteStore, Undecodable};
use roomcast::{Broker, RoomOptions};

/// 128 bytes, shared, as a server publishes them.
type Bytes = Arc<[u8]>;

struct Raw;

impl Codec<Bytes> for Raw {
    fn encode(&self, message: &Bytes, out: &mut Vec<u8>) {
        out.extend_from_slice(message);
    }

    fn decode(&self, stored: &[u8]) -> Result<Bytes, Undecodable> {
        Ok(stored.into())
    }
}

/// Messages that are published to see what that costs.
const MEASURED: u64 = 100_000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["publish", storage] => publish(storage),
        _ => {
            taken_in();
            for publishers in [1, 100, 1_000] {
                acknowledged(publishers);
            }
        }
    }
}

fn message() -> Bytes {
    [b'x'; 128].as_slice().into()
}

/// A store in a file on the disk, which is gone afterwards.
fn with_archive(durability: Option<Durability>, act: impl FnOnce(&Archive<Bytes>, &Broker<Bytes>)) {
    let file = env::temp_dir().join(format!("roomcast-bench-{}.db", std::process::id()));
    let broker = Broker::builder().shards(1).capacity(16_384).build();
    let store = SqliteStore::open(&file).expect("a file can be made");
    let archive = Archive::start(&broker, store, Raw, Options::by_room(move |_| durability)).expect("the store begins");
    act(&archive, &broker);
    archive.close().expect("all is stored");
    for end in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
}

/// How many messages a second are stored that nobody waits for, with a publisher that is as fast as the store.
fn taken_in() {
    for rooms in [1, 100] {
        with_archive(Some(Durability::Async), |archive, _| {
            let rooms: Vec<_> = (0..rooms)
                .map(|room| archive.open(&format!("room:{room}"), RoomOptions::new()).expect("it opens"))
                .collect();
            let (message, began, until) = (message(), Instant::now(), Duration::from_secs(5));
            let mut count = 0_u64;
            while began.elapsed() < until {
                for room in &rooms {
                    for _ in 0..64 {
                        room.publish_blocking(Arc::clone(&message)).expect("the room is open");
                    }
                    count += 64;
                }
            }
            archive.flush_within(Duration::from_secs(60)).expect("the store keeps up");
            let second = count as f64 / began.elapsed().as_secs_f64();
            let batches = archive.status().batches;
            println!(
                "async, {} rooms: {second:.0} messages of 128 bytes stored a second, in {batches} batches",
                rooms.len()
            );
        });
    }
}

/// How many messages a second are acknowledged as on the disk, by so many that wait for each.
fn acknowledged(publishers: u64) {
    with_archive(Some(Durability::Stored), |archive, _| {
        let (message, began, until) = (message(), Instant::now(), Duration::from_secs(5));
        let mut pool = LocalPool::new();
        let count = Arc::new(AtomicU64::new(0));
        for publisher in 0..publishers {
            let room = archive.open(&format!("room:{}", publisher % 10), RoomOptions::new()).expect("it opens");
            let watermark = archive.watermark(&room).expect("it is kept");
            let (message, count) = (Arc::clone(&message), Arc::clone(&count));
            let publishes = async move {
                while began.elapsed() < until {
                    let sequence = room.publish_wait(Arc::clone(&message)).await.expect("the room is open");
                    watermark.reached(sequence + 1).await.expect("it is stored");
                    count.fetch_add(1, Relaxed);
                }
            };
            pool.spawner().spawn_local(publishes).expect("the pool runs");
        }
        pool.run();
        let second = count.load(Relaxed) as f64 / began.elapsed().as_secs_f64();
        let each = 1_000.0 * publishers as f64 / second;
        println!("stored, {publishers} publishers: {second:.0} messages a second, {each:.2} ms each");
    });
}

/// Publishes, with nobody or storage subscribed; what is counted is [`measured_publishes`] alone.
fn publish(storage: &str) {
    let durability = (storage == "async").then_some(Durability::Async);
    with_archive(durability, |archive, _| {
        let room = archive.open("lobby", RoomOptions::new().capacity(1 << 18)).expect("it opens");
        let message = message();
        // Everything has its size, and the store has come to know the room.
        (0..1_000).for_each(|_| _ = room.publish(Arc::clone(&message)).expect("there is space"));
        thread::sleep(Duration::from_millis(200));
        measured_publishes(&room, &message);
    });
}

#[inline(never)]
fn measured_publishes(room: &roomcast::Room<Bytes>, message: &Bytes) {
    for _ in 0..MEASURED {
        black_box(room.publish(Arc::clone(black_box(message)))).expect("there is space");
    }
}
