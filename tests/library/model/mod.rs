//! Random histories, compared call by call with a plain model that says exactly what each of them returns.

mod many;
mod reader;
mod room;

use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use proptest::collection::vec;
use proptest::prelude::*;
use roomcast::{
    Broker, CloseReason, Epoch, Policy, Position, PublishByNameError, PublishError, Publisher, Room, RoomError,
    RoomOptions, SEQUENCE_START_MAX, Start, SubscribeError,
};

use self::reader::Reader;
use self::room::{Begin, Model, Parcel};
use crate::property::holds;

const NAME: &str = "model";

#[derive(Clone, Debug)]
enum Step {
    /// Into whatever kind of room it is, messages of these sizes (in shares of the largest allowed).
    Publish(Vec<u8>),
    /// By name, which opens a fresh room where the last one has ended.
    PublishByName(u8),
    /// The clock moves, perhaps back.
    Tick(i8),
    Subscribe(From, Policy),
    Receive(usize, u64),
    ReceiveOne(usize),
    Poll(usize),
    Leave(usize),
    Close,
    Remove,
    Open {
        exclusive: bool,
        /// Where a shared room goes on from an earlier life.
        start: Option<u64>,
    },
    CloseBroker,
}

/// Where to subscribe from.
#[derive(Clone, Copy, Debug)]
enum From {
    Latest,
    Oldest,
    /// So many before the tail.
    Last(u64),
    /// Around the place of a reader, whose room may be an earlier one.
    Reader(usize, i64),
    /// The right number in an epoch that never was.
    Elsewhere,
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![4 => Just(Policy::Lag), 2 => Just(Policy::Latest), 1 => Just(Policy::Disconnect), 2 => Just(Policy::Block)]
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        3 => Just(From::Latest),
        2 => Just(From::Oldest),
        2 => (0u64..60).prop_map(From::Last),
        3 => (0usize..8, -60i64..20).prop_map(|(reader, offset)| From::Reader(reader, offset)),
        1 => Just(From::Elsewhere),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0usize..8;
    prop_oneof![
        12 => vec(any::<u8>(), 1..40).prop_map(Step::Publish),
        1 => any::<u8>().prop_map(Step::PublishByName),
        2 => any::<i8>().prop_map(Step::Tick),
        5 => (from(), policy()).prop_map(|(from, policy)| Step::Subscribe(from, policy)),
        12 => (reader.clone(), 1u64..80).prop_map(|(reader, max)| Step::Receive(reader, max)),
        8 => reader.clone().prop_map(Step::ReceiveOne),
        8 => reader.clone().prop_map(Step::Poll),
        3 => reader.prop_map(Step::Leave),
        1 => Just(Step::Close),
        1 => Just(Step::Remove),
        3 => (any::<bool>(), start()).prop_map(|(exclusive, start)| Step::Open { exclusive, start }),
        1 => prop_oneof![9 => Just(Step::Tick(0)), 1 => Just(Step::CloseBroker)],
    ]
}

fn start() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (1u64..200).prop_map(Some), (0..=SEQUENCE_START_MAX).prop_map(Some)]
}

/// One life of the room, with everybody who subscribed in it.
struct Life {
    room: Room<Parcel>,
    publisher: Option<Publisher<Parcel>>,
    model: Model,
    readers: Vec<Reader>,
}

impl Life {
    fn stirred(&mut self) {
        self.readers.iter_mut().for_each(Reader::stirred);
    }

    fn end(&mut self, reason: CloseReason) {
        if self.model.ended.is_none() {
            self.model.ended = Some(reason);
            self.stirred();
        }
    }
}

struct World {
    broker: Broker<Parcel>,
    clock: Arc<AtomicU64>,
    capacity: u64,
    bytes_max: Option<u64>,
    is_closed: bool,
    /// The rooms that have had the name, the present one last.
    lives: Vec<Life>,
    subscribed: u64,
    published: u64,
}

impl World {
    fn new(capacity: u64, bytes_max: Option<u64>) -> Self {
        let clock = Arc::new(AtomicU64::new(1_000));
        let ticks = clock.clone();
        let builder = Broker::builder().capacity(capacity as usize).shards(1).clock(move || ticks.load(SeqCst));
        let broker = match bytes_max {
            Some(bytes_max) => builder.bytes_max(bytes_max, |parcel: &Parcel| parcel.bytes as usize).build(),
            None => builder.build(),
        };
        let (lives, subscribed, published) = (Vec::new(), 0, 0);
        Self { broker, clock, capacity, bytes_max, is_closed: false, lives, subscribed, published }
    }

    fn parcel(&mut self, share: u8) -> Parcel {
        self.published += 1;
        // Some a little heavier than allowed, where there is a limit.
        let quarter = self.capacity / 4;
        let slots = (0..=6).map(|log2| 1 << log2).rfind(|slots| *slots <= quarter.max(1)).unwrap_or(1);
        let largest = self.bytes_max.map_or(255, |bytes_max| bytes_max / 4 / slots);
        Parcel { number: self.published, bytes: largest * u64::from(share) / 250 }
    }

    fn now(&self) -> u64 {
        self.clock.load(SeqCst)
    }

    /// The room of the name, if one runs.
    fn running(&self) -> bool {
        self.lives.last().is_some_and(|life| life.model.ended.is_none())
    }

    fn begin_life(&mut self, room: Room<Parcel>, publisher: Option<Publisher<Parcel>>, start: u64) {
        assert!(self.lives.iter().all(|life| life.room != room && life.room.epoch() != room.epoch()));
        let model = Model::new(start, self.capacity, self.bytes_max);
        self.lives.push(Life { room, publisher, model, readers: Vec::new() });
    }

    fn open(&mut self, exclusive: bool, start: Option<u64>) {
        match (self.is_closed, self.running(), exclusive) {
            (true, ..) => {
                assert_eq!(self.broker.room(NAME).err(), Some(RoomError::Closed));
                assert_eq!(self.broker.exclusive(NAME).err(), Some(RoomError::Closed));
            }
            (false, true, _) => {
                let life = self.lives.last().expect("one runs");
                assert!(self.broker.room(NAME).as_ref() == Ok(&life.room));
                assert_eq!(self.broker.exclusive(NAME).err(), Some(RoomError::Taken));
            }
            (false, false, false) => {
                // Each once, and none of `From::Elsewhere`; those of the broker are drawn from 2^64.
                let epoch = Epoch::from(self.lives.len() as u64 + 1);
                let goes_on = |sequence| RoomOptions::new().starting_at(Position { epoch, sequence });
                let options = start.map_or_else(RoomOptions::new, goes_on);
                let room = self.broker.room_with(NAME, options).unwrap();
                assert!(start.is_none() || room.epoch() == epoch);
                self.begin_life(room, None, start.unwrap_or(0));
            }
            (false, false, true) => {
                let publisher = self.broker.exclusive(NAME).unwrap();
                self.begin_life(publisher.room(), Some(publisher), 0);
            }
        }
    }

    fn publish(&mut self, shares: &[u8]) {
        let parcels: Vec<_> = shares.iter().map(|share| self.parcel(*share)).collect();
        let now = self.now();
        let Some(life) = self.lives.last_mut() else { return };
        let Some(publisher) = &mut life.publisher else {
            for parcel in parcels {
                let expected = life.model.publish(parcel, now);
                assert_eq!(life.room.publish(parcel), expected);
                settle(&mut life.readers, expected.is_ok());
            }
            return;
        };
        assert_eq!(life.room.publish(parcels[0]), Err(PublishError::Exclusive(parcels[0])));
        let before = life.model.tail();
        match parcels[..] {
            [parcel] => {
                let expected = life.model.publish_all(vec![parcel], now);
                let published = publisher.publish(parcel);
                assert_eq!(
                    published.map(|at| at..at + 1).map_err(|error| error.into_inner()),
                    expected.map_err(|error| error.into_inner()[0])
                );
            }
            _ => {
                let expected = life.model.publish_all(parcels.clone(), now);
                let mut parcels = parcels.into_iter();
                // What was taken and not published comes back, and the rest is where it was.
                let published = publisher.publish_all(parcels.by_ref());
                match (published, expected) {
                    (Err(refused), Err(expected)) => {
                        assert_eq!(discriminant(&refused), discriminant(&expected));
                        assert!(refused.into_inner().into_iter().chain(parcels).eq(expected.into_inner()));
                    }
                    (published, expected) => assert_eq!(published, expected),
                }
            }
        }
        settle(&mut life.readers, life.model.tail() > before);
    }

    fn publish_by_name(&mut self, share: u8) {
        let parcel = self.parcel(share);
        if self.is_closed {
            let closed = Err(PublishByNameError::Room(RoomError::Closed, parcel));
            assert_eq!(self.broker.publish(NAME, parcel), closed);
            return;
        }
        let published = self.broker.publish(NAME, parcel);
        if !self.running() {
            let room = self.broker.get(NAME).expect("it was just published into");
            self.begin_life(room, None, 0);
        }
        let now = self.now();
        let life = self.lives.last_mut().expect("one runs");
        let expected = match life.publisher {
            Some(_) => Err(PublishError::Exclusive(parcel)),
            None => life.model.publish(parcel, now),
        };
        settle(&mut life.readers, expected.is_ok());
        assert_eq!(published, expected.map_err(PublishByNameError::Publish));
    }

    fn subscribe(&mut self, from: From, policy: Policy) {
        let Some(life) = self.lives.last() else { return };
        let epoch = life.room.epoch();
        let (start, begin) = match from {
            From::Latest => (Start::Latest, Begin::Latest),
            From::Oldest => (Start::Oldest, Begin::Oldest),
            From::Last(count) => (Start::Last(count), Begin::Last(count)),
            From::Reader(reader, offset) => {
                let (position, ours) = match self.reader(reader) {
                    Some((of, reader)) => {
                        let epoch = self.lives[of].room.epoch();
                        (
                            Position { epoch, sequence: self.lives[of].readers[reader].next() },
                            of + 1 == self.lives.len(),
                        )
                    }
                    None => (Position { epoch, sequence: life.model.tail() }, true),
                };
                let sequence = position.sequence.saturating_add_signed(offset);
                (Start::Resume(Position { sequence, ..position }), Begin::At(sequence, ours))
            }
            From::Elsewhere => {
                let epoch: Epoch = "0".parse().expect("a number");
                (Start::Resume(Position { epoch, sequence: 0 }), Begin::At(0, false))
            }
        };
        let life = self.lives.last_mut().expect("looked at above");
        let subscribed = life.room.subscribe_from(start).policy(policy).now();
        if let Some(reason) = life.model.ended {
            assert_eq!(subscribed.err(), Some(SubscribeError::Closed(reason)));
            return;
        }
        let subscription = subscribed.unwrap();
        let (next, told) = life.model.begin(begin, policy == Policy::Block);
        assert_eq!((subscription.position(), subscription.resumption()), (Position { epoch, sequence: next }, told));
        self.subscribed += 1;
        if policy == Policy::Block {
            life.model.gates.insert(self.subscribed, next);
        }
        life.readers.push(Reader::new(subscription, self.subscribed, policy, next));
    }

    /// One of all readers: its life and its place there.
    fn reader(&self, number: usize) -> Option<(usize, usize)> {
        let all = self
            .lives
            .iter()
            .enumerate()
            .flat_map(|(life, of)| (0..of.readers.len()).map(move |reader| (life, reader)));
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| all[number % all.len()])
    }

    fn with_reader(&mut self, number: usize, act: impl FnOnce(&mut Reader, &mut Model)) {
        if let Some((life, reader)) = self.reader(number) {
            let life = &mut self.lives[life];
            act(&mut life.readers[reader], &mut life.model);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(shares) => self.publish(&shares),
            Step::PublishByName(share) => self.publish_by_name(share),
            Step::Tick(ticks) => self.clock.store(self.now().saturating_add_signed(ticks.into()), SeqCst),
            Step::Subscribe(from, policy) => self.subscribe(from, policy),
            Step::Receive(reader, max) => self.with_reader(reader, |reader, model| reader.receive(model, max)),
            Step::ReceiveOne(reader) => self.with_reader(reader, Reader::receive_one),
            Step::Poll(reader) => self.with_reader(reader, Reader::poll),
            Step::Leave(number) => {
                if let Some((life, reader)) = self.reader(number) {
                    let life = &mut self.lives[life];
                    let reader = life.readers.swap_remove(reader);
                    life.model.gates.remove(&reader.id());
                }
            }
            Step::Close => {
                if let Some(life) = self.lives.last_mut() {
                    assert_eq!(life.room.close(), life.model.ended.is_none());
                    life.end(CloseReason::Closed);
                }
            }
            Step::Remove => {
                let is_there = self.broker.get(NAME).is_some();
                assert_eq!(self.broker.remove(NAME), is_there);
                assert!(self.broker.get(NAME).is_none());
                if let Some(life) = self.lives.last_mut() {
                    life.end(CloseReason::Removed);
                }
            }
            Step::Open { exclusive, start } => self.open(exclusive, start),
            Step::CloseBroker => {
                self.broker.close();
                self.is_closed = true;
                if let Some(life) = self.lives.last_mut() {
                    life.end(CloseReason::BrokerClosed);
                }
            }
        }
    }

    fn check(&self) {
        for Life { room, model, readers, .. } in &self.lives {
            assert_eq!((room.tail(), room.oldest(), room.ended()), (model.tail(), model.oldest(), model.ended));
            let stats = room.stats();
            assert_eq!((stats.published, stats.oldest), (model.tail(), model.oldest()));
            assert_eq!((stats.subscribers as usize, stats.blocking), (readers.len(), model.gates.len()));
            readers.iter().for_each(|reader| reader.check(model));
            match self.bytes_max {
                Some(bytes_max) => assert!(model.bytes_retained() <= bytes_max),
                None => assert!(model.tail() - model.oldest() >= self.capacity.min(model.published())),
            }
        }
        assert_eq!(self.broker.is_closed(), self.is_closed);
    }
}

/// After a publish: everybody parked was woken if it took anything, and nobody else.
fn settle(readers: &mut [Reader], published: bool) {
    match published {
        true => readers.iter_mut().for_each(Reader::stirred),
        // A room that is full may still have let some go.
        false => readers.iter_mut().for_each(Reader::perhaps_stirred),
    }
}

#[test]
fn a_room_behaves_like_a_list_that_forgets() {
    let capacity = prop_oneof![1u64..20, 60u64..70, 250u64..260];
    let bytes_max = prop_oneof![2 => Just(None), 1 => (1_000u64..60_000).prop_map(Some)];
    let inputs = (capacity, bytes_max, (any::<bool>(), start()), vec(step(), 1..150));
    holds(400, &inputs, |(capacity, bytes_max, (exclusive, start), steps)| {
        let mut world = World::new(capacity, bytes_max);
        world.open(exclusive, start);
        for step in steps {
            world.step(step);
            world.check();
        }
    });
}
