//! L4: a task for every subscriber, on a runtime with two workers. The publisher is a task too; it publishes a window,
//! waits until the last has received it, and publishes the next.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Release},
};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::task::AtomicWaker;
use harness::measure::{Cases, figure, grouped};

use super::each;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::channels::{Flume, PerSubscriber, Thingbuf, TokioMpsc};
use crate::contenders::roomcast::{Shared, Slices};
use crate::contenders::tokio_broadcast::Tokio;
use crate::contenders::{Awaits, Contender};
use crate::tally::Tally;

const TABLE: &str = "L4";

pub fn add(cases: &mut Cases) {
    for window in [1, 64] {
        for tasks in [1, 10, 100, 500, 1000] {
            let name = format!("tasks: {}, windows of {window}", grouped(tasks));
            each!(cases, TABLE, &name;
                "roomcast" => Shared, "roomcast slices" => Shared<Slices>, "tokio" => Tokio,
                "async-broadcast" => AsyncBroadcast, "tokio mpsc each" => PerSubscriber<TokioMpsc>,
                "flume each" => PerSubscriber<Flume>, "thingbuf each" => PerSubscriber<Thingbuf>;
                |effort, C| vec![figure("deliveries", "M/s", deliver::<C>(tasks, window, effort.time()))]);
        }
    }
    cases.lack(TABLE, "bus, disruptor, ringcast, crossbeam", "a task cannot wait for them");
}

/// Two workers, wherever they may run.
pub fn runtime() -> tokio::runtime::Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    built.expect("the system starts two threads")
}

/// Where the tasks tell the publisher that they are through.
struct Finish {
    remaining: AtomicUsize,
    publisher: AtomicWaker,
    /// The number of messages in all; known before the last window is published.
    end: AtomicU64,
}

impl Finish {
    fn arrive(&self) {
        // AcqRel: the last one has seen what all others have done.
        if self.remaining.fetch_sub(1, AcqRel) == 1 {
            self.publisher.wake();
        }
    }

    async fn all(&self) {
        poll_fn(|context| {
            self.publisher.register(context.waker());
            if self.remaining.load(Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

async fn subscriber<C: Awaits<u64>>(mut reader: C::Reader, finish: Arc<Finish>, window: u64) {
    let mut tally = Tally::from(0);
    let mut border = window;
    loop {
        while tally.next() < border {
            C::read_async(&mut reader, &mut tally).await;
        }
        // Looked at first: once all have arrived, the publisher may move it.
        let end = finish.end.load(Acquire);
        if border == end {
            break;
        }
        border += window;
        finish.arrive();
    }
    tally.check(border);
    assert_eq!(tally.lagged(), 0, "a window fits into the ring");
    C::compare(&reader, &tally);
    finish.arrive();
}

async fn publisher<C: Contender<u64>>(
    mut publisher: C::Publisher,
    finish: Arc<Finish>,
    tasks: usize,
    window: u64,
    time: Duration,
) -> (u64, Duration) {
    let begin = Instant::now();
    let mut next = 0;
    let mut is_last = false;
    while !is_last {
        is_last = begin.elapsed() > time;
        if is_last {
            finish.end.store(next + window, Release);
        }
        finish.remaining.store(tasks, Release);
        for number in next..next + window {
            C::publish(&mut publisher, number);
        }
        next += window;
        finish.all().await;
    }
    (next, begin.elapsed())
}

fn deliver<C: Awaits<u64>>(tasks: usize, window: u64, time: Duration) -> f64 {
    let (publishing, readers) = C::open(tasks);
    let finish = Arc::new(Finish {
        remaining: AtomicUsize::new(tasks),
        publisher: AtomicWaker::new(),
        end: AtomicU64::new(u64::MAX),
    });
    let runtime = runtime();
    let subscribers: Vec<_> =
        readers.into_iter().map(|reader| runtime.spawn(subscriber::<C>(reader, finish.clone(), window))).collect();
    let publishing = runtime.spawn(publisher::<C>(publishing, finish, tasks, window, time));
    let (messages, took) = runtime.block_on(publishing).expect("it only publishes");
    let all = runtime.block_on(join_all(subscribers));
    all.into_iter().for_each(|one| one.expect("the subscriber's books are right"));
    (messages * tasks as u64) as f64 / took.as_secs_f64() / 1e6
}
