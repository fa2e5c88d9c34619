//! The protocol as Protobuf: every message behind its length, so that messages can simply follow each other.

mod decode;
mod encode;
mod write;

pub(super) use decode::Commands;
pub(super) use encode::{PublicationEncoder, encode_push, encode_reply};

#[cfg(test)]
mod tests;
