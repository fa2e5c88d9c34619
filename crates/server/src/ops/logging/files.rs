//! Log files: one a day, or more where a day fills one; the oldest go when there are too many, or too much is in them.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

/// A file holds at most this part of what all may hold, so that what is lost with the oldest is little.
const PARTS: u64 = 8;

/// Lines that gather before they are written, where there is always another one.
const GATHERED_BYTES: usize = 8 * 1024;

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

/// The log files of a directory, the newest being written: by two processes at once while one takes over from the other.
///
/// # Guarantees
/// Lines are whole: they are appended some at once, each in one write unless the disk takes only a part. Whichever process sets a file
/// aside or removes it, the other one sees so before it writes there again.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    bounds: Bounds,
    kind: Kind,
    name: Name,
    file: File,
    /// Whole lines that are not in the file yet.
    gathered: Vec<u8>,
    /// Bytes in the file, and of those.
    bytes: u64,
    /// Whether it is a file on a disk.
    is_regular: bool,
}

/// How the files are called.
#[derive(Debug)]
enum Kind {
    /// Each by its day.
    Daily,
    /// The newest has this name, and is called by its day when it is set aside.
    At(String),
}

/// Of what day a file is, and which of that day's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    day: String,
    number: u32,
}

impl Files {
    /// Goes on with the newest file of the day, or with the one of that name, in a directory that is made if need be.
    pub(super) fn open(dir: &Path, name: Option<&OsStr>, bounds: Bounds, now: SystemTime) -> io::Result<Self> {
        // One that has no parent is in the directory that the server was started in.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        make_dir(dir)?;
        let kind = name.map_or(Kind::Daily, |name| Kind::At(name.to_string_lossy().into_owned()));
        let name = kind.newest(dir, day(now))?;
        let (file, bytes) = kind.open(dir, &name)?;
        let is_regular = file.metadata()?.is_file();
        let gathered = Vec::new();
        let mut files = Self { dir: dir.to_owned(), bounds, kind, name, file, gathered, bytes, is_regular };
        files.forget()?;
        Ok(files)
    }

    /// Writes a line, into another file where it is another day or this one is full.
    pub(super) fn write(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        let today = day(now);
        if !self.is_regular {
            // A console or a pipe is nothing to set aside.
        } else if today != self.name.day {
            self.go_on(Name { day: today, number: 1 })?;
        } else if self.bytes > 0 && self.bytes + line.len() as u64 > self.bounds.bytes / PARTS {
            self.go_on(self.name.next())?;
        }
        if self.gathered.len() + line.len() > GATHERED_BYTES {
            self.flush()?;
        }
        self.gathered.extend_from_slice(line);
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Writes what has gathered. What is not taken is kept, and tried again with the next.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        if self.is_regular {
            self.follow()?;
        }
        self.put_through()
    }

    fn put_through(&mut self) -> io::Result<()> {
        while !self.gathered.is_empty() {
            match self.file.write(&self.gathered) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.gathered.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Goes where the other process has gone, if it has set this file aside or removed it; and counts what that has written.
    fn follow(&mut self) -> io::Result<()> {
        if !is_at(&self.file, &self.kind.path(&self.dir, &self.name)) {
            make_dir(&self.dir)?;
            self.name = self.kind.newest(&self.dir, self.name.day.clone())?;
            self.file = self.kind.open(&self.dir, &self.name)?.0;
        }
        self.bytes = self.file.metadata()?.len() + self.gathered.len() as u64;
        Ok(())
    }

    fn go_on(&mut self, name: Name) -> io::Result<()> {
        let is_removed = self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        if !is_removed {
            // Where it was set aside is its place. What the disk did not take is not taken along.
            let _ = self.put_through();
            self.gathered.clear();
        }
        if let Kind::At(current) = &self.kind {
            let current = self.dir.join(current);
            // Two processes write here while one takes over from the other, and one of them sets the file aside. Where a directory
            // cannot be locked they may do so at once, and what is lost is a place in the order.
            let dir = File::open(&self.dir)?;
            let _ = flock(&dir, FlockOperation::LockExclusive);
            if is_at(&self.file, &current) {
                fs::rename(current, self.free_name()?)?;
            }
        }
        (self.file, self.bytes) = self.kind.open(&self.dir, &name)?;
        self.bytes += self.gathered.len() as u64;
        self.name = name;
        self.forget()
    }

    /// Where the file is set aside: never in the place of another one, and behind all of its day, whichever process has set those aside.
    fn free_name(&self) -> io::Result<PathBuf> {
        let mut name = self.kind.newest(&self.dir, self.name.day.clone())?;
        loop {
            let path = self.dir.join(self.kind.file_name(&name));
            if fs::symlink_metadata(&path).is_err() {
                return Ok(path);
            }
            name = name.next();
        }
    }

    /// Removes the oldest files, until there are few enough and this one may grow.
    fn forget(&mut self) -> io::Result<()> {
        let mut kept = 1;
        let mut bytes = (self.bounds.bytes / PARTS).max(self.bytes);
        let mut names = self.kind.names(&self.dir)?;
        names.sort();
        for name in names.into_iter().rev().filter(|name| *name != self.name) {
            let path = self.dir.join(self.kind.file_name(&name));
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

impl Kind {
    /// What comes before and after the day in the name of a file.
    fn around(&self) -> [String; 2] {
        match self {
            Self::Daily => ["roomcast.".to_owned(), ".log".to_owned()],
            Self::At(name) => [format!("{name}."), String::new()],
        }
    }

    fn file_name(&self, name: &Name) -> String {
        let [before, after] = self.around();
        match name {
            Name { day, number: 1 } => format!("{before}{day}{after}"),
            Name { day, number } => format!("{before}{day}.{number}{after}"),
        }
    }

    fn parse(&self, file_name: &str) -> Option<Name> {
        let [before, after] = self.around();
        let middle = file_name.strip_prefix(&before)?.strip_suffix(&after)?;
        let (day, number) = middle.split_once('.').unwrap_or((middle, "1"));
        let is_day = day.len() == DAY_BYTES && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        is_day.then_some(Name { day: day.to_owned(), number: number.parse().ok()? })
    }

    /// The files that are there, the newest aside where that has a name of its own.
    fn names(&self, dir: &Path) -> io::Result<Vec<Name>> {
        let entries = fs::read_dir(dir)?.flatten();
        Ok(entries.filter_map(|entry| self.parse(entry.file_name().to_str()?)).collect())
    }

    /// The one that lines of that day go to: the last that is there, or the one after all that were set aside.
    fn newest(&self, dir: &Path, day: String) -> io::Result<Name> {
        let known = self.names(dir)?.into_iter().filter(|name| name.day == day).max();
        Ok(match (known, self) {
            (Some(name), Self::Daily) => name,
            (Some(name), Self::At(_)) => name.next(),
            (None, _) => Name { day, number: 1 },
        })
    }

    /// Where the file is while lines are written to it.
    fn path(&self, dir: &Path, name: &Name) -> PathBuf {
        match self {
            Self::Daily => dir.join(self.file_name(name)),
            Self::At(current) => dir.join(current),
        }
    }

    fn open(&self, dir: &Path, name: &Name) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(self.path(dir, name))?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }
}

impl Name {
    /// The one after it, of the same day.
    fn next(&self) -> Self {
        Self { day: self.day.clone(), number: self.number + 1 }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Nobody can be told when that fails.
        let _ = self.flush();
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
}

/// Whether it is this file that is there, and not one that another process has put there since.
fn is_at(file: &File, path: &Path) -> bool {
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(one), Ok(other)) => of(one) == of(other),
        _ => false,
    }
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
            let mut names = Kind::Daily.names(&self.0).unwrap();
            names.sort();
            let names = names.iter().map(|name| Kind::Daily.file_name(name));
            names.map(|name| (name.clone(), fs::metadata(self.0.join(name)).unwrap().len())).collect()
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
        let mut files = Files::open(&dir.0, None, bounds, now).unwrap();
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
        let mut files = Files::open(&dir.0, None, bounds, now).unwrap();
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
        let mut files = Files::open(&dir.0, None, bounds, SystemTime::UNIX_EPOCH).unwrap();
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
    #[test]
    fn a_file_with_a_name_of_its_own_keeps_it_and_is_set_aside() {
        let dir = Dir::new("at");
        let bounds = Bounds { files: 3, bytes: 80_000 };
        let open = || Files::open(&dir.0, Some(OsStr::new("site.log")), bounds, SystemTime::UNIX_EPOCH).unwrap();
        let there = || {
            let mut names: Vec<_> = fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names.into_iter().map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
        };
        let mut files = open();
        files.write(b"a line\n", SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(there(), ["site.log"]);
        drop(files);
        let mut files = open();
        fs::write(dir.0.join("site.log.gz"), "not ours").unwrap();
        for _ in 0..50 {
            files.write(&[b'x'; 999], SystemTime::UNIX_EPOCH).unwrap();
        }
        assert_eq!(there(), ["site.log", "site.log.1970-01-01.3", "site.log.1970-01-01.4", "site.log.gz"]);
        files.write(b"another day\n", SystemTime::UNIX_EPOCH + DAY).unwrap();
        files.flush().unwrap();
        assert_eq!(fs::read(dir.0.join("site.log")).unwrap(), b"another day\n");
    }

    #[test]
    fn of_two_processes_neither_takes_the_place_of_what_the_other_has_set_aside() {
        let dir = Dir::new("two");
        let bounds = Bounds { files: 200, bytes: 160_000 };
        let open = || Files::open(&dir.0, Some(OsStr::new("site.log")), bounds, SystemTime::UNIX_EPOCH).unwrap();
        let mut both = [open(), open()];
        let write = |both: &mut [Files; 2], line: &[u8], days: u32| {
            for files in both {
                files.write(line, SystemTime::UNIX_EPOCH + days * DAY).unwrap();
                files.flush().unwrap();
            }
        };
        write(&mut both, b"a day\n", 0);
        write(&mut both, b"another day\n", 1);
        assert_eq!(fs::read(dir.0.join("site.log.1970-01-01")).unwrap(), b"a day\na day\n");
        assert_eq!(fs::read(dir.0.join("site.log")).unwrap(), b"another day\nanother day\n");
        for _ in 0..40 {
            write(&mut both, &[b'x'; 999], 1);
        }
        let kept: u64 = fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(kept, 2 * (6 + 12 + 40 * 999), "nothing is lost");
    }

    #[test]
    fn who_says_little_beside_a_process_that_says_much_is_read_all_the_same() {
        for name in [None, Some(OsStr::new("site.log"))] {
            let dir = Dir::new("beside");
            let bounds = Bounds { files: 14, bytes: 80_000 };
            let open = || Files::open(&dir.0, name, bounds, SystemTime::UNIX_EPOCH).unwrap();
            let [mut loud, mut quiet] = [open(), open()];
            let read = || {
                let files =
                    fs::read_dir(&dir.0).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
                files.collect::<Vec<_>>()
            };
            for round in 0_u32..5 {
                for _ in 0..100 {
                    loud.write(&[&[b'x'; 998][..], b"\n"].concat(), SystemTime::UNIX_EPOCH).unwrap();
                }
                loud.flush().unwrap();
                let bytes: usize = read().iter().map(String::len).sum();
                assert!(bytes as u64 <= bounds.bytes, "{bytes}");
                let word = format!("{round} the file that this was to go to is gone\n");
                quiet.write(word.as_bytes(), SystemTime::UNIX_EPOCH).unwrap();
                quiet.flush().unwrap();
                assert!(read().iter().any(|text| text.contains(&word)), "{name:?} {round}");
            }
            // The first line of another day finds no place of the one before.
            for _ in 0..100 {
                loud.write(&[b'x'; 999], SystemTime::UNIX_EPOCH).unwrap();
            }
            loud.flush().unwrap();
            quiet.write(b"gathered\n", SystemTime::UNIX_EPOCH).unwrap();
            quiet.write(b"another day\n", SystemTime::UNIX_EPOCH + DAY).unwrap();
            quiet.flush().unwrap();
            let all = read().concat();
            assert!(all.contains("gathered\n") && all.contains("another day\n"), "{name:?}");
        }
    }

    #[test]
    fn of_two_processes_that_write_at_once_each_line_is_whole() {
        let dir = Dir::new("whole");
        let bounds = Bounds { files: 1_000, bytes: 1_600_000 };
        std::thread::scope(|scope| {
            for letter in ['a', 'b'] {
                let dir = &dir.0;
                scope.spawn(move || {
                    let mut files = Files::open(dir, None, bounds, SystemTime::UNIX_EPOCH).unwrap();
                    for count in 1..600 {
                        let line = letter.to_string().repeat(count * 37 % 900 + 1) + "\n";
                        files.write(line.as_bytes(), SystemTime::UNIX_EPOCH).unwrap();
                        if count % 5 == 0 {
                            files.flush().unwrap();
                        }
                    }
                });
            }
        });
        let (mut lines, mut expected) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&dir.0).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
        for letter in ["a", "b"] {
            expected.extend((1..600).map(|count| letter.repeat(count * 37 % 900 + 1)));
        }
        lines.sort();
        expected.sort();
        assert!(lines == expected, "{} lines of {}", lines.len(), expected.len());
    }
}
