//! The registry of back ends: what each is called, where its store is, and how that is opened. Programs that are told at run time
//! where to keep messages ask here, and know no back end themselves.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::backend::{FileStore, Store};
use super::error::{StoreError, StoreErrorKind};
#[cfg(feature = "postgres")]
use super::postgres::PostgresStore;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteStore;

/// A back end of this library, whether it is built into this program or not.
///
/// # Examples
/// ```
/// use roomcast::store::{Backend, StoreErrorKind};
///
/// assert_eq!(Backend::ALL[0].file_name(), Some("rooms.db"), "where nothing is said, SQLite");
///
/// let server = Backend::named("postgres").expect("it has two names");
/// assert_eq!((server.name(), server.file_name()), ("postgresql", None));
/// // Nobody listens there, or it was built without PostgreSQL.
/// let refused = server.open("postgres://chat@127.0.0.1:1/chat").err().expect("no server");
/// assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
/// ```
pub struct Backend {
    name: &'static str,
    /// Other names that are understood.
    aliases: &'static [&'static str],
    /// As its makers write it.
    title: &'static str,
    /// What `cargo build -p roomcast-server --features` takes for it: `roomcast/NAME` passes a feature on to the library.
    feature: &'static str,
    place: Place,
}

/// Where a store is, and how it is opened; `None` where the feature is off.
enum Place {
    File { name: &'static str, open: Option<FileOpen> },
    Server { url: &'static str, tools: OwnTools, connect: Option<Connect> },
}

/// What does, where a store is a server, what [`FileStore`] does for a file. In words, each the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnTools {
    /// What copies it.
    pub copied_by: &'static str,
    /// What checks it.
    pub checked_by: &'static str,
}

/// How a file is opened: to be written, and to be read alone.
#[derive(Clone, Copy)]
struct FileOpen {
    write: fn(&Path) -> Result<Arc<dyn Store>, StoreError>,
    read: fn(&Path) -> Result<Arc<dyn FileStore>, StoreError>,
}

type Connect = fn(&str) -> Result<Arc<dyn Store>, StoreError>;

/// A value where a feature is on, `None` where it is off.
macro_rules! with_feature {
    ($feature:literal, $value:expr) => {{
        #[cfg(feature = $feature)]
        {
            Some($value)
        }
        #[cfg(not(feature = $feature))]
        {
            None
        }
    }};
}

impl Backend {
    /// All of them; first the one that is used where nothing is said.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "sqlite",
            aliases: &[],
            title: "SQLite",
            feature: "roomcast/sqlite",
            place: Place::File {
                name: "rooms.db",
                open: with_feature!(
                    "sqlite",
                    FileOpen {
                        write: |file| Ok(Arc::new(SqliteStore::open(file)?)),
                        read: |file| Ok(Arc::new(SqliteStore::open_to_read(file)?)),
                    }
                ),
            },
        },
        Self {
            name: "postgresql",
            aliases: &["postgres"],
            title: "PostgreSQL",
            feature: "postgres",
            place: Place::Server {
                url: "postgresql://user:password@host/database",
                tools: OwnTools { copied_by: "for PostgreSQL use pg_dump", checked_by: "PostgreSQL checks itself" },
                connect: with_feature!("postgres", |url| Ok(Arc::new(PostgresStore::connect(url)?))),
            },
        },
    ];

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|backend| backend.name == name || backend.aliases.contains(&name))
    }

    /// Its name, as configurations have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its name, as its makers write it.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// Whether it is part of this program.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        match self.place {
            Place::File { open, .. } => open.is_some(),
            Place::Server { connect, .. } => connect.is_some(),
        }
    }

    /// How its file is called where nothing else is said; `None` where its store is a server.
    #[must_use]
    pub fn file_name(&self) -> Option<&'static str> {
        match self.place {
            Place::File { name, .. } => Some(name),
            Place::Server { .. } => None,
        }
    }

    /// What the URL of its server looks like; `None` where its store is a file.
    #[must_use]
    pub fn url_example(&self) -> Option<&'static str> {
        match self.place {
            Place::File { .. } => None,
            Place::Server { url, .. } => Some(url),
        }
    }

    /// What copies and checks its store; `None` where that is a file, which [`FileStore`] does it for.
    #[must_use]
    pub fn own_tools(&self) -> Option<OwnTools> {
        match self.place {
            Place::File { .. } => None,
            Place::Server { tools, .. } => Some(tools),
        }
    }

    /// The store at `at`, a path or a URL.
    ///
    /// # Errors
    /// When it cannot be opened or reached; [`StoreErrorKind::Unavailable`] when the back end is not part of this program.
    pub fn open(&self, at: impl AsRef<OsStr>) -> Result<Arc<dyn Store>, StoreError> {
        let at = at.as_ref();
        match self.place {
            Place::File { open: Some(FileOpen { write, .. }), .. } => write(Path::new(at)),
            Place::Server { connect: Some(connect), .. } => connect(at.to_str().unwrap_or_default()),
            _ => Err(self.not_built_in()),
        }
    }

    /// The same for reading alone, while another process may be writing it. A file must exist.
    ///
    /// # Errors
    /// As [`Backend::open`].
    pub fn open_to_read(&self, at: impl AsRef<OsStr>) -> Result<Arc<dyn Store>, StoreError> {
        match self.place {
            Place::File { .. } => Ok(self.open_file(at)?),
            Place::Server { .. } => self.open(at),
        }
    }

    /// The same of a store that is a file, which can be copied and checked.
    ///
    /// # Errors
    /// As [`Backend::open_to_read`]; and where the store is a server.
    pub fn open_file(&self, at: impl AsRef<OsStr>) -> Result<Arc<dyn FileStore>, StoreError> {
        match self.place {
            Place::File { open: Some(FileOpen { read, .. }), .. } => read(Path::new(at.as_ref())),
            Place::File { .. } => Err(self.not_built_in()),
            Place::Server { .. } => {
                Err(StoreError::new(StoreErrorKind::Other, format!("{} keeps its store on a server", self.title)))
            }
        }
    }

    fn not_built_in(&self) -> StoreError {
        let Self { title, feature, .. } = self;
        let text = format!("this roomcast was built without {title}; build it with `--features {feature}`");
        StoreError::new(StoreErrorKind::Unavailable, text)
    }
}

/// By name.
impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Backend {}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_back_end_is_found_by_each_of_its_names_alone() {
        let mut names = Vec::new();
        for backend in Backend::ALL {
            for name in backend.aliases.iter().chain([&backend.name]) {
                assert_eq!(Backend::named(name), Some(backend));
                assert!(!names.contains(name), "{name} is taken");
                names.push(name);
            }
        }
        assert_eq!(Backend::named("paper"), None);
    }

    #[test]
    fn one_that_is_not_built_in_says_how_it_would_be() {
        let place = Place::File { name: "rooms.txt", open: None };
        let paper = Backend { name: "paper", aliases: &[], title: "Paper", feature: "roomcast/paper", place };
        let said = "this roomcast was built without Paper; build it with `--features roomcast/paper`";
        assert!(!paper.is_built_in());
        assert_eq!(paper.open("rooms.txt").err().map(|error| error.to_string()).as_deref(), Some(said));
        assert_eq!(paper.open_to_read("rooms.txt").err().map(|error| error.to_string()).as_deref(), Some(said));
    }
}
