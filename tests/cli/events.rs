//! The log of room events, as an operator looks at it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use roomcast_server::config::{Flags, load_from};
use serde_json::Value;

use crate::config::{read, variables};
use crate::{TempDir, TempFile, command, roomcast, text};

const CONFIG: &str = "[channel.without_namespace]\nroom_events = true\nstorage = \"off\"\nhistory_size = 0\n\
                      [client]\nsubscribe_on_connect = [\"hall\"]\n";

/// A server that goes away with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a server take one client, whose room is told of.
fn serve_once(data: &TempDir, config: &TempFile) {
    let arguments = ["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data.path(), "--config", config.path()];
    let mut server = Serving(command(&arguments).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.by_ref().find_map(|line| {
        let (_, address) = line.split_once("listening on http://")?;
        address.split_whitespace().next().map(str::to_owned)
    });
    let address = address.expect("where it listens");
    let beside = roomcast(&["events", "skip", "0", "--data-dir", data.path()]);
    assert_eq!(beside.status.code(), Some(1));
    assert!(text(&beside.stderr).contains("another process has"), "{}", text(&beside.stderr));
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let request =
        "GET /connection/sse?cf_connect=%7B%22id%22:1,%22connect%22:%7B%7D%7D HTTP/1.1\r\nHost: localhost\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while !line.contains("\"hall\"") {
        line.clear();
        assert_ne!(answer.read_line(&mut line).unwrap(), 0, "it ended");
    }
    drop((stream, answer));
    let told = std::process::Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    lines.for_each(drop);
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn the_log_is_shown_and_the_backend_put_on_and_back() {
    let (data, config) = (TempDir::new(), TempFile::new("events.toml", CONFIG));
    let tool = |arguments: &[&str]| {
        let output = roomcast(&[&["events"], arguments, &["--data-dir", data.path()]].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, said) = tool(&["status"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no log of room events at"), "{said}");
    serve_once(&data, &config);
    let (code, said, _) = tool(&["status"]);
    assert_eq!(code, Some(0));
    let has = |line: &str| said.lines().any(|it| it.split_whitespace().collect::<Vec<_>>().join(" ") == line);
    assert!(has("newest 3") && has("delivered 0") && has("lag 3") && has("oldest 1"), "{said}");
    let (_, lines, _) = tool(&["list"]);
    let kinds: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].clone()).collect();
    assert_eq!(kinds, ["occupied", "join", "leave"]);
    let (_, lines, _) = tool(&["list", "--from", "2", "--limit", "1"]);
    assert!(lines.lines().count() == 1 && lines.contains("\"offset\":2"), "{lines}");
    assert_eq!(tool(&["skip", "2"]).1, "the backend was at 0 and is at 2\n");
    assert!(tool(&["list"]).1.starts_with("{\"offset\":3"));
    let (code, _, said) = tool(&["skip", "4"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("newest event is 3"), "{said}");
    assert_eq!(tool(&["skip", "0"]).1, "the backend was at 2 and is at 0\n");
}

#[test]
fn an_endpoint_of_events_is_a_url_and_needs_a_secret_that_is_shown_to_nobody() {
    let good = "[events]\nendpoint = \"https://backend.example/events?a=b\"\nsecret = \"sixteen hushes !\"\nprevious_secret = \"sixteen hushes ?\"\nusers = true\n\
                [channel.without_namespace]\nroom_events = true\n";
    let config = read("c.toml", good).unwrap();
    assert!(config.events.users && config.channel.without_namespace.room_events);
    assert_eq!(read("c.toml", &config.to_toml()).unwrap(), config, "what is printed is read again");
    for text in [config.without_password().to_toml(), format!("{config:?}")] {
        assert!(!text.contains("hushes"), "{text}");
    }
    let environment = variables(&[
        ("ROOMCAST_EVENTS_ENDPOINT", "http://localhost/"),
        ("ROOMCAST_EVENTS_SECRET", "whsec_YSBzZWNyZXQgb2YgMjQgYnl0ZXMgLi4u"),
        ("ROOMCAST_EVENTS_VACATED_DELAY", "0s"),
    ]);
    assert!(load_from(&Flags::default(), environment).unwrap().config.events.endpoint.is_some());
    for (text, expected) in [
        ("endpoint = \"https://backend.example\"", "needs `events.secret`"),
        ("endpoint = \"https://ann:hush@backend.example\"", "without a user and a password"),
        ("endpoint = \"backend.example\"", "expected a URL"),
        ("secret = \"hush\"", "16 bytes or more"),
        ("secret = \"whsec_aHVzaA==\"", "16 bytes or more"),
        ("batch_size = 1001", "expected 1 to 1000"),
        ("timeout = \"61s\"", "expected 100ms to 1m"),
        ("vacated_delay = \"2h\"", "expected 0s to 1h"),
        ("log_max_size = 1000", "expected 1048576"),
        ("log_max_age = \"1s\"", "expected 1m"),
        ("endpoints = \"a\"", "did you mean `events.endpoint`"),
    ] {
        let said = read("c.toml", &format!("[events]\n{text}\n")).unwrap_err().to_string();
        assert!(said.contains("c.toml:2") && said.contains(expected), "{said}");
        assert!(!said.contains("hush"), "{said}");
    }
}
