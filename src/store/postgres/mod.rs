//! The store that is a PostgreSQL server.

mod error;
mod pooler;
mod read;
mod schema;
mod url;
mod write;

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postgres::config::{Host, TargetSessionAttrs};
use postgres::{Client, Config, NoTls};

use self::error::{Explain as _, is_of_the_connection};
use self::write::Writer;
use super::backend::{Erasure, Page, Record, RetentionCutoff, RoomEntry, Span, Store};
use super::batch::Batch;
use super::error::{StoreError, StoreErrorKind};
use super::fence::{self, Unwritten};

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
    /// The run that this process has begun.
    begun: Mutex<Option<Begun>>,
    /// Its number, beside the writer, which may be waiting for the server.
    run: Mutex<Option<i64>>,
    readers: Mutex<Readers>,
    is_pooler_trusted: bool,
}

/// A run, and the connection that has the store for it, if it is there.
struct Begun {
    run: i64,
    writer: Option<Writer>,
}

/// Idle connections for reading.
#[derive(Default)]
struct Readers {
    idle: Vec<Client>,
    /// Of which connection of the writer they are: they must read what it has written.
    era: u64,
    /// Whether a run was begun: then a server that only lets one read is the wrong one, and may be behind.
    is_writing: bool,
}

impl PostgresStore {
    /// The store at `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or in words as libpq has them (`host=… user=…`). The database
    /// must exist; [`Store::begin`] makes the tables.
    ///
    /// # Errors
    /// When that is no URL, or the server does not answer or refuses the user.
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        let mut config = url::parse(url)?;
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
        let (begun, run, readers) = (Mutex::default(), Mutex::default(), Mutex::default());
        let store = Self { config, place, begun, run, readers, is_pooler_trusted: false };
        let (first, era) = store.reader()?;
        store.keep(first, era);
        Ok(store)
    }

    /// Begins though a pooler hands each transaction to another session. For tests of what still holds then.
    #[doc(hidden)]
    #[must_use]
    pub fn trusting_poolers(mut self) -> Self {
        self.is_pooler_trusted = true;
        self
    }

    fn client(&self, is_to_write: bool) -> Result<Client, StoreError> {
        if !is_to_write {
            return self.config.connect(NoTls).explain(&self.place);
        }
        // Of several servers the one that can be written; of one, whether it is that.
        let mut config = self.config.clone();
        config.target_session_attrs(TargetSessionAttrs::ReadWrite).connect(NoTls).explain(&self.place)
    }

    /// A new connection for reading, and its era.
    fn reader(&self) -> Result<(Client, u64), StoreError> {
        let (era, is_writing) = {
            let readers = self.readers();
            (readers.era, readers.is_writing)
        };
        Ok((self.client(is_writing)?, era))
    }

    fn keep(&self, client: Client, era: u64) {
        let mut readers = self.readers();
        if readers.era == era && readers.idle.len() < READERS_KEPT && !client.is_closed() {
            readers.idle.push(client);
        }
    }

    fn read_with<R>(&self, read: impl Fn(&mut Client) -> Result<R, postgres::Error>) -> Result<R, StoreError> {
        let idle = || {
            let mut readers = self.readers();
            Some((readers.idle.pop()?, readers.era))
        };
        // An idle connection may have died meanwhile, or lead to the wrong server, which shows when it is used.
        while let Some((mut client, era)) = idle() {
            match read(&mut client) {
                Err(error) if is_of_the_connection(&error) || client.is_closed() => {}
                done => {
                    self.keep(client, era);
                    return done.explain(&self.place);
                }
            }
        }
        let (mut client, era) = self.reader()?;
        let done = read(&mut client);
        if done.as_ref().err().is_none_or(|error| !is_of_the_connection(error)) {
            self.keep(client, era);
        }
        done.explain(&self.place)
    }

    /// Runs `write` on the connection that has the store for this process, on a new one when that was lost or is the wrong one.
    fn write_with<R>(
        &self,
        write: impl FnOnce(&mut Writer) -> Result<R, Unwritten<postgres::Error>>,
    ) -> Result<R, StoreError> {
        let mut begun = self.begun();
        let Some(Begun { run, writer: place }) = begun.as_mut() else {
            return Err(not_begun());
        };
        let writer = match place {
            Some(writer) if !writer.client.is_closed() => writer,
            _ => {
                // The one before must let go first.
                drop(place.take());
                let client = self.taken_again(*run)?;
                self.begin_era();
                tracing::info!(place = self.place, "connected to the PostgreSQL server again");
                place.insert(Writer::new(client, *run))
            }
        };
        let done = write(writer);
        let done = writer.seen_through(done);
        if let Err(Unwritten::Said(error)) = &done
            && is_of_the_connection(error)
        {
            drop(place.take());
        }
        done.explain(&self.place)
    }

    /// Lets go of connections for reading that may lead elsewhere than the writer's.
    fn begin_era(&self) {
        let old = {
            let mut readers = self.readers();
            readers.era += 1;
            readers.is_writing = true;
            std::mem::take(&mut readers.idle)
        };
        drop(old);
    }

    /// A connection with which that run goes on.
    fn taken_again(&self, run: i64) -> Result<Client, StoreError> {
        let mut client = self.client(true)?;
        // Who has the lock may have begun a run since: then it will not be free for us any more.
        let newest = schema::newest_run(&mut client).explain(&self.place)?;
        if let Err(Unwritten::Foreign(foreign)) = fence::admit::<postgres::Error>(run, newest) {
            if foreign.is_of_an_earlier_state() {
                write::distrust(&mut client, run).explain(&self.place)?;
            }
            return Err(foreign.at(&self.place));
        }
        self.take(client)
    }

    /// Takes the store for this process, with that connection.
    fn take(&self, mut client: Client) -> Result<Client, StoreError> {
        match schema::take(&mut client).explain(&self.place)? {
            true => Ok(client),
            false => {
                let text = format!("another process has {}; stop it first, or use another database", self.place);
                Err(StoreError::new(StoreErrorKind::Locked, text))
            }
        }
    }

    /// Refuses to begin where each transaction may be another session's: the lock would be nobody's.
    fn refuse_pooler(&self, client: &mut Client) -> Result<(), StoreError> {
        if self.is_pooler_trusted {
            return Ok(());
        }
        let mut other = self.client(true)?;
        if !pooler::shares_sessions(client, &mut other).explain(&self.place)? {
            return Ok(());
        }
        let name = pooler::name(&self.config).unwrap_or_else(|| "a connection pooler, PgBouncer perhaps,".to_owned());
        let text = format!(
            "before {} stands {name} in transaction mode, which gives each transaction to another session, so that two \
             processes could write at once; name the server itself in the URL, or set pool_mode = session for this database",
            self.place
        );
        Err(StoreError::new(StoreErrorKind::Unavailable, text))
    }

    fn begun(&self) -> MutexGuard<'_, Option<Begun>> {
        // A transaction that a panic has cut short was rolled back.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        // Each change leaves it whole.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_begun() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the store was not begun")
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
        let mut begun = self.begun();
        // The one before must let go first.
        drop(begun.take());
        let mut client = self.client(true)?;
        // Before anything is taken that a pooler would leave with somebody else.
        self.refuse_pooler(&mut client)?;
        let mut client = self.take(client)?;
        if let Some(refusal) = schema::prepare(&mut client, &self.place).explain(&self.place)? {
            return Err(StoreError::new(StoreErrorKind::Damaged, refusal));
        }
        let run = schema::begin_run(&mut client).explain(&self.place)?;
        self.begin_era();
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
        *begun = Some(Begun { run, writer: Some(Writer::new(client, run)) });
        Ok(())
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.write_with(|writer| writer.commit(batch))
    }

    fn finish(&self) -> Result<(), StoreError> {
        self.write_with(Writer::finish)
    }

    fn let_go(&self) {
        if let Some(Begun { writer: Some(mut writer), .. }) = self.begun().take() {
            // The server lets go by itself when it sees that the connection has ended, which may be later.
            let _ = schema::let_go(&mut writer.client);
        }
        self.begin_era();
    }

    fn confirm(&self) -> Result<(), StoreError> {
        let run = *self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let run = run.ok_or_else(not_begun)?;
        let newest = self.read_with(schema::newest_run)?;
        fence::confirm::<postgres::Error>(run, newest).explain(&self.place)
    }

    fn span(&self, room: &str, cutoff: RetentionCutoff) -> Result<Option<Span>, StoreError> {
        self.read_with(|client| read::span(client, room, cutoff))
    }

    fn read(&self, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>, StoreError> {
        self.read_with(|client| read::messages(client, room, range.clone(), page))
    }

    fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, StoreError> {
        self.read_with(|client| read::rooms(client, after, limit))
    }

    fn room_names(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.read_with(|client| read::room_names(client, after, limit))
    }

    fn remove(&self, room: &str, before: u64, limit: usize) -> Result<usize, StoreError> {
        self.write_with(|writer| writer.remove(room, before, limit))
    }

    fn erase(&self, author: &str, limit: usize) -> Result<usize, StoreError> {
        self.write_with(|writer| writer.erase(author, limit))
    }

    fn erase_in(&self, room: &str, erasure: Erasure<'_>, before: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.write_with(|writer| writer.erase_in(room, erasure, before, limit))
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // Saying goodbye blocks, which a thread that runs tasks must not do.
        let begun = self.begun().take();
        let readers = std::mem::take(&mut *self.readers());
        let goodbye = std::thread::Builder::new().name("roomcast-goodbye".to_owned());
        if let Ok(thread) = goodbye.spawn(move || drop((begun, readers))) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("place", &self.place).finish_non_exhaustive()
    }
}
