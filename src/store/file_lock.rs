//! The lock beside a file, by which one process has it for itself, and which file a file is.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::beside;

/// A file that this process has for itself, as long as this is held.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    id: FileId,
    _file: File,
}

/// Why a file cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileLockError {
    /// The lock cannot be written.
    Unwritable(PathBuf, io::Error),
    /// Another process has it.
    Taken(io::Error),
}

impl FileLock {
    /// Takes the file at `of`, which need not be there: the lock lies beside it, under its name and `.lock`.
    ///
    /// # Errors
    /// [`FileLockError`].
    pub fn take(of: &Path) -> Result<Self, FileLockError> {
        let path = beside::named(of, ".lock");
        let unwritable = |error| FileLockError::Unwritable(path.clone(), error);
        let file = beside::private().create(true).truncate(false).write(true).open(&path).map_err(unwritable)?;
        #[expect(clippy::incompatible_msrv, reason = "the feature `sqlite` needs Rust 1.89, as Cargo.toml says")]
        file.try_lock().map_err(|error| FileLockError::Taken(error.into()))?;
        let id = FileId::new(&file.metadata().map_err(unwritable)?);
        Ok(Self { path, id, _file: file })
    }

    /// Whether another process finds it: whoever removes the lock lets a second one in.
    pub fn is_in_place(&self) -> bool {
        self.id.is_at(&self.path)
    }
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl FileId {
    /// That of the file at that place.
    ///
    /// # Errors
    /// As the system has it.
    pub fn of(path: &Path) -> io::Result<Self> {
        path.metadata().map(|file| Self::new(&file))
    }

    fn new(file: &Metadata) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Self { device: file.dev(), inode: file.ino() }
        }
        #[cfg(not(unix))]
        {
            let _ = file;
            Self {}
        }
    }

    /// Whether it lies there still; also where that cannot be seen.
    pub fn is_at(self, path: &Path) -> bool {
        match Self::of(path) {
            Ok(found) => found == self,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }
}
