//! Measures roomcast beside its in-process rivals: the same workloads, on the same machine, in the same run.

pub mod cli;
pub mod contenders;
pub mod machine;
pub mod measure;
mod report;
mod run;
pub mod tally;
mod targets;
mod workloads;
