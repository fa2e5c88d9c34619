//! Random histories, compared step by step with a plain model.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use roomcast::{Broker, CloseReason, Position, PublishError, Resumption, Room, Start, Subscription, TryRecvError};

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Subscribe,
    SubscribeOldest,
    Resume { reader: usize, back: u64 },
    Receive { reader: usize },
    ReceiveBatch { reader: usize, max: usize },
    Leave { reader: usize },
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0usize..8;
    prop_oneof![
        6 => (1u8..40).prop_map(Step::Publish),
        2 => Just(Step::Subscribe),
        1 => Just(Step::SubscribeOldest),
        1 => (reader.clone(), 0u64..80).prop_map(|(reader, back)| Step::Resume { reader, back }),
        8 => reader.clone().prop_map(|reader| Step::Receive { reader }),
        6 => (reader.clone(), 1usize..20).prop_map(|(reader, max)| Step::ReceiveBatch { reader, max }),
        1 => reader.prop_map(|reader| Step::Leave { reader }),
        1 => Just(Step::Close),
    ]
}

/// A room as anybody would write it: what is retained, and how many there were.
///
/// Eviction goes by whole segments, whose size is the room's own affair: the model asks the room for its oldest sequence
/// and checks that this moves as it may. A reader that stands in an evicted segment may still read the rest of it, which
/// is all that the model cannot foretell: what was evicted is kept for it.
struct Model {
    retained: VecDeque<u64>,
    evicted: Vec<u64>,
    tail: u64,
    capacity: u64,
    closed: bool,
}

impl Model {
    fn oldest(&self) -> u64 {
        self.tail - self.retained.len() as u64
    }

    fn publish(&mut self, message: u64, room_oldest: u64) {
        self.retained.push_back(message);
        self.tail += 1;
        assert!(room_oldest >= self.oldest(), "the oldest never moves back");
        assert!(self.tail - room_oldest >= self.capacity.min(self.tail), "the capacity is retained");
        while self.oldest() < room_oldest {
            self.evicted.extend(self.retained.pop_front());
        }
    }

    fn at(&self, sequence: u64) -> u64 {
        match sequence.checked_sub(self.oldest()) {
            Some(index) => self.retained[index as usize],
            None => self.evicted[sequence as usize],
        }
    }

    /// The most messages that a segment has.
    fn slots_max(&self) -> u64 {
        (self.capacity / 4).clamp(1, 64)
    }
}

struct Reader {
    subscription: Subscription<u64>,
    next: u64,
    /// Messages it has read since they were evicted, in a row: out of the one segment it stands in.
    out_of_evicted: u64,
}

impl Reader {
    fn new(subscription: Subscription<u64>, next: u64) -> Self {
        Self { subscription, next, out_of_evicted: 0 }
    }

    /// Receives up to `max` messages and compares with the model.
    fn receive(&mut self, model: &Model, max: usize) {
        let received = self.subscription.try_recv_batch(max).map(|batch| (batch.first_sequence(), batch.to_vec()));
        let missed = model.oldest().saturating_sub(self.next);
        match received {
            Ok((first, messages)) => {
                let count = messages.len() as u64;
                assert_eq!(first, self.next);
                assert!((1..=max as u64).contains(&count) && first + count <= model.tail);
                assert!((first..).zip(&messages).all(|(sequence, message)| *message == model.at(sequence)));
                self.next += count;
                self.out_of_evicted = if missed > 0 { self.out_of_evicted + count } else { 0 };
                assert!(self.out_of_evicted <= model.slots_max(), "more than the rest of a segment");
            }
            Err(TryRecvError::Lagged(told)) => {
                assert_eq!(told, missed);
                self.next += told;
                self.out_of_evicted = 0;
            }
            Err(end) => {
                let expected =
                    if model.closed { TryRecvError::Closed(CloseReason::Closed) } else { TryRecvError::Empty };
                assert_eq!((end, self.next), (expected, model.tail));
            }
        }
    }
}

fn resumed(room: &Room<u64>, model: &Model, sequence: u64) -> Option<Reader> {
    let start = Start::Resume(Position { epoch: room.epoch(), sequence });
    let Ok(subscription) = room.subscribe_from(start).now() else {
        assert!(model.closed);
        return None;
    };
    let oldest = model.oldest();
    let (next, expected) = match sequence {
        _ if sequence > model.tail => (model.tail, Resumption::Unknown),
        _ if sequence < oldest => (oldest, Resumption::Gap(oldest - sequence)),
        _ => (sequence, Resumption::Resumed),
    };
    assert_eq!((subscription.position().sequence, subscription.resumption()), (next, expected));
    Some(Reader::new(subscription, next))
}

fn run(capacity: u64, steps: Vec<Step>) {
    let broker = Broker::<u64>::builder().capacity(capacity as usize).shards(1).build();
    let room = broker.room("model").unwrap();
    let mut model = Model { retained: VecDeque::new(), evicted: Vec::new(), tail: 0, capacity, closed: false };
    let mut readers: Vec<Reader> = Vec::new();
    for step in steps {
        let count = readers.len().max(1);
        match step {
            Step::Publish(_) if model.closed => assert_eq!(room.publish(7), Err(PublishError::Closed(7))),
            Step::Publish(times) => {
                for _ in 0..times {
                    let message = model.tail.wrapping_mul(0x9e37_79b9);
                    assert_eq!(room.publish(message), Ok(model.tail));
                    model.publish(message, room.oldest());
                }
            }
            Step::Subscribe | Step::SubscribeOldest => {
                let (start, next) = match step {
                    Step::Subscribe => (Start::Latest, model.tail),
                    _ => (Start::Oldest, model.oldest()),
                };
                match room.subscribe_from(start).now() {
                    Ok(subscription) => readers.push(Reader::new(subscription, next)),
                    Err(_) => assert!(model.closed),
                }
            }
            Step::Resume { reader, back } => {
                // Around the place of a reader, a little before the oldest, or beyond the tail.
                let place = readers.get(reader % count).map_or(model.tail, |reader| reader.next);
                let sequence = (place + 20).saturating_sub(back);
                readers.extend(resumed(&room, &model, sequence));
            }
            Step::Receive { reader } => {
                if let Some(reader) = readers.get_mut(reader % count) {
                    reader.receive(&model, 1);
                }
            }
            Step::ReceiveBatch { reader, max } => {
                if let Some(reader) = readers.get_mut(reader % count) {
                    reader.receive(&model, max);
                }
            }
            Step::Leave { reader } if !readers.is_empty() => drop(readers.swap_remove(reader % count)),
            Step::Leave { .. } => {}
            Step::Close => {
                assert_eq!(room.close(), !model.closed);
                model.closed = true;
            }
        }
        assert_eq!((room.tail(), room.oldest()), (model.tail, model.oldest()));
        assert_eq!(room.stats().subscribers as usize, readers.len());
        for reader in &readers {
            let account = reader.subscription.accounting();
            assert_eq!(account.end, reader.next);
            assert_eq!(reader.subscription.lag(), model.tail - reader.next);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_room_behaves_like_a_list_that_forgets(capacity in prop_oneof![1u64..20, 60u64..70, 250u64..260], steps in vec(step(), 1..120)) {
        run(capacity, steps);
    }
}
