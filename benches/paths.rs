//! The hot paths of the core: publish, deliver, subscribe, look up. Beside its rivals the library is measured elsewhere,
//! by `make bench-rivals`.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use futures::future::join_all;
use roomcast::{Broker, Publisher, Ref, Room, Start, Subscription};

/// A message that is not plain data: cloning and dropping it count.
type Text = Arc<str>;

fn room<T: Send + Sync + 'static>() -> (Broker<T>, Room<T>) {
    let broker = Broker::builder().shards(1).build();
    let room = broker.room("bench").expect("a fresh broker has space");
    (broker, room)
}

fn exclusive<T: Send + Sync + 'static>() -> (Broker<T>, Publisher<T>) {
    let broker = Broker::builder().shards(1).build();
    let publisher = broker.exclusive("bench").expect("a fresh broker has space");
    (broker, publisher)
}

fn subscribers<T: Send + Sync + 'static>(room: &Room<T>, count: usize) -> Vec<Subscription<T>> {
    (0..count).map(|_| room.subscribe().now().expect("open")).collect()
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    group.throughput(Throughput::Elements(1));
    for unread in [0, 1, 10_000] {
        let (_broker, room) = room::<u64>();
        let _unread = subscribers(&room, unread);
        group.bench_function(format!("u64/{unread} unread"), |bencher| {
            bencher.iter(|| room.publish(black_box(7)).expect("open"));
        });
    }
    let text: Text = "a message".into();
    let (_broker, shared) = room::<Text>();
    group.bench_function("a clone of an Arc", |bencher| {
        bencher.iter(|| shared.publish(text.clone()).expect("open"));
    });
    let (_broker, mut publisher) = exclusive::<u64>();
    group.bench_function("u64/exclusive", |bencher| {
        bencher.iter(|| publisher.publish(black_box(7)).expect("open"));
    });
    let (_broker, mut texts) = exclusive::<Text>();
    group.bench_function("a clone of an Arc/exclusive", |bencher| {
        bencher.iter(|| texts.publish(text.clone()).expect("open"));
    });
    batches::<16>(&mut group, &mut publisher);
    batches::<64>(&mut group, &mut publisher);
    group.finish();
}

fn batches<const SIZE: usize>(group: &mut BenchmarkGroup<'_, WallTime>, publisher: &mut Publisher<u64>) {
    group.throughput(Throughput::Elements(SIZE as u64));
    group.bench_function(format!("u64/exclusive, {SIZE} at a time"), |bencher| {
        bencher.iter(|| publisher.publish_all(black_box([7; SIZE])).expect("open"));
    });
}

const SUBSCRIBERS: usize = 100;
const BURST: u64 = 64;

/// Bursts that a hundred subscribers read to their end, each with one call of `read` after the other.
fn drain<T: Clone + Send + Sync + 'static, R>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    message: T,
    mut read: impl FnMut(&mut Subscription<T>) -> Option<R>,
) {
    let (_broker, room) = room::<T>();
    let mut subscriptions = subscribers(&room, SUBSCRIBERS);
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || (0..BURST).for_each(|_| assert!(room.publish(message.clone()).is_ok())),
            |()| {
                for subscription in &mut subscriptions {
                    while read(subscription).is_some() {}
                }
            },
            BatchSize::PerIteration,
        );
    });
}

fn deliver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deliver, 100 subscribers, bursts of 64");
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64 * BURST));
    drain(&mut group, "by reference", 7_u64, |s| s.try_recv_ref().ok().map(|message| black_box(*message)));
    drain(&mut group, "as slices", 7_u64, |s| {
        s.try_recv_batch(64).ok().map(|run| black_box(run.iter().map(|(.., message)| message).sum::<u64>()))
    });
    drain(&mut group, "cloned", 7_u64, |s| s.try_recv().ok().map(black_box));
    let text: Text = "a message".into();
    drain(&mut group, "an Arc, by reference", text.clone(), |s| {
        s.try_recv_ref().ok().map(|message| black_box(message.len()))
    });
    drain(&mut group, "an Arc, cloned", text, |s| s.try_recv().ok().map(|message| black_box(message.len())));
    group.finish();
}

/// A burst, until the last of the handlers has handled it.
fn handle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handlers of one shard");
    for (members, burst) in [(100, 1), (100, BURST), (1_000, 1)] {
        let (_broker, room) = room::<u64>();
        let handled = Arc::new(AtomicU64::new(0));
        let handler = || {
            let handled = handled.clone();
            // Only one shard's thread writes it.
            move |message: Ref<'_, u64>| handled.store(handled.load(Relaxed) + *message, Release)
        };
        let joined = block_on(join_all((0..members).map(|_| room.subscribe_with(handler()))));
        assert!(joined.iter().all(Result::is_ok));
        group.throughput(Throughput::Elements(members * burst));
        group.bench_function(format!("{members} handlers, bursts of {burst}"), |bencher| {
            bencher.iter(|| {
                let done = handled.load(Acquire) + members * burst;
                (0..burst).for_each(|_| assert!(room.publish(1).is_ok()));
                while handled.load(Acquire) < done {
                    spin_loop();
                }
            });
        });
    }
    group.finish();
}

fn come_and_go(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribe and drop");
    for others in [1, 100_000] {
        let (_broker, room) = room::<u64>();
        let _others = subscribers(&room, others);
        group.bench_function(format!("beside {others}"), |bencher| {
            bencher.iter(|| black_box(room.subscribe_from(Start::Latest).now().expect("open")));
        });
    }
    group.finish();
}

fn look_up(criterion: &mut Criterion) {
    let broker = Broker::<u64>::builder().shards(1).capacity(64).build();
    let names: Vec<_> = (0..100_000).map(|number| format!("room.{number}")).collect();
    for name in &names {
        broker.room(name).expect("space");
    }
    let mut group = criterion.benchmark_group("by name, 100,000 rooms");
    let mut turn = names.iter().cycle();
    group.bench_function("look up", |bencher| {
        bencher.iter(|| black_box(broker.get(turn.next().expect("a cycle has no end"))));
    });
    let mut turn = names[..64].iter().cycle();
    group.bench_function("look up one of 64 and publish", |bencher| {
        bencher.iter(|| broker.publish(turn.next().expect("a cycle has no end"), black_box(7)).expect("open"));
    });
    group.finish();
}

criterion_group!(benches, publish, deliver, handle, come_and_go, look_up);
criterion_main!(benches);
