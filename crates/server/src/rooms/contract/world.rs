//! An engine, clients of it, and the steps they take.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::ledger::Ledger;
use super::remote::{RemoteEngine, Trouble};
use crate::config::{Config, RecoveryMode, Storage};
use crate::rooms::engine::{Accepted, Answer, Engine, Entered, Erase, Publish, PublishBatch};
use crate::rooms::hub::Hub;
use crate::rooms::local::{LocalRooms, TRIES};
use crate::rooms::memory::MemoryEngine;
use crate::rooms::stored::{StoredEngine, StoredRooms};
use crate::rooms::terms::Terms;
use crate::session::{Recover, Subscribed};
use crate::util::clock::unix_ms;
use roomcast::{Subscription, TryRecvError};
use roomcast_protocol::{
    ErrorCode, HistoryQuery, HistoryRequest, Payload, Placed, Publication, RoomName, StreamPosition, recovered,
};

pub(super) const ROOMS: usize = 2;
pub(super) const CLIENTS: usize = 3;

/// More than any test publishes.
pub(super) const PUBLICATIONS_MAX: usize = 900;

/// What a publisher asks beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Key(u64),
    Version(u64),
    SkipHistory,
}

impl Asked {
    fn terms(self) -> Option<Box<Terms>> {
        let terms = match self {
            Self::Nothing => return None,
            Self::Key(key) => Terms { idempotency_key: key.to_string(), ..Terms::default() },
            Self::Version(version) => Terms { version, ..Terms::default() },
            Self::SkipHistory => Terms { skip_history: true, ..Terms::default() },
        };
        Some(Box::new(terms))
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A batch, of one message into each of these rooms.
    Publish(Vec<(usize, Asked)>),
    /// One of the answers that are to come is waited for.
    Await(usize),
    /// Whoever asked goes away.
    Abandon(usize),
    /// A client enters a room, with the position it has there from before, and is to be given so many messages at most.
    Enter {
        client: usize,
        room: usize,
        mode: RecoveryMode,
        publications_max: usize,
    },
    /// A client loses its connection.
    Lose(usize),
    /// A client takes what there is.
    Receive(usize),
    History {
        room: usize,
        limit: i32,
        since: Option<u64>,
        reverse: bool,
    },
    /// A client reads the past of its room in another way.
    Fetch(usize, usize),
    /// The history of a room is removed.
    RemoveHistory(usize),
    /// One of the messages of a room that anybody knows of is erased.
    Erase(usize, u64),
    /// Rooms end that nobody is in and nothing is left of in a while.
    Expire,
    /// Something happens to the other side, where there is one.
    Trouble(Trouble),
}

#[derive(Debug, Default)]
struct Client {
    /// The room it was in last, and where it stands there.
    position: Option<(usize, StreamPosition)>,
    live: Option<Subscription<Publication>>,
}

type Outcome = Result<Accepted, ErrorCode>;

/// A message that is being published: its room, its number, its place in a batch.
struct Pending {
    room: usize,
    number: u64,
    batch: u64,
    /// How often rooms had been let end when it was sent.
    expiries: usize,
    answer: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

pub(super) struct World {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) rooms: Arc<LocalRooms>,
    remote: Option<Arc<RemoteEngine>>,
    folder: Option<PathBuf>,
    clients: [Client; CLIENTS],
    pending: Vec<Pending>,
    /// The accepted messages of each batch, as (room, epoch, number in order of sending, offset).
    batches: Vec<Vec<(usize, String, u64, u64)>>,
    numbers: u64,
    /// Up to where the history of each room in each epoch is removed.
    floors: HashMap<(usize, String), u64>,
    /// The offsets of each that are erased.
    erased: HashMap<(usize, String), HashSet<u64>>,
    /// How often rooms were let end.
    expiries: usize,
    ledger: Ledger,
}

impl World {
    pub(super) fn in_memory() -> Self {
        let rooms = local_rooms(|_| {});
        Self::new(Arc::new(MemoryEngine::new(Arc::clone(&rooms))), rooms)
    }

    pub(super) fn stored(storage: Storage) -> Self {
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        let name = format!("roomcast-contract-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        let rooms = local_rooms(|config| {
            config.data_dir = folder.clone();
            config.channel.without_namespace.storage = storage;
        });
        let stored = StoredRooms::start(Arc::clone(&rooms), &rooms.now().config).unwrap().expect("rooms are stored");
        Self { folder: Some(folder), ..Self::new(Arc::new(StoredEngine::new(stored)), rooms) }
    }

    pub(super) fn remote(seed: u64) -> Self {
        let rooms = local_rooms(|_| {});
        let remote = Arc::new(RemoteEngine::new(Arc::clone(&rooms), seed));
        Self { remote: Some(Arc::clone(&remote)), ..Self::new(remote, rooms) }
    }

    fn new(engine: Arc<dyn Engine>, rooms: Arc<LocalRooms>) -> Self {
        Self {
            engine,
            rooms,
            remote: None,
            folder: None,
            clients: Default::default(),
            pending: Vec::new(),
            batches: Vec::new(),
            numbers: 0,
            floors: HashMap::new(),
            erased: HashMap::new(),
            expiries: 0,
            ledger: Ledger::default(),
        }
    }

    pub(super) async fn step(&mut self, step: Step) {
        match step {
            Step::Publish(rooms) => self.publish(&rooms),
            Step::Await(which) => {
                if let Some(at) = which.checked_rem(self.pending.len()) {
                    let pending = self.pending.swap_remove(at);
                    self.complete(pending).await;
                }
            }
            Step::Abandon(which) => {
                if let Some(at) = which.checked_rem(self.pending.len()) {
                    drop(self.pending.swap_remove(at));
                }
            }
            Step::Enter { client, room, mode, publications_max } => {
                self.enter(client, room, mode, publications_max).await;
            }
            Step::Lose(client) => self.clients[client].live = None,
            Step::Receive(client) => self.receive(client),
            Step::History { room, limit, since, reverse } => {
                self.history(room, limit, since, reverse).await;
            }
            Step::Fetch(client, count) => self.fetch(client, count).await,
            Step::RemoveHistory(room) => self.remove_history(room).await,
            Step::Erase(room, which) => self.erase(room, which).await,
            Step::Expire => {
                self.expiries += 1;
                self.expire();
            }
            Step::Trouble(trouble) => {
                if let Some(remote) = &self.remote {
                    remote.is_in(trouble);
                }
            }
        }
    }

    fn publish(&mut self, into: &[(usize, Asked)]) {
        let mut batch = PublishBatch::new();
        let first = self.numbers;
        for &(room, asked) in into {
            self.ledger.sent(self.numbers, room, asked);
            let data = Payload::json(self.numbers.to_string().into());
            let publication = Publication::new(data, None);
            batch.push(Publish { room: name(room), publication, terms: asked.terms() });
            self.numbers += 1;
        }
        let answers = self.engine.publish(batch);
        assert_eq!(answers.len(), into.len(), "one answer each");
        let batch = self.batches.len() as u64;
        self.batches.push(Vec::new());
        for ((number, &(room, _)), answer) in (first..).zip(into).zip(answers) {
            match answer {
                Answer::Now(outcome) => self.published(room, number, batch, outcome),
                Answer::Later(answer) => {
                    self.pending.push(Pending { room, number, batch, expiries: self.expiries, answer });
                }
            }
        }
    }

    async fn complete(&mut self, Pending { room, number, batch, expiries, answer }: Pending) {
        let outcome = answer.await;
        // Here rooms end as soon as nobody is in them, and not minutes later: who is about to publish into one may find that it has
        // ended as often as a server tries.
        if outcome == Err(ErrorCode::Internal) && self.expiries - expiries >= TRIES {
            return;
        }
        self.published(room, number, batch, outcome);
    }

    fn published(&mut self, room: usize, number: u64, batch: u64, outcome: Outcome) {
        let Accepted { offset, epoch } = match outcome {
            Ok(accepted) => accepted,
            Err(code) => return self.assert_may_fail_with(code),
        };
        let epoch = epoch.to_string();
        if !self.ledger.accepted(room, &epoch, offset, number) {
            return;
        }
        let accepted = &mut self.batches[batch as usize];
        for (other, its_epoch, its_number, its_offset) in accepted.iter() {
            if (*other, its_epoch) == (room, &epoch) {
                assert_eq!(number > *its_number, offset > *its_offset, "a batch keeps its order within a room");
            }
        }
        accepted.push((room, epoch, number, offset));
    }

    /// Only an engine with another side has a reason to refuse what these tests ask.
    fn assert_may_fail(&self) {
        assert!(self.remote.is_some(), "nothing is in the way");
    }

    fn assert_may_fail_with(&self, code: ErrorCode) {
        assert!(self.remote.is_some(), "nothing is in the way, and it is refused with {code:?}");
    }

    async fn enter(&mut self, client: usize, room: usize, mode: RecoveryMode, publications_max: usize) {
        let known = self.ledger.known(room);
        let back = self.clients[client].position.take().filter(|(of, _)| *of == room).map(|(_, position)| position);
        let recover = back.clone().map(|position| Recover::new(position, mode));
        self.clients[client].live = None;
        let entered = self.engine.enter(&name(room), recover.as_ref(), publications_max).wait().await;
        let Ok(Entered { subscription, subscribed: Subscribed { top, found } }) = entered else {
            // It comes again with what it has.
            self.clients[client].position = back.map(|position| (room, position));
            return self.assert_may_fail();
        };
        self.stands(room, &top, known);
        self.told(room, &top.epoch, &found);
        let floor = self.floor(room, &top.epoch);
        assert_found(back.as_ref(), mode, publications_max, (floor, &top), &found);
        assert_eq!(subscription.position().sequence, top.offset, "it goes on where it was told to stand");
        self.assert_may_be_seen(room, &top.epoch, top.offset);
        self.clients[client] = Client { position: Some((room, top)), live: Some(subscription) };
    }

    /// What somebody was told ends at `top`, which may have been seen then, and so may be now.
    fn assert_may_be_seen(&self, room: usize, epoch: &str, top: u64) {
        if let Some(room) = self.rooms.running(&name(room))
            && room.epoch().to_string() == epoch
        {
            let end = self.engine.edge(&room).unwrap().range().end;
            assert!(top <= end, "told up to {top}, and may be seen up to {end}");
        }
    }

    /// As the hub does it, some minutes later: what is left then of a history of an hour is all there.
    fn expire(&self) {
        let later_ms = unix_ms() + 5 * 60 * 1_000;
        for _ in 0..2 {
            self.rooms.broker.expire_idle_if(|room| self.engine.remains(room).empty_ms <= later_ms);
        }
    }

    /// Somebody was told where a room stands.
    fn stands(&mut self, room: usize, position: &StreamPosition, known: Option<(String, u64)>) {
        let goes_on = self.ledger.stands(room, &position.epoch, position.offset, known);
        assert!(goes_on || self.remote.is_some(), "nothing ends its epoch, and its history is kept for an hour");
    }

    async fn remove_history(&mut self, room: usize) {
        let known = self.ledger.known(room);
        // Of a room that does not run, nobody says up to where.
        let Some(ring) = self.rooms.running(&name(room)) else { return };
        let trusted = self.engine.edge(&ring).unwrap().ring_from();
        if self.engine.remove_history(&name(room)).wait().await.is_err() {
            return self.assert_may_fail();
        }
        let trusted_now = self.engine.edge(&ring).unwrap().ring_from();
        assert_eq!(trusted, trusted_now, "whoever is in the room goes on from the ring");
        let (epoch, floor) = (ring.epoch().to_string(), self.engine.edge(&ring).unwrap().range().start);
        if let Some((of, top)) = known {
            assert!(of != epoch || floor >= top, "all that was told of is removed: {floor} of {top}");
        }
        self.floors.insert((room, epoch), floor);
    }

    async fn erase(&mut self, room: usize, which: u64) {
        let Some((epoch, top)) = self.ledger.known(room) else { return };
        let offset = which % top + 1;
        let others = ["no epoch of ours", "0"].map(|epoch| {
            let what = Erase::Offsets(vec![offset]);
            self.engine.erase(&name(room), epoch, what)
        });
        for other in others {
            assert!(!matches!(other.wait().await, Ok(1..)), "in another epoch it is another message");
        }
        let erased = self.engine.erase(&name(room), &epoch, Erase::Offsets(vec![offset, offset])).wait().await;
        let Ok(count) = erased else { return self.assert_may_fail() };
        let offsets = self.erased.entry((room, epoch)).or_default();
        let is_new = offsets.insert(offset);
        assert!(count <= u64::from(is_new), "what is erased is erased once");
    }

    /// Somebody was given a message.
    fn given(&mut self, room: usize, epoch: &str, offset: u64, publication: &Publication) {
        let incarnation = (room, epoch.to_owned());
        match self.erased.get(&incarnation).is_some_and(|offsets| offsets.contains(&offset)) {
            true => assert_eq!((publication.data.as_bytes(), &publication.info), (&b"null"[..], &None)),
            false => self.ledger.told(room, epoch, offset, number(publication)),
        }
    }

    /// Up to where the history of a room is removed.
    fn floor(&self, room: usize, epoch: &str) -> u64 {
        self.floors.get(&(room, epoch.to_owned())).copied().unwrap_or(0)
    }

    fn told(&mut self, room: usize, epoch: &str, placed: &[Placed]) {
        for placed in placed {
            assert!(placed.offset > self.floor(room, epoch), "offset {} was removed", placed.offset);
            self.given(room, epoch, placed.offset, &placed.publication);
        }
    }

    /// Takes what may be seen.
    fn receive(&mut self, client: usize) {
        let mut given = Vec::new();
        let Client { position: Some((room, position)), live: Some(subscription) } = &mut self.clients[client] else {
            return;
        };
        let edge = self.engine.edge(&subscription.room()).unwrap();
        let (end, erased) = (edge.range().end, edge.erased(&subscription.room()));
        let (room, epoch) = (*room, position.epoch.clone());
        while subscription.position().sequence < end {
            match subscription.try_recv_ref() {
                Ok(message) => {
                    assert_eq!(message.sequence(), position.offset, "nothing is left out or given again");
                    position.offset += 1;
                    given.push((position.offset, erased.shown(message.sequence(), &message).clone()));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed(_)) => {
                    self.clients[client].live = None;
                    break;
                }
                Err(error) => panic!("the ring is large enough: {error}"),
            }
        }
        for (offset, publication) in given {
            self.given(room, &epoch, offset, &publication);
        }
    }

    /// The position it was answered with, and the offsets.
    async fn history(
        &mut self,
        room: usize,
        limit: i32,
        since: Option<u64>,
        reverse: bool,
    ) -> Option<(StreamPosition, Vec<u64>)> {
        let known = self.ledger.known(room);
        let since = since.map(|offset| StreamPosition { offset, epoch: String::new() });
        let request = HistoryRequest { room: String::new(), limit, since, reverse };
        let query = HistoryQuery::new(&request, PUBLICATIONS_MAX);
        let Ok(result) = self.engine.history(&name(room), &query).wait().await else {
            self.assert_may_fail();
            return None;
        };
        let StreamPosition { offset: top, epoch } = result.position.clone();
        self.stands(room, &result.position, known);
        self.told(room, &epoch, &result.publications);
        let offsets: Vec<u64> = result.publications.iter().map(|placed| placed.offset).collect();
        let mut expected: Vec<u64> = query.window(self.floor(room, &epoch).min(top) + 1, top).collect();
        if reverse {
            expected.reverse();
        }
        assert_eq!(offsets, expected, "all of it is kept, and what was asked for is given");
        self.assert_may_be_seen(room, &epoch, top);
        Some((result.position, offsets))
    }

    async fn fetch(&mut self, client: usize, count: usize) {
        let Client { position: Some((room, position)), live: Some(subscription) } = &self.clients[client] else {
            return;
        };
        let (room, epoch, top) = (*room, position.epoch.clone(), position.offset);
        let from = top.saturating_sub(count as u64);
        let Ok(found) = self.engine.fetch(&subscription.room(), from, count).wait().await else {
            return self.assert_may_fail();
        };
        assert!(found.len() <= count);
        let offsets: Vec<u64> = found.iter().map(|placed| placed.offset).collect();
        assert!(offsets.iter().copied().eq((from + 1..).take(offsets.len())), "{offsets:?} from {from} on");
        let is_whole = offsets.len() as u64 >= top - from || from < self.floor(room, &epoch);
        assert!(is_whole || self.remote.is_some(), "what it has seen is there: {offsets:?} of {from}..{top}");
        self.told(room, &epoch, &found);
    }

    /// When nothing is in the way any more, everything is there.
    pub(super) async fn end(mut self) {
        if let Some(remote) = &self.remote {
            remote.has_calmed_down().await;
        }
        while let Some(pending) = self.pending.pop() {
            self.complete(pending).await;
        }
        if let Some(remote) = &self.remote {
            remote.has_calmed_down().await;
        }
        for room in 0..ROOMS {
            self.until_all_is_visible(room).await;
            let (position, offsets) = self.history(room, -1, None, false).await.expect("nothing is in the way");
            self.ledger.assert_whole(room, &position.epoch, self.floor(room, &position.epoch), &offsets);
            for client in 0..CLIENTS {
                self.assert_has_all(client, room, &position);
            }
        }
        self.close();
    }

    pub(super) fn close(self) {
        self.rooms.broker.close();
        drop(self.engine);
        if let Some(folder) = self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    /// What is published, and perhaps not acknowledged to anybody, may be seen.
    async fn until_all_is_visible(&self, room: usize) {
        if let Some(room) = self.rooms.running(&name(room))
            && let Some(newest) = room.tail().checked_sub(1)
        {
            let edge = self.engine.edge(&room).unwrap();
            poll_fn(|context| edge.poll_beyond(newest, context)).await;
        }
    }

    /// Whoever is in the room in its present incarnation is given everything.
    fn assert_has_all(&mut self, client: usize, room: usize, top: &StreamPosition) {
        self.receive(client);
        let Client { position: Some((of, position)), live: Some(_) } = &self.clients[client] else { return };
        if *of == room {
            assert_eq!(position, top, "a member hears everything");
        }
    }
}

/// Whether `found` is what a client is to be given that comes `back` to a room that stands at `top`, all of which from `floor` on is kept.
fn assert_found(
    back: Option<&StreamPosition>,
    mode: RecoveryMode,
    publications_max: usize,
    (floor, top): (u64, &StreamPosition),
    found: &[Placed],
) {
    let offsets: Vec<u64> = found.iter().map(|placed| placed.offset).collect();
    let Some(asked) = back else { return assert!(offsets.is_empty(), "nothing was asked for") };
    match mode {
        RecoveryMode::Cache => assert!(offsets.iter().copied().eq((top.offset > floor).then_some(top.offset))),
        RecoveryMode::Stream => {
            let missed = top.offset.checked_sub(asked.offset);
            let is_there = asked.epoch == top.epoch
                && missed
                    .is_some_and(|missed| missed <= publications_max as u64 && (missed == 0 || asked.offset >= floor));
            let is_recovered = recovered(asked, top, offsets.iter().copied(), publications_max);
            assert_eq!(is_recovered, is_there, "from {asked:?}, at {top:?}: {offsets:?}");
        }
    }
}

fn local_rooms(change: impl FnOnce(&mut Config)) -> Arc<LocalRooms> {
    let mut config = Config::dev();
    let options = &mut config.channel.without_namespace;
    options.history_size = PUBLICATIONS_MAX;
    options.history_ttl = Duration::from_secs(3_600);
    options.storage = Storage::Off;
    change(&mut config);
    Hub::alone(config).rooms
}

pub(super) fn name(room: usize) -> RoomName {
    RoomName::parse(["hall", "yard"][room], 255).unwrap()
}

fn number(publication: &Publication) -> u64 {
    str::from_utf8(publication.data.as_bytes()).unwrap().parse().unwrap()
}
