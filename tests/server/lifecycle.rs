//! Beginning and ending.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use roomcast_server::config::Config;
use roomcast_server::{ServeError, Server};

use crate::harness::{Folder, Heard, PATIENCE, Running};

#[test]
fn draining_closes_every_client_with_3001_and_returns() {
    let server = Running::start();
    let mut clients: Vec<_> = (0..20).map(|_| server.member("Ann", "hall")).collect();
    // One that has not said connect yet, and one that will never answer.
    clients.push(server.client());
    let deaf = server.client();
    let begun = Instant::now();
    server.begin_shutdown();
    for client in &mut clients {
        assert_eq!(client.closed(), (3001, "shutdown".to_owned()));
        assert_eq!(client.hear(), Heard::End);
    }
    server.stop().expect("a clean end");
    assert!(begun.elapsed() < Duration::from_secs(10), "draining hangs");
    drop(deaf);
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let server = Running::start();
    let mut config = Config::dev();
    config.http_server.port = server.address.port();
    let error = Server::bind(config).expect_err("the port is taken");
    assert!(matches!(error, ServeError::Bind { .. }));
    let text = error.to_string();
    assert!(text.contains("in use") && text.contains("--listen"), "{text}");
}

#[test]
fn who_asks_before_it_serves_waits_and_is_told_when_it_does() {
    let mut config = Config::dev();
    config.http_server.port = 0;
    let data = Folder::new();
    config.data_dir.clone_from(&data.0);
    let server = Server::bind(config).expect("a free port");
    let mut prober = TcpStream::connect(server.local_addr()).expect("it is there already");
    prober.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it is taken");
    prober.set_nonblocking(true).expect("a socket");
    assert_eq!(prober.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "nobody says so yet");
    prober.set_nonblocking(false).expect("a socket");
    prober.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let shutdown = server.shutdown();
    let serving = std::thread::spawn(|| server.run());
    let mut answer = String::new();
    prober.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    shutdown.begin();
    serving.join().expect("no panic").expect("a clean end");
}
