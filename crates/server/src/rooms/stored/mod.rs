//! Rooms whose messages are kept in the database.
//!
//! What the rings can answer is answered in the turn of the connection that asks; what needs the database is done on threads
//! that may wait, and the connection's command is completed later.

mod codec;
mod history;
mod restart_cache;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::codec::PublicationCodec;
pub(crate) use self::history::{NoAnswer, ReadFrom};
use self::restart_cache::RestartCache;
use crate::config::{Config, Overload, Storage};
use roomcast::store::{Archive, Durability, Options, Retention, StoreError};
use roomcast::{Broker, Room};
use roomcast_protocol::Publication;

/// The database of a server, and how it is used.
pub(crate) struct StoredRooms {
    pub(crate) archive: Archive<Publication>,
    restart_cache: RestartCache,
    pub(crate) overload: Overload,
    pub(crate) timeout: Duration,
}

impl StoredRooms {
    /// Opens the database that `config` names and begins to keep rooms; nothing where no room is kept. `clock` is the broker's.
    ///
    /// # Errors
    /// As the store has it, in words for the operator.
    pub(crate) fn start(
        config: &Config,
        broker: &Broker<Publication>,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<Option<Self>, StoreError> {
        if !config.stores() {
            return Ok(None);
        }
        let store = config.storage.kind.open(config.database())?;
        let channel = config.channel.clone();
        let durability = move |room: &str| match channel.options_for(room)?.storage {
            Storage::Off => None,
            Storage::Async => Some(Durability::Async),
            Storage::Stored => Some(Durability::Stored),
        };
        let mut options = Options::by_room(durability);
        if config.channel.all_options().any(|room| room.retention().is_bounded()) {
            let channel = config.channel.clone();
            options = options.retention(
                move |room| channel.options_for(room).map_or_else(Retention::default, |room| room.retention()),
                move || clock(),
            );
        }
        let archive = Archive::start_with(broker, store, Box::new(PublicationCodec), options)?;
        Ok(Some(Self {
            archive,
            restart_cache: RestartCache::new(),
            overload: config.storage.overload,
            timeout: config.storage.timeout,
        }))
    }

    /// Forgets what is in memory of rooms that are over.
    pub(crate) fn forget(&self, is_over: impl Fn(&str) -> bool) {
        self.restart_cache.forget(is_over);
    }

    /// Whether a room's ring holds nothing that is not stored.
    pub(crate) fn is_stored(&self, room: &Room<Publication>) -> bool {
        self.archive.watermark(room).is_none_or(|mark| mark.stored() >= room.tail())
    }
}

impl fmt::Debug for StoredRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRooms").field("archive", &self.archive).finish_non_exhaustive()
    }
}
