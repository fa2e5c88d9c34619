//! Replacing messages that were published: a segment is copied, and the copy takes its place.
//!
//! Slots are written once, so nothing is overwritten where it lies. The copy has the same generation, the same times and, but for
//! what is replaced, the same messages; it is made of slots that are committed, behind a lease on the old segment, which so is
//! neither emptied nor begun anew meanwhile. Then:
//! 1. If more may be claimed in this generation, one exchange moves the claim word to the copy. It succeeds only where
//!    everything claimed so far was copied; from then on publishers go on in the copy, and in the old segment no slot is claimed
//!    or filled any more.
//! 2. One exchange puts the copy into the directory. Between the two, readers find nothing new: the copy is a hole until then, as a
//!    claim is that is not committed, and if it takes long they are lapped as at any other hole. They hear of its end as of that of
//!    a hole that was evicted.
//!
//! Who stands in the old segment reads it to where it was copied, and then finds another word in the directory than the one it came
//! by. The old segment is never in limbo: it is its rewriter's alone, and is emptied by the first rewriter that finds no lease on it.
//! So a segment is evicted once for each generation, as before, and who reclaims it goes by that.
//!
//! One rewrites at a time; others are told to come again. Publishers and readers know nothing of it.

use std::ops::Range;

use super::Bell;
use super::claim::Ring;
use super::cursor::Cursor;
use super::directory::Directory;
use super::words::{ClaimWord, DirectoryWord};
use crate::sync::{AcqRel, Acquire, SeqCst, Stage, failpoint, fence};

/// What became of a segment that messages were to be replaced in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    /// So many of its messages were replaced.
    Replaced(u64),
    /// A publisher or an installer is between two steps, or has just been faster.
    NotNow,
}

/// What is claimed of a generation.
#[derive(Clone, Copy, Debug)]
struct Claimed {
    slots: u64,
    /// The claim word, where more may be claimed.
    open: Option<ClaimWord>,
}

impl<T: Clone> Ring<T> {
    /// Replaces those of the messages at `sequences` for which `replace` has something else. Returns how many, and whether all is
    /// done: nobody may be given one of the old ones any more, and they are dropped. If not, whoever wants that calls again.
    ///
    /// Not for an exclusive ring, whose writer keeps its place to itself.
    pub(crate) fn rewrite(
        &self,
        sequences: Range<u64>,
        mut replace: impl FnMut(u64, &T) -> Option<T>,
        bell: &impl Bell,
    ) -> (u64, bool) {
        debug_assert!(!self.exclusive, "an exclusive ring is not rewritten");
        let Some(directory) = self.directory.peek() else { return (0, true) };
        let Some(_alone) = directory.rewrite_alone() else { return (0, false) };
        let range = sequences.start.max(self.oldest())..sequences.end.min(self.tail());
        let (mut replaced, mut is_done) = (0, true);
        if !range.is_empty() {
            for generation in self.shape.generation(range.start)..=self.shape.generation(range.end - 1) {
                match self.rewrite_segment(directory, generation, &range, &mut replace, bell) {
                    Copied::Replaced(count) => replaced += count,
                    Copied::NotNow => is_done = false,
                }
            }
        }
        let is_emptied = directory.empty_left(bell);
        // Where nobody publishes, nobody else would drop what was evicted.
        directory.sweep(directory.census().0, bell);
        (replaced, is_emptied && is_done)
    }

    fn rewrite_segment(
        &self,
        directory: &Directory<T>,
        generation: u64,
        sequences: &Range<u64>,
        replace: &mut impl FnMut(u64, &T) -> Option<T>,
        bell: &impl Bell,
    ) -> Copied {
        let first = self.shape.first(generation);
        let Some(claimed) = self.claimed_of(generation) else { return Copied::NotNow };
        let mut replaced = Vec::new();
        // Behind our look at the claim word, whose count the tail has come to.
        let found = self.read_all(first, claimed.slots, |sequence, message| {
            if sequences.contains(&sequence) {
                replaced.extend(replace(sequence, message).map(|other| (sequence, other)));
            }
        });
        // Until we are through, for the lease.
        let cursor = match found {
            Some(cursor) if !replaced.is_empty() => cursor,
            // What is evicted is gone, or on its way.
            None if directory.word(generation).retains(generation) => return Copied::NotNow,
            _ => return Copied::Replaced(0),
        };
        let count = replaced.len() as u64;
        let (mut messages, mut replaced) = (Vec::new(), replaced.into_iter().peekable());
        let again = self.read_all(first, claimed.slots, |sequence, message| {
            let other = replaced.next_if(|(at, _)| *at == sequence);
            messages.push(other.map_or_else(|| message.clone(), |(_, other)| other));
        });
        match (cursor.leased_by(), again.and_then(|cursor| cursor.leased_by())) {
            (Some(old), Some(again)) if old == again => {
                match self.replace_segment(directory, old, messages, claimed.open, bell) {
                    true => Copied::Replaced(count),
                    false => Copied::NotNow,
                }
            }
            _ => Copied::NotNow,
        }
    }

    /// Reads `count` messages from `first` on, where a segment begins. Returns what has the lease on it; nothing if they are not
    /// all there.
    fn read_all(&self, first: u64, count: u64, mut read: impl FnMut(u64, &T)) -> Option<Cursor<T, &Self>> {
        let mut cursor = Cursor::new(self, first);
        while cursor.next() < first + count {
            let ready = cursor.look((first + count - cursor.next()) as usize).ok()?;
            let run = cursor.take(ready);
            for (sequence, message) in (run.first..).zip(run.messages) {
                read(sequence, message);
            }
        }
        (count > 0).then_some(cursor)
    }

    /// What is claimed of `generation`; nothing if the claim word is just being moved on.
    fn claimed_of(&self, generation: u64) -> Option<Claimed> {
        let slots = self.shape.slots();
        // Acquire: pairs with the exchange in `advance`; we are about to read the header.
        let word = ClaimWord(self.claim.load(Acquire));
        if word.is_closed() {
            let claimed = self.tail().saturating_sub(self.shape.first(generation));
            return Some(Claimed { slots: claimed.min(slots), open: None });
        }
        let newest = self.generation_of(word)?;
        match newest == generation {
            true => Some(Claimed { slots: word.count().min(slots), open: Some(word) }),
            false => Some(Claimed { slots: if newest > generation { slots } else { 0 }, open: None }),
        }
    }

    /// Puts a segment with these messages in the place of the one that `old` names, on which the caller has a lease, and whose
    /// claimed slots are all committed and copied. `open` is the claim word, if more may be claimed there. False if somebody was
    /// faster.
    fn replace_segment(
        &self,
        directory: &Directory<T>,
        old: DirectoryWord,
        messages: Vec<T>,
        open: Option<ClaimWord>,
        bell: &impl Bell,
    ) -> bool {
        let (generation, count) = (old.generation(), messages.len());
        if open.is_some_and(|word| word.index() != old.index()) {
            return false;
        }
        let bytes = self.budget.as_ref().map_or(0, |budget| messages.iter().map(|message| budget.bytes(message)).sum());
        let Some(index) = directory.take(bell) else { return false };
        let (segment, from) = (directory.segment(index), directory.segment(old.index()));
        segment.begin(generation, self.shape.first(generation), from.time_floor());
        segment.copy_times(from, count);
        segment.add_bytes(bytes);
        for (slot, message) in messages.into_iter().enumerate() {
            // SAFETY: `take` made the segment ours alone, and no word names it yet; it is empty, and has as many slots as every
            // other of this ring, of one of which these messages are copies.
            unsafe { segment.commit(slot, message) };
        }
        if let Some(word) = open {
            let copy = ClaimWord::new(generation, index, word.count());
            // AcqRel: publishes the copy to the claimants, as in `advance`. It fails if anything was claimed, or the ring closed,
            // since the messages were copied. model: rewrite_publish
            if self.claim.compare_exchange(word.0, copy.0, AcqRel, Acquire).is_err() {
                directory.discard(index, count, bell);
                return false;
            }
            self.note_newest(segment);
            failpoint(Stage::Copied);
        }
        if !directory.replace(generation, old, DirectoryWord::new(generation, index)) {
            // Evicted. What is in the copy goes the same way, and so does the old segment; but one that was not full when it was
            // copied never will be, which is what others wait for.
            match open {
                None => directory.discard(index, count, bell),
                Some(_) => directory.retire(index, bell),
            }
            if count < self.shape.slots() as usize {
                directory.leave(old.index(), count, false);
            }
            return false;
        }
        // SeqCst: our exchange of the directory word before our look at who is parked, as in `rotate`: a reader parked behind what
        // was copied would wait for a commit in the old segment. model: rewrite_park
        fence(SeqCst);
        bell.disturbed();
        directory.leave(old.index(), count, true);
        true
    }
}
