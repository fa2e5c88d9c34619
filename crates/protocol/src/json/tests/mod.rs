//! The protocol's JSON as clients write and read it.

mod decoding;
mod encoding;
