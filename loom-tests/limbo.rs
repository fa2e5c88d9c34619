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

/// Whoever takes the segment evicted last may have slept since long before that segment was made: it learns of it by its
/// index alone, and finds it whole. So do two who evict, of which one is given what the other has left.
#[test]
fn retire_take() {
    for evicts in [false, true] {
        model(3..=4, move || {
            let shared = limbo(0);
            let evictor = {
                let shared = shared.clone();
                thread::spawn(move || make_and_retire(&shared))
            };
            let (table, limbo) = &*shared;
            let before = if evicts { make_and_retire(&shared) } else { None };
            let mut taken = Vec::from_iter(limbo.take(table, before, true));
            taken.extend(limbo.take_unused(table, true));
            let before = evictor.join().unwrap();
            taken.extend(limbo.take(table, before, true));
            taken.extend(std::iter::from_fn(|| limbo.take_unused(table, true)).take(2));
            taken.sort_unstable();
            assert_eq!(taken, if evicts { vec![0, 1] } else { vec![0] }, "each segment is found once");
        });
    }
}

/// Makes a segment and evicts it; returns the one evicted before.
fn make_and_retire((table, limbo): &(Table<u64>, Limbo)) -> Option<u16> {
    let index = table.append(Box::new(Segment::new(1, false))).ok().unwrap();
    table.segment(index).begin(1, 0, 0);
    limbo.retire(table, index)
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
