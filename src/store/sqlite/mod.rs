//! The store that is one file.

mod error;
mod read;
mod schema;
mod write;

use std::fmt;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use self::error::Explain;
use self::write::{Tenure, Writer};
use super::backend::{Erasure, FileStore, Page, Record, RetentionCutoff, RoomEntry, Span, Store};
use super::batch::Batch;
use super::beside::{self, Beside};
use super::error::{StoreError, StoreErrorKind};
use super::fence::Unwritten;
use super::file_lock::{FileLock, FileLockError};

/// How long one connection waits for another that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections for reading that are kept.
const READERS_KEPT: usize = 4;

/// Files up to this size are checked for damage whenever the last run has not ended cleanly: about a second.
const CHECKED_BYTES_MAX: u64 = 256 << 20;

/// A store in one SQLite file. The database is built in; nothing is to be installed.
///
/// The file is in WAL mode: beside it lie `-wal` and `-shm`, which belong to it, and `.lock`, by which a process has it for
/// itself. Others may read it meanwhile ([`SqliteStore::open_to_read`], [`SqliteStore::backup`]).
///
/// # Examples
/// ```
/// use roomcast::store::{RetentionCutoff, SqliteStore, Store};
///
/// let store = SqliteStore::in_memory()?;
/// store.begin()?;
/// assert_eq!(store.span("lobby", RetentionCutoff::default())?, None);
/// # Ok::<(), roomcast::store::StoreError>(())
/// ```
pub struct SqliteStore {
    /// `None` in memory.
    path: Option<PathBuf>,
    writer: Mutex<Option<Writer>>,
    /// Of the run that was begun: beside the writer, which may be waiting for the disk.
    tenure: Mutex<Option<Tenure>>,
    readers: Mutex<Readers>,
    /// Held while this process may write.
    lock: Mutex<Option<FileLock>>,
}

impl SqliteStore {
    /// A store in that file, which [`Store::begin`] creates when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be created, the file cannot be opened or is not ours, or a newer version wrote it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            beside::private_folder(folder).map_err(|error| {
                let text = format!("the folder {} cannot be created: {error}", folder.display());
                StoreError::new(StoreErrorKind::Unavailable, text).caused_by(error)
            })?;
        }
        Ok(Self::at(Some(path.to_owned())))
    }

    /// The store of a file that another process may be writing, for reading alone.
    ///
    /// # Errors
    /// When there is none, or nothing in it, not even tables.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.exists() {
            let text = format!("there is no database at {}; is it another data directory?", path.display());
            return Err(StoreError::new(StoreErrorKind::Unavailable, text));
        }
        let store = Self::at(Some(path.to_owned()));
        store.read_with(|reader| {
            ours(reader, path)?;
            store.refuse_nothing(reader)
        })?;
        Ok(store)
    }

    /// A store that is gone with the process: for tests.
    ///
    /// # Errors
    /// When memory is short.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::at(None))
    }

    fn at(path: Option<PathBuf>) -> Self {
        Self {
            path,
            writer: Mutex::new(None),
            tenure: Mutex::new(None),
            readers: Mutex::default(),
            lock: Mutex::default(),
        }
    }

    /// Copies the whole store, as it is at this moment, into a new file, while it may be written on. Restored, the copy begins
    /// new incarnations: its rooms may have gone on since.
    ///
    /// The file appears when all of it is on the disk. Until then it is written beside, under a name that ends in `.part-` and
    /// digits, which is gone again when the copy fails (and stays where the process is killed).
    ///
    /// # Errors
    /// When the file exists already or cannot be written, the disk is full, or there is nothing to copy.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        let to = to.as_ref();
        let (beside, file) = Beside::create(to).map_err(|error| not_copied(to, error))?;
        let part = beside.path();
        let name =
            part.to_str().ok_or_else(|| StoreError::new(StoreErrorKind::Other, "the name of the copy must be text"))?;
        self.read_with(|reader| {
            self.refuse_nothing(reader)?;
            reader.execute("VACUUM INTO ?1", [name]).explain(to)
        })?;
        let copy = Connection::open(part).explain(to)?;
        schema::set_free(&copy).explain(to)?;
        copy.close().map_err(|(_, error)| error).explain(to)?;
        beside.finish(&file).map_err(|error| not_copied(to, error))
    }

    /// Reads the whole file and says whether it is sound. Takes about a second for 300 MB.
    ///
    /// # Errors
    /// [`StoreErrorKind::Damaged`] when it is not, or there is nothing in it, not even tables.
    pub fn check(&self) -> Result<(), StoreError> {
        self.read_with(|reader| {
            ours(reader, self.path())?;
            self.refuse_nothing(reader)?;
            self.check_pages(reader)
        })
    }

    /// Refuses to take a file without tables for a store: something may have emptied it.
    fn refuse_nothing(&self, reader: &Connection) -> Result<(), StoreError> {
        match schema::has_tables(reader).explain(self.path())? {
            true => Ok(()),
            false => {
                let text = format!(
                    "there is nothing in {}: it was never written, or was emptied. Where messages were kept in it, put a backup in \
                     its place (`roomcast backup` makes them)",
                    self.path().display()
                );
                Err(StoreError::new(StoreErrorKind::Damaged, text))
            }
        }
    }

    fn check_pages(&self, connection: &Connection) -> Result<(), StoreError> {
        let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match found.explain(self.path())?.as_str() {
            "ok" => Ok(()),
            found => Err(error::damaged(self.path(), found)),
        }
    }

    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| Path::new(":memory:"))
    }

    fn writer(&self) -> Result<Held<'_>, StoreError> {
        // A transaction that a panic has cut short was rolled back.
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match writer.is_some() {
            true => Ok(Held(writer)),
            false => Err(not_begun()),
        }
    }

    fn write_with<R>(
        &self,
        write: impl FnOnce(&mut Writer) -> Result<R, Unwritten<rusqlite::Error>>,
    ) -> Result<R, StoreError> {
        let mut writer = self.writer()?;
        let done = write(&mut writer);
        writer.seen_through(done).explain(self.path())
    }

    /// Runs `read` on a connection of its own, or, in memory, on the only one.
    fn read_with<R>(&self, read: impl FnOnce(&Connection) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let Some(path) = &self.path else { return read(&self.writer()?.connection) };
        let (idle, forgotten) = {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            (readers.idle.pop(), readers.forgotten)
        };
        let reader = match idle {
            Some(reader) => reader,
            None => {
                // Not read-only: a reader that comes first after a crash has to recover the log.
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let reader = Connection::open_with_flags(path, flags)
                    .or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
                    .explain(path)?;
                reader.busy_timeout(BUSY_TIMEOUT).explain(path)?;
                reader
            }
        };
        let done = read(&reader);
        if done.is_ok() {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.idle.len() < READERS_KEPT && readers.forgotten == forgotten {
                readers.idle.push(reader);
            }
        }
        done
    }

    /// Lets go of the readers, and of what they have read: something was removed or erased.
    fn forget_readers(&self) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.forgotten += 1;
        readers.idle.clear();
    }

    /// Takes the file for this process.
    fn lock(&self) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_some() {
            return Ok(());
        }
        let taken = FileLock::take(path).map_err(|error| match error {
            FileLockError::Unwritable(name, error) => {
                let kind = match error.kind() {
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                        StoreErrorKind::ReadOnly
                    }
                    std::io::ErrorKind::StorageFull => StoreErrorKind::Full,
                    _ => StoreErrorKind::Unavailable,
                };
                let text = format!("{} cannot be written: {error}", name.display());
                StoreError::new(kind, text).caused_by(error)
            }
            FileLockError::Taken(error) => {
                let text =
                    format!("another process has {}; stop it first, or choose another data directory", path.display());
                StoreError::new(StoreErrorKind::Locked, text).caused_by(error)
            }
        })?;
        *lock = Some(taken);
        Ok(())
    }
}

/// Connections that read, at rest.
#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    /// How often they were let go: one that was reading then is not kept.
    forgotten: u64,
}

/// What was there before a store was begun.
#[derive(Debug, Default)]
struct Before {
    has_file: bool,
    log_bytes: u64,
}

impl Before {
    fn look(path: &Path) -> Self {
        Self { has_file: path.exists(), log_bytes: log_bytes(path) }
    }

    /// What of it shows no more, though it should.
    fn lost(&self, connection: &Connection, had_tables: bool, read: u64) -> rusqlite::Result<Option<String>> {
        let logged = schema::pages_of_log(self.log_bytes);
        Ok(if logged > 0 && read == 0 {
            Some("beside the database lay a log of which nothing could be read: what was in it is gone".to_owned())
        } else if logged > read && !schema::has_rooms(connection)? {
            Some(format!(
                "beside the database lay a log of {logged} pages, of which {read} could be read, and there are no rooms"
            ))
        } else if self.has_file && !had_tables {
            Some("the database was there and is empty".to_owned())
        } else {
            None
        })
    }
}

fn not_copied(to: &Path, error: std::io::Error) -> StoreError {
    use std::io::ErrorKind as Io;
    let (kind, text) = match error.kind() {
        Io::AlreadyExists => {
            (StoreErrorKind::Other, format!("{} exists already; name a file that does not", to.display()))
        }
        Io::StorageFull => {
            (StoreErrorKind::Full, format!("the disk is full: {} cannot be written; make space", to.display()))
        }
        _ => (StoreErrorKind::Unavailable, format!("{} cannot be written: {error}", to.display())),
    };
    StoreError::new(kind, text).caused_by(error)
}

fn log_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside::named(path, "-wal")).map_or(0, |log| log.len())
}

fn not_begun() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the store was not begun")
}

/// Whether the file is empty, or ours and of a version that is known.
fn ours(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    match schema::refusal(connection).explain(path)? {
        Some(refusal) => Err(StoreError::new(StoreErrorKind::Damaged, refusal)),
        None => Ok(()),
    }
}

/// The writer, begun.
struct Held<'a>(MutexGuard<'a, Option<Writer>>);

impl Deref for Held<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        self.0.as_ref().unwrap_or_else(|| unreachable!("looked at when it was taken"))
    }
}

impl std::ops::DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        self.0.as_mut().unwrap_or_else(|| unreachable!("looked at when it was taken"))
    }
}

impl Store for SqliteStore {
    fn begin(&self) -> Result<(), StoreError> {
        self.lock()?;
        let path = self.path();
        let before = self.path.as_deref().map(Before::look).unwrap_or_default();
        let connection = match &self.path {
            Some(path) => {
                // One that cannot be made is reported by the database.
                let _ = beside::private().write(true).create_new(true).open(path);
                Connection::open(path).explain(path)?
            }
            None => Connection::open_in_memory().explain(path)?,
        };
        connection.busy_timeout(BUSY_TIMEOUT).explain(path)?;
        ours(&connection, path)?;
        let had_tables = schema::has_tables(&connection).explain(path)?;
        // Before anything is written, so that what is counted was there.
        let logged = schema::log_pages(&connection).explain(path)?;
        schema::prepare(&connection).explain(path)?;
        if let Some(lost) = before.lost(&connection, had_tables, logged).explain(path)? {
            tracing::warn!(
                database = %path.display(),
                "{lost}. If messages were kept here, stop the server, run `roomcast check`, and put a backup in place"
            );
        }
        let was_clean = schema::was_clean(&connection).explain(path)?;
        let bytes = self.path.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |file| file.len());
        if !was_clean {
            if bytes <= CHECKED_BYTES_MAX {
                self.check_pages(&connection)?;
            } else {
                tracing::info!(bytes, "the database is large and was not checked; `roomcast check` does");
            }
        }
        let run = schema::begin_run(&connection).explain(path)?;
        let tenure = Tenure::new(self.path.as_deref(), run);
        *self.tenure.lock().unwrap_or_else(PoisonError::into_inner) = Some(tenure.clone());
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Writer::new(connection, tenure));
        Ok(())
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.write_with(|writer| writer.commit(batch))
    }

    fn finish(&self) -> Result<(), StoreError> {
        self.write_with(Writer::finish)
    }

    fn let_go(&self) {
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.forget_readers();
        // Last: whoever has it finds nobody in the file.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn confirm(&self) -> Result<(), StoreError> {
        let tenure = self.tenure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tenure = tenure.ok_or_else(not_begun)?;
        // Asked for once in a while, however little is written.
        if let Ok(mut writer) = self.writer.try_lock()
            && let Some(writer) = &mut *writer
        {
            writer.cut_log_again();
        }
        self.read_with(|reader| tenure.confirm(reader).explain(self.path()))
    }

    fn span(&self, room: &str, cutoff: RetentionCutoff) -> Result<Option<Span>, StoreError> {
        self.read_with(|reader| read::span(reader, room, cutoff).explain(self.path()))
    }

    fn read(&self, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>, StoreError> {
        self.read_with(|reader| read::messages(reader, room, range, page).explain(self.path()))
    }

    fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, StoreError> {
        self.read_with(|reader| read::rooms(reader, after, limit).explain(self.path()))
    }

    fn room_names(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.read_with(|reader| read::room_names(reader, after, limit).explain(self.path()))
    }

    fn remove(&self, room: &str, before: u64, limit: usize) -> Result<usize, StoreError> {
        self.write_with(|writer| writer.remove(room, before, limit))
    }

    fn erase(&self, author: &str, limit: usize) -> Result<usize, StoreError> {
        self.write_with(|writer| writer.erase(author, limit))
    }

    fn erase_in(&self, room: &str, erasure: Erasure<'_>, before: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let erased = self.write_with(|writer| writer.erase_in(room, erasure, before, limit));
        self.forget_readers();
        erased
    }

    fn scrub(&self) -> Result<(), StoreError> {
        self.forget_readers();
        self.write_with(|writer| {
            writer.scrub();
            Ok(())
        })
    }
}

impl FileStore for SqliteStore {
    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        Self::backup(self, to)
    }

    fn check(&self) -> Result<(), StoreError> {
        Self::check(self)
    }

    fn restoring(&self) -> String {
        let name = self.path().file_name().unwrap_or_default().display();
        format!("put it in place of {name} and remove {name}-wal and {name}-shm")
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path()).finish_non_exhaustive()
    }
}
