//! Rooms whose messages are kept in the database.
//!
//! What the rings can answer is answered in the turn of the connection that asks; what needs the database is done on threads
//! that may wait, and the connection's command is completed later.

mod codec;
mod engine;
mod erasures;
mod history;
mod reading;
mod restart_cache;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub(crate) use self::codec::PublicationCodec;
pub(crate) use self::engine::StoredEngine;
use self::erasures::Erasures;
pub(crate) use self::history::{NoAnswer, ReadFrom};
pub(crate) use self::reading::READS_AT_ONCE;
use self::reading::Reads;
use self::restart_cache::RestartCache;
use crate::config::{Config, Overload, Storage};
use crate::rooms::engine::EpochName;
use crate::rooms::local::{LocalRooms, not_opened};
use crate::rooms::visible::{Edge, Visible};
use roomcast::store::{Archive, Codec, Durability, OpenError, Options, Retention, StoreError};
use roomcast::{Broker, Room};
use roomcast_protocol::{ErrorCode, Placed, Publication, RoomName};

/// The database of a server, and how it is used.
pub(crate) struct StoredRooms {
    rooms: Arc<LocalRooms>,
    pub(crate) archive: Archive<Publication>,
    restart_cache: RestartCache,
    erasures: Erasures,
    reads: Reads,
}

/// Looks whether this process could have the database that the configuration names, which another process may be writing: so that it
/// is known before that one has let go of it. One that is not there yet will be made.
///
/// # Errors
/// As the store has it, in words for the operator.
pub(crate) fn look_at_database(config: &Config) -> Result<(), StoreError> {
    let database = config.database();
    let is_there = || match config.storage.kind.file_name() {
        Some(_) => Path::new(&database).metadata().is_ok_and(|file| file.len() > 0),
        None => true,
    };
    if config.stores() && is_there() {
        drop(config.storage.kind.open_to_read(&database)?);
    }
    Ok(())
}

impl StoredRooms {
    /// Opens the database that the configuration names and begins to store rooms; nothing where no room is stored.
    ///
    /// # Errors
    /// As the store has it, in words for the operator.
    pub(crate) fn start(rooms: Arc<LocalRooms>, config: &Config) -> Result<Option<Self>, StoreError> {
        if !config.stores() {
            return Ok(None);
        }
        let store = config.storage.kind.open(config.database())?;
        Self::over(rooms, |broker, codec, options| Archive::start_with(broker, store, codec, options)).map(Some)
    }

    /// The same over the archive that `start` begins.
    ///
    /// # Errors
    /// Those of `start`.
    pub(crate) fn over(
        rooms: Arc<LocalRooms>,
        start: impl FnOnce(
            &Broker<Publication>,
            Box<dyn Codec<Publication>>,
            Options,
        ) -> Result<Archive<Publication>, StoreError>,
    ) -> Result<Self, StoreError> {
        let now = Arc::clone(&rooms.now);
        let durability = move |room: &str| match now.load().options(room)?.storage {
            Storage::Off => None,
            Storage::Async => Some(Durability::Async),
            Storage::Stored => Some(Durability::Stored),
        };
        let (now, clock) = (Arc::clone(&rooms.now), Arc::clone(&rooms.clock));
        // Where all is kept for good today, it need not be tomorrow.
        let options = Options::by_room(durability).retention(
            move |room| now.load().options(room).map_or_else(Retention::default, |room| room.retention()),
            move || clock(),
        );
        let archive = start(&rooms.broker, Box::new(PublicationCodec), options)?;
        let (restart_cache, erasures, reads) = (RestartCache::new(), Erasures::default(), Reads::new());
        Ok(Self { rooms, archive, restart_cache, erasures, reads })
    }

    /// Opens a room, where it ended if need be: may ask the database, and waits for it.
    ///
    /// # Errors
    /// As [`LocalRooms::open`], and [`ErrorCode::Internal`] when the database does not answer.
    pub(crate) fn open(&self, name: &RoomName) -> Result<Room<Publication>, ErrorCode> {
        if let Some(room) = self.rooms.running(name) {
            return Ok(room);
        }
        self.rooms.is_declared(name)?;
        self.rooms.has_place_for(name)?;
        let options = self.rooms.ring_options(name.as_str());
        // Of one in which nothing was said the database has nothing, and the process before has told where it stood.
        let rest = self.rooms.dormant.take(name.as_str());
        let options = rest.map_or(options, |position| options.starting_at(position));
        let opened = self.archive.open_or_create(name.as_str(), options);
        let (room, is_new) = opened.map_err(|error| match error {
            OpenError::Room(error) => not_opened(error),
            error => {
                tracing::warn!(room = %name, %error, "the room was not opened");
                if self.archive.is_stopped() { ErrorCode::TooManyRequests } else { ErrorCode::Internal }
            }
        })?;
        if is_new {
            self.rooms.tally.add(name.as_str());
            // While the database was asked it may have been declared no more.
            if let Err(code) = self.rooms.is_declared(name) {
                self.rooms.end(name.as_str());
                return Err(code);
            }
        }
        Ok(room)
    }

    /// What of a room is its history at this moment.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRoom`]; and as [`Edge::archived`].
    pub(crate) fn visible(&self, room: &Room<Publication>) -> Result<Visible, ErrorCode> {
        self.rooms.visible(room, EpochName::Ring(room.epoch()), Edge::archived(&self.archive, room)?)
    }

    /// What becomes of a publisher whose room is a whole ring ahead of the database.
    fn overload(&self) -> Overload {
        self.rooms.now().config.storage.overload
    }

    /// Forgets what is in memory of rooms that are over.
    pub(crate) fn forget(&self, is_over: impl Fn(&str) -> bool) {
        self.restart_cache.forget(is_over);
    }

    /// Takes out of what was read of a room before what was erased since while it did not run, or of an incarnation that is over.
    pub(crate) fn hide_erased(&self, room: &RoomName, found: &mut [Placed]) {
        self.erasures.hide(room, found);
    }

    /// Forgets which messages were erased that nobody can have any more.
    pub(crate) fn forget_erased(&self) {
        self.erasures.forget((self.rooms.clock)(), |room| self.archive.watermark(room));
    }

    /// Whether a room's ring holds nothing that is not stored.
    fn is_stored(&self, room: &Room<Publication>) -> bool {
        self.archive.watermark(room).is_none_or(|mark| mark.stored() >= room.tail())
    }
}

impl fmt::Debug for StoredRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRooms").field("archive", &self.archive).finish_non_exhaustive()
    }
}
