//! The joins and leaves of one room that a group has to give, and messages that are kept nowhere, each at its place among the
//! publications.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::rooms::join_leave::{Event, INBOX_BYTES_MAX, What};
use crate::rooms::visible::Erased;
use roomcast::Epoch;

/// Bytes of events that a group keeps for members that are behind, some 4,000 joins: as much as happens while a phone is without a
/// network for a while. Who is farther behind is better told to ask who is there.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// Bytes of events that the group itself has not come to, as many as may come in at once: when everybody enters a room in the same
/// moment, nobody is behind, and nobody is to be put out.
const NEW_BYTES_MAX: usize = INBOX_BYTES_MAX;

/// The same of all groups of a shard together, so that many rooms with a member each that does not read do not fill the memory.
#[cfg(test)]
pub(super) const QUEUES_BYTES_MAX: usize = 2 * INBOX_BYTES_MAX;

/// How far somebody has come in a room: the next publication, by its sequence, and the next event, by its number in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) publication: u64,
    pub(super) event: u64,
}

impl At {
    /// Whether nothing of what comes before `other` is missing.
    pub(super) fn has_reached(self, other: Self) -> bool {
        self.publication >= other.publication && self.event >= other.event
    }

    /// The farther of both, of publications and of events.
    pub(super) fn max(self, other: Self) -> Self {
        Self { publication: self.publication.max(other.publication), event: self.event.max(other.event) }
    }
}

/// The bytes of all queues of a shard; an event that is in many of them is counted once.
pub(super) type Total = Rc<Bytes>;

/// Bytes, and how many there may be.
#[derive(Debug)]
pub(super) struct Bytes {
    count: Cell<usize>,
    pub(super) most: usize,
}

impl Bytes {
    pub(super) fn new(most: usize) -> Self {
        Self { count: Cell::new(0), most }
    }

    pub(super) fn get(&self) -> usize {
        self.count.get()
    }

    pub(super) fn set(&self, count: usize) {
        self.count.set(count);
    }
}

#[cfg(test)]
impl Default for Bytes {
    fn default() -> Self {
        Self::new(QUEUES_BYTES_MAX)
    }
}

/// What an entry takes of a queue, beside the event: queues grow by doubling.
pub(super) const ENTRY_BYTES: usize = 2 * size_of::<Entry>();

/// An event in the queues of a shard.
#[derive(Debug)]
pub(super) struct Counted {
    event: Arc<Event>,
    bytes: usize,
    total: Total,
}

impl Counted {
    pub(super) fn new(event: Arc<Event>, total: &Total) -> Rc<Self> {
        let (bytes, total) = (event.bytes(), Total::clone(total));
        total.set(total.get() + bytes);
        Rc::new(Self { event, bytes, total })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

/// Events in the order in which they came in, numbered; those that all members have been given are gone.
#[derive(Debug)]
pub(super) struct EventQueue {
    /// The incarnation of the room that the positions are of.
    epoch: Epoch,
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    bytes: usize,
    total: Total,
}

#[derive(Debug)]
struct Entry {
    /// It comes behind all publications before this one, and before this one. Never falls.
    after: u64,
    /// Nothing where events were lost: whoever comes there has not been given them.
    event: Option<Rc<Counted>>,
}

impl Entry {
    fn event(&self) -> Option<&Event> {
        self.event.as_deref().map(|counted| &*counted.event)
    }
}

/// What comes next for somebody.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due<'a> {
    Event(&'a Event),
    /// What came here was lost.
    Lost,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    /// Older ones that only members behind the group still need are gone.
    InsteadOfOlder,
    /// It is lost. Whoever comes to where it would be is to be told so.
    No,
}

impl EventQueue {
    pub(super) fn new(epoch: Epoch, total: Total) -> Self {
        Self { epoch, entries: VecDeque::new(), first: 0, bytes: 0, total }
    }

    /// The number of the oldest event that is still there.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next event gets.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Takes an event in, of a group that goes on with event `next`.
    pub(super) fn push(&mut self, counted: Rc<Counted>, next: u64) -> Kept {
        let kept = self.make_space(counted.bytes, next);
        // If it is full still, the group has all of this before it.
        if self.is_full(counted.bytes, NEW_BYTES_MAX) {
            self.lose();
            return Kept::No;
        }
        self.push_event(counted);
        kept
    }

    /// The same for an event for which all queues together have kept space. How many of those can be too much for this one is bounded
    /// by how many may be under way.
    pub(super) fn push_reserved(&mut self, counted: Rc<Counted>, next: u64) -> Kept {
        let kept = self.make_space(counted.bytes, next);
        self.push_event(counted);
        kept
    }

    /// Where it is full, forgets what only members behind the group need.
    fn make_space(&mut self, bytes: usize, next: u64) -> Kept {
        let before = self.first;
        while self.is_full(bytes, QUEUE_BYTES_MAX) && self.first < next {
            self.pop();
        }
        if self.first > before { Kept::InsteadOfOlder } else { Kept::Yes }
    }

    fn push_event(&mut self, counted: Rc<Counted>) {
        let event = &counted.event;
        // What happened in another incarnation of the room happened before this one, or speaks of members that are in neither.
        let after = if event.after.epoch == self.epoch { event.after.sequence } else { 0 };
        // Two that happen at once may come in otherwise than their positions say; of one member they do not.
        let after = self.newest_after().max(after);
        self.bytes += counted.bytes;
        self.push_entry(Entry { after, event: Some(counted) });
    }

    /// Notes that events were lost which would have come behind all that are there: these are given, and whoever comes behind them
    /// learns of it.
    pub(super) fn lose(&mut self) {
        if self.entries.back().is_none_or(|last| last.event.is_some()) {
            let after = self.newest_after();
            self.push_entry(Entry { after, event: None });
        }
    }

    fn push_entry(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        self.total.set(self.total.get() + ENTRY_BYTES);
    }

    /// Empties the messages of a user; they keep their places.
    pub(super) fn erase(&mut self, user: &str) {
        for counted in self.entries.iter_mut().filter_map(|entry| entry.event.as_mut()) {
            let event = &counted.event;
            if let What::Message(publication, time_ms) = &event.what
                && publication.info.as_ref().is_some_and(|info| info.user() == user)
            {
                let what = What::Message(Erased::empty(), *time_ms);
                let empty = Event { room: event.room.clone(), what, after: event.after };
                let before = counted.bytes;
                *counted = Counted::new(Arc::new(empty), &self.total);
                self.bytes -= before - counted.bytes;
            }
        }
    }

    fn newest_after(&self) -> u64 {
        self.entries.back().map_or(0, |last| last.after)
    }

    /// Whether an event of so many bytes is kept, of a group that goes on with event `next`, if all queues together have space for it.
    pub(super) fn has_space(&self, bytes: usize, next: u64) -> bool {
        self.bytes + bytes <= NEW_BYTES_MAX || self.bytes - self.bytes_before(next) + bytes <= NEW_BYTES_MAX
    }

    /// Bytes of the events before `number`.
    pub(super) fn bytes_before(&self, number: u64) -> usize {
        let count = number.saturating_sub(self.first) as usize;
        self.entries.iter().take(count).filter_map(|entry| entry.event.as_ref()).map(|counted| counted.bytes).sum()
    }

    /// The event that comes next for somebody who is there, before the publication that comes next; at `last`, from which on nothing
    /// more is ever published, whatever is left.
    pub(super) fn due(&self, at: At, last: u64) -> Option<Due<'_>> {
        let entry = self.entries.get(at.event.checked_sub(self.first)? as usize)?;
        let is_due = entry.after <= at.publication || last <= at.publication;
        is_due.then(|| entry.event().map_or(Due::Lost, Due::Event))
    }

    /// Forgets the events before `number`: everybody has been given them.
    pub(super) fn forget_before(&mut self, number: u64) {
        while self.first < number && !self.entries.is_empty() {
            self.pop();
        }
        if self.entries.is_empty() {
            // A room in which nobody comes or goes takes no memory for it.
            self.entries = VecDeque::new();
        }
    }

    fn is_full(&self, more: usize, most: usize) -> bool {
        self.bytes + more > most || self.total.get() + ENTRY_BYTES > self.total.most
    }

    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.event.as_ref().map_or(0, |counted| counted.bytes);
            self.total.set(self.total.get() - ENTRY_BYTES);
            self.first += 1;
        }
    }

    fn clear(&mut self) {
        self.total.set(self.total.get() - self.entries.len() * ENTRY_BYTES);
        self.bytes = 0;
        self.entries = VecDeque::new();
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use roomcast::Position;
    use roomcast_protocol::{ClientInfo, Payload, Publication, RoomName};

    const MEMBERS: usize = 4;

    fn event(epoch: Epoch, sequence: u64, what: What) -> Arc<Event> {
        let room = RoomName::parse("hall", 255).unwrap();
        Arc::new(Event { room, what, after: Position { epoch, sequence } })
    }

    fn push(queue: &mut EventQueue, event: Arc<Event>, next: u64) -> Kept {
        let counted = Counted::new(event, &queue.total);
        queue.push(counted, next)
    }

    fn info(client: usize) -> ClientInfo {
        ClientInfo::new(String::new(), client.to_string(), None, None)
    }

    /// What a watcher is given.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Item {
        Join(usize),
        Leave(usize),
        /// By whom, and the sequence.
        Publication(usize, u64),
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A member enters or leaves. Before the announcement is there, others publish as often.
        Move(usize, u8),
        Publish(usize, u8),
        /// The group takes so many things.
        Group(u8),
        /// Somebody behind it takes so many.
        Behind(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let member = || 0..MEMBERS;
        let step = prop_oneof![
            3 => (member(), 0..3_u8).prop_map(|(member, others)| Step::Move(member, others)),
            3 => (member(), 1..4_u8).prop_map(|(member, count)| Step::Publish(member, count)),
            3 => (0..12_u8).prop_map(Step::Group),
            2 => (0..12_u8).prop_map(Step::Behind),
        ];
        prop::collection::vec(step, 1..80)
    }

    /// A room, what is published in it, and what two watchers of it were given.
    struct World {
        epoch: Epoch,
        queue: EventQueue,
        /// By whom each publication is.
        published: Vec<usize>,
        present: [bool; MEMBERS],
        announced: Vec<Item>,
        group: (At, Vec<Item>),
        behind: (At, Vec<Item>),
    }

    impl World {
        fn step(&mut self, step: &Step) {
            match *step {
                Step::Move(member, others) => {
                    let position = self.published.len() as u64;
                    let other = (member + 1) % MEMBERS;
                    let others = if self.present[other] { others } else { 0 };
                    self.published.extend(std::iter::repeat_n(other, others.into()));
                    let is_in = self.present[member];
                    self.present[member] = !is_in;
                    let (what, item) = match is_in {
                        true => (What::Leave(info(member)), Item::Leave(member)),
                        false => (What::Join(info(member)), Item::Join(member)),
                    };
                    let kept = push(&mut self.queue, event(self.epoch, position, what), self.group.0.event);
                    assert_eq!(kept, Kept::Yes);
                    self.announced.push(item);
                }
                Step::Publish(member, count) => {
                    let count = if self.present[member] { count } else { 0 };
                    self.published.extend(std::iter::repeat_n(member, count.into()));
                }
                Step::Group(count) => {
                    let end = At { publication: self.published.len() as u64, event: self.queue.end() };
                    take(&self.queue, &self.published, &mut self.group, end, count.into());
                }
                Step::Behind(count) => {
                    take(&self.queue, &self.published, &mut self.behind, self.group.0, count.into());
                    self.queue.forget_before(self.behind.0.event);
                }
            }
        }
    }

    fn take(queue: &EventQueue, published: &[usize], (at, given): &mut (At, Vec<Item>), end: At, count: usize) {
        for _ in 0..count {
            if at.event < end.event
                && let Some(due) = queue.due(*at, u64::MAX)
            {
                let Due::Event(event) = due else { panic!("nothing was lost") };
                let client = |info: &ClientInfo| info.client().parse().unwrap();
                given.push(match &event.what {
                    What::Join(info) => Item::Join(client(info)),
                    What::Leave(info) => Item::Leave(client(info)),
                    What::Message(..) => panic!("nobody said it"),
                });
                at.event += 1;
            } else if at.publication < end.publication {
                given.push(Item::Publication(published[at.publication as usize], at.publication));
                at.publication += 1;
            } else {
                return;
            }
        }
    }

    proptest! {
        /// Whoever watches, from the group or from behind it, is given every join, publication and leave, each member's in the
        /// order in which they happened.
        #[test]
        fn joins_publications_and_leaves_come_in_order_and_none_is_lost(steps in steps()) {
            let (epoch, queue) = (Epoch::from(7), EventQueue::new(Epoch::from(7), Total::default()));
            let (group, behind) = Default::default();
            let mut world = World {
                epoch, queue, published: Vec::new(), present: [false; MEMBERS], announced: Vec::new(), group, behind,
            };
            steps.iter().for_each(|step| world.step(step));
            world.step(&Step::Group(u8::MAX));
            world.step(&Step::Group(u8::MAX));
            world.step(&Step::Behind(u8::MAX));
            world.step(&Step::Behind(u8::MAX));
            let World { published, announced, group, behind, .. } = world;
            for given in [&group.1, &behind.1] {
                let events: Vec<_> = given.iter().filter(|it| !matches!(it, Item::Publication(..))).cloned().collect();
                prop_assert_eq!(&events, &announced);
                let sequences: Vec<_> = given
                    .iter()
                    .filter_map(|it| if let Item::Publication(_, sequence) = it { Some(*sequence) } else { None })
                    .collect();
                prop_assert_eq!(sequences, (0..published.len() as u64).collect::<Vec<_>>());
                let mut present = [false; MEMBERS];
                for item in given {
                    match item {
                        Item::Join(member) => prop_assert!(!std::mem::replace(&mut present[*member], true)),
                        Item::Leave(member) => prop_assert!(std::mem::replace(&mut present[*member], false)),
                        Item::Publication(member, _) => prop_assert!(present[*member], "{:?} in {:?}", item, given),
                    }
                }
            }
            prop_assert_eq!(&group.1, &behind.1, "one order for both");
        }
    }

    fn join_of(epoch: Epoch) -> Arc<Event> {
        event(epoch, 0, What::Join(info(1)))
    }

    #[test]
    fn what_is_kept_is_bounded_and_whoever_loses_something_can_tell() {
        let (epoch, total) = (Epoch::from(7), Total::default());
        let mut queue = EventQueue::new(epoch, Total::clone(&total));
        let most = QUEUE_BYTES_MAX / join_of(epoch).bytes();
        for number in 0..most as u64 {
            assert_eq!(push(&mut queue, join_of(epoch), number), Kept::Yes);
        }
        let without_entries = |queue: &EventQueue| total.get() - queue.entries.len() * ENTRY_BYTES;
        assert!((QUEUE_BYTES_MAX / 2..=QUEUE_BYTES_MAX).contains(&without_entries(&queue)));
        assert_eq!(push(&mut queue, join_of(epoch), most as u64), Kept::InsteadOfOlder, "the group goes on");
        assert_eq!(queue.first(), 1, "who is behind at 0 is not");
        // A group that has taken nothing is given time, and then is to be told itself.
        let most = NEW_BYTES_MAX / join_of(epoch).bytes();
        for _ in queue.entries.len()..most {
            assert_eq!(push(&mut queue, join_of(epoch), 1), Kept::Yes);
        }
        assert!((NEW_BYTES_MAX / 2..=NEW_BYTES_MAX).contains(&without_entries(&queue)));
        let end = queue.end();
        for _ in 0..3 {
            assert_eq!(push(&mut queue, join_of(epoch), 1), Kept::No);
        }
        let due = |queue: &EventQueue, event| {
            queue.due(At { publication: 0, event }, u64::MAX).map(|due| matches!(due, Due::Lost))
        };
        assert_eq!([end - 1, end, end + 1].map(|event| due(&queue, event)), [Some(false), Some(true), None]);
        assert_eq!(
            queue.first(),
            1,
            "what was there is given, and behind it those learn of the loss who have come there"
        );
        queue.forget_before(end + 1);
        assert_eq!(
            (push(&mut queue, join_of(epoch), end + 1), total.get()),
            (Kept::Yes, join_of(epoch).bytes() + ENTRY_BYTES)
        );
        drop(queue);
        assert_eq!(total.get(), 0);
    }

    #[test]
    fn all_queues_of_a_shard_are_bounded_together() {
        let (epoch, total) = (Epoch::from(7), Total::default());
        total.set(QUEUES_BYTES_MAX);
        let mut queue = EventQueue::new(epoch, total);
        assert_eq!(push(&mut queue, join_of(epoch), 0), Kept::No);
    }

    #[test]
    fn what_a_user_has_said_is_emptied_and_keeps_its_place() {
        let (epoch, total) = (Epoch::from(7), Total::default());
        let mut queue = EventQueue::new(epoch, Total::clone(&total));
        for user in ["ann", "eve", "ann"] {
            let info = ClientInfo::new(user.to_owned(), "c".to_owned(), None, None);
            let publication = Publication::new(Payload::json("\"what was said\"".into()), Some(info));
            push(&mut queue, event(epoch, 0, What::Message(publication, 5)), 0);
        }
        push(&mut queue, event(epoch, 0, What::Join(info(1))), 0);
        queue.erase("eve");
        let data = |nth| match queue.due(At { publication: 0, event: nth }, u64::MAX) {
            Some(Due::Event(Event { what: What::Message(publication, 5), .. })) => publication.data.as_bytes().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [0, 1, 2].map(data),
            ["\"what was said\"", "null", "\"what was said\""].map(|it| it.as_bytes().to_vec())
        );
        drop(queue);
        assert_eq!(total.get(), 0);
    }

    #[test]
    fn an_event_of_another_life_waits_for_nothing() {
        let mut queue = EventQueue::new(Epoch::from(7), Total::default());
        push(&mut queue, event(Epoch::from(8), 1_000, What::Leave(info(1))), 0);
        assert!(queue.due(At::default(), u64::MAX).is_some());
    }

    #[test]
    fn where_nothing_more_is_published_events_do_not_wait() {
        let epoch = Epoch::from(7);
        let mut queue = EventQueue::new(epoch, Total::default());
        push(&mut queue, event(epoch, 5, What::Join(info(1))), 0);
        let at = At { publication: 4, event: 0 };
        let (goes_on, ends_later) = (queue.due(at, u64::MAX), queue.due(at, at.publication + 1));
        assert!(goes_on.is_none() && ends_later.is_none() && queue.due(at, at.publication).is_some());
        assert!(queue.due(At { publication: 5, event: 0 }, u64::MAX).is_some());
    }
}
