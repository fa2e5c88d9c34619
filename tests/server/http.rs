//! What the server says over plain HTTP.

use crate::harness::Running;

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
