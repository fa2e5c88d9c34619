//! The modelled side: loom's twins under the same names.
//!
//! arc-swap and crossbeam-queue cannot be followed by loom. Their twins here are a mutex around the same interface, so a
//! model checks *our* protocol around them, not theirs.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

pub(crate) use loom::hint::spin_loop;
pub(crate) use loom::sync::Arc;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, fence};
pub(crate) use loom::thread::park;
pub(crate) use loom::thread::yield_now;

/// `std`'s macro over loom's, which knows no `const` initialiser.
macro_rules! model_thread_local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const $value:block;) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
    };
}
pub(crate) use model_thread_local as thread_local;

/// A fixed key, since a model must take the same path each time.
pub(crate) type HashState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// loom's cell, which reports two unsynchronised accesses.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        self.0.with(read)
    }

    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(write)
    }
}

/// The longest prefix of `cells` that can be lent as one slice: loom's cells are not transparent, so one value at a time.
pub(crate) fn lend_slice<T>(cells: &[UnsafeCell<MaybeUninit<T>>]) -> (*const T, usize) {
    (cells[0].with(|value| value.cast()), 1)
}

/// The twin of arc-swap. Others have their turn between the look and the exchange, as with the original, so that what makes
/// the next value may run again.
#[derive(Debug)]
pub(crate) struct Snapshot<T>(loom::sync::Mutex<std::sync::Arc<T>>);

impl<T> Snapshot<T> {
    pub(crate) fn new(value: std::sync::Arc<T>) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        let value = self.0.lock().unwrap().clone();
        look(&value)
    }

    pub(crate) fn update(&self, mut next: impl FnMut(&T) -> Option<T>) -> bool {
        loop {
            let seen = self.0.lock().unwrap().clone();
            let Some(new) = next(&seen) else { return false };
            let mut value = self.0.lock().unwrap();
            if std::sync::Arc::ptr_eq(&value, &seen) {
                let old = std::mem::replace(&mut *value, std::sync::Arc::new(new));
                drop(value);
                drop(old);
                return true;
            }
        }
    }
}

/// The twin of crossbeam's queue.
#[derive(Debug)]
pub(crate) struct Queue<T>(loom::sync::Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Mutex::new(VecDeque::new()))
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

pub(crate) type Thread = loom::thread::Thread;
pub(crate) type JoinHandle = loom::thread::JoinHandle<()>;

/// There is no time in here: it sleeps until it is woken.
pub(crate) fn park_timeout(_: std::time::Duration) {
    park();
}

pub(crate) fn current_thread() -> Thread {
    loom::thread::current()
}

pub(crate) fn spawn_named(_: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle> {
    Ok(loom::thread::spawn(run))
}

/// Two, so that a model stays small.
pub(crate) fn cores() -> usize {
    2
}
