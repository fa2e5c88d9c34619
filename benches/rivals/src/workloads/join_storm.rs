//! W10: ten thousand join every second, each to be told the last hundred messages, while somebody publishes at full
//! speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::machine::{nanos, pin};
use harness::measure::{Cases, Effort, Figure, figure, median};
use roomcast::{Broker, Position, Resumption, Room, Start, TryRecvError};

use crate::tally::Tally;

const TABLE: &str = "W10";
const APART: Duration = Duration::from_micros(100);
const REPLAYED: u64 = 100;

pub fn add(cases: &mut Cases) {
    cases.add(TABLE, "10,000 joins/s", "roomcast", storm);
    cases.lack(TABLE, "everybody else", "nobody replays what was published before a subscriber came");
}

/// What became of the joins.
#[derive(Default)]
struct Joins {
    count: u64,
    gaps: u64,
    lagged: u64,
    took: Vec<f64>,
}

impl Joins {
    /// Joins a hundred messages back and reads up to what was the newest then.
    fn join(&mut self, room: &Room<u64>) {
        let begin = Instant::now();
        let tail = room.tail();
        let from = Position { epoch: room.epoch(), sequence: tail - REPLAYED };
        let mut subscription = room.subscribe_from(Start::Resume(from)).now().expect("the room is open");
        let mut tally = Tally::from(subscription.position().sequence);
        while tally.next() < tail {
            match subscription.try_recv_ref() {
                Ok(message) => tally.see(message.sequence(), &*message),
                Err(TryRecvError::Lagged(missed)) => tally.miss(missed),
                // Somebody is just writing it.
                Err(TryRecvError::Empty) => {}
                Err(error) => panic!("the room is open: {error}"),
            }
        }
        self.took.push(nanos(begin.elapsed()));
        tally.check(tally.next());
        let books = subscription.accounting();
        assert_eq!((books.received, books.lagged), (tally.received(), tally.lagged()));
        assert_eq!(books.received + books.lagged + books.conflated, books.end - books.start, "the accounting rule");
        self.count += 1;
        self.lagged += u64::from(tally.lagged() > 0);
        self.gaps += u64::from(subscription.resumption() != Resumption::Resumed);
    }
}

/// Messages a second.
fn publish(room: &Room<u64>, next: &mut u64, time: Duration) -> f64 {
    let (begin, first) = (Instant::now(), *next);
    while begin.elapsed() < time {
        for _ in 0..256 {
            assert!(room.publish(*next).is_ok(), "the room is open");
            *next += 1;
        }
    }
    (*next - first) as f64 / begin.elapsed().as_secs_f64()
}

fn storm(effort: Effort) -> Vec<Figure> {
    let broker = Broker::<u64>::new();
    let room = broker.room("storm").expect("a new broker has space");
    let mut next = 0;
    let (is_on, is_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    publish(&room, &mut next, effort.time() / 4);
    let joining = thread::spawn({
        let (room, is_on, is_over) = (room.clone(), is_on.clone(), is_over.clone());
        move || {
            pin(1);
            while !is_on.load(Relaxed) {
                thread::sleep(Duration::from_micros(200));
            }
            let (begin, mut joins) = (Instant::now(), Joins::default());
            while !is_over.load(Relaxed) {
                while begin.elapsed() < APART * joins.count as u32 {
                    std::hint::spin_loop();
                }
                joins.join(&room);
            }
            let rate = joins.count as f64 / begin.elapsed().as_secs_f64();
            (joins, rate)
        }
    });
    pin(0);
    let before = publish(&room, &mut next, effort.time());
    is_on.store(true, Relaxed);
    let beside = publish(&room, &mut next, 2 * effort.time());
    is_over.store(true, Relaxed);
    let (mut joins, rate) = joining.join().expect("the books are right");
    let after = publish(&room, &mut next, effort.time());
    let share = |part: u64| 100.0 * part as f64 / joins.count as f64;
    vec![
        figure("rate kept", "%", 200.0 * beside / (before + after)),
        figure("joins", "1/s", rate),
        figure("joins with a gap from the start", "%", share(joins.gaps)),
        figure("joins overrun while reading", "%", share(joins.lagged)),
        figure("join and replay", "ns", median(&mut joins.took)),
    ]
}
