//! Limits in counts and rates, of connections, by address and by user; and in bytes: what all clients together may make the server hold.
//!
//! It uses `util`, `config` and `ops`. It is used by `backend`, `wire`, `auth`, `callbacks`, `session`, `rooms`, `client` and `net`. It does no I/O: whoever asks says
//! when it is, in milliseconds of a clock that all who ask about one thing share, within a second.

pub(crate) mod address;
pub(crate) mod bucket;
pub(crate) mod connections;
pub(crate) mod memory;
pub(crate) mod rates;
pub(crate) mod requests;
pub(crate) mod table;
