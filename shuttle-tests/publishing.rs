//! Several publishers, and readers of every policy that are slower or faster than them.

use shuttle::thread;

use super::ledger::Message;
use super::support::{Reader, Rig, draw, explore, publish, reached};
use crate::{Policy, Start};

const EACH: u32 = 6;

/// Publishes from three threads and closes.
fn publish_and_close(room: &crate::Room<Message>) {
    let publishers: Vec<_> = (0..3)
        .map(|publisher| {
            let room = room.clone();
            thread::spawn(move || publish(&room, publisher, EACH))
        })
        .collect();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    assert_eq!(room.tail(), u64::from(3 * EACH));
    room.close();
}

/// Rings from 2 segments of 1 slot to 4 of 4: readers that poll, that wait, and that take one or many at a time.
#[test]
fn publishers_and_readers() {
    explore("publishers_and_readers", &["a reader lagged", "nothing was missed"], || {
        let rig = Rig::new(1);
        let room = rig.room(1 << draw(0..=2), draw(2..=4));
        let readers: Vec<_> = [false, true]
            .map(|waits| {
                let mut reader = Reader::new(&room, Policy::Lag);
                let max = draw(1..=4) as usize;
                thread::spawn(move || {
                    while if waits { reader.wait(max) } else { reader.look(max) } {}
                    reader.finish()
                })
            })
            .into();
        publish_and_close(&room);
        for reader in readers {
            let account = reader.join().unwrap();
            assert_eq!((account.start, account.end), (0, u64::from(3 * EACH)));
            assert!(account.received > 0, "what is left at the end is read");
            if account.lagged == 0 {
                reached("nothing was missed");
            }
        }
    });
}

#[test]
fn readers_of_the_other_policies() {
    explore("readers_of_the_other_policies", &["it was disconnected", "messages were conflated"], || {
        let rig = Rig::new(1);
        let room = rig.room(1 << draw(0..=2), draw(2..=3));
        let latest = Reader::new(&room, Policy::Latest);
        let latest = thread::spawn(move || latest.wait_to_end(1));
        let disconnect = Reader::new(&room, Policy::Disconnect);
        let disconnect = thread::spawn(move || disconnect.wait_to_end(2));
        publish_and_close(&room);
        let (latest, disconnect) = (latest.join().unwrap(), disconnect.join().unwrap());
        assert_eq!((latest.lagged, latest.end), (0, u64::from(3 * EACH)), "what is skipped is conflated, not missed");
        if latest.conflated > 0 {
            reached("messages were conflated");
        }
        if disconnect.lagged > 0 {
            reached("it was disconnected");
        } else {
            assert_eq!(disconnect.received, u64::from(3 * EACH));
        }
    });
}

/// Subscriptions begin at either end while the ring turns, read a little and go.
#[test]
fn readers_come_and_go() {
    explore("readers_come_and_go", &["a late one read something"], || {
        let rig = Rig::new(1);
        let room = rig.room(1 << draw(0..=1), draw(2..=3));
        let comers: Vec<_> = [Start::Latest, Start::Oldest]
            .map(|start| {
                let room = room.clone();
                thread::spawn(move || {
                    while let Ok(subscription) = room.subscribe_from(start).now() {
                        let mut reader = Reader { subscription, seen: Default::default() };
                        (0..3).all(|_| reader.look(2));
                        if reader.finish().received > 0 {
                            reached("a late one read something");
                        }
                        thread::yield_now();
                    }
                })
            })
            .into();
        publish_and_close(&room);
        comers.into_iter().for_each(|comer| comer.join().unwrap());
        assert_eq!(room.stats().subscribers, 0);
    });
}

/// A byte budget gives segments up early, beside readers and other publishers.
#[test]
fn a_byte_budget() {
    explore("a_byte_budget", &["a reader lagged"], || {
        let rig = Rig::new(1);
        // No message may weigh more than a quarter of the budget by the slots, hence 24 for 6 in one slot.
        let room = rig.room_of_bytes(1, 4, 24);
        let heavy = Message::new(9, 24);
        assert!(matches!(room.publish(heavy), Err(crate::PublishError::TooLarge(_))));
        let readers: Vec<_> = [1, 3]
            .map(|max| {
                let reader = Reader::new(&room, Policy::Lag);
                thread::spawn(move || reader.wait_to_end(max))
            })
            .into();
        publish_and_close(&room);
        for reader in readers {
            assert_eq!(reader.join().unwrap().end, u64::from(3 * EACH));
        }
    });
}
