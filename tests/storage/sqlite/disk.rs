//! A disk that is full, and one that cannot be written: a small one that the test mounts, or, where it may not, a limit on the
//! size of files.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use roomcast::store::{Durability, Options, SqliteStore, Store as _, StoreErrorKind as Kind};

use super::{publish, refused};
use crate::support::{Folder, Place as _, Run, until};

/// Set in the process that is limited.
const LIMITED: &str = "ROOMCAST_LIMITED_FOLDER";

/// A file system of its own.
struct Mounted<'a>(&'a Folder);

impl<'a> Mounted<'a> {
    /// None where the test may not mount.
    fn on(folder: &'a Folder) -> Option<Self> {
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder.path()).output();
        done.is_ok_and(|done| done.status.success()).then_some(Self(folder))
    }

    fn change(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(done.expect("mount runs").success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: a file that is still open must not keep it.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Publishes until nothing fits any more, makes space, and goes on.
fn fill(folder: &Path, kind: Kind, words: &str, make_space: impl FnOnce()) {
    let store = SqliteStore::open(folder.join("rooms.db")).unwrap();
    let run = Run::start(std::sync::Arc::new(store), Options::all(Durability::Stored));
    let room = run.open("lobby");
    let (mut accepted, text) = (0_u64, "x".repeat(2_000));
    until("it is full", || {
        while room.publish(text.clone()).is_ok() {
            accepted += 1;
        }
        run.archive.status().trouble.is_some()
    });
    let (trouble, said) = run.archive.status().trouble.unwrap();
    assert!(trouble == kind && said.contains(words), "{trouble:?}: {said}");
    let watermark = run.archive.watermark(&room).unwrap();
    let stored = run.stored("lobby").len() as u64;
    assert!(watermark.stored() <= stored && stored < accepted, "{} {stored} {accepted}", watermark.stored());
    make_space();
    run.flush();
    assert_eq!(run.archive.status().trouble, None);
    assert_eq!((run.stored("lobby").len() as u64, watermark.stored()), (accepted, accepted));
    run.end();
}

#[test]
fn a_full_disk_is_said_and_goes_on_with_space() {
    let folder = Folder::new();
    match Mounted::on(&folder) {
        Some(disk) => fill(folder.path(), Kind::Full, "the disk is full", || disk.change("size=64m")),
        None => a_limit_on_files_is_said_and_goes_on_with_more(),
    }
}

/// The limit is one of a whole process, so this test runs itself in one.
#[test]
fn a_limit_on_files_is_said_and_goes_on_with_more() {
    if let Some(folder) = env::var_os(LIMITED) {
        let raise = || {
            let pid = std::process::id().to_string();
            let done = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
            assert!(done.expect("prlimit runs").success());
        };
        return fill(Path::new(&folder), Kind::Unavailable, "see the disk and the limits on files", raise);
    }
    let folder = Folder::new();
    // Blocks of 512 bytes; a write beyond them is to fail instead of ending the process.
    run_again(
        Command::new("sh").args(["-c", "trap '' XFSZ; ulimit -S -f 4096; exec \"$@\"", "sh"]),
        "sqlite::disk::a_limit_on_files_is_said_and_goes_on_with_more",
        folder.path(),
    );
}

#[test]
fn a_file_that_cannot_be_written_is_refused_at_the_start() {
    if let Some(folder) = env::var_os(LIMITED) {
        let store = SqliteStore::open(Path::new(&folder).join("rooms.db")).unwrap();
        return refused(store.begin(), Kind::ReadOnly, "cannot be written");
    }
    let folder = Folder::new();
    let run = Run::start(folder.open(), Options::all(Durability::Async));
    publish(&run, "lobby", 5);
    run.end();
    let guard = |file, folder_mode| {
        for entry in fs::read_dir(folder.path()).unwrap().flatten() {
            fs::set_permissions(entry.path(), Permissions::from_mode(file)).unwrap();
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
    };
    guard(0o444, 0o555);
    // Root may write anything, unless that is taken from it.
    let is_root = fs::write(folder.path().join("probe"), "").is_ok();
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        command.args([
            "--bounding-set",
            "-dac_override,-dac_read_search",
            "--inh-caps",
            "-dac_override,-dac_read_search",
        ]);
    }
    run_again(&mut command, "sqlite::disk::a_file_that_cannot_be_written_is_refused_at_the_start", folder.path());
    guard(0o644, 0o755);
    let run = Run::start(folder.open(), Options::all(Durability::Async));
    assert_eq!(run.open("lobby").tail(), 5);
    run.end();
}

/// The same store begins when the disk can be written again.
#[test]
fn a_disk_that_is_mounted_for_reading_only_is_said() {
    let folder = Folder::new();
    let Some(disk) = Mounted::on(&folder) else {
        return a_file_that_cannot_be_written_is_refused_at_the_start();
    };
    let run = Run::start(folder.open(), Options::all(Durability::Async));
    publish(&run, "lobby", 5);
    run.end();
    disk.change("ro");
    let store = folder.open();
    refused(store.begin(), Kind::ReadOnly, "cannot be written");
    disk.change("rw");
    let run = Run::start(store, Options::all(Durability::Async));
    publish(&run, "lobby", 5);
    run.end();
    assert_eq!(crate::support::stored(&*folder.open(), "lobby").len(), 10);
}

/// This test once more, in a process that `command` begins.
#[track_caller]
fn run_again(command: &mut Command, test: &str, folder: &Path) {
    command.arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = command.env(LIMITED, folder).output().expect("the test runs itself");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    assert!(String::from_utf8_lossy(&said).contains("1 passed"), "{}", String::from_utf8_lossy(&said));
}
