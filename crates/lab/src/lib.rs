//! The load lab: what roomcast costs, and how that grows with each knob.
//!
//! `docs/lab.md` tells how to use it and how each measure is taken.
//!
//! [`load`], [`protocol`] and [`websocket`] are what every load is made of; without the feature `scenarios`
//! there is nothing else, and few dependencies. The benches use it that way.

pub mod load;
pub mod protocol;
pub mod websocket;

#[cfg(feature = "scenarios")]
mod bottleneck;
#[cfg(feature = "scenarios")]
pub mod chart;
#[cfg(feature = "scenarios")]
mod clock;
#[cfg(feature = "scenarios")]
pub mod compare;
#[cfg(feature = "scenarios")]
mod cost;
#[cfg(feature = "scenarios")]
mod fault;
#[cfg(feature = "scenarios")]
pub mod fit;
#[cfg(feature = "scenarios")]
pub mod knob;
#[cfg(feature = "scenarios")]
mod library;
#[cfg(feature = "scenarios")]
pub mod measure;
#[cfg(feature = "scenarios")]
mod measurement;
#[cfg(feature = "scenarios")]
pub mod network;
#[cfg(feature = "scenarios")]
pub mod output;
#[cfg(feature = "scenarios")]
mod procfs;
#[cfg(feature = "scenarios")]
pub mod profile;
#[cfg(feature = "scenarios")]
mod recorder;
#[cfg(feature = "scenarios")]
pub mod report;
#[cfg(feature = "scenarios")]
pub mod result;
#[cfg(feature = "scenarios")]
mod rng;
#[cfg(feature = "scenarios")]
mod run_state;
#[cfg(feature = "scenarios")]
pub mod scenario;
#[cfg(feature = "scenarios")]
mod schedule;
#[cfg(feature = "scenarios")]
pub mod watch;

#[cfg(feature = "scenarios")]
pub use self::fault::Fault;
