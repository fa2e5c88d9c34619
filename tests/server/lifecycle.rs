//! Beginning and ending.

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
