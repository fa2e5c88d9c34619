//! The thread that writes: what it says of its file, and how it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;

use super::World;
use crate::events::ledger::Ledger;
use crate::events::writer::Writer;
use crate::ops::metrics::RoomEventMetrics;

/// Has a thread write what the journal of a world has, to the end.
fn write_to_the_end(world: &mut World, metrics: &RoomEventMetrics) -> Ledger {
    let ledger = world.ledger.take().expect("it runs");
    let now_ms = Arc::clone(&world.now_ms);
    world.journal.close();
    let clock = move || now_ms.load(Relaxed);
    let (_options, of_writer) = watch::channel(world.options.clone());
    let told = (watch::channel(0).0, of_writer);
    let writer = Writer::new(ledger, Arc::clone(&world.journal), metrics.clone(), clock, told);
    writer.start().expect("a thread").join().expect("no panic")
}

#[test]
fn the_end_does_not_wait_for_a_log_that_is_far_too_long() {
    let mut world = World::far_too_long();
    world.journal.enter("hall", "last", "");
    let ledger = write_to_the_end(&mut world, &RoomEventMetrics::default());
    assert!(ledger.position().bytes > 10_000, "the next start goes on with it");
    assert_eq!(world.words().last().map(String::as_str), Some("join hall last"));
}

#[test]
fn a_log_that_was_removed_is_trouble() {
    for is_removed in [false, true] {
        let mut world = World::new();
        world.journal.enter("hall", "a", "");
        if is_removed {
            std::fs::remove_file(world.folder.log()).expect("a file");
        }
        let metrics = RoomEventMetrics::default();
        write_to_the_end(&mut world, &metrics);
        assert_eq!(metrics.trouble.get(), i64::from(is_removed));
    }
}

#[test]
fn that_a_thread_is_gone_is_not_forgotten_with_the_next_write() {
    let mut world = World::new();
    world.journal.enter("hall", "a", "");
    let metrics = RoomEventMetrics::default();
    metrics.trouble.set(1);
    write_to_the_end(&mut world, &metrics);
    assert_eq!(metrics.trouble.get(), 1);
}
