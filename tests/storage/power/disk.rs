//! What a disk has kept of what was written to it, worked out from the log of the shim.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::Dice;

/// The files of one folder, as far as they have reached the disk.
#[derive(Default)]
pub(super) struct Disk {
    files: BTreeMap<String, OnDisk>,
    /// Removed, but the folder was not synced since.
    ghosts: BTreeMap<String, Vec<u8>>,
}

#[derive(Default)]
struct OnDisk {
    kept: Vec<u8>,
    /// Whether the folder knows it for good.
    is_known: bool,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, data: Vec<u8> },
    RetentionCutoff(usize),
}

impl Change {
    fn apply(self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                file.resize(file.len().max(end), 0);
                file[offset..end].copy_from_slice(&data);
            }
            Self::RetentionCutoff(bytes) => file.resize(bytes, 0),
        }
    }
}

impl Disk {
    /// As the folder is, which is all on the disk.
    pub(super) fn of(folder: &Path) -> Self {
        let mut disk = Self::default();
        for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
            let name = entry.file_name().into_string().expect("a name of ours");
            if is_meant(&name) {
                let kept = fs::read(entry.path()).expect("the file is read");
                disk.files.insert(name, OnDisk { kept, is_known: true, pending: Vec::new() });
            }
        }
        disk
    }

    /// What the process did, as far as it came: of the last record, all may be missing but the beginning.
    pub(super) fn play(&mut self, mut log: &[u8]) {
        while let Some((head, rest)) = log.split_at_checked(14) {
            let number = |range: std::ops::Range<usize>| {
                head[range].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
            };
            let (name_bytes, data_bytes, offset) = (number(1..2), number(2..6), number(6..14));
            let Some((name, rest)) = rest.split_at_checked(name_bytes) else { return };
            let Some((data, rest)) = rest.split_at_checked(data_bytes) else { return };
            self.take(head[0], str::from_utf8(name).expect("a name of ours"), offset, data);
            log = rest;
        }
    }

    fn take(&mut self, what: u8, name: &str, offset: usize, data: &[u8]) {
        if name == "." {
            if what == b's' {
                self.ghosts.clear();
                self.files.values_mut().for_each(|file| file.is_known = true);
            }
            return;
        }
        if !is_meant(name) {
            return;
        }
        if what == b'u' {
            if let Some(file) = self.files.remove(name).filter(|file| file.is_known) {
                self.ghosts.insert(name.to_owned(), file.kept);
            }
            return;
        }
        let file = self.files.entry(name.to_owned()).or_default();
        match what {
            b'w' => file.pending.push(Change::Write { offset, data: data.to_vec() }),
            b't' => file.pending.push(Change::RetentionCutoff(offset)),
            b's' => {
                file.is_known = true;
                file.pending.drain(..).for_each(|change| change.apply(&mut file.kept));
            }
            other => panic!("not a record of ours: {other}"),
        }
    }

    /// The power is cut, and the folder is what the disk has then; how many changes are lost. With dice, each of those that were
    /// not synced may have reached it nevertheless, in whatever order.
    pub(super) fn cut_power(self, folder: &Path, mut luck: Option<&mut Dice>) -> usize {
        let mut lost = 0;
        for (name, kept) in self.ghosts {
            fs::write(folder.join(name), kept).expect("the file is written");
        }
        for (name, mut file) in self.files {
            for change in file.pending {
                match luck.as_mut().is_some_and(|dice| dice.once_in(2)) {
                    true => {
                        file.is_known = true;
                        change.apply(&mut file.kept);
                    }
                    false => lost += 1,
                }
            }
            if file.is_known {
                fs::write(folder.join(name), file.kept).expect("the file is written");
            }
        }
        lost
    }
}

/// What lies beside the database is its log and its journal; shared memory is none of a disk's, and locks hold nothing.
fn is_meant(name: &str) -> bool {
    !name.ends_with("-shm") && !name.ends_with(".lock")
}
