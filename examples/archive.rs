//! A database-like subscriber: it stores every message of every `chat.*` room, finds new rooms by itself, and publishers
//! wait for it rather than have it miss one.
//!
//! `cargo run --example archive`

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use roomcast::{Broker, Policy, Start, TryRecvError};

const ROOMS: usize = 8;
const MESSAGES: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::<String>::builder().capacity(64).build();

    // The archive on a thread of its own. A real one would commit each run in one transaction.
    let mut chats = broker.subscribe_pattern_with("chat.*", Policy::Block);
    let (stored, archive) = mpsc::channel();
    let archivist = thread::spawn(move || {
        futures::executor::block_on(async {
            let mut ended = 0;
            while ended < ROOMS {
                let key = chats.ready().await.expect("the broker is open");
                let chat = chats.get_mut(key).expect("a ready room is in the set");
                let name = chat.room().name().to_string();
                loop {
                    match chat.try_recv_batch(256) {
                        Ok(run) => {
                            for (sequence, _, text) in run.iter() {
                                let _ = stored.send((name.clone(), sequence, text.clone()));
                            }
                        }
                        Err(TryRecvError::Empty) => break,
                        // It leaves the pattern by itself.
                        Err(TryRecvError::Closed(_)) => {
                            ended += 1;
                            break;
                        }
                        Err(error) => panic!("a blocking subscriber misses nothing: {error}"),
                    }
                }
            }
        });
    });

    // Rooms appear after the archive; their first message is stored all the same.
    let writers: Vec<_> = (0..ROOMS)
        .map(|number| {
            let broker = broker.clone();
            thread::spawn(move || {
                let room = broker.room(&format!("chat.{number}")).expect("there is space");
                for message in 0..MESSAGES {
                    room.publish_blocking(format!("message {message}")).expect("the room is open");
                }
                room.close();
            })
        })
        .collect();
    broker.room("news")?.publish("not for the archive".into())?;
    for writer in writers {
        writer.join().expect("a writer");
    }
    archivist.join().expect("the archivist");

    let mut rooms: BTreeMap<String, u64> = BTreeMap::new();
    for (name, sequence, text) in archive {
        let next = rooms.entry(name).or_default();
        assert_eq!((sequence, text), (*next, format!("message {next}")), "in order, without a gap");
        *next += 1;
    }
    assert_eq!(rooms.len(), ROOMS);
    assert!(rooms.values().all(|count| *count == MESSAGES as u64));
    assert_eq!(broker.room("news")?.subscribe_from(Start::Oldest).now()?.lag(), 1, "the archive does not touch others");
    println!("{} messages of {ROOMS} rooms stored", ROOMS * MESSAGES);
    Ok(())
}
