//! Rooms that nobody uses any more: names come from clients, and what they leave behind must not stay for ever.

use std::time::Duration;

use super::config::RoomOptions;
use super::history;
use super::hub::Hub;
use crate::Room;
use crate::protocol::Publication;

/// How often rooms are looked at.
pub(crate) const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// How long a room without history lives on when nobody is in it: there is nothing that anybody could come back for.
const LIFE_WITHOUT_HISTORY: Duration = Duration::from_secs(60);

impl Hub {
    /// Ends the rooms that nobody is in and whose time since their last message is over at `now_ms`; how many.
    pub(crate) fn expire_rooms(&self, now_ms: u64) -> usize {
        let is_over = |room: &Room<Publication>| {
            let life = self.options(room.name()).map_or(LIFE_WITHOUT_HISTORY, life);
            history::newest_ms(room).is_none_or(|newest_ms| newest_ms + life.as_millis() as u64 <= now_ms)
        };
        let expired = self.publications().expire_idle_if(is_over);
        // Who comes and goes is remembered by nobody.
        self.events().expire_idle();
        self.metrics.rooms.dec_by(expired as i64);
        expired
    }
}

fn life(options: &RoomOptions) -> Duration {
    match options.history_size {
        0 => LIFE_WITHOUT_HISTORY,
        _ => options.history_meta_ttl.max(options.history_ttl),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::super::hub::unix_ms;
    use super::*;
    use crate::protocol::{Payload, RoomName};
    use tokio::runtime::Handle;

    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

    fn hub() -> Hub {
        let mut config = Config::dev();
        let plain = RoomOptions { history_size: 0, ..RoomOptions::dev() };
        config.channel.namespaces.insert("plain".to_owned(), plain);
        Hub::new(config, vec![Handle::current()])
    }

    fn open(hub: &Hub, name: &str) -> Room<Publication> {
        hub.open(&RoomName::parse(name, 255).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_room_keeps_its_position_for_its_time_and_no_longer() {
        let hub = hub();
        let (kept, plain) = (open(&hub, "kept"), open(&hub, "plain:1"));
        for room in [&kept, &plain] {
            room.publish(Publication::new(Payload::json("1".into()), None)).unwrap();
        }
        let now_ms = unix_ms();
        assert_eq!(hub.expire_rooms(now_ms), 0, "both are in use");
        assert_eq!(hub.expire_rooms(now_ms), 0, "their last messages are young");
        assert_eq!(hub.expire_rooms(now_ms + 61_000), 1);
        assert!(kept.is_running() && !plain.is_running());
        assert_eq!(hub.expire_rooms(now_ms + 29 * DAY_MS), 0);
        assert_eq!(hub.expire_rooms(now_ms + 31 * DAY_MS), 1);
        assert_ne!(open(&hub, "kept").epoch(), kept.epoch(), "what comes back is another life");
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
}
