//! The files of Unix sockets: made with their mode, and removed when nobody listens there any more.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use crate::config::FileMode;

/// A file that is removed with this, if it is still the one that was made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// The file that is there, which is this server's from here on.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }

    /// Leaves it where it is: another process goes on listening there.
    pub(crate) fn leave(mut self) {
        self.inode = NO_INODE;
    }
}

/// No file has it.
const NO_INODE: u64 = 0;

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|it| (it.dev(), it.ino()) == (self.device, self.inode))
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the file of a Unix socket stays");
        }
    }
}

/// Listens at `path`, which those may connect to whom `mode` lets write. What a server has left there that is gone makes way;
/// a server that is there does not, nor does a file that is no socket.
///
/// # Errors
/// What stands there, or what the system says.
pub(crate) fn listen_at(path: &Path, mode: FileMode, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    let address = SocketAddrUnix::new(path).map_err(|_| invalid("the path is longer than a Unix socket may have"))?;
    // Two that begin at once would each take the other's for one that is left.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let folder = File::open(folder)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    make_way(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &address)?;
    let file = SocketFile::of(path)?;
    // Nobody can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(mode.0.into()))?;
    listen(&socket, backlog)?;
    Ok((socket.into(), file))
}

/// Removes a socket at which nobody listens.
fn make_way(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        // One that is full of others who wait, or that we may not write to, is somebody's.
        Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODE: FileMode = FileMode(0o620);

    fn place() -> (PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!(
            "roomcast-unix-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir_all(&folder).unwrap();
        (folder.join("socket"), folder)
    }

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_server() {
        let (path, folder) = place();
        let (listener, file) = listen_at(&path, MODE, 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o620);
        UnixStream::connect(&path).unwrap();
        let taken = listen_at(&path, MODE, 8).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse, "{taken}");
        UnixStream::connect(&path).expect("it was left alone");
        drop(listener);
        drop(file);
        assert!(!path.exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_left_makes_way_and_what_is_no_socket_does_not() {
        let (path, folder) = place();
        let (listener, file) = listen_at(&path, MODE, 8).unwrap();
        file.leave();
        drop(listener);
        assert!(path.exists());
        let (_listener, file) = listen_at(&path, MODE, 8).expect("nobody listens there");
        // Somebody else's by now.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "kept").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        let refused = listen_at(&path, MODE, 8).unwrap_err();
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        let long = folder.join("x".repeat(200));
        assert!(listen_at(&long, MODE, 8).unwrap_err().to_string().contains("longer"));
        fs::remove_dir_all(folder).unwrap();
    }
}
