//! What the site's backend does: it publishes, erases, removes, and commands, and is answered later.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::oneshot;
use tokio::task::{spawn_local, yield_now};

use super::server::Server;
use super::temper::Temper;
use super::terms::Asked;
use super::world::{Late, World};
use crate::config::Storage;
use crate::rooms::engine::{Erase, Publish, PublishBatch};
use crate::rooms::terms::Terms;
use crate::rooms::users::Recipients;
use roomcast_protocol::{CloseCode, Payload, Publication, RoomName, UnsubscribeCode};

/// Messages of a batch that fill sockets, half of them being large; and that fill rings, all of one room and small.
const SOME: u64 = 20;
const MANY: u64 = 100;

/// Messages of a batch that are told of one by one.
const NUMBERS_SHOWN: usize = 12;

impl World {
    /// Has the site's backend publish some messages at once, into rooms of the engine of that one, and half of them there.
    pub(super) fn publish_batch(&mut self, server: &Rc<Server>, into: &str, count: u64) {
        let is_kept = self.model.rooms[into].storage != Storage::Off;
        // What more is asked of is said one after the other.
        let is_plain = count > MANY || self.dice.percent(60);
        let of_engine = |storage: Storage| (storage != Storage::Off) == is_kept;
        let is_declared = |room: &str| !self.model.forbids.rooms.contains(room);
        let rooms: Vec<String> = self.plan.rooms.iter().map(|kind| kind.name.clone()).collect();
        let rooms: Vec<String> =
            rooms.into_iter().filter(|room| of_engine(self.model.rooms[room].storage) && is_declared(room)).collect();
        if !is_declared(into) {
            return;
        }
        let mut batch = PublishBatch::new();
        let mut numbers = Vec::new();
        for _ in 0..count {
            let room =
                if count > MANY || self.dice.percent(50) { into.to_owned() } else { self.dice.pick(&rooms).clone() };
            let padding = match count {
                MANY.. => 5,
                SOME..MANY => self.dice.weighed(&[(1, 5), (1, 2_000)]),
                // Of which deltas are small.
                _ if self.plan.temper == Temper::Deltas => self.dice.weighed(&[(1, 5), (4, 150), (1, 600)]),
                _ => self.dice.weighed(&[(6, 5), (2, 150), (1, 2_000)]),
            };
            let (number, text) = self.model.publish(&room, "", padding);
            let asked = (!is_plain && self.dice.percent(60)).then(|| self.model.terms.draw(&mut self.dice, &room));
            let tag = self.dice.percent(70).then(|| self.dice.below(2));
            self.model.publish_on(number, tag, asked);
            numbers.push((number, asked));
            let mut publication = tagged(text, tag);
            publication.set_delta(self.dice.percent(self.deltas()));
            batch.push(Publish { room: name(&room), publication, terms: asked.map(|asked| Box::new(terms(asked))) });
        }
        let (first, few) = (numbers.first(), &numbers[..numbers.len().min(NUMBERS_SHOWN)]);
        self.detail(format_args!("{count} from {first:?} on in {rooms:?}: {few:?}"));
        let answers = match server.hub.engine(&name(into)) {
            Ok(engine) => engine.publish(batch),
            Err(_) => return,
        };
        for ((number, asked), answer) in numbers.into_iter().zip(answers) {
            let syncs = Arc::clone(self.disk.syncs());
            self.later(async move {
                match answer.wait().await {
                    Ok(at) => Late::Published(number, asked, syncs.load(Relaxed), (at.epoch.to_string(), at.offset)),
                    Err(_) => Late::NotPublished(number, asked),
                }
            });
        }
    }

    /// Has the site's backend publish some messages that are kept nowhere.
    pub(super) fn publish_quietly(&mut self, server: &Rc<Server>, room: &str, count: u64) {
        if !self.model.rooms[room].has_history() || self.model.forbids.rooms.contains(room) {
            return;
        }
        let first = self.model.messages.len() + 1;
        self.detail(format_args!("{count} from {first} on in {room}, without history"));
        for _ in 0..count {
            let padding = *self.dice.pick(&[5, 150]);
            let (number, text) = self.model.publish(room, "", padding);
            let tag = self.dice.percent(70).then(|| self.dice.below(2));
            self.model.publish_quietly(number, tag);
            let publication = tagged(text, tag);
            let terms = Terms { skip_history: true, ..Terms::default() };
            let mut batch = PublishBatch::new();
            batch.push(Publish { room: name(room), publication, terms: Some(Box::new(terms)) });
            let Ok(engine) = server.hub.engine(&name(room)) else { return };
            let syncs = Arc::clone(self.disk.syncs());
            for answer in engine.publish(batch) {
                let syncs = Arc::clone(&syncs);
                self.later(async move {
                    match answer.wait().await {
                        Ok(at) => Late::Published(number, None, syncs.load(Relaxed), (at.epoch.to_string(), at.offset)),
                        Err(_) => Late::NotPublished(number, None),
                    }
                });
            }
        }
    }

    /// Has it publish some messages at once, and erase one of them as soon as it knows where it is, or a little later: it is on its way to
    /// members then.
    pub(super) fn regret(&mut self, server: &Rc<Server>, room: &str, count: u64) {
        let hub = Arc::clone(&server.hub);
        let Ok(engine) = hub.engine(&name(room)) else { return };
        let (mut batch, mut numbers) = (PublishBatch::new(), Vec::new());
        for _ in 0..count {
            let padding = self.dice.weighed(&[(1, 5), (4, 150), (1, 600)]);
            let (number, text) = self.model.publish(room, "", padding);
            let tag = self.dice.percent(70).then(|| self.dice.below(2));
            self.model.publish_on(number, tag, None);
            let mut publication = tagged(text, tag);
            publication.set_delta(self.dice.percent(self.deltas()));
            batch.push(Publish { room: name(room), publication, terms: None });
            numbers.push(number);
        }
        // Mostly the last one, of which the next may be made a delta.
        let last = numbers.last().copied().filter(|_| self.dice.percent(60));
        let regretted = last.unwrap_or_else(|| *self.dice.pick(&numbers));
        let turns = self.dice.weighed(&[(4, 0), (2, 1), (1, 4)]);
        self.detail(format_args!("{numbers:?} in {room}, and {regretted} is erased {turns} turns later"));
        self.model.will_erase(room, |number, _| number == regretted);
        let (answers, room) = (engine.publish(batch), room.to_owned());
        let syncs = Arc::clone(self.disk.syncs());
        let (told, where_it_is) = oneshot::channel();
        let mut told = Some(told);
        for (number, answer) in numbers.into_iter().zip(answers) {
            let syncs = Arc::clone(&syncs);
            let told = told.take_if(|_| number == regretted);
            self.later(async move {
                match answer.wait().await {
                    Ok(at) => {
                        let (written, at) = (syncs.load(Relaxed), (at.epoch.to_string(), at.offset));
                        let _ = told.map(|told| told.send(at.clone()));
                        Late::Published(number, None, written, at)
                    }
                    Err(_) => Late::NotPublished(number, None),
                }
            });
        }
        self.later(async move {
            let mut is_done = false;
            if let Ok((epoch, offset)) = where_it_is.await {
                for _ in 0..turns {
                    yield_now().await;
                }
                let room = name(&room);
                let erased = match hub.engine(&room) {
                    Ok(engine) => engine.erase(&room, &epoch, Erase::Offsets(vec![offset])).wait().await,
                    Err(code) => Err(code),
                };
                is_done = erased.is_ok() && hub.commands.recall(room, None).await.is_ok();
            }
            // Whatever is written from here on is written later.
            let since = syncs.fetch_add(1, Relaxed) + 1;
            Late::Erased(room, if is_done { vec![regretted] } else { Vec::new() }, since)
        });
    }

    /// How many messages of a hundred are to be given as deltas.
    fn deltas(&self) -> u64 {
        if self.plan.temper == Temper::Deltas { 85 } else { 50 }
    }

    fn later(&self, work: impl Future<Output = Late> + 'static) {
        let late = Rc::clone(&self.late);
        late.borrow_mut().0 += 1;
        spawn_local(async move {
            let done = work.await;
            let (open, all) = &mut *late.borrow_mut();
            *open -= 1;
            all.push(done);
        });
    }

    /// Has it erase something of a room, and, of what it regrets, something of what it has published there last.
    pub(super) fn erase(&mut self, server: &Rc<Server>, room: String, is_regret: bool) {
        let user = self.dice.pick(&self.clients).user.clone();
        let of_user = if is_regret || self.plan.temper == Temper::Epochs { 10 } else { 40 };
        let (what, epoch, meant) = if self.dice.percent(of_user) {
            let meant = self.model.will_erase(&room, |_, message| message.user == user);
            (Erase::User(user.clone()), String::new(), meant)
        } else {
            let placed = self.model.messages.values().filter(|message| message.room == room);
            let mut places: Vec<(String, u64)> = placed.filter_map(|message| message.place.clone()).collect();
            if places.is_empty() {
                return;
            }
            // Of a page that was opened long ago: the room has begun anew since.
            let newest = places.last().map(|(epoch, _)| epoch.clone());
            let is_newest = |(of, _): &&(String, u64)| Some(of) == newest.as_ref();
            let top = places.iter().filter(is_newest).map(|(_, offset)| *offset).max().unwrap_or(0);
            // Where there is something else by now.
            let old = places.iter().filter(|place| !is_newest(place) && place.1 <= top);
            let old: Vec<(String, u64)> = old.cloned().collect();
            let of_old = match self.plan.temper {
                Temper::Epochs => 90,
                _ if is_regret => 5,
                _ => 60,
            };
            if !old.is_empty() && self.dice.percent(of_old) {
                places = old;
            } else if is_regret || self.dice.percent(60) {
                // What somebody is still to be given.
                places.drain(..places.len().saturating_sub(5));
            }
            let (epoch, offset) = self.dice.pick(&places).clone();
            let offsets: Vec<u64> = (offset..=offset + self.dice.below(3)).collect();
            // Of what has no place yet, nobody knows whether it is meant.
            // One that is kept may have gone on in another epoch, with the same offsets.
            let is_kept = self.model.rooms[&room].storage != Storage::Off;
            let may_be = |(of, at): &(String, u64)| offsets.contains(at) && (is_kept || *of == epoch);
            let meant = self.model.will_erase(&room, |_, it| !it.is_quiet && it.place.as_ref().is_none_or(may_be));
            let is_meant =
                |number: &u64| self.model.messages[number].place.as_ref().is_some_and(|(of, _)| *of == epoch);
            let meant = meant.into_iter().filter(is_meant).collect();
            (Erase::Offsets(offsets), epoch, meant)
        };
        self.detail(format_args!("{what:?} in {room}: {meant:?}"));
        let (hub, name) = (Arc::clone(&server.hub), name(&room));
        let of_user = matches!(what, Erase::User(_)).then_some(user);
        let syncs = Arc::clone(self.disk.syncs());
        self.later(async move {
            let erased = match hub.engine(&name) {
                Ok(engine) => engine.erase(&name, &epoch, what).wait().await,
                Err(code) => Err(code),
            };
            let is_done = erased.is_ok() && hub.commands.recall(name, of_user).await.is_ok();
            // Whatever is written from here on is written later.
            let since = syncs.fetch_add(1, Relaxed) + 1;
            Late::Erased(room, if is_done { meant } else { Vec::new() }, since)
        });
    }

    pub(super) fn remove_history(&mut self, server: &Rc<Server>) {
        let room = self.room();
        self.detail(format_args!("of {room}"));
        let asked_at = self.model.will_remove(&room);
        let (hub, name) = (Arc::clone(&server.hub), name(&room));
        self.later(async move {
            let removed = match hub.engine(&name) {
                Ok(engine) => engine.remove_history(&name).wait().await,
                Err(code) => Err(code),
            };
            if removed.is_ok() { Late::Removed(room, asked_at) } else { Late::Failed }
        });
    }

    /// Has the server put a user out of a room, or close all its connections.
    pub(super) fn command(&mut self, server: &Rc<Server>, closes: bool) {
        let (user, room) = (self.dice.pick(&self.clients).user.clone(), self.room());
        self.detail(format_args!("{user} is closed, or put out of {room}"));
        let hub = Arc::clone(&server.hub);
        self.later(async move {
            let recipients = Recipients { user, ..Recipients::default() };
            let _ = match closes {
                true => hub.commands.disconnect(&recipients, CloseCode::ForceDisconnect).await,
                false => hub.commands.unsubscribe(&recipients, name(&room), UnsubscribeCode::Server).await,
            };
            Late::Failed
        });
    }
}

fn tagged(text: String, tag: Option<u64>) -> Publication {
    let mut publication = Publication::new(Payload::json(text.into()), None);
    publication.tags = tag.map(|tag| Arc::new(BTreeMap::from([("k".to_owned(), tag.to_string())])));
    publication
}

fn terms(asked: Asked) -> Terms {
    match asked {
        Asked::Key(key) => Terms { idempotency_key: key.to_string(), ..Terms::default() },
        Asked::Version(version) => Terms { version, ..Terms::default() },
    }
}

fn name(room: &str) -> RoomName {
    RoomName::parse(room, 255).expect("the rooms of the simulation have names")
}
