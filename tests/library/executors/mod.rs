//! The same on any executor, on several at once, and on threads without one.

mod suite;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::thread;

use futures::executor::{LocalPool, block_on};
use futures::future::join_all;
use futures::task::{ArcWake, LocalSpawnExt, waker};
use roomcast::{Broker, CloseReason, Policy, PublishError, RecvError, Room, Subscription};
use tokio::runtime::{self, Runtime};

use self::suite::{asleep, everything};
use crate::support::{eventually, finishes, publish_all};

fn broker() -> Broker<u64> {
    Broker::builder().shards(1).build()
}

fn many_threads() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

fn one_thread() -> Runtime {
    runtime::Builder::new_current_thread().build().unwrap()
}

/// Runs a future to its end on some executor.
type Executor = fn(Pin<Box<dyn Future<Output = ()> + Send>>);

/// Every sort of executor that is at hand here.
const EXECUTORS: [Executor; 5] = [
    |future| many_threads().block_on(async { tokio::spawn(future).await.unwrap() }),
    |future| one_thread().block_on(future),
    |future| block_on(future),
    |future| on_a_fresh_thread_each_time(future),
    |future| {
        let mut pool = LocalPool::new();
        pool.spawner().spawn_local(future).unwrap();
        pool.run();
    },
];

/// One task, which another thread polls each time it is woken.
struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    done: mpsc::Sender<()>,
}

impl ArcWake for Task {
    fn wake_by_ref(task: &Arc<Self>) {
        let task = task.clone();
        thread::spawn(move || {
            let mut place = task.future.lock().unwrap();
            if let Some(future) = &mut *place
                && future.as_mut().poll(&mut Context::from_waker(&waker(task.clone()))).is_ready()
            {
                *place = None;
                task.done.send(()).unwrap();
            }
        });
    }
}

fn on_a_fresh_thread_each_time(future: Pin<Box<dyn Future<Output = ()> + Send>>) {
    let (done, is_done) = mpsc::channel();
    ArcWake::wake(Arc::new(Task { future: Mutex::new(Some(future)), done }));
    is_done.recv().unwrap();
}

#[test]
fn on_tokio_with_many_threads() {
    finishes(|| EXECUTORS[0](Box::pin(everything(broker()))));
}

#[test]
fn on_tokio_with_one_thread() {
    finishes(|| EXECUTORS[1](Box::pin(everything(broker()))));
}

#[test]
fn on_a_plain_block_on() {
    finishes(|| EXECUTORS[2](Box::pin(everything(broker()))));
}

#[test]
fn on_a_fresh_thread_at_each_wake() {
    finishes(|| EXECUTORS[3](Box::pin(everything(broker()))));
}

#[test]
fn on_a_local_pool() {
    finishes(|| EXECUTORS[4](Box::pin(everything(broker()))));
}

#[test]
fn several_suites_at_once_on_one_thread() {
    finishes(|| {
        let mut pool = LocalPool::new();
        for _ in 0..4 {
            pool.spawner().spawn_local(everything(broker())).unwrap();
        }
        pool.run();
    });
}

#[test]
fn on_plain_threads_with_the_blocking_calls() {
    finishes(|| {
        let broker = broker();
        let (room, back) = (broker.room("there").unwrap(), broker.room("back").unwrap());
        let (mut there, mut answers) = (room.subscribe().now().unwrap(), back.subscribe().now().unwrap());
        let other = thread::spawn(move || {
            loop {
                match there.recv_ref_blocking() {
                    Ok(message) => assert!(back.publish(*message).is_ok()),
                    Err(end) => return end,
                }
            }
        });
        for number in 0..500 {
            assert_eq!(room.publish_blocking(number), Ok(number));
            assert_eq!(answers.recv_blocking(), Ok(number));
        }
        let full = broker.room("full").unwrap();
        let mut blocking = full.subscribe().policy(Policy::Block).now().unwrap();
        let filled = (0..).find(|number| full.publish(*number).is_err()).expect("it is full at some time");
        let reader =
            thread::spawn(move || (0..filled).for_each(|number| assert_eq!(blocking.recv_blocking(), Ok(number))));
        assert!(full.publish_blocking(filled).is_ok());
        reader.join().unwrap();
        room.close();
        assert_eq!(other.join().unwrap(), RecvError::Closed(CloseReason::Closed));
        assert_eq!(room.publish_blocking(0), Err(PublishError::Closed(0)));
    });
}

const EACH: u64 = 2_000;

async fn publish_waiting(room: Room<u64>) {
    for number in 0..EACH {
        room.publish_wait(number).await.unwrap();
    }
}

/// Reads to the end: the sum and the number of messages.
async fn read(mut subscription: Subscription<u64>) -> (u64, u64) {
    let (mut sum, mut count) = (0, 0);
    loop {
        match subscription.recv().await {
            Ok(message) => (sum, count) = (sum + message, count + 1),
            Err(RecvError::Closed(_)) => return (sum, count),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn two_executors_and_a_thread_share_a_room() {
    finishes(|| {
        let broker = Broker::<u64>::builder().capacity(32).shards(1).build();
        let room = broker.room("shared").unwrap();
        let subscribe = || room.subscribe().policy(Policy::Block).now().unwrap();
        let tokio = many_threads();
        let on_tokio: Vec<_> = (0..3).map(|_| tokio.spawn(read(subscribe()))).collect();
        let on_pool: Vec<_> = (0..3).map(|_| read(subscribe())).collect();
        let on_thread = subscribe();
        let publisher = publish_waiting(room.clone());
        let pool = thread::spawn(|| {
            let mut pool = LocalPool::new();
            pool.spawner().spawn_local(publisher).unwrap();
            pool.run_until(join_all(on_pool))
        });
        let on_thread = thread::spawn(|| block_on(read(on_thread)));
        let publisher = tokio.spawn(publish_waiting(room.clone()));
        for number in 0..EACH {
            room.publish_blocking(number).unwrap();
        }
        tokio.block_on(publisher).unwrap();
        eventually("the other publisher is done", || room.tail() == 3 * EACH);
        room.close();
        let expected = (3 * EACH * (EACH - 1) / 2, 3 * EACH);
        for reader in on_tokio {
            assert_eq!(tokio.block_on(reader).unwrap(), expected);
        }
        assert_eq!(pool.join().unwrap(), [expected; 3]);
        assert_eq!(on_thread.join().unwrap(), expected);
    });
}

#[test]
fn a_subscription_moves_between_executors_while_it_is_parked() {
    finishes(|| {
        let broker = broker();
        let room = broker.room("moves").unwrap();
        let mut subscription = room.subscribe().now().unwrap();
        let mut number = 0;
        for from in EXECUTORS {
            for to in EXECUTORS {
                // Parked on the one, with its waker, and then moved.
                let (hand_over, handed_over) = mpsc::channel();
                from(Box::pin(async move {
                    let parked = poll_fn(|context| Poll::Ready(subscription.poll_readable(context).is_pending())).await;
                    assert!(parked, "there is nothing to read");
                    hand_over.send(subscription).unwrap();
                }));
                let mut moved = handed_over.recv().unwrap();
                let (hand_back, handed_back) = mpsc::channel();
                let publisher = room.clone();
                to(Box::pin(async move {
                    let publish = move || publish_all(&publisher, [number]);
                    assert_eq!(asleep(moved.recv(), publish).await, Ok(number));
                    hand_back.send(moved).unwrap();
                }));
                subscription = handed_back.recv().unwrap();
                number += 1;
            }
        }
    });
}

/// The shards as tasks on runtimes of the embedder's.
#[cfg(feature = "tokio")]
mod on_the_runtime {
    use roomcast::{Handler, Ref, SubscribeError};

    use super::*;
    use crate::support::{Wakes, poll_once};

    #[test]
    fn shards_as_tasks_beside_everything_else() {
        for runtime in [many_threads, one_thread] {
            finishes(move || {
                let runtime = runtime();
                let broker = Broker::<u64>::builder().on_tokio(vec![runtime.handle().clone()]).build();
                assert_eq!(broker.stats().shards.len(), 1);
                runtime.block_on(everything(broker.clone()));
                assert!(broker.stats().shards[0].handler_runs > 0, "they have run there");
                runtime.block_on(async move { drop(broker) });
            });
        }
    }

    #[test]
    fn shards_are_spread_over_the_runtimes() {
        finishes(|| {
            let runtimes = [one_thread(), many_threads()];
            let handles = runtimes.each_ref().map(|runtime| runtime.handle().clone());
            let broker = Broker::<u64>::builder().on_tokio(handles.into()).shards(4).build();
            assert_eq!(broker.stats().shards.len(), 4);
            runtimes[0].block_on(everything(broker.clone()));
            assert!(broker.stats().shards.iter().all(|shard| shard.actions > 0));
        });
    }

    /// Runs on a thread of the runtime that runs its tasks; whether it panicked.
    fn panics_on_a_worker(runtime: &Runtime, run: impl FnOnce() + Send + 'static) -> bool {
        runtime.block_on(async { tokio::spawn(async move { run() }).await }).is_err_and(|error| error.is_panic())
    }

    #[test]
    fn who_would_sleep_on_a_thread_that_runs_tasks_is_refused() {
        for runtime in [many_threads(), one_thread()] {
            finishes(move || {
                let broker = Broker::<u64>::builder().capacity(4).shards(1).build();
                let (empty, full) = (broker.room("empty").unwrap(), broker.room("full").unwrap());
                let mut reader = empty.subscribe().now().unwrap();
                assert!(panics_on_a_worker(&runtime, move || _ = reader.recv_blocking()));
                let mut blocking = full.subscribe().policy(Policy::Block).now().unwrap();
                while full.publish(1).is_ok() {}
                let publisher = full.clone();
                assert!(panics_on_a_worker(&runtime, move || _ = publisher.publish_blocking(2)));
                // Where nobody has to wait, or where waiting is what the thread is for, nothing is refused.
                let mut reader = empty.subscribe().now().unwrap();
                empty.publish(3).unwrap();
                assert!(!panics_on_a_worker(&runtime, move || assert_eq!(reader.recv_blocking(), Ok(3))));
                assert_eq!(blocking.try_recv(), Ok(1));
                let mut reader = empty.subscribe().now().unwrap();
                let received = runtime.block_on(async {
                    let waiting = tokio::task::spawn_blocking(move || reader.recv_blocking());
                    tokio::task::yield_now().await;
                    empty.publish(4).unwrap();
                    waiting.await.unwrap()
                });
                assert_eq!(received, Ok(4));
            });
        }
    }

    #[test]
    fn a_shutdown_is_refused_there_and_a_drop_is_not() {
        finishes(|| {
            let runtime = one_thread();
            let broker = Broker::<u64>::builder().shards(1).build();
            let room = broker.room("lobby").unwrap();
            let (go_on, may_go_on) = mpsc::channel::<()>();
            let (began, has_begun) = mpsc::channel();
            let _served = block_on(room.subscribe_with(move |_| {
                began.send(()).unwrap();
                let _ = may_go_on.recv();
            }));
            room.publish(1).unwrap();
            has_begun.recv().unwrap();
            let other = broker.clone();
            let shut_down = move || _ = other.shutdown(std::time::Duration::from_secs(60));
            assert!(panics_on_a_worker(&runtime, shut_down));
            assert!(!panics_on_a_worker(&runtime, move || drop(broker)));
            drop(go_on);
        });
    }

    /// Hears the end.
    struct Told(mpsc::Sender<CloseReason>);

    impl Handler<u64> for Told {
        fn message(&mut self, _: Ref<'_, u64>) {}

        fn closed(&mut self, reason: CloseReason) {
            self.0.send(reason).unwrap();
        }
    }

    #[test]
    fn handlers_go_to_the_runtime_that_is_left() {
        finishes(|| {
            let (gone, left) = (one_thread(), many_threads());
            let runtimes = vec![gone.handle().clone(), left.handle().clone()];
            let broker = Broker::<u64>::builder().on_tokio(runtimes).build();
            let room = broker.room("lobby").unwrap();
            drop(gone);
            for number in 0..4 {
                let (told, all) = mpsc::channel();
                let served = block_on(room.subscribe_with(move |message| told.send(*message).unwrap())).unwrap();
                room.publish(number).unwrap();
                assert_eq!(all.recv(), Ok(number));
                block_on(served.unsubscribe());
            }
        });
    }

    #[test]
    fn a_runtime_that_is_gone_takes_its_handlers_and_nobody_else() {
        finishes(|| {
            let runtime = one_thread();
            let broker = Broker::<u64>::builder().on_tokio(vec![runtime.handle().clone()]).build();
            let room = broker.room("lobby").unwrap();
            let (told, end) = mpsc::channel();
            let served = runtime.block_on(room.subscribe_handler(Told(told))).unwrap();
            let (wakes, waker) = Wakes::new();
            let mut asleep: Vec<_> = (0..700).map(|_| room.subscribe().now().unwrap()).collect();
            for subscription in &mut asleep {
                assert!(poll_once(subscription.recv(), &waker).is_pending());
            }
            drop(runtime);
            assert!(!served.is_running() && room.is_running());
            assert_eq!(room.publish(7), Ok(0));
            assert_eq!(wakes.count(), 700, "those that a shard would have woken too");
            assert!(asleep.iter_mut().all(|subscription| subscription.try_recv() == Ok(7)));
            let refused = block_on(room.subscribe_with(|_: Ref<'_, u64>| {}));
            assert_eq!(refused.err(), Some(SubscribeError::NoShard), "the broker is open");
            assert_eq!(end.iter().collect::<Vec<_>>(), [CloseReason::ShardGone], "told once, and dropped");
            block_on(served.unsubscribe());
            drop(broker);
            assert!(!room.is_running());
        });
    }
}
