//! TLS at the ports: with clients that are ordinary, slow, hostile, or nobody's.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use roomcast_server::config::{Config, Pem, SlowConsumer, Storage};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustls::{ClientConfig, HandshakeKind};

use super::authority::{Authority, BOTH, Pair, TlsSocket, dial_tls, over};
use crate::harness::{Client, Folder, Heard, Running, dial, eventually, number, text};

/// A server that speaks TLS to clients and not to its operator, and clients that believe it.
fn server(change: impl FnOnce(&mut Config)) -> (Running, Authority, Arc<ClientConfig>) {
    let authority = Authority::new();
    let server = Running::with(|config| {
        config.http_server.internal_port = Some(0);
        config.http_server.tls = authority.vouch_for("chat.example").options();
        config.http_server.tls_external = true;
        change(config);
    });
    let client = Arc::new(authority.client(&BOTH, None));
    (server, authority, client)
}

fn open(server: &Running, config: &Arc<ClientConfig>) -> Client<TlsSocket> {
    Client::over(dial_tls(server.address, config))
}

fn member(server: &Running, config: &Arc<ClientConfig>, room: &str) -> Client<TlsSocket> {
    join(open(server, config), room)
}

fn join(mut client: Client<TlsSocket>, room: &str) -> Client<TlsSocket> {
    client.send(r#"{"id":1,"connect":{"data":{"name":"Ann"}}}"#);
    let reply = client.reply(1);
    client.id = text(&reply["connect"]["client"]).to_owned();
    client.subscribe(2, room);
    client
}

#[test]
fn clients_talk_over_both_versions_of_tls() {
    let (server, authority, _) = server(|_| {});
    for version in BOTH {
        let config = Arc::new(authority.client(&[version], None));
        let mut ann = member(&server, &config, "hall");
        let mut bob = member(&server, &config, "hall");
        // More than a record holds.
        let long = format!("\"{}\"", "x".repeat(60_000));
        for id in 3..40 {
            bob.publish(id, "hall", &long);
            bob.publish(id + 100, "hall", "7");
            assert_eq!(ann.publication()["data"].to_string(), long);
            assert_eq!(ann.publication()["data"], 7);
        }
    }
    let done = server.metric("roomcast_tls_handshakes_total{outcome=\"done\"}");
    assert_eq!(done, 4);
    assert_eq!(server.metric("roomcast_tls_handshakes_under_way"), 0);
    assert!(server.metric("roomcast_tls_certificate_ends_at_seconds") > 0);
}

#[test]
fn a_goodbye_is_said_in_the_protocol_and_in_tls() {
    let (server, _, config) = server(|_| {});
    let mut clients: Vec<_> = (0..4).map(|_| member(&server, &config, "hall")).collect();
    server.begin_shutdown();
    for client in &mut clients {
        assert_eq!(client.closed(), (3001, "shutdown".to_owned()));
        // The end without a goodbye would be an error.
        assert_eq!(client.hear(), Heard::End);
    }
}

#[test]
fn a_record_that_does_not_end_is_counted_as_what_a_client_has_begun_to_say() {
    let (server, _, config) = server(|_| {});
    let socket = dial(server.address);
    let mut raw = socket.try_clone().expect("a descriptor");
    let ann = join(Client::over(over(socket, &config)), "hall");
    let held = || server.metric("roomcast_memory_used_bytes{share=\"replies\"}");
    assert_eq!(held(), 0);
    raw.write_all(&[0x17, 3, 3, 0x40, 0]).expect("a record of 16 KiB begins");
    raw.write_all(&[0; 16_000]).expect("it goes on");
    eventually("it is counted", || held() >= 16_000);
    drop((ann, raw));
    eventually("it is given back", || held() == 0);
}

#[test]
fn requests_are_answered_over_tls() {
    let (server, _, config) = server(|_| {});
    let mut stream = dial_tls(server.address, &config);
    for (path, whole) in [("/page/style.css", "HTTP/1.1 200 "), ("/health", "HTTP/1.1 404 ")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: chat.example\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let head = crate::harness::read_head(&mut stream);
        assert!(head.starts_with(whole), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        stream.read_exact(&mut body).expect("all of it");
    }
    let mut stream = dial_tls(server.address, &config);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end that is said");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_handshake_that_comes_byte_by_byte_is_one() {
    let (server, _, config) = server(|_| {});
    // A relay that passes on what the client says in pieces of one byte.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let upstream = server.address;
    std::thread::spawn(move || {
        let (mut from, _) = listener.accept().expect("a client");
        let mut to = dial(upstream);
        let (mut back_from, mut back_to) = (to.try_clone().expect("a socket"), from.try_clone().expect("a socket"));
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut back_from, &mut back_to);
            let _ = back_to.shutdown(std::net::Shutdown::Write);
        });
        let mut byte = [0];
        while from.read_exact(&mut byte).is_ok() && to.write_all(&byte).is_ok() {}
    });
    let mut ann = join(Client::over(over(dial(address), &config)), "hall");
    ann.publish(3, "hall", "\"piece by piece\"");
    assert_eq!(ann.publication()["data"], "piece by piece");
}

#[test]
fn who_does_not_speak_tls_is_turned_away() {
    let (server, authority, config) = server(|_| {});
    let mut plain = dial(server.address);
    plain.write_all(b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n").expect("a request");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "it is no answer");
    let mut other = authority.client(&BOTH, None);
    other.alpn_protocols = vec![b"smtp".to_vec()];
    let mut stream = dial_tls(server.address, &Arc::new(other));
    let refused = stream.write_all(b"x").and_then(|()| stream.read(&mut [0; 1])).expect_err("another protocol");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    let stranger = Arc::new(Authority::new().client(&BOTH, None));
    assert!(dial_tls(server.address, &stranger).write_all(b"x").is_err(), "nobody it believes");
    eventually("counted", || server.metric("roomcast_tls_handshakes_total{outcome=\"refused\"}") >= 3);
    member(&server, &config, "hall");
}

#[test]
fn who_comes_back_does_so_without_a_whole_handshake() {
    let (server, authority, _) = server(|_| {});
    for version in BOTH {
        let config = Arc::new(authority.client(&[version], None));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let client = member(&server, &config, "hall");
            kinds.push(client.stream.conn.handshake_kind().expect("it is done"));
        }
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
    }
}

#[test]
fn clients_show_a_certificate_where_they_are_asked_for_one() {
    let clients = Authority::new();
    let (server, authority, stranger) = server(|config| {
        config.http_server.tls.client_ca_pem = Some(Pem::read(&clients.certificate).expect("PEM"));
    });
    let known = Arc::new(authority.client(&BOTH, Some(&clients.vouch_for("ann"))));
    let forged = Arc::new(authority.client(&BOTH, Some(&Authority::new().vouch_for("ann"))));
    for refused in [stranger, forged] {
        let mut stream = dial_tls(server.address, &refused);
        let read = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| stream.read(&mut [0; 1]));
        assert!(read.is_err(), "it was let in: {read:?}");
    }
    member(&server, &known, "hall");
}

#[test]
fn the_internal_port_may_have_a_certificate_of_its_own() {
    let inside = Authority::new();
    let authority = Authority::new();
    let own = inside.vouch_for("chat.example");
    let server = Running::with(|config| {
        config.http_server.internal_port = Some(0);
        config.http_server.tls = authority.vouch_for("chat.example").options();
        config.http_server.internal_tls = own.options();
    });
    for (believes, address, expected) in [
        (&authority, server.address, true),
        (&inside, server.address, false),
        (&inside, server.internal, true),
        (&authority, server.internal, false),
    ] {
        let mut stream = dial_tls(address, &Arc::new(believes.client(&BOTH, None)));
        let asked = stream.write_all(b"GET /health HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        let answered = asked.and_then(|()| stream.read_to_string(&mut answer));
        assert_eq!(answered.is_ok(), expected, "{answered:?}");
    }
}

#[test]
fn certificates_are_taken_over_when_their_files_change() {
    let (first, second) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.0.join(name));
    let write = |pair: &Pair| {
        std::fs::write(&key, &pair.key).expect("a file");
        std::fs::write(&certificate, &pair.certificate).expect("a file");
    };
    write(&first.vouch_for("chat.example"));
    let server = Running::with(|config| {
        config.http_server.internal_port = Some(0);
        config.http_server.tls_external = true;
        let tls = &mut config.http_server.tls;
        tls.enabled = true;
        let [certificate, key] = [&certificate, &key].map(|path| Pem::read(path.to_str().expect("text")).ok());
        (tls.cert_pem, tls.key_pem) = (certificate, key);
        config.http_server.tls_check_interval = Duration::from_millis(20);
    });
    let [before, after] = [&first, &second].map(|authority| Arc::new(authority.client(&BOTH, None)));
    let mut ann = member(&server, &before, "hall");
    std::fs::write(&certificate, "half of it").expect("a file");
    let failures = || server.metric("roomcast_tls_reload_failures_total");
    eventually("a bad file is counted", || failures() > 0);
    let mut bob = member(&server, &before, "hall");
    write(&second.vouch_for("chat.example"));
    eventually("the new one is shown", || dial_tls(server.address, &after).write_all(b"x").is_ok());
    // One that has not been here before: a ticket stands for the certificate that was shown with it.
    let newcomer = Arc::new(first.client(&BOTH, None));
    assert!(dial_tls(server.address, &newcomer).write_all(b"x").is_err(), "the old one is not shown any more");
    bob.publish(3, "hall", "\"on\"");
    assert_eq!(ann.publication()["data"], "on", "who is connected stays");
}

#[test]
fn a_slow_client_over_tls_gets_all_in_order_and_holds_nobody_up() {
    let (server, _, config) = server(|config| config.channel.without_namespace.history_size = 2_000);
    let socket = dial(server.address);
    set_socket_recv_buffer_size(&socket, 64 * 1024).expect("a socket option");
    let mut slow = join(Client::over(over(socket, &config)), "hall");
    let mut ann = member(&server, &config, "hall");
    let data = format!("\"{}\"", "x".repeat(30_000));
    for id in 0..600 {
        ann.publish(id + 3, "hall", &data);
        ann.publication();
    }
    let mut next = 1;
    while next <= 600 {
        let publication = slow.publication();
        assert_eq!(number(&publication["offset"]), next);
        assert_eq!(text(&publication["data"]).len(), 30_000, "{next} is spoilt");
        next += 1;
    }
    slow.publish(3, "hall", "1");
}

#[test]
fn a_slow_consumer_over_tls_is_closed_and_told_so() {
    let (server, _, config) = server(|config| {
        let options = &mut config.channel.without_namespace;
        (options.history_size, options.slow_consumer) = (16, SlowConsumer::Disconnect);
        // The database would have what the ring has lost.
        options.storage = Storage::Off;
    });
    let socket = dial(server.address);
    set_socket_recv_buffer_size(&socket, 64 * 1024).expect("a socket option");
    let mut slow = join(Client::over(over(socket, &config)), "hall");
    let mut ann = member(&server, &config, "hall");
    let data = format!("\"{}\"", "x".repeat(30_000));
    let mut id = 3;
    while server.metric("roomcast_closes_total{code=\"3008\"}") == 0 {
        ann.publish(id, "hall", &data);
        ann.publication();
        id += 1;
    }
    // From now on it reads, in time for the end.
    let mut next = 1;
    let code = loop {
        match slow.hear() {
            Heard::Object(value) => {
                if let Some(publication) = value["push"].get("pub") {
                    assert_eq!(number(&publication["offset"]), next, "in order up to the end");
                    next += 1;
                }
            }
            Heard::Close(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 3008);
}

#[test]
fn a_full_socket_that_takes_nothing_is_closed_in_time() {
    let (server, _, config) = server(|config| config.client.write_timeout = Duration::from_millis(300));
    let socket = dial(server.address);
    set_socket_recv_buffer_size(&socket, 64 * 1024).expect("a socket option");
    let _stalled = join(Client::over(over(socket, &config)), "hall");
    let mut ann = member(&server, &config, "hall");
    let data = format!("\"{}\"", "x".repeat(30_000));
    let mut id = 3;
    eventually("it is closed", || {
        ann.publish(id, "hall", &data);
        id += 1;
        server.metric("roomcast_closes_total{code=\"3008\"}") == 1
    });
}

/// The beginning of a handshake, whose rest never comes.
fn begin(server: &Running) -> TcpStream {
    let mut socket = dial(server.address);
    socket.write_all(&[22, 3, 1, 0, 200, 1]).expect("a beginning");
    socket
}

fn is_closed(mut socket: &TcpStream) -> bool {
    match socket.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_handshake_has_its_time() {
    let (server, _, config) = server(|config| config.http_server.tls_handshake_timeout = Duration::from_millis(200));
    let (silent, half) = (dial(server.address), begin(&server));
    assert!(is_closed(&silent) && is_closed(&half));
    // The sockets are closed a moment before.
    eventually("both are counted", || server.metric("roomcast_tls_handshakes_total{outcome=\"timeout\"}") == 2);
    member(&server, &config, "hall");
}

#[test]
fn of_too_many_handshakes_the_oldest_are_given_up() {
    let (server, _, config) = server(|config| {
        config.shards = std::num::NonZeroUsize::new(1);
        config.http_server.tls_handshake_limit = 4;
        config.http_server.tls_handshake_timeout = Duration::from_secs(3_600);
    });
    let mut ann = member(&server, &config, "hall");
    let slow: Vec<_> = (0..20).map(|_| begin(&server)).collect();
    assert!(slow[..16].iter().all(is_closed), "they hold no places");
    let mut bob = member(&server, &config, "hall");
    bob.publish(3, "hall", "\"in time\"");
    assert_eq!(ann.publication()["data"], "in time");
    assert_eq!(server.metric("roomcast_tls_handshakes_total{outcome=\"given_up\"}"), 17);
    assert_eq!(server.metric("roomcast_tls_handshakes_under_way"), 3);
}
