//! What a room and its subscribers can be told to do.

use crate::message::Position;

/// The longest name a room may have, in bytes: what the wire protocol allows, and enough for anything readable.
pub const NAME_BYTES_MAX: usize = 255;

/// Messages a room retains at least, unless asked otherwise: enough for a reader that was away for a moment.
pub const CAPACITY_DEFAULT: usize = 1024;

/// Rooms a broker holds at most, unless asked otherwise: with an empty room at about 200 bytes, some 200 MB.
pub const ROOMS_MAX_DEFAULT: usize = 1 << 20;

/// What happens to a subscriber that falls a whole ring behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// It is told how many messages it missed and goes on with the oldest retained.
    #[default]
    Lag,
    /// It is always given the newest message; the ones in between are counted as conflated.
    Latest,
    /// It is told once how many it missed and gets nothing more.
    Disconnect,
    /// The room takes no message that would overrun it: publishers get [`PublishError::Full`](crate::PublishError::Full),
    /// or wait with [`Room::publish_wait`](crate::Room::publish_wait). Use it with care: one such subscriber that stops
    /// reading stops the room.
    Block,
}

/// Weighs a message in bytes.
pub(crate) type Weigh<T> = dyn Fn(&T) -> usize + Send + Sync;
/// Reads a clock.
pub(crate) type Clock = dyn Fn() -> u64 + Send + Sync;

/// How a room differs from the others of its broker. Counts only when the room is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomOptions {
    pub(crate) capacity: Option<usize>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) message_bytes_max: Option<u64>,
    pub(crate) large_message_bytes_max: u64,
    pub(crate) lasting: bool,
    pub(crate) start: Option<Position>,
    /// No message of the room is earlier, whatever the clock says.
    pub(crate) time_floor: u64,
}

/// The largest sequence a room may start at: a room that publishes a billion messages a second comes to the end of its
/// numbers 73 years later.
pub const SEQUENCE_START_MAX: u64 = 1 << 61;

impl RoomOptions {
    /// The options of the broker.
    pub fn new() -> Self {
        Self::default()
    }

    /// Messages the room retains at least.
    #[must_use]
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = Some(messages);
        self
    }

    /// Bytes the room retains at most. Without [`Builder::weigh`](crate::Builder::weigh) no such room is made
    /// ([`RoomError::Unweighed`](crate::RoomError::Unweighed)).
    #[must_use]
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// Messages of a room with a byte budget that weigh up to `bytes` are taken, where the budget is four times as much: as few lie in
    /// a segment as that needs. In a room of very many messages (above 262,080) there may be more, and the largest be smaller.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: u64) -> Self {
        self.message_bytes_max = Some(bytes);
        self
    }

    /// Messages of a room with a byte budget that weigh more than their part of it are taken, too, up to `bytes`: for each of them the
    /// oldest messages are let go at once, so that the room stays within its budget where few are large. The newest ones stay,
    /// whatever they weigh (64 at least, 128 at most, in a room that retains so many): in a room of nothing but large messages they may
    /// weigh more than the budget.
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, PublishError, RoomOptions};
    ///
    /// let broker = Broker::<Vec<u8>>::builder().weigh(Vec::len).build();
    /// let options = RoomOptions::new().bytes_max(64_000).large_message_bytes_max(16_000);
    /// let room = broker.room_with("pictures", options)?;
    /// assert!(room.publish(vec![0; 10_000]).is_ok(), "ten times what all may weigh");
    /// assert!(matches!(room.publish(vec![0; 20_000]), Err(PublishError::TooLarge(_))));
    /// # Ok::<(), roomcast::RoomError>(())
    /// ```
    #[must_use]
    pub fn large_message_bytes_max(mut self, bytes: u64) -> Self {
        self.large_message_bytes_max = bytes;
        self
    }

    /// No message of the room is earlier than that, whatever the clock says.
    #[cfg(feature = "store")]
    pub(crate) fn no_earlier_than(mut self, time: u64) -> Self {
        self.time_floor = time;
        self
    }

    /// [`Broker::expire_idle`](crate::Broker::expire_idle) leaves the room alone, however idle it is.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// The room goes on where an earlier incarnation of it has ended, in another process perhaps: its epoch is the one of
    /// `position`, and its first message gets that sequence. Who left at a position of that epoch resumes.
    ///
    /// # Guarantees
    /// None about the past: that no message of this epoch has, or will get, a sequence from `position` on is for the
    /// caller to know, who must have it from a store (the feature `store` has one that answers it). A
    /// position given for two rooms, or twice for one, hands sequences out twice.
    ///
    /// # Panics
    /// When the sequence is above [`SEQUENCE_START_MAX`].
    ///
    /// # Examples
    /// ```
    /// use roomcast::{Broker, Resumption, RoomOptions, Start};
    ///
    /// let yesterday = Broker::<&str>::new();
    /// let room = yesterday.room("lobby")?;
    /// room.publish("good night")?;
    /// let left_at = room.subscribe().now()?.position();
    /// drop((room, yesterday));
    ///
    /// let today = Broker::<&str>::new();
    /// let room = today.room_with("lobby", RoomOptions::new().starting_at(left_at))?;
    /// assert_eq!(room.publish("good morning")?, 1);
    /// let mut back = room.subscribe_from(Start::Resume(left_at)).now()?;
    /// assert_eq!((back.resumption(), back.try_recv()?), (Resumption::Resumed, "good morning"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn starting_at(mut self, position: Position) -> Self {
        let sequence = position.sequence;
        assert!(sequence <= SEQUENCE_START_MAX, "a room cannot start at {sequence}: at most at {SEQUENCE_START_MAX}");
        self.start = Some(position);
        self
    }
}
