//! Log files: one a day, or more where a day fills one; the oldest go when there are too many, or too much is in them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file holds at most this part of what all may hold, so that what is lost with the oldest is little.
const PARTS: u64 = 8;

/// What a log file may be read by: its owner. There are names of users and rooms in it.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Files.
    pub(super) files: usize,
    /// Bytes of all files together.
    pub(super) bytes: u64,
}

/// The log files of a directory, the newest being written.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    bounds: Bounds,
    name: Name,
    file: BufWriter<File>,
    /// Bytes in the file.
    bytes: u64,
}

/// What a file is called: the day, and which of that day's it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    day: String,
    number: u32,
}

impl Files {
    /// Goes on with the newest file of the day, in a directory that is made if need be.
    pub(super) fn open(dir: &Path, bounds: Bounds, now: SystemTime) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
        let day = day(now);
        let known = names(dir)?.into_iter().filter(|name| name.day == day).max();
        let name = known.unwrap_or(Name { day, number: 1 });
        let (file, bytes) = name.open(dir)?;
        let mut files = Self { dir: dir.to_owned(), bounds, name, file, bytes };
        files.forget()?;
        Ok(files)
    }

    /// Writes a line, into another file where it is another day or this one is full.
    pub(super) fn write(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        let today = day(now);
        if today != self.name.day {
            self.go_on(Name { day: today, number: 1 })?;
        } else if self.bytes > 0 && self.bytes + line.len() as u64 > self.bounds.bytes / PARTS {
            self.go_on(Name { day: today, number: self.name.number + 1 })?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn go_on(&mut self, name: Name) -> io::Result<()> {
        // What the disk did not take is not taken along.
        let _ = self.file.flush();
        (self.file, self.bytes) = name.open(&self.dir)?;
        self.name = name;
        self.forget()
    }

    /// Removes the oldest files, until there are few enough and this one may grow.
    fn forget(&mut self) -> io::Result<()> {
        let mut kept = 1;
        let mut bytes = (self.bounds.bytes / PARTS).max(self.bytes);
        let mut names = names(&self.dir)?;
        names.sort();
        for name in names.into_iter().rev().filter(|name| *name != self.name) {
            let path = self.dir.join(name.file_name());
            let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if kept < self.bounds.files && bytes + length <= self.bounds.bytes {
                (kept, bytes) = (kept + 1, bytes + length);
            } else {
                // One that cannot be removed is tried again with the next.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

impl Name {
    fn file_name(&self) -> String {
        match self.number {
            1 => format!("roomcast.{}.log", self.day),
            number => format!("roomcast.{}.{number}.log", self.day),
        }
    }

    fn parse(file_name: &str) -> Option<Self> {
        let middle = file_name.strip_prefix("roomcast.")?.strip_suffix(".log")?;
        let (day, number) = middle.split_once('.').unwrap_or((middle, "1"));
        let is_day = day.len() == DAY_BYTES && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        is_day.then_some(Self { day: day.to_owned(), number: number.parse().ok()? })
    }

    fn open(&self, dir: &Path) -> io::Result<(BufWriter<File>, u64)> {
        let path = dir.join(self.file_name());
        let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path)?;
        let bytes = file.metadata()?.len();
        Ok((BufWriter::new(file), bytes))
    }
}

fn names(dir: &Path) -> io::Result<Vec<Name>> {
    let entries = fs::read_dir(dir)?.flatten();
    Ok(entries.filter_map(|entry| Name::parse(entry.file_name().to_str()?)).collect())
}

/// Of `2026-11-30`.
const DAY_BYTES: usize = 10;

/// The day by the clock of the world.
fn day(now: SystemTime) -> String {
    let mut day = humantime::format_rfc3339_seconds(now).to_string();
    day.truncate(DAY_BYTES);
    day
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("roomcast-logs-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }

        fn files(&self) -> Vec<(String, u64)> {
            let mut names = names(&self.0).unwrap();
            names.sort();
            let length = |name: &Name| fs::metadata(self.0.join(name.file_name())).unwrap().len();
            names.iter().map(|name| (name.file_name(), length(name))).collect()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_flood_fills_no_more_than_was_said() {
        let dir = Dir::new("flood");
        let bounds = Bounds { files: 14, bytes: 80_000 };
        let now = SystemTime::UNIX_EPOCH;
        let mut files = Files::open(&dir.0, bounds, now).unwrap();
        let line = [b'x'; 999];
        for count in 0_u32..1_000 {
            files.write(&line, now).unwrap();
            if count.is_multiple_of(7) {
                files.flush().unwrap();
                let bytes: u64 = dir.files().iter().map(|(_, bytes)| bytes).sum();
                assert!(bytes <= bounds.bytes, "{bytes} bytes after {count} lines");
            }
        }
        files.flush().unwrap();
        let kept = dir.files();
        assert!(kept.len() > 4 && kept.iter().all(|(_, bytes)| *bytes <= bounds.bytes / PARTS), "{kept:?}");
        assert_eq!(kept.last().unwrap().0, "roomcast.1970-01-01.100.log", "ten lines a file, and the newest is kept");
        // A server that starts again goes on where the last one was.
        drop(files);
        let mut files = Files::open(&dir.0, bounds, now).unwrap();
        files.write(&line, now).unwrap();
        files.flush().unwrap();
        assert_eq!(dir.files().last().unwrap().0, "roomcast.1970-01-01.101.log");
    }

    #[test]
    fn each_day_has_its_file_and_the_oldest_go() {
        let dir = Dir::new("days");
        let bounds = Bounds { files: 3, bytes: 1 << 20 };
        fs::create_dir_all(&dir.0).unwrap();
        fs::write(dir.0.join("roomcast.notes.log"), "not ours").unwrap();
        let mut files = Files::open(&dir.0, bounds, SystemTime::UNIX_EPOCH).unwrap();
        for days in 0..6 {
            files.write(b"a line\n", SystemTime::UNIX_EPOCH + days * DAY).unwrap();
        }
        files.flush().unwrap();
        let kept: Vec<String> = dir.files().into_iter().map(|(name, _)| name).collect();
        let expected = ["roomcast.1970-01-04.log", "roomcast.1970-01-05.log", "roomcast.1970-01-06.log"];
        assert_eq!(kept, expected);
        assert!(dir.0.join("roomcast.notes.log").exists());
        let mode = fs::metadata(dir.0.join(&kept[0])).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
    }
}
