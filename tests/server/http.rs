//! What the server says over plain HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::frames::frame;
use crate::harness::{Running, dial};

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
        ("/ready", "text/plain", "{}"),
        ("/metrics", "application/openmetrics-text", "roomcast_build_info"),
    ] {
        let (head, body) = server.get(path, "");
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert!(head.contains(content_type), "{path}: {head}");
        let policy = if content_type.contains("/plain") || path == "/metrics" { "'none'" } else { "'self'" };
        assert!(head.contains(&format!("content-security-policy: default-src {policy}")), "{head}");
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
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{UPGRADE}{headers}\r\n"
        );
        std::io::Write::write_all(&mut client, request.as_bytes()).expect("a request");
        let mut status = [0; 12];
        std::io::Read::read_exact(&mut client, &mut status).expect("a status");
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    assert_eq!(open(""), "101");
    assert_eq!(open("Origin: http://localhost:3000\r\n"), "101");
    assert_eq!(open("Origin: http://localhost\r\n"), "101");
    assert_eq!(open("Origin: https://evil.example\r\n"), "403");
    assert_eq!(open("Origin: \u{ff}\r\n"), "403");
}

/// The status of the answer to a request's head, as it is.
fn status(server: &Running, head: &str) -> u16 {
    let mut stream = dial(server.address);
    stream.write_all(format!("{head}\r\n").as_bytes()).expect("a request");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("a status");
    String::from_utf8_lossy(&status[9..]).parse().expect("a number")
}

/// What may be asked for, with the status that it is answered with when all is well.
fn requests(host: &str, more: &str) -> [(String, u16); 6] {
    let connect = "cf_connect=%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D";
    let body = r#"{"id":1,"connect":{}}"#;
    let post = format!("{more}Content-Length: {}\r\n\r\n{body}", body.len());
    [
        (format!("GET / HTTP/1.1\r\n{host}{more}"), 200),
        (format!("GET /metrics HTTP/1.1\r\n{host}{more}"), 200),
        (format!("GET /connection/websocket HTTP/1.1\r\n{host}Connection: Upgrade\r\n{UPGRADE}{more}"), 101),
        (format!("GET /connection/sse?{connect} HTTP/1.1\r\n{host}{more}"), 200),
        (format!("POST /connection/http_stream HTTP/1.1\r\n{host}{post}"), 200),
        // It names no session.
        (format!("POST /emulation HTTP/1.1\r\n{host}{post}"), 404),
    ]
}

#[test]
fn a_request_names_one_host_and_websockets_need_http_1_1() {
    let server = Running::start();
    for hosts in ["", "Host: localhost\r\nHost: localhost\r\n", "Host: a b\r\n", "Host: me@localhost\r\n"] {
        for (request, _) in requests(hosts, "") {
            assert_eq!(status(&server, &request), 400, "{request}");
        }
    }
    let old = format!("GET /connection/websocket HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\n{UPGRADE}");
    assert_eq!(status(&server, &old), 400);
    assert_eq!(status(&server, "GET /health HTTP/1.0\r\n"), 200, "older than the header");
}

#[test]
fn in_development_only_names_of_this_machine_reach_the_server() {
    let local = Running::with(|config| config.http_server.allowed_hosts.clear());
    let anywhere = Running::with(|config| {
        config.http_server.allowed_hosts.clear();
        config.dev_anywhere = true;
    });
    let origin = "Origin: http://rebound.example\r\n";
    for (request, well) in requests("Host: rebound.example\r\n", origin) {
        assert_eq!(status(&local, &request), 421, "{request}");
        assert_eq!(status(&anywhere, &request), well, "{request}");
    }
    for (request, well) in requests("Host: localhost:8000\r\n", "") {
        assert_eq!(status(&local, &request), well, "{request}");
    }
    assert_eq!(status(&local, "GET /health HTTP/1.1\r\nHost: 10.0.0.7\r\n"), 200, "probes know no names");
}

#[test]
fn other_sites_may_not_connect_without_saying_who_they_are() {
    let server = Running::start();
    for (site, listed) in [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)] {
        for (request, well) in requests("Host: localhost\r\n", &format!("Sec-Fetch-Site: {site}\r\n")) {
            let may = listed || request.starts_with("GET / ") || request.starts_with("GET /metrics ");
            assert_eq!(status(&server, &request), if may { well } else { 403 }, "{request}");
        }
        let more = format!("Sec-Fetch-Site: {site}\r\nOrigin: http://localhost:3000\r\n");
        for (request, well) in requests("Host: localhost\r\n", &more) {
            assert_eq!(status(&server, &request), well, "{request}");
        }
    }
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
    let request =
        format!("GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{UPGRADE}\r\n");
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
