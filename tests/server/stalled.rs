//! Clients whose sockets are full: closing and pinging wait behind nothing, and what is not taken is not held for ever.

use std::io::Write as _;
use std::thread::{scope, sleep};
use std::time::Duration;

use roomcast_server::config::{Config, Storage};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::Signal;
use serde_json::json;

use crate::crash::Process;
use crate::harness::{Client, Folder, Heard, PATIENCE, Running, dial, eventually};

/// Commands whose answers are more than any socket holds.
const COMMANDS: usize = 300;

/// Puts messages into a room, so that its history is long in bytes.
pub(crate) fn fill(server: &Running, room: &str) {
    let mut ann = server.connected("Ann");
    let long = format!("\"{}\"", "x".repeat(60_000));
    for id in 2..6 {
        ann.publish(id, room, &long);
    }
}

/// [`COMMANDS`] times two messages of the room.
pub(crate) fn histories(room: &str) -> String {
    let command = |id| format!(r#"{{"id":{id},"history":{{"channel":"{room}","limit":2}}}}"#);
    (2..COMMANDS + 2).map(command).collect::<Vec<_>>().join("\n")
}

/// How many connections were closed with that code.
pub(crate) fn closes(server: &Running, code: u16) -> u64 {
    server.metric(&format!("roomcast_closes_total{{code=\"{code}\"}}"))
}

fn server(change: impl FnOnce(&mut Config)) -> Running {
    let server = Running::with(|config| {
        config.channel.without_namespace.storage = Storage::Off;
        change(config);
    });
    fill(&server, "hall");
    server
}

/// A client that has asked for much and has read none of it.
fn deaf(server: &Running) -> Client {
    let stream = dial(server.address);
    set_socket_recv_buffer_size(&stream, 64 * 1024).expect("a socket option");
    let mut client = Client::over(stream);
    client.send(r#"{"id":1,"connect":{}}"#);
    client.reply(1);
    client.send(&histories("hall"));
    client
}

#[test]
fn who_takes_nothing_and_answers_no_ping_is_closed() {
    let server = server(|config| {
        config.client.ping_interval = Duration::from_secs(1);
        config.client.pong_timeout = Duration::from_millis(500);
        config.client.write_timeout = Duration::from_secs(3_600);
    });
    let _deaf = deaf(&server);
    eventually("the end of who takes nothing", || closes(&server, 3012) == 1);
    eventually("its socket is free", || server.metric("roomcast_connections{") == 0);
}

#[test]
fn who_takes_nothing_is_closed_before_any_ping_is_due() {
    let server = server(|config| {
        config.client.ping_interval = Duration::from_secs(3_600);
        config.client.write_timeout = Duration::from_millis(500);
    });
    let _deaf = deaf(&server);
    eventually("the end of who takes nothing", || closes(&server, 3008) == 1);
    eventually("its socket is free", || server.metric("roomcast_connections{") == 0);
}

#[test]
fn who_takes_little_at_a_time_is_not_taken_for_dead() {
    let server = server(|config| {
        config.client.ping_interval = Duration::from_secs(3);
        config.client.pong_timeout = Duration::from_secs(2);
        config.client.write_timeout = Duration::from_secs(3_600);
    });
    let mut slow = deaf(&server);
    // No ping comes through to it meanwhile, so it answers none.
    let answered = (2..COMMANDS as u32 + 2).map(|id| {
        std::thread::sleep(Duration::from_millis(20));
        slow.reply(id)
    });
    assert!(answered.into_iter().all(|reply| reply["history"]["publications"][1]["data"].is_string()));
    slow.send(r#"{"id":999,"ping":{}}"#);
    assert_eq!(slow.reply(999)["id"], 999);
    assert_eq!((closes(&server, 3012), closes(&server, 3008)), (0, 0));
}

/// A ping waits behind what a client has not taken: its answer is due that much later.
#[test]
fn who_has_just_come_to_the_ping_has_time_to_answer() {
    let server = server(|config| {
        config.client.ping_interval = Duration::from_millis(4_000);
        config.client.pong_timeout = Duration::from_millis(3_500);
    });
    let take = |mut slow: Client| {
        let (mut taken, mut pings) = (0, 0);
        while taken < COMMANDS {
            match slow.hear_in_silence() {
                Heard::Object(object) if object == json!({}) => pings += 1,
                Heard::Object(_) => taken += 1,
                other => panic!("{other:?} after {taken}"),
            }
            if taken < COMMANDS * 4 / 5 {
                sleep(Duration::from_millis(18));
            }
        }
        assert!(pings <= 1, "it owes one answer");
        // A long way.
        sleep(Duration::from_millis(1_700));
        (0..pings).for_each(|_| slow.send("{}"));
        slow.send(r#"{"id":999,"ping":{}}"#);
        assert_eq!(slow.reply(999)["id"], 999);
        pings
    };
    let pinged: usize = scope(|scope| {
        let clients: Vec<_> = (0..5).map(|_| scope.spawn(|| take(deaf(&server)))).collect();
        clients.into_iter().map(|client| client.join().expect("a client that is not closed")).sum()
    });
    assert!(pinged > 0, "nobody was asked");
}

/// The process is stopped when pings have been sent; the answers come meanwhile, and are not read.
#[test]
fn a_server_that_stood_still_judges_nobody_by_that_time() {
    let variables = [
        ("ROOMCAST_CLIENT_PING_INTERVAL", "4s".into()),
        ("ROOMCAST_CLIENT_PONG_TIMEOUT", "2s".into()),
        ("ROOMCAST_SHARDS", "1".into()),
    ];
    let folder = Folder::new();
    let server = Process::start_with(&folder, &variables);
    let mut clients: Vec<_> = (0..200).map(|_| server.connected()).collect();
    sleep(Duration::from_millis(1_200));
    server.signal(Signal::STOP);
    let mut pinged = 0;
    for client in &mut clients {
        client.stream.set_nonblocking(true).expect("a socket option");
        let is_pinged = client.stream.peek(&mut [0]).is_ok();
        client.stream.set_nonblocking(false).expect("a socket option");
        if is_pinged {
            assert_eq!(client.hear_in_silence(), Heard::Object(json!({})));
            client.send("{}");
            pinged += 1;
        }
    }
    sleep(Duration::from_secs(5));
    server.signal(Signal::CONT);
    sleep(Duration::from_secs(1));
    for client in &mut clients {
        client.send(r#"{"id":9,"ping":{}}"#);
        assert_eq!(client.reply(9)["id"], 9);
    }
    assert!(pinged > 0, "nobody was asked");
}

#[test]
fn http_answers_that_nobody_takes_are_not_held() {
    let server = Running::with(|config| config.client.write_timeout = Duration::from_millis(500));
    let mut deaf = dial(server.address);
    set_socket_recv_buffer_size(&deaf, 8 * 1024).expect("a socket option");
    deaf.set_write_timeout(Some(PATIENCE)).expect("a socket option");
    let requests = "GET /page/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(300);
    // It is cut off in the midst of asking, perhaps.
    let _ = deaf.write_all(requests.as_bytes());
    // The one that asks for the metric is one.
    eventually("its socket is free", || server.metric("roomcast_sockets ") == 1);
}
