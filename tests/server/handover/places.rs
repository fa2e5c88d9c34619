//! Which sockets the new process has.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use roomcast_server::{Given, Role, ServeError, Server};

use super::{KEY, Process, config, connected};
use crate::harness::{Client, Folder, PATIENCE, dial, read_head};

fn is_well(address: SocketAddr) -> bool {
    let mut stream = dial(address);
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    read_head(&mut stream).starts_with("HTTP/1.1 200 ")
}

#[test]
fn unix_sockets_go_along_with_their_files() {
    let folder = Folder::new();
    let mut config = config(&folder);
    let [outside, unasked] = ["clients", "more"].map(|name| folder.0.join(name));
    config.http_server.unix_socket = Some(outside.clone());
    config.http_server.internal_unix_socket = Some(unasked.clone());
    let (mut first, address, inside) = Process::first(&config);
    let mut next = config.clone();
    next.http_server.internal_unix_socket = None;
    let second = Process::next(&next);
    first.ended().expect("handed over");
    let stream = UnixStream::connect(&outside).expect("the second one listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let mut ann = Client::over(stream);
    ann.send(r#"{"id":1,"connect":{}}"#);
    ann.reply(1);
    connected(address);
    assert!(is_well(inside));
    assert!(!unasked.exists(), "nobody asks for it any more");
    second.stop();
    assert!(!outside.exists());
}

#[test]
fn a_place_that_only_the_new_process_asks_for_is_its_own() {
    let folder = Folder::new();
    let config = config(&folder);
    let (mut first, address, inside) = Process::first(&config);
    let mut next = config.clone();
    // Another port inside; the one of clients stays.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its place");
    next.http_server.internal_port = Some(free.port());
    let second = Process::next(&next);
    first.ended().expect("handed over");
    connected(address);
    assert!(is_well(free));
    assert!(TcpStream::connect(inside).is_err(), "nobody asks for it any more");
    second.stop();
}

#[test]
fn a_configuration_that_cannot_be_had_leaves_the_old_process_as_it_is() {
    let folder = Folder::new();
    let config = config(&folder);
    let (first, address, _) = Process::first(&config);
    super::wait_for(&folder.0);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut next = config.clone();
    next.http_server.internal_port = Some(taken.local_addr().expect("its place").port());
    let refused = Server::take_over(next.clone()).expect_err("the port is somebody else's");
    assert!(matches!(refused, ServeError::Bind { .. }), "{refused}");
    next = config.clone();
    next.http_server.tls.enabled = true;
    let refused = Server::take_over(next).expect_err("there is no certificate");
    assert!(matches!(refused, ServeError::Tls(_)), "{refused}");
    let mut ann = connected(address);
    ann.publish(2, "stored:hall", "1");
    first.stop();
}

#[test]
fn sockets_that_were_given_to_the_first_one_go_on_to_all_others() {
    let folder = Folder::new();
    let config = config(&folder);
    let outside = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = outside.local_addr().expect("its place");
    let given = Given::new(outside.into(), Some(Role::External)).expect("it listens");
    let mut processes = vec![Process::of(Server::bind_with(config.clone(), vec![given]).expect("a port"))];
    for _ in 0..2 {
        processes.push(Process::next(&config));
        let before = processes.len() - 2;
        processes[before].ended().expect("handed over");
        connected(address);
    }
    processes.pop().expect("the last one").stop();
}

#[test]
fn requests_on_one_connection_are_told_to_come_again() {
    let folder = Folder::new();
    let config = config(&folder);
    let mut slow = config.clone();
    // So the first one is there for a while.
    slow.handover.close_rate = 1;
    let (mut first, address, inside) = Process::first(&slow);
    let body = r#"{"channel":"off:hall","data":1}"#;
    let request =
        format!("POST /api/publish HTTP/1.1\r\nHost: localhost\r\n{KEY}Content-Length: {}\r\n\r\n{body}", body.len());
    let ask = |stream: &mut TcpStream| {
        stream.write_all(request.as_bytes()).expect("a request");
        let head = read_head(stream).to_ascii_lowercase();
        let (_, length) = head.split_once("content-length: ").expect("a length");
        let length = length.split('\r').next().expect("a number").parse().expect("a number");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("a body");
        (head, String::from_utf8(body).expect("text"))
    };
    let mut kept = dial(inside);
    let (head, answer) = ask(&mut kept);
    assert!(answer.contains("\"result\"") && !head.contains("connection: close"), "{head}{answer}");
    let _clients: Vec<_> = (0..60).map(|_| connected(address)).collect();
    let second = Process::next(&config);
    let (head, answer) = loop {
        let (head, answer) = ask(&mut kept);
        // What was taken just before may be answered when it goes elsewhere already.
        if !answer.contains("\"result\"") || head.contains("connection: close") {
            break (head, answer);
        }
    };
    let is_told = answer.contains("111") || answer.contains("\"result\"");
    assert!(head.contains("connection: close") && is_told, "{head}{answer}");
    assert_eq!(kept.read(&mut [0]).expect("an end"), 0);
    let (_, answer) = ask(&mut dial(inside));
    assert!(answer.contains("\"result\""), "it waited for the second one: {answer}");
    first.shutdown.begin();
    first.ended().expect("handed over");
    second.stop();
}
