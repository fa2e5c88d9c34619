//! What a stranger sends, as bytes that may be anything: each function here takes such bytes, hands them to a parser or to
//! a session, and asserts what must hold whatever they are.
//!
//! The targets of `fuzz/` feed them with what a fuzzer makes up; the unit tests with the checked-in corpora and with
//! random bytes. Not part of the library: only there in tests and under the private cfg `roomcast_fuzz`.

mod commands;
mod frames;
mod proxy;
mod rewrite;
mod session;
mod source;
#[cfg(test)]
mod tests;
mod token;
mod witness;

/// A frame of JSON commands; see [`protobuf`]. And a connect request that stands alone, which says what it would within a command.
pub fn json(frame: &[u8]) {
    commands::check(roomcast_protocol::Encoding::Json, frame);
    commands::check_connect_alone(frame);
}

/// A frame of Protobuf commands: it decodes to commands and perhaps an error behind them, within all limits; each command
/// written down again, alone or with the others, decodes to the same; and what it publishes can be shown to everybody.
pub fn protobuf(frame: &[u8]) {
    commands::check(roomcast_protocol::Encoding::Protobuf, frame);
}

/// The bytes of a WebSocket client: one byte for the limit of a message, one for how many cuts follow, a byte for the
/// length of each piece, then the bytes themselves. Wherever they are cut, the decoder says the same as a plain reading of
/// the whole does.
pub fn frames(input: &[u8]) {
    frames::check(input);
}

/// The beginning of a connection that a proxy has made: its header is taken whole, within bounds, and nothing behind it.
pub fn proxy(input: &[u8]) {
    proxy::check(input);
}

/// The life of a session: two bytes of settings, then what its client, its world and its clock do, step by step. Commands
/// are answered once and in order, rooms are entered and left as the actions say, nothing follows the close.
pub fn session(input: &[u8]) {
    session::check(input);
}

/// A token, or a line of header and the claims of one: without its signature it proves nothing, with it what it says and no more,
/// and what it says can be handed to clients.
pub fn token(input: &[u8]) {
    token::check(input);
}
