//! The end of rooms that nobody uses.

use super::Broker;
use crate::room::Room;

impl<T: Send + Sync + 'static> Broker<T> {
    /// Ends the rooms in which nobody is subscribed and into which nothing was published since the last call, and takes
    /// them out; returns how many. Whoever still holds one is told [`CloseReason::Expired`].
    ///
    /// The broker knows no time: call this from a timer of yours, and a room expires after one to two of your intervals.
    /// Pattern subscriptions keep no room, they read it to its end; exclusive rooms end with their publisher, and rooms
    /// made with [`RoomOptions::lasting`] stay. A room into which somebody publishes at this very moment stays too; one
    /// that somebody joins at this very moment may end. Looks at every room, some 100 ns each, and holds nobody up.
    ///
    /// [`CloseReason::Expired`]: crate::CloseReason::Expired
    /// [`RoomOptions::lasting`]: crate::RoomOptions::lasting
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, CloseReason};
    ///
    /// let broker = Broker::<u32>::new();
    /// let (quiet, busy) = (broker.room("quiet")?, broker.room("busy")?);
    /// assert_eq!(broker.expire_idle(), 0, "the first call takes note");
    /// busy.publish(7)?;
    /// assert_eq!(broker.expire_idle(), 1);
    /// assert_eq!((quiet.ended(), busy.ended()), (Some(CloseReason::Expired), None));
    /// assert!(broker.get("quiet").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expire_idle(&self) -> usize {
        self.expire_idle_if(|_| true)
    }

    /// [`Broker::expire_idle`] of those idle rooms of which `expires` says yes: for rooms that live differently long.
    ///
    /// It is asked about rooms that are idle at the moment, and may look into them; what it subscribes must be dropped again.
    ///
    /// # Examples
    /// ```
    /// use roomcast::Broker;
    ///
    /// let broker = Broker::<u32>::new();
    /// for name in ["kept:1", "other"] {
    ///     broker.room(name)?;
    /// }
    /// broker.expire_idle_if(|room| !room.name().starts_with("kept:"));
    /// assert_eq!(broker.expire_idle_if(|room| !room.name().starts_with("kept:")), 1);
    /// assert!(broker.get("kept:1").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expire_idle_if(&self, mut expires: impl FnMut(&Room<T>) -> bool) -> usize {
        let mut expired = Vec::new();
        self.inner.table.for_each(&mut |room_ref| {
            if room_ref.expire(|| expires(&Room::new(room_ref.clone()))) {
                expired.push(room_ref.clone());
            }
        });
        for room_ref in &expired {
            self.inner.table.remove(self.inner.table.hash(&room_ref.0.name), room_ref);
            self.inner.pass_over_ended();
        }
        expired.len()
    }
}

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_that_has_expired_was_removed_by_nobody_else() {
        let broker = Broker::<u8>::new();
        let rooms = ["one", "other"].map(|name| broker.room(name).expect("there is space"));
        assert_eq!(broker.expire_idle(), 0);
        let mut removed = 0;
        let expired = broker.expire_idle_if(|_| {
            // They are taken out when all have been looked at.
            let ended = rooms.iter().filter(|room| room.ended().is_some());
            removed += ended.filter(|room| broker.remove(room.name())).count();
            true
        });
        assert_eq!((expired, removed, broker.rooms().len()), (2, 0, 0));
    }
}
