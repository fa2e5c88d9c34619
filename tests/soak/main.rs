//! The long runs: hostile messages, sleeping and waking a hundred million times, and memory that stays flat.
//!
//! `make test` runs them for a few seconds each; `make soak` for as long as it takes. `ROOMCAST_SOAK` chooses, the counts can
//! be set one by one (see [`pace`]), and every run prints what it did.

mod churn;
mod dice;
mod guests;
mod memory;
mod message;
mod pace;
mod sleep;
mod wakers;
mod watch;
