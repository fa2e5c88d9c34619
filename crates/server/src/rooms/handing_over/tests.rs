mod bounds;
mod stored;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use proptest::prelude::*;
use smallvec::smallvec;
use tokio::runtime::{Builder, Handle, Runtime};
use uuid::Uuid;

use super::record::{Kind, RingHead, Writer};
use super::*;
use crate::config::{Config, RecoveryMode, Storage};
use crate::rooms::cluster::LocalNode;
use crate::rooms::engine::{Accepted, Erase, Publish};
use crate::rooms::terms::Terms;
use crate::session::Recover;
use roomcast::{Epoch, Position};
use roomcast_protocol::{
    ClientInfo, ErrorCode, HistoryQuery, HistoryRequest, HistoryResult, Payload, Publication, RoomName, StreamPosition,
};

const WITHIN: GiveWithin = GiveWithin { bytes: 64 << 20, time: Duration::from_secs(60) };
const ROOMS: [&str; 3] = ["hall", "yard", "attic"];
const USERS: [&str; 2] = ["ann", "ben"];
const BEGIN_MS: u64 = 1_000_000_000;

/// Longer than anything is remembered of a room that nobody is in.
const LONG_MS: u64 = 2_000_000;

/// Time that stands still unless it is moved.
#[derive(Clone)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(BEGIN_MS)))
    }

    fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

fn config() -> Config {
    let mut config = Config::dev();
    config.memory.limit = std::num::NonZeroUsize::new(256 << 20);
    let options = &mut config.channel.without_namespace;
    (options.history_size, options.storage) = (200, Storage::Off);
    options.history_ttl = Duration::from_secs(100);
    options.history_meta_ttl = Duration::from_secs(1_000);
    config
}

fn hub(config: Config, time: &Time) -> Hub {
    let time = time.clone();
    Hub::new(
        config,
        Uuid::nil(),
        move || time.now(),
        Arc::new(LocalNode::new(1)),
        vec![Handle::current()],
        Handle::current(),
    )
}

fn name(room: &str) -> RoomName {
    RoomName::parse(room, 255).expect("a name")
}

async fn publish(hub: &Hub, room: &str, publication: Publication, terms: Terms) -> Result<Accepted, ErrorCode> {
    let terms = (terms != Terms::default()).then(|| Box::new(terms));
    let publish = Publish { room: name(room), publication, terms };
    hub.engine(&name(room))?.publish(smallvec![publish]).pop().expect("an answer").wait().await
}

async fn say(hub: &Hub, room: &str, text: &str) -> Result<Accepted, ErrorCode> {
    let publication = Publication::new(Payload::json(format!("\"{text}\"").into()), None);
    publish(hub, room, publication, Terms::default()).await
}

async fn history(hub: &Hub, room: &str) -> HistoryResult {
    let request = HistoryRequest { room: room.to_owned(), limit: -1, since: None, reverse: false };
    let query = HistoryQuery::new(&request, 10_000);
    hub.engine(&name(room)).expect("an engine").history(&name(room), &query).wait().await.expect("a history")
}

/// Where a room stands, whether a client that comes back has everything, and what it is given.
type Recovered = (StreamPosition, bool, Vec<(u64, Publication)>);

/// What a client is given that comes back with that position: whether it has everything, and what.
async fn recover(hub: &Hub, room: &str, position: StreamPosition) -> Recovered {
    let offset = position.offset;
    let recover = Recover::new(position, RecoveryMode::Stream);
    let engine = hub.engine(&name(room)).expect("an engine");
    let entered = engine.enter(&name(room), Some(&recover), 10_000).wait().await.expect("it is entered");
    let found = entered.subscribed.found.into_iter().map(|placed| (placed.offset, placed.publication));
    let (top, found): (_, Vec<_>) = (entered.subscribed.top, found.collect());
    (top.clone(), offset + found.len() as u64 == top.offset, found)
}

/// Gives all that a hub has, and has another one take it.
async fn hand_over(from: &Hub, to: &Hub) -> usize {
    from.settle().await;
    from.release(Duration::from_secs(5)).expect("everything is stored");
    give(from, to, WITHIN)
}

fn give(from: &Hub, to: &Hub, within: GiveWithin) -> usize {
    let records = from.give_rooms(within).inspect(|record| {
        assert!(record::check(record) && record.len() <= RECORD_BYTES_MAX);
        to.take_rooms(record).expect("it is taken");
    });
    records.count()
}

#[derive(Clone, Debug)]
enum Step {
    Publish { room: usize, user: usize, bytes: usize, is_delta: bool, tagged: bool },
    Key(usize, u8),
    Version(usize, u64),
    Erase(usize, Vec<u64>),
    EraseUser(usize, usize),
    RemoveHistory(usize),
    Ask(usize),
    Pass(u64),
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let room = || 0..ROOMS.len();
    let user = || 0..USERS.len();
    let step = prop_oneof![
        12 => (room(), user(), 0..3_000_usize, any::<bool>(), any::<bool>()).prop_map(
            |(room, user, bytes, is_delta, tagged)| Step::Publish { room, user, bytes, is_delta, tagged }
        ),
        2 => (room(), 0..4_u8).prop_map(|(room, key)| Step::Key(room, key)),
        2 => (room(), 1..9_u64).prop_map(|(room, version)| Step::Version(room, version)),
        2 => (room(), prop::collection::vec(1..30_u64, 1..4)).prop_map(|(room, offsets)| Step::Erase(room, offsets)),
        1 => (room(), user()).prop_map(|(room, user)| Step::EraseUser(room, user)),
        1 => room().prop_map(Step::RemoveHistory),
        1 => room().prop_map(Step::Ask),
        2 => prop_oneof![0..100_u64, 10_000..90_000_u64, Just(150_000), Just(LONG_MS)].prop_map(Step::Pass),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 0..60)
}

async fn act(hub: &Hub, time: &Time, number: usize, step: &Step) {
    match step {
        Step::Publish { room, user, bytes, is_delta, tagged } => {
            let info = ClientInfo::new(USERS[*user].to_owned(), format!("client {number}"), None, Some("1".into()));
            let data = format!("\"{number} {}\"", "x".repeat(*bytes));
            let mut publication = Publication::new(Payload::json(data.into()), Some(info));
            publication.set_delta(*is_delta);
            publication.tags = tagged.then(|| Arc::new([("tag".to_owned(), number.to_string())].into()));
            publish(hub, ROOMS[*room], publication, Terms::default()).await.expect("it is taken");
        }
        Step::Key(room, key) => drop(with_key(hub, ROOMS[*room], *key).await),
        Step::Version(room, version) => drop(with_version(hub, ROOMS[*room], *version).await),
        Step::Erase(room, offsets) => drop(erase(hub, ROOMS[*room], Erase::Offsets(offsets.clone())).await),
        Step::EraseUser(room, user) => drop(erase(hub, ROOMS[*room], Erase::User(USERS[*user].to_owned())).await),
        Step::RemoveHistory(room) => {
            let room = name(ROOMS[*room]);
            hub.engine(&room).expect("an engine").remove_history(&room).wait().await.expect("it is removed");
        }
        Step::Ask(room) => drop(history(hub, ROOMS[*room]).await),
        Step::Pass(ms) => time.pass(*ms),
        Step::Expire => drop(hub.expire_rooms(time.now())),
    }
}

async fn with_key(hub: &Hub, room: &str, key: u8) -> Accepted {
    let terms = Terms { idempotency_key: format!("key {key}"), ..Terms::default() };
    publish(hub, room, Publication::new(Payload::json("1".into()), None), terms).await.expect("it is taken")
}

async fn with_version(hub: &Hub, room: &str, version: u64) -> Accepted {
    let terms = Terms { version, version_epoch: "v".to_owned(), ..Terms::default() };
    publish(hub, room, Publication::new(Payload::json("2".into()), None), terms).await.expect("it is taken")
}

async fn erase(hub: &Hub, room: &str, what: Erase) -> u64 {
    hub.engine(&name(room)).expect("an engine").erase(&name(room), "", what).wait().await.expect("it is erased")
}

/// All that can be told of a room without changing it.
async fn told(hub: &Hub, room: &str) -> (HistoryResult, Vec<Recovered>) {
    let past = history(hub, room).await;
    let mut recovered = Vec::new();
    for offset in past.position.offset.saturating_sub(70)..=past.position.offset {
        let position = StreamPosition { offset, epoch: past.position.epoch.clone() };
        recovered.push(recover(hub, room, position).await);
    }
    (past, recovered)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_was_given_is_what_is_there_afterwards(steps in steps(), later in 0..120_000_u64) {
        runtime().block_on(async {
            let time = Time::new();
            // Two that live the same life: one gives its rooms away, the other one goes on.
            let (old, kept) = (hub(config(), &time), hub(config(), &time));
            for (number, step) in steps.iter().enumerate() {
                act(&old, &time, number, step).await;
                match step {
                    // Of what may be forgotten, both are to have forgotten all.
                    Step::Pass(LONG_MS) => [&old, &kept, &old, &kept].iter().for_each(|hub| {
                        hub.expire_rooms(time.now());
                    }),
                    Step::Pass(_) => {}
                    _ => act(&kept, &time, number, step).await,
                }
            }
            let mut before = HashMap::new();
            for room in ROOMS {
                if old.rooms.running(&name(room)).is_some() || old.rooms.dormant.until_ms(room).is_some() {
                    before.insert(room, history(&old, room).await.position);
                }
            }
            let new = hub(config(), &time);
            hand_over(&old, &new).await;
            time.pass(later);
            for room in ROOMS {
                let (mut there, mut expected) = (told(&new, room).await, told(&kept, room).await);
                // Of what nothing but the position is left, the epoch may be over.
                if let Some(position) = before.get(room).filter(|_| !expected.0.publications.is_empty()) {
                    assert_eq!(there.0.position, *position, "{room}");
                }
                let epochs = |told: &mut (HistoryResult, Vec<Recovered>)| {
                    told.0.position.epoch.clear();
                    told.1.iter_mut().for_each(|(top, ..)| top.epoch.clear());
                };
                epochs(&mut there);
                epochs(&mut expected);
                assert_eq!(there, expected, "{room}");
            }
            for room in ROOMS {
                for key in 0..4 {
                    assert_eq!(with_key(&new, room, key).await.offset, with_key(&kept, room, key).await.offset);
                }
                for version in [1, 4, 8] {
                    let (there, expected) =
                        (with_version(&new, room, version).await, with_version(&kept, room, version).await);
                    assert_eq!(there.offset, expected.offset, "{room} {version}");
                }
                // What is erased already is not erased again; what is no history any more may be in the one ring and not the other.
                let past = history(&kept, room).await;
                let all = || Erase::Offsets(past.publications.iter().map(|placed| placed.offset).collect());
                assert_eq!(erase(&new, room, all()).await, erase(&kept, room, all()).await, "{room}");
            }
        });
    }

    #[test]
    fn nonsense_is_refused(version in 0..3_u8, kind in 0..6_u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        record::check(&[&[version, kind][..], &body].concat());
    }

    #[test]
    fn a_record_that_was_changed_is_another_one_or_none(steps in steps(), at in any::<prop::sample::Index>(), by in 1..=255_u8) {
        runtime().block_on(async {
            let time = Time::new();
            let (old, new) = (hub(config(), &time), hub(config(), &time));
            for (number, step) in steps.iter().enumerate() {
                act(&old, &time, number, step).await;
            }
            old.release(Duration::ZERO).expect("nothing is stored");
            for mut record in old.give_rooms(WITHIN) {
                let at = at.index(record.len());
                record[at] ^= by;
                record::check(&record);
                let _ = new.take_rooms(&record);
                let _ = new.take_rooms(&record[..at]);
            }
            assert_eq!(new.metrics.rooms.get(), new.rooms.broker.rooms().len() as i64);
        });
    }
}

#[tokio::test]
async fn a_settled_hub_refuses_everything_until_it_thaws() {
    let time = Time::new();
    let hub = hub(config(), &time);
    let hall = name("hall");
    let first = say(&hub, "hall", "before").await.expect("it is taken");
    hub.settle().await;
    assert!(hub.is_settled());
    assert_eq!(say(&hub, "hall", "meanwhile").await, Err(ErrorCode::TooManyRequests));
    assert_eq!(say(&hub, "new", "meanwhile").await, Err(ErrorCode::TooManyRequests));
    let engine = hub.engine(&hall).expect("one that refuses");
    let request = HistoryRequest { room: "hall".to_owned(), limit: 1, since: None, reverse: false };
    let query = HistoryQuery::new(&request, 10);
    assert_eq!(engine.enter(&hall, None, 0).wait().await.map(drop), Err(ErrorCode::TooManyRequests));
    assert_eq!(engine.history(&hall, &query).wait().await.map(drop), Err(ErrorCode::TooManyRequests));
    assert_eq!(engine.remove_history(&hall).wait().await, Err(ErrorCode::TooManyRequests));
    assert_eq!(engine.erase(&hall, "", Erase::Offsets(vec![1])).wait().await, Err(ErrorCode::TooManyRequests));
    assert_eq!(hub.members(&hall).wait().await.map(drop), Err(ErrorCode::TooManyRequests));
    assert_eq!(hub.presence_stats(&hall).wait().await.map(drop), Err(ErrorCode::TooManyRequests));
    assert!(hub.take_over(config(), crate::util::rng::Rng::from_seed([1; 32])).is_err(), "nothing changes meanwhile");
    hub.thaw();
    assert!(!hub.is_settled());
    let second = say(&hub, "hall", "after").await.expect("it is taken");
    assert_eq!((second.epoch, second.offset), (first.epoch, first.offset + 1));
    assert_eq!(history(&hub, "hall").await.publications.len(), 2);
    assert!(hub.take_over(config(), crate::util::rng::Rng::from_seed([1; 32])).is_ok());
}

#[tokio::test]
async fn what_is_released_never_thaws() {
    let time = Time::new();
    let hub = hub(config(), &time);
    say(&hub, "hall", "before").await.expect("it is taken");
    hub.release(Duration::ZERO).expect("nothing is stored");
    hub.thaw();
    assert_eq!(say(&hub, "hall", "after").await, Err(ErrorCode::TooManyRequests));
    // Whoever had asked for an engine before.
    let late = hub.memory.publish_late(&name("hall"));
    assert_eq!(late.await.map(drop), Err(ErrorCode::TooManyRequests));
    assert!(hub.rooms.broker.rooms().is_empty());
    assert_eq!(hub.give_rooms(WITHIN).count(), 1);
    assert_eq!(hub.give_rooms(WITHIN).count(), 0, "once");
}

#[tokio::test]
async fn whoever_settles_waits_for_what_was_taken() {
    let time = Time::new();
    let hub = hub(config(), &time);
    let asked = hub.rooms.under_way.begin();
    let mut settled = Box::pin(hub.settle());
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut settled).await.is_err());
    assert!(hub.is_settled(), "nothing new is taken meanwhile");
    drop(asked);
    settled.await;
}

/// A publish beside the hand-over is in what is given, at its offset, or refused with 111.
#[test]
fn a_publish_beside_it_is_given_over_or_refused() {
    for round in 0..60 {
        let ours = runtime();
        let time = Time::new();
        let (old, new) = ours.block_on(async { (hub(config(), &time), hub(config(), &time)) });
        let old = Arc::new(old);
        let begun = Arc::new(AtomicBool::new(false));
        let publishers: Vec<_> = (0..3)
            .map(|publisher| {
                let (hub, begun) = (Arc::clone(&old), Arc::clone(&begun));
                let publishing = async move {
                    let (mut accepted, mut refused) = (Vec::new(), 0);
                    for number in 0.. {
                        let room = format!("room {}", (number + publisher) % 5);
                        let text = format!("{publisher} {number}");
                        let terms = match number % 4 {
                            0 => Terms { idempotency_key: text.clone(), ..Terms::default() },
                            _ => Terms::default(),
                        };
                        let publication = Publication::new(Payload::json(format!("\"{text}\"").into()), None);
                        match publish(&hub, &room, publication, terms).await {
                            Ok(place) => accepted.push((room, place.offset, text)),
                            Err(ErrorCode::TooManyRequests) => refused += 1,
                            Err(other) => panic!("{other:?}"),
                        }
                        begun.store(true, Relaxed);
                        if refused == 5 {
                            break;
                        }
                    }
                    accepted
                };
                thread::spawn(move || runtime().block_on(publishing))
            })
            .collect();
        while !begun.load(Relaxed) {
            thread::yield_now();
        }
        // With and without waiting first: what is taken is taken all the same.
        if round % 2 == 0 {
            ours.block_on(old.settle());
        }
        old.release(Duration::ZERO).expect("nothing is stored");
        let accepted: Vec<_> = publishers.into_iter().flat_map(|it| it.join().expect("it ends")).collect();
        give(&old, &new, WITHIN);
        ours.block_on(async {
            let mut rooms = HashMap::new();
            for room in accepted.iter().map(|(room, ..)| room) {
                if !rooms.contains_key(room) {
                    let past = history(&new, room).await;
                    rooms.insert(room.clone(), past);
                }
            }
            for (room, offset, text) in &accepted {
                let past = &rooms[room];
                assert!(past.position.offset >= *offset, "{room} {offset} of {:?}", past.position);
                // The history is of the newest.
                if let Some(placed) = past.publications.iter().find(|placed| placed.offset == *offset) {
                    assert_eq!(placed.publication.data.as_bytes(), format!("\"{text}\"").as_bytes());
                } else {
                    assert!(past.publications.first().is_some_and(|oldest| *offset < oldest.offset), "{room} {offset}");
                }
            }
            let counted: u64 = rooms.values().map(|past| past.position.offset).sum();
            assert_eq!(counted, accepted.len() as u64, "nothing is there that was refused");
        });
    }
}

#[tokio::test]
async fn the_hottest_go_first_and_the_others_keep_their_position_alone() {
    let time = Time::new();
    let (old, new) = (hub(config(), &time), hub(config(), &time));
    let text = "x".repeat(10_000);
    let mut told = Vec::new();
    for room in 0..20 {
        let room = format!("room {room}");
        for _ in 0..10 {
            say(&old, &room, &text).await.expect("it is taken");
        }
        told.push(history(&old, &room).await.position);
        time.pass(1_000);
    }
    let joined = old.engine(&name("room 0")).expect("an engine").enter(&name("room 0"), None, 0).wait().await.unwrap();
    old.settle().await;
    old.release(Duration::ZERO).expect("nothing is stored");
    give(&old, &new, GiveWithin { bytes: 600_000, ..WITHIN });
    drop(joined);
    let mut given = Vec::new();
    for (room, told) in told.iter().enumerate() {
        let past = history(&new, &format!("room {room}")).await;
        assert_eq!(past.position, *told, "room {room}");
        let all_or_none = [0, 10].contains(&past.publications.len());
        assert!(all_or_none, "room {room}");
        let (top, is_whole, found) =
            recover(&new, &format!("room {room}"), StreamPosition { offset: 3, ..told.clone() }).await;
        assert_eq!((top, is_whole), (told.clone(), !past.publications.is_empty()), "room {room}: {}", found.len());
        if !past.publications.is_empty() {
            given.push(room);
        }
    }
    assert_eq!(given, [0, 16, 17, 18, 19], "somebody is in the first one");
}

#[tokio::test]
async fn no_time_gives_nothing_and_rooms_begin_anew() {
    let time = Time::new();
    let (old, new) = (hub(config(), &time), hub(config(), &time));
    let first = say(&old, "hall", "before").await.expect("it is taken");
    old.release(Duration::ZERO).expect("nothing is stored");
    assert_eq!(give(&old, &new, GiveWithin { time: Duration::ZERO, ..WITHIN }), 0);
    let again = say(&new, "hall", "after").await.expect("it is taken");
    assert_eq!(again.offset, 1);
    assert_ne!(again.epoch, first.epoch);
    let position = StreamPosition { offset: 0, epoch: first.epoch.to_string() };
    let (_, is_whole, found) = recover(&new, "hall", position).await;
    assert_eq!((is_whole, found.len()), (false, 0));
}

#[tokio::test]
async fn a_large_ring_comes_in_parts_and_is_let_go_of() {
    let time = Time::new();
    let mut config = config();
    config.channel.without_namespace.history_size = 2_000;
    let (old, new) = (hub(config.clone(), &time), hub(config, &time));
    for number in 0..1_500 {
        say(&old, "hall", &format!("{number} {}", "x".repeat(2_000))).await.expect("it is taken");
    }
    let before = history(&old, "hall").await;
    let room = old.rooms.running(&name("hall")).expect("it runs");
    assert!(hand_over(&old, &new).await > 5);
    assert_eq!(history(&new, "hall").await, before);
    assert!(room.stats().bytes < 400_000, "{} bytes are held by both", room.stats().bytes);
}

#[tokio::test]
async fn a_ring_of_which_a_part_is_missing_begins_anew() {
    let time = Time::new();
    let new = hub(config(), &time);
    let part = |first: u64, begins: bool| {
        let head = RingHead { room: name("hall"), epoch: Epoch::from(7), first, end: 4, begins };
        let mut writer = Writer::ring(&head);
        (0..2).for_each(|_| writer.message(BEGIN_MS, &Publication::new(Payload::json("1".into()), None), false));
        writer.end()
    };
    assert_eq!(new.take_rooms(&part(2, false)), Err(RecordError::Malformed));
    assert_eq!(new.take_rooms(&part(0, true)), Ok(()));
    assert!(new.rooms.running(&name("hall")).is_none(), "not before it is whole");
    assert_eq!(new.take_rooms(&part(1, false)), Err(RecordError::Malformed));
    assert_eq!(new.take_rooms(&part(2, false)), Err(RecordError::Malformed), "what was begun is left out");
    assert_ne!(say(&new, "hall", "1").await.expect("it is taken").epoch.to_string(), "7");
    let other = hub(config(), &time);
    assert_eq!([part(0, true), part(2, false)].map(|part| other.take_rooms(&part)), [Ok(()), Ok(())]);
    let placed = say(&other, "hall", "1").await.expect("it is taken");
    assert_eq!((placed.epoch.to_string(), placed.offset), ("7".to_owned(), 5));
    // What runs is not made again.
    assert_eq!([part(0, true), part(2, false)].map(|part| other.take_rooms(&part)), [Ok(()), Ok(())]);
    assert_eq!(history(&other, "hall").await.position.offset, 5);
}

#[tokio::test]
async fn what_was_erased_is_not_forgotten_before_it_is_given() {
    let time = Time::new();
    let (old, new) = (hub(config(), &time), hub(config(), &time));
    for text in ["one", "two"] {
        say(&old, "hall", text).await.expect("it is taken");
    }
    assert_eq!(erase(&old, "hall", Erase::Offsets(vec![1])).await, 1);
    old.release(Duration::ZERO).expect("nothing is stored");
    // As it happens by the clock.
    old.expire_rooms(time.now());
    give(&old, &new, WITHIN);
    assert_eq!(erase(&new, "hall", Erase::Offsets(vec![1, 2])).await, 1, "the first one is erased");
    let past = history(&new, "hall").await;
    assert!(past.publications.iter().all(|placed| placed.publication.data.as_bytes() == b"null"), "{past:?}");
}

#[tokio::test]
async fn times_from_the_future_and_for_ever_are_bounded() {
    let time = Time::new();
    let new = hub(config(), &time);
    let head = RingHead { room: name("hall"), epoch: Epoch::from(7), first: 0, end: 1, begins: true };
    let mut writer = Writer::ring(&head);
    writer.message(u64::MAX, &Publication::new(Payload::json("1".into()), None), false);
    assert_eq!(new.take_rooms(&writer.end()), Ok(()));
    let mut writer = Writer::new(Kind::Positions);
    writer.position("yard", Position { epoch: Epoch::from(7), sequence: 3 }, u64::MAX);
    assert_eq!(new.take_rooms(&writer.end()), Ok(()));
    assert_eq!(history(&new, "hall").await.publications.len(), 1);
    time.pass(101_000);
    assert_eq!(history(&new, "hall").await.publications.len(), 0);
    time.pass(1_000_000);
    new.expire_rooms(time.now());
    assert_eq!(history(&new, "yard").await.position.offset, 0, "its time is over");
}

/// The server API knows the options of a room when it publishes.
#[tokio::test]
async fn who_asks_by_options_is_refused_like_who_asks_by_name() {
    let hub = hub(config(), &Time::new());
    say(&hub, "hall", "before").await.expect("it is taken");
    hub.settle().await;
    let now = hub.now();
    let publish = Publish::new(name("hall"), Publication::new(Payload::json("1".into()), None));
    let mut answers = hub.engine_for(&now, now.options("hall").expect("options")).publish(smallvec![publish]);
    let answer = answers.pop().expect("an answer").wait().await;
    assert_eq!(answer, Err(ErrorCode::TooManyRequests));
}

/// Where the format has another version, they are to be made anew of what is given.
#[test]
fn the_fuzzer_begins_with_a_record_of_each_kind() {
    let seed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/handover/all");
    let seed = std::fs::read(seed).expect("the seed");
    let (mut left, mut kinds) = (&seed[..], Vec::new());
    while let Some((length, rest)) = left.split_first_chunk::<2>() {
        let (record, behind) = rest.split_at(usize::from(u16::from_le_bytes(*length)));
        assert!(record::check(record), "it is of another version");
        kinds.push(record[1]);
        left = behind;
    }
    assert_eq!(kinds, [4, 3, 1, 1, 2]);
}
