//! Recovery against a list of everything that was published: no gap is ever passed off as recovered, nothing comes twice, order
//! holds, and what is all there is recovered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::NamespaceOptions;
use crate::rooms::engine::EpochName;
use crate::rooms::visible::Edge;
use roomcast::Broker;
use roomcast_protocol::{Payload, recovered};

/// What a room's namespace says.
#[derive(Clone, Copy, Debug)]
struct Rules {
    history_size: usize,
    ttl_ms: u64,
    publications_max: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Wait(u16),
    /// The client loses its connection.
    Lose(u8),
    /// It comes back with its position and hears everything there is.
    Return(u8),
    /// The room ends, and another one takes its name.
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..12_u8).prop_map(Step::Publish),
        2 => (1..400_u16).prop_map(Step::Wait),
        3 => (0..CLIENTS as u8).prop_map(Step::Lose),
        4 => (0..CLIENTS as u8).prop_map(Step::Return),
        1 => Just(Step::End),
    ];
    prop::collection::vec(step, 1..60)
}

fn rules() -> impl Strategy<Value = Rules> {
    (0..40_usize, 1..1_500_u64, 0..30_usize).prop_map(|(history_size, ttl_ms, publications_max)| Rules {
        history_size,
        ttl_ms,
        publications_max,
    })
}

const CLIENTS: usize = 3;
const NAME: &str = "room";

/// A client, and what it knows.
#[derive(Default)]
struct Client {
    position: StreamPosition,
    /// What it stands at in the room, while it is connected.
    live: Option<Subscription<Publication>>,
}

/// A server's room, the clock, and the list of what was published in its present incarnation.
struct World {
    broker: Broker<Publication>,
    room: Room<Publication>,
    clock: Arc<AtomicU64>,
    rules: Rules,
    /// Times, by offset from 1.
    published: Vec<u64>,
    clients: [Client; CLIENTS],
}

fn publication(number: u64) -> Publication {
    Publication::new(Payload::json(number.to_string().into()), None)
}

fn number(publication: &Publication) -> u64 {
    str::from_utf8(publication.data.as_bytes()).unwrap().parse().unwrap()
}

impl World {
    fn new(rules: Rules) -> Self {
        // Late enough that a time to live lies behind it.
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let now = Arc::clone(&clock);
        let broker = Broker::builder().capacity(rules.history_size.max(16)).clock(move || now.load(Relaxed)).build();
        let room = broker.room(NAME).unwrap();
        Self { broker, room, clock, rules, published: Vec::new(), clients: Default::default() }
    }

    fn visible(&self) -> Visible {
        let options = NamespaceOptions {
            history_size: self.rules.history_size,
            history_ttl: Duration::from_millis(self.rules.ttl_ms),
            ..NamespaceOptions::default()
        };
        Visible::new(&options, EpochName::Ring(self.room.epoch()), Edge::published(), self.clock.load(Relaxed))
    }

    fn publish(&mut self, count: u8) {
        for _ in 0..count {
            self.published.push(self.clock.load(Relaxed));
            self.room.publish(publication(self.published.len() as u64)).unwrap();
        }
    }

    fn end(&mut self) {
        self.broker.remove(NAME);
        self.room = self.broker.room(NAME).unwrap();
        self.published.clear();
        self.clients.iter_mut().for_each(|client| client.live = None);
    }

    /// Whether everything after `offset` is there and may be given: by the list alone.
    fn is_all_there(&self, asked: &StreamPosition) -> bool {
        let known = asked.epoch.is_empty() || asked.epoch == self.room.epoch().to_string();
        let top = self.published.len();
        let Some(missed) = top.checked_sub(asked.offset as usize) else { return false };
        let since_ms = self.clock.load(Relaxed) - self.rules.ttl_ms;
        let young = self.published[asked.offset as usize..].iter().all(|time_ms| *time_ms >= since_ms);
        known && missed <= self.rules.publications_max && missed <= self.rules.history_size && (missed == 0 || young)
    }

    fn come_back(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.live.is_some() {
            return;
        }
        let asked = client.position.clone();
        let recover = Recover::new(asked.clone(), RecoveryMode::Stream);
        let max = self.rules.publications_max;
        let entered = enter(&self.room, Some(&recover), &self.visible(), max).unwrap();
        let Entered { subscription: live, subscribed: Subscribed { top, found } } = entered;
        let is_recovered = recovered(&asked, &top, found.iter().map(|placed| placed.offset), max);
        assert_eq!(is_recovered, self.is_all_there(&asked), "{asked:?} of {top:?}, {:?}", self.rules);
        assert_eq!(top.offset, self.published.len() as u64);
        if is_recovered {
            let offsets = (asked.offset + 1..=top.offset).collect::<Vec<_>>();
            assert_eq!(found.iter().map(|placed| placed.offset).collect::<Vec<_>>(), offsets);
            for placed in &found {
                assert_eq!(number(&placed.publication), placed.offset);
                assert_eq!(placed.time_ms, self.published[placed.offset as usize - 1]);
            }
        }
        let client = &mut self.clients[index];
        client.position = top;
        client.live = Some(live);
        self.hear(index);
    }

    /// Takes what is live: exactly what follows the position, each once.
    fn hear(&mut self, index: usize) {
        let Client { position, live: Some(live) } = &mut self.clients[index] else { return };
        while let Ok(batch) = live.try_recv_batch(64) {
            for (sequence, _, publication) in batch.iter() {
                assert_eq!(sequence + 1, position.offset + 1, "a gap or an overlap");
                position.offset += 1;
                assert_eq!(number(publication), position.offset);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish(count) => {
                self.publish(count);
                (0..CLIENTS).for_each(|index| self.hear(index));
            }
            Step::Wait(ms) => {
                self.clock.fetch_add(u64::from(ms), Relaxed);
            }
            Step::Lose(index) => self.clients[usize::from(index)].live = None,
            Step::Return(index) => self.come_back(usize::from(index)),
            Step::End => self.end(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_recovered_is_exactly_what_was_missed(rules in rules(), steps in steps()) {
        let mut world = World::new(rules);
        steps.iter().for_each(|step| world.step(step));
    }

    /// The history commands of the same rooms: a window of the list, in the order asked for.
    #[test]
    fn history_is_a_window_of_what_was_published(
        rules in rules(),
        counts in prop::collection::vec((1..12_u8, 0..300_u16), 1..12),
        limit in -1..50_i32,
        since in prop::option::of(0..80_u64),
        reverse: bool,
    ) {
        let mut world = World::new(rules);
        for (count, wait_ms) in counts {
            world.publish(count);
            world.clock.fetch_add(u64::from(wait_ms), Relaxed);
        }
        let epoch = world.room.epoch().to_string();
        let request = roomcast_protocol::HistoryRequest {
            room: NAME.to_owned(),
            limit,
            since: since.map(|offset| StreamPosition { offset, epoch: epoch.clone() }),
            reverse,
        };
        let query = HistoryQuery::new(&request, 300);
        let result = history(&world.room, &query, &world.visible()).unwrap();
        let top = world.published.len() as u64;
        prop_assert_eq!(result.position, StreamPosition { offset: top, epoch });

        let since_ms = world.clock.load(Relaxed) - rules.ttl_ms;
        let visible: Vec<u64> = (1..=top)
            .filter(|offset| *offset + rules.history_size as u64 > top)
            .filter(|offset| world.published[*offset as usize - 1] >= since_ms)
            .collect();
        let mut expected: Vec<u64> = match (since, reverse) {
            (Some(since), true) => visible.into_iter().filter(|offset| *offset < since).rev().collect(),
            (Some(since), false) => visible.into_iter().filter(|offset| *offset > since).collect(),
            (None, true) => visible.into_iter().rev().collect(),
            (None, false) => visible,
        };
        expected.truncate(if limit < 0 { 300 } else { limit as usize });
        let offsets: Vec<u64> = result.publications.iter().map(|placed| placed.offset).collect();
        prop_assert_eq!(offsets, expected);
    }
}

/// Publishers at full speed in a small ring, and a client that comes back again and again: whatever it is told is true.
#[test]
fn under_full_speed_no_gap_is_passed_off_as_recovered() {
    const RETURNS: u64 = 400;
    let broker = Broker::<Publication>::builder().capacity(256).clock(|| 1_000_000).build();
    let room = broker.room(NAME).unwrap();
    let options =
        NamespaceOptions { history_size: 200, history_ttl: Duration::from_secs(60), ..NamespaceOptions::default() };
    let done = AtomicBool::new(false);
    let (mut recovered_count, mut heard) = (0_u64, 0_u64);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    room.publish(publication(0)).unwrap();
                    thread::yield_now();
                }
            });
        }
        let mut position = StreamPosition { offset: 0, epoch: room.epoch().to_string() };
        // On a busy machine the publishers may begin when all the rest is over.
        while room.tail() == 0 {
            thread::yield_now();
        }
        for _ in 0..RETURNS {
            let recover = Recover::new(position.clone(), RecoveryMode::Stream);
            let visible = Visible::new(&options, EpochName::Ring(room.epoch()), Edge::published(), 1_000_000);
            let entered = enter(&room, Some(&recover), &visible, 300).unwrap();
            let Entered { subscription: mut live, subscribed: Subscribed { top, found } } = entered;
            let offsets: Vec<u64> = found.iter().map(|placed| placed.offset).collect();
            if recovered(&position, &top, offsets.iter().copied(), 300) {
                recovered_count += 1;
                assert!(
                    offsets.iter().copied().eq(position.offset + 1..=top.offset),
                    "{position:?} {top:?} {offsets:?}"
                );
            }
            position = top;
            for _ in 0..20 {
                match live.try_recv_batch(16) {
                    Ok(batch) => {
                        for (sequence, _, _) in batch.iter() {
                            assert_eq!(sequence, position.offset, "live messages go on behind the reply");
                            position.offset += 1;
                            heard += 1;
                        }
                    }
                    Err(TryRecvError::Lagged(_)) => break,
                    Err(_) => thread::yield_now(),
                }
            }
        }
        done.store(true, Relaxed);
    });
    assert!(recovered_count > 0 && heard > 0, "{recovered_count} recovered, {heard} heard");
}

/// Many small tags are as large in memory as a large payload.
#[test]
fn an_answer_is_bounded_by_what_it_holds_and_not_by_payloads_alone() {
    let mut publication = Publication::new(Payload::json("1".into()), None);
    publication.tags = Some(Arc::new((0..1_000).map(|number| (number.to_string(), String::new())).collect()));
    let bytes = publication.bytes_held();
    assert!(bytes > 100_000, "{bytes}");
    let mut found: Vec<_> =
        (1..=100).map(|offset| Placed { offset, time_ms: 0, publication: publication.clone() }).collect();
    limit_bytes(&mut found, ANSWER_BYTES_MAX);
    assert!(found.len() <= ANSWER_BYTES_MAX / bytes + 1, "{} of {bytes}", found.len());
}
