//! The randomly scheduled side: shuttle's twins under the same names.
//!
//! shuttle runs all threads of a test in turns on one, and takes every access to be sequentially consistent: it finds wrong
//! protocols in large scenarios, not weak orderings, which are loom's. arc-swap and crossbeam-queue have no turns within
//! them, so their twins are a mutex around the same interface.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use shuttle::sync::Mutex;

pub(crate) use shuttle::hint::spin_loop;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, fence};
pub(crate) use shuttle::thread::park;
pub(crate) use shuttle::thread::yield_now;
pub(crate) use shuttle::thread_local;
pub(crate) use std::sync::{Arc, Weak};

/// A fixed key, since a schedule must take the same path when it is replayed.
pub(crate) type HashState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// `std`'s cell in loom's shape. Only one thread runs at a time, so there is no access to be caught in the act; messages
/// that know whether they are alive tell a wrong one.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// The longest prefix of `cells` that can be lent as one slice: all of it, the cells being transparent.
pub(crate) fn lend_slice<T>(cells: &[UnsafeCell<MaybeUninit<T>>]) -> (*const T, usize) {
    (cells.as_ptr().cast(), cells.len())
}

/// The twin of arc-swap. Others have their turn between the look and the exchange, as with the original.
#[derive(Debug)]
pub(crate) struct Snapshot<T>(Mutex<Arc<T>>);

impl<T> Snapshot<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(Mutex::new(value))
    }

    fn load(&self) -> Arc<T> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.load())
    }

    pub(crate) fn update(&self, mut next: impl FnMut(&T) -> Option<T>) -> bool {
        loop {
            let seen = self.load();
            let Some(new) = next(&seen) else { return false };
            let mut value = self.0.lock().unwrap();
            if Arc::ptr_eq(&value, &seen) {
                let old = std::mem::replace(&mut *value, Arc::new(new));
                drop(value);
                drop(old);
                return true;
            }
        }
    }
}

/// The twin of crossbeam's queue.
#[derive(Debug)]
pub(crate) struct Queue<T>(Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    pub(crate) fn push(&self, value: T) {
        self.0.lock().unwrap().push_back(value);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().unwrap().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

pub(crate) type Thread = shuttle::thread::Thread;
pub(crate) type JoinHandle = shuttle::thread::JoinHandle<()>;

/// There is no time in here: it sleeps until it is woken.
pub(crate) fn park_timeout(_: std::time::Duration) {
    park();
}

pub(crate) fn current_thread() -> Thread {
    shuttle::thread::current()
}

pub(crate) fn spawn_named(name: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle> {
    shuttle::thread::Builder::new().name(name).spawn(run)
}

/// Two, so that a scenario says itself when it wants more.
pub(crate) fn cores() -> usize {
    2
}
