//! Secrets in configurations, tokens, addresses and headers are in no line of a log, at its most talkative, nor in what else is shown.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::{TempDir, TempFile, command, roomcast, text};

/// Each secret has it in its middle.
const PLANTED: &str = "planted";

const CONFIG: &str = r#"
[log]
level = "trace"

[http_api]
key = "the-planted-api-key"

[client]
allowed_origins = ["https://page.example"]

[client.token]
hmac_secret_key = "a planted secret of more than 32 bytes"

[client.subscription_token]
enabled = true
hmac_secret_key = "another planted secret of more than 32 bytes"

[client.proxy.connect]
enabled = true
endpoint = "http://127.0.0.1:1/connect?key=planted-in-an-address"
http_headers = ["Cookie", "Authorization"]
http.static_headers = { "X-Key" = "planted-in-a-header" }

[channel.proxy.publish]
endpoint = "http://127.0.0.1:1/publish?key=planted-in-another-address"

[channel.without_namespace]
publish_proxy_enabled = true
room_events = true
allow_subscribe_for_client = true

[events]
endpoint = "http://127.0.0.1:1/events?key=planted-in-the-address-of-events"
secret = "sixteen planted bytes"
"#;

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What comes within a while of a request that may not end.
fn say(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connect request in an address, as pages bring it that listen to events.
fn connect_in_an_address(connect: &str, headers: &str) -> String {
    let encoded: String =
        format!(r#"{{"id":1,"connect":{connect}}}"#).bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("GET /connection/sse?cf_connect={encoded} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[track_caller]
fn assert_hidden(what: &str, said: &str, signature: &str) {
    let lines = said.lines().filter(|line| line.to_ascii_lowercase().contains(PLANTED) || line.contains(signature));
    assert_eq!(lines.collect::<Vec<_>>(), [""; 0], "{what}");
}

#[test]
fn no_secret_is_in_a_log_or_in_what_else_is_shown() {
    let (data, config) = (TempDir::new(), TempFile::new("secrets.toml", CONFIG));
    let made = roomcast(&["gentoken", "--user", "ann", "--config", config.path()]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let token =
        text(&made.stdout).lines().find(|line| line.matches('.').count() == 2).expect("a token").trim().to_owned();
    let token = token.rsplit(' ').next().expect("a word").to_owned();
    let signature = token.rsplit('.').next().expect("a signature").to_owned();

    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data.path(), "--config", config.path()];
    let mut server = Serving(command(&arguments).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut log = String::new();
    let address = loop {
        let line = lines.next().expect("it says where it listens");
        log.push_str(&line);
        log.push('\n');
        if let Some((_, address)) = line.split_once("listening on http://") {
            break address.split_whitespace().next().unwrap().to_owned();
        }
    };
    let reading = std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));

    let headers = "Cookie: session=planted-in-a-cookie\r\nAuthorization: Bearer planted-bearer\r\n";
    let good = format!(r#"{{"token":"{token}","data":"planted"}}"#);
    let mut said = String::new();
    for request in [
        connect_in_an_address(r#"{"token":"eyJhbGciOiJIUzI1NiJ9.planted.planted"}"#, headers),
        connect_in_an_address(r#"{"data":"planted","headers":{"authorization":"planted"}}"#, headers),
        connect_in_an_address(&good, headers),
        "GET /connection/sse?cf_connect=planted HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /nothing?api_key=planted-in-a-query HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /?token=planted HTTP/9.9\r\nplanted\r\n\r\n".to_owned(),
        post("/api/info?api_key=planted-and-wrong", "", "{}"),
        post("/api/info", "X-API-Key: planted-and-wrong\r\n", "{}"),
        post("/api/info", "Authorization: apikey planted-and-wrong\r\n", "{}"),
        post("/api/publish?api_key=the-planted-api-key", "", r#"{"channel":"hall","data":{"it":"planted"}}"#),
        post("/api/publish", "X-API-Key: the-planted-api-key\r\n", r#"{"channel":"hall","data":"planted""#),
        post("/connection/http_stream", "", &format!(r#"{{"id":1,"connect":{good}}}"#)),
        post("/emulation", "", r#"{"session":"planted","node":"","data":"planted"}"#),
    ] {
        said.push_str(&say(&address, &request));
    }
    assert!(said.contains("\"connect\":{\"client\":"), "the token is good: {said}");
    let metrics = say(&address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(metrics.contains("roomcast_api_refused_total"));
    assert_hidden("metrics", &metrics, &signature);

    let told = std::process::Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    log.push_str(&reading.join().unwrap());
    assert_eq!(server.0.wait().unwrap().code(), Some(0), "{log}");
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "it was talkative: {log}");
    assert!(log.contains("127.0.0.1:1"), "backends that are away are named: {log}");
    assert_hidden("the log", &log, &signature);
    for file in std::fs::read_dir(format!("{}/logs", data.path())).into_iter().flatten().flatten() {
        assert_hidden("a file of the log", &std::fs::read_to_string(file.path()).unwrap(), &signature);
    }

    let with_keys_elsewhere = CONFIG.replacen(
        "[client.subscription_token]\n",
        "jwks_public_endpoint = \"https://keys.example/?key=planted\"\n[client.subscription_token]\n",
        1,
    );
    let config = TempFile::new("more-secrets.toml", &with_keys_elsewhere);
    let shown = roomcast(&["config", "show", config.path()]);
    for address in ["http://127.0.0.1:1/connect?…", "http://127.0.0.1:1/events?…", "https://keys.example/?…"] {
        assert!(text(&shown.stdout).contains(address), "{address}: {}", text(&shown.stdout));
    }
    assert_eq!(shown.status.code(), Some(0));
    assert_hidden("what is shown", &text(&shown.stdout), &signature);
}

/// What is wrong is said without what was written.
#[test]
fn no_secret_is_in_what_is_said_of_a_configuration_that_is_wrong() {
    for wrong in [
        "[client.token]\nhmac_secret_key = [\"planted\"]\n",
        "[client.token]\nhmac_secret_key = \"planted\nmore\n",
        "[client.token]\nhmac_secret_kex = \"planted\"\n",
        "[client.token]\nrsa_public_key = \"-----BEGIN PUBLIC KEY-----\\nplanted\\n-----END PUBLIC KEY-----\"\n",
        "[http_api]\nkey = { planted = 1 }\n",
        "[events]\nsecret = \"planted\"\n",
        "[events]\nendpoint = \"https://ann:planted@backend.example\"\n",
        "[storage]\ntype = \"postgresql\"\nurl = \"postgresql://chat:planted word@127.0.0.1:1/rooms\"\n",
        "[client.proxy.connect]\nenabled = true\nendpoint = \"https://ann:planted@127.0.0.1/\"\n",
        "[client.proxy.connect]\nenabled = true\nendpoint = \"https://127.0.0.1/\"\n[client.proxy.connect.http.tls]\nenabled = true\n\
         key_pem = \"-----BEGIN PRIVATE KEY-----\\nplanted\\n-----END PRIVATE KEY-----\"\ncert_pem = \"planted\"\n",
    ] {
        let file = TempFile::new("wrong.toml", wrong);
        for arguments in [["config", "check", file.path()], ["config", "show", file.path()]] {
            let output = roomcast(&arguments);
            assert_hidden(wrong, &[text(&output.stdout), text(&output.stderr)].concat(), "no signature");
        }
    }
}
