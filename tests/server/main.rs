//! The server from outside: raw WebSocket clients against a server in this process.

mod api;
mod autobahn;
mod bad_input;
mod behind;
mod callbacks;
mod chat;
mod codes;
mod commands;
mod compression;
mod crash;
mod delivery;
mod events;
#[path = "../disk/mod.rs"]
mod failing_disk;
mod fields;
mod frames;
mod handover;
mod harness;
mod heap;
mod http;
mod http2;
mod issuer;
mod lifecycle;
mod limits;
mod memory;
mod net;
mod personal;
#[cfg(feature = "postgres")]
#[path = "../postgres/mod.rs"]
mod postgres_process;
mod presence;
mod recovery;
mod room_events;
mod security;
mod slow;
mod stalled;
mod storage;
mod streaming;
mod subset;
mod tokens;
mod unidirectional;
mod views;

/// Counts live bytes, for [`heap`].
#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);
