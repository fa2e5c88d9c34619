//! An intrusive lock-free stack that is pushed one by one and taken whole.
//!
//! The stack of R. K. Treiber, "Systems Programming: Coping with Parallelism" (IBM, 1986). Taken whole by one swap, it
//! has no ABA problem: nobody pops a single node.

use std::fmt;
use std::marker::PhantomData;
use std::ptr;

use crate::sync::{AcqRel, Arc, AtomicBool, AtomicPtr, Look, Relaxed};

/// What a node carries to be on a stack: on one at a time.
#[derive(Debug)]
pub(crate) struct Link<N> {
    /// Valid while queued; written before the push that publishes it.
    next: AtomicPtr<N>,
    /// Whether a stack, or a chain taken from one, holds a reference to the node.
    queued: AtomicBool,
}

impl<N> Link<N> {
    pub(crate) fn new() -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()), queued: AtomicBool::new(false) }
    }

    /// Whether the node is on a stack, or just being taken off.
    pub(crate) fn is_queued(&self) -> bool {
        // Relaxed: a hint.
        self.queued.load(Relaxed)
    }
}

/// A type that can be on a [`Stack`].
pub(crate) trait Linked: Sized {
    /// The node's own link, always the same one.
    fn link(&self) -> &Link<Self>;
}

/// A stack of counted references.
///
/// It moves between threads as they do, which is left to the compiler: an `impl` of ours would ask for `N: Linked`, and a
/// node that leads to a room of messages that lead to rooms would then be asked for in a circle.
pub(crate) struct Stack<N: Linked> {
    top: AtomicPtr<N>,
    nodes: PhantomData<Arc<N>>,
}

impl<N: Linked> Stack<N> {
    pub(crate) fn new() -> Self {
        Self { top: AtomicPtr::new(ptr::null_mut()), nodes: PhantomData }
    }

    /// Puts a node on the stack, unless it is on one; returns whether it did.
    ///
    /// A node already queued is not pushed again, yet whoever takes it sees what its owner did before this call: taking
    /// clears `queued` first and looks at the node afterwards.
    pub(crate) fn push(&self, node: &Arc<N>) -> bool {
        // AcqRel: Release for the taker that clears the mark we leave, Acquire to own `next` after the last taker has
        // read it. Pairs with the swap in `Chain::next`. model: requeue_take
        if node.link().queued.swap(true, AcqRel) {
            return false;
        }
        let raw = Arc::into_raw(Arc::clone(node)).cast_mut();
        // Relaxed: only a place to start from.
        let mut top = self.top.look(Relaxed);
        loop {
            // Relaxed: published by the exchange below.
            node.link().next.store(top, Relaxed);
            // AcqRel: Release publishes the node and its link to the swap in `take_all`; by Acquire we see what was done
            // before an earlier one. model: park_disturb
            match self.top.compare_exchange(top, raw, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(seen) => top = seen,
            }
        }
    }

    /// Takes everything, last pushed first. Whoever pushes after this sees what we did before.
    pub(crate) fn take_all(&self) -> Chain<N> {
        // AcqRel: Acquire sees every node pushed, the exchanges in `push` going on with the release of the first; Release
        // pairs with the next one. model: push_push_take, park_disturb
        Chain { top: self.top.swap(ptr::null_mut(), AcqRel) }
    }

    /// The same, at the price of a look if it is empty. It may miss what somebody is just pushing.
    pub(crate) fn take_if_any(&self) -> Chain<N> {
        if self.is_empty() { Chain { top: ptr::null_mut() } } else { self.take_all() }
    }

    /// Whether nothing is on it. Ordered by nothing: callers that must not miss a push put a fence before.
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: see above.
        self.top.load(Relaxed).is_null()
    }
}

impl<N: Linked> Drop for Stack<N> {
    fn drop(&mut self) {
        drop(self.take_all());
    }
}

impl<N: Linked> fmt::Debug for Stack<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("empty", &self.is_empty()).finish()
    }
}

/// Nodes taken from a stack, given out one by one; dropping it gives the rest back to their owners.
pub(crate) struct Chain<N: Linked> {
    top: *mut N,
}

impl<N: Linked> Chain<N> {
    /// The same nodes in the order in which they were pushed.
    pub(crate) fn reversed(mut self) -> Self {
        let mut reversed = ptr::null_mut();
        let mut node = std::mem::replace(&mut self.top, ptr::null_mut());
        while !node.is_null() {
            // SAFETY: a node of the chain; the chain's reference keeps it alive and its `queued` mark keeps its link ours.
            let link = unsafe { &*node }.link();
            // Relaxed, both: the links of a chain are its holder's alone; the take's Acquire made them visible.
            let next = link.next.load(Relaxed);
            link.next.store(reversed, Relaxed);
            reversed = node;
            node = next;
        }
        Self { top: reversed }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.top.is_null()
    }
}

impl<N: Linked> Iterator for Chain<N> {
    type Item = Arc<N>;

    fn next(&mut self) -> Option<Arc<N>> {
        if self.top.is_null() {
            return None;
        }
        // SAFETY: the pointer came from `Arc::into_raw` in `push`; its reference passes to us here, once.
        let node = unsafe { Arc::from_raw(self.top.cast_const()) };
        // Relaxed: as in `reversed`.
        self.top = node.link().next.load(Relaxed);
        // AcqRel: after this the owner may push the node again (Release: our read of `next` comes first); Acquire: we see
        // what the owner did before it found the node still queued. Pairs with the swap in `push`. model: requeue_take
        node.link().queued.swap(false, AcqRel);
        Some(node)
    }
}

impl<N: Linked> Drop for Chain<N> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

// SAFETY: a chain is a list of owned `Arc<N>`, so it moves between threads as they do.
unsafe impl<N: Linked + Send + Sync> Send for Chain<N> {}
// SAFETY: `&Chain` allows nothing but a null check.
unsafe impl<N: Linked + Send + Sync> Sync for Chain<N> {}

impl<N: Linked> fmt::Debug for Chain<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("empty", &self.is_empty()).finish()
    }
}
