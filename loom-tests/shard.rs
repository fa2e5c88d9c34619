//! Shards: sleeping beside a push, ending beside a push, and the acknowledgements they owe.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::{Arc, Notify};
use loom::thread;

use super::support::{model, room};
use crate::room::{Action, Join, Room, ShardEntry, ShardInbox};
use crate::shard::Shard;
use crate::{Ref, Start, SubscribeWith};

#[test]
fn shard_sleep_push() {
    model(3..=4, || {
        let inbox = ShardInbox::<u64>::new();
        inbox.begin();
        let room = room(2);
        let poster = {
            let (inbox, room_ref) = (inbox.clone(), room.room_ref.clone());
            thread::spawn(move || inbox.post(crate::room::Action::Sweep(room_ref.0)))
        };
        block_on(std::future::poll_fn(|context| {
            if inbox.next_action().is_some() {
                return Poll::Ready(());
            }
            if !inbox.may_sleep(context.waker()) {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }));
        poster.join().unwrap();
    });
}

/// An action left beside the end of a shard is served by nobody and kept by nobody.
#[test]
fn post_finish() {
    model(3..=4, || {
        let inbox = ShardInbox::<u64>::new();
        inbox.begin();
        let room = room(2);
        let poster = {
            let (inbox, room_ref) = (inbox.clone(), room.room_ref.clone());
            thread::spawn(move || inbox.post(Action::Sweep(room_ref.0)))
        };
        inbox.finish();
        poster.join().unwrap();
        assert!(inbox.next_action().is_none(), "an action lies in the queue of a shard that is gone");
    });
}

/// An action left beside one who cannot start the shard is kept by nobody, and neither is what was to end meanwhile.
#[test]
fn post_not_begun() {
    model(3..=4, || {
        let inbox = ShardInbox::<u64>::new();
        let room = room(2);
        inbox.begin();
        let starter = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.not_begun())
        };
        inbox.post(Action::Sweep(room.room_ref.0.clone()));
        inbox.stop();
        if inbox.begin() {
            inbox.finish();
        }
        starter.join().unwrap();
        assert!(inbox.next_action().is_none(), "an action lies in the queue of a shard that could not be started");
        assert!(inbox.is_gone(), "the end of a shard that could not be started is waited for in vain");
    });
}

/// A room that is handed over beside the end of a shard is kept by nobody, either.
#[test]
fn push_finish() {
    model(3..=4, || {
        let inbox = ShardInbox::<u64>::new();
        let entry = ShardEntry::new(inbox.clone(), 0);
        entry.park();
        let caller = {
            let entry = entry.clone();
            thread::spawn(move || ShardEntry::call(&entry))
        };
        inbox.finish();
        caller.join().unwrap();
        assert!(inbox.take_rooms().is_empty(), "a room was left with a shard that is gone");
    });
}

/// Who waits for the end of a shard hears of it.
#[test]
fn wait_finish() {
    model(3..=4, || {
        let inbox = ShardInbox::<u64>::new();
        inbox.begin();
        let shard = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.finish())
        };
        block_on(inbox.wait_until_gone());
        shard.join().unwrap();
    });
}

fn inbox_of(room: &Room<u64>) -> Arc<ShardInbox<u64>> {
    room.room_ref.0.shared.inboxes[0].clone()
}

/// A future that has posted its join and waits for a shard.
fn joining(room: &Room<u64>) -> Pin<Box<SubscribeWith<u64>>> {
    let mut joining = Box::pin(room.subscribe_with(|_: Ref<'_, u64>| {}));
    assert!(joining.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    joining
}

fn posted_join(inbox: &ShardInbox<u64>) -> Box<Join<u64>> {
    match inbox.next_action() {
        Some(Action::Join(join)) => join,
        _ => panic!("the future has posted its join"),
    }
}

/// A handler that is given up while its shard joins it: one of the two decides, and a handler that was joined leaves from
/// the seat it was given.
#[test]
fn ack_settle() {
    model(3..=4, || {
        let room = room(1);
        let inbox = inbox_of(&room);
        let joining = joining(&room);
        let shard = {
            let inbox = inbox.clone();
            thread::spawn(move || {
                let Join { seat, promise, .. } = *posted_join(&inbox);
                seat.assign(5);
                promise.keep()
            })
        };
        drop(joining);
        let joined = shard.join().unwrap();
        let leaves = matches!(inbox.next_action(), Some(Action::Leave(leave)) if leave.member == 5);
        assert_eq!(joined, leaves);
    });
}

/// Whoever waits for an acknowledgement is woken by it, or by the end of the shard.
#[test]
fn ack_wait() {
    for kept in [true, false] {
        model(3..=4, move || {
            let room = room(1);
            let inbox = inbox_of(&room);
            let joining = joining(&room);
            let shard = {
                let inbox = inbox.clone();
                thread::spawn(move || {
                    let join = posted_join(&inbox);
                    if kept {
                        let Join { promise, .. } = *join;
                        promise.keep();
                    }
                })
            };
            assert_eq!(block_on(joining).is_ok(), kept);
            shard.join().unwrap();
            assert_eq!(inbox.next_action().is_some(), kept, "who was joined leaves");
        });
    }
}

/// A shard parks in a room beside a publisher and is called; the handler is given the message.
#[test]
fn shard_park() {
    model(1..=2, || {
        let room = room(2);
        let inbox = inbox_of(&room);
        let heard = Arc::new(Notify::new());
        let handler = {
            let heard = heard.clone();
            move |message: Ref<'_, u64>| {
                assert_eq!(*message, 7);
                heard.notify();
            }
        };
        let mut joining = Box::pin(room.subscribe_with_from(Start::Oldest, handler));
        assert!(joining.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let shard = {
            let inbox = inbox.clone();
            thread::spawn(move || {
                let mut shard = Shard::new(inbox, 0);
                block_on(std::future::poll_fn(|context| {
                    // As an executor does, so that a shard that looks again soon does not keep the publisher off.
                    thread::yield_now();
                    Pin::new(&mut shard).poll(context)
                }));
            })
        };
        room.publish(7).unwrap();
        heard.wait();
        inbox.stop();
        shard.join().unwrap();
    });
}
