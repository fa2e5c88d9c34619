//! Groups and members that have come to the edge of what may be seen of their rooms.
//!
//! Each has a waker of its own, which its room's watermark is given. The waker lists whose it is and wakes the delivery: so a turn
//! looks only at those whose watermarks have moved, however many rest.

use crate::util::panics::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Wake, Waker};

use super::MemberKey;

/// Places in the list for which space is kept between turns.
const LISTED_KEPT: usize = 256;

/// Who rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A group.
    Group(usize),
    /// A member that is behind its group.
    Member(MemberKey),
}

/// The wakers of those who rest, and who is to be looked at.
pub(super) struct HeldList {
    moved: Arc<Mutex<Moved>>,
    /// Those of members; few are behind, and fewer at an edge. A group has its own.
    members: HashMap<MemberKey, Waker>,
    /// Taken from the list and not looked at yet.
    taken: VecDeque<Arc<Place>>,
}

/// Those whose watermarks have moved.
struct Moved {
    /// Each once, the one that waits longest first.
    list: VecDeque<Arc<Place>>,
    /// Who takes them.
    waker: Waker,
}

/// What a waker knows.
struct Place {
    whose: Held,
    is_listed: AtomicBool,
    /// Nothing once the delivery is over.
    moved: Weak<Mutex<Moved>>,
}

impl HeldList {
    pub(super) fn new() -> Self {
        let moved = Moved { list: VecDeque::new(), waker: Waker::noop().clone() };
        Self { moved: Arc::new(Mutex::new(moved)), members: HashMap::new(), taken: VecDeque::new() }
    }

    /// A waker for a group, or a member; to be kept, and used again.
    pub(super) fn waker(&self, whose: Held) -> Waker {
        let moved = Arc::downgrade(&self.moved);
        let place = Place { whose, is_listed: AtomicBool::new(false), moved };
        // Every clone of a clone has the same table of functions, by which `Waker::will_wake` knows it; the first may have another.
        #[expect(clippy::redundant_clone, reason = "see above")]
        Waker::from(Arc::new(place)).clone()
    }

    /// A member's.
    pub(super) fn member_waker(&mut self, member_key: MemberKey) -> &Waker {
        if !self.members.contains_key(&member_key) {
            let waker = self.waker(Held::Member(member_key));
            self.members.insert(member_key, waker);
        }
        &self.members[&member_key]
    }

    /// Takes a member's back, to be forgotten by whom it was given to.
    pub(super) fn take_member_waker(&mut self, member_key: MemberKey) -> Option<Waker> {
        self.members.remove(&member_key)
    }

    /// Takes over the list; whoever polls is woken for the next that is listed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        let mut moved = lock(&self.moved);
        if !moved.waker.will_wake(cx.waker()) {
            moved.waker = cx.waker().clone();
        }
        self.taken.append(&mut moved.list);
        moved.list.shrink_to(LISTED_KEPT);
    }

    /// The next that is to be looked at.
    pub(super) fn next(&mut self) -> Option<Held> {
        let Some(place) = self.taken.pop_front() else {
            self.taken.shrink_to(LISTED_KEPT);
            return None;
        };
        // AcqRel: pairs with `wake`. Who is woken from here on is listed again; who was not listed again has moved its watermark
        // before, and whoever looks sees it.
        place.is_listed.swap(false, AcqRel);
        Some(place.whose)
    }

    /// How many wakers there are.
    #[cfg(test)]
    pub(super) fn wakers(&self) -> usize {
        Arc::weak_count(&self.moved)
    }
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        // AcqRel: pairs with `next`.
        if self.is_listed.swap(true, AcqRel) {
            return;
        }
        let Some(moved) = self.moved.upgrade() else { return };
        let waker = {
            let mut moved = lock(&moved);
            moved.list.push_back(self);
            // Whoever came first has woken it.
            (moved.list.len() == 1).then(|| moved.waker.clone())
        };
        // Without the lock: a waker may run code of the one who waits.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
