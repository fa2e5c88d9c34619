//! No place is handed out twice.

use std::collections::HashSet;

use futures::executor::block_on;

use roomcast::store::{Durability, Options};
use roomcast::{Epoch, PublishError};

use crate::faulty::{Fate, Faulty};
use crate::support::{Dice, Place, Run};

const ROOMS: [&str; 4] = ["chat", "hall", "ledger", "purse"];

fn durability(room: &str) -> Durability {
    if ["ledger", "purse"].contains(&room) { Durability::Stored } else { Durability::Async }
}

/// Runs that end in any way, with commits that fail in any way, rooms that expire at any time: whoever publishes gets places
/// that nobody got before, and what was acknowledged is read again, in every later run.
pub(crate) fn no_place_is_handed_out_twice(place: &dyn Place) {
    let mut dice = Dice::new(Dice::seed(), 0);
    let mut given: HashSet<(&str, Epoch, u64)> = HashSet::new();
    let mut acknowledged: [Vec<(u64, String)>; 4] = Default::default();
    let mut epochs: HashSet<(&str, Epoch)> = HashSet::new();
    let mut crashed = Vec::new();
    for run_number in 0..40 {
        let store = Faulty::new(place.open());
        let options = Options::by_room(|room| Some(durability(room))).batch_messages_max(1 + dice.roll(20) as usize);
        let run = Run::start(store.clone(), options);
        let fate = |roll| [Fate::Done, Fate::Done, Fate::Refused, Fate::Unanswered][roll as usize];
        store.will((0..dice.roll(6)).map(|_| fate(dice.roll(4))));
        for step in 0..dice.roll(60) {
            let at = dice.roll(4) as usize;
            let name = ROOMS[at];
            if dice.once_in(12) {
                run.broker.expire_idle();
            }
            let room = run.open(name);
            let text = format!("a: {run_number} {step}");
            let sequence = match room.publish(text.clone()) {
                Ok(sequence) => sequence,
                Err(PublishError::Closed(_)) => continue,
                Err(error) => panic!("{error}"),
            };
            if durability(name) == Durability::Stored {
                // Nobody is given it before it is stored.
                let watermark = run.archive.watermark(&room).expect("an open room has a watermark");
                block_on(watermark.reached(sequence + 1)).expect("the archive runs");
                epochs.insert((name, room.epoch()));
                acknowledged[at].push((sequence, text));
            }
            assert!(given.insert((name, room.epoch(), sequence)), "{name} gave {sequence} of {} twice", room.epoch());
        }
        if dice.once_in(4) {
            // Before: a room that has just expired is opened once it is stored to its end.
            let room = run.open("chat");
            store.be_down(true);
            // What nobody was given may be lost; it must be lost without a trace.
            let lost = room.publish("a: never stored".to_owned()).unwrap();
            given.insert(("chat", room.epoch(), lost));
        } else if dice.once_in(2) {
            run.close();
        }
        crashed.push(run.crash());
    }
    assert!(
        epochs.iter().filter(|(room, _)| *room == "ledger").count() <= 1,
        "stored rooms keep their incarnation: {epochs:?}"
    );
    let run = Run::start(place.open(), Options::by_room(|room| Some(durability(room))));
    for (at, name) in ROOMS.iter().enumerate() {
        let texts = run.texts(name);
        let sequences: Vec<u64> = texts.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(sequences, (0..sequences.len() as u64).collect::<Vec<_>>(), "{name} has no gap");
        let is_there = |message: &(u64, String)| texts.get(message.0 as usize) == Some(message);
        assert!(acknowledged[at].iter().all(is_there), "{name} has what was acknowledged");
    }
    run.close();
}
