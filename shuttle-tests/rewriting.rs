//! Messages are replaced, and let go by bytes, beside publishers, readers of every kind, and others who do the same.

use std::collections::BTreeMap;
use std::ops::Range;

use shuttle::thread;

use super::ledger::{Message, left_of};
use super::support::{Reader, Rig, draw, explore, reached};
use crate::{Accounting, Policy, Rewritten, Room, Start};

/// Messages of each publisher.
const EACH: u32 = 5;

/// Whose messages are replaced.
const HIDDEN: u32 = 0;

/// How often one thread replaces, or lets go.
const TIMES: u32 = 3;

/// Replaces what is hidden, among those sequences, and was not replaced before.
fn hide(room: &Room<Message>, sequences: Range<u64>) -> Rewritten {
    let other =
        |_: u64, message: &Message| (message.read().0 == HIDDEN && !message.is_other()).then(|| message.other());
    let rewritten = room.rewrite(sequences, other).expect("it has more publishers than one");
    if rewritten.messages > 0 {
        reached("a message was replaced");
    }
    if !rewritten.is_done {
        reached("somebody was in the way");
    }
    rewritten
}

/// Publishes from two threads; where a reader blocks they wait.
fn publishers(room: &Room<Message>) -> Vec<thread::JoinHandle<()>> {
    let publish = |publisher| {
        let room = room.clone();
        thread::spawn(move || {
            for number in 0..EACH {
                room.publish_blocking(Message::new(publisher, number)).expect("nobody closes it");
            }
        })
    };
    [HIDDEN, HIDDEN + 1].map(publish).into()
}

/// Two who replace parts of the room again and again.
fn rewriters(room: &Room<Message>) -> Vec<thread::JoinHandle<()>> {
    let rewrite = |_| {
        let room = room.clone();
        thread::spawn(move || {
            for _ in 0..TIMES {
                let from = u64::from(draw(0..=EACH));
                hide(&room, from..from + u64::from(draw(1..=2 * EACH)));
            }
        })
    };
    [0, 1].map(rewrite).into()
}

/// One who lets messages go.
fn trimmer(room: &Room<Message>) -> thread::JoinHandle<()> {
    let room = room.clone();
    thread::spawn(move || {
        for _ in 0..TIMES {
            let before = room.oldest();
            room.trim(u64::from(draw(0..=12)));
            if room.oldest() > before {
                reached("something was let go");
            }
            thread::yield_now();
        }
    })
}

type Places = BTreeMap<u64, (u32, u32)>;

/// Reads to the end of the room, and gives back now and then what it keeps of it.
fn read_to_end(mut reader: Reader, max: usize, waits: bool) -> thread::JoinHandle<(Accounting, Places)> {
    thread::spawn(move || {
        while if waits { reader.wait(max) } else { reader.look(max) } {
            if draw(0..=2) == 0 {
                reader.subscription.release();
            }
        }
        if reader.seen.others > 0 {
            reached("a reader was given what was put there");
        }
        let places = std::mem::take(&mut reader.seen.places);
        (reader.finish(), places)
    })
}

/// What one who comes now is given of a room into which nobody publishes.
fn read_all(room: &Room<Message>) -> Places {
    let subscription = room.subscribe_from(Start::Oldest).now().expect("the room is open");
    let start = subscription.position().sequence;
    let mut reader = Reader { subscription, seen: Default::default() };
    while start + reader.seen.received + reader.seen.lagged < room.tail() {
        assert!(reader.look(3), "the room is open");
    }
    let is_hidden = reader.seen.places.values().filter(|(publisher, _)| *publisher == HIDDEN).count();
    assert_eq!(reader.seen.others, is_hidden as u64, "who comes afterwards is given what was replaced");
    reader.seen.places
}

/// At a sequence everybody is given the same message, or what was put in its place.
fn assert_agree(all: &[Places]) {
    let mut known = Places::new();
    for (sequence, which) in all.iter().flatten() {
        assert_eq!(known.entry(*sequence).or_insert(*which), which, "two were given different messages at {sequence}");
    }
}

/// Nobody publishes, replaces or lets go any more: one more look replaces all that is left, for whoever comes; and once nobody reads, the
/// old ones are gone.
fn settle(room: &Room<Message>, readers: Vec<thread::JoinHandle<(Accounting, Places)>>) -> Vec<Accounting> {
    hide(room, 0..room.tail());
    assert_eq!(hide(room, 0..room.tail()).messages, 0, "once is enough");
    let mut all = vec![read_all(room)];
    assert!(room.close());
    let mut accounts = Vec::new();
    for reader in readers {
        let (account, places) = reader.join().unwrap();
        assert_eq!(account.end, u64::from(2 * EACH));
        accounts.push(account);
        all.push(places);
    }
    assert_agree(&all);
    assert!(hide(room, 0..room.tail()).is_done, "nobody is in the way");
    assert_eq!(left_of(HIDDEN), 0, "what was replaced is dropped");
    accounts
}

#[test]
fn messages_are_replaced_beside_publishers_and_readers() {
    let wanted = ["a message was replaced", "somebody was in the way", "a reader was given what was put there"];
    explore("messages_are_replaced_beside_publishers_and_readers", &wanted, || {
        let rig = Rig::new(1);
        let room = rig.room(1 << draw(0..=2), draw(2..=4));
        let readers =
            [false, true].map(|waits| read_to_end(Reader::new(&room, Policy::Lag), draw(1..=3) as usize, waits));
        let others: Vec<_> = publishers(&room).into_iter().chain(rewriters(&room)).collect();
        others.into_iter().for_each(|other| other.join().unwrap());
        settle(&room, readers.into());
    });
}

#[test]
fn messages_are_replaced_while_others_are_let_go() {
    let wanted = ["a message was replaced", "something was let go", "a reader lagged"];
    explore("messages_are_replaced_while_others_are_let_go", &wanted, || {
        let rig = Rig::new(1);
        // Nothing goes of itself: all messages together weigh 30.
        let room = rig.room_of_bytes(1 << draw(0..=1), 16, 64);
        let readers =
            [false, true].map(|waits| read_to_end(Reader::new(&room, Policy::Lag), draw(1..=3) as usize, waits));
        let others = publishers(&room).into_iter().chain(rewriters(&room)).chain([trimmer(&room)]);
        others.collect::<Vec<_>>().into_iter().for_each(|other| other.join().unwrap());
        settle(&room, readers.into());
    });
}

/// Whoever blocks is given everything, whatever is replaced and let go.
#[test]
fn a_blocking_reader_misses_nothing_that_is_replaced_or_let_go() {
    let wanted = ["a message was replaced", "something was let go"];
    explore("a_blocking_reader_misses_nothing_that_is_replaced_or_let_go", &wanted, || {
        let rig = Rig::new(1);
        let room = rig.room_of_bytes(1, 16, 24);
        let readers = vec![read_to_end(Reader::new(&room, Policy::Block), draw(1..=3) as usize, true)];
        let others = publishers(&room).into_iter().chain(rewriters(&room)).chain([trimmer(&room)]);
        others.collect::<Vec<_>>().into_iter().for_each(|other| other.join().unwrap());
        let accounts = settle(&room, readers);
        assert_eq!((accounts[0].received, accounts[0].lagged), (u64::from(2 * EACH), 0), "nothing is overrun");
    });
}
