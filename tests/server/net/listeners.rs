//! Ports and Unix sockets: what is served where, and how sockets go from one server to the next.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use roomcast_server::config::{Config, FileMode};
use roomcast_server::{Given, ListenAt, ServeError, Server};

use crate::harness::{Client, Folder, PATIENCE, Running, dial};

/// The status of the answer to a request.
fn status(mut stream: impl Read + Write, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).expect("a status").parse().expect("a number")
}

fn at_port(address: SocketAddr, path: &str) -> u16 {
    status(dial(address), path)
}

fn at_file(file: &Path, path: &str) -> u16 {
    let stream = UnixStream::connect(file).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    status(stream, path)
}

const OUTSIDE: [&str; 2] = ["/", "/connection/init"];
const INSIDE: [&str; 3] = ["/health", "/metrics", "/api"];

#[test]
fn what_is_inside_is_served_at_the_internal_port_alone() {
    let server = Running::with(|config| {
        config.http_server.internal_port = Some(0);
        config.unidirectional.init.enabled = true;
    });
    let internal = server.internal;
    for path in OUTSIDE {
        assert_eq!((at_port(server.address, path), at_port(internal, path)), (200, 404), "{path}");
    }
    for path in INSIDE {
        let found = (at_port(server.address, path), at_port(internal, path));
        // The server API takes no GET.
        let inside = if path == "/api" { found.1 } else { 200 };
        assert_eq!(found, (404, inside), "{path}");
    }
    assert_ne!(at_port(internal, "/api/info"), 404);
    let mut stream = dial(internal);
    let handshake = "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).expect("a handshake");
    assert!(crate::harness::read_head(&mut stream).starts_with("HTTP/1.1 404 "), "nobody connects there");
    server.connected("Ann");
}

#[test]
fn the_server_api_is_also_outside_where_it_is_said_to_be() {
    let server = Running::with(|config| {
        config.http_server.internal_port = Some(0);
        config.http_api.external = true;
    });
    let outside = at_port(server.address, "/api/info");
    assert_ne!(outside, 404);
    assert_eq!(at_port(server.internal, "/api/info"), outside);
    assert_eq!(at_port(server.address, "/metrics"), 404);
}

#[test]
fn unix_sockets_are_ways_in_and_their_files_go_with_the_server() {
    let folder = Folder::new();
    let [outside, inside] = ["clients", "operator"].map(|name| folder.0.join(name));
    let server = Running::with(|config| {
        config.http_server.unix_socket = Some(outside.clone());
        config.http_server.internal_unix_socket = Some(inside.clone());
    });
    for path in OUTSIDE.iter().take(1) {
        assert_eq!((at_file(&outside, path), at_file(&inside, path)), (200, 404), "{path}");
    }
    for path in INSIDE.iter().take(2) {
        assert_eq!((at_file(&outside, path), at_file(&inside, path)), (404, 200), "{path}");
        assert_eq!(at_port(server.address, path), 404, "{path}: it has a place of its own");
    }
    let stream = UnixStream::connect(&outside).expect("a connection");
    let mut ann = Client::over(stream);
    ann.send(r#"{"id":1,"connect":{}}"#);
    ann.reply(1);
    ann.subscribe(2, "hall");
    let mut bob = server.member("Bob", "hall");
    bob.publish(3, "hall", "7");
    assert_eq!(ann.publication()["data"], 7);

    let mut config = Config::dev();
    (config.http_server.unix_only, config.http_server.unix_socket) = (true, Some(outside.clone()));
    let taken = Server::bind(config).expect_err("a server is there");
    assert!(taken.to_string().contains("somebody listens at"), "{taken}");
    ann.publish(3, "hall", "8");

    server.stop().expect("a clean end");
    assert!(!outside.exists() && !inside.exists());
}

#[test]
fn a_server_needs_no_port() {
    let folder = Folder::new();
    let mut config = Config::dev();
    config.data_dir = folder.0.join("data");
    let socket = folder.0.join("socket");
    (config.http_server.unix_only, config.http_server.unix_socket) = (true, Some(socket.clone()));
    config.http_server.unix_socket_mode = FileMode(0o600);
    let server = Server::bind(config).expect("a file");
    assert_eq!((server.local_addr().port(), server.internal_addr()), (0, None));
    let shutdown = server.shutdown();
    let serving = std::thread::spawn(|| server.run());
    assert_eq!(at_file(&socket, "/health"), 200, "there is no other place for it");
    shutdown.begin();
    serving.join().expect("no panic").expect("a clean end");
}

#[test]
fn a_file_that_is_no_socket_stays_and_is_named() {
    let folder = Folder::new();
    let path = folder.0.join("notes.txt");
    std::fs::write(&path, "mine").expect("a file");
    let mut config = Config::dev();
    (config.http_server.port, config.http_server.unix_socket) = (0, Some(path.clone()));
    let refused = Server::bind(config).expect_err("it is no socket");
    assert!(matches!(&refused, ServeError::Bind { place: ListenAt::Unix(at), .. } if *at == path), "{refused}");
    assert!(refused.to_string().contains("no socket"), "{refused}");
    assert_eq!(std::fs::read(&path).expect("it is there"), b"mine");
}

#[test]
fn open_sockets_go_from_one_server_to_the_next() {
    let folder = Folder::new();
    let socket = folder.0.join("socket");
    let mut config = Config::dev();
    config.http_server.port = 0;
    config.data_dir = folder.0.join("first");
    config.http_server.unix_socket = Some(socket.clone());
    let mut first = Server::bind(config.clone()).expect("a port");
    let address = first.local_addr();
    let passed = first.pass_sockets_on().expect("descriptors");
    // Nobody has served them yet: who connects now waits for the next server.
    let waiting = dial(address);
    drop(first);
    assert!(socket.exists(), "it belongs to the next one");
    let given = passed.into_iter().map(|(descriptor, role)| Given::new(descriptor, Some(role)).expect("a socket"));
    config.data_dir = folder.0.join("second");
    let second = Server::bind_with(config, given.collect()).expect("they are open");
    assert_eq!(second.local_addr(), address);
    let shutdown = second.shutdown();
    let serving = std::thread::spawn(|| second.run());
    assert_eq!(status(waiting, "/health"), 200);
    assert_eq!(at_file(&socket, "/health"), 200);
    shutdown.begin();
    serving.join().expect("no panic").expect("a clean end");
}
