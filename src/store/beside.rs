//! Files that appear whole or not at all, and that nobody but their owner reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};

/// A file that is written beside where it is to be, and is gone again unless it is finished.
#[derive(Debug)]
pub struct Beside {
    to: PathBuf,
    path: PathBuf,
}

impl Beside {
    /// An empty file beside `to`, under a name of its own.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when there is something at `to`; and as the system has it.
    pub fn create(to: &Path) -> io::Result<(Self, File)> {
        if to.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let path = named(to, &format!(".part-{:016x}", RandomState::new().hash_one(0)));
        let file = private().write(true).create_new(true).open(&path)?;
        Ok((Self { to: to.to_owned(), path }, file))
    }

    /// Where it is until it is finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, once all of it is on the disk. Nothing is overwritten.
    ///
    /// # Errors
    /// As [`Beside::create`]; it is gone then.
    pub fn finish(self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        match fs::hard_link(&self.path, &self.to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && self.to.symlink_metadata().is_err() => {
                // A file system without second names.
                fs::rename(&self.path, &self.to)?;
            }
            linked => linked?,
        }
        let folder = self.to.parent().filter(|folder| !folder.as_os_str().is_empty());
        sync_names(folder.unwrap_or_else(|| Path::new(".")));
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // The second name, or what is half done. What a database writes beside it while it changes is as much ours.
        let _ = fs::remove_file(&self.path);
        for end in ["-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(named(&self.path, end));
        }
    }
}

/// Has the names in a folder be on the disk, too. Some file systems cannot be asked for it.
pub fn sync_names(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// What lies beside a file under its name and an ending.
pub fn named(path: &Path, end: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(end);
    name.into()
}

/// How files are opened that nobody but their owner is to read; it counts for those that are made.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a folder, and those above it, that nobody but their owner may enter. What is there stays as it is.
///
/// # Errors
/// As the system has it.
pub fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}
