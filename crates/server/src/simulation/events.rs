//! The site's backend as far as it is told who comes and goes: it takes batches, or says that it has not, and believes what it is told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use super::dice::Dice;
use crate::events::stepped::Posted;

/// The file of a log, in a folder of its own that goes with the world.
#[derive(Debug)]
pub(super) struct LogFile(PathBuf);

impl LogFile {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = PathBuf::from("/dev/shm");
        let above = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let nth = COUNT.fetch_add(1, Relaxed);
        Self(above.join(format!("roomcast-simulation-{}-{nth}", std::process::id())))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.join("events.db")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.folder());
    }
}

/// What it was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    log: String,
    /// All events, by their offsets.
    events: BTreeMap<u64, Value>,
    pub(super) members: BTreeSet<(String, String)>,
    pub(super) connected: BTreeMap<String, String>,
    occupied: BTreeSet<String>,
    /// How often clients have come into rooms.
    joins: BTreeMap<(String, String), usize>,
    /// It takes everything at once.
    pub(super) is_well: bool,
    /// What cannot be believed.
    pub(super) complaint: Option<String>,
}

impl Told {
    pub(super) fn joins(&self, room: &str, client: &str) -> usize {
        self.joins.get(&(room.to_owned(), client.to_owned())).copied().unwrap_or(0)
    }

    fn take(&mut self, body: &[u8]) {
        if let Err(how) = self.take_batch(body) {
            self.complaint.get_or_insert(how);
        }
    }

    fn take_batch(&mut self, body: &[u8]) -> Result<(), String> {
        let batch: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let log = batch["epoch"].as_str().unwrap_or_default();
        if self.log.is_empty() {
            self.log = log.to_owned();
        }
        if self.log != log {
            return Err(format!("the log is {log}, and was {}", self.log));
        }
        for event in batch["events"].as_array().map_or(&[][..], |events| events) {
            let offset = event["offset"].as_u64().unwrap_or(0);
            let next = self.events.last_key_value().map_or(1, |(last, _)| last + 1);
            match self.events.get(&offset) {
                Some(known) if known == event => continue,
                Some(known) => return Err(format!("{event} was {known} before")),
                None if offset != next => return Err(format!("{event} comes where {next} is to be")),
                None => {}
            }
            self.events.insert(offset, event.clone());
            if !self.believes(event) {
                return Err(format!("{event} cannot be, by what was told before"));
            }
        }
        Ok(())
    }

    /// Takes one event in; whether it can be.
    fn believes(&mut self, event: &Value) -> bool {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (room, client, user) = (text("channel"), text("client"), text("user"));
        match event["type"].as_str().unwrap_or_default() {
            "join" => {
                *self.joins.entry((room.clone(), client.clone())).or_default() += 1;
                self.occupied.contains(&room) && self.members.insert((room, client))
            }
            "leave" => self.members.remove(&(room, client)),
            "occupied" => self.occupied.insert(room),
            "vacated" => !self.members.iter().any(|(of, _)| *of == room) && self.occupied.remove(&room),
            "connect" => self.connected.insert(client, user).is_none(),
            "disconnect" => self.connected.remove(&client) == Some(user),
            // There is memory for all of a world.
            _ => false,
        }
    }
}

/// Takes what is posted: each batch in its time, or not, or without saying so.
pub(super) async fn take_forever(mut posts: UnboundedReceiver<Posted>, told: Rc<RefCell<Told>>, mut dice: Dice) {
    while let Some((body, answer)) = posts.recv().await {
        let late = dice.weighed(&[(10, 0), (5, 5), (3, 150), (1, 2_000)]);
        let (is_taken, is_said) = dice.weighed(&[(12, (true, true)), (2, (true, false)), (2, (false, false))]);
        let is_well = told.borrow().is_well;
        if !is_well {
            sleep(Duration::from_millis(late)).await;
        }
        if is_taken || is_well {
            told.borrow_mut().take(&body);
        }
        // It may not wait any more.
        let _ = answer.send(if is_said || is_well { Ok(()) } else { Err("not now".to_owned()) });
    }
}
