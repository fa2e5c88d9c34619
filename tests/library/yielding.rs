//! Whoever always finds something lets the other tasks of its executor have their turn.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;

use futures::executor::LocalPool;
use futures::stream::{SelectAll, StreamExt};
use futures::task::LocalSpawnExt;
use futures::{FutureExt, SinkExt};
use roomcast::{Broker, CloseReason, Policy, Room, Start, Subscription};

/// So often somebody finds something before a task beside must have run: far more than it takes.
const FINDS_MAX: u32 = 10_000;

fn room() -> (Broker<u64>, Room<u64>) {
    let broker = Broker::<u64>::builder().shards(1).capacity(64).build();
    let room = broker.room("lobby").unwrap();
    (broker, room)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Lets `find` find something again and again beside another task, which must have run before long.
#[track_caller]
fn gives_way(what: &str, mut find: impl AsyncFnMut()) {
    let finds = runtime().block_on(async {
        let beside = tokio::spawn(async {});
        let mut finds = 0;
        while !beside.is_finished() && finds < FINDS_MAX {
            find().await;
            finds += 1;
        }
        finds
    });
    assert!(finds < 1_000, "{what} is ready for ever, and nobody else has a turn: {finds} finds");
}

#[test]
fn a_reader_that_always_finds_a_message_gives_way() {
    let (_broker, room) = room();
    let read = || (room.clone(), room.subscribe().now().unwrap());
    let (publish, mut reader) = read();
    gives_way("recv", async || {
        publish.publish(1).unwrap();
        assert_eq!(reader.recv().await, Ok(1));
    });
    let (publish, mut reader) = read();
    gives_way("recv_ref", async || {
        publish.publish(2).unwrap();
        assert_eq!(*reader.recv_ref().await.unwrap(), 2);
    });
    let (publish, mut reader) = read();
    gives_way("recv_batch", async || {
        publish.publish(3).unwrap();
        assert_eq!(*reader.recv_batch(9).await.unwrap(), [3]);
    });
    let (publish, mut reader) = read();
    gives_way("a stream", async || {
        publish.publish(4).unwrap();
        assert_eq!(reader.next().await, Some(Ok(4)));
    });
    let (publish, mut reader) = read();
    gives_way("poll_readable", async || {
        publish.publish(5).unwrap();
        poll_fn(|context| reader.poll_readable(context)).await;
        assert_eq!(reader.try_recv(), Ok(5));
    });
    let mut again = room.subscribe().now().unwrap();
    room.close();
    gives_way("the end", async || assert!(again.recv().await.is_err()));
}

#[test]
fn whoever_reads_many_rooms_gives_way() {
    let (broker, room) = room();
    let mut set = broker.subscribe_many(["lobby"]).unwrap();
    gives_way("a set", async || {
        room.publish(1).unwrap();
        let key = set.ready().await;
        assert_eq!(set.get_mut(key).unwrap().try_recv(), Ok(1));
    });
    gives_way("recv of a set", async || {
        room.publish(2).unwrap();
        assert_eq!(set.recv().await.unwrap().1, Ok(2));
    });
    gives_way("a set as a stream", async || {
        room.publish(3).unwrap();
        assert_eq!(set.next().await.unwrap().1, Ok(3));
    });
    let mut pattern = broker.subscribe_pattern("lob*");
    gives_way("a pattern", async || {
        room.publish(4).unwrap();
        let key = pattern.ready().await.unwrap();
        assert_eq!(pattern.get_mut(key).unwrap().try_recv(), Ok(4));
    });
    gives_way("a pattern as a stream", async || {
        room.publish(5).unwrap();
        assert_eq!(pattern.next().await.unwrap().1, Ok(5));
    });
    drop(set);
    let key = pattern.keys().next().unwrap();
    room.publish(6).unwrap();
    gives_way("a room that is left unread", async || assert_eq!(pattern.ready().await, Some(key)));
}

#[test]
fn whoever_waits_for_something_else_that_is_so_gives_way() {
    let (broker, room) = room();
    gives_way("publish_wait", async || assert!(room.publish_wait(1).await.is_ok()));
    let mut exclusive = broker.exclusive("prices").unwrap();
    gives_way("publish_wait of a publisher", async || assert!(exclusive.publish_wait(1).await.is_ok()));
    let mut sink = room.sink();
    gives_way("a sink", async || sink.send(1).await.unwrap());
    gives_way("vacated", async || room.vacated().await);
    room.close();
    gives_way("closed", async || assert_eq!(room.closed().await, CloseReason::Closed));
}

/// A reader of a room of its own, that finds a message each time.
struct Flooded {
    room: Room<u64>,
    reader: Subscription<u64>,
}

impl Flooded {
    fn in_rooms(broker: &Broker<u64>, count: usize) -> Vec<Self> {
        let rooms = (0..count).map(|number| broker.room(&number.to_string()).unwrap());
        rooms.map(|room| Self { reader: room.subscribe().now().unwrap(), room }).collect()
    }

    async fn find(&mut self) {
        self.room.publish(7).unwrap();
        assert_eq!(self.reader.recv().await, Ok(7));
    }
}

#[test]
fn a_select_of_several_gives_way() {
    let (broker, _) = room();
    let mut flooded = Flooded::in_rooms(&broker, 3);
    let [one, two, three] = &mut flooded[..] else { unreachable!() };
    gives_way("select!", async || {
        tokio::select! { () = one.find() => {}, () = two.find() => {}, () = three.find() => {} }
    });
    gives_way("select! in order", async || {
        tokio::select! { biased; () = one.find() => {}, () = two.find() => {}, () = three.find() => {} }
    });
    let room = broker.room("lobby").unwrap();
    gives_way("select! of a reader and a publisher", async || {
        tokio::select! { () = one.find() => {}, done = room.publish_wait(1) => assert!(done.is_ok()) }
    });
    gives_way("select! of a reader that waits and a publisher", async || {
        let mut waits = broker.room("quiet").unwrap().subscribe().now().unwrap();
        tokio::select! { _ = waits.recv() => unreachable!(), done = room.publish_wait(1) => assert!(done.is_ok()) }
    });
}

/// These wake a part of a task by a waker of that part's own.
#[test]
fn a_stream_of_several_streams_gives_way() {
    let (broker, _) = room();
    let flooded = Flooded::in_rooms(&broker, 5);
    let rooms: Vec<_> = flooded.iter().map(|flooded| flooded.room.clone()).collect();
    let mut all: SelectAll<_> = flooded.into_iter().map(|flooded| flooded.reader).collect();
    gives_way("SelectAll", async || {
        rooms.iter().for_each(|room| assert!(room.publish(7).is_ok()));
        assert!(all.next().await.is_some());
    });
}

/// Two loops of one task: neither keeps the other from reading, however much it finds.
#[test]
fn each_branch_of_a_join_gets_on() {
    let (broker, _) = room();
    let mut flooded = Flooded::in_rooms(&broker, 3);
    let found = [const { Cell::new(0u32) }; 3];
    let turns = {
        let mut loops: Vec<_> = flooded
            .iter_mut()
            .zip(&found)
            .map(|(flooded, found)| {
                Box::pin(async move {
                    while found.get() < 20_000 {
                        flooded.find().await;
                        found.set(found.get() + 1);
                    }
                })
            })
            .collect();
        let mut turns = 0;
        runtime().block_on(poll_fn(|context| {
            turns += 1;
            let polls = loops.iter_mut().map(|branch| branch.poll_unpin(context).is_ready()).collect::<Vec<_>>();
            // Until the first has found all it is to find.
            if polls.contains(&true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        }));
        turns
    };
    assert!(turns > 20_000 / 1_000, "in {turns} turns of the task");
    let found = found.each_ref().map(Cell::get);
    assert!(found.iter().all(|found| *found > 1_000), "each has found something in its turns: {found:?}");
}

/// Any executor will do.
#[test]
fn a_task_beside_runs_on_any_executor() {
    let (broker, _) = room();
    let mut pool = LocalPool::new();
    let done = Rc::new(Cell::new(false));
    let sees = done.clone();
    let mut flooded = Flooded::in_rooms(&broker, 1).remove(0);
    let reading = async move {
        let mut finds = 0;
        while !sees.get() && finds < FINDS_MAX {
            flooded.find().await;
            finds += 1;
        }
        finds
    };
    let reading = pool.spawner().spawn_local_with_handle(reading).unwrap();
    pool.spawner().spawn_local(async move { done.set(true) }).unwrap();
    assert!(pool.run_until(reading) < 1_000);
}

#[test]
fn what_never_waits_is_not_held_up() {
    let broker = Broker::<u64>::builder().shards(1).capacity(5_000).build();
    let room = broker.room("lobby").unwrap();
    room.publish_all(0..5_000).unwrap();
    let mut reader = room.subscribe_from(Start::Oldest).now().unwrap();
    for number in 0..1_000 {
        assert_eq!(reader.try_recv(), Ok(number));
    }
    for number in 1_000..2_000 {
        assert_eq!(reader.recv_blocking(), Ok(number));
    }
    // Polled with a waker that wakes nobody: whoever does that wants to know what is there now.
    for number in 2_000..3_000 {
        assert_eq!(reader.recv().now_or_never(), Some(Ok(number)));
    }
    for _ in 0..1_000 {
        assert!(room.publish_wait(1).now_or_never().is_some_and(|done| done.is_ok()));
    }
}

/// Yielding wakes the reader once in so many finds, and loses nothing.
#[test]
fn nothing_is_lost_and_little_is_woken() {
    let (_broker, room) = room();
    let mut reader = room.subscribe().policy(Policy::Block).now().unwrap();
    let (wakes, waker) = crate::support::Wakes::new();
    let (mut received, mut polls) = (0, 0);
    while received < 10_000 {
        if room.publish(received).is_err() {
            panic!("it is read");
        }
        loop {
            polls += 1;
            if let std::task::Poll::Ready(message) = crate::support::poll_once(reader.recv(), &waker) {
                assert_eq!(message, Ok(received));
                break;
            }
        }
        received += 1;
    }
    assert_eq!(polls - received, wakes.count() as u64, "each time it was pending it was woken");
    assert!(wakes.count() > 0 && wakes.count() as u64 <= received / 100, "{} times", wakes.count());
}

/// A future is sent where it is polled, whatever it counts.
#[test]
fn futures_that_count_go_anywhere() {
    fn goes(_: &(impl Future + Send)) {}
    let (broker, room) = room();
    let mut set = broker.subscribe_many(["lobby"]).unwrap();
    let mut pattern = broker.subscribe_pattern("*");
    goes(&set.recv());
    goes(&pattern.recv());
    goes(&room.publish_wait(1));
    goes(&room.closed());
}
