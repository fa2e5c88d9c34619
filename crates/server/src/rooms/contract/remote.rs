//! An engine whose rooms are on the other side of a network, as bad as networks and other sides are.
//!
//! Its calls take their time, come back in any order, fail, and fail after they took effect. What is published comes to this node's
//! ring by a feed that repeats itself; the connection goes, with everything on its way, and the other side may be empty when it is
//! back. What it takes to keep the contract over that is what an engine of a network has to do:
//!
//! * the ring of this node is a *copy*: only the feed publishes into it, at the offsets that the other side gave;
//! * what the feed brings twice is passed over, and what it left out is asked for, by the next message or a look now and then;
//! * a room that has another epoch over there ends here, so that its members come again;
//! * whoever enters is told what the other side says, and stands in a copy that is as far.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

use crate::config::RecoveryMode;
use crate::rooms::engine::{
    Accepted, Answer, Engine, Entered, EpochName, Erase, Publish, PublishAnswers, PublishBatch, Remains,
};
use crate::rooms::history;
use crate::rooms::local::LocalRooms;
use crate::rooms::terms::Terms;
use crate::rooms::visible::Edge;
use crate::session::{Recover, Subscribed};
use roomcast::{Room, RoomOptions};
use roomcast_protocol::{ErrorCode, HistoryQuery, HistoryResult, Placed, Publication, RoomName, StreamPosition};

/// What happens to the other side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// The connection is there again.
    Connected,
    Disconnected,
    /// It has forgotten everything.
    RestartedEmpty,
}

/// What a call is answered while there is no connection.
const NOT_CONNECTED: ErrorCode = ErrorCode::TooManyRequests;

/// Turns that anything on its way may take.
const DELAY_MAX: u64 = 6;

/// Turns after which it is no delay any more.
const TURNS_MAX: usize = 100_000;

/// Turns between two looks whether the feed has left something out.
const LOOK_TURNS: usize = 1_000;

/// The rooms on the other side.
#[derive(Debug, Default)]
struct Remote {
    rooms: HashMap<RoomName, RemoteRoom>,
    /// Where the message of each key is.
    keys: HashMap<(RoomName, String), u64>,
    /// The newest version of each room.
    versions: HashMap<RoomName, u64>,
    epochs: u64,
    is_connected: bool,
    /// Goes up when a connection is made; what was on its way through another one is lost.
    connection: u64,
    is_calm: bool,
    random: u64,
}

#[derive(Clone, Debug)]
struct RemoteRoom {
    epoch: Arc<str>,
    log: Vec<Publication>,
}

/// A message on its way to this node.
struct Fed {
    connection: u64,
    room: RoomName,
    epoch: Arc<str>,
    offset: u64,
}

/// A publish on its way to the other side.
struct Sent {
    connection: u64,
    publish: Publish,
    answer: oneshot::Sender<Result<Accepted, ErrorCode>>,
}

pub(super) struct RemoteEngine {
    shared: Arc<Shared>,
    pipe: mpsc::UnboundedSender<Sent>,
}

struct Shared {
    rooms: Arc<LocalRooms>,
    remote: Mutex<Remote>,
    /// The epochs whose copies are here.
    copies: Mutex<HashMap<RoomName, Arc<str>>>,
    /// Publishes that are on their way.
    on_their_way: AtomicUsize,
    feed: mpsc::UnboundedSender<Fed>,
}

impl Remote {
    /// A number below `bound` (xorshift).
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn publish(&mut self, name: &RoomName, publication: Publication, terms: Option<&Terms>) -> Accepted {
        let terms = terms.cloned().unwrap_or_default();
        if terms.skip_history {
            return Accepted::UNPLACED;
        }
        let key = (name.clone(), terms.idempotency_key);
        let known = self.keys.get(&key).copied();
        let newest = self.versions.get(name).copied().unwrap_or(0);
        let is_outdated = terms.version > 0 && terms.version <= newest;
        let room = self.room(name);
        if known.is_none() && !is_outdated {
            room.log.push(publication);
        }
        let accepted =
            Accepted { offset: known.unwrap_or_else(|| room.top()), epoch: EpochName::Given(Arc::clone(&room.epoch)) };
        if !key.1.is_empty() {
            self.keys.insert(key, accepted.offset);
        }
        self.versions.insert(name.clone(), newest.max(terms.version));
        accepted
    }

    fn room(&mut self, name: &RoomName) -> &mut RemoteRoom {
        let epochs = &mut self.epochs;
        self.rooms.entry(name.clone()).or_insert_with(|| {
            *epochs += 1;
            RemoteRoom { epoch: format!("epoch-{epochs}").into(), log: Vec::new() }
        })
    }
}

impl RemoteRoom {
    fn placed(&self, offset: u64) -> Placed {
        Placed { offset, time_ms: 0, publication: self.log[offset as usize - 1].clone() }
    }

    fn top(&self) -> u64 {
        self.log.len() as u64
    }

    fn position(&self, offset: u64) -> StreamPosition {
        StreamPosition { offset, epoch: self.epoch.to_string() }
    }
}

impl RemoteEngine {
    /// In a runtime, where what is on its way is carried on.
    pub(super) fn new(rooms: Arc<LocalRooms>, seed: u64) -> Self {
        let remote = Remote { is_connected: true, random: seed | 1, ..Remote::default() };
        let ((feed, fed), (pipe, sent)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let shared = Arc::new(Shared {
            rooms,
            remote: Mutex::new(remote),
            copies: Mutex::default(),
            on_their_way: AtomicUsize::new(0),
            feed,
        });
        tokio::spawn(carry(Arc::clone(&shared), sent));
        tokio::spawn(copy(Arc::clone(&shared), fed));
        Self { shared, pipe }
    }

    pub(super) fn is_in(&self, trouble: Trouble) {
        {
            let mut remote = self.shared.remote.lock().unwrap();
            match trouble {
                Trouble::Connected if !remote.is_connected => {
                    remote.is_connected = true;
                    remote.connection += 1;
                }
                Trouble::Connected => return,
                Trouble::Disconnected => return remote.is_connected = false,
                Trouble::RestartedEmpty => {
                    remote.rooms.clear();
                    remote.keys.clear();
                    remote.versions.clear();
                    return remote.is_connected = false;
                }
            }
        }
        self.shared.copy_again();
    }

    /// From here on nothing goes wrong; returns when everything has arrived and the copies are as far as what they are copies of.
    pub(super) async fn has_calmed_down(&self) {
        self.shared.remote.lock().unwrap().is_calm = true;
        self.is_in(Trouble::Connected);
        for turn in 0..TURNS_MAX {
            if turn % LOOK_TURNS == 0 {
                self.shared.copy_again();
            }
            let names: Vec<_> = self.shared.copies.lock().unwrap().keys().cloned().collect();
            let has_arrived = self.shared.on_their_way.load(Relaxed) == 0;
            if has_arrived && names.iter().all(|name| self.shared.is_copied(name)) {
                return;
            }
            yield_now().await;
        }
        panic!("the copies never came as far");
    }
}

impl Shared {
    async fn delay(&self) {
        let turns = {
            let mut remote = self.remote.lock().unwrap();
            if remote.is_calm { 1 } else { remote.random(DELAY_MAX) }
        };
        for _ in 0..turns {
            yield_now().await;
        }
    }

    /// Asks the other side, unless it fails.
    async fn ask<R>(&self, question: impl FnOnce(&mut Remote) -> R) -> Result<R, ErrorCode> {
        let connection = self.remote.lock().unwrap().connection;
        self.delay().await;
        let answer = {
            let mut remote = self.remote.lock().unwrap();
            if !remote.is_connected || remote.connection != connection || !remote.is_calm && remote.random(12) == 0 {
                return Err(NOT_CONNECTED);
            }
            question(&mut remote)
        };
        self.delay().await;
        let remote = self.remote.lock().unwrap();
        if remote.connection == connection && remote.is_connected { Ok(answer) } else { Err(NOT_CONNECTED) }
    }

    fn feed(&self, remote: &mut Remote, name: &RoomName) {
        let (connection, room) = (remote.connection, remote.room(name));
        let (epoch, offset) = (Arc::clone(&room.epoch), room.top());
        // Some are lost on the way, and some come twice.
        let times = if remote.is_calm { 1 } else { remote.random(4).min(2) };
        for _ in 0..times {
            let _ = self.feed.send(Fed { connection, room: name.clone(), epoch: Arc::clone(&epoch), offset });
        }
    }

    /// Asks for everything that was not heard: after a connection was made, and now and then, since nobody says what was lost last.
    fn copy_again(&self) {
        let names: Vec<_> = self.copies.lock().unwrap().keys().cloned().collect();
        let mut remote = self.remote.lock().unwrap();
        for room in names {
            let connection = remote.connection;
            let RemoteRoom { epoch, log } = remote.room(&room);
            let _ = self.feed.send(Fed { connection, epoch: Arc::clone(epoch), offset: log.len() as u64, room });
        }
    }

    fn is_copied(&self, name: &RoomName) -> bool {
        let (epoch, top) = {
            let mut remote = self.remote.lock().unwrap();
            let room = remote.room(name);
            (Arc::clone(&room.epoch), room.top())
        };
        self.copied(name, &epoch).is_some_and(|copy| copy.tail() >= top)
    }

    /// The copy of that epoch of a room.
    fn copied(&self, name: &RoomName, epoch: &Arc<str>) -> Option<Room<Publication>> {
        let is_it = self.copies.lock().unwrap().get(name) == Some(epoch);
        self.rooms.running(name).filter(|_| is_it)
    }

    /// Brings the copy of a room as far as `offset`, by what the other side has: what is there already is passed over, what
    /// was left out comes along, and another epoch begins a new copy.
    fn bring(&self, name: &RoomName, epoch: &Arc<str>, offset: u64) {
        let room = {
            let mut remote = self.remote.lock().unwrap();
            if !remote.is_connected || remote.room(name).epoch != *epoch {
                return;
            }
            remote.room(name).clone()
        };
        let copy = self.copied(name, epoch).unwrap_or_else(|| {
            self.rooms.broker.remove(name.as_str());
            self.copies.lock().unwrap().insert(name.clone(), Arc::clone(epoch));
            self.rooms.broker.room_with(name.as_str(), RoomOptions::new()).expect("there is space")
        });
        for next in copy.tail() + 1..=offset {
            copy.publish(room.placed(next).publication).expect("nobody else publishes");
        }
    }

    /// A copy that is as far as `top`.
    async fn copy_to(&self, name: &RoomName, epoch: &Arc<str>, top: u64) -> Result<Room<Publication>, ErrorCode> {
        for _ in 0..DELAY_MAX {
            self.bring(name, epoch, top);
            if let Some(copy) = self.copied(name, epoch).filter(|copy| copy.tail() >= top) {
                return Ok(copy);
            }
            yield_now().await;
        }
        Err(NOT_CONNECTED)
    }
}

/// Carries publishes to the other side, in their order, and answers in any order.
async fn carry(shared: Arc<Shared>, mut pipe: mpsc::UnboundedReceiver<Sent>) {
    while let Some(Sent { connection, publish: Publish { room: name, publication, terms }, answer }) = pipe.recv().await
    {
        shared.delay().await;
        let outcome = {
            let mut remote = shared.remote.lock().unwrap();
            let is_lost = !remote.is_connected || remote.connection != connection;
            if is_lost || !remote.is_calm && remote.random(10) == 0 {
                Err(NOT_CONNECTED)
            } else {
                let accepted = remote.publish(&name, publication, terms.as_deref());
                shared.feed(&mut remote, &name);
                // It may have taken effect and fail all the same.
                if !remote.is_calm && remote.random(10) == 0 { Err(NOT_CONNECTED) } else { Ok(accepted) }
            }
        };
        shared.on_their_way.fetch_sub(1, Relaxed);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.delay().await;
            // Whoever asked may have gone.
            let _ = answer.send(outcome);
        });
    }
}

/// Copies what the feed brings.
async fn copy(shared: Arc<Shared>, mut feed: mpsc::UnboundedReceiver<Fed>) {
    while let Some(Fed { connection, room, epoch, offset }) = feed.recv().await {
        shared.delay().await;
        let is_on_its_way = shared.remote.lock().unwrap().connection == connection;
        if is_on_its_way {
            shared.bring(&room, &epoch, offset);
        }
    }
}

impl Engine for RemoteEngine {
    fn publish(&self, batch: PublishBatch) -> PublishAnswers {
        let connection = self.shared.remote.lock().unwrap().connection;
        let send = |publish| {
            let (answer, outcome) = oneshot::channel();
            self.shared.on_their_way.fetch_add(1, Relaxed);
            let _ = self.pipe.send(Sent { connection, publish, answer });
            Answer::later(async move { outcome.await.unwrap_or(Err(NOT_CONNECTED)) })
        };
        batch.into_iter().map(send).collect()
    }

    fn enter(
        &self,
        name: &RoomName,
        recover: Option<&Recover>,
        publications_max: usize,
    ) -> Answer<Result<Entered, ErrorCode>> {
        let (shared, name, recover) = (Arc::clone(&self.shared), name.clone(), recover.cloned());
        Answer::later(async move {
            let room = shared.ask(|remote| remote.room(&name).clone()).await?;
            let top = room.top();
            let copy = shared.copy_to(&name, &room.epoch, top).await?;
            let subscription = history::from(&copy, top).ok_or(NOT_CONNECTED)?;
            let wanted = recover.and_then(|Recover { position: asked, mode, .. }| match mode {
                RecoveryMode::Stream => {
                    let is_known = EpochName::Given(Arc::clone(&room.epoch)).is_meant_by(&asked.epoch);
                    let missed = top.checked_sub(asked.offset)?;
                    (is_known && missed <= publications_max as u64).then_some(asked.offset + 1..=top)
                }
                RecoveryMode::Cache => Some(top.max(1)..=top),
            });
            let found = wanted.into_iter().flatten().map(|at| room.placed(at)).collect();
            Ok(Entered { subscription, subscribed: Subscribed { top: room.position(top), found } })
        })
    }

    fn history(&self, name: &RoomName, query: &HistoryQuery) -> Answer<Result<HistoryResult, ErrorCode>> {
        let (shared, name, query) = (Arc::clone(&self.shared), name.clone(), query.clone());
        Answer::later(async move {
            let room = shared.ask(|remote| remote.room(&name).clone()).await?;
            let mut found: Vec<_> = query.window(1, room.top()).map(|offset| room.placed(offset)).collect();
            if query.reverse {
                found.reverse();
            }
            Ok(HistoryResult::new(found, room.position(room.top())))
        })
    }

    fn remove_history(&self, _: &RoomName) -> Answer<Result<(), ErrorCode>> {
        // What it takes is tested with the others; here it can be had of no other side.
        Answer::Now(Err(ErrorCode::NotAvailable))
    }

    fn erase(&self, _: &RoomName, _: &str, _: Erase) -> Answer<Result<u64, ErrorCode>> {
        // As for removing.
        Answer::Now(Err(ErrorCode::NotAvailable))
    }

    fn fetch(&self, copy: &Room<Publication>, from: u64, count: usize) -> Answer<Result<Vec<Placed>, ErrorCode>> {
        let (shared, copy) = (Arc::clone(&self.shared), copy.clone());
        Answer::later(async move {
            let name = RoomName::parse(copy.name(), 255).map_err(|_| ErrorCode::Internal)?;
            let room = shared.ask(|remote| remote.room(&name).clone()).await?;
            // What is over there now may be another epoch than the copy is of.
            let is_it = shared.copied(&name, &room.epoch).is_some_and(|now| now.epoch() == copy.epoch());
            let end = if is_it { room.top().min(from + count as u64) } else { from };
            Ok((from + 1..=end).map(|offset| room.placed(offset)).collect())
        })
    }

    fn has_more_than_ring(&self) -> bool {
        true
    }

    fn edge(&self, _: &Room<Publication>) -> Result<Edge, ErrorCode> {
        Ok(Edge::published())
    }

    fn remains(&self, _: &Room<Publication>) -> Remains {
        Remains { empty_ms: 0, until_ms: 0 }
    }
}

impl fmt::Debug for RemoteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteEngine").finish_non_exhaustive()
    }
}
