//! A process that is killed at any moment under load: what it acknowledged is there, and no place is handed out twice.

mod child;

use std::collections::{HashMap, HashSet};
use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use roomcast::store::{Durability, Options};

use self::child::{ROOMS, checksum, durability};
use crate::failing_disk::Disk;
use crate::support::{Dice, Folder, Place as _, Run, stored};

/// Rounds in the ordinary tests; `make crash` asks for more.
const ROUNDS: u64 = 20;

/// How long a slow disk takes to sync.
const SYNC: Duration = Duration::from_millis(50);

/// What a process may say before it is killed.
const LINES_MAX: u64 = 120;

/// Everything that was ever said to be published, or acknowledged.
#[derive(Default)]
pub(crate) struct Told {
    /// Room, epoch and sequence, with the checksum of the message.
    given: HashMap<(String, String, u64), u32>,
    acknowledged: HashMap<(String, u64), u32>,
    /// What a reader was given of the stored rooms.
    seen: HashMap<(String, u64), u32>,
    epochs: HashMap<String, HashSet<String>>,
}

/// One file for all rounds, so that each finds what the ones before have left.
#[test]
fn a_killed_process_has_kept_what_it_acknowledged() {
    let rounds = env::var("ROOMCAST_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut dice = Dice::new(Dice::seed(), 0);
    let (folder, mut told) = (Folder::new(), Told::default());
    let (mut unacknowledged, mut killed_early) = (0, 0);
    for round in 0..rounds {
        let lines = live_and_die(&folder.file(), round, &mut dice, &[]);
        killed_early += u64::from(lines.is_empty());
        lines.iter().for_each(|line| told.take(line));
        unacknowledged = check(&folder, &told, round);
    }
    let stored_epochs = ROOMS.iter().filter(|room| durability(room) == Durability::Stored);
    for room in stored_epochs {
        assert!(
            told.epochs.get(*room).is_none_or(|epochs| epochs.len() == 1),
            "{room} has one incarnation: {:?}",
            told.epochs
        );
    }
    assert!(killed_early < rounds, "some rounds must have done something");
    eprintln!(
        "crash | {rounds} rounds of kill -9, {killed_early} of them before anything was said: {} messages acknowledged as \
         stored and all there, {} given out in all, no place twice, one incarnation of each stored room; {unacknowledged} messages \
         were stored that nobody was told of any more",
        told.acknowledged.len(),
        told.given.len(),
    );
}

/// The same on a disk whose syncs take so long that every kill finds messages published and not stored.
#[test]
fn a_killed_process_with_a_slow_disk_has_kept_what_it_acknowledged_and_showed() {
    let rounds = env::var("ROOMCAST_CRASH_ROUNDS").map_or(ROUNDS / 4, |rounds| rounds.parse().expect("a number"));
    let mut dice = Dice::new(Dice::seed(), 0);
    let (folder, tools, mut told) = (Folder::new(), Folder::new(), Told::default());
    let disk = Disk::under(folder.path(), tools.path());
    disk.is_slow(SYNC);
    for round in 0..rounds {
        live_and_die(&folder.file(), round, &mut dice, &disk.variables()).iter().for_each(|line| told.take(line));
        check(&folder, &told, round);
    }
    assert!(!told.seen.is_empty(), "nobody has read anything");
    eprintln!(
        "crash | {rounds} rounds of kill -9 with a sync of {} ms: {} messages acknowledged as stored, {} shown to a reader, all \
         there",
        SYNC.as_millis(),
        told.acknowledged.len(),
        told.seen.len(),
    );
}

/// Starts a process that publishes, and kills it at any moment: while it starts, or a moment after it has said so many lines.
/// What it has said, to the last whole line.
pub(crate) fn live_and_die(file: &Path, round: u64, dice: &mut Dice, variables: &[(&str, PathBuf)]) -> Vec<String> {
    let mut process = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "crash::child::a_process_that_publishes", "--nocapture", "--test-threads=1"])
        .env(child::FILE, file)
        .env(child::ROUND, round.to_string())
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test runs itself");
    let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
    let mut lines = Vec::new();
    let longest = if dice.once_in(8) { 0 } else { 1 + dice.roll(LINES_MAX) };
    while (lines.len() as u64) < longest && read_line(&mut output, &mut lines) {}
    thread::sleep(Duration::from_micros(dice.roll(if longest == 0 { 50_000 } else { 3_000 })));
    process.kill().expect("it can be killed");
    let ended = process.wait().expect("it is gone");
    assert!(!ended.success() && ended.code().is_none(), "it was killed, and did not fail: {ended}");
    while read_line(&mut output, &mut lines) {}
    lines
}

fn read_line(output: &mut impl BufRead, lines: &mut Vec<String>) -> bool {
    let mut line = String::new();
    let more = output.read_line(&mut line).expect("what it says is text") > 0;
    // The harness begins the first line.
    let start = ["given ", "stored ", "seen "].iter().filter_map(|word| line.find(word)).min();
    lines.extend(start.filter(|_| line.ends_with('\n')).map(|start| line[start..].trim().to_owned()));
    more
}

impl Told {
    pub(crate) fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, room, epoch, sequence, sum] = words[..] else { panic!("not a line of ours: {line}") };
        let (sequence, sum) = (sequence.parse::<u64>().unwrap(), sum.parse().unwrap());
        if what == "seen" {
            let twin = self.seen.insert((room.to_owned(), sequence), sum);
            assert!(twin.is_none_or(|twin| twin == sum), "{room} has shown two messages as {sequence}");
            return;
        }
        self.epochs.entry(room.to_owned()).or_default().insert(epoch.to_owned());
        if what == "stored" {
            let twin = self.acknowledged.insert((room.to_owned(), sequence), sum);
            assert_eq!(twin, None, "{room} has acknowledged {sequence} twice");
        }
        let twin = self.given.insert((room.to_owned(), epoch.to_owned(), sequence), sum);
        assert_eq!(twin, None, "{room} has given {sequence} of {epoch} twice");
    }
}

/// Opens the file as the next process will; how many messages it has that nobody was told of.
pub(crate) fn check(folder: &Folder, told: &Told, round: u64) -> u64 {
    let store = folder.open();
    let mut untold = 0;
    if store.rooms(None, 1).is_err() {
        // Killed before there was a file with tables.
        assert!(told.given.is_empty(), "round {round}: the file can be read");
        return 0;
    }
    for room in ROOMS {
        let records = stored(&*store, room);
        let Some(span) = store.span(room, Default::default()).expect("the file can be read") else {
            assert!(!told.epochs.contains_key(room) || durability(room) == Durability::Async, "{room} is known");
            continue;
        };
        assert!(records.iter().map(|record| record.sequence).eq(0..span.next), "round {round}: {room} has a gap");
        assert!(durability(room) == Durability::Async || span.is_whole, "{room} goes on");
        for record in &records {
            let body = record.body.as_deref().expect("nothing was erased");
            match told.acknowledged.get(&(room.to_owned(), record.sequence)) {
                Some(sum) => assert_eq!(*sum, checksum(body), "round {round}: {room} {} is another", record.sequence),
                None => untold += u64::from(durability(room) == Durability::Stored),
            }
        }
        let shown = told.seen.iter().filter(|((of, _), _)| of == room);
        for ((_, sequence), sum) in shown {
            let kept =
                records.get(*sequence as usize).map(|record| checksum(record.body.as_deref().unwrap_or_default()));
            assert_eq!(kept, Some(*sum), "round {round}: {room} has shown {sequence}, which is not there");
        }
        let missing = told.acknowledged.keys().filter(|(of, sequence)| of == room && *sequence >= span.next).count();
        assert_eq!(missing, 0, "round {round}: {room} has lost what was acknowledged");
    }
    untold
}

/// The same file, opened again and ended cleanly, is what the last process left: that a crash is survived shows nothing when
/// the next start spoils it.
#[test]
fn a_killed_process_is_followed_by_a_clean_one() {
    let folder = Folder::new();
    let mut dice = Dice::new(Dice::seed(), 0);
    let lines = live_and_die(&folder.file(), 0, &mut dice, &[]);
    let mut told = Told::default();
    lines.iter().for_each(|line| told.take(line));
    check(&folder, &told, 0);
    let run = Run::start(folder.open(), Options::by_room(|room| Some(durability(room))));
    for room in ROOMS {
        let (epoch, tail) = (run.open(room).epoch().to_string(), run.open(room).tail());
        let known = told.epochs.get(room).is_some_and(|epochs| epochs.contains(&epoch));
        let is_told = told.epochs.contains_key(room);
        assert_eq!(known, is_told && durability(room) == Durability::Stored, "{room} goes on in {epoch} at {tail}");
    }
    run.end();
    check(&folder, &told, 1);
}
