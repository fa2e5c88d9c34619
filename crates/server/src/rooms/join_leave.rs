//! Joins and leaves on their way to the shards whose members hear of them; messages that are kept nowhere are events as well, and go
//! [another way](super::for_all).
//!
//! An event takes no offset. It carries the position of its room after which it happened, and whoever delivers it puts it there:
//! behind all that was published before, before all that was published later. So a member's join, publications and leave come in
//! that order. It is announced to the inbox of every shard that listens to the room, before the member it speaks of can publish
//! anything: who has seen a publication finds the join in its inbox.

use crate::util::panics::lock;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use roomcast::Position;
use roomcast::internal::Striped;
use roomcast_protocol::{ClientInfo, Placed, Publication, Push, RoomName};

/// Bytes of events that may wait for a shard, some 30,000 joins: what others announce while it is busy for a second or so. Beyond
/// it, those who listen there are told that they have lost some.
pub(crate) const INBOX_BYTES_MAX: usize = 8 << 20;

/// The same where there is little memory: a message as large as clients may send one, and some more.
const INBOX_BYTES_MIN: usize = 256 << 10;

/// What an event takes beside the texts in it.
const EVENT_BYTES: usize = 128;

/// Something that happened in a room and takes no offset.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) room: RoomName,
    pub(crate) what: What,
    /// The room's position when it happened.
    pub(crate) after: Position,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Join(ClientInfo),
    Leave(ClientInfo),
    /// A message without an offset, and when it was published.
    Message(Publication, u64),
}

impl Event {
    /// What it takes of a budget.
    pub(crate) fn bytes(&self) -> usize {
        let what = match &self.what {
            What::Join(info) | What::Leave(info) => info.bytes_held(),
            What::Message(publication, _) => publication.bytes_held(),
        };
        EVENT_BYTES + self.room.as_str().len() + what
    }

    /// The push that tells of it.
    pub(crate) fn push(&self) -> Push {
        let room = self.room.clone();
        match self.what.clone() {
            What::Join(info) => Push::Join { room, info },
            What::Leave(info) => Push::Leave { room, info },
            What::Message(publication, time_ms) => {
                Push::Publication { room, publication: Placed { offset: 0, time_ms, publication } }
            }
        }
    }
}

/// The inboxes of all shards, and who listens to what.
pub(crate) struct Events {
    /// By room.
    listeners: Striped<HashMap<Box<str>, Listeners>>,
    shards: Box<[Arc<Way>]>,
    /// Bytes that may wait for a shard.
    inbox_bytes_max: usize,
    /// Bytes that its groups may have.
    queues_bytes_max: usize,
}

/// The shards that listen to a room, with how many groups each.
type Listeners = Vec<(usize, usize)>;

/// The way to a shard.
struct Way {
    sender: UnboundedSender<Arc<Event>>,
    /// Until the shard takes it.
    receiver: Mutex<Option<UnboundedReceiver<Arc<Event>>>>,
    bytes: AtomicUsize,
    /// Something did not fit.
    has_lost: AtomicBool,
}

/// Where a shard's events come in.
pub(crate) struct Inbox {
    shard: usize,
    events: Arc<Events>,
    receiver: UnboundedReceiver<Arc<Event>>,
}

impl Events {
    /// The inboxes of so many shards, with as much memory as they may have.
    #[cfg(test)]
    pub(crate) fn new(shards: usize) -> Self {
        Self::within(shards, u64::MAX)
    }

    /// The same that take so many bytes at most, with what members have of it: half of them.
    pub(crate) fn within(shards: usize, bytes_max: u64) -> Self {
        let way = |_| {
            let (sender, receiver) = unbounded_channel();
            let receiver = Mutex::new(Some(receiver));
            Arc::new(Way { sender, receiver, bytes: AtomicUsize::new(0), has_lost: AtomicBool::new(false) })
        };
        Self {
            listeners: Striped::default(),
            shards: (0..shards).map(way).collect(),
            inbox_bytes_max: inbox_bytes_max(shards, bytes_max),
            queues_bytes_max: 2 * inbox_bytes_max(shards, bytes_max),
        }
    }

    /// The inbox of a shard; once.
    pub(crate) fn inbox(self: &Arc<Self>, shard: usize) -> Option<Inbox> {
        let receiver = lock(&self.shards[shard].receiver).take()?;
        Some(Inbox { shard, events: Arc::clone(self), receiver })
    }

    /// Tells all who listen to the room. Nothing where nobody does.
    pub(crate) fn announce(&self, room: &RoomName, what: What, after: Position) {
        let listeners = self.listeners.of(room.as_str());
        let Some(shards) = listeners.get(room.as_str()) else { return };
        let event = Arc::new(Event { room: room.clone(), what, after });
        let bytes = event.bytes();
        for (shard, _) in shards {
            let way = &self.shards[*shard];
            // Relaxed: a figure.
            let is_full = way.bytes.fetch_add(bytes, Relaxed) + bytes > self.inbox_bytes_max;
            // AcqRel: pairs with `Inbox::take_loss`. The first one that does not fit is sent behind the mark all the same:
            // whoever empties the inbox at this moment is woken for it, and then sees the mark.
            if is_full && way.has_lost.swap(true, AcqRel) {
                way.bytes.fetch_sub(bytes, Relaxed);
            } else {
                // Nobody is there any more when the server ends.
                let _ = way.sender.send(Arc::clone(&event));
            }
        }
    }

    /// How many bytes of events wait for shards.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|way| way.bytes.load(Relaxed)).sum()
    }

    fn listen(&self, room: &RoomName, shard: usize) {
        let mut listeners = self.listeners.of(room.as_str());
        let shards = listeners.entry(room.as_str().into()).or_default();
        match shards.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, groups)) => *groups += 1,
            None => shards.push((shard, 1)),
        }
    }

    fn unlisten(&self, room: &RoomName, shard: usize) {
        let mut listeners = self.listeners.of(room.as_str());
        let Some(shards) = listeners.get_mut(room.as_str()) else { return };
        if let Some(at) = shards.iter().position(|(of, _)| *of == shard) {
            shards[at].1 -= 1;
            if shards[at].1 == 0 {
                shards.swap_remove(at);
            }
        }
        if shards.is_empty() {
            listeners.remove(room.as_str());
        }
    }
}

/// Bytes that may wait for one of so many shards, which have so many for what waits for them, twice, and for their members.
pub(crate) fn inbox_bytes_max(shards: usize, bytes_max: u64) -> usize {
    let quarter = usize::try_from(bytes_max / 4).unwrap_or(usize::MAX) / shards.max(1);
    quarter.clamp(INBOX_BYTES_MIN, INBOX_BYTES_MAX)
}

impl Inbox {
    /// Bytes of events that the groups of its shard may have together.
    pub(crate) fn queues_bytes_max(&self) -> usize {
        self.events.queues_bytes_max
    }

    /// From here on events of the room come in, one for each time this was called and not taken back.
    pub(crate) fn listen(&self, room: &RoomName) {
        self.events.listen(room, self.shard);
    }

    /// Takes it back.
    pub(crate) fn unlisten(&self, room: &RoomName) {
        self.events.unlisten(room, self.shard);
    }

    /// The next event that has come in.
    pub(crate) fn try_take(&mut self) -> Option<Arc<Event>> {
        let event = self.receiver.try_recv().ok()?;
        Some(self.count(event))
    }

    /// The same for who is to be woken when there is one.
    pub(crate) fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<Event>>> {
        self.receiver.poll_recv(context).map(|event| event.map(|event| self.count(event)))
    }

    fn count(&self, event: Arc<Event>) -> Arc<Event> {
        // Relaxed: a figure.
        self.events.shards[self.shard].bytes.fetch_sub(event.bytes(), Relaxed);
        event
    }

    /// Whether some did not fit since this was asked last.
    pub(crate) fn take_loss(&self) -> bool {
        // Relaxed: nearly always nothing is lost. AcqRel: pairs with `Events::announce`.
        let has_lost = &self.events.shards[self.shard].has_lost;
        has_lost.load(Relaxed) && has_lost.swap(false, AcqRel)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast::Epoch;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name, 255).unwrap()
    }

    fn join(events: &Events, name: &str, client: &str) {
        let info = ClientInfo::new(String::new(), client.to_owned(), None, None);
        events.announce(&room(name), What::Join(info), Position { epoch: Epoch::from(1), sequence: 0 });
    }

    fn taken(inbox: &mut Inbox) -> usize {
        std::iter::from_fn(|| inbox.try_take()).count()
    }

    #[test]
    fn events_come_to_the_shards_that_listen_and_to_no_others() {
        let events = Arc::new(Events::new(3));
        let mut inboxes: Vec<Inbox> = (0..3).map(|shard| events.inbox(shard).unwrap()).collect();
        assert!(events.inbox(0).is_none(), "an inbox has one owner");
        join(&events, "hall", "a");
        inboxes[1].listen(&room("hall"));
        inboxes[1].listen(&room("hall"));
        inboxes[2].listen(&room("yard"));
        join(&events, "hall", "b");
        assert_eq!(inboxes.iter_mut().map(taken).collect::<Vec<_>>(), [0, 1, 0]);
        inboxes[1].unlisten(&room("hall"));
        join(&events, "hall", "c");
        inboxes[1].unlisten(&room("hall"));
        join(&events, "hall", "d");
        assert_eq!(inboxes.iter_mut().map(taken).collect::<Vec<_>>(), [0, 1, 0]);
        assert!(!events.listeners.of("hall").contains_key("hall"), "what nobody listens to takes no memory");
        assert_eq!(events.shards[1].bytes.load(Relaxed), 0);
    }

    #[test]
    fn what_waits_for_a_shard_is_bounded_and_what_does_not_fit_is_told() {
        let events = Arc::new(Events::new(1));
        let mut inbox = events.inbox(0).unwrap();
        inbox.listen(&room("hall"));
        let count = INBOX_BYTES_MAX / EVENT_BYTES;
        (0..count).for_each(|_| join(&events, "hall", "somebody"));
        // The first one that does not fit is there, to wake whoever is to see that others are not.
        assert!(events.shards[0].bytes.load(Relaxed) <= INBOX_BYTES_MAX + 2 * EVENT_BYTES);
        let taken = taken(&mut inbox);
        assert!(taken < count && taken > count / 4, "{taken} of {count}");
        assert!(inbox.take_loss(), "it is told");
        assert!(!inbox.take_loss(), "once");
        join(&events, "hall", "again");
        assert!(inbox.try_take().is_some() && !inbox.take_loss(), "and it goes on");
    }

    #[test]
    fn who_is_to_see_that_something_was_lost_is_woken_for_it() {
        let events = Arc::new(Events::new(1));
        let mut inbox = events.inbox(0).unwrap();
        inbox.listen(&room("hall"));
        // As when the inbox is emptied between the count and the mark.
        events.shards[0].bytes.store(INBOX_BYTES_MAX, Relaxed);
        (0..3).for_each(|_| join(&events, "hall", "somebody"));
        assert_eq!(taken(&mut inbox), 1, "there is something to be woken for");
        assert!(inbox.take_loss());
        assert_eq!(events.shards[0].bytes.load(Relaxed), INBOX_BYTES_MAX, "and nothing is counted that is not there");
    }
}
