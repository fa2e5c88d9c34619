//! The one place that names atomics, threads, arc-swap, crossbeam-queue, loom and shuttle.
//!
//! Built with `--cfg roomcast_loom`, every name here stands for its loom twin, so that the models in `loom-tests/` drive
//! the very types that are shipped. loom honours `fence(SeqCst)` but treats SeqCst loads and stores as AcqRel; the core
//! therefore uses Acquire and Release, and a fence on both sides of each store-load race. Built with
//! `--cfg roomcast_shuttle`, they stand for those of shuttle, for scenarios too large for loom (`shuttle-tests/`).

#[cfg(roomcast_loom)]
#[path = "model.rs"]
mod backend;
#[cfg(roomcast_shuttle)]
#[path = "scheduled.rs"]
mod backend;
#[cfg(not(any(roomcast_loom, roomcast_shuttle)))]
#[path = "native.rs"]
mod backend;

mod failpoint;
mod guard;
mod lazy;
mod look;
mod parker;

#[cfg(not(roomcast_loom))]
pub(crate) use self::backend::Weak;
pub(crate) use self::backend::{
    Arc, AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, HashState, JoinHandle, Queue, Snapshot, UnsafeCell,
    cores, fence, lend_slice, spawn_named, spin_loop, thread_local, yield_now,
};
pub use self::failpoint::Stage;
pub(crate) use self::failpoint::failpoint;
#[cfg(all(any(test, feature = "failpoint"), not(any(roomcast_loom, roomcast_shuttle))))]
pub use self::failpoint::stop_at;
pub(crate) use self::guard::{Panicked, guard};
pub(crate) use self::lazy::Lazy;
pub(crate) use self::look::{Look, update};
pub(crate) use self::parker::{Signal, block_anywhere_for, block_on, block_on_for};
pub(crate) use ::std::process::id as process_id;
pub(crate) use ::std::sync::atomic::Ordering;
pub(crate) use ::std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
