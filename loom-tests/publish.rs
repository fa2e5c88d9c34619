//! Publishing: a reader beside a publisher, publishers beside each other, joining beside publishing.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::thread;

use super::support::{Reader, model, publish, ring};

#[test]
fn publish_read() {
    model(3..=4, || {
        let ring = ring::<u64>(2);
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || {
                assert_eq!(publish(&ring, 10), Ok(0));
                assert_eq!(publish(&ring, 11), Ok(1));
            })
        };
        let mut reader = Reader::new(&ring, 0);
        for expected in [(0, 10), (1, 11)] {
            loop {
                match reader.read() {
                    Ok(Some(message)) => break assert_eq!(message, expected),
                    Ok(None) => thread::yield_now(),
                    Err(()) => panic!("nobody closed the ring"),
                }
            }
        }
        publisher.join().unwrap();
    });
}

#[test]
fn claim_claim() {
    model(3..=4, || {
        let ring = ring::<u64>(2);
        let publishers: Vec<_> = [10, 20]
            .map(|value| {
                let ring = ring.clone();
                thread::spawn(move || publish(&ring, value).unwrap())
            })
            .into_iter()
            .collect();
        let mut sequences: Vec<_> = publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect();
        let mut reader = Reader::new(&ring, 0);
        let mut values = [reader.read().unwrap().unwrap(), reader.read().unwrap().unwrap()];
        assert_eq!(reader.read(), Ok(None));
        sequences.sort_unstable();
        assert_eq!(sequences, [0, 1], "each claim is handed out once");
        values.sort_unstable_by_key(|(_, value)| *value);
        assert_eq!(values.map(|(_, value)| value), [10, 20], "nothing is lost and nothing comes twice");
    });
}

#[test]
fn join_publish() {
    model(3..=4, || {
        let ring = ring::<u64>(2);
        publish(&ring, 10).unwrap();
        let told = Arc::new(AtomicU64::new(0));
        let publisher = {
            let (ring, told) = (ring.clone(), told.clone());
            thread::spawn(move || {
                told.store(11, Relaxed);
                publish(&ring, 11).unwrap();
            })
        };
        // Joins at the tail while another thread publishes: what is published after the join is read.
        let start = ring.tail();
        assert!(start == 1 || told.load(Relaxed) == 11, "who knows the tail sees what the publisher did before");
        assert!((1..=2).contains(&start));
        let mut reader = Reader::new(&ring, start);
        publisher.join().unwrap();
        publish(&ring, 12).unwrap();
        let mut values = Vec::new();
        while let Ok(Some((_, value))) = reader.read() {
            values.push(value);
        }
        assert_eq!(values.last(), Some(&12));
        assert_eq!(values.len() as u64, 3 - start - reader.lagged);
    });
}

#[test]
fn join_rotate() {
    model(3..=4, || {
        let ring = ring::<u64>(1);
        publish(&ring, 10).unwrap();
        let publisher = {
            let ring = ring.clone();
            thread::spawn(move || {
                publish(&ring, 11).unwrap();
                publish(&ring, 12).unwrap();
            })
        };
        // Joins from the claim word alone while segments are replaced.
        let start = ring.tail();
        assert!((1..=3).contains(&start), "a tail of {start}");
        let mut reader = Reader::new(&ring, start);
        publisher.join().unwrap();
        assert_eq!(ring.tail(), 3);
        publish(&ring, 13).unwrap();
        let mut last = None;
        while let Ok(Some((_, value))) = reader.read() {
            last = Some(value);
        }
        assert_eq!(last, Some(13));
        assert_eq!(reader.received + reader.lagged, 4 - start);
    });
}
