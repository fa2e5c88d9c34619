//! What a shard delivers: one cursor per room it has members in, and the members.
//!
//! What a room has gathered since its last visit is one batch. It is encoded once for each framing that clients speak, and the same
//! bytes are written to every socket of that framing: members of one room and one framing are a group. A member is a cursor: while
//! its socket takes everything it goes along with the group and costs nothing but the write; when the socket is full it stops,
//! alone, at its sequence, and later goes on from the room's ring, or from the database, until it has caught up with the group.
//!
//! Members that hear who comes and goes form groups of their own, whose batches have joins and leaves at their places among the
//! publications (`queue`); the others pay nothing for it. So do members that are given something else than the others (`view`).

mod behind;
mod bounds;
mod events;
mod group;
mod held;
mod member;
mod own;
mod queue;
mod recall;
mod view;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use slab::Slab;

use self::bounds::writes_per_visit;
use self::events::Hearing;
use self::group::{Cursor, Group, Read};
use self::held::{Held, HeldList};
use self::member::{Member, Place};
use self::queue::At;
use self::recall::{Outdated, is_over};
use self::view::{GroupView, Kind, Kinds};
use crate::config::Echo;
use crate::delivery::lag::Lag;
use crate::delivery::sink::MemberSink;
use crate::ops::metrics::ShardMetrics;
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::join_leave::{Event, Inbox};
use crate::rooms::visible::{Beyond, Edge};
use crate::session::View;
use crate::wire::encoded_batch::EncodedBatch;
use crate::wire::framing::Framing;
use roomcast::{Position, Room, RoomKey, RoomSet, Subscription};
use roomcast_protocol::{ClientInfo, Placed, Publication, RoomName};

/// Messages of one room delivered before the next ready room has its turn.
const ROOM_MESSAGES_PER_VISIT: usize = 256;

/// The rooms that a shard has members in.
pub(crate) struct RoomFeed<S> {
    set: RoomSet<Publication>,
    groups: Slab<Group<S>>,
    by_name: HashMap<GroupKey, usize>,
    /// Groups of incarnations that have ended, whose places are other groups': until their members have left.
    outdated: Outdated,
    /// The framings that groups have had, each once: few of all there are.
    framings: Vec<Framing>,
    /// Groups whose members are given something else than the others.
    apart: HashMap<RoomName, Kinds>,
    by_key: HashMap<RoomKey, usize>,
    /// Groups whose last batch has not been written to all members, the one that waits longest first.
    unfinished: VecDeque<usize>,
    /// Groups that have reached the edge of what may be seen of their rooms, and members that have while behind their groups.
    held: HeldList,
    /// Joins and leaves, and the groups that hear of them.
    hearing: Hearing,
    /// Groups that let messages gather, by when they are due.
    gathering: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Members a batch is written to before other rooms have their turn.
    writes_per_visit: usize,
    metrics: ShardMetrics,
}

/// Members of one room and one framing, all of which hear who comes and goes, or none.
type GroupKey = (RoomName, Framing, bool);

/// What a member is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemberOptions {
    /// It hears who comes and goes.
    pub(crate) hears: bool,
    /// How it is given what is published.
    pub(crate) view: View,
    /// Who it is, where that matters to its view.
    pub(crate) own: Option<ClientInfo>,
}

/// A member's place in a feed; valid until it is given to [`RoomFeed::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemberKey {
    group: usize,
    member: usize,
}

/// How far a member came that was behind.
#[derive(Debug)]
pub(crate) enum CaughtUp {
    /// It goes along with the group again.
    Rejoined,
    /// Its socket is full again.
    Full,
    /// There is more to take and others have their turn first.
    Unfinished,
    /// What it has missed is being read from the database.
    Waits,
    /// It has everything that may be seen, and is woken when there is more.
    Held,
    /// The ring has moved past it; from that sequence on it is to be given what the database has, with [`RoomFeed::deliver_stored`].
    InTheDatabase(Room<Publication>, u64),
    /// The ring has moved past it; that many messages are gone, and so is the client to be.
    Missed(u64),
    /// The same, and the client is to leave the room.
    Skipped(u64),
    /// Joins or leaves, or messages without history, that it was not given are gone: the client is to leave the room, and may come again
    /// and ask who is there.
    EventsLost,
    /// The room has ended.
    Ended,
}

impl<S: MemberSink> RoomFeed<S> {
    pub(crate) fn new(metrics: ShardMetrics, inbox: Inbox) -> Self {
        Self {
            set: RoomSet::new(),
            groups: Slab::new(),
            by_name: HashMap::new(),
            outdated: Outdated::default(),
            framings: Vec::new(),
            apart: HashMap::new(),
            by_key: HashMap::new(),
            unfinished: VecDeque::new(),
            held: HeldList::new(),
            hearing: Hearing::new(inbox),
            gathering: BinaryHeap::new(),
            writes_per_visit: writes_per_visit(),
            metrics,
        }
    }

    /// Makes `sink` a member of `name`; its first message is the next one of `start`. If it hears who comes and goes, it
    /// does so from now on. Who comes first says in which `options` the room is delivered, and up to which `edge`.
    ///
    /// What was published before that position is the caller's to have sent, so that there is neither gap nor overlap.
    pub(crate) fn join(
        &mut self,
        name: &RoomName,
        start: Subscription<Publication>,
        sink: &Rc<S>,
        (options, edge): (DeliveryOptions, Edge),
        MemberOptions { hears, view, own }: MemberOptions,
    ) -> MemberKey {
        let (at, room, framing) = (start.position(), start.room(), sink.framing());
        let kind = Kind::of(framing, hears, &view);
        let found = match &kind {
            None => self.by_name.get(&(name.clone(), framing, hears)),
            Some(kind) => self.apart.get(name).and_then(|kinds| kinds.get(kind)),
        };
        let group = match found {
            // Of an incarnation that has ended, the next one may have the epoch.
            Some(&group) if self.groups[group].room == room => group,
            _ => self.open(name, (framing, hears, kind), start, (options, edge)),
        };
        if hears {
            // What has come in was announced before.
            self.hearing.collect(&mut self.groups);
        }
        let its_group = &mut self.groups[group];
        // It is led out of a room that is over.
        let is_over = matches!(its_group.cursor, Cursor::Ended);
        let place = At { publication: at.sequence, event: its_group.events_end() };
        let has_newest = view.has_newest;
        if has_newest && its_group.members.is_empty() {
            its_group.begin_chain_behind(at.sequence);
        }
        let mut member = Member { sink: Rc::clone(sink), place: Place::With(place), is_fetching: false, has_newest };
        if at.sequence < its_group.next || is_over {
            member.fall_behind(place, &mut its_group.behind, &self.metrics);
        }
        let member = its_group.members.insert(member);
        if let Some(own) = own
            && view.echo != Echo::All
        {
            let plain = || Box::new(GroupView::new(None, framing.encoding()));
            its_group.view.get_or_insert_with(plain).own.add(member, view.echo, own);
        }
        MemberKey { group, member }
    }

    /// Where the room of a member stands: behind everything that has been published so far.
    pub(crate) fn position(&self, member_key: MemberKey) -> Option<Position> {
        self.groups.get(member_key.group).map(|group| position(&group.room))
    }

    /// Gives its place back: nothing of the room goes to it any more. Where the room stands.
    pub(crate) fn leave(&mut self, member_key: MemberKey) -> Option<Position> {
        self.forget_held_member(member_key);
        let MemberKey { group, member } = member_key;
        let at = self.groups.get_mut(group)?;
        let mut gone = at.members.try_remove(member)?;
        let position = position(&at.room);
        if at.waiting.remove(&member).is_some() && gone.sink.is_full() {
            // What is erased of the room later is to be held back from it all the same.
            gone.sink.has_left(&at.name);
        }
        if let Place::Behind(place) = gone.place {
            gone.catch_up(place, &mut at.behind, &self.metrics);
        }
        if let Some(view) = &mut at.view {
            view.own.remove(member);
            if view.is_plain() {
                at.view = None;
            }
        }
        if at.members.is_empty() {
            self.close(group);
        }
        Some(position)
    }

    /// Takes in the joins and leaves that have come in, and has whoever polls woken when there are more. Once a turn.
    pub(crate) fn poll_events(&mut self, cx: &mut Context<'_>) {
        self.hearing.poll(&mut self.groups, cx);
    }

    /// The next group with something to deliver: first those whose messages have gathered, all of them if `now` is `None`.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, now: Option<Instant>) -> Poll<usize> {
        if self.gathering.peek().is_some_and(|Reverse((due, _))| now.is_none_or(|now| *due <= now)) {
            let due = self.gathering.pop().map(|Reverse((_, at))| at);
            return due.map_or(Poll::Pending, Poll::Ready);
        }
        self.release_held(cx);
        if let Some(at) = self.hearing.next(&mut self.groups) {
            return Poll::Ready(at);
        }
        loop {
            let key = ready!(self.set.poll_ready_unconstrained(cx));
            let Some(&at) = self.by_key.get(&key) else {
                self.set.leave(key);
                continue;
            };
            match (self.groups.get(at).map_or(Duration::ZERO, |group| group.options.delay), now) {
                (Duration::ZERO, _) | (_, None) => return Poll::Ready(at),
                (delay, Some(now)) => {
                    self.detach(at);
                    self.gathering.push(Reverse((now + delay, at)));
                }
            }
        }
    }

    /// Looks at the groups and members of whose rooms more may be seen by now; for the others, this is woken.
    fn release_held(&mut self, cx: &mut Context<'_>) {
        self.held.poll(cx);
        while let Some(held) = self.held.next() {
            match held {
                Held::Group(at) => self.look_beyond(at),
                Held::Member(member_key) => self.look_beyond_member(member_key),
            }
        }
    }

    /// Lets a group rest until more may be seen of its room.
    fn hold(&mut self, at: usize) {
        if let Some(group) = self.groups.get_mut(at)
            && !std::mem::replace(&mut group.is_held, true)
        {
            self.look_beyond(at);
        }
    }

    /// Lets a group that rests go on if more may be seen of its room; else its waker has it looked at again.
    fn look_beyond(&mut self, at: usize) {
        let Some(group) = self.groups.get_mut(at).filter(|group| group.is_held) else { return };
        let waker = group.waker.get_or_insert_with(|| self.held.waker(Held::Group(at)));
        let Poll::Ready(beyond) = group.edge.poll_beyond(group.next, &mut Context::from_waker(waker)) else { return };
        group.is_held = false;
        match beyond {
            Beyond::More => self.list(at),
            // It stays aside: its members have everything that will ever be acknowledged. Events come without it.
            Beyond::Nothing => self.hearing.note(at, group),
        }
    }

    /// The same of a member that is behind.
    fn look_beyond_member(&mut self, member_key: MemberKey) {
        let Some(group) = self.groups.get(member_key.group) else { return };
        let Some((member, at)) = group.behind(member_key.member) else { return };
        let waker = self.held.member_waker(member_key);
        if let Poll::Ready(Beyond::More) = group.edge.poll_beyond(at.publication, &mut Context::from_waker(waker)) {
            member.sink.wake();
        }
    }

    /// A member that may rest goes, or goes along with its group again.
    fn forget_held_member(&mut self, member_key: MemberKey) {
        if let Some(waker) = self.held.take_member_waker(member_key)
            && let Some(group) = self.groups.get(member_key.group)
        {
            group.edge.forget(&waker);
        }
    }

    /// The group whose batch waits longest for the rest of its members.
    pub(crate) fn next_unfinished(&mut self) -> Option<usize> {
        self.unfinished.pop_front()
    }

    pub(crate) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// When the next messages will have gathered.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.gathering.peek().map(|Reverse((due, _))| *due)
    }

    /// Delivers what a room has gathered, within a budget; a room with more comes up again after the others. What it
    /// writes is taken from `writes`.
    pub(crate) fn deliver(&mut self, at: usize, batch: &mut EncodedBatch, writes: &mut usize) {
        let Some(group) = self.groups.get_mut(at) else {
            return;
        };
        batch.begin(group.framing);
        let before = (*writes).min(self.writes_per_visit);
        let mut left = before;
        let (mut is_held, mut is_given_away) = (false, false);
        let is_through = group.go_on(&mut left, &self.metrics) && {
            let read = self.read(at, batch, &mut left);
            if read == Read::Ended {
                self.end(at);
            }
            is_held = read == Read::Held;
            is_given_away = read == Read::GivenAway;
            read != Read::Unfinished
        };
        *writes -= before - left;
        if !is_through {
            self.detach(at);
            self.unfinished.push_back(at);
            return;
        }
        if is_given_away {
            // Neither its messages nor its end are looked for any more.
            self.detach(at);
            return;
        }
        match is_held {
            true => {
                self.detach(at);
                self.hold(at);
            }
            false => self.list(at),
        }
        self.hearing.settle(at, &mut self.groups);
    }

    fn read(&mut self, at: usize, batch: &mut EncodedBatch, left: &mut usize) -> Read {
        let group = &mut self.groups[at];
        let mut end = u64::MAX;
        if group.hears.is_some() {
            // First how far to go, then which events have come in: whoever has published up to there was announced before.
            // A room that has ended is read to its end.
            end = if group.room.is_running() { group.room.tail() } else { u64::MAX };
            self.hearing.collect(&mut self.groups);
        }
        let group = &mut self.groups[at];
        if let Cursor::Listed(key) = group.cursor {
            let subscription = self.set.get_mut(key);
            subscription.map_or(Read::Ended, |cursor| group.read_to(end, cursor, batch, left, &self.metrics))
        } else if let Cursor::Detached(mut cursor) = std::mem::replace(&mut group.cursor, Cursor::Ended) {
            let read = group.read_to(end, &mut cursor, batch, left, &self.metrics);
            group.cursor = Cursor::Detached(cursor);
            read
        } else {
            Read::Through
        }
    }

    /// Delivers everything that is left of a room's batch, whatever it takes.
    pub(crate) fn finish(&mut self, at: usize) {
        if let Some(group) = self.groups.get_mut(at) {
            let mut writes = usize::MAX;
            group.go_on(&mut writes, &self.metrics);
            self.list(at);
            self.hearing.settle(at, &mut self.groups);
        }
    }

    /// Takes a group's subscription out of the set, which would go on saying that there is something.
    fn detach(&mut self, at: usize) {
        let group = &mut self.groups[at];
        if let Cursor::Listed(key) = group.cursor {
            self.by_key.remove(&key);
            group.cursor = self.set.leave(key).map_or(Cursor::Ended, |cursor| Cursor::Detached(Box::new(cursor)));
        }
    }

    /// Puts it back.
    fn list(&mut self, at: usize) {
        let Some(group) = self.groups.get_mut(at) else { return };
        if let Cursor::Detached(_) = group.cursor
            && let Cursor::Detached(cursor) = std::mem::replace(&mut group.cursor, Cursor::Ended)
        {
            let key = self.set.join(*cursor);
            group.cursor = Cursor::Listed(key);
            self.by_key.insert(key, at);
        }
    }

    fn end(&mut self, at: usize) {
        self.detach(at);
        self.groups[at].end(&self.metrics);
    }

    /// Lets a member that is behind go on from the ring, as far as its socket and the budget allow; from the database, if it `may_fetch`
    /// from there.
    pub(crate) fn catch_up(&mut self, at: MemberKey, may_fetch: bool, batch: &mut EncodedBatch) -> CaughtUp {
        let Some(group) = self.groups.get_mut(at.group) else {
            return CaughtUp::Ended;
        };
        let caught_up = group.catch_up(at.member, may_fetch, batch, &self.metrics);
        match caught_up {
            CaughtUp::Held => self.look_beyond_member(at),
            CaughtUp::Rejoined => {
                self.forget_held_member(at);
                self.hearing.settle(at.group, &mut self.groups);
            }
            _ => {}
        }
        caught_up
    }

    /// Gives a member that is behind at `from` what the database has; nothing when it could not be read. What its
    /// socket does not take is read again.
    pub(crate) fn deliver_stored(&mut self, at: MemberKey, from: u64, past: &[Placed], batch: &mut EncodedBatch) {
        if let Some(group) = self.groups.get_mut(at.group) {
            group.deliver_stored(at.member, from, past, batch, &self.metrics);
        }
    }

    /// The members that are behind, in all rooms.
    pub(crate) fn lags(&self) -> Vec<Lag> {
        let mut lags = Vec::new();
        self.groups.iter().for_each(|(_, group)| group.lags(&mut lags));
        lags
    }

    /// Keeps space for what all members of its room are to be given, until it is taken in or released; false where there is none.
    pub(crate) fn reserve(&mut self, event: &Arc<Event>) -> bool {
        let taking = self.groups_of(&event.room);
        self.hearing.reserve(&taking, event, &mut self.groups)
    }

    /// What space was kept for does not come.
    pub(crate) fn release(&mut self, event: &Arc<Event>) {
        self.hearing.release(event);
    }

    /// Takes in what all members of its room are given, for which space was kept.
    pub(crate) fn take_in(&mut self, event: &Arc<Event>) {
        // Who came before may have published before: its join keeps its place.
        self.hearing.collect(&mut self.groups);
        let taking = self.groups_of(&event.room);
        self.hearing.take_in_for(&taking, event, &mut self.groups);
    }

    /// Adds how many members those groups have, by room, and says whether there are groups behind them.
    pub(crate) fn count_members(&self, groups: Range<usize>, counted: &mut Vec<(RoomName, u32)>) -> bool {
        let end = groups.end;
        for group in groups.filter_map(|at| self.groups.get(at)) {
            counted.push((group.name.clone(), u32::try_from(group.members.len()).unwrap_or(u32::MAX)));
        }
        end < self.groups.capacity()
    }

    /// The live members of a room; for closing them when its delivery failed.
    pub(crate) fn members(&self, at: usize) -> Vec<Rc<S>> {
        self.groups.get(at).map_or_else(Vec::new, |group| {
            let members = group.members.iter();
            members.map(|(_, m)| Rc::clone(&m.sink)).collect()
        })
    }

    /// How many bytes of events its groups have to give.
    #[cfg(test)]
    pub(crate) fn event_bytes(&self) -> usize {
        self.hearing.bytes()
    }

    /// How many wakers there are of those who rest.
    #[cfg(test)]
    pub(crate) fn wakers(&self) -> usize {
        self.held.wakers()
    }

    fn open(
        &mut self,
        name: &RoomName,
        (framing, hears, kind): (Framing, bool, Option<Kind>),
        start: Subscription<Publication>,
        (options, edge): (DeliveryOptions, Edge),
    ) -> usize {
        let room = start.room();
        // What of it was erased while nobody here was in it, nobody would say.
        let is_over = is_over(&room);
        let next = start.position().sequence;
        let key = self.set.join(start);
        let vacant = self.groups.vacant_entry();
        let group = vacant.key();
        vacant.insert(Group {
            name: name.clone(),
            framing,
            is_listening: hears,
            hears: hears.then(|| self.hearing.listen(name, room.epoch(), group)),
            room,
            cursor: Cursor::Listed(key),
            encoder: framing.encoding().publications(name.as_str()),
            options,
            next,
            edge,
            is_held: false,
            waker: None,
            members: Slab::new(),
            behind: 0,
            sending: None,
            waiting: BTreeMap::new(),
            view: kind.as_ref().map(|kind| Box::new(GroupView::new(Some(kind), framing.encoding()))),
        });
        self.by_key.insert(key, group);
        if !self.framings.contains(&framing) {
            self.framings.push(framing);
        }
        // Who comes next comes into the one that runs.
        let outdated = match kind {
            _ if is_over => Some(group),
            None => self.by_name.insert((name.clone(), framing, hears), group),
            Some(kind) => self.apart.entry(name.clone()).or_default().insert(kind, group),
        };
        outdated.into_iter().for_each(|outdated| self.outdated.add(name, outdated));
        if is_over {
            self.end(group);
        }
        group
    }

    /// Forgets a group that has no members any more.
    fn close(&mut self, at: usize) {
        let gone = self.groups.remove(at);
        if let Some(waker) = &gone.waker {
            gone.edge.forget(waker);
        }
        if let Cursor::Listed(key) = gone.cursor {
            self.by_key.remove(&key);
            self.set.leave(key);
        }
        self.outdated.remove(&gone.name, at);
        let hears = gone.is_listening;
        if hears {
            self.hearing.unlisten(&gone.name, at);
        }
        if let Some(kind) = gone.view.and_then(|view| view.kind(gone.framing, hears)) {
            if let Some(kinds) = self.apart.get_mut(&gone.name)
                && kinds.get(&kind) == Some(&at)
            {
                kinds.remove(&kind);
                if kinds.is_empty() {
                    self.apart.remove(&gone.name);
                }
            }
            return;
        }
        let key = (gone.name, gone.framing, hears);
        if self.by_name.get(&key) == Some(&at) {
            self.by_name.remove(&key);
        }
    }
}

fn position(room: &Room<Publication>) -> Position {
    Position { epoch: room.epoch(), sequence: room.tail() }
}

impl<S> fmt::Debug for RoomFeed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomFeed").field("rooms", &self.by_name.len()).finish_non_exhaustive()
    }
}
