//! Permanent storage: a subscriber that keeps what rooms publish in a database.
//!
//! An [`Archive`] watches the rooms of a broker through a pattern, so it finds new ones by itself, and writes what they publish
//! in batches, on a thread of its own. It reads the rings as every other subscriber does; a publisher meets it only when it is
//! a whole ring behind ([`Policy::Block`](crate::Policy::Block)). Rooms opened through it go on where they ended, in another
//! process perhaps, and their history is read as one, from ring and store.
//!
//! Where to: a [`SqliteStore`], a [`PostgresStore`] (the feature `postgres`), or whatever implements [`Store`]. A program that is told
//! at run time asks a [`Backend`].

mod archive;
mod backend;
mod batch;
mod batch_builder;
mod codec;
mod environment;
mod erased;
mod error;
mod history;
mod incarnations;
mod options;
mod post;
mod registry;
mod room_reader;
mod status;
#[cfg(test)]
mod stepped;
mod sweep;
mod watermark;
mod writer;

// What back ends have in common; one that is built alone does not use all of it.
#[cfg_attr(not(feature = "all-stores"), allow(dead_code))]
mod address;
#[cfg_attr(not(feature = "all-stores"), allow(dead_code))]
mod beside;
#[cfg_attr(not(feature = "all-stores"), allow(dead_code))]
mod epoch_chain;
#[cfg_attr(not(feature = "all-stores"), allow(dead_code))]
mod fence;
#[cfg(feature = "sqlite")]
mod file_lock;
#[cfg_attr(not(feature = "all-stores"), allow(dead_code))]
mod incarnation_rows;

// The back ends. `registry.rs` has a row for each.
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

/// What the server's tools and its configuration need as well.
pub(crate) mod internal {
    pub use super::address::without_password;
    pub use super::beside::{Beside, named, private, private_folder, sync_names};
    pub use super::environment::Environment;
    #[cfg(feature = "sqlite")]
    pub use super::file_lock::{FileId, FileLock, FileLockError};
    pub use super::writer::{BatchWriter, Next};
}

pub use self::archive::Archive;
pub use self::backend::{Erasure, FileStore, Page, Record, RetentionCutoff, RoomEntry, Span, Store};
pub use self::batch::{Batch, BatchPart, Incarnation};
pub use self::codec::{Codec, Undecodable};
pub use self::erased::ErasedMessages;
pub use self::error::{OpenError, StoreError, StoreErrorKind};
pub use self::history::{HistoryEntry, HistoryLimit, HistoryPage};
pub use self::options::{Durability, Options, Retention};
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
pub use self::registry::{Backend, OwnTools};
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::status::Status;
pub use self::watermark::{NotStored, Watermark};
