//! A part of the memory that may be used, and what was reserved of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::util::panics::lock;

/// What reservations are rounded up to: as fine as who takes little needs it, and coarse enough to be counted in 32 bits.
const BLOCK_BYTES: u64 = 1024;

/// Where less than this part of it is left, who has held much of it for a while goes, so that there is some for others.
const LEFT_PART: u64 = 4;

/// A part of the memory, by its name. What is reserved of it never is more than it has.
pub(crate) struct Share {
    name: &'static str,
    blocks: u32,
    free: Arc<Semaphore>,
    /// Bytes that are counted elsewhere, to be shown.
    noted: AtomicU64,
    /// What nobody may have for the time being.
    held_back: Mutex<HeldBack>,
}

/// How much is to be held back, and what could be had of that so far.
#[derive(Debug, Default)]
struct HeldBack {
    bytes: u64,
    reservation: Option<Reservation>,
}

impl Share {
    pub(super) fn new(name: &'static str, bytes: u64) -> Self {
        let most = (Semaphore::MAX_PERMITS as u64).min(u64::from(u32::MAX));
        let blocks = (bytes / BLOCK_BYTES).clamp(1, most) as u32;
        let (free, noted) = (Arc::new(Semaphore::new(blocks as usize)), AtomicU64::new(0));
        Self { name, blocks, free, noted, held_back: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The bytes it has.
    pub(crate) fn limit(&self) -> u64 {
        u64::from(self.blocks) * BLOCK_BYTES
    }

    /// Those of them that may be used at this moment.
    pub(crate) fn limit_now(&self) -> u64 {
        self.limit().saturating_sub(lock(&self.held_back).bytes)
    }

    /// Has nobody reserve so many bytes of it from here on, until another number is said; whether nobody has them at this moment. What
    /// somebody has is held back when this is said again.
    pub(crate) fn hold_back(&self, bytes: u64) -> bool {
        let bytes = bytes.min(self.limit()) / BLOCK_BYTES * BLOCK_BYTES;
        let mut held_back = lock(&self.held_back);
        held_back.bytes = bytes;
        if let Some(reservation) = &mut held_back.reservation {
            reservation.shrink_to(bytes);
        }
        let missing = bytes - held_back.reserved();
        let free = missing.min(self.left());
        if free > 0
            && let Some(more) = self.try_reserve(free)
        {
            Reservation::add(&mut held_back.reservation, more);
        }
        held_back.reserved() == bytes
    }

    /// The bytes that are not reserved at this moment.
    pub(crate) fn left(&self) -> u64 {
        self.free.available_permits() as u64 * BLOCK_BYTES
    }

    /// Whether there is so little left that who makes nothing of what it holds is to go.
    pub(crate) fn is_short(&self) -> bool {
        self.left() < self.limit() / LEFT_PART
    }

    /// The bytes that are reserved at this moment.
    pub(crate) fn used(&self) -> u64 {
        // Relaxed: a figure.
        let reserved = self.limit().saturating_sub(self.left()).saturating_sub(lock(&self.held_back).reserved());
        reserved + self.noted.load(Relaxed)
    }

    /// Says how much of it is used by what is bounded by it and counted elsewhere.
    pub(crate) fn note(&self, bytes: u64) {
        // Relaxed: a figure.
        self.noted.store(bytes, Relaxed);
    }

    /// Reserves so many bytes, if they are there and nobody waits for them.
    pub(crate) fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let blocks = u32::try_from(bytes.div_ceil(BLOCK_BYTES)).ok()?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(blocks).ok()?;
        Some(Reservation(permit))
    }

    /// Waits until so many bytes are there, all of them at most, and reserves them; whoever came first has them first.
    pub(crate) async fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let blocks = u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX).min(self.blocks);
        // It is never closed.
        Arc::clone(&self.free).acquire_many_owned(blocks).await.ok().map(Reservation)
    }
}

impl HeldBack {
    fn reserved(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::bytes)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("name", &self.name)
            .field("used", &self.used())
            .field("limit", &self.limit())
            .finish()
    }
}

/// Bytes of a [`Share`] that are somebody's until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation(OwnedSemaphorePermit);

impl Reservation {
    /// The bytes reserved.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.num_permits() as u64 * BLOCK_BYTES
    }

    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let needed = usize::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(usize::MAX);
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
    }

    /// Takes another one of the same share in.
    pub(crate) fn join(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    /// The same of what may have nothing yet.
    pub(crate) fn add(to: &mut Option<Self>, other: Self) {
        match to {
            Some(reserved) => reserved.join(other),
            none => *none = Some(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_given_back_when_it_is_dropped() {
        let share = Share::new("some", 10 * BLOCK_BYTES);
        let some = share.try_reserve(4 * BLOCK_BYTES - 1).expect("it is there");
        assert_eq!((some.bytes(), share.used(), share.left()), (4 * BLOCK_BYTES, 4 * BLOCK_BYTES, 6 * BLOCK_BYTES));
        assert!(share.try_reserve(7 * BLOCK_BYTES).is_none(), "more than is left");
        let rest = share.try_reserve(6 * BLOCK_BYTES).expect("all that is left");
        assert!(share.try_reserve(1).is_none());
        drop((some, rest));
        assert_eq!(share.used(), 0);
        assert!(share.try_reserve(u64::MAX).is_none());
    }

    #[test]
    fn a_reservation_shrinks_and_grows() {
        let share = Share::new("some", 10 * BLOCK_BYTES);
        let mut some = share.try_reserve(8 * BLOCK_BYTES).expect("it is there");
        some.shrink_to(3 * BLOCK_BYTES);
        assert_eq!((some.bytes(), share.used()), (3 * BLOCK_BYTES, 3 * BLOCK_BYTES));
        some.shrink_to(5 * BLOCK_BYTES);
        assert_eq!(some.bytes(), 3 * BLOCK_BYTES, "it does not grow by that");
        some.join(share.try_reserve(BLOCK_BYTES).expect("it is there"));
        assert_eq!((some.bytes(), share.used()), (4 * BLOCK_BYTES, 4 * BLOCK_BYTES));
        drop(some);
        assert_eq!(share.used(), 0);
    }

    #[test]
    fn what_is_held_back_is_nobodys_and_comes_back() {
        let share = Share::new("some", 10 * BLOCK_BYTES);
        let mut some = share.try_reserve(4 * BLOCK_BYTES).expect("it is there");
        assert!(!share.hold_back(8 * BLOCK_BYTES), "somebody has two of them");
        assert_eq!((share.left(), share.used(), share.limit_now()), (0, 4 * BLOCK_BYTES, 2 * BLOCK_BYTES));
        some.shrink_to(BLOCK_BYTES);
        assert!(share.hold_back(8 * BLOCK_BYTES), "they are free by now");
        assert_eq!((share.left(), share.used()), (BLOCK_BYTES, BLOCK_BYTES));
        assert!(share.hold_back(3 * BLOCK_BYTES));
        assert_eq!((share.left(), share.limit_now()), (6 * BLOCK_BYTES, 7 * BLOCK_BYTES));
        assert!(share.hold_back(0));
        drop(some);
        assert_eq!((share.left(), share.used(), share.limit_now()), (10 * BLOCK_BYTES, 0, share.limit()));
        assert!(share.hold_back(u64::MAX), "all of it");
        assert!(share.try_reserve(1).is_none());
    }

    #[tokio::test]
    async fn who_waits_has_it_before_who_comes_later() {
        let share = Share::new("some", 10 * BLOCK_BYTES);
        let all = share.reserve(u64::MAX).await.expect("all of it");
        let mut waits = std::pin::pin!(share.reserve(2 * BLOCK_BYTES));
        assert!(futures_poll(waits.as_mut()).is_none());
        drop(all);
        assert!(share.try_reserve(9 * BLOCK_BYTES).is_none(), "somebody has waited for two of them");
        assert_eq!(waits.await.map(|reservation| reservation.bytes()), Some(2 * BLOCK_BYTES));
    }

    fn futures_poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        }
    }
}
