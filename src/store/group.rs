//! What is written at once.

use std::ops::Range;

use super::options::Durability;
use crate::message::Epoch;

/// A life of a room that the store is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The room's name.
    pub room: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its first sequence: what lies before is of earlier lives.
    pub first: u64,
    /// How safely its messages are kept from now on: one that is `Stored` is whole whenever the process ends.
    pub durability: Durability,
}

/// Messages that are committed together, with the lives they belong to. Their bodies lie in one buffer.
#[derive(Debug, Default)]
pub struct Group {
    pub(super) lives: Vec<Life>,
    pub(super) runs: Vec<RunPart>,
    pub(super) messages: Vec<Part>,
    pub(super) bytes: Vec<u8>,
    pub(super) durability: Durability,
}

/// Consecutive messages of one life.
#[derive(Debug)]
pub(super) struct RunPart {
    /// In `lives`.
    pub(super) life: usize,
    pub(super) messages: Range<usize>,
}

/// One message; the author, if any, lies before the body.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) sequence: u64,
    pub(super) time: u64,
    pub(super) author: Range<usize>,
    pub(super) body: Range<usize>,
}

/// Messages of one life, in order.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Whose they are. New to the store, perhaps.
    pub life: &'a Life,
    group: &'a Group,
    part: &'a RunPart,
}

impl Group {
    /// Whether it must be on the disk when it is committed.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The lives the store is to know, whether anything was published in them or not.
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// The messages, by life; one life may come more than once, and then goes on.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.runs.iter().map(|part| Run { life: &self.lives[part.life], group: self, part })
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.lives.is_empty()
    }

    /// Empties it, and gives back memory beyond `bytes_kept`.
    pub(super) fn clear(&mut self, bytes_kept: usize) {
        self.lives.clear();
        self.runs.clear();
        self.messages.clear();
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept);
        self.durability = Durability::Async;
    }
}

impl<'a> Run<'a> {
    /// Sequence, time, author and body of each message.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = (u64, u64, Option<&'a str>, &'a [u8])> + use<'a> {
        let bytes = &self.group.bytes;
        self.group.messages[self.part.messages.clone()].iter().map(|part| {
            let author = str::from_utf8(&bytes[part.author.clone()]).ok().filter(|author| !author.is_empty());
            (part.sequence, part.time, author, &bytes[part.body.clone()])
        })
    }

    /// The sequence after the last one.
    pub fn next(&self) -> u64 {
        self.group.messages[self.part.messages.clone()].last().map_or(self.life.first, |part| part.sequence + 1)
    }
}
