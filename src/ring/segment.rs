//! A segment: `K` slots written once, a header that outlives them, and the leases that keep readers safe.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::{AcqRel, Acquire, AtomicU8, AtomicU32, AtomicU64, Relaxed, Release, UnsafeCell, lend_slice};

const EMPTY: u8 = 0;
const READY: u8 = 1;

const EVICTED: u64 = 1;

/// A header with its slots. It is never freed while its ring lives, so a reader with a stale index may always touch the
/// header; the slots belong to whoever holds a claim or a lease.
#[derive(Debug)]
pub(crate) struct Segment<T> {
    /// `generation << 1 | evicted`. Set to a new generation by the installer that owns the segment, marked evicted by
    /// the installer that took it out of the directory. The generation stays readable after the eviction: a late commit
    /// still needs its sequence.
    life: AtomicU64,
    /// Readers standing in this segment, and for a moment readers that came too late.
    leases: AtomicU32,
    /// Exclusive rooms: the sequence after the last committed one of this generation.
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
    values: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

impl<T> Segment<T> {
    pub(crate) fn new(slots: usize, timed: bool) -> Self {
        Self {
            life: AtomicU64::new(EVICTED),
            leases: AtomicU32::new(0),
            committed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            time_floor: AtomicU64::new(0),
            times: (0..if timed { slots } else { 0 }).map(|_| AtomicU64::new(0)).collect(),
            states: (0..slots).map(|_| AtomicU8::new(EMPTY)).collect(),
            values: (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        }
    }

    /// The generation this segment holds, or held until it was evicted.
    #[inline(always)]
    pub(crate) fn generation(&self) -> u64 {
        // Relaxed: a claimant read the claim word that the installer wrote after `begin`; that carries the edge. Others
        // compare the result with a word and retry.
        self.life.load(Relaxed) >> 1
    }

    /// Makes a reclaimed (or new) segment ready for `generation`; nobody but the caller may use it now.
    pub(crate) fn begin(&self, generation: u64, first: u64, time_floor: u64) {
        // Relaxed: read only by those who saw the directory word or the claim word that follow.
        self.committed.store(first, Relaxed);
        self.bytes.store(0, Relaxed);
        self.time_floor.store(time_floor, Relaxed);
        // Release: a late reader that sees this generation sees an empty segment. Pairs with the Acquire in `lease`.
        self.life.store(generation << 1, Release);
    }

    /// Marks the segment evicted; from here on no lease on it succeeds.
    pub(crate) fn evict(&self) {
        // Release: pairs with the Acquire in `lease`, through the leases counter: a reader that counts itself after
        // `is_unleased` looked sees this bit. model: rotate_lease
        self.life.fetch_or(EVICTED, Release);
    }

    // --- readers

    /// Takes a lease, if the segment still holds `generation`.
    ///
    /// 1. We count ourselves before the reclaimer looks at the counter: it sees us and leaves the segment alone.
    /// 2. We count ourselves after it looked: the counter's own order makes the eviction mark, set before, visible to
    ///    us; we step back without touching a slot.
    #[inline]
    pub(crate) fn lease(&self, generation: u64) -> bool {
        // AcqRel: Acquire for case 2, pairs with the Release half of the RMW in `is_unleased`; Release keeps the
        // chain whole for the next one who counts. model: rotate_lease
        self.leases.fetch_add(1, AcqRel);
        // Acquire: pairs with the Release store in `begin`.
        if self.life.load(Acquire) == generation << 1 {
            return true;
        }
        self.end_lease();
        false
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

    /// How many consecutive messages from `slot` on are committed, at most `max`.
    #[inline]
    pub(crate) fn ready_run(&self, slot: usize, max: usize) -> usize {
        let end = self.states.len().min(slot.saturating_add(max));
        (slot..end).take_while(|&slot| self.is_ready(slot)).count()
    }

    /// The sequence after the last committed one, in an exclusive room.
    #[inline(always)]
    pub(crate) fn committed(&self) -> u64 {
        // Acquire: the values below are seen whole. Pairs with the Release store in `commit_until`.
        self.committed.load(Acquire)
    }

    /// Lends `count` messages from `slot` on, or fewer (never none) where they cannot be lent as one slice.
    ///
    /// # Safety
    /// The caller holds a lease for as long as it uses the slice, and has seen each of these slots committed.
    #[inline]
    pub(crate) unsafe fn slice(&self, slot: usize, count: usize) -> &[T] {
        debug_assert!(count > 0 && slot + count <= self.values.len(), "a slice beyond the segment");
        let (first, lendable) = lend_slice(&self.values[slot..slot + count]);
        // SAFETY: the slots are initialised and will not be written again while the caller's lease holds off the
        // reclaimer; a committed slot has no other writer. `first` is valid for `lendable <= count` of them.
        unsafe { std::slice::from_raw_parts(first, lendable) }
    }

    /// The publish times of committed slots; empty where the room has no clock. Decided before the commit.
    #[inline]
    pub(crate) fn times(&self, slot: usize, count: usize) -> &[AtomicU64] {
        self.times.get(slot..slot + count).unwrap_or(&[])
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
    /// The caller holds the only claim on `slot` of the generation this segment holds, and has not committed it yet.
    #[inline(always)]
    pub(crate) unsafe fn commit(&self, slot: usize, value: T) {
        // SAFETY: guaranteed by the caller: one claim per slot and generation, readers stay off until READY, and the
        // reclaimer waits for all slots to be READY. So the access is exclusive.
        unsafe { self.fill(slot, value) };
        // Release: publishes the value written above. Pairs with the Acquire load in `is_ready`. model: publish_read
        self.states[slot].store(READY, Release);
    }

    /// Writes a slot without committing it.
    ///
    /// # Safety
    /// The caller has exclusive access to `slot`, which holds no value.
    #[inline(always)]
    pub(crate) unsafe fn fill(&self, slot: usize, value: T) {
        self.values[slot].with_mut(|place| {
            // SAFETY: exclusive access is guaranteed by the caller; the place is valid for writes.
            unsafe { place.write(MaybeUninit::new(value)) }
        });
    }

    /// Takes back what [`Segment::fill`] wrote and nobody committed.
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

    /// The bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        // Relaxed: see `add_bytes`.
        self.bytes.load(Relaxed)
    }

    /// Decides the publish time of `slot` and of every undecided slot below it, and returns it.
    ///
    /// Times never fall along the sequences, although publishers read the clock before they claim. Whoever claims later
    /// first decides the slots before its own, with the later time; the decided slots are thus always a prefix, each at
    /// least as late as the one below. A slot's time lies within its own `publish` call, or is the floor it was lifted to.
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
    /// Always a read-modify-write: a plain load could miss a reader that has just counted itself and then sees the
    /// segment as not yet evicted.
    pub(crate) fn is_unleased(&self) -> bool {
        // AcqRel: Release for case 2 of `lease`; Acquire pairs with `end_lease`. model: rotate_lease
        self.leases.fetch_add(0, AcqRel) == 0
    }

    /// Whether every slot is committed, so that no late publisher will still write here.
    pub(crate) fn is_full(&self) -> bool {
        self.ready_run(0, usize::MAX) == self.states.len()
    }

    /// Drops the messages of an evicted segment and empties it. Returns whether a `Drop` panicked; all are dropped all
    /// the same.
    ///
    /// # Safety
    /// The segment is evicted, unleased and full (in a shared room), and the caller alone took it from the limbo. The
    /// first `count` slots, and no others, hold values.
    pub(crate) unsafe fn clear(&self, count: usize) -> bool {
        let mut panicked = false;
        if std::mem::needs_drop::<T>() {
            for value in &self.values[..count] {
                // A panicking drop counts as dropped: the value is not touched again.
                let dropped = catch_unwind(AssertUnwindSafe(|| {
                    value.with_mut(|place| {
                        // SAFETY: exclusive, since nobody holds a lease or a claim (the caller's promise).
                        let place = unsafe { &mut *place };
                        // SAFETY: initialised (the caller's promise) and not used again: the states below say EMPTY
                        // before anybody can claim or lease the segment.
                        unsafe { place.assume_init_drop() }
                    })
                }));
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
                let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
            }
        }
    }
}

// SAFETY: a segment moves values of `T` between threads (Send) and lends `&T` to many at once (Sync); its cells are
// guarded by claims, states and leases as argued at each access.
unsafe impl<T: Send + Sync> Sync for Segment<T> {}
// SAFETY: as above; owning a segment is owning its values.
unsafe impl<T: Send> Send for Segment<T> {}
