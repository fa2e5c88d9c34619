//! Beginning and ending.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use roomcast_server::config::Config;
use roomcast_server::{ServeError, Server};

use crate::harness::{Heard, Running};

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
fn beyond_the_connection_limit_newcomers_are_refused_and_others_stay() {
    let server = Running::with(|config| config.client.connection_limit = 2);
    let mut ann = server.connected("Ann");
    let bob = server.connected("Bob");
    let refused = TcpStream::connect(server.address).expect("the system accepts");
    refused.set_read_timeout(Some(crate::harness::PATIENCE)).expect("a socket option");
    let read = (&refused).read(&mut [0; 16]);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    ann.publish(2, "hall", "1");
    drop(bob);
    crate::harness::eventually("room for another", || {
        let newcomer = TcpStream::connect(server.address).expect("the system accepts");
        let asked = (&newcomer).write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        asked.is_ok() && (&newcomer).read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 ")
    });
}
