//! Bytes: how messages are put on a socket and read from it. It knows messages of the protocol, and no rooms.
//!
//! It uses `util` and the protocol. It is used by `client` and `net`, and `delivery` for batches that are encoded once for all.

pub(crate) mod disconnect;
pub(crate) mod encoded_batch;
pub(crate) mod framing;
pub(crate) mod pipe;
pub(crate) mod send_queue;
#[cfg(test)]
pub(crate) mod socket_double;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod unanswered;
pub(crate) mod ws;
