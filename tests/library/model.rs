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
/// and checks that this moves as it may.
struct Model {
    /// Everything ever published, by sequence.
    all: Vec<u64>,
    retained: VecDeque<u64>,
    tail: u64,
    capacity: u64,
    closed: bool,
}

impl Model {
    fn oldest(&self) -> u64 {
        self.tail - self.retained.len() as u64
    }

    fn publish(&mut self, message: u64, room_oldest: u64) {
        self.all.push(message);
        self.retained.push_back(message);
        self.tail += 1;
        assert!(room_oldest >= self.oldest(), "the oldest never moves back");
        assert!(self.tail - room_oldest >= self.capacity.min(self.tail), "the capacity is retained");
        while self.oldest() < room_oldest {
            self.retained.pop_front();
        }
    }

    fn at(&self, sequence: u64) -> u64 {
        self.retained[(sequence - self.oldest()) as usize]
    }
}

struct Reader {
    subscription: Subscription<u64>,
    next: u64,
}

impl Reader {
    /// What the model says the next receive gives, for up to `max` messages: lag, nothing, or how many there are.
    fn expect(&mut self, model: &Model) -> Result<u64, TryRecvError> {
        if self.next < model.oldest() {
            let missed = model.oldest() - self.next;
            self.next = model.oldest();
            return Err(TryRecvError::Lagged(missed));
        }
        match model.tail - self.next {
            0 if model.closed => Err(TryRecvError::Closed(CloseReason::Closed)),
            0 => Err(TryRecvError::Empty),
            there => Ok(there),
        }
    }

    fn receive(&mut self, model: &Model) {
        let next = self.next;
        let expected = self.expect(model).map(|_| (self.next, model.at(self.next)));
        let received = self.subscription.try_recv_ref().map(|message| (message.sequence(), *message));
        // A reader may go on in the segment it stands in after that was evicted.
        if next < model.oldest() && received == Ok((next, model.all[next as usize])) {
            self.next = next + 1;
            return;
        }
        assert_eq!(received, expected);
        self.next += u64::from(received.is_ok());
    }

    fn receive_batch(&mut self, model: &Model, max: usize) {
        let next = self.next;
        let expected = self.expect(model);
        match (self.subscription.try_recv_batch(max), expected) {
            (Ok(batch), Err(TryRecvError::Lagged(_))) => {
                assert_eq!(batch.first_sequence(), next, "it goes on in the segment it stands in");
                assert!(batch.iter().all(|(sequence, _, message)| *message == model.all[sequence as usize]));
                self.next = next + batch.len() as u64;
            }
            (Ok(batch), Ok(there)) => {
                assert_eq!(batch.first_sequence(), self.next);
                assert!((1..=max.min(there as usize)).contains(&batch.len()));
                assert!(batch.iter().all(|(sequence, _, message)| *message == model.at(sequence)));
                self.next += batch.len() as u64;
            }
            (received, expected) => assert_eq!(received.map(|batch| batch.len() as u64), expected),
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
    Some(Reader { subscription, next })
}

fn run(capacity: u64, steps: Vec<Step>) {
    let broker = Broker::<u64>::builder().capacity(capacity as usize).shards(1).build();
    let room = broker.room("model").unwrap();
    let mut model = Model { all: Vec::new(), retained: VecDeque::new(), tail: 0, capacity, closed: false };
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
                    Ok(subscription) => readers.push(Reader { subscription, next }),
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
                    reader.receive(&model);
                }
            }
            Step::ReceiveBatch { reader, max } => {
                if let Some(reader) = readers.get_mut(reader % count) {
                    reader.receive_batch(&model, max);
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
