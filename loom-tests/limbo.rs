//! Segments that nobody uses: taken by one of several, and kept on a stack.

use loom::sync::Arc;
use loom::thread;

use super::support::model;
use crate::ring::{Limbo, Segment, Table};

/// A table of segments with one slot each, and a limbo.
fn limbo(segments: u16) -> Arc<(Table<u64>, Limbo)> {
    let table = Table::new();
    for index in 0..segments {
        assert_eq!(table.append(Box::new(Segment::new(1, false))).ok(), Some(index));
    }
    Arc::new((table, Limbo::new()))
}

/// An evicted segment is one thread's alone, however many look at it.
#[test]
fn reclaim_reclaim() {
    model(2..=3, || {
        let shared = limbo(1);
        let (table, limbo) = &*shared;
        table.segment(0).begin(1, 0, 0);
        assert_eq!(limbo.retire(table, 0), None);
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.1.take_unused(&shared.0, true))
        };
        let taken = [limbo.take_unused(table, true), other.join().unwrap()];
        assert_eq!(taken.into_iter().flatten().collect::<Vec<_>>(), [0], "one of two takes it");
    });
}

/// What is pushed while another pops is neither lost nor given out twice.
#[test]
fn free_stack() {
    model(3..=4, || {
        let shared = limbo(2);
        let (table, limbo) = &*shared;
        limbo.push_free(table, 0);
        let pusher = {
            let shared = shared.clone();
            thread::spawn(move || shared.1.push_free(&shared.0, 1))
        };
        let mut popped: Vec<_> = (0..2).filter_map(|_| limbo.pop_free(table)).collect();
        pusher.join().unwrap();
        popped.extend(std::iter::from_fn(|| limbo.pop_free(table)));
        popped.sort_unstable();
        assert_eq!(popped, [0, 1]);
    });
}
