//! Who lags: shown in the metrics, a bounded number of rooms and members.

use std::collections::BTreeMap;

use crate::ops::metrics::{MemberLag, RoomLag};
use crate::rooms::hub::Hub;

/// Rooms, and members, of each shard that are shown: names come from clients and must not fill the metrics.
const SHOWN: usize = 16;

/// A member that is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) room: String,
    pub(crate) client: String,
    /// Messages between the head of the room and its next one.
    pub(crate) messages: u64,
}

/// What a shard shows.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    rooms: Vec<RoomLag>,
    members: Vec<MemberLag>,
}

impl Shown {
    /// Shows these instead of what was shown before.
    pub(crate) fn replace(&mut self, hub: &Hub, shard: usize, mut lags: Vec<Lag>) {
        lags.sort_by_key(|lag| std::cmp::Reverse(lag.messages));
        let mut by_room = BTreeMap::<&str, u64>::new();
        for lag in &lags {
            by_room.entry(&lag.room).or_insert(lag.messages);
        }
        let mut by_room: Vec<_> = by_room.into_iter().collect();
        by_room.sort_by_key(|(_, messages)| std::cmp::Reverse(*messages));

        let metrics = &hub.metrics;
        for label in self.rooms.drain(..) {
            metrics.room_lag.remove(&label);
        }
        for label in self.members.drain(..) {
            metrics.member_lag.remove(&label);
        }
        for (room, messages) in by_room.into_iter().take(SHOWN) {
            let label = RoomLag { shard, room: room.to_owned() };
            metrics.room_lag.get_or_create(&label).set(messages as i64);
            self.rooms.push(label);
        }
        for Lag { room, client, messages } in lags.into_iter().take(SHOWN) {
            let label = MemberLag { shard, room, client };
            metrics.member_lag.get_or_create(&label).set(messages as i64);
            self.members.push(label);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}
