//! A store of one's own: what rooms publish goes, a line for each message, into a text file, and is read from memory.
//!
//! `cargo run --features store --example own_store`

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use roomcast::store::{
    Archive, Batch, Codec, Durability, Incarnation, Options, Page, Record, RetentionCutoff, RoomEntry, Span, Store,
    StoreError, StoreErrorKind, Undecodable,
};
use roomcast::{Broker, Epoch, RoomOptions};

/// A line is `begin` or `end`, for a run; or `incarnation`, for one of a room; or `message`, with its room, sequence, time,
/// author and body. There are tabs between the parts: none may be in a name.
struct Lines {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    file: Option<File>,
    rooms: BTreeMap<String, Room>,
    /// Whether a run has begun and not ended.
    is_running: bool,
}

/// This store keeps one incarnation of each room: what an earlier one has said is forgotten with it.
#[derive(Clone)]
struct Room {
    epoch: Epoch,
    first: u64,
    durability: Durability,
    /// Whether nobody can know more of it than is here.
    is_whole: bool,
    records: Vec<Record>,
}

impl Lines {
    fn open(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), inner: Mutex::default() }
    }

    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> io::Result<R>) -> Result<R, StoreError> {
        let mut inner = self.inner.lock().expect("nobody panics with it");
        act(&mut inner).map_err(|error| {
            let text = format!("{} cannot be read or written: {error}", self.path.display());
            StoreError::new(StoreErrorKind::Unavailable, text).caused_by(error)
        })
    }
}

impl Inner {
    fn load(&mut self, text: &str) {
        for line in text.lines() {
            let fields: Vec<&str> = line.splitn(6, '\t').collect();
            match fields[..] {
                ["begin"] => {
                    // A run that has not ended may have said more in any room than it has stored.
                    if self.is_running {
                        self.rooms.values_mut().for_each(|room| room.is_whole = room.durability == Durability::Stored);
                    }
                    self.is_running = true;
                }
                ["end"] => self.is_running = false,
                ["incarnation", room, epoch, first, durability] => {
                    let (epoch, first) = (epoch.parse().expect("ours"), first.parse().expect("ours"));
                    self.incarnation(
                        room,
                        epoch,
                        first,
                        if durability == "stored" { Durability::Stored } else { Durability::Async },
                    );
                }
                ["message", room, sequence, time, author, body] => {
                    let record = Record {
                        sequence: sequence.parse().expect("ours"),
                        time: time.parse().expect("ours"),
                        author: (!author.is_empty()).then(|| author.to_owned()),
                        body: Some(body.as_bytes().to_vec()),
                    };
                    self.rooms.get_mut(room).expect("its incarnation stands before it").records.push(record);
                }
                _ => {}
            }
        }
    }

    fn incarnation(&mut self, room: &str, epoch: Epoch, first: u64, durability: Durability) {
        let fresh = || Room { epoch, first, durability, is_whole: true, records: Vec::new() };
        let known = self.rooms.entry(room.to_owned()).or_insert_with(fresh);
        if known.epoch != epoch {
            *known = fresh();
        }
        known.durability = durability;
    }
}

impl Store for Lines {
    fn begin(&self) -> Result<(), StoreError> {
        self.with(|inner| {
            let mut file = File::options().create(true).append(true).open(&self.path)?;
            #[expect(clippy::incompatible_msrv, reason = "only an example; it needs Rust 1.89")]
            file.try_lock()?;
            let text = fs::read_to_string(&self.path)?;
            // A process that was killed may have left half a line.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            file.set_len(whole as u64)?;
            file.write_all(b"begin\n")?;
            file.sync_data()?;
            inner.load(&text[..whole]);
            inner.load("begin\n");
            inner.file = Some(file);
            Ok(())
        })
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.with(|inner| {
            // Whole or not at all: everything is put together first, and written at once. What comes again is not kept again.
            let mut lines = String::new();
            for incarnation in batch.incarnations() {
                let Incarnation { room, epoch, first, .. } = incarnation;
                let durability = if incarnation.durability == Durability::Stored { "stored" } else { "async" };
                lines += &format!("incarnation\t{room}\t{epoch}\t{first}\t{durability}\n");
            }
            for part in batch.parts() {
                let known = inner.rooms.get(&part.incarnation.room).filter(|room| room.epoch == part.incarnation.epoch);
                let next = known.map_or(part.incarnation.first, Room::next);
                for (sequence, time, author, body) in part.messages().filter(|(sequence, ..)| *sequence >= next) {
                    let body = String::from_utf8_lossy(body).replace(['\n', '\t'], " ");
                    let (room, author) = (&part.incarnation.room, author.unwrap_or_default());
                    lines += &format!("message\t{room}\t{sequence}\t{time}\t{author}\t{body}\n");
                }
            }
            let file = inner.file.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let before = file.metadata()?.len();
            let written = file.write_all(lines.as_bytes()).and_then(|()| match batch.durability() {
                Durability::Stored => file.sync_data(),
                _ => Ok(()),
            });
            if let Err(error) = written {
                file.set_len(before)?;
                return Err(error);
            }
            inner.load(&lines);
            Ok(())
        })
    }

    fn finish(&self) -> Result<(), StoreError> {
        self.with(|inner| {
            let file = inner.file.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            file.write_all(b"end\n")?;
            file.sync_data()
        })
    }

    fn span(&self, room: &str, cutoff: RetentionCutoff) -> Result<Option<Span>, StoreError> {
        self.with(|inner| Ok(inner.rooms.get(room).map(|room| room.span(cutoff))))
    }

    fn read(&self, room: &str, range: Range<u64>, page: Page) -> Result<Vec<Record>, StoreError> {
        self.with(|inner| {
            let records = inner.rooms.get(room).map_or(&[][..], |room| &room.records);
            let mut found: Vec<&Record> = records.iter().filter(|record| range.contains(&record.sequence)).collect();
            if page.newest_first {
                found.reverse();
            }
            let mut bytes = 0;
            let fits = |record: &&Record| {
                let before = bytes;
                bytes += record.body.as_ref().map_or(0, Vec::len);
                before == 0 || bytes <= page.bytes_max
            };
            Ok(found.into_iter().take(page.limit).take_while(fits).cloned().collect())
        })
    }

    fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomEntry>, StoreError> {
        self.with(|inner| {
            let later = inner.rooms.iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
            let entry = |(name, room): (&String, &Room)| RoomEntry {
                name: name.clone(),
                span: room.span(RetentionCutoff::default()),
            };
            Ok(later.take(limit).map(entry).collect())
        })
    }

    // A file that is only appended to lets nothing go; a store for more than an example would.
    fn remove(&self, _room: &str, _before: u64, _limit: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    fn erase(&self, _author: &str, _limit: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

impl Room {
    fn next(&self) -> u64 {
        self.records.last().map_or(self.first, |record| record.sequence + 1)
    }

    fn span(&self, cutoff: RetentionCutoff) -> Span {
        let next = self.next();
        let is_young = |record: &&Record| {
            record.time >= cutoff.before_time && cutoff.messages_max.is_none_or(|most| next - record.sequence <= most)
        };
        let oldest = self.records.iter().find(is_young).map_or(next, |record| record.sequence);
        Span { epoch: self.epoch, oldest, next, is_whole: self.is_whole, durability: self.durability }
    }
}

/// What is said in the rooms.
struct Text;

impl Codec<String> for Text {
    fn encode(&self, message: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(message.as_bytes());
    }

    fn decode(&self, stored: &[u8]) -> Result<String, Undecodable> {
        String::from_utf8(stored.to_vec()).map_err(|_| Undecodable)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("roomcast-own-store-{}.txt", std::process::id()));
    let mut epochs = Vec::new();
    for day in ["yesterday", "today"] {
        let broker = Broker::<String>::builder().capacity(16).build();
        let archive = Archive::start(&broker, Lines::open(&path), Text, Options::all(Durability::Async))?;
        let lobby = archive.open("lobby", RoomOptions::new())?;
        epochs.push(lobby.epoch());
        for count in 0..100 {
            lobby.publish_blocking(format!("{day}, {count}"))?;
        }
        archive.flush_within(Duration::from_secs(10))?;
        let history = archive.history(&lobby, 0..lobby.tail(), 1_000)?;
        println!("{day}: {} messages, the first says {:?}", history.len(), history[0].message);
        assert_eq!(history.len(), if day == "today" { 200 } else { 100 });
        assert_eq!(history[0].message.as_deref(), Some("yesterday, 0"));
        archive.close()?;
    }
    assert_eq!(epochs[0], epochs[1], "the day ended cleanly, so the room went on");
    fs::remove_file(path)?;
    Ok(())
}
