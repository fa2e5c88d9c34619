//! A room with one publisher: batches, sleepers, and a close between the two steps of a commit.

use shuttle::thread;

use super::ledger::Message;
use super::support::{Reader, Rig, draw, explore, reached};
use crate::{Policy, PublishError};

#[test]
fn batches_beside_readers_of_every_kind() {
    explore("batches_beside_readers_of_every_kind", &["a reader lagged"], || {
        let rig = Rig::new(1);
        let mut publisher = rig.exclusive(1 << draw(0..=2), draw(2..=4));
        let room = publisher.room();
        let waiting: Vec<_> = [Policy::Lag, Policy::Latest]
            .map(|policy| {
                let reader = Reader::new(&room, policy);
                thread::spawn(move || reader.wait_to_end(3))
            })
            .into();
        let polling = Reader::new(&room, Policy::Lag);
        let polling = thread::spawn(move || {
            let mut polling = polling;
            while polling.look(2) {}
            polling.finish()
        });
        let mut number = 0;
        while number < 20 {
            let count = draw(1..=6);
            let batch = (number..number + count).map(|number| Message::new(0, number));
            let range = publisher.publish_all(batch.collect::<Vec<_>>()).unwrap();
            assert_eq!(range, u64::from(number)..u64::from(number + count));
            number += count;
        }
        drop(publisher);
        for reader in waiting.into_iter().chain([polling]) {
            assert_eq!(reader.join().unwrap().end, u64::from(number));
        }
    });
}

#[test]
fn a_close_beside_the_publisher() {
    explore("a_close_beside_the_publisher", &["a batch came back", "all was published"], || {
        let rig = Rig::new(0);
        let mut publisher = rig.exclusive(2, 3);
        let room = publisher.room();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = Reader::new(&room, Policy::Lag);
                thread::spawn(move || reader.wait_to_end(2))
            })
            .collect();
        let closer = {
            let room = room.clone();
            thread::spawn(move || room.close())
        };
        let mut published = 0;
        for first in (0..12).step_by(3) {
            let batch: Vec<_> = (first..first + 3).map(|number| Message::new(0, number)).collect();
            let mut batch = batch.into_iter();
            match publisher.publish_all(batch.by_ref()) {
                Ok(range) => published = range.end,
                Err(PublishError::Closed(back)) => {
                    let numbers: Vec<_> = back.into_iter().chain(batch).map(|message| message.read().1).collect();
                    published = u64::from(numbers[0]);
                    assert_eq!(numbers, (numbers[0]..first + 3).collect::<Vec<_>>(), "the rest comes back in order");
                    reached("a batch came back");
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if published == 12 {
            reached("all was published");
        }
        assert_eq!(room.tail(), published);
        closer.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap().end, published);
        }
    });
}

#[test]
fn a_blocking_reader_of_an_exclusive_room() {
    explore("a_blocking_reader_of_an_exclusive_room", &["it was full"], || {
        let rig = Rig::new(0);
        let mut publisher = rig.exclusive(2, 2);
        let room = publisher.room();
        let reader = Reader::new(&room, Policy::Block);
        let reader = thread::spawn(move || reader.wait_to_end(1));
        let mut number = 0;
        while number < 12 {
            match publisher.publish(Message::new(0, number)) {
                Ok(sequence) => {
                    assert_eq!(sequence, u64::from(number));
                    number += 1;
                }
                Err(PublishError::Full(_)) => {
                    reached("it was full");
                    thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
        drop(publisher);
        let account = reader.join().unwrap();
        assert_eq!((account.received, account.lagged), (12, 0));
    });
}
