//! Records of rooms, as another process gives them.

use tokio::runtime::Builder;

use crate::config::Config;
use crate::rooms::handing_over::check as is_record;
use crate::rooms::hub::Hub;

/// Records of one process that are looked at: rooms come of few.
const RECORDS_MAX: usize = 16;

pub(super) fn check(input: &[u8]) {
    let mut records = Vec::new();
    let mut left = input;
    while let Some((length, rest)) = left.split_first_chunk::<2>().filter(|_| records.len() < RECORDS_MAX) {
        let (record, behind) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        records.push((record, is_record(record)));
        left = behind;
    }
    // Where nothing is one, nothing comes of it.
    if records.iter().any(|(_, is_one)| *is_one) {
        take(&records);
    }
}

fn take(records: &[(&[u8], bool)]) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let _inside = runtime.enter();
    let hub = Hub::alone(Config::dev());
    for (record, is_one) in records {
        assert!(*is_one || hub.take_rooms(record).is_err());
        // A part of a ring that does not go on from another one is refused, whatever it says.
        let _ = is_one.then(|| hub.take_rooms(record));
    }
    let rooms = hub.rooms.broker.rooms();
    assert_eq!(hub.metrics.rooms.get(), rooms.len() as i64);
    for room in rooms {
        assert!(room.oldest() < room.tail(), "a room is made with its messages");
        assert!(hub.rooms.dormant.wake(room.name(), |rest| rest.is_none()), "its offsets would be handed out twice");
    }
}
