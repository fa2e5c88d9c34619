//! Giving the rooms of a process to the next one, and taking them from the one before.
//!
//! The process that has the rooms **settles**: it takes nothing new and finishes what it has taken. Then it **releases** them, from
//! where there is no way back: every ring is closed, so that what was acknowledged is in it, and what is stored is left to the next
//! process. What is nowhere else it **gives** as records, the hottest room first, and the next process takes them before it serves
//! anybody.

mod giving;
mod record;
mod refusing;
mod taking;
#[cfg(test)]
mod tests;
mod under_way;

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use self::giving::{Given, Giving};
#[cfg(any(test, roomcast_fuzz))]
pub(crate) use self::record::check;
pub(crate) use self::refusing::Refusing;
use self::refusing::refused;
use self::taking::{Taken, Unfinished};
pub(crate) use self::under_way::{Asked, UnderWay};
use crate::rooms::engine::Answer;
use crate::rooms::hub::Hub;
use crate::util::panics::lock;
use roomcast::store::StoreError;
use roomcast::{CloseReason, Room};
use roomcast_protocol::{ClientInfo, ErrorCode, PresenceStats, Publication, RoomName};

/// Bytes of a record, at most: the largest message that there may be, and what stands beside it.
pub(crate) const RECORD_BYTES_MAX: usize = 16 << 20;

/// Between two looks at whether a configuration has been taken over.
const RELOAD_LOOK: Duration = Duration::from_millis(5);

/// What giving rooms away may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GiveWithin {
    /// Bytes of all records together.
    pub(crate) bytes: u64,
    /// From the first record to the last.
    pub(crate) time: Duration,
}

/// What a hub knows of giving and taking.
#[derive(Debug, Default)]
pub(crate) struct HandingOver {
    /// What is to be given, once the rooms are released.
    given: Mutex<Given>,
    /// A room of which a part was taken.
    unfinished: Mutex<Option<Unfinished>>,
    /// What came of what was taken.
    taken: Mutex<Taken>,
}

/// Whether a room is another process's by now.
pub(crate) fn is_given_away(room: &Room<Publication>) -> bool {
    room.ended() == Some(CloseReason::BrokerClosed)
}

/// Why the rooms were not released as they should.
#[derive(Debug)]
pub(crate) enum ReleaseError {
    /// Not everything that was published is stored.
    Unstored(StoreError),
}

/// Why a record was not taken. What was taken before it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// It is of a version that this one does not read.
    Version,
    /// It is no record.
    Malformed,
}

impl Hub {
    /// The members of a room, for who asks for them: not of a process that others have gone from by now.
    pub(crate) fn members(&self, room: &RoomName) -> Answer<Result<Vec<ClientInfo>, ErrorCode>> {
        if self.is_settled() { refused() } else { self.presence.members(room) }
    }

    /// How many are in a room; likewise.
    pub(crate) fn presence_stats(&self, room: &RoomName) -> Answer<Result<PresenceStats, ErrorCode>> {
        if self.is_settled() { refused() } else { self.presence.stats(room) }
    }

    /// Takes nothing more from here on: whoever publishes, enters, asks for a history or who is there, or changes anything hears
    /// [`TooManyRequests`](roomcast_protocol::ErrorCode::TooManyRequests). Not while a configuration is being taken over, which may open a
    /// database: ready when that is done, which the caller bounds in time.
    pub(crate) async fn stop_taking(&self) {
        loop {
            if let Some(_alone) = self.reload_alone_at_once() {
                self.now().set_settled(true);
                return;
            }
            tokio::time::sleep(RELOAD_LOOK).await;
        }
    }

    /// [`Hub::stop_taking`], and ready when what was taken before is done, which the caller bounds in time. Beside a publish that is on
    /// its way at this moment nothing is lost, whenever this is ready: it is in its ring before [`Hub::release`] closes that, or refused.
    pub(crate) async fn settle(&self) {
        self.stop_taking().await;
        for shard in &self.shards {
            // Behind it, nobody there has looked before. A runtime that has ended does nothing any more.
            let _ = shard.spawn(async {}).await;
        }
        self.rooms.under_way.finished().await;
    }

    /// Goes on as if it had not settled. Not after [`Hub::release`].
    pub(crate) fn thaw(&self) {
        // Where it has not settled, somebody may be taking a configuration over, for as long as that takes.
        if self.is_settled() {
            let _alone = self.reload_alone();
            self.now().set_settled(self.is_released());
        }
    }

    /// Whether it takes nothing more.
    pub(crate) fn is_settled(&self) -> bool {
        self.now().is_settled()
    }

    /// Whether the rooms are another process's.
    pub(crate) fn is_released(&self) -> bool {
        self.rooms.is_released()
    }

    /// Ends all rooms, stores what is left to store, and lets go of the database and of the log of room events: from here on it never
    /// serves again, whatever this returns. Waits meanwhile: looks at rooms as long as they may be moved, and waits for the database twice
    /// as long as `within`. One that has not let go by then does so as soon as it can; until then nobody else has it.
    ///
    /// # Errors
    /// When not all of it is stored; everything is released even so.
    pub(crate) fn release(&self, within: Duration) -> Result<(), ReleaseError> {
        {
            let _alone = self.reload_alone();
            self.now().set_settled(true);
        }
        self.rooms.make_none();
        // While they run, so that what comes behind this look is read behind it.
        let given = self.look_at_rooms(self.now().config.handover.aim);
        self.close();
        *lock(&self.handing_over.given) = given;
        self.leave_events();
        let Some(stored_rooms) = self.stored_rooms() else { return Ok(()) };
        let closed = stored_rooms.archive.close_within(within);
        if !stored_rooms.archive.let_go_within(within) {
            tracing::warn!(?within, "the database is not let go of yet: the new process has to wait for it");
        }
        if closed.is_err() {
            // Of what was not stored nobody is to be told again that it was published.
            drop(self.rooms.terms.take_keys());
            lock(&self.handing_over.given).leave_unsaid_out();
        }
        closed.map_err(ReleaseError::Unstored)
    }

    /// What is to be given of the rooms after [`Hub::release`], record by record, the hottest room first; once. Each ring is let go of
    /// as the last of its records is made, so that both processes together hold it once.
    pub(crate) fn give_rooms(&self, within: GiveWithin) -> impl Iterator<Item = Vec<u8>> {
        let given = std::mem::take(&mut *lock(&self.handing_over.given));
        Giving::new(&self.rooms, given, within)
    }
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unstored(error) => write!(f, "not everything that was published is stored: {error}"),
        }
    }
}

impl std::error::Error for ReleaseError {}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "a record of another version",
            Self::Malformed => "a record that is none",
        })
    }
}

impl std::error::Error for RecordError {}
