//! The relay in front of backends that are slow, gone, or say what they like. Time is paused: waits take none.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::World;
use crate::backend::tests::tls::{serve_tls, trusting};
use crate::config::{Endpoint, RoomEventsOptions, TlsOptions, WebhookSecret};
use crate::events::log;
use crate::events::post::Post;
use crate::events::relay::{BACKOFF_MAX, Backend, Batch, Courier, Orders, run};
use crate::ops::metrics::RoomEventMetrics;
use crate::util::rng::Rng;

/// What a backend does with a batch of so many events.
type Answer = Box<dyn FnMut(usize) -> Option<Result<(), String>>>;

/// The offsets of the batches that were posted.
type Batches = Rc<RefCell<Vec<Vec<u64>>>>;

/// A backend that remembers what it was told, and answers as it likes; `None` is never.
struct Fake {
    told: Batches,
    answer: RefCell<Answer>,
}

impl Backend for Fake {
    async fn post(&self, batch: &Batch) -> Result<(), String> {
        let body: Value = serde_json::from_slice(&batch.body).expect("JSON");
        let offsets: Vec<u64> = body["events"]
            .as_array()
            .expect("events")
            .iter()
            .map(|event| event["offset"].as_u64().expect("a number"))
            .collect();
        let count = offsets.len();
        assert!(batch.id.starts_with("log-"), "{}", batch.id);
        self.told.borrow_mut().push(offsets);
        let answer = (self.answer.borrow_mut())(count);
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// A relay over the log of a world, and how the server ends.
struct Delivery<Said> {
    courier: Courier<Said, Box<dyn Fn() -> u64>>,
    heads: watch::Sender<u64>,
    end: watch::Sender<Option<Instant>>,
    metrics: RoomEventMetrics,
}

/// To a backend that answers so; and the batches that were posted.
fn delivery(
    world: &World,
    answer: impl FnMut(usize) -> Option<Result<(), String>> + 'static,
) -> (Delivery<Fake>, Batches) {
    let told = Batches::default();
    let backend = Fake { told: Rc::clone(&told), answer: RefCell::new(Box::new(answer)) };
    (delivery_to(world, backend), told)
}

fn delivery_to<Said>(world: &World, backend: Said) -> Delivery<Said> {
    // Nobody changes them.
    delivery_by(world, watch::channel(orders(backend, 8)).1)
}

fn orders<Said>(backend: Said, batch_max: usize) -> Orders<Said> {
    Orders { backend: Some(Arc::new(backend)), batch_max }
}

fn delivery_by<Said>(world: &World, orders: watch::Receiver<Orders<Said>>) -> Delivery<Said> {
    let position = world.ledger.as_ref().expect("it runs").position();
    let (heads, new_heads) = watch::channel(position.head);
    let (end, ends) = watch::channel(None);
    let metrics = RoomEventMetrics::default();
    let now_ms = Arc::clone(&world.now_ms);
    let courier = Courier {
        connection: log::open_to_read(&world.folder.log()).expect("a log"),
        orders,
        position,
        journal: Arc::clone(&world.journal),
        metrics: metrics.clone(),
        clock: Box::new(move || now_ms.load(std::sync::atomic::Ordering::Relaxed)) as Box<dyn Fn() -> u64>,
        rng: Rng::from_seed([7; 32]),
        new_heads,
        ends,
        batch_now: 8,
        backoff: Duration::from_millis(100),
    };
    Delivery { courier, heads, end, metrics }
}

fn twenty() -> World {
    let mut world = World::new();
    for at in 0..19 {
        world.journal.enter("hall", &format!("client-{at}"), "");
    }
    world.write();
    world
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_takes_them_is_given_them_in_order_and_batches() {
    let mut world = twenty();
    let (Delivery { courier, heads, end, metrics }, told) = delivery(&world, |_| Some(Ok(())));
    let more = async {
        while world.journal.delivered() < 20 {
            tokio::task::yield_now().await;
        }
        world.journal.enter("hall", "late", "");
        world.write();
        heads.send_replace(21);
        while world.journal.delivered() < 21 {
            tokio::task::yield_now().await;
        }
        end.send_replace(Some(Instant::now()));
    };
    tokio::join!(courier.run(), more);
    let batches = told.borrow();
    assert_eq!(batches.concat(), (1..=21).collect::<Vec<_>>());
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 4, 1]);
    assert_eq!((metrics.delivered.get(), metrics.lag.get(), metrics.failures.get()), (21, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_is_configured_in_the_place_of_a_backend_is_told_what_that_has_not_taken() {
    let mut world = twenty();
    let backend = |answer: fn(usize) -> Option<Result<(), String>>| {
        let told = Batches::default();
        (Fake { told: Rc::clone(&told), answer: RefCell::new(Box::new(answer)) }, told)
    };
    let (refuses, refused) = backend(|_| Some(Err("a wrong signature".to_owned())));
    let (takes, taken) = backend(|_| Some(Ok(())));
    let (configured, receiver) = watch::channel(orders(refuses, 8));
    let Delivery { courier, heads, end, metrics } = delivery_by(&world, receiver);
    let others = async {
        while refused.borrow().len() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        configured.send_replace(orders(takes, 3));
        while world.journal.delivered() < 20 {
            tokio::task::yield_now().await;
        }
        configured.send_replace(Orders { backend: None, batch_max: 3 });
        world.journal.enter("hall", "late", "");
        world.write();
        heads.send_replace(21);
        tokio::time::sleep(Duration::from_secs(60)).await;
        end.send_replace(Some(Instant::now()));
    };
    tokio::join!(courier.run(), others);
    assert_eq!(taken.borrow().concat(), (1..=20).collect::<Vec<_>>(), "and without a backend nobody is told");
    assert!(taken.borrow().iter().all(|batch| batch.len() <= 3));
    assert_eq!((metrics.delivered.get(), metrics.lag.get()), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_gone_is_asked_ever_more_seldom_and_then_told_all() {
    let world = twenty();
    let started = Instant::now();
    let times = Rc::<RefCell<Vec<Duration>>>::default();
    let seen = Rc::clone(&times);
    let (Delivery { courier, heads: _heads, end, metrics }, told) = delivery(&world, move |_| {
        seen.borrow_mut().push(started.elapsed());
        Some(if seen.borrow().len() <= 20 { Err("gone".to_owned()) } else { Ok(()) })
    });
    let all = async {
        while world.journal.delivered() < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        end.send_replace(Some(Instant::now()));
    };
    tokio::join!(courier.run(), all);
    let times = times.borrow();
    let waits: Vec<Duration> = times.windows(2).take(20).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[0] <= Duration::from_millis(110), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= BACKOFF_MAX + Duration::from_millis(10)), "{waits:?}");
    assert!(waits[18..].iter().all(|wait| *wait >= BACKOFF_MAX / 2), "{waits:?}");
    assert!(told.borrow()[..20].iter().all(|batch| batch[0] == 1), "the same is told until it is taken");
    assert_eq!(told.borrow()[20..].concat(), (1..=20).collect::<Vec<_>>());
    assert_eq!(metrics.failures.get(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_backend_to_which_much_is_too_much_is_told_little() {
    let world = twenty();
    let (Delivery { courier, heads: _heads, end, .. }, told) =
        delivery(&world, |count| Some(if count > 2 { Err("413".to_owned()) } else { Ok(()) }));
    let all = async {
        while world.journal.delivered() < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        end.send_replace(Some(Instant::now()));
    };
    tokio::join!(courier.run(), all);
    let taken: Vec<u64> = told.borrow().iter().filter(|batch| batch.len() <= 2).flatten().copied().collect();
    assert_eq!(taken, (1..=20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_is_left_is_told_and_one_that_hangs_holds_nobody_up() {
    let world = twenty();
    let (Delivery { courier, heads: _heads, end, .. }, told) = delivery(&world, |_| Some(Ok(())));
    end.send_replace(Some(Instant::now() + Duration::from_secs(2)));
    courier.run().await;
    assert_eq!(told.borrow().concat(), (1..=20).collect::<Vec<_>>());

    for ends_before in [true, false] {
        let world = twenty();
        let (Delivery { courier, heads: _heads, end, .. }, told) = delivery(&world, |_| None);
        let started = Instant::now();
        if ends_before {
            end.send_replace(Some(Instant::now() + Duration::from_secs(2)));
            courier.run().await;
        } else {
            let later = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                end.send_replace(Some(Instant::now() + Duration::from_secs(1)));
            };
            tokio::join!(courier.run(), later);
        }
        assert_eq!(started.elapsed().as_secs(), 2);
        assert!(told.borrow().len() <= 2);
        assert_eq!(world.journal.delivered(), 0, "it was told, and has not said that it has it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_says_nothing_is_further_behind_by_the_second() {
    let world = twenty();
    let (Delivery { courier, heads: _heads, end, metrics }, told) = delivery(&world, |_| None);
    let looks = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        for passed in [0, 3, 6, 60] {
            assert_eq!(metrics.waited_s(world.now_ms() + passed * 1_000), passed);
        }
        end.send_replace(Some(Instant::now()));
    };
    tokio::join!(courier.run(), looks);
    assert!(told.borrow().len() <= 2, "it was asked before, and at the end");
}

/// A backend whose name is looked up for half a minute.
struct Unknown;

impl Backend for Unknown {
    async fn post(&self, _batch: &Batch) -> Result<(), String> {
        let looked_up = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(30))).await;
        looked_up.map_err(|error| error.to_string())
    }
}

#[test]
fn at_the_end_nobody_waits_for_a_name_server() {
    let world = twenty();
    let Delivery { courier, heads: _heads, end, .. } = delivery_to(&world, Unknown);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    end.send_replace(Some(Instant::now() + Duration::from_millis(100)));
    let started = std::time::Instant::now();
    run(runtime, courier);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_backend_is_believed_by_what_events_are_told_of_it() {
    let address = serve_tls(false).await;
    let batch = Batch { id: "log-1-1".to_owned(), body: Vec::new() };
    for (tls, is_believed) in [(trusting(), true), (TlsOptions::default(), false)] {
        let options = RoomEventsOptions {
            endpoint: Endpoint::new(&format!("https://{address}/")).ok(),
            secret: WebhookSecret::new("a secret of 24 bytes ...").ok(),
            tls,
            ..RoomEventsOptions::default()
        };
        let backend = Post::new(&options, &tokio::runtime::Handle::current()).expect("a client");
        let posted = backend.post(&batch).await;
        assert_eq!(posted.is_ok(), is_believed, "{posted:?}");
    }
}
