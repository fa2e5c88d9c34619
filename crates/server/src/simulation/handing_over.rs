//! A server that is replaced by the next one: it gives its rooms away, while clients go on.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::actions::Action;
use super::model::{History, Invariant};
use super::server::{Server, WRITER_LOOK};
use super::world::World;
use crate::config::Storage;
use crate::rooms::handing_over::GiveWithin;

/// How long the rooms of a server may take to settle: less than a publish waits for a disk that stands still.
const SETTLED_WITHIN: Duration = Duration::from_millis(200);

/// More than all messages of a seed take.
const ALL_BYTES: u64 = 512 << 20;

/// What of its rooms a run of the server has given to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    All,
    Some,
}

/// What one run of a server gives to the next.
#[derive(Debug)]
pub(super) struct HandedOver {
    records: Vec<Vec<u8>>,
    /// Rooms that must go on: their epochs, and where they stood.
    stood: Vec<(String, roomcast::Epoch, u64)>,
    pub(super) given: Given,
    /// All that was asked for was answered before, and what is remembered of it was given as well.
    pub(super) has_settled: bool,
}

impl Server {
    /// Gives the rooms away, as far as so many bytes go.
    async fn hand_over(&self, bytes: u64, settles: bool) -> HandedOver {
        // Where it takes longer, they are released all the same: nothing that was acknowledged is lost by that.
        let has_settled = settles && timeout(SETTLED_WITHIN, self.hub.settle()).await.is_ok();
        let rooms = self.hub.rooms.broker.rooms();
        let is_released = self.hub.release(self.shutdown_timeout).is_ok();
        self.has_told_all().await;
        let until = Instant::now() + self.shutdown_timeout;
        while self.has_stored_all().is_none() && Instant::now() < until {
            sleep(WRITER_LOOK).await;
        }
        let has_stored_all = self.has_stored_all() == Some(true);
        if !has_stored_all {
            // The archive of a simulation says it only now.
            drop(self.hub.rooms.terms.take_keys());
        }
        let is_whole = bytes == ALL_BYTES && is_released && has_stored_all;
        let stood = rooms.into_iter().filter(|_| is_whole);
        let stood = stood.map(|room| (room.name().to_owned(), room.epoch(), room.tail())).collect();
        let records = self.hub.give_rooms(GiveWithin { bytes, time: Duration::from_secs(1) }).collect();
        let given = if is_whole { Given::All } else { Given::Some };
        HandedOver { records, stood, given, has_settled: is_whole && has_settled }
    }
}

impl World {
    /// Hands the rooms of a server over while clients go on, and comes to its end.
    pub(super) async fn hand_over(&mut self, server: &Rc<Server>, began: Instant) {
        let bytes = self.dice.weighed(&[(4, ALL_BYTES), (1, 100_000), (1, 5_000), (1, 0)]);
        let (giving, settles) = (Rc::clone(server), self.dice.percent(80));
        let handed_over = spawn_local(async move { giving.hand_over(bytes, settles).await });
        while !handed_over.is_finished() && self.model.broken().is_none() {
            // Nobody knows of it.
            let action = match self.dice.weighed(&self.plan.actions) {
                // It is refused meanwhile.
                Action::Reload => Action::Wait,
                action => action,
            };
            self.note(began, format_args!("{action:?}"));
            self.act(server, action);
            let time = Duration::from_millis(self.dice.below(20));
            self.pass(server, time).await;
        }
        let Ok(handed_over) = handed_over.await else { return };
        self.detail(format_args!("{} records of {bytes} bytes at most", handed_over.records.len()));
        self.handed_over = Some(handed_over);
        // Its clients are closed one after the other, and hear nothing until then.
        let time = Duration::from_millis(self.dice.below(2_000));
        self.pass(server, time).await;
    }

    /// The next run of the server takes the rooms, before anybody is let in.
    pub(super) fn take_rooms(&mut self, server: &Server, handed_over: &HandedOver) {
        for record in &handed_over.records {
            if let Err(error) = server.hub.take_rooms(record) {
                self.model.break_with(Invariant::NoGap, format!("what was given is refused: {error}"));
            }
        }
        if handed_over.given == Given::Some {
            // Some have their position left, and no messages.
            let in_memory = self.model.rooms.values().filter(|kind| kind.storage == Storage::Off);
            let names: Vec<String> = in_memory.map(|kind| kind.name.clone()).collect();
            for room in names {
                self.model.will_remove(&room);
            }
        }
        let rooms = &server.hub.rooms;
        for (room, epoch, tail) in &handed_over.stood {
            let kind = &self.model.rooms[room];
            if kind.storage != Storage::Off || kind.history != History::Whole || *tail == 0 {
                continue;
            }
            let stands = rooms.broker.get(room).map(|room| (room.epoch(), room.tail()));
            let stands = stands.or_else(|| rooms.dormant.position(room).map(|it| (it.epoch, it.sequence)));
            // A publish that was on its way may have come behind.
            if !stands.is_some_and(|(of, at)| of == *epoch && at >= *tail) {
                let how = format!("{room} stood at {tail} of {epoch}, and is at {stands:?} in the next process");
                self.model.break_with(Invariant::NoGap, how);
            }
        }
    }
}
