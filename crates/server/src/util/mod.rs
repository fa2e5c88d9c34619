//! What belongs to no part of the server: small things that know nothing of rooms, clients or settings.
//!
//! It uses nothing here. It is used by everybody.

pub(crate) mod blocking;
pub(crate) mod byte_reader;
pub(crate) mod certificate;
pub(crate) mod clock;
pub(crate) mod key;
pub(crate) mod lane;
pub(crate) mod network;
pub(crate) mod panics;
pub(crate) mod reserve;
pub(crate) mod rng;
pub(crate) mod secret;
pub(crate) mod signature;
#[cfg(test)]
pub(crate) mod stepped;
pub(crate) mod timer_wheel;
