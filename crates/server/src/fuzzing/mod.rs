//! What a stranger sends, as bytes that may be anything: each function here takes such bytes, hands them to a parser or to
//! a session, and asserts what must hold whatever they are.
//!
//! The targets of `fuzz/` feed them with what a fuzzer makes up; the unit tests with the checked-in corpora and with
//! random bytes. Not part of the library: only there in tests and under the private cfg `roomcast_fuzz`.

mod api;
mod commands;
mod config;
mod emulation;
mod frames;
mod handover;
mod handshake;
mod http2;
mod proxy;
mod rewrite;
mod session;
mod source;
#[cfg(test)]
mod tests;
mod tls;
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

/// Requests to the server API: they are answered whatever they are, in JSON where there is something to tell, and who is refused has changed
/// nothing.
pub fn api(input: &[u8]) {
    api::check(input);
}

/// A configuration file: something is said about it, a line each, and what can be used says the same when it is written down.
pub fn config(input: &[u8]) {
    config::check(input);
}

/// The bytes of a WebSocket client: one byte for the limit of a message, one for how many cuts follow, a byte for the
/// length of each piece, then the bytes themselves. Wherever they are cut, the decoder says the same as a plain reading of
/// the whole does.
pub fn frames(input: &[u8]) {
    frames::check(input);
}

/// The head of a request for a WebSocket: what comes behind it changes nothing, nothing short of it is one, it is answered with what it asked
/// for and no more, and who is no proxy is believed nothing about its address.
pub fn handshake(input: &[u8]) {
    handshake::check(input);
}

/// The body, or the address, of a request of an emulated client: it says no more than it is long, and an address changes nothing.
pub fn emulation(input: &[u8]) {
    emulation::check(input);
}

/// A connection of HTTP/2, as bytes or as frames: it ends, whatever they say, and what is held of it has the bounds of every connection.
pub fn http2(input: &[u8]) {
    http2::check(input);
}

/// What a process is given by the one that it replaces, record by record, each behind its length: it is taken as it was written, or
/// refused; and rooms are made of it within bounds.
pub fn handover(input: &[u8]) {
    handover::check(input);
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

/// A connection over TLS: of a stranger who says anything, to whom it is the same however that is cut, and who is held within bounds; or of a
/// client who shakes hands while what is on its way is cut, held up and damaged: what is read is what was said.
pub fn tls(input: &[u8]) {
    tls::check(input);
}

/// A token, or a line of header and the claims of one: without its signature it proves nothing, with it what it says and no more,
/// and what it says can be handed to clients.
pub fn token(input: &[u8]) {
    token::check(input);
}
