//! Work is spread over the shards, and none of them is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use roomcast::{Broker, Ref};

use crate::support::{eventually, finishes};

/// Each handler notes the thread it runs on. Every shard, by the name of its thread, served rooms of its own.
#[test]
fn sixty_four_rooms_keep_every_shard_at_work() {
    const ROOMS: usize = 64;
    const SHARDS: usize = 4;
    finishes(|| {
        let broker = Broker::<u64>::builder().shards(SHARDS).build();
        let served_by: Arc<Mutex<BTreeMap<String, BTreeSet<usize>>>> = Arc::default();
        let mut handlers = Vec::new();
        for number in 0..ROOMS {
            let room = broker.room(&format!("room.{number}")).unwrap();
            let served_by = served_by.clone();
            let handler = move |_: Ref<'_, u64>| {
                let thread = std::thread::current().name().unwrap_or_default().to_string();
                served_by.lock().unwrap().entry(thread).or_default().insert(number);
            };
            handlers.push(block_on(room.subscribe_with(handler)).unwrap());
        }
        for room in broker.rooms() {
            room.publish(1).unwrap();
        }
        let seen = || served_by.lock().unwrap().values().map(BTreeSet::len).sum::<usize>();
        eventually("every handler has run", || seen() == ROOMS);

        let names: Vec<String> = served_by.lock().unwrap().keys().cloned().collect();
        assert_eq!(names, (0..SHARDS).map(|shard| format!("roomcast-shard-{shard}")).collect::<Vec<_>>());
        assert!(served_by.lock().unwrap().values().all(|rooms| rooms.len() == ROOMS / SHARDS));
        let stats = broker.stats();
        assert_eq!(stats.rooms, ROOMS as u64);
        assert_eq!(stats.shards.iter().map(|shard| shard.rooms).sum::<u32>(), ROOMS as u32);
        for shard in stats.shards {
            assert_eq!((shard.handlers, shard.rooms_served), (16, 16));
            assert!(shard.actions >= 16 && shard.handler_runs >= 16, "{shard:?}");
        }
    });
}
