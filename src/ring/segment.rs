//! A segment: `K` slots written once, a header that outlives them, and the leases that keep readers safe.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::sync::{AcqRel, Acquire, AtomicU8, AtomicU32, AtomicU64, Relaxed, Release, UnsafeCell, guard};

const EMPTY: u8 = 0;
const READY: u8 = 1;

/// States looked at between two branches; a model has no eight slots.
const STATES_AT_ONCE: usize = if cfg!(roomcast_loom) { 2 } else { 8 };

/// Where a segment is in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Named by the directory.
    Live = 0,
    /// Out of the directory; nobody has looked yet whether it is still in use.
    Evicted = 1,
    /// Evicted, and in use when last looked at: by a slow reader, or by a publisher that was interrupted.
    Pinned = 2,
    /// One thread's alone, on the stack of empty ones, or among those that copies have taken the place of: new, being emptied,
    /// empty, or to be emptied.
    Owned = 3,
}

const PHASE_BITS: u32 = 2;

/// The word for a generation in a phase.
const fn life(generation: u64, phase: Phase) -> u64 {
    generation << PHASE_BITS | phase as u64
}

const fn phase(life: u64) -> Phase {
    match life & ((1 << PHASE_BITS) - 1) {
        0 => Phase::Live,
        1 => Phase::Evicted,
        2 => Phase::Pinned,
        _ => Phase::Owned,
    }
}

/// A header with its slots. It is never freed while its ring lives, so a reader with a stale index may always touch the
/// header; the slots belong to whoever holds a claim or a lease.
#[derive(Debug)]
pub(crate) struct Segment<T> {
    /// `{ generation 62 | phase 2 }`. The generation stays readable after the eviction: a late commit still needs its
    /// sequence.
    /// * `Owned` → `Live` of a new generation by its owner, in [`Segment::begin`];
    /// * `Live` → `Evicted` by the installer that took it out of the directory;
    /// * `Live` → `Owned` by the rewriter that put a copy in its place;
    /// * `Evicted` → `Pinned` by whoever finds it in use;
    /// * `Evicted` or `Pinned` → `Owned` by whoever finds it unused: one of several.
    life: AtomicU64,
    /// Readers standing in this segment, and for a moment readers that came too late. So many bits that nobody can count
    /// them full, not even with readers that are forgotten and never end; 32 were full within minutes. They take the place
    /// of what would be padding.
    leases: AtomicU64,
    /// The next one on the stack of empty segments.
    next_free: AtomicU32,
    /// Its own place in the table.
    index: u16,
    /// Exclusive rooms: the sequence after the last committed one of this generation. Shared rooms: how many messages are in a
    /// segment that a copy has taken the place of.
    committed: AtomicU64,
    /// Bytes of the messages in it, where the room has a byte budget.
    bytes: AtomicU64,
    /// The publish time of the generation before, below which no time here may fall.
    time_floor: AtomicU64,
    /// Publish time by slot, 0 = undecided; empty where the room has no clock.
    times: Box<[AtomicU64]>,
    /// EMPTY → READY by the publisher that claimed the slot, READY → EMPTY by the reclaimer. Apart from the values, so
    /// that a run of values is a slice.
    states: Box<[AtomicU8]>,
    values: Box<[Slot<T>]>,
}

/// Where one message lies.
pub(crate) type Slot<T> = UnsafeCell<MaybeUninit<T>>;

impl<T> Segment<T> {
    pub(crate) fn new(slots: usize, timed: bool) -> Self {
        Self {
            life: AtomicU64::new(life(0, Phase::Owned)),
            leases: AtomicU64::new(0),
            next_free: AtomicU32::new(0),
            index: 0,
            committed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            time_floor: AtomicU64::new(0),
            times: (0..if timed { slots } else { 0 }).map(|_| AtomicU64::new(0)).collect(),
            states: (0..slots).map(|_| AtomicU8::new(EMPTY)).collect(),
            values: (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        }
    }

    /// Its place in the table, known from when it is put there.
    #[inline(always)]
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    pub(crate) fn set_index(&mut self, index: u16) {
        self.index = index;
    }

    /// How many slots it has.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// The generation this segment holds, or held until it was evicted.
    #[inline(always)]
    pub(crate) fn generation(&self) -> u64 {
        // Relaxed: a claimant read the claim word that the installer wrote after `begin`; that carries the edge. Others
        // compare the result with a word and retry.
        self.life.load(Relaxed) >> PHASE_BITS
    }

    /// Makes a reclaimed (or new) segment ready for `generation`; nobody but the caller may use it now.
    pub(crate) fn begin(&self, generation: u64, first: u64, time_floor: u64) {
        // Release: who reads these bytes knows that the directory names the segment for an earlier generation no more. Pairs
        // with the Acquire in `bytes`. model: budget_join
        self.bytes.store(0, Release);
        // Relaxed, all three: read only by those who saw the directory word or the claim word that follow; `reclaim_if` acts on
        // an evicted segment alone. model: begin_again
        self.committed.store(first, Relaxed);
        self.time_floor.store(time_floor, Relaxed);
        self.life.store(life(generation, Phase::Live), Relaxed);
    }

    /// Marks the segment, which the directory names no more, evicted.
    pub(crate) fn evict(&self) {
        // Release: who reclaims it knows that the directory has let it go, and so, through the leases counter, does a
        // reader that counts itself after that. Pairs with the Acquire in `reclaim_if`. model: sweep_lease
        self.life.fetch_or(Phase::Evicted as u64, Release);
    }

    // --- readers

    /// Counts one more reader. It may touch a slot once the directory, asked after this, still names the segment
    /// ([`super::directory::Directory::lease`]).
    #[inline]
    pub(super) fn count_lease(&self) {
        // Acquire: pairs with the Release half of the RMW in `is_unleased`, and a read-modify-write goes on with the release
        // of the one before. model: rotate_lease, sweep_lease
        self.leases.fetch_add(1, Acquire);
    }

    /// Gives a lease back.
    #[inline]
    pub(crate) fn end_lease(&self) {
        // Release: our reads of the slots come before the reclaimer's reuse. Pairs with the RMW in `is_unleased`.
        self.leases.fetch_sub(1, Release);
    }

    /// Whether the message in `slot` is committed.
    #[inline(always)]
    pub(crate) fn is_ready(&self, slot: usize) -> bool {
        // Acquire: the value is seen whole. Pairs with the Release store in `commit`. model: publish_read
        self.states[slot].load(Acquire) == READY
    }

    /// How many consecutive messages from `slot` on are committed.
    #[inline]
    pub(crate) fn ready_run(&self, slot: usize) -> usize {
        let states = self.states.get(slot..).unwrap_or(&[]);
        // Acquire: as in `is_ready`. Several at a time, since most runs are long where it matters.
        let are_ready = |some: &&[AtomicU8]| some.iter().fold(READY, |all, state| all & state.load(Acquire)) == READY;
        let run = states.chunks_exact(STATES_AT_ONCE).take_while(are_ready).count() * STATES_AT_ONCE;
        // Acquire: as above.
        states[run..].iter().take_while(|state| state.load(Acquire) == READY).count() + run
    }

    /// The slots, for a reader that holds a lease.
    pub(crate) fn slots(&self) -> NonNull<Slot<T>> {
        NonNull::from(&*self.values).cast()
    }

    /// The sequence after the last committed one, in an exclusive room.
    #[inline(always)]
    pub(crate) fn committed(&self) -> u64 {
        // Acquire: the values below are seen whole. Pairs with the Release store in `commit_until`.
        self.committed.load(Acquire)
    }

    /// The publish times of committed slots; empty where the room has no clock. Decided before the commit.
    #[inline]
    pub(crate) fn times(&self, slot: usize, count: usize) -> &[AtomicU64] {
        self.times.get(slot..slot + count).unwrap_or(&[])
    }

    /// The publish time of the generation before.
    pub(super) fn time_floor(&self) -> u64 {
        // Relaxed: written by `begin`, before the word by which the caller came.
        self.time_floor.load(Relaxed)
    }

    /// Takes over the publish times of the first `count` slots of another, all of which are committed.
    pub(super) fn copy_times(&self, other: &Self, count: usize) {
        for (time, decided) in self.times.iter().zip(&other.times).take(count) {
            // Relaxed, both: decided before the commits that the caller has seen; the words that name us publish them.
            time.store(decided.load(Relaxed), Relaxed);
        }
    }

    /// The publish time of the last slot of a full segment.
    pub(crate) fn last_time(&self) -> u64 {
        // Relaxed: asked by the one writer that decided it.
        self.times.last().map_or(0, |time| time.load(Relaxed))
    }

    // --- publishers

    /// Fills and commits a claimed slot. The commit is the last touch: the segment may be reclaimed right after.
    ///
    /// # Safety
    /// The segment has this slot, and the caller holds the only claim on it in the generation this segment holds, and has
    /// not committed it yet.
    #[inline(always)]
    pub(crate) unsafe fn commit(&self, slot: usize, value: T) {
        debug_assert!(slot < self.values.len(), "slot {slot} lies beyond the segment");
        // SAFETY: the caller says that the segment has this slot.
        let place = unsafe { self.values.get_unchecked(slot) };
        // SAFETY: as above; values and states have the same length.
        let state = unsafe { self.states.get_unchecked(slot) };
        // SAFETY: guaranteed by the caller: one claim per slot and generation, readers stay off until READY, and the
        // reclaimer waits for all slots to be READY. So the access is exclusive, and the slot holds nothing.
        unsafe { fill(place, value) };
        // Release: publishes the value written above. Pairs with the Acquire load in `is_ready`. model: publish_read
        state.store(READY, Release);
    }

    /// The slots from `slot` on, for the writer of an exclusive ring.
    #[inline(always)]
    pub(crate) fn slots_from(&self, slot: usize) -> &[Slot<T>] {
        self.values.get(slot..).unwrap_or(&[])
    }

    /// Takes back what [`fill`] wrote and nobody committed.
    ///
    /// # Safety
    /// The caller has exclusive access to `slot`, has filled it, and treats it as empty from now on.
    pub(crate) unsafe fn take_back(&self, slot: usize) -> T {
        self.values[slot].with(|place| {
            // SAFETY: guaranteed by the caller: not shared, and not read again.
            let value = unsafe { place.read() };
            // SAFETY: guaranteed by the caller: initialised.
            unsafe { value.assume_init() }
        })
    }

    /// Commits everything below `sequence`, in an exclusive room.
    #[inline]
    pub(crate) fn commit_until(&self, sequence: u64) {
        // Release: publishes the values written before. Pairs with the Acquire load in `committed`.
        self.committed.store(sequence, Release);
    }

    /// Adds to the bytes held, and returns the new sum.
    pub(crate) fn add_bytes(&self, bytes: u64) -> u64 {
        // Relaxed: a sum; whoever acts on it is ordered by the claim word.
        self.bytes.fetch_add(bytes, Relaxed) + bytes
    }

    /// The bytes held, in whatever generation it is in: those of the one wanted if the directory, asked after this, still
    /// names the segment.
    pub(crate) fn bytes(&self) -> u64 {
        // Acquire: pairs with the Release in `begin`. As a sum it may miss what is being added.
        self.bytes.load(Acquire)
    }

    /// Decides the publish time of `slot` and of every undecided slot below it, and returns it.
    ///
    /// Times never fall along the sequences, although publishers read the clock before they claim. Whoever claims later
    /// first decides the slots before its own, with the later time; the decided slots are thus always a prefix, each at
    /// least as late as the one below. Each is what the publisher's own clock said, or that of one that came after it, or
    /// the floor it was lifted to.
    pub(crate) fn decide_times(&self, slot: usize, now: u64) -> u64 {
        let undecided = self.times[..=slot].iter().rposition(|time| time.load(Acquire) != 0).map_or(0, |last| last + 1);
        let mut floor = match undecided {
            // Relaxed: written by `begin`, before the claim.
            0 => self.time_floor.load(Relaxed),
            // Acquire: pairs with the compare-exchange below.
            n => self.times[n - 1].load(Acquire),
        };
        for time in &self.times[undecided.min(slot)..=slot] {
            // AcqRel on success, Acquire on failure: a chain from each decision to the next, so the prefix is whole.
            // model: falling_times
            floor = match time.compare_exchange(0, now.max(floor).max(1), AcqRel, Acquire) {
                Ok(_) => now.max(floor).max(1),
                Err(decided) => decided,
            };
        }
        floor
    }

    // --- reclaimers

    /// Whether no reader stands in it.
    ///
    /// Always a read-modify-write: a plain load could miss a reader that has just counted itself and then finds the
    /// segment still named by the directory.
    pub(crate) fn is_unleased(&self) -> bool {
        // AcqRel: Release for a reader that counts itself later, pairs with `count_lease`; Acquire pairs with `end_lease`.
        // model: rotate_lease, sweep_lease
        self.leases.fetch_add(0, AcqRel) == 0
    }

    /// Takes an evicted segment that nobody uses for the caller alone; false if it is not evicted, in use, or another's.
    /// `waiting` counts the evicted ones that nobody has looked at, where messages are to be dropped.
    ///
    /// Evicted, then unleased, then full, in this order: a reader that counts itself later finds it named no more and steps
    /// back, and a publisher with a claim has not committed. If another thread takes it meanwhile, the exchange fails, even
    /// if it comes round again: a generation is in the directory once, so a segment is evicted from it once.
    pub(crate) fn reclaim(&self, waiting: &AtomicU32, exclusive: bool) -> bool {
        self.reclaim_if(waiting, || exclusive || self.is_full())
    }

    /// The same where `is_settled` says that no publisher will still write here.
    #[inline]
    fn reclaim_if(&self, waiting: &AtomicU32, is_settled: impl FnOnce() -> bool) -> bool {
        // Acquire: pairs with the Release in `evict`. model: sweep_lease
        let seen = self.life.load(Acquire);
        let phase = phase(seen);
        if !matches!(phase, Phase::Evicted | Phase::Pinned) {
            return false;
        }
        let unused = self.is_unleased() && is_settled();
        let next = if unused { Phase::Owned } else { Phase::Pinned };
        if phase == next {
            return false;
        }
        // AcqRel: what was done here before comes before the emptying. Whoever owns it next synchronises with us by the
        // stack or by the word that names it.
        let moved = self.life.compare_exchange(seen, life(seen >> PHASE_BITS, next), AcqRel, Relaxed).is_ok();
        if moved && phase == Phase::Evicted && std::mem::needs_drop::<T>() {
            // Relaxed: a count that decides who drops.
            waiting.fetch_sub(1, Relaxed);
        }
        moved && unused
    }

    /// A copy with its first `count` messages, which are all that were claimed, has taken its place. `is_ours`: the caller has put
    /// it there; if not, the segment was evicted, or is about to be.
    pub(super) fn leave(&self, count: usize, is_ours: bool) {
        // Relaxed: read by who takes it off the list of those that were left.
        self.committed.store(count as u64, Relaxed);
        if is_ours {
            // Relaxed: nobody acts on it who does not come by that list.
            self.life.fetch_or(Phase::Owned as u64, Relaxed);
        }
    }

    /// Takes a segment that was left, and that nobody reads any more, for the caller alone, who has it off the list of those; how
    /// many messages are in it.
    pub(super) fn reclaim_left(&self, waiting: &AtomicU32) -> Option<usize> {
        let is_taken = match self.phase() {
            // The directory was changed before it was listed.
            Phase::Owned => self.is_unleased(),
            // Whatever was claimed was committed before it was copied.
            _ => self.reclaim_if(waiting, || true),
        };
        // Relaxed: written before it was listed.
        is_taken.then(|| self.committed.load(Relaxed) as usize)
    }

    pub(crate) fn phase(&self) -> Phase {
        // Relaxed: a figure.
        phase(self.life.load(Relaxed))
    }

    /// What lies below it on the stack of empty segments, to be read by whoever then exchanges the top.
    pub(crate) fn next_free(&self) -> u32 {
        // Relaxed: ordered by the top of the stack.
        self.next_free.load(Relaxed)
    }

    pub(crate) fn set_next_free(&self, next: u32) {
        // Relaxed: published by the exchange of the top.
        self.next_free.store(next, Relaxed);
    }

    /// Whether every slot is committed, so that no late publisher will still write here.
    pub(crate) fn is_full(&self) -> bool {
        self.ready_run(0) == self.states.len()
    }

    /// Drops the messages of an evicted segment and empties it. Returns whether a `Drop` panicked; all are dropped all
    /// the same.
    ///
    /// # Safety
    /// The segment is out of the directory and unleased, nobody will still fill a slot of it, and it is the caller's alone. The
    /// first `count` slots, and no others, hold values.
    pub(crate) unsafe fn clear(&self, count: usize) -> bool {
        let mut panicked = false;
        if std::mem::needs_drop::<T>() {
            for value in &self.values[..count] {
                // A panicking drop counts as dropped: the value is not touched again.
                let dropped = guard(|| {
                    value.with_mut(|place| {
                        // SAFETY: exclusive, since nobody holds a lease or a claim (the caller's promise).
                        let place = unsafe { &mut *place };
                        // SAFETY: initialised (the caller's promise) and not used again: the states below say EMPTY
                        // before anybody can claim or lease the segment.
                        unsafe { place.assume_init_drop() }
                    })
                });
                panicked |= dropped.is_err();
            }
        }
        // Relaxed, here and below: nobody reads a cleared segment; `begin` and the directory word publish it anew.
        self.committed.store(0, Relaxed);
        for state in &self.states {
            state.store(EMPTY, Relaxed);
        }
        for time in &self.times {
            // Relaxed: as above.
            time.store(0, Relaxed);
        }
        panicked
    }

    /// Drops what is still held at the end of the ring's life; a panicking `Drop` does not keep the others.
    pub(crate) fn drop_held(&mut self, first: u64, exclusive: bool) {
        let committed = self.committed().saturating_sub(first) as usize;
        for slot in 0..self.states.len() {
            if if exclusive { slot < committed } else { self.is_ready(slot) } {
                // SAFETY: committed and not cleared, so initialised; `&mut self` makes us the only user, and the
                // segment goes away with its ring.
                let value = unsafe { self.take_back(slot) };
                drop(guard(|| drop(value)));
            }
        }
    }
}

/// Writes a slot without committing it.
///
/// # Safety
/// The caller has exclusive access to the slot, which holds no value.
#[inline(always)]
pub(crate) unsafe fn fill<T>(slot: &Slot<T>, value: T) {
    slot.with_mut(|place| {
        // SAFETY: exclusive access is guaranteed by the caller; the place is valid for writes.
        unsafe { place.write(MaybeUninit::new(value)) }
    });
}

// SAFETY: a segment moves values of `T` between threads (Send) and lends `&T` to many at once (Sync); its cells are
// guarded by claims, states and leases as argued at each access.
unsafe impl<T: Send + Sync> Sync for Segment<T> {}
// SAFETY: as above; owning a segment is owning its values.
unsafe impl<T: Send> Send for Segment<T> {}

#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
mod tests {
    use super::*;

    /// Four billion readers are within anybody's reach: a subscription that is forgotten keeps its lease for good.
    #[test]
    fn leases_are_not_counted_round_to_none() {
        let segment = Segment::<u8>::new(1, false);
        segment.begin(1, 0, 0);
        segment.leases.store(u32::MAX.into(), Relaxed);
        segment.count_lease();
        segment.evict();
        assert!(!segment.is_unleased(), "a segment with 2^32 readers counts as unused");
        segment.end_lease();
        assert!(!segment.is_unleased());
    }
}
