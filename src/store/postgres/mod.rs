//! The store that is a PostgreSQL server.

mod error;
mod read;
mod schema;
mod write;

use std::fmt;
use std::ops::Range;
use std::str::FromStr as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postgres::config::Host;
use postgres::{Client, Config, NoTls};

use self::error::Explain as _;
use self::write::Writer;
use super::error::{StoreError, StoreErrorKind};
use super::group::Group;
use super::record::{Cut, Page, Record, RoomEntry, Span, Store};

/// Idle connections for reading that are kept.
const READERS_KEPT: usize = 4;

/// How long the server may take to answer a connection, where the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what was sent may stay unconfirmed before the connection counts as lost, where the URL does not say.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(20);

/// A store in a database of a PostgreSQL server, in a schema of its own, `roomcast`.
///
/// One process at a time writes, others may read. When the server goes away and comes back, the store goes on by itself. The
/// connection is not encrypted: reach a server elsewhere through a tunnel.
///
/// What it does blocks, and must not be done on a thread that runs tasks.
///
/// # Examples
/// ```
/// use roomcast::store::{PostgresStore, StoreErrorKind};
///
/// // Nobody listens there.
/// let refused = PostgresStore::connect("postgres://chat:secret@127.0.0.1:1/chat").unwrap_err();
/// assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
/// assert!(!refused.to_string().contains("secret"));
/// ```
pub struct PostgresStore {
    config: Config,
    /// Where it is, for people: without the password.
    place: String,
    writer: Mutex<Option<Writer>>,
    readers: Mutex<Vec<Client>>,
}

impl PostgresStore {
    /// The store at `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or in words as libpq has them (`host=… user=…`). The database
    /// must exist; [`Store::begin`] makes the tables.
    ///
    /// # Errors
    /// When that is no URL, or the server does not answer or refuses the user.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        // What is wrong with it is not repeated: it may be in the password.
        let mut config = Config::from_str(url).map_err(|_| {
            let text = "the URL of the PostgreSQL server cannot be read; it looks like \
                        postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters in the password";
            StoreError::new(StoreErrorKind::Other, text)
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNCONFIRMED_MAX);
        }
        if config.get_application_name().is_none() {
            config.application_name("roomcast");
        }
        let place = place(&config);
        let store = Self { config, place, writer: Mutex::default(), readers: Mutex::default() };
        let first = store.client()?;
        store.keep(first);
        Ok(store)
    }

    fn client(&self) -> Result<Client, StoreError> {
        self.config.connect(NoTls).explain(&self.place)
    }

    fn keep(&self, client: Client) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_KEPT && !client.is_closed() {
            readers.push(client);
        }
    }

    fn read_with<R>(&self, read: impl Fn(&mut Client) -> Result<R, postgres::Error>) -> Result<R, StoreError> {
        let idle = || self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // An idle connection may have died meanwhile, which shows when it is used.
        while let Some(mut client) = idle() {
            match read(&mut client) {
                Err(_) if client.is_closed() => {}
                done => {
                    self.keep(client);
                    return done.explain(&self.place);
                }
            }
        }
        let mut client = self.client()?;
        let done = read(&mut client);
        self.keep(client);
        done.explain(&self.place)
    }

    /// Runs `write` on the connection that has the store for this process, on a new one when that was lost.
    fn write_with<R>(&self, write: impl FnOnce(&mut Writer) -> Result<R, postgres::Error>) -> Result<R, StoreError> {
        let mut writer = self.writer();
        let Some(writer) = writer.as_mut() else {
            return Err(StoreError::new(StoreErrorKind::Other, "the store was not begun"));
        };
        if writer.client.is_closed() {
            let client = self.taken()?;
            writer.go_on(client, &self.place)?;
            tracing::info!(place = self.place, "connected to the PostgreSQL server again");
        }
        write(writer).explain(&self.place)
    }

    /// A connection that has the store for this process.
    fn taken(&self) -> Result<Client, StoreError> {
        let mut client = self.client()?;
        match schema::take(&mut client).explain(&self.place)? {
            true => Ok(client),
            false => {
                let text = format!("another process has {}; stop it first, or use another database", self.place);
                Err(StoreError::new(StoreErrorKind::Locked, text))
            }
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        // A transaction that a panic has cut short was rolled back.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Host, port and database.
fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "an unnamed host".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5_432);
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or("its default");
    format!("the database {database} of the PostgreSQL server at {host}:{port}")
}

impl Store for PostgresStore {
    fn begin(&self) -> Result<(), StoreError> {
        let mut writer = self.writer();
        // The one before must let go first.
        drop(writer.take());
        let mut client = self.taken()?;
        if let Some(refusal) = schema::prepare(&mut client, &self.place).explain(&self.place)? {
            return Err(StoreError::new(StoreErrorKind::Damaged, refusal));
        }
        let run = schema::begin_run(&mut client).explain(&self.place)?;
        *writer = Some(Writer::new(client, run));
        Ok(())
    }

    fn commit(&self, group: &Group) -> Result<(), StoreError> {
        self.write_with(|writer| writer.commit(group))
    }

    fn finish(&self) -> Result<(), StoreError> {
        self.write_with(Writer::finish)
    }

    fn span(&self, room: &str, cut: Cut) -> Result<Option<Span>, StoreError> {
        self.read_with(|client| read::span(client, room, cut))
    }

    fn read(&self, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>, StoreError> {
        self.read_with(|client| read::messages(client, room, range.clone(), page))
    }

    fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, StoreError> {
        self.read_with(|client| read::rooms(client, after, limit))
    }

    fn remove(&self, room: &str, before: u64, limit: usize) -> Result<usize, StoreError> {
        self.write_with(|writer| writer.remove(room, before, limit))
    }

    fn erase(&self, author: &str, limit: usize) -> Result<usize, StoreError> {
        self.write_with(|writer| writer.erase(author, limit))
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // Saying goodbye blocks, which a thread that runs tasks must not do.
        let writer = self.writer().take();
        let readers = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        let goodbye = std::thread::Builder::new().name("roomcast-goodbye".to_owned());
        if let Ok(thread) = goodbye.spawn(move || drop((writer, readers))) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("place", &self.place).finish_non_exhaustive()
    }
}
