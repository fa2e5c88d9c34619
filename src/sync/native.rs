//! The shipped side: `std`, arc-swap and crossbeam-queue.

use std::mem::MaybeUninit;
use std::thread;

use arc_swap::ArcSwap;
use crossbeam_queue::SegQueue;

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, fence};
pub(crate) use std::sync::{Arc, Weak};
pub(crate) use std::thread::park;
pub(crate) use std::thread::park_timeout;
pub(crate) use std::thread::yield_now;
pub(crate) use std::thread_local;

/// How names are hashed: with a random key, so that nobody can choose names that collide.
pub(crate) type HashState = std::hash::RandomState;

/// `std`'s cell in loom's shape: access through a closure, so that loom can see it.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// The longest prefix of `cells` that can be lent as one slice: all of it, the cells being transparent.
#[inline(always)]
pub(crate) fn lend_slice<T>(cells: &[UnsafeCell<MaybeUninit<T>>]) -> (*const T, usize) {
    (cells.as_ptr().cast(), cells.len())
}

/// A value replaced whole: readers take it without a lock, writers retry.
#[derive(Debug)]
pub(crate) struct Snapshot<T>(ArcSwap<T>);

impl<T> Snapshot<T> {
    pub(crate) fn new(value: std::sync::Arc<T>) -> Self {
        Self(ArcSwap::new(value))
    }

    /// Looks at the current value, without counting a reference where arc-swap can avoid it.
    #[inline]
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0.load())
    }

    /// Replaces the value by what `next` makes of it, again while others are faster; `None` leaves it as it is.
    /// Returns whether it was replaced. `next` may run several times.
    pub(crate) fn update(&self, mut next: impl FnMut(&T) -> Option<T>) -> bool {
        // model: replace_replace
        let mut seen = self.0.load();
        loop {
            let Some(new) = next(&seen) else { return false };
            let before = self.0.compare_and_swap(&*seen, std::sync::Arc::new(new));
            if std::ptr::eq(&**before, &**seen) {
                return true;
            }
            seen = before;
        }
    }
}

/// An unbounded lock-free queue; whoever uses one says what bounds it.
#[derive(Debug)]
pub(crate) struct Queue<T>(SegQueue<T>);

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self(SegQueue::new())
    }

    pub(crate) fn push(&self, value: T) {
        self.0.push(value);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

pub(crate) type Thread = thread::Thread;
pub(crate) type JoinHandle = thread::JoinHandle<()>;

pub(crate) fn current_thread() -> Thread {
    thread::current()
}

pub(crate) fn spawn_named(name: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle> {
    thread::Builder::new().name(name).spawn(run)
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
