//! A room, members without sockets, and the plain list of what each is to be given.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use roomcast::{Broker, PublishError, Room, Start};
use roomcast_protocol::{
    ClientInfo, CloseCode, Encoding, FilterWish, Limits, Payload, Placed, Publication, Request, RoomName,
    SubscribeRequest, TagsFilter, apply_delta,
};

use super::archive::Disk;
use crate::config::{Compression, Echo};
use crate::delivery::feed::{CaughtUp, MemberKey, MemberOptions};
use crate::delivery::sink::{MemberSink, Written};
use crate::delivery::turns::Delivery;
use crate::ops::metrics::Metrics;
use crate::rooms::delivery_options::DeliveryOptions;
use crate::rooms::join_leave::{Event, Events, What};
use crate::rooms::visible::Edge;
use crate::session::View;
use crate::wire::encoded_batch::EncodedBatch;
use crate::wire::framing::Framing;
use crate::wire::ws::{Deflate, inflate};

/// Messages that the room's ring holds.
pub(super) const CAPACITY: u64 = 64;

/// Turns that are more than enough for anything a test leaves undone.
const TURNS_MAX: usize = 10_000;

/// Messages that the database gives at once.
const FETCHED: usize = 7;

/// What a member is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Publication(u64),
    Join(usize),
    Leave(usize),
    /// One without an offset.
    Message(usize),
    /// The place of a message that says nothing.
    Empty(u64),
}

/// What is published at that place: like what was before it, by one of a few clients or by nobody, with one of two tags.
pub(super) fn publication(sequence: u64) -> Publication {
    let client = |user: &str, client: &str| Some(ClientInfo::new(user.to_owned(), client.to_owned(), None, None));
    let author = match sequence % 7 {
        0 => client("ann", "a1"),
        1 => client("ann", "a2"),
        2 => client("bob", "b1"),
        3 => client("", "n1"),
        _ => None,
    };
    let mut publication = Publication::new(Payload::json(payload(sequence).into()), author);
    let tag = if sequence.is_multiple_of(3) { "x" } else { "y" };
    publication.tags = Some(Arc::new([("k".to_owned(), tag.to_owned())].into()));
    publication.set_delta(!sequence.is_multiple_of(5));
    publication
}

/// Something of each of the last few: what is made a delta of another base than was meant is something else.
fn payload(sequence: u64) -> String {
    let token =
        |of: u64| format!("{:032x}", u128::from(of + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let recent: String = (sequence.saturating_sub(3)..=sequence).map(token).collect();
    format!("{{\"recent\":\"{recent}\",\"number\":{sequence}}}")
}

/// Kinds of members: who hears, what it is given of what is published, and how.
pub(super) const KINDS: usize = 12;

/// Who brings this is given what has that tag with that value.
pub(super) fn filter(tag: &str, value: &str) -> Option<Arc<TagsFilter>> {
    filter_of(&format!("{{\"key\":\"{tag}\",\"cmp\":\"eq\",\"val\":\"{value}\"}}"))
}

/// The filter that is written so.
pub(super) fn filter_of(written: &str) -> Option<Arc<TagsFilter>> {
    let frame = format!("{{\"id\":1,\"subscribe\":{{\"tf\":{written}}}}}");
    let mut commands = Encoding::Json.commands(frame.as_bytes(), &Limits::default()).expect("a frame");
    match commands.next().expect("a command").expect("a good one").request {
        Request::Subscribe(SubscribeRequest { filter: FilterWish::Tags(filter), .. }) => Some(filter),
        other => panic!("{other:?} has no filter"),
    }
}

/// A member of that kind.
pub(super) fn member(kind: usize) -> MemberOptions {
    let ann = ClientInfo::new("ann".to_owned(), "a1".to_owned(), None, None);
    let (echo, filter, is_delta) = match kind / 2 {
        0 => (Echo::All, None, false),
        1 => (Echo::All, None, true),
        2 => (Echo::All, filter("k", "x"), false),
        3 => (Echo::NotClient, None, false),
        4 => (Echo::NotUser, None, true),
        _ => (Echo::NotUser, filter("k", "y"), false),
    };
    let view = View { filter, echo, is_delta, has_newest: false };
    MemberOptions { hears: kind.is_multiple_of(2), view, own: (echo != Echo::All).then_some(ann) }
}

/// The framing of members that take messages compressed.
pub(super) fn compressed() -> Framing {
    Framing::Deflated(Encoding::Json, Deflate::new(&Compression::default()))
}

/// A member that takes so many batches before it is full.
pub(super) struct Sink {
    pub(super) framing: Cell<Framing>,
    pub(super) takes: Cell<usize>,
    pub(super) panics: Cell<bool>,
    pub(super) doom: Cell<Option<CloseCode>>,
    pub(super) is_cut: Cell<bool>,
    pub(super) wakes: Cell<usize>,
    behind: Cell<u32>,
    /// How many bytes it took, and the lines that were in them.
    taken_bytes: Cell<usize>,
    taken: RefCell<Vec<u8>>,
    /// Frames that were compressed.
    pub(super) compressed_frames: Cell<usize>,
    /// Whether it is given a chain of deltas, and the payload that it has before the first.
    chain: RefCell<Option<Option<Vec<u8>>>>,
    /// How many of the bytes have been read, and what they were.
    read: RefCell<(usize, Vec<Item>)>,
}

impl MemberSink for Sink {
    fn framing(&self) -> Framing {
        self.framing.get()
    }

    fn client(&self) -> String {
        "somebody".to_owned()
    }

    fn write_batch(&self, batch: &mut EncodedBatch) -> Written {
        assert!(!self.panics.get(), "this member is broken");
        assert!(!batch.is_empty(), "a batch of nothing is written");
        let Some(left) = self.takes.get().checked_sub(1) else { return Written::Full };
        self.takes.set(left);
        self.take(batch.as_bytes());
        if left == 0 { Written::InPart } else { Written::Taken }
    }

    fn is_full(&self) -> bool {
        self.takes.get() == 0
    }

    fn fell_behind(&self) {
        self.behind.set(self.behind.get() + 1);
    }

    fn caught_up(&self) {
        self.behind.set(self.behind.get().checked_sub(1).expect("it was behind"));
    }

    fn close_soon(&self, code: CloseCode) {
        self.doom.set(Some(code));
    }

    fn has_left(&self, _room: &RoomName) {}

    fn cut(&self) {
        self.is_cut.set(true);
    }

    fn wake(&self) {
        self.wakes.set(self.wakes.get() + 1);
    }
}

impl Sink {
    /// One that takes so many batches.
    pub(super) fn taking(batches: usize) -> Rc<Self> {
        Rc::new(Self {
            framing: Cell::new(Framing::Stream(Encoding::Json)),
            takes: Cell::new(batches),
            panics: Cell::default(),
            doom: Cell::default(),
            is_cut: Cell::default(),
            wakes: Cell::default(),
            behind: Cell::default(),
            taken_bytes: Cell::default(),
            taken: RefCell::default(),
            compressed_frames: Cell::default(),
            chain: RefCell::default(),
            read: RefCell::default(),
        })
    }

    /// One of somebody who has nothing of the room.
    pub(super) fn taking_as(options: &MemberOptions, batches: usize) -> Rc<Self> {
        let sink = Self::taking(batches);
        *sink.chain.borrow_mut() = options.view.is_delta.then_some(None);
        sink
    }

    /// Takes bytes: chunks of lines, or frames of them, compressed or not.
    fn take(&self, mut left: &[u8]) {
        self.taken_bytes.set(self.taken_bytes.get() + left.len());
        let mut taken = self.taken.borrow_mut();
        while !left.is_empty() {
            if !self.framing.get().is_websocket() {
                let head = left.windows(2).position(|two| two == b"\r\n").expect("a chunk begins with its length");
                let bytes = usize::from_str_radix(str::from_utf8(&left[..head]).unwrap(), 16).unwrap();
                taken.extend_from_slice(&left[head + 2..head + 2 + bytes]);
                left = &left[head + 2 + bytes + 2..];
                continue;
            }
            let (head, bytes) = match left[1] {
                126 => (4, usize::from(u16::from_be_bytes([left[2], left[3]]))),
                127 => (10, u64::from_be_bytes(left[2..10].try_into().unwrap()) as usize),
                short => (2, usize::from(short)),
            };
            let payload = &left[head..head + bytes];
            match left[0] {
                0x81 => taken.extend_from_slice(payload),
                0xc1 => {
                    self.compressed_frames.set(self.compressed_frames.get() + 1);
                    taken.extend(inflate(payload, 1 << 20).expect("it was compressed"));
                }
                other => panic!("a frame that begins {other:#x}"),
            }
            taken.push(b'\n');
            left = &left[head + bytes..];
        }
    }

    /// What it has been given, read from what it took.
    pub(super) fn items(&self) -> Vec<Item> {
        let (taken, mut read) = (self.taken.borrow(), self.read.borrow_mut());
        let (at, items) = &mut *read;
        let lines = taken[*at..].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        items.extend(lines.map(|line| item(line, &mut self.chain.borrow_mut())));
        *at = taken.len();
        items.clone()
    }

    /// How many deltas it has been given.
    pub(super) fn deltas(&self) -> usize {
        String::from_utf8_lossy(&self.taken.borrow()).matches("\"delta\":true").count()
    }

    /// How many bytes.
    pub(super) fn bytes(&self) -> usize {
        self.taken_bytes.get()
    }

    /// In how many rooms it is behind.
    pub(super) fn behind(&self) -> u32 {
        self.behind.get()
    }
}

/// What a line says to somebody who is given a chain of deltas, or is not.
fn item(line: &[u8], chain: &mut Option<Option<Vec<u8>>>) -> Item {
    let mut push: serde_json::Value = serde_json::from_slice(line).expect("a push is JSON");
    let push = &mut push["push"];
    assert!(push["channel"].as_str().is_some_and(|room| room.starts_with("hall")), "{push}");
    if let (Some(before), Some(publication)) = (chain, push.get_mut("pub")) {
        let text = publication["data"].as_str().expect("in a chain every payload is a text").as_bytes();
        let payload = match publication["delta"].as_bool() {
            None => text.to_vec(),
            Some(_) => {
                apply_delta(before.as_ref().expect("the first is whole"), text, 1 << 20).expect("a delta of this")
            }
        };
        assert!(publication.get("time").is_none());
        publication["data"] = serde_json::from_slice(&payload).expect("a payload is JSON");
        *before = Some(payload);
    }
    let client = |what: &str| push[what]["info"]["client"].as_str().map(|client| client.parse().unwrap());
    if let Some(offset) = push["pub"]["offset"].as_u64() {
        if push["pub"]["data"].is_null() {
            return Item::Empty(offset - 1);
        }
        assert_eq!(push["pub"]["data"]["number"], offset - 1, "a message stands at its own offset");
        assert_eq!(push["pub"]["info"].is_null(), publication(offset - 1).info.is_none());
        assert!(push["pub"]["tags"]["k"].is_string());
        return Item::Publication(offset - 1);
    }
    let data = &push["pub"]["data"];
    if let Some(message) = data.as_u64().or_else(|| data["number"].as_u64()) {
        return Item::Message(message as usize);
    }
    client("join").map(Item::Join).or_else(|| client("leave").map(Item::Leave)).expect("a push that is known")
}

/// A member, and where its share of what happens begins.
pub(super) struct Person {
    pub(super) sink: Rc<Sink>,
    /// Until it has left, or was put out.
    pub(super) key: Option<MemberKey>,
    pub(super) options: MemberOptions,
    first: u64,
    first_event: usize,
    /// Where both stood when it left.
    pub(super) until: Option<(u64, usize)>,
}

/// Everything that happens, in order: publications by their numbers, and events before the publication with that number.
pub(super) struct World {
    pub(super) room: Room<Publication>,
    /// Where the room is stored, if it is.
    disk: Option<Disk>,
    /// From where to where it may be seen.
    edge: Edge,
    broker: Broker<Publication>,
    name: RoomName,
    options: DeliveryOptions,
    pub(super) delivery: Delivery<Sink>,
    events: Arc<Events>,
    announced: Vec<(u64, Item)>,
    pub(super) people: Vec<Person>,
    /// Every other person takes messages compressed.
    pub(super) has_compressed: bool,
}

impl World {
    pub(super) fn new(options: DeliveryOptions) -> Self {
        Self::with(options, |broker| (broker.room("hall").expect("there is space"), Edge::published(), None))
    }

    /// The same with a `stored` room.
    pub(super) fn stored(options: DeliveryOptions) -> Self {
        Self::with(options, |broker| {
            let disk = Disk::new(broker);
            let room = disk.open("hall");
            (room.clone(), disk.edge(&room), Some(disk))
        })
    }

    fn with(
        options: DeliveryOptions,
        open: impl FnOnce(&Broker<Publication>) -> (Room<Publication>, Edge, Option<Disk>),
    ) -> Self {
        let broker = Broker::builder().shards(1).capacity(CAPACITY as usize).build();
        let (room, edge, disk) = open(&broker);
        let events = Arc::new(Events::new(1));
        let delivery = Delivery::new(0, Metrics::new(1).shard(0), events.inbox(0).expect("it is asked for once"));
        Self {
            room,
            disk,
            edge,
            broker,
            name: RoomName::parse("hall", 255).expect("a name"),
            options,
            delivery,
            events,
            announced: Vec::new(),
            people: Vec::new(),
            has_compressed: false,
        }
    }

    pub(super) fn publish(&mut self, count: u64) {
        for _ in 0..count {
            match self.room.publish(publication(self.room.tail())) {
                Ok(_) => {}
                // A stored room waits for its disk.
                Err(PublishError::Full(back)) => {
                    self.store();
                    self.room.publish(back).expect("there is space again");
                }
                Err(error) => panic!("the room is open: {error}"),
            }
        }
    }

    /// A message of so many bytes, like the one before it.
    pub(super) fn publish_large(&mut self, number: u64, bytes: usize) {
        let payload = format!("{{\"same\":\"{}\",\"number\":{number}}}", "x".repeat(bytes));
        let mut large = Publication { data: Payload::json(payload.into()), ..publication(number) };
        large.set_delta(true);
        assert_eq!(self.room.publish(large).expect("there is space"), number);
    }

    /// The room is another process's from here on.
    pub(super) fn give_away(&self) {
        self.broker.close();
    }

    /// What was published is on the disk.
    pub(super) fn store(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.store();
        }
    }

    /// The history of the room is removed, up to where it stands.
    pub(super) fn remove(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.remove(self.room.name());
        }
    }

    /// The disk takes nothing more, and never will.
    pub(super) fn give_up_storing(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.give_up();
        }
    }

    /// Up to where the room may be seen.
    fn visible(&self) -> u64 {
        self.edge.range().end.min(self.room.tail())
    }

    /// A member comes, `back` messages before the tail, as one does who has been given the rest otherwise.
    pub(super) fn join(&mut self, hears: bool, takes: usize, back: u64) -> usize {
        self.join_as(MemberOptions { hears, ..MemberOptions::default() }, takes, back)
    }

    /// The same, somebody who may be given something else than others.
    pub(super) fn join_as(&mut self, mut options: MemberOptions, takes: usize, back: u64) -> usize {
        let visible = self.visible();
        let first = (visible - back.min(visible).min(CAPACITY / 2)).max(self.room.oldest());
        let position = roomcast::Position { epoch: self.room.epoch(), sequence: first };
        let start = self.room.subscribe_from(Start::Resume(position)).now().expect("the room is open");
        assert_eq!(start.position().sequence, first);
        let sink = Sink::taking(takes);
        if self.has_compressed && self.people.len().is_multiple_of(2) {
            sink.framing.set(compressed());
        }
        if options.view.is_delta {
            // It may have recovered the one before, or comes without anything.
            let newest = first.checked_sub(1).filter(|newest| newest.is_multiple_of(2)).map(payload);
            options.view.has_newest = newest.is_some();
            *sink.chain.borrow_mut() = Some(newest.map(String::into_bytes));
        }
        let key = self.delivery.join(&self.name, start, &sink, (self.options, self.edge.clone()), options.clone());
        let first_event = self.announced.len();
        self.people.push(Person { sink, key: Some(key), options, first, first_event, until: None });
        self.people.len() - 1
    }

    pub(super) fn leave(&mut self, person: usize) {
        let until = (self.room.tail(), self.announced.len());
        let person = &mut self.people[person];
        if let Some(key) = person.key.take() {
            self.delivery.leave(key);
            person.until = Some(until);
        }
    }

    /// Somebody else comes into the room or leaves it.
    pub(super) fn announce(&mut self, client: usize, is_join: bool) {
        let info = ClientInfo::new(String::new(), client.to_string(), None, None);
        let (what, item) =
            if is_join { (What::Join(info), Item::Join(client)) } else { (What::Leave(info), Item::Leave(client)) };
        let tail = self.room.tail();
        let after = roomcast::Position { epoch: self.room.epoch(), sequence: tail };
        self.events.announce(&self.name, what, after);
        self.announced.push((tail, item));
    }

    /// A message without an offset is given to everybody.
    pub(super) fn tell(&mut self, message: usize) {
        let publication = publication(message as u64);
        let tail = self.room.tail();
        let after = roomcast::Position { epoch: self.room.epoch(), sequence: tail };
        let room = self.name.clone();
        let event = Arc::new(Event { room, what: What::Message(publication, 0), after });
        assert!(self.delivery.reserve(&event), "there is space");
        self.delivery.take_in(&event);
        self.announced.push((tail, Item::Message(message)));
    }

    /// One turn of the delivery; true when more is left.
    pub(super) fn turn(&self) -> bool {
        let waker = Waker::noop();
        self.delivery.deliver(&mut Context::from_waker(waker), None)
    }

    /// What a member's task does when it is woken: it goes on by itself, with the database if it is told to.
    pub(super) fn catch_up(&mut self, person: usize) -> bool {
        let Some(key) = self.people[person].key else { return false };
        if self.people[person].sink.behind.get() == 0 || self.people[person].sink.is_full() {
            return false;
        }
        match self.delivery.catch_up(key) {
            CaughtUp::InTheDatabase(room, from) => {
                let end = room.tail().min(self.visible()).min(from + FETCHED as u64);
                let placed = |at: u64| Placed { offset: at + 1, time_ms: 0, publication: publication(at) };
                let past: Vec<_> = (from..end).map(placed).collect();
                self.delivery.deliver_stored(key, from, &past);
                true
            }
            CaughtUp::Skipped(_) | CaughtUp::Missed(_) | CaughtUp::EventsLost | CaughtUp::Ended => {
                self.leave(person);
                false
            }
            CaughtUp::Unfinished => true,
            CaughtUp::Rejoined | CaughtUp::Full | CaughtUp::Waits | CaughtUp::Held => false,
        }
    }

    /// Everything that can be done without anything new happening.
    pub(super) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let mut is_busy = self.turn();
            for person in 0..self.people.len() {
                is_busy |= self.catch_up(person);
            }
            if !is_busy {
                return;
            }
        }
        panic!("delivery never comes to rest");
    }

    /// Everybody who is there takes everything.
    pub(super) fn settle_all(&mut self) {
        for person in &self.people {
            person.sink.takes.set(usize::MAX);
        }
        // A member that is told to wait goes on once the group has: so twice.
        self.settle();
        self.settle();
    }

    /// What a member is to have been given up to now, or up to when it left.
    pub(super) fn expected(&self, person: usize) -> Vec<Item> {
        let person = &self.people[person];
        let (end, last_event) = person.until.unwrap_or_else(|| (self.visible(), self.announced.len()));
        let MemberOptions { hears, view, own } = &person.options;
        let nobody = ClientInfo::new(String::new(), String::new(), None, None);
        let shows = |sequence: u64| view.shows(&publication(sequence), own.as_ref().unwrap_or(&nobody));
        let is_given = |event: &Item| match *event {
            Item::Message(message) => shows(message as u64),
            _ => *hears,
        };
        let mut events =
            self.announced[person.first_event..last_event].iter().filter(|(_, event)| is_given(event)).peekable();
        let mut items = Vec::new();
        for sequence in person.first..end {
            while let Some((_, event)) = events.next_if(|(position, _)| *position <= sequence) {
                items.push(*event);
            }
            if shows(sequence) {
                items.push(Item::Publication(sequence));
            }
        }
        items.extend(events.map(|(_, event)| *event));
        items
    }

    /// Whether nobody was given what may not be seen.
    pub(super) fn assert_nothing_too_early(&self) {
        let end = self.edge.range().end;
        let is_too_early = |item: &Item| matches!(item, Item::Publication(sequence) if *sequence >= end);
        for person in &self.people {
            assert!(!person.sink.items().iter().any(is_too_early), "up to {end} is stored");
        }
    }

    /// Whether a member was given exactly what it was to be given; who has left, nothing but the beginning of that.
    pub(super) fn assert_given(&self, person: usize) {
        let (given, expected) = (self.people[person].sink.items(), self.expected(person));
        match self.people[person].until {
            None => assert_eq!(given, expected, "member {person}"),
            Some(_) => assert_eq!(given, expected[..given.len().min(expected.len())], "member {person}, until it left"),
        }
    }
}
