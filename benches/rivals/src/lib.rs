//! Measures roomcast beside its in-process rivals: the same workloads, on the same machine, in the same run.
//!
//! `contenders` puts everybody behind the same few verbs, `workloads` says what is done with them and registers every
//! measurement as a case; the `harness` carries the cases out in processes of their own and holds the figures against
//! `targets`. Whatever is read is folded into a `tally`, which must add up in the end.

pub mod cli;
pub mod contenders;
pub mod tally;
mod targets;
mod workloads;
