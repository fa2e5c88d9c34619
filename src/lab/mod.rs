//! The load lab: what roomcast costs, and how that grows with each knob.
//!
//! `docs/lab.md` tells how to use it and how each measure is taken.

pub mod fit;
pub mod result;
