//! Installing the next segment when the newest is full.

use super::Bell;
use super::budget::Budget;
use super::claim::{ERA, Refusal, Ring};
use super::directory::Directory;
use super::segment::Segment;
use super::words::{ClaimWord, DirectoryWord};
use crate::sync::{AcqRel, Acquire, Look, Release, SeqCst, Stage, failpoint, fence, update};

impl<T> Ring<T> {
    /// Makes room for the next claim, or says why there is none. `Ok` only says: look at the claim word again.
    ///
    /// Any number of publishers may be here at once, some of them laps behind:
    /// 1. The directory still holds the generation to be evicted: one exchange wins and evicts; the others find case 2.
    /// 2. The directory already holds the next generation: adopt it, and move the claim word on for its installer,
    ///    who may be asleep.
    /// 3. The directory holds something newer: the claim word has moved on long ago; look again.
    #[cold]
    #[inline(never)]
    pub(super) fn rotate(&self, now: u64, bell: &impl Bell) -> Result<(), Refusal> {
        // Acquire: pairs with the exchange in `advance` and with the closer's.
        let word = ClaimWord(self.claim.look(Acquire));
        if word.is_closed() {
            return Err(Refusal::Closed);
        }
        if word.count() < self.shape.slots() {
            return Ok(());
        }
        let Some(full) = self.generation_of(word) else { return Ok(()) };
        let directory = self.directory();
        let next = full + 1;
        let old = directory.word_to_replace(next);
        if old.generation() > next {
            return Ok(());
        }
        if old.generation() == next {
            self.advance(full, old);
            return Ok(());
        }
        let evicts = old.is_retained();
        if evicts {
            // SeqCst: our look at the claim word before our look at the gate. Pairs with the fence of a subscriber that
            // has set the gate and then reads the tail. model: gate_join
            fence(SeqCst);
            if !bell.may_evict(self.shape.first(old.generation() + 1)) {
                return Err(Refusal::Full);
            }
        }
        if let Some(budget) = &self.budget {
            let made = budget.make_room(directory, self.shape, full, budget.full_max(), bell);
            if made.evicted > 0 {
                // SeqCst: as at the end. model: budget_hole_park
                fence(SeqCst);
                bell.disturbed();
            }
            if made.blocked {
                return Err(Refusal::Full);
            }
            if made.evicted > 0 {
                // `old` went with the others.
                return Ok(());
            }
        }
        let time_floor = if self.timed { self.time_floor(directory, full, now) } else { Some(0) };
        let Some(time_floor) = time_floor else { return Ok(()) };
        let Some(index) = directory.take(bell) else { return Err(Refusal::Pinned) };
        directory.segment(index).begin(next, self.shape.first(next), time_floor);
        let new = DirectoryWord::new(next, index);
        if !directory.replace(next, old, new) {
            directory.give_back(index);
            return Ok(());
        }
        failpoint(Stage::Installed);
        if evicts {
            directory.retire(old.index(), bell);
        }
        self.advance(full, new);
        if evicts {
            // SeqCst: our exchange of the directory word before our look at who is parked: a reader parked at a hole of
            // the evicted segment would wait for a commit that it can no longer see. Pairs with the fence of a parker.
            // model: evicted_hole_park
            fence(SeqCst);
            bell.disturbed();
        }
        Ok(())
    }

    /// Evicts the oldest messages while full segments before the newest one hold more than `bytes`, where bytes are counted and as far
    /// as no gate is in the way, and drops those that nobody uses.
    ///
    /// It is what a rotation does that finds too many bytes, by somebody who does not rotate: the newest segment stays, from which the
    /// next rotation goes on. Beside it there may be
    /// 1. a rotation, or another one that trims: one exchange of each directory word wins, and who lost looks again. A writer that is alone
    ///    in its ring is not alone with its directory words; model: exclusive_trim
    /// 2. a *block* subscriber that joins: see [`Budget`]; model: trim_join
    /// 3. a reader with a lease, or a publisher before its commit: as for a rotation, the segment waits for them; model: trim_lease
    /// 4. a reader that parks at a hole of what is evicted: it is woken; model: trim_hole_park
    #[cold]
    pub(crate) fn trim(&self, bytes: u64, bell: &impl Bell) {
        let Some(budget) = &self.budget else { return };
        let newest = self.shape.generation(self.tail().saturating_sub(1));
        self.trim_to(budget, newest.saturating_sub(1), bytes.min(budget.full_max()), bell);
    }

    fn trim_to(&self, budget: &Budget<T>, newest_full: u64, allowed: u64, bell: &impl Bell) {
        let Some(directory) = self.directory.peek() else { return };
        let made = budget.make_room(directory, self.shape, newest_full, allowed, bell);
        if made.evicted > 0 {
            // SeqCst: as in `rotate`. model: trim_hole_park
            fence(SeqCst);
            bell.disturbed();
            directory.sweep(made.evicted, bell);
        }
    }

    /// Notes where publishers go on.
    pub(super) fn note_newest(&self, segment: &Segment<T>) {
        // AcqRel: whoever finds the segment here sees its header. Pairs with the load in `claimed`. Installers that were
        // asleep put an older one here, which costs its finders the way through the table and nothing else.
        self.newest.swap(std::ptr::from_ref(segment).cast_mut(), AcqRel);
    }

    /// The bytes of a message that is about to be published, or `None` if it is too large. For one that is larger than its part
    /// of a segment others are let go.
    #[inline]
    pub(super) fn weigh(&self, budget: &Budget<T>, message: &T, bell: &impl Bell) -> Option<u64> {
        match budget.weigh(message, self.shape) {
            Ok(bytes) => Some(bytes),
            Err(bytes) if budget.takes(bytes) => {
                self.make_room_for(budget, bytes, bell);
                Some(bytes)
            }
            Err(_) => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn make_room_for(&self, budget: &Budget<T>, bytes: u64, bell: &impl Bell) {
        let Some(directory) = self.directory.peek() else { return };
        let newest = self.shape.generation(self.tail().saturating_sub(1));
        let weight = |generation: u64| {
            let word = directory.word(generation);
            if word.retains(generation) { directory.segment(word.index()).bytes() } else { 0 }
        };
        // The full one before the newest stays as well, so that who reads is not told of lag at each large message.
        let before = newest.saturating_sub(1);
        let allowed = budget.full_max().saturating_sub(weight(newest) + weight(before) + bytes);
        self.trim_to(budget, before.saturating_sub(1), allowed, bell);
    }

    /// Moves the claim word from the full generation `full` to the installed next one, unless somebody has.
    fn advance(&self, full: u64, installed: DirectoryWord) {
        let next = ClaimWord::new(installed.generation(), installed.index(), 0);
        self.note_newest(self.directory().segment(installed.index()));
        // AcqRel: publishes the segment to the claimants. Pairs with the fetch_add in `claim_one`. It fails for good once
        // the generation has moved on or the ring is closed; the overshoot of others only makes it try again.
        let advanced = update(&self.claim, AcqRel, Acquire, |word| {
            let word = ClaimWord(word);
            (word.is_of(full) && !word.is_closed() && word.count() >= self.shape.slots()).then_some(next.0)
        });
        if advanced.is_ok() && installed.generation().is_multiple_of(ERA) {
            // Release: whoever reads the note finds a claim word that has come this far. Pairs with the load in
            // `Ring::tail`. The greatest stays: one who slept here does not set it back. model: join_rotate
            self.era.fetch_max(installed.generation(), Release);
        }
    }

    /// The publish time of the last message of `full`, decided by our clock if its publisher has not come to it.
    ///
    /// `None` if the generation is no longer in the directory, which makes this rotation out of date.
    fn time_floor(&self, directory: &Directory<T>, full: u64, now: u64) -> Option<u64> {
        if full == 0 {
            return Some(0);
        }
        let place = directory.place(full);
        let word = place.word();
        if !word.retains(full) {
            return None;
        }
        // The lease keeps the segment from being reclaimed, and its times from being decided for another generation.
        let segment = directory.lease(place, word)?;
        let floor = segment.decide_times(self.shape.slots() as usize - 1, now);
        segment.end_lease();
        Some(floor)
    }
}
