//! The server: listener, transports, sessions, delivery.
pub mod config;
pub mod logging;
mod session;
mod ws;
