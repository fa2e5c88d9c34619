//! Every message, once, in order.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use roomcast::store::{Durability, OpenError, Options};
use roomcast::{Epoch, PublishError, RoomOptions};

use crate::faulty::{Fate, Faulty};
use crate::support::{Dice, Place, Run};

const ROOMS: u64 = 12;
const PUBLISHERS: u64 = 3;
const MESSAGES: u64 = 600;

/// By room and sequence: in which incarnation, and what.
type Published = Mutex<BTreeMap<(String, u64), (Epoch, String)>>;

/// Publishers write into rooms that expire under them and come back; the store has what the list of what was accepted has, and
/// no room has changed its incarnation.
pub(crate) fn every_message_of_every_room_is_stored_once_in_order(place: &dyn Place) {
    let seed = Dice::seed();
    let kinds = |room: &str| if room.ends_with('0') { Some(Durability::Stored) } else { Some(Durability::Async) };
    // Slow at times, so that rooms end and come back while a commit is under way.
    let store = Faulty::new(place.open());
    let mut dice = Dice::new(seed, PUBLISHERS);
    let fates = [Fate::Done, Fate::Done, Fate::Late, Fate::Late, Fate::Late, Fate::Refused, Fate::Unanswered];
    store.will((0..60).map(|_| fates[dice.roll(7) as usize]));
    let run = Run::start(store, Options::by_room(kinds).batch_messages_max(100));
    let published = Published::default();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..PUBLISHERS)
            .map(|writer| {
                let (run, published) = (&run, &published);
                scope.spawn(move || write(run, published, Dice::new(seed, writer), writer))
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            run.broker.expire_idle();
            thread::yield_now();
        }
    });
    let spans: BTreeMap<String, Epoch> =
        (0..ROOMS).filter_map(|room| Some((name(room), run.archive.span(&name(room)).unwrap()?.epoch))).collect();
    run.close();
    assert_eq!(run.archive.status().stored, MESSAGES * PUBLISHERS);
    let published = published.into_inner().unwrap();
    let mut stored = BTreeMap::new();
    for room in (0..ROOMS).map(name) {
        for (at, (sequence, text)) in run.texts(&room).into_iter().enumerate() {
            let given =
                || published.range((room.clone(), 0)..).take_while(|((name, _), _)| *name == room).collect::<Vec<_>>();
            assert_eq!(sequence, at as u64, "{room} has a gap: {:?} of {:?}", run.texts(&room), given());
            stored.insert((room.clone(), sequence), (spans[&room], text));
        }
    }
    assert_eq!(stored.len() as u64, MESSAGES * PUBLISHERS);
    assert!(stored == published, "what is stored is what was accepted");
}

fn name(room: u64) -> String {
    format!("room:{room}")
}

fn write(run: &Run, published: &Published, mut dice: Dice, writer: u64) {
    for count in 0..MESSAGES {
        let room = name(dice.roll(ROOMS));
        let mut text = format!("{writer}: {count} in {room}");
        loop {
            let opened = match run.archive.open(&room, RoomOptions::new()) {
                Ok(opened) => opened,
                // An earlier incarnation of it waits for a store that is late; nothing was given out.
                Err(OpenError::Store(_) | OpenError::Ending) => continue,
                Err(error) => panic!("{error}"),
            };
            match opened.publish_blocking(text.clone()) {
                Ok(sequence) => {
                    let twin = published.lock().unwrap().insert((room, sequence), (opened.epoch(), text));
                    assert_eq!(twin, None, "a place is given once");
                    break;
                }
                Err(PublishError::Closed(back)) => text = back,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Rooms that somebody opens at the broker are kept from their first message, each under its own incarnation; once the archive opens
/// one, it goes on.
pub(crate) fn rooms_made_without_the_archive_are_found_by_themselves(place: &dyn Place) {
    let run = Run::start(place.open(), Options::by_room(|room| (room != "other").then_some(Durability::Async)));
    for room in (0..100).map(|room| format!("found:{room}")) {
        let found = run.broker.room(&room).unwrap();
        (0..5).for_each(|count| _ = found.publish(format!("a: {count}")).unwrap());
    }
    run.broker.room("other").unwrap().publish("not kept".to_owned()).unwrap();
    run.flush();
    for room in (0..100).map(|room| format!("found:{room}")) {
        let texts = run.texts(&room);
        assert_eq!(texts, (0..5).map(|count| (count, format!("a: {count}"))).collect::<Vec<_>>());
    }
    assert!(run.stored("other").is_empty());
    assert_eq!(run.archive.span("other").unwrap(), None);
    assert_eq!(run.archive.durability("other"), None);

    let first = run.broker.get("found:7").unwrap();
    let watermark = run.archive.watermark(&first).expect("what was read has a watermark");
    assert_eq!(watermark.stored(), 5);
    run.broker.expire_idle();
    assert!(run.broker.expire_idle() >= 100, "nobody is subscribed but the archive");
    let again = run.archive.open("found:7", RoomOptions::new()).unwrap();
    assert_eq!((again.epoch(), again.publish("b: 5".to_owned())), (first.epoch(), Ok(5)));
    run.close();
    assert_eq!(run.texts("found:7").len(), 6);
}
