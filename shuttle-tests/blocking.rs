//! Subscribers that hold publishers up: nothing is evicted before they have read it, and whoever waits for them is woken.

use shuttle::future::block_on;
use shuttle::thread;

use super::ledger::Message;
use super::support::{Reader, Rig, draw, explore, reached};
use crate::{Policy, PublishError, Room};

const EACH: u32 = 6;

/// Publishes from two threads, one waiting as a thread and one as a task, and closes.
fn publish_and_close(room: &Room<Message>) {
    let other = {
        let room = room.clone();
        thread::spawn(move || {
            for number in 0..EACH {
                if let Err(message) = now(&room, Message::new(1, number)) {
                    block_on(room.publish_wait(message)).expect("nobody closes it");
                }
            }
        })
    };
    for number in 0..EACH {
        if let Err(message) = now(room, Message::new(0, number)) {
            room.publish_blocking(message).expect("nobody closes it");
        }
    }
    other.join().unwrap();
    room.close();
}

/// Publishes at once, or gives the message back when it has to wait.
fn now(room: &Room<Message>, message: Message) -> Result<u64, Message> {
    room.publish(message).map_err(|refused| {
        reached("somebody had to wait");
        match refused {
            PublishError::Full(message) => message,
            refused => panic!("{refused}"),
        }
    })
}

#[test]
fn publishers_wait_for_a_slow_reader() {
    explore("publishers_wait_for_a_slow_reader", &["somebody had to wait"], || {
        let rig = Rig::new(1);
        let room = rig.room(1 << draw(0..=2), 2);
        let reader = Reader::new(&room, Policy::Block);
        let reader = thread::spawn(move || reader.wait_to_end(2));
        publish_and_close(&room);
        let account = reader.join().unwrap();
        assert_eq!((account.received, account.lagged), (u64::from(2 * EACH), 0), "nothing is overrun");
    });
}

/// One blocks from the start; another joins and leaves, at the tail and in the past; a third lags beside them.
#[test]
fn blocking_readers_come_and_go() {
    explore("blocking_readers_come_and_go", &["a comer read something", "somebody had to wait"], || {
        let rig = Rig::new(1);
        let room = rig.room(1 << draw(0..=1), 2);
        let comer = {
            let room = room.clone();
            thread::spawn(move || {
                while let Ok(subscription) = room.subscribe_from(crate::Start::Oldest).policy(Policy::Block).now() {
                    let mut reader = Reader { subscription, seen: Default::default() };
                    (0..2).all(|_| reader.look(2));
                    let account = reader.finish();
                    assert_eq!(account.lagged, 0, "a reader that blocks is never overrun");
                    if account.received > 0 {
                        reached("a comer read something");
                    }
                    thread::yield_now();
                }
            })
        };
        let lagging = Reader::new(&room, Policy::Lag);
        let lagging = thread::spawn(move || {
            let mut subscription = lagging.subscription;
            let mut last = None;
            loop {
                match block_on(subscription.recv_ref()) {
                    Ok(message) => {
                        message.read();
                        assert!(last < Some(message.sequence()));
                        last = Some(message.sequence());
                    }
                    Err(crate::RecvError::Lagged(_)) => {}
                    Err(_) => break,
                }
            }
            subscription.accounting()
        });
        publish_and_close(&room);
        comer.join().unwrap();
        assert_eq!(lagging.join().unwrap().end, room.tail());
        assert_eq!(room.stats().blocking, 0);
    });
}

/// Publishers that wait are told when their room is closed instead of read.
#[test]
fn a_close_frees_those_who_wait() {
    explore("a_close_frees_those_who_wait", &["somebody got its message back"], || {
        let rig = Rig::new(0);
        let room = rig.room(1, 2);
        let reader = Reader::new(&room, Policy::Block);
        let waiting: Vec<_> = (0..2)
            .map(|publisher| {
                let room = room.clone();
                thread::spawn(move || {
                    (0..4)
                        .take_while(|&number| match block_on(room.publish_wait(Message::new(publisher, number))) {
                            Ok(_) => true,
                            Err(PublishError::Closed(message)) => {
                                assert_eq!(message.read(), (publisher, number), "it comes back");
                                reached("somebody got its message back");
                                false
                            }
                            Err(error) => panic!("{error}"),
                        })
                        .count()
                })
            })
            .collect();
        room.close();
        let published: usize = waiting.into_iter().map(|waiting| waiting.join().unwrap()).sum();
        let account = reader.wait_to_end(4);
        assert_eq!((account.received, account.lagged), (published as u64, 0));
    });
}
