//! What giving and taking wait for, and what has no place: nobody waits for ever, and nothing is left out silently.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::{GiveWithin, Hub, Kind, Time, WITHIN, Writer, config, give, history, hub, name, recover, say};
use roomcast::{Epoch, Position};
use roomcast_protocol::{ErrorCode, StreamPosition};

#[test]
fn whoever_settles_does_not_wait_for_a_configuration_that_is_taken_over() {
    let ours = super::runtime();
    let hub = ours.block_on(async { hub(config(), &Time::new()) });
    let reload = hub.reload_alone();
    let settled = ours.block_on(async { tokio::time::timeout(Duration::from_millis(20), hub.settle()).await });
    assert!(settled.is_err());
    assert!(!hub.is_settled(), "it is not too late to say why");
    hub.thaw();
    assert!(ours.block_on(say(&hub, "hall", "meanwhile")).is_ok(), "everything goes on");
    drop(reload);
    ours.block_on(hub.settle());
    assert_eq!(ours.block_on(say(&hub, "hall", "afterwards")), Err(ErrorCode::TooManyRequests));
    hub.thaw();
    assert!(ours.block_on(say(&hub, "hall", "again")).is_ok());
}

#[tokio::test]
async fn rooms_that_are_not_looked_at_in_time_begin_anew() {
    let time = Time::new();
    let mut late = config();
    late.handover.aim = Duration::ZERO;
    let (old, new) = (hub(late, &time), hub(config(), &time));
    let before = say(&old, "hall", "before").await.expect("it is taken");
    old.release(Duration::ZERO).expect("nothing is stored");
    assert_eq!(give(&old, &new, WITHIN), 0);
    let position = StreamPosition { offset: 0, epoch: before.epoch.to_string() };
    let (top, is_whole, found) = recover(&new, "hall", position).await;
    assert_ne!(top.epoch, before.epoch.to_string());
    assert_eq!((is_whole, found.len()), (true, 0), "nothing was said in it; the epoch tells that it is another one");
}

/// More rooms than are looked at without a pause.
#[tokio::test]
async fn all_rooms_are_looked_at_piece_by_piece() {
    let time = Time::new();
    let mut patient = config();
    patient.handover.aim = Duration::from_secs(60);
    let (old, new) = (hub(patient.clone(), &time), hub(patient, &time));
    for room in 0..2_500 {
        say(&old, &format!("room {room}"), "1").await.expect("it is taken");
    }
    old.release(Duration::ZERO).expect("nothing is stored");
    give(&old, &new, WITHIN);
    assert_eq!(new.rooms.tally.rooms(), 2_500);
}

/// A hub with some nine MB for messages.
fn small(time: &Time) -> Hub {
    let mut config = config();
    config.memory.limit = NonZeroUsize::new(128 << 20);
    let hub = hub(config, time);
    hub.leave_to_another(u64::MAX);
    hub
}

#[tokio::test]
async fn what_has_no_place_is_counted_and_its_clients_are_told() {
    let time = Time::new();
    let (old, new) = (hub(config(), &time), small(&time));
    let text = "x".repeat(60_000);
    let mut stood = Vec::new();
    for room in (0..40).map(|room| format!("room {room}")) {
        for _ in 0..10 {
            say(&old, &room, &text).await.expect("it is taken");
        }
        stood.push(history(&old, &room).await.position);
        time.pass(1_000);
    }
    old.release(Duration::ZERO).expect("nothing is stored");
    give(&old, &new, WITHIN);
    new.taken_all();
    let of = |outcome| new.metrics.taken_rooms.of(outcome);
    let (with_messages, left_out) = (of("with_messages"), of("left_out"));
    assert_eq!(with_messages + left_out, 40);
    assert!(with_messages > 5 && left_out > 10, "{with_messages} of 40");
    let rings = &new.rooms.memory.rings;
    assert!(rings.used() <= rings.limit_now(), "{rings:?}");
    for (room, stood) in stood.into_iter().enumerate() {
        let has_messages = room as u64 >= left_out;
        for (offset, is_whole) in [(3, has_messages), (10, true)] {
            let position = StreamPosition { offset, epoch: stood.epoch.clone() };
            let (top, recovered, found) = recover(&new, &format!("room {room}"), position).await;
            assert_eq!(top, stood, "it goes on where it stood");
            assert_eq!(recovered, is_whole, "room {room} from {offset}: {} messages", found.len());
        }
    }
}

#[tokio::test]
async fn a_ring_that_came_in_part_and_positions_without_place_are_counted() {
    let time = Time::new();
    let new = small(&time);
    let mut part =
        Writer::ring(&super::RingHead { room: name("hall"), epoch: Epoch::from(7), first: 0, end: 4, begins: true });
    let publication = roomcast_protocol::Publication::new(roomcast_protocol::Payload::json("1".into()), None);
    part.message(super::BEGIN_MS, &publication, false);
    new.take_rooms(&part.end()).expect("a part");
    let mut positions = Writer::new(Kind::Positions);
    for room in 0..30_000 {
        positions.position(&format!("room {room}"), Position { epoch: Epoch::from(7), sequence: 3 }, u64::MAX);
    }
    new.take_rooms(&positions.end()).expect("positions");
    new.taken_all();
    let of = |outcome| new.metrics.taken_rooms.of(outcome);
    let kept = new.rooms.dormant.len() as u64;
    assert!(kept > 1_000 && kept < 30_000, "{kept}");
    assert_eq!((of("position_only"), of("left_out")), (kept, 1 + 30_000 - kept));
    // Nothing of it is counted twice.
    new.taken_all();
    assert_eq!(of("left_out"), 1 + 30_000 - kept);
}

/// What has no place goes first, so that it is gone before the other process has anything.
#[tokio::test]
async fn the_coldest_are_let_go_of_before_the_first_is_given() {
    let time = Time::new();
    let old = hub(config(), &time);
    let text = "x".repeat(20_000);
    for room in 0..20 {
        // More than a segment of messages, of which a ring keeps the last one.
        for _ in 0..100 {
            say(&old, &format!("room {room}"), &text).await.expect("it is taken");
        }
        time.pass(1_000);
    }
    let cold = old.rooms.running(&name("room 0")).expect("it runs");
    let bytes = cold.stats().bytes;
    old.release(Duration::ZERO).expect("nothing is stored");
    let mut giving = old.give_rooms(GiveWithin { bytes: 20 << 20, ..WITHIN });
    assert!(giving.next().is_some());
    assert!(cold.stats().bytes < bytes, "{} of {bytes}", cold.stats().bytes);
}
