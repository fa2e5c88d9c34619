//! A handle that does not keep its room.

use std::fmt;

use super::Room;
use super::core::{RoomCore, RoomRef};
use crate::sync::Weak;

/// A handle on a room that keeps neither the room nor its messages in memory.
///
/// For whatever is kept by the room itself, such as a handler or a message: a [`Room`] in there would keep what keeps it.
/// A room that runs is held by its broker, so upgrading succeeds until the room has ended and nobody holds it any more.
///
/// # Examples
/// ```
/// use roomcast::Broker;
///
/// let broker = Broker::<u32>::new();
/// let weak = broker.room("lobby")?.downgrade();
/// assert_eq!(weak.upgrade().unwrap().publish(7), Ok(0));
/// assert!(weak == broker.room("lobby")?);
/// broker.remove("lobby");
/// assert!(weak.upgrade().is_none());
/// assert!(weak != broker.room("lobby")?, "another one of that name");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WeakRoom<T>(Weak<RoomCore<T>>);

impl<T> WeakRoom<T> {
    pub(super) fn new(room: &Room<T>) -> Self {
        Self(crate::sync::Arc::downgrade(&room.room_ref.0))
    }

    /// The room, as long as its broker or anybody else holds it; it may have ended meanwhile ([`Room::ended`]).
    pub fn upgrade(&self) -> Option<Room<T>> {
        self.0.upgrade().map(|core| Room::new(RoomRef(core)))
    }
}

impl<T> PartialEq<Room<T>> for WeakRoom<T> {
    /// Whether both are handles on the same incarnation of the same room; a look that keeps nothing.
    fn eq(&self, room: &Room<T>) -> bool {
        // Nothing else comes to lie there as long as this handle is there.
        std::ptr::eq(self.0.as_ptr(), crate::sync::Arc::as_ptr(&room.room_ref.0))
    }
}

impl<T> Clone for WeakRoom<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for WeakRoom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakRoom").field("room", &self.upgrade()).finish()
    }
}
