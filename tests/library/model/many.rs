//! Room sets and patterns over rooms that come and go, compared with a list of who covers what.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use roomcast::{Broker, CloseReason, Epoch, PatternSubscription, RoomKey, RoomSet, Subscription, TryRecvError};

use crate::property::holds;
use crate::support::Wakes;

const NAMES: [&str; 6] = ["a", "b", "ab", "b.1", "b.2", "a.b.1"];
const PATTERNS: [&str; 7] = ["*", "a*", "*b", "b.*", "*.*1", "a", "none"];

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Close(usize),
    Remove(usize),
    Pattern(usize),
    Set,
    Join {
        set: usize,
        name: usize,
    },
    Leave {
        reader: usize,
        member: usize,
    },
    /// Takes one message of the next room that has something.
    ReadOne(usize),
    ReadAll(usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (reader, name) = (0usize..6, 0..NAMES.len());
    prop_oneof![
        12 => name.clone().prop_map(Step::Publish),
        2 => name.clone().prop_map(Step::Close),
        2 => name.clone().prop_map(Step::Remove),
        2 => (0..PATTERNS.len()).prop_map(Step::Pattern),
        1 => Just(Step::Set),
        5 => (reader.clone(), name).prop_map(|(set, name)| Step::Join { set, name }),
        2 => (reader.clone(), 0usize..8).prop_map(|(reader, member)| Step::Leave { reader, member }),
        8 => reader.clone().prop_map(Step::ReadOne),
        4 => reader.clone().prop_map(Step::ReadAll),
        1 => reader.prop_map(Step::Drop),
    ]
}

/// One life of one room. Its messages are numbered from 0.
struct Life {
    name: &'static str,
    epoch: Epoch,
    published: u64,
    ended: Option<CloseReason>,
    /// Whether the name still leads to it.
    is_listed: bool,
}

/// A set or a pattern: both are read in the same way.
enum Handle {
    Set(RoomSet<u64>),
    Pattern(&'static str, PatternSubscription<u64>),
}

impl Handle {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Option<RoomKey>> {
        match self {
            Self::Set(set) => set.poll_ready(context).map(Some),
            Self::Pattern(_, pattern) => pattern.poll_ready(context),
        }
    }

    fn get_mut(&mut self, key: RoomKey) -> Option<&mut Subscription<u64>> {
        match self {
            Self::Set(set) => set.get_mut(key),
            Self::Pattern(_, pattern) => pattern.get_mut(key),
        }
    }

    fn leave(&mut self, key: RoomKey) -> Option<Subscription<u64>> {
        match self {
            Self::Set(set) => set.leave(key),
            Self::Pattern(_, pattern) => pattern.leave(key),
        }
    }

    fn len(&mut self) -> usize {
        match self {
            Self::Set(set) => set.len(),
            Self::Pattern(_, pattern) => pattern.len(),
        }
    }
}

struct Reader {
    handle: Handle,
    /// (life, next number) of every subscription in it; a set may hold one room twice.
    covers: Vec<(usize, u64)>,
    /// Whether it was told that there is nothing, and not woken since.
    sleeps: bool,
    wakes: Arc<Wakes>,
    waker: Waker,
}

impl Reader {
    fn new(handle: Handle, covers: Vec<(usize, u64)>) -> Self {
        let (wakes, waker) = Wakes::new();
        Self { handle, covers, sleeps: false, wakes, waker }
    }

    fn has_something(&self, lives: &[Life]) -> bool {
        self.covers.iter().any(|&(life, next)| next < lives[life].published || lives[life].ended.is_some())
    }

    /// Takes one message of the next room that comes up; false when none does.
    fn read_one(&mut self, lives: &[Life], broker_is_closed: bool) -> bool {
        let expected = self.has_something(lives);
        let ends = broker_is_closed && matches!(self.handle, Handle::Pattern(..)) && self.covers.is_empty();
        let key = match self.handle.poll_ready(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Some(key)) => key,
            nothing => {
                assert!(!expected, "something is there, and no room comes up");
                assert_eq!(nothing, if ends { Poll::Ready(None) } else { Poll::Pending });
                self.sleeps = nothing.is_pending();
                return false;
            }
        };
        assert!(expected, "no room has anything, and {key:?} comes up");
        let subscription = self.handle.get_mut(key).expect("a key that was given out leads somewhere");
        let received = subscription.try_recv();
        let place = self.place_of(key, lives, u64::from(received.is_ok()));
        let (life, next) = self.covers[place];
        match received {
            Ok(number) => {
                assert_eq!(number, next);
                self.covers[place].1 += 1;
            }
            Err(error) => {
                assert_eq!(Some(error), lives[life].ended.map(TryRecvError::Closed));
                assert_eq!(next, lives[life].published, "it has read to the end");
                self.leave(key, lives);
            }
        }
        true
    }

    /// Where the model keeps the subscription with this key, which has moved on by so many.
    fn place_of(&mut self, key: RoomKey, lives: &[Life], moved: u64) -> usize {
        let position = self.handle.get_mut(key).expect("it is in the set").position();
        let is_it =
            |&(life, next): &(usize, u64)| lives[life].epoch == position.epoch && next + moved == position.sequence;
        self.covers.iter().position(is_it).expect("a subscription in the set stands where the model says")
    }

    fn leave(&mut self, key: RoomKey, lives: &[Life]) {
        let place = self.place_of(key, lives, 0);
        self.covers.swap_remove(place);
        assert!(self.handle.leave(key).is_some());
        assert!(self.handle.leave(key).is_none() && self.handle.get_mut(key).is_none());
    }

    fn check(&mut self, lives: &[Life]) {
        assert_eq!(self.handle.len(), self.covers.len());
        if self.sleeps && self.has_something(lives) {
            assert!(self.wakes.count() > 0, "who waits is woken");
        }
    }
}

/// Whether a name matches, by the definition: the texts between the stars stand in it in this order.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let Some((middle, last)) = rest.rsplit_once('*') else { return name.ends_with(rest) };
    for part in middle.split('*') {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

struct World {
    broker: Broker<u64>,
    is_closed: bool,
    lives: Vec<Life>,
    readers: Vec<Reader>,
}

impl World {
    fn listed(&mut self, name: usize) -> Option<&mut Life> {
        self.lives.iter_mut().find(|life| life.is_listed && life.name == NAMES[name])
    }

    /// The running room of that name, opened if there is none, as every pattern that matches will find.
    fn open(&mut self, name: usize) -> usize {
        let name = NAMES[name];
        if let Some(at) = self.lives.iter().position(|life| life.is_listed && life.name == name) {
            if self.lives[at].ended.is_none() {
                return at;
            }
            self.lives[at].is_listed = false;
        }
        let epoch = self.broker.room(name).unwrap().epoch();
        self.lives.push(Life { name, epoch, published: 0, ended: None, is_listed: true });
        for reader in &mut self.readers {
            if let Handle::Pattern(pattern, _) = reader.handle
                && matches(pattern, name)
            {
                reader.covers.push((self.lives.len() - 1, 0));
            }
        }
        self.lives.len() - 1
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(name) => {
                let life = self.open(name);
                let number = self.lives[life].published;
                assert_eq!(self.broker.publish(NAMES[name], number), Ok(number));
                self.lives[life].published += 1;
            }
            Step::Close(name) => {
                let broker = self.broker.clone();
                if let Some(life) = self.listed(name) {
                    assert_eq!(broker.get(life.name).unwrap().close(), life.ended.is_none());
                    life.ended.get_or_insert(CloseReason::Closed);
                }
            }
            Step::Remove(name) => {
                let removed = self.broker.remove(NAMES[name]);
                let life = self.listed(name);
                assert_eq!(removed, life.is_some());
                if let Some(life) = life {
                    life.ended.get_or_insert(CloseReason::Removed);
                    life.is_listed = false;
                }
            }
            Step::Pattern(pattern) => {
                let pattern = PATTERNS[pattern];
                let running = |life: &Life| life.is_listed && life.ended.is_none() && matches(pattern, life.name);
                let found = self.lives.iter().enumerate().filter(|(_, life)| running(life));
                let covers = found.map(|(at, life)| (at, life.published)).collect();
                let handle = Handle::Pattern(pattern, self.broker.subscribe_pattern(pattern));
                self.readers.push(Reader::new(handle, covers));
            }
            Step::Set => self.readers.push(Reader::new(Handle::Set(RoomSet::new()), Vec::new())),
            Step::Join { set, name } => {
                let life = self.open(name);
                let subscription = self.broker.get(NAMES[name]).unwrap().subscribe().now().unwrap();
                let count = self.readers.len().max(1);
                if let Some(reader) = self.readers.get_mut(set % count)
                    && let Handle::Set(set) = &mut reader.handle
                {
                    set.join(subscription);
                    reader.covers.push((life, self.lives[life].published));
                }
            }
            Step::Leave { reader, member } => {
                let Some(reader) = pick(&mut self.readers, reader) else { return };
                let Handle::Set(set) = &reader.handle else { return };
                let keys: Vec<_> = set.keys().collect();
                if !keys.is_empty() {
                    reader.leave(keys[member % keys.len()], &self.lives);
                }
            }
            Step::ReadOne(reader) => {
                if let Some(reader) = pick(&mut self.readers, reader) {
                    reader.read_one(&self.lives, self.is_closed);
                }
            }
            Step::ReadAll(reader) => {
                if let Some(reader) = pick(&mut self.readers, reader) {
                    while reader.read_one(&self.lives, self.is_closed) {}
                }
            }
            Step::Drop(reader) if !self.readers.is_empty() => {
                drop(self.readers.swap_remove(reader % self.readers.len()));
            }
            Step::Drop(_) => {}
        }
    }

    fn check(&mut self) {
        self.readers.iter_mut().for_each(|reader| reader.check(&self.lives));
        for life in self.lives.iter().filter(|life| life.is_listed) {
            let room = self.broker.get(life.name).expect("it is listed");
            let covered = self.readers.iter().flat_map(|reader| &reader.covers);
            let subscribers = covered.filter(|(at, _)| self.lives[*at].epoch == life.epoch).count();
            assert_eq!((room.epoch(), room.tail(), room.ended()), (life.epoch, life.published, life.ended));
            let stats = room.stats();
            assert_eq!((stats.subscribers + stats.patterns) as usize, subscribers);
        }
    }

    /// Closes the broker and lets everybody read to the end.
    fn finish(&mut self) {
        self.broker.close();
        self.is_closed = true;
        for life in &mut self.lives {
            life.ended.get_or_insert(CloseReason::BrokerClosed);
        }
        for reader in &mut self.readers {
            reader.check(&self.lives);
            while reader.read_one(&self.lives, true) {}
            assert!(reader.covers.is_empty(), "every room was read to its end and left");
        }
    }
}

fn pick(readers: &mut [Reader], number: usize) -> Option<&mut Reader> {
    let count = readers.len().max(1);
    readers.get_mut(number % count)
}

#[test]
fn sets_and_patterns_cover_what_a_list_says() {
    holds(300, &vec(step(), 1..120), |steps| {
        let (lives, readers) = (Vec::new(), Vec::new());
        let mut world = World { broker: Broker::builder().shards(1).build(), is_closed: false, lives, readers };
        for step in steps {
            world.step(step);
            world.check();
        }
        world.finish();
    });
}
