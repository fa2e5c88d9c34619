//! The batch: messages that are committed together, and the incarnations they belong to.

use std::ops::Range;

use super::backend::{Record, Span};
use super::environment::{Environment as _, System};
use super::options::Durability;
use crate::message::Epoch;

/// An incarnation of a room that the store is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// The room's name.
    pub room: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its first sequence: what lies before is of earlier incarnations.
    pub first: u64,
    /// How safely its messages are kept from now on: one that is `Stored` is whole whenever the process ends.
    pub durability: Durability,
}

impl Incarnation {
    /// The incarnation in which a room goes on of which `span` is stored: the same, where nothing of it can be missing and as
    /// much will be known of what follows, or a new one that begins behind what is stored.
    ///
    /// # Examples
    /// ```
    /// use roomcast::store::{Durability, Incarnation, Span};
    ///
    /// let new = Incarnation::going_on("lobby", None, Durability::Async);
    /// let span = Span { epoch: new.epoch, oldest: 0, next: 7, is_whole: true, durability: Durability::Async };
    /// let same = Incarnation::going_on("lobby", Some(span), Durability::Async);
    /// assert_eq!((same.epoch, same.first), (new.epoch, 7));
    /// let other = Incarnation::going_on("lobby", Some(Span { is_whole: false, ..span }), Durability::Async);
    /// assert!(other.epoch != new.epoch && other.first == 7);
    /// ```
    pub fn going_on(room: &str, span: Option<Span>, durability: Durability) -> Self {
        Self::going_on_in(room, span, durability, || Epoch(System.draw()))
    }

    /// The same, with the epoch that is drawn for a new one: of 2^64, at random, so that no incarnation has had it.
    pub(super) fn going_on_in(
        room: &str,
        span: Option<Span>,
        durability: Durability,
        draw: impl FnOnce() -> Epoch,
    ) -> Self {
        let whole = span.filter(|span| span.is_whole && span.durability <= durability);
        Self {
            room: room.to_owned(),
            epoch: whole.map_or_else(draw, |span| span.epoch),
            first: span.map_or(0, |span| span.next),
            durability,
        }
    }
}

/// Messages that are committed together, with the incarnations they belong to. Their bodies lie in one buffer.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) incarnations: Vec<Incarnation>,
    pub(super) parts: Vec<PartRange>,
    pub(super) messages: Vec<BatchMessage>,
    pub(super) bytes: Vec<u8>,
    pub(super) durability: Durability,
}

/// Consecutive messages of one incarnation.
#[derive(Debug)]
pub(super) struct PartRange {
    /// In `incarnations`.
    pub(super) incarnation: usize,
    pub(super) messages: Range<usize>,
}

/// One message; the author, if any, lies before the body.
#[derive(Debug)]
pub(super) struct BatchMessage {
    pub(super) sequence: u64,
    pub(super) time: u64,
    pub(super) author: Range<usize>,
    pub(super) body: Range<usize>,
}

/// Messages of one incarnation, in order.
#[derive(Clone, Copy, Debug)]
pub struct BatchPart<'a> {
    /// Whose they are. New to the store, perhaps.
    pub incarnation: &'a Incarnation,
    batch: &'a Batch,
    part: &'a PartRange,
}

impl Batch {
    /// Whether it must be on the disk when it is committed.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The incarnations the store is to know, whether anything was published in them or not.
    pub fn incarnations(&self) -> &[Incarnation] {
        &self.incarnations
    }

    /// The messages, by incarnation; one incarnation may come more than once, and then goes on.
    pub fn parts(&self) -> impl Iterator<Item = BatchPart<'_>> {
        self.parts.iter().map(|part| BatchPart { incarnation: &self.incarnations[part.incarnation], batch: self, part })
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// How many bytes its bodies and authors have.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.incarnations.is_empty()
    }

    /// Adds a message of `incarnation`: for those who carry messages from one store to another. An erased one comes back empty.
    ///
    /// # Examples
    /// ```
    /// use roomcast::store::{Durability, Batch, Incarnation, Record};
    ///
    /// let mut batch = Batch::default();
    /// let record = Record { sequence: 0, time: 0, author: None, body: Some(b"hello".to_vec()) };
    /// batch.add(&Incarnation::going_on("lobby", None, Durability::Async), &record);
    /// assert_eq!(batch.parts().next().map(|part| part.next()), Some(1));
    /// ```
    pub fn add(&mut self, incarnation: &Incarnation, record: &Record) {
        let known = self.incarnations.iter().rposition(|known| known == incarnation);
        let incarnation = known.unwrap_or_else(|| self.push_incarnation(incarnation));
        let body = record.body.as_deref().unwrap_or_default();
        let author = record.author.as_deref().unwrap_or_default();
        self.push(incarnation, (record.sequence, record.time), author, |bytes| bytes.extend_from_slice(body));
    }

    /// Takes an incarnation in that is not there, and says where it stands.
    pub(super) fn push_incarnation(&mut self, incarnation: &Incarnation) -> usize {
        self.incarnations.push(incarnation.clone());
        self.durability = self.durability.max(incarnation.durability);
        self.incarnations.len() - 1
    }

    /// Takes a message in of the incarnation that stands there, whose body `write` appends.
    pub(super) fn push(
        &mut self,
        incarnation: usize,
        (sequence, time): (u64, u64),
        author: &str,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(author.as_bytes());
        let body = self.bytes.len();
        write(&mut self.bytes);
        let at = self.messages.len();
        self.messages.push(BatchMessage { sequence, time, author: start..body, body: body..self.bytes.len() });
        match self.parts.last_mut().filter(|part| part.incarnation == incarnation) {
            Some(part) => part.messages.end = at + 1,
            None => self.parts.push(PartRange { incarnation, messages: at..at + 1 }),
        }
    }

    /// Empties it, and gives back memory beyond `bytes_kept`.
    pub(super) fn clear(&mut self, bytes_kept: usize) {
        self.incarnations.clear();
        self.parts.clear();
        self.messages.clear();
        // What is erased later is not to stay here until as much is stored again.
        self.bytes.fill(0);
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept);
        self.durability = Durability::Async;
    }
}

impl<'a> BatchPart<'a> {
    /// Sequence, time, author and body of each message.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = (u64, u64, Option<&'a str>, &'a [u8])> + use<'a> {
        let bytes = &self.batch.bytes;
        self.batch.messages[self.part.messages.clone()].iter().map(|message| {
            let author = str::from_utf8(&bytes[message.author.clone()]).ok().filter(|author| !author.is_empty());
            (message.sequence, message.time, author, &bytes[message.body.clone()])
        })
    }

    /// The sequence after the last one.
    pub fn next(&self) -> u64 {
        self.batch.messages[self.part.messages.clone()]
            .last()
            .map_or(self.incarnation.first, |message| message.sequence + 1)
    }
}
