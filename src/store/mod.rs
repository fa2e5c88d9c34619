//! Permanent storage: a subscriber that keeps what rooms publish in a database.
//!
//! An [`Archive`] watches the rooms of a broker through a pattern, so it finds new ones by itself, and writes what they publish
//! in groups, on a thread of its own. It reads the rings as every other subscriber does; a publisher meets it only when it is
//! a whole ring behind ([`Policy::Block`](crate::Policy::Block)). Rooms opened through it go on where they ended, in another
//! process perhaps, and their past is read as one, from ring and store.
//!
//! Where to: a [`SqliteStore`], a [`PostgresStore`] (the feature `postgres`), or whatever implements [`Store`].

#[cfg(any(feature = "postgres", feature = "server"))]
pub(crate) mod address;
mod archive;
#[cfg(feature = "sqlite")]
pub(crate) mod beside;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod chain;
mod codec;
mod error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod fence;
mod gather;
mod group;
mod keeper;
mod lives;
mod mark;
mod options;
mod past;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
#[cfg(feature = "sqlite")]
mod sqlite;
mod status;

pub use self::archive::Archive;
pub use self::codec::{Codec, Undecodable};
pub use self::error::{OpenError, StoreError, StoreErrorKind};
pub use self::group::{Group, Life, Run};
pub use self::mark::{NotStored, StoredMark};
pub use self::options::{Durability, Options, Retention};
pub use self::past::{Past, Remembered};
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
pub use self::record::{Cut, Page, Record, RoomEntry, Span, Store};
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::status::Status;
