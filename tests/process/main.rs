//! What a process is left with when its brokers are gone. One test in a process of its own, because it counts threads.

use roomcast::{Broker, Ref};

fn shard_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a Linux process lists its threads");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("roomcast-shard")).count()
}

#[test]
fn no_thread_is_left_when_brokers_are_dropped() {
    assert_eq!(shard_threads(), 0);
    let brokers: Vec<_> = (0..3).map(|_| Broker::<u64>::builder().shards(2).build()).collect();
    // A thread gives itself its name once it runs.
    while shard_threads() < 6 {
        std::thread::yield_now();
    }
    let handlers: Vec<_> = brokers
        .iter()
        .map(|broker| {
            let room = broker.room("lobby").unwrap();
            let served = futures::executor::block_on(room.subscribe_with(|_: Ref<'_, u64>| {})).unwrap();
            room.publish(1).unwrap();
            served
        })
        .collect();
    drop(brokers);
    assert_eq!(shard_threads(), 0, "handles that outlive a broker keep no thread of it");
    assert!(handlers.iter().all(|served| !served.is_running()));
}
