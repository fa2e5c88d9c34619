//! The history, read as one from ring and store.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use roomcast::store::{Durability, HistoryPage, Options, Page};
use roomcast::{Room, RoomOptions};

use crate::support::{Dice, Place, Run};

/// What was asked for (a range, at most so many, from the newest down or not), how many were accepted before, and the answer.
type Read = (Range<u64>, usize, bool, u64, HistoryPage<String>);

/// What was accepted, by sequence.
type Published = Mutex<BTreeMap<u64, String>>;

fn publish(room: &Room<String>, published: &Published, text: String) {
    let sequence = room.publish_blocking(text.clone()).unwrap();
    published.lock().unwrap().insert(sequence, text);
}

/// Everything before it was accepted.
fn confirmed(published: &Published) -> u64 {
    let published = published.lock().unwrap();
    published.keys().zip(0..).find(|(sequence, at)| **sequence != *at).map_or(published.len() as u64, |(_, at)| at)
}

/// Two publishers overrun the ring all the time, while random ranges are read from either end: what comes is what was
/// published, without a gap, and all of it where all of it has been accepted. The room's first messages are of an earlier incarnation.
pub(crate) fn the_history_is_one_while_publishers_run(place: &dyn Place) {
    let options = || Options::all(Durability::Async).batch_messages_max(50);
    let published = Published::default();
    let run = Run::start(place.open(), options());
    let room = run.open("lobby");
    (0..150).for_each(|count| publish(&room, &published, format!("a: {count}")));
    run.flush();
    let _crashed = run.crash();

    let seed = Dice::seed();
    let run = Run::start(place.open(), options());
    let room = run.open("lobby");
    let is_over = AtomicBool::new(false);
    let mut read: Vec<Read> = Vec::new();
    thread::scope(|scope| {
        for writer in 0..2 {
            let (room, published, is_over) = (&room, &published, &is_over);
            scope.spawn(move || {
                let mut count = 0;
                while !is_over.load(SeqCst) && count < 20_000 {
                    publish(room, published, format!("{writer}: {count}"));
                    count += 1;
                    if count % 16 == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut dice = Dice::new(seed, 0);
        for _ in 0..300 {
            let tail = room.tail();
            let start = dice.roll(tail + 10);
            let longest = if dice.once_in(2) { 50 } else { tail + 10 };
            let range = start..start + dice.roll(longest);
            let (limit, is_newest_first) = (1 + dice.roll(120) as usize, dice.once_in(2));
            let all = confirmed(&published);
            let history = match is_newest_first {
                true => run.archive.history_newest_first(&room, range.clone(), limit),
                false => run.archive.history(&room, range.clone(), limit),
            };
            read.push((range, limit, is_newest_first, all, history.expect("the history is read")));
        }
        is_over.store(true, SeqCst);
    });
    run.close();
    let published = published.into_inner().unwrap();
    for (range, limit, is_newest_first, all, mut history) in read {
        assert!(history.len() <= limit);
        let what = format!("{range:?}, at most {limit}, newest first: {is_newest_first}, {all} accepted before");
        if range.end <= all {
            let there = (range.end - range.start).min(limit as u64);
            assert_eq!(history.len() as u64, there, "{what}");
            let first = if is_newest_first { range.end.wrapping_sub(1) } else { range.start };
            assert!(history.first().is_none_or(|message| message.sequence == first), "{what}");
        }
        if is_newest_first {
            history.reverse();
        }
        let sequences: Vec<u64> = history.iter().map(|message| message.sequence).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{what}: {sequences:?}");
        assert!(sequences.iter().all(|sequence| range.contains(sequence)), "{what}: {sequences:?}");
        for message in history {
            assert_eq!(message.message.as_ref(), published.get(&message.sequence), "{what}");
        }
    }
}

/// Ranges that go beyond the newest message, or lie there, or are empty, are answered with what there is.
pub(crate) fn more_than_there_is_may_be_asked_for(place: &dyn Place) {
    let run = Run::start(place.open(), Options::all(Durability::Async));
    let room = run.open("lobby");
    let sequences = |history: HistoryPage<String>| history.iter().map(|message| message.sequence).collect::<Vec<_>>();
    let oldest = |range: Range<u64>, limit| sequences(run.archive.history(&room, range, limit).unwrap());
    let newest = |range: Range<u64>, limit| sequences(run.archive.history_newest_first(&room, range, limit).unwrap());
    assert_eq!((oldest(0..10, 10), newest(0..10, 10)), (vec![], vec![]), "an empty room");
    for count in 0..3 {
        room.publish(format!("a: {count}")).unwrap();
    }
    for end in [3, 4, 100, u64::MAX] {
        assert_eq!(oldest(0..end, 10), [0, 1, 2], "up to {end}");
        assert_eq!(newest(0..end, 10), [2, 1, 0], "down from {end}");
    }
    assert_eq!((oldest(0..100, 2), newest(0..100, 2)), (vec![0, 1], vec![2, 1]));
    assert_eq!((oldest(5..9, 10), newest(5..9, 10)), (vec![], vec![]));
    assert_eq!((oldest(1..1, 10), newest(1..1, 10)), (vec![], vec![]));
    assert_eq!((oldest(0..3, 0), newest(0..3, 0)), (vec![], vec![]));
    run.close();
}

/// Pages are bounded in bytes, by which nothing is left out.
pub(crate) fn a_message_too_large_for_a_page_comes_alone(place: &dyn Place) {
    let run = Run::start(place.open(), Options::all(Durability::Async));
    let room = run.archive.open("files", RoomOptions::new().capacity(4)).unwrap();
    let body = |count: u64| count.to_string().repeat(60_000);
    for count in 0..60 {
        room.publish_blocking(body(count)).unwrap();
    }
    run.flush();
    let page = Page { limit: 10, bytes_max: 10, newest_first: false };
    let first = run.archive.store().read("files", 3..60, page).unwrap();
    assert_eq!(first.iter().map(|record| record.sequence).collect::<Vec<_>>(), [3]);
    let last = run.archive.store().read("files", 3..60, Page { newest_first: true, ..page }).unwrap();
    assert_eq!(last.iter().map(|record| record.sequence).collect::<Vec<_>>(), [59]);
    let history = run.archive.history(&room, 0..60, 1_000).unwrap();
    assert!(history.iter().map(|message| message.message.clone().unwrap()).eq((0..60).map(body)));
    run.close();
}
