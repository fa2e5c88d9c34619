//! The seam behind which rooms have their messages and their past: memory, a database, later a network of nodes.
//!
//! A client's driver asks an [`Engine`] and does not know which one it is. What the engine can answer at once it answers in the
//! turn that asks; for the rest the turn is given a future, and goes on with other clients.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;

use crate::rooms::handing_over::Asked;
use crate::rooms::terms::Terms;
use crate::rooms::visible::Edge;
use crate::session::{Recover, Subscribed};
use roomcast::{Room, Subscription};
use roomcast_protocol::{
    ClientInfo, ErrorCode, HistoryQuery, HistoryResult, Placed, PresenceStats, Publication, RoomName,
};

/// What is answered: at once, or when the future is ready.
///
/// Whoever asked may drop the future. What was asked for may take effect all the same.
pub(crate) enum Answer<T> {
    Now(T),
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T: fmt::Debug> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

impl<T> Answer<T> {
    /// The answer is what `work` comes to.
    pub(crate) fn later(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Later(Box::pin(work))
    }

    /// Waits for it.
    pub(crate) async fn wait(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(work) => work.await,
        }
    }
}

/// Messages to be published together, nearly always one.
pub(crate) type PublishBatch = SmallVec<[Publish; 1]>;

/// The answers to a [`PublishBatch`], in its order.
pub(crate) type PublishAnswers = SmallVec<[Answer<Result<Accepted, ErrorCode>>; 1]>;

/// A message to be published.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) room: RoomName,
    pub(crate) publication: Publication,
    /// What its publisher asks beyond; clients ask nothing.
    pub(crate) terms: Option<Box<Terms>>,
}

impl Publish {
    /// Plainly.
    pub(crate) fn new(room: RoomName, publication: Publication) -> Self {
        Self { room, publication, terms: None }
    }
}

/// What is done to its end whether or not anybody waits for it: whoever comes again with the same key is to find it done, or not begun.
pub(crate) fn begun<T: Send + 'static>(
    work: impl Future<Output = Result<T, ErrorCode>> + Send + 'static,
) -> Answer<Result<T, ErrorCode>> {
    let work = tokio::spawn(work);
    Answer::later(async move { work.await.unwrap_or(Err(ErrorCode::Internal)) })
}

/// Publishes a batch by what an engine does with one message: just that where there is one, and that for one after the other where some
/// are on terms; what is on none is published by `all` together.
#[inline]
pub(crate) fn publish_each<E: Clone + Send + Sync + 'static>(
    engine: &E,
    mut batch: PublishBatch,
    asked: impl Fn(&E) -> Asked,
    one: impl Fn(&E, Publish) -> Answer<Result<Accepted, ErrorCode>> + Clone + Send + 'static,
    all: impl FnOnce(&E, PublishBatch) -> PublishAnswers,
) -> PublishAnswers {
    if batch.len() == 1
        && let Some(publish) = batch.pop()
    {
        return smallvec![one(engine, publish)];
    }
    if batch.iter().any(|publish| publish.terms.is_some()) {
        let (asked, engine) = (asked(engine), engine.clone());
        return publish_in_order(batch, asked, move |publish| one(&engine, publish));
    }
    all(engine, batch)
}

/// Publishes messages of which some are on terms, each with `publish`, those of one room one after the other: what has to wait is not
/// overtaken.
fn publish_in_order(
    batch: PublishBatch,
    asked: Asked,
    publish: impl Fn(Publish) -> Answer<Result<Accepted, ErrorCode>> + Clone + Send + 'static,
) -> PublishAnswers {
    let mut rooms = BTreeMap::<RoomName, Vec<(Publish, oneshot::Sender<_>)>>::new();
    let mut answers = PublishAnswers::new();
    for one in batch {
        let (sender, answer) = oneshot::channel();
        rooms.entry(one.room.clone()).or_default().push((one, sender));
        answers.push(Answer::later(async move { answer.await.unwrap_or(Err(ErrorCode::Internal)) }));
    }
    for queue in rooms.into_values() {
        let (publish, asked) = (publish.clone(), asked.clone());
        tokio::spawn(async move {
            let _until_all_are_published = asked;
            for (one, sender) in queue {
                // Whoever asked may have gone.
                let _ = sender.send(publish(one).wait().await);
            }
        });
    }
    answers
}

/// A message has its place in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) offset: u64,
    pub(crate) epoch: EpochName,
}

impl Accepted {
    /// Of a message that takes no place.
    pub(crate) const UNPLACED: Self = Self { offset: 0, epoch: EpochName::None };

    /// Where the room stands, which is told whoever published nothing new.
    pub(crate) fn nowhere(room: &Room<Publication>) -> Self {
        Self { offset: room.tail(), epoch: EpochName::Ring(room.epoch()) }
    }

    /// At that sequence of the ring that is the room.
    pub(crate) fn in_ring(room: &Room<Publication>, sequence: u64) -> Self {
        Self { offset: sequence + 1, epoch: EpochName::Ring(room.epoch()) }
    }
}

/// A place in a room that is not a membership yet, and what is told of it.
#[derive(Debug)]
pub(crate) struct Entered {
    /// Goes on exactly after what `subscribed` holds.
    pub(crate) subscription: Subscription<Publication>,
    pub(crate) subscribed: Subscribed,
}

/// The epoch of a room as clients are told it: a text, and what it says is the engine's own matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EpochName {
    /// Of nothing that has a place.
    None,
    /// The number of the ring.
    Ring(roomcast::Epoch),
    /// A name that was given elsewhere: the ring on this node is a copy.
    #[cfg(test)]
    Given(std::sync::Arc<str>),
}

impl EpochName {
    /// Whether a client that says `asked` means this epoch: by its name, or by none.
    pub(crate) fn is_meant_by(&self, asked: &str) -> bool {
        asked.is_empty() || asked == self.to_string()
    }
}

impl fmt::Display for EpochName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Ring(epoch) => epoch.fmt(f),
            #[cfg(test)]
            Self::Given(name) => name.fmt(f),
        }
    }
}

/// Which messages of a room are to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Erase {
    /// Those at these offsets.
    Offsets(Vec<u64>),
    /// What that user has published.
    User(String),
}

/// What is left of a room that nobody is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    /// When nothing of its history is left in memory that is nowhere else.
    pub(crate) empty_ms: u64,
    /// Until when its position counts.
    pub(crate) until_ms: u64,
}

/// Has the messages of rooms, gives them their offsets, and says what may be seen.
///
/// # Contract
/// What all engines keep, and `contract/` tests with each of them:
///
/// * Within an epoch the offsets of a room are 1, 2, 3 and so on, each given once. The publishes of a batch into one room take
///   theirs in the order of the batch; of two batches, any may be first, and answers may come in any order.
/// * A publish that is answered with an offset is in the room, there and once, as long as the epoch lasts. One that fails may have
///   taken effect, once.
/// * Of publishes with the same key into one room, within the time that keys are remembered, one is in the room; all that succeed are
///   answered with its place. One that comes with a version not above another's takes no place, and is answered with where the room
///   stands. A message without history takes no offset and is in no past: it is given to who is there.
/// * An epoch that has ended does not come back. Whoever comes with a position of another epoch is never told that nothing
///   was missed.
/// * A subscription goes on exactly after what [`Engine::enter`] found: nothing is missed or given twice, until the room ends.
/// * What [`Engine::history`] and [`Engine::fetch`] give has the offsets, the order and the contents that were published;
///   what is beyond [`Engine::edge`] is given by none of them.
/// * Removing a history takes nothing from members: they go on from the ring, and who has lost its place there from where the history
///   begins now.
/// * What was erased keeps its place, and is an empty publication wherever it is given from then on.
/// * A call is answered in bounded time, and an engine that cannot do what is asked says so with an error.
pub(crate) trait Engine: fmt::Debug + Send + Sync {
    /// Publishes, each by itself: one that fails is no harm to the others.
    fn publish(&self, batch: PublishBatch) -> PublishAnswers;

    /// Takes a place in a room, with up to `publications_max` messages of what is wanted of its past: all of it, or nothing where
    /// it is not all there.
    fn enter(
        &self,
        room: &RoomName,
        recover: Option<&Recover>,
        publications_max: usize,
    ) -> Answer<Result<Entered, ErrorCode>>;

    /// Answers a history command, with at most [`ANSWER_BYTES_MAX`](crate::rooms::history::ANSWER_BYTES_MAX) and at least one message
    /// where there is one.
    fn history(&self, room: &RoomName, query: &HistoryQuery) -> Answer<Result<HistoryResult, ErrorCode>>;

    /// Removes the history of a room: what has been published so far is not seen any more, by who reads it or comes back. Its position
    /// stays, and members that are behind may be given what they have not been given.
    fn remove_history(&self, room: &RoomName) -> Answer<Result<(), ErrorCode>>;

    /// Erases messages that have been published so far: how many. Their places stay, and are empty publications to everybody from here
    /// on, but for what a shard has read by now. A room of another epoch than the one that is named answers
    /// [`ErrorCode::UnrecoverablePosition`].
    fn erase(&self, room: &RoomName, epoch: &str, what: Erase) -> Answer<Result<u64, ErrorCode>>;

    /// What a member has missed from the sequence `from` on, at most `count` messages without a gap; nothing where the first is gone.
    fn fetch(&self, room: &Room<Publication>, from: u64, count: usize) -> Answer<Result<Vec<Placed>, ErrorCode>>;

    /// Whether [`Engine::fetch`] knows more than the ring of a room.
    fn has_more_than_ring(&self) -> bool;

    /// From where to where a room may be seen.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] when nobody knows: rather nothing is seen of it than anything.
    fn edge(&self, room: &Room<Publication>) -> Result<Edge, ErrorCode>;

    /// What is left of a room that nobody is in.
    fn remains(&self, room: &Room<Publication>) -> Remains;
}

/// Knows who is in which room.
///
/// Coming and going is taken in the order in which it is said and not answered: it is true of this node whatever others know of
/// it. One that has nodes beside it renews what it has told them from its own table.
pub(crate) trait Presence: fmt::Debug + Send + Sync {
    /// Adds a member, or what is new about it.
    fn enter(&self, room: &RoomName, member: ClientInfo);

    /// Removes a member.
    fn leave(&self, room: &RoomName, client: &str);

    /// The members of a room, in no particular order.
    fn members(&self, room: &RoomName) -> Answer<Result<Vec<ClientInfo>, ErrorCode>>;

    /// How many clients, and how many different users, are in a room.
    fn stats(&self, room: &RoomName) -> Answer<Result<PresenceStats, ErrorCode>>;
}
