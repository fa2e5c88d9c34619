//! Limits in counts and rates, each exceeded over real sockets: who is over it is told, and others go on.

mod commands;
mod connections;
mod existing;
mod requests;
mod rooms;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use roomcast_server::config::{Config, RateBucket};

use crate::harness::{Client, Running, dial, read_head};

/// What a handshake is answered with: the head, and the socket.
fn handshake(server: &Running, headers: &str) -> (String, TcpStream) {
    let mut stream = ask(server, headers);
    (read_head(&mut stream), stream)
}

/// A socket on which a handshake has been asked for.
fn ask(server: &Running, headers: &str) -> TcpStream {
    let mut stream = dial(server.address);
    let request = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    // One that is closed unheard may be closed before it has asked.
    let _ = stream.write_all(request.as_bytes());
    stream
}

/// A client that a proxy says is that user's.
fn of_user(server: &Running, user: &str) -> Client {
    let mut client = Client::over_with(dial(server.address), &format!("X-User: {user}\r\n"));
    client.send(r#"{"id":1,"connect":{}}"#);
    client
}

/// Has a proxy say whose clients are.
fn name_users(config: &mut Config) {
    config.client.user_id_http_header = Some("X-User".to_owned());
}

/// So many in a second.
fn per_second(rate: usize) -> Vec<RateBucket> {
    vec![RateBucket { interval: Duration::from_secs(1), rate }]
}

/// So many for the time of a test.
fn once(rate: usize) -> Vec<RateBucket> {
    vec![RateBucket { interval: Duration::from_secs(3_600), rate }]
}

/// How often a limit has refused something.
fn refused(server: &Running, limit: &str) -> u64 {
    server.metric(&format!("roomcast_refused_total{{limit=\"{limit}\"}}"))
}
