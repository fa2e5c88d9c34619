//! A disk that is slow, full or broken, for a process under test: a shim between it and the system, and nothing in the program.
//!
//! A *locked* database needs none of this: another connection that has begun to write is one.

#![allow(dead_code, reason = "each suite takes what it needs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// No space left on the device.
pub(crate) const FULL: i32 = 28;

/// An input or output error.
pub(crate) const BROKEN: i32 = 5;

/// The disk under one folder of a process that was started with [`Disk::variables`].
#[derive(Debug)]
pub(crate) struct Disk {
    shim: PathBuf,
    control: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// A disk that does what it should, under `folder`; what it is told lies in `tools`, another one.
    pub(crate) fn under(folder: &Path, tools: &Path) -> Self {
        let disk = Self {
            shim: compile(include_str!("shim.c"), &tools.join("disk.so")),
            control: tools.join("disk.control"),
            folder: fs::canonicalize(folder).expect("the folder is there"),
        };
        disk.works();
        disk
    }

    /// What the process is to be started with.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("LD_PRELOAD", self.shim.clone()),
            ("ROOMCAST_DISK_FOLDER", self.folder.clone()),
            ("ROOMCAST_DISK_CONTROL", self.control.clone()),
        ]
    }

    /// From here on it does what it should, at once.
    pub(crate) fn works(&self) {
        self.obeys(Duration::ZERO, 0);
    }

    /// From here on a sync takes that long.
    pub(crate) fn is_slow(&self, sync: Duration) {
        self.obeys(sync, 0);
    }

    /// From here on every write and every sync fails with that error: [`FULL`], [`BROKEN`].
    pub(crate) fn fails_with(&self, error: i32) {
        self.obeys(Duration::ZERO, error);
    }

    fn obeys(&self, sync: Duration, error: i32) {
        let next = self.control.with_extension("next");
        fs::write(&next, format!("{} {error}", sync.as_millis())).expect("a control file");
        // It is read at any moment.
        fs::rename(next, &self.control).expect("a control file");
    }
}

/// Compiles a library that goes between a process and the system.
pub(crate) fn compile(source: &str, to: &Path) -> PathBuf {
    let file = to.with_extension("c");
    fs::write(&file, source).expect("the source is written");
    let output = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(to)
        .arg(file)
        .args(["-ldl", "-lpthread"])
        .output()
        .expect("a C compiler is there, which the database needs as well");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    to.to_owned()
}
