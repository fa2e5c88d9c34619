//! loom models of the races in the core, each driving the shipped types.
//!
//! `make loom` runs them. A model is named for the race it visits; the comments in `src/` and the table in
//! `docs/design.md` point here by these names. Rings have 1 or 2 slots in 2 segments, so that a few messages lap them.

mod close;
mod exclusive;
mod gate;
mod lease;
mod lifetime;
mod limbo;
mod park;
mod pattern;
mod publish;
mod rewrite;
mod rotate;
mod set;
mod shard;
mod stack;
mod support;
mod sync;
mod table;
mod times;
mod trim;
