//! Rooms that nobody uses any more: names come from clients, and what they leave behind must not stay for ever.

use std::time::Duration;

use crate::rooms::engine::Remains;
use crate::rooms::hub::Hub;
use roomcast::{CloseReason, Position};

/// How often rooms are looked at.
pub(crate) const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// The same where there are nearly as many as there may be.
pub(crate) const CROWDED_INTERVAL: Duration = Duration::from_secs(1);

/// How often a room is looked at before it ends: it was unused at the first look, and still is.
pub(crate) const LOOKS: usize = 2;

impl Hub {
    /// Ends the rooms that nobody is in and nothing is left of at `now_ms`; how many. Those whose positions still count are
    /// laid to rest.
    pub(crate) fn expire_rooms(&self, now_ms: u64) -> usize {
        self.end_undeclared();
        let mut ending = Vec::new();
        self.rooms.broker.expire_idle_if(|room| {
            let Remains { empty_ms, until_ms } = self.engine_of(room.name()).remains(room);
            let is_over = empty_ms <= now_ms;
            if is_over {
                ending.push((room.clone(), until_ms));
            }
            is_over
        });
        // One that was published into at this very moment runs on, and who has ended it by name has taken it off.
        ending.retain(|(room, _)| room.ended() == Some(CloseReason::Expired));
        let expired = ending.len();
        for (room, until_ms) in ending {
            self.rooms.tally.take_off(room.name());
            if until_ms > now_ms {
                let position = Position { epoch: room.epoch(), sequence: room.tail() };
                self.rooms.dormant.lay(room.name(), position, until_ms);
            }
        }
        self.rooms.dormant.forget(now_ms);
        self.rooms.removed.forget();
        if let Some(stored_rooms) = self.stored_rooms() {
            stored_rooms.forget_erased();
            if expired > 0 {
                stored_rooms.forget(|room| self.rooms.broker.get(room).is_none());
            }
        }
        self.rooms.ring_memory.count_anew(&self.rooms);
        expired
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::config::{Config, NamespaceOptions};
    use crate::rooms::engine::{Answer, Publish};
    use crate::util::clock::unix_ms;
    use roomcast::Room;
    use roomcast_protocol::{Payload, Publication, RoomName};

    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

    fn hub() -> Hub {
        let mut config = Config::dev();
        config.channel.without_namespace.history_ttl = Duration::from_secs(24 * 60 * 60);
        let plain = NamespaceOptions { history_size: 0, ..NamespaceOptions::dev() };
        config.channel.namespaces.insert("plain".to_owned(), plain);
        Hub::alone(config)
    }

    fn open(hub: &Hub, name: &str) -> Room<Publication> {
        hub.rooms.open(&RoomName::parse(name, 255).unwrap()).unwrap()
    }

    fn publish(room: &Room<Publication>) {
        room.publish(Publication::new(Payload::json("1".into()), None)).unwrap();
    }

    #[tokio::test]
    async fn a_room_ends_with_its_history_and_its_position_is_kept_for_its_time() {
        let hub = hub();
        let (stored, plain) = (open(&hub, "kept"), open(&hub, "plain:1"));
        [&stored, &plain].into_iter().for_each(publish);
        let now_ms = unix_ms();
        assert_eq!(hub.expire_rooms(now_ms), 0, "both are in use");
        assert_eq!(hub.expire_rooms(now_ms), 0, "their last messages are young");
        assert_eq!(hub.expire_rooms(now_ms + 61_000), 1);
        assert!(stored.is_running() && !plain.is_running());
        assert_eq!(hub.expire_rooms(now_ms + 2 * DAY_MS), 1);
        assert_eq!((stored.is_running(), hub.rooms.dormant.len()), (false, 1));

        let back = open(&hub, "kept");
        assert_eq!((back.epoch(), back.tail()), (stored.epoch(), 1), "it goes on where it was");
        assert_eq!([hub.expire_rooms(now_ms + 3 * DAY_MS), hub.expire_rooms(now_ms + 3 * DAY_MS)], [0, 1]);
        let again = open(&hub, "kept");
        publish(&again);
        assert_eq!((again.epoch(), again.tail()), (stored.epoch(), 2), "nobody published meanwhile");
        assert_eq!([hub.expire_rooms(now_ms + 3 * DAY_MS), hub.expire_rooms(now_ms + 40 * DAY_MS)], [0, 1]);
        assert_eq!(hub.rooms.dormant.len(), 0, "its time is over");
        assert_ne!(open(&hub, "kept").epoch(), stored.epoch(), "what comes back is another incarnation");
    }

    #[tokio::test]
    async fn a_position_is_gone_on_from_once() {
        let hub = hub();
        let room = open(&hub, "kept");
        publish(&room);
        let now_ms = unix_ms();
        assert_eq!([hub.expire_rooms(now_ms), hub.expire_rooms(now_ms + 2 * DAY_MS)], [0, 1]);
        let back = open(&hub, "kept");
        publish(&back);
        // Ends in another way than by resting.
        hub.rooms.end("kept");
        assert_ne!(open(&hub, "kept").epoch(), room.epoch(), "its offsets would be handed out twice");
    }

    #[tokio::test]
    async fn a_name_that_was_only_asked_for_is_forgotten_and_a_member_keeps_its_room() {
        let hub = hub();
        let (asked, joined) = (open(&hub, "asked"), open(&hub, "joined"));
        let member = joined.subscribe().await.unwrap();
        assert_eq!((hub.expire_rooms(unix_ms()), hub.expire_rooms(unix_ms() + 365 * DAY_MS)), (0, 1));
        assert!(!asked.is_running() && joined.is_running());
        assert_eq!(hub.metrics.rooms.get(), 1);
        drop(member);
    }
    #[tokio::test]
    async fn whoever_comes_while_rooms_are_being_ended_is_let_into_a_new_one() {
        let hub = hub();
        let rooms = ["plain:1", "plain:2"].map(|name| open(&hub, name));
        assert_eq!(hub.expire_rooms(unix_ms()), 0, "both are in use");
        let mut came = Vec::new();
        hub.rooms.broker.expire_idle_if(|_| {
            // They are taken away when all have been looked at.
            for ended in rooms.iter().filter(|room| !room.is_running()) {
                let room = RoomName::parse(ended.name(), 255).unwrap();
                let engine = hub.engine(&room).unwrap();
                let publication = Publication::new(Payload::json("1".into()), None);
                let mut published = engine.publish(smallvec![Publish::new(room.clone(), publication)]);
                came.push((published.pop(), engine.enter(&room, None, 0)));
            }
            true
        });
        let [(Some(Answer::Now(published)), Answer::Now(entered))] = &came[..] else { panic!("{came:?}") };
        assert_eq!(published.as_ref().map(|accepted| accepted.offset), Ok(1));
        assert_eq!(entered.as_ref().map(|entered| entered.subscribed.top.offset), Ok(1));
    }
}
