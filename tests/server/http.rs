//! What the server says over plain HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::harness::{Running, frame};

const UPGRADE: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn the_page_its_files_health_and_metrics_are_served() {
    let server = Running::start();
    for (path, content_type, part) in [
        ("/", "text/html", "<title>"),
        ("/page/app.js", "text/javascript", "import"),
        ("/page/style.css", "text/css", "{"),
        ("/health", "text/plain", "{}"),
        ("/metrics", "application/openmetrics-text", "roomcast_build_info"),
    ] {
        let (head, body) = server.get(path, "");
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert!(head.contains(content_type), "{path}: {head}");
        assert!(head.contains("content-security-policy: default-src 'self'"), "{head}");
        assert!(body.contains(part), "{path}");
    }
    assert!(server.get("/page/..%2fmod.rs", "").0.starts_with("HTTP/1.1 404 "));
    assert!(server.get("/nothing", "").0.starts_with("HTTP/1.1 404 "));
}

#[test]
fn pages_of_other_origins_may_not_connect() {
    let server = Running::start();
    let open = |headers: &str| {
        let mut client = std::net::TcpStream::connect(server.address).expect("a connection");
        let request =
            format!("GET /connection/websocket HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n{UPGRADE}{headers}\r\n");
        std::io::Write::write_all(&mut client, request.as_bytes()).expect("a request");
        let mut status = [0; 12];
        std::io::Read::read_exact(&mut client, &mut status).expect("a status");
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    assert_eq!(open(""), "101");
    assert_eq!(open("Origin: http://localhost:3000\r\n"), "101");
    assert_eq!(open("Origin: http://t\r\n"), "101");
    assert_eq!(open("Origin: https://evil.example\r\n"), "403");
    assert_eq!(open("Origin: \u{ff}\r\n"), "403");
}

#[test]
fn a_plain_request_to_the_socket_is_told_what_is_missing() {
    let server = Running::start();
    let (head, body) = server.get("/connection/websocket", "");
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert!(body.contains("Upgrade: websocket"), "{body}");
}

#[test]
fn a_handshake_may_come_in_pieces_and_with_the_first_command_behind_it() {
    let server = Running::start();
    let request = format!("GET /connection/websocket HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n{UPGRADE}\r\n");
    let said = [request.as_bytes(), &frame(0x81, br#"{"id":1,"connect":{}}"#)].concat();
    // Whole, and cut in the head, at its end, and in the frame.
    for cut in [said.len(), 1, 70, request.len() - 1, request.len(), request.len() + 3] {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        for piece in [&said[..cut], &said[cut..]] {
            stream.write_all(piece).expect("the server reads");
            thread::sleep(Duration::from_millis(20));
        }
        let mut heard = Vec::new();
        while !heard.ends_with(b"}}") {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).expect("an answer");
            assert!(n > 0, "cut at {cut}: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&bytes[..n]);
        }
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.starts_with("HTTP/1.1 101 ") && heard.contains("\"connect\":{"), "cut at {cut}: {heard}");
    }
}
