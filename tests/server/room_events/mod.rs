//! Who comes and goes, told to a backend: what it is told, and that nothing of it is lost, whoever breaks.

mod backend;
mod crash;
mod hand_over;

use std::io::Write as _;
use std::time::Duration;

use roomcast_server::config::{ApiKey, Config, Endpoint, NamespaceOptions, Storage, WebhookSecret};
use roomcast_server::{ServeError, Server};
use serde_json::json;

use self::backend::{Backend, Manner, SECRET};
use crate::api::result;
use crate::harness::{Client, Folder, Running, dial, eventually};

/// A server whose rooms of `seen` are told to that backend.
fn server(backend: &Backend, change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        tells(config, backend);
        change(config);
    })
}

fn tells(config: &mut Config, backend: &Backend) {
    config.client.user_id_http_header = Some("X-User".to_owned());
    config.channel.without_namespace.storage = Storage::Off;
    let mut seen = NamespaceOptions::dev();
    (seen.room_events, seen.storage, seen.history_size) = (true, Storage::Off, 0);
    config.channel.namespaces.insert("seen".to_owned(), seen);
    config.events.endpoint = Some(Endpoint::new(&backend.endpoint()).expect("a URL"));
    config.events.secret = Some(WebhookSecret::new(SECRET).expect("a secret"));
    config.events.vacated_delay = Duration::from_millis(1);
}

/// A client of that user.
fn user(address: std::net::SocketAddr, name: &str) -> Client {
    let mut client = Client::over_with(dial(address), &format!("X-User: {name}\r\n"));
    client.send(r#"{"id":1,"connect":{}}"#);
    let reply = client.reply(1);
    reply["connect"]["client"].as_str().expect("an id").clone_into(&mut client.id);
    client
}

#[test]
fn a_backend_is_told_who_comes_and_goes_and_why() {
    let backend = Backend::start();
    let server = server(&backend, |config| config.events.users = true);
    let mut ann = user(server.address, "ann");
    ann.subscribe(2, "seen:hall");
    ann.subscribe(3, "unseen");
    let mut nobody = server.connected("Nobody");
    nobody.subscribe(2, "seen:hall");
    ann.send(r#"{"id":4,"unsubscribe":{"channel":"seen:hall"}}"#);
    ann.reply(4);
    let id = ann.id.clone();
    eventually("ann's leave", || backend.books().events.len() >= 5);
    drop(nobody);
    eventually("an empty room", || backend.books().words().last().is_some_and(|last| last.starts_with("vacated")));
    ann.send("this is no command");
    eventually("ann's end", || backend.books().events.len() >= 8);
    let books = backend.books();
    assert_eq!(
        books.words(),
        [
            "connect ann",
            "occupied seen:hall",
            "join seen:hall ann",
            "join seen:hall",
            "leave seen:hall ann unsubscribe",
            "leave seen:hall disconnect",
            "vacated seen:hall",
            "disconnect ann bad request",
        ]
    );
    let (connect, end) = (&books.events[&1], &books.events[&8]);
    assert_eq!((connect["client"].as_str(), end["client"].as_str()), (Some(&*id), Some(&*id)));
    assert_eq!(end["code"], 3501);
    drop(books);
    eventually("the figures", || server.metric("roomcast_events_delivered_total") == 8);
    assert_eq!(server.metric("roomcast_events_logged_total"), 8);
    for quiet in ["lag ", "lag_seconds ", "lost_total", "failures_total", "trouble "] {
        assert_eq!(server.metric(&format!("roomcast_events_{quiet}")), 0, "{quiet}");
    }
}

#[test]
fn whatever_a_backend_does_it_is_told_all_of_it_in_order() {
    let backend = Backend::start();
    let server = server(&backend, |config| config.events.timeout = Duration::from_millis(150));
    let mut ann = user(server.address, "ann");
    let manners = [
        Manner::Dead,
        Manner::Answers(500),
        Manner::DiesBefore,
        Manner::Answers(404),
        Manner::DiesAfter,
        Manner::Redirects,
        Manner::Hangs,
        Manner::Floods(500),
        Manner::Babbles,
        Manner::Answers(199),
    ];
    for (nth, manner) in manners.into_iter().enumerate() {
        backend.behaves(manner);
        let failures = server.metric("roomcast_events_failures_total");
        for id in [10, 20] {
            let room = format!("seen:{nth}-{id}");
            ann.subscribe(id + nth as u32 * 100, &room);
        }
        eventually("a failure", || server.metric("roomcast_events_failures_total") > failures);
        eventually("a lag", || server.metric("roomcast_events_lag ") > 0);
        backend.behaves(Manner::Takes);
        eventually("that it is told", || backend.books().members.len() == 2 * (nth + 1));
        assert!(backend.asked() > 0);
    }
    assert_eq!(backend.books().occupied.len(), 2 * manners.len());
    // What has once been told is not told again for good.
    eventually("that it is done", || server.metric("roomcast_events_lag ") == 0);
}

#[test]
fn a_backend_that_says_yes_at_length_has_said_yes() {
    let backend = Backend::start();
    backend.behaves(Manner::Floods(200));
    let server = server(&backend, |_| {});
    let mut ann = user(server.address, "ann");
    ann.subscribe(2, "seen:hall");
    eventually("that it is taken", || server.metric("roomcast_events_delivered_total") == 2);
    assert_eq!(server.metric("roomcast_events_failures_total"), 0);
    assert_eq!(backend.books().repeated, 0);
}

#[test]
fn a_backend_that_was_out_for_too_long_is_told_what_it_missed() {
    let backend = Backend::start();
    backend.behaves(Manner::Dead);
    let server = server(&backend, |config| {
        config.events.log_max_size = 20_000;
        config.events.batch_size = 50;
        // Nothing happens any more once the backend is back.
        config.events.vacated_delay = Duration::from_secs(60);
    });
    let mut ann = user(server.address, "ann");
    for id in 0..200 {
        let room = format!("seen:{}", id % 10);
        ann.subscribe(2 * id + 10, &room);
        ann.send(&format!(r#"{{"id":{},"unsubscribe":{{"channel":"{room}"}}}}"#, 2 * id + 11));
        ann.reply(2 * id + 11);
    }
    ann.subscribe(1_000, "seen:last");
    eventually("a loss", || server.metric("roomcast_events_lost_total") > 100);
    // 11 rooms, 201 joins, 200 leaves.
    eventually("all of it in the log", || server.metric("roomcast_events_logged_total") == 412);
    backend.behaves(Manner::Takes);
    eventually("the rest", || backend.books().cursor == 412 && server.metric("roomcast_events_lag ") == 0);
    let books = backend.books();
    let (_, first) = books.events.first_key_value().expect("an event");
    assert_eq!((first["type"].as_str(), first["from"].as_u64()), (Some("gap"), Some(1)), "{first}");
    assert_eq!(first["to"], first["offset"]);
    assert_eq!(
        books.events.len() as u64,
        books.cursor + 1 - first["to"].as_u64().expect("a number"),
        "one gap, and all behind it"
    );
    assert!(books.events.values().any(|event| event["channel"] == "seen:last" && event["type"] == "join"));
    assert!(books.largest <= 50, "{}", books.largest);
    drop(books);
    assert_eq!(
        server.metric("roomcast_events_lost_total"),
        backend.books().events.first_key_value().map_or(0, |(to, _)| *to)
    );
}

#[test]
fn at_the_end_of_a_server_all_are_gone_and_the_backend_has_heard_of_it() {
    let backend = Backend::start();
    let folder = Folder::new();
    let start = |vacated| {
        server(&backend, |config| {
            config.data_dir = folder.0.clone();
            config.events.vacated_delay = vacated;
        })
    };
    let server = start(Duration::from_secs(60));
    let mut ann = user(server.address, "ann");
    ann.subscribe(2, "seen:hall");
    server.stop().expect("a clean end");
    let told = ["occupied seen:hall", "join seen:hall ann", "leave seen:hall ann disconnect"];
    assert_eq!(backend.books().words(), told);
    assert_eq!(backend.books().repeated, 0);
    // Who comes back in time has never left the room empty.
    let server = start(Duration::from_secs(60));
    let mut ann = user(server.address, "ann");
    ann.subscribe(2, "seen:hall");
    eventually("a join", || backend.books().events.len() == 4);
    server.stop().expect("a clean end");
    let server = start(Duration::from_millis(1));
    eventually("an end", || backend.books().words().last().is_some_and(|last| last == "vacated seen:hall"));
    assert_eq!(backend.books().repeated, 0, "how far it is was remembered");
    drop(server);
    // A backend that was told all is not behind by what it was told before.
    backend.behaves(Manner::Dead);
    let server = start(Duration::from_secs(60));
    let _ann = user(server.address, "ann").subscribe(2, "seen:hall");
    eventually("a failure", || server.metric("roomcast_events_failures_total") > 0);
    assert!(server.metric("roomcast_events_lag ") <= 3, "{}", server.metric("roomcast_events_lag "));
}

#[test]
fn a_secret_is_changed_while_a_backend_knows_the_one_before() {
    let backend = Backend::start();
    let server = server(&backend, |config| {
        config.events.previous_secret = config.events.secret.clone();
        config.events.secret = Some(WebhookSecret::new("one that it does not know").expect("a secret"));
    });
    let mut ann = user(server.address, "ann");
    ann.subscribe(2, "seen:hall");
    eventually("that it is told", || backend.books().events.len() == 2);
}

#[test]
fn without_events_there_is_no_log_and_without_an_endpoint_there_is() {
    let folder = Folder::new();
    let start = |has_events: bool| {
        Running::with(|config| {
            config.data_dir = folder.0.clone();
            config.channel.without_namespace.storage = Storage::Off;
            config.channel.without_namespace.room_events = has_events;
        })
    };
    let server = start(false);
    drop(server.member("Ann", "hall"));
    server.stop().expect("a clean end");
    assert!(!folder.0.join("events.db").exists());
    let server = start(true);
    let _ann = server.member("Ann", "hall");
    eventually("events", || server.metric("roomcast_events_logged_total") == 2);
    assert_eq!(server.metric("roomcast_events_lag "), 0, "nobody is behind");
}

#[test]
fn a_second_server_is_told_that_the_log_is_had() {
    let backend = Backend::start();
    let folder = Folder::new();
    let first = server(&backend, |config| config.data_dir = folder.0.clone());
    // It has begun when it answers.
    first.get("/health", "");
    let mut config = Config::dev();
    tells(&mut config, &backend);
    (config.http_server.port, config.data_dir) = (0, folder.0.clone());
    let error = Server::bind(config).expect("a free port").run().expect_err("the log is had");
    assert!(matches!(error, ServeError::Events(_)), "{error:?}");
    assert!(error.to_string().contains("another process has") && error.to_string().contains("events.db"), "{error}");
}

/// A client that is heard by what it asks over HTTP, as long as the socket is open.
fn asks(server: &Running, path: &str, commands: &str) -> std::net::TcpStream {
    let mut stream = dial(server.address);
    let length = commands.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nX-User: ann\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + commands).as_bytes()).expect("a request");
    stream
}

#[test]
fn however_a_client_comes_and_whoever_puts_it_into_a_room_or_out_it_comes_and_goes_once() {
    let backend = Backend::start();
    let server = server(&backend, |config| {
        config.events.users = true;
        config.http_api.key = ApiKey::new("secret");
        config.unidirectional.http_stream.enabled = true;
        config.unidirectional.sse.enabled = true;
    });
    let both = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"seen:own\"}}";
    let mut websocket = user(server.address, "ann");
    websocket.subscribe(2, "seen:own");
    let subs = r#"{"subs":{"seen:own":{}}}"#;
    let others = [
        asks(&server, "/connection/http_stream", both),
        asks(&server, "/connection/uni_http_stream", subs),
        asks(&server, "/connection/uni_sse", subs),
    ];
    eventually("all of them", || backend.books().connected.len() == 4);
    // Twice, and into a room that they are in.
    for room in ["seen:put", "seen:put", "seen:own"] {
        result(&server, "subscribe", json!({"user": "ann", "channel": room}));
    }
    let in_own = || backend.books().members.iter().filter(|(room, _)| room == "seen:own").count();
    let in_put = || backend.books().members.iter().filter(|(room, _)| room == "seen:put").count();
    eventually("all of them in both rooms", || (in_own(), in_put()) == (4, 4));
    for _ in 0..2 {
        result(&server, "unsubscribe", json!({"user": "ann", "channel": "seen:own"}));
    }
    eventually("nobody in one of them", || (in_own(), in_put()) == (0, 4));
    drop(others);
    result(&server, "disconnect", json!({"user": "ann"}));
    eventually("nobody", || {
        let books = backend.books();
        books.connected.is_empty() && books.members.is_empty() && books.occupied.is_empty()
    });
    let books = backend.books();
    let of = |kind: &str| books.events.values().filter(|event| event["type"] == kind).count();
    assert_eq!(["connect", "join", "leave", "disconnect"].map(of), [4, 8, 8, 4], "{:?}", books.words());
}
