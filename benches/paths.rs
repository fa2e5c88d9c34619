//! The hot paths of the core: publish, deliver, subscribe, look up.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use roomcast::{Broker, Room, Start, Subscription};

fn room<T: Send + Sync + 'static>(capacity: usize) -> (Broker<T>, Room<T>) {
    let broker = Broker::builder().capacity(capacity).shards(1).build();
    let room = broker.room("bench").expect("a fresh broker has space");
    (broker, room)
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    group.throughput(Throughput::Elements(1));
    for subscribers in [0, 1, 10_000] {
        let (_broker, room) = room::<u64>(1024);
        let idle: Vec<_> = (0..subscribers).map(|_| room.subscribe().now().expect("open")).collect();
        group.bench_function(format!("u64/{subscribers} unread"), |bencher| {
            bencher.iter(|| room.publish(black_box(7)).expect("open"));
        });
        drop(idle);
    }
    let broker = Broker::<u64>::builder().shards(1).build();
    let mut publisher = broker.exclusive("bench").expect("a fresh broker has space");
    group.bench_function("u64/exclusive", |bencher| {
        bencher.iter(|| publisher.publish(black_box(7)).expect("open"));
    });
    group.throughput(Throughput::Elements(16));
    group.bench_function("u64/exclusive, 16 at a time", |bencher| {
        bencher.iter(|| publisher.publish_all(black_box([7; 16])).expect("open"));
    });
    group.finish();
}

fn drain<R>(subscriptions: &mut [Subscription<u64>], mut read: impl FnMut(&mut Subscription<u64>) -> Option<R>) {
    for subscription in subscriptions {
        while read(subscription).is_some() {}
    }
}

fn deliver(criterion: &mut Criterion) {
    const SUBSCRIBERS: usize = 100;
    const BURST: u64 = 64;
    let mut group = criterion.benchmark_group("deliver, 100 subscribers, bursts of 64");
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64 * BURST));
    let (_broker, room) = room::<u64>(1024);
    let mut subscriptions: Vec<_> = (0..SUBSCRIBERS).map(|_| room.subscribe().now().expect("open")).collect();
    let burst = || (0..BURST).for_each(|message| assert!(room.publish(message).is_ok()));
    group.bench_function("by reference", |bencher| {
        bencher.iter_batched(
            burst,
            |()| drain(&mut subscriptions, |s| s.try_recv_ref().ok().map(|message| black_box(*message))),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("as slices", |bencher| {
        bencher.iter_batched(
            burst,
            |()| {
                drain(&mut subscriptions, |s| {
                    s.try_recv_batch(64).ok().map(|run| black_box(run.iter().map(|m| m.2).sum::<u64>()))
                })
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn come_and_go(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribe and drop");
    for others in [1, 100_000] {
        let (_broker, room) = room::<u64>(1024);
        let _others: Vec<_> = (0..others).map(|_| room.subscribe().now().expect("open")).collect();
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
    let mut turn = names.iter().cycle();
    criterion.bench_function("look up by name, 100,000 rooms", |bencher| {
        bencher.iter(|| black_box(broker.get(turn.next().expect("a cycle has no end"))));
    });
}

criterion_group!(benches, publish, deliver, come_and_go, look_up);
criterion_main!(benches);
