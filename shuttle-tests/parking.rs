//! Sleeping and waking: with one message at a time, with more readers than a publisher wakes, and with readers that are
//! dropped in their sleep.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use shuttle::future::block_on;
use shuttle::thread;

use super::ledger::Message;
use super::support::{Reader, Rig, draw, explore, publish, reached};
use crate::{Policy, RecvError};

/// Three readers sleep before each message of two publishers.
#[test]
fn readers_sleep_between_messages() {
    explore("readers_sleep_between_messages", &["a reader lagged"], || {
        let rig = Rig::new(0);
        let room = rig.room(1 << draw(0..=1), 2);
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let reader = Reader::new(&room, Policy::Lag);
                thread::spawn(move || reader.wait_to_end(1))
            })
            .collect();
        let other = {
            let room = room.clone();
            thread::spawn(move || publish(&room, 1, 4))
        };
        publish(&room, 0, 4);
        other.join().unwrap();
        room.close();
        for reader in readers {
            assert_eq!(reader.join().unwrap().end, 8);
        }
    });
}

/// Two threads each wait for the other's message: at every step somebody sleeps.
#[test]
fn two_threads_answer_each_other() {
    explore("two_threads_answer_each_other", &[], || {
        const ROUNDS: u64 = 12;
        let rig = Rig::new(0);
        let (there, back) = (rig.room(1, 2), rig.room(1, 2));
        let mut ours = Reader::new(&back, Policy::Lag);
        let answering = {
            let (back, mut theirs) = (back.clone(), Reader::new(&there, Policy::Lag));
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    assert!(theirs.wait(1) && theirs.seen.received == round + 1);
                    back.publish(Message::new(1, round as u32)).unwrap();
                }
            })
        };
        for round in 0..ROUNDS {
            there.publish(Message::new(0, round as u32)).unwrap();
            assert!(ours.wait(1) && ours.seen.received == round + 1);
        }
        answering.join().unwrap();
    });
}

/// The same by the crate's own way to sleep on a thread.
#[test]
fn two_plain_threads_answer_each_other() {
    explore("two_plain_threads_answer_each_other", &[], || {
        const ROUNDS: u32 = 8;
        let rig = Rig::new(0);
        let (there, back) = (rig.room(1, 2), rig.room(1, 2));
        let mut ours = back.subscribe().now().unwrap();
        let answering = {
            let (back, mut theirs) = (back.clone(), there.subscribe().now().unwrap());
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    assert_eq!(theirs.recv_ref_blocking().unwrap().read(), (0, round));
                    back.publish(Message::new(1, round)).unwrap();
                }
            })
        };
        for round in 0..ROUNDS {
            there.publish(Message::new(0, round)).unwrap();
            assert_eq!(ours.recv_ref_blocking().unwrap().read(), (1, round));
        }
        answering.join().unwrap();
    });
}

/// More sleepers than a publisher wakes itself: a shard wakes the rest.
#[test]
fn a_shard_wakes_those_who_are_too_many() {
    const SLEEPERS: usize = 20;
    explore("a_shard_wakes_those_who_are_too_many", &["all slept"], || {
        let rig = Rig::new(1);
        let room = rig.room(2, 3);
        let mut sleepers: Vec<_> = (0..SLEEPERS).map(|_| Reader::new(&room, Policy::Lag)).collect();
        let publisher = {
            let room = room.clone();
            thread::spawn(move || {
                publish(&room, 0, 4);
                room.close();
            })
        };
        block_on(std::future::poll_fn(|context| {
            sleepers.retain_mut(|sleeper| reads_on(sleeper, context));
            if sleepers.iter().filter(|sleeper| sleeper.seen.received == 0).count() == SLEEPERS {
                reached("all slept");
            }
            if sleepers.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        }));
        publisher.join().unwrap();
    });
}

/// The same where the shard is in the midst of something for good: those who were woken wake the others.
#[test]
fn those_who_were_woken_wake_the_others() {
    const SLEEPERS: usize = 9;
    explore("those_who_were_woken_wake_the_others", &["a reader lagged"], || {
        let rig = Rig::new(0);
        let room = rig.room(1, 2);
        let sleepers: Vec<_> = (0..SLEEPERS)
            .map(|number| {
                let mut reader = Reader::new(&room, Policy::Lag);
                thread::spawn(move || match number % 3 {
                    // One message, and gone.
                    0 => {
                        reader.wait(1);
                        reader.finish().end > 0
                    }
                    _ => reader.wait_to_end(1).end == 3,
                })
            })
            .collect();
        publish(&room, 0, 3);
        room.close();
        for sleeper in sleepers {
            assert!(sleeper.join().unwrap());
        }
    });
}

/// Reads until there is nothing; false at the end of the room.
fn reads_on(reader: &mut Reader, context: &mut Context<'_>) -> bool {
    let Reader { subscription, seen } = reader;
    loop {
        match pin!(subscription.recv_batch(4)).poll(context) {
            Poll::Pending => return true,
            Poll::Ready(Ok(batch)) => seen.take(&batch),
            Poll::Ready(Err(RecvError::Lagged(missed))) => seen.lagged += missed,
            Poll::Ready(Err(_)) => break,
        }
    }
    seen.check(subscription.accounting());
    assert_eq!(seen.received + seen.lagged, 4);
    false
}

/// Sleepers are dropped in their sleep, so many that they are swept out, while others sleep on and must be woken.
#[test]
fn sleepers_that_are_dropped_do_not_take_the_call_of_others() {
    explore("sleepers_that_are_dropped_do_not_take_the_call_of_others", &["somebody was dropped asleep"], || {
        let rig = Rig::new(1);
        let room = rig.room(1, 2);
        let steady = Reader::new(&room, Policy::Lag);
        let steady = thread::spawn(move || steady.wait_to_end(1));
        let fickle = {
            let room = room.clone();
            thread::spawn(move || {
                for _ in 0..40 {
                    let Ok(mut subscription) = room.subscribe().now() else { break };
                    let mut asleep = false;
                    block_on(std::future::poll_fn(|context| {
                        asleep = pin!(subscription.recv_ref()).poll(context).is_pending();
                        Poll::Ready(())
                    }));
                    if asleep {
                        reached("somebody was dropped asleep");
                    }
                }
            })
        };
        publish(&room, 0, 4);
        fickle.join().unwrap();
        room.close();
        assert_eq!(steady.join().unwrap().end, 4);
    });
}
