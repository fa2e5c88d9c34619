//! Rules that hold for every address that is answered, whatever it is for: names, origins, and what browsers are told.

use std::io::{Read as _, Write as _};

use roomcast_server::config::ApiKey;

use crate::harness::{Running, dial};

/// Who may ask for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Probes, by any name.
    Health,
    /// Everybody, by one of the server's names; pages of others cannot read it.
    Reading,
    /// Pages that may connect, and programs.
    Clients,
    /// Programs alone.
    Backends,
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A server that has everything switched on, and is reached by one name.
fn server() -> Running {
    Running::with(|config| {
        config.http_server.allowed_hosts = vec!["chat.example".to_owned()];
        config.client.allowed_origins = vec!["https://page.example".to_owned()];
        config.http_api.key = ApiKey::new("secret");
        config.unidirectional.init.enabled = true;
        config.unidirectional.sse.enabled = true;
        config.unidirectional.http_stream.enabled = true;
        config.unidirectional.websocket.enabled = true;
    })
}

/// Every address there is.
fn addresses(server: &Running) -> Vec<(String, For)> {
    let mut all: Vec<(String, For)> = [
        ("/health", For::Health),
        ("/ready", For::Health),
        ("/", For::Reading),
        ("/page/app.js", For::Reading),
        ("/page/nothing", For::Reading),
        ("/metrics", For::Reading),
        ("/nothing", For::Reading),
        ("/connection/websocket", For::Clients),
        ("/connection/http_stream", For::Clients),
        ("/connection/sse", For::Clients),
        ("/emulation", For::Clients),
        ("/connection/uni_websocket", For::Clients),
        ("/connection/uni_http_stream", For::Clients),
        ("/connection/uni_sse", For::Clients),
        ("/connection/init", For::Clients),
        ("/api", For::Backends),
        ("/api/openapi.json", For::Backends),
    ]
    .map(|(path, whose)| (path.to_owned(), whose))
    .into();
    let answer = ask(server, "GET", "/api/openapi.json", "Host: chat.example\r\nX-API-Key: secret\r\n");
    let description: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON");
    let methods = description["paths"].as_object().expect("addresses").keys();
    all.extend(methods.map(|path| (path.clone(), For::Backends)));
    all
}

/// The answer to a request, as far as it ends by itself; its head at least.
fn ask(server: &Running, method: &str, path: &str, headers: &str) -> String {
    let mut stream = dial(server.address);
    let is_websocket = path.ends_with("websocket");
    let more = if is_websocket { UPGRADE } else { "Connection: close\r\n" };
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}{more}Content-Length: 0\r\n\r\n");
    // One that a WebSocket is asked for with comes in one piece, without a body, as browsers send it.
    let request = if is_websocket { request.replace("Content-Length: 0\r\n", "") } else { request };
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
        }
        // What is let in goes on.
        if answer.starts_with(b"HTTP/1.1 101") || (is_streaming(&answer) && answer.ends_with(b"\r\n")) {
            break;
        }
        if is_websocket && String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_streaming(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    text.contains("transfer-encoding: chunked") && text.contains("\r\n\r\n")
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no head: {answer:?}")).parse().expect("a number")
}

#[test]
fn every_address_is_asked_for_by_the_servers_name_and_by_whom_it_is_for() {
    let server = server();
    for (path, whose) in addresses(&server) {
        for method in ["GET", "POST"] {
            let said = |headers: &str| status(&ask(&server, method, &path, headers));
            let rebound = said("Host: rebound.example\r\nX-API-Key: secret\r\n");
            assert_eq!(rebound == 421, whose != For::Health, "{method} {path} {whose:?}: {rebound}");
            let strange = said("Host: chat.example\r\nX-API-Key: secret\r\nOrigin: https://evil.example\r\n");
            assert_eq!(strange == 403, matches!(whose, For::Clients | For::Backends), "{method} {path}: {strange}");
            let picture = said("Host: chat.example\r\nX-API-Key: secret\r\nSec-Fetch-Site: cross-site\r\n");
            assert_eq!(picture == 403, matches!(whose, For::Clients | For::Backends), "{method} {path}: {picture}");
            let page = said("Host: chat.example\r\nX-API-Key: secret\r\nOrigin: https://page.example\r\n");
            assert_eq!(page == 403, whose == For::Backends, "{method} {path}: {page}");
            assert_eq!(said("Host: a\r\nHost: b\r\n"), 400, "{method} {path}");
        }
    }
}

#[test]
fn every_answer_tells_browsers_what_it_is_not() {
    let server = server();
    for (path, whose) in addresses(&server) {
        for host in ["chat.example", "rebound.example"] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = ask(&server, method, &path, &format!("Host: {host}\r\nOrigin: https://evil.example\r\n"));
                let head = answer.split_once("\r\n\r\n").expect("a head").0.to_ascii_lowercase();
                for line in [
                    "x-content-type-options: nosniff",
                    "referrer-policy: no-referrer",
                    "x-frame-options: deny",
                    "cross-origin-opener-policy: same-origin",
                    "cross-origin-resource-policy: same-origin",
                    "permissions-policy: camera=()",
                    "frame-ancestors 'none'",
                ] {
                    assert!(head.contains(line), "{method} {path}: no `{line}` in {head}");
                }
                let is_page = path == "/" || path.starts_with("/page/");
                let policy = if is_page { "default-src 'self'" } else { "default-src 'none'" };
                assert!(head.contains(&format!("content-security-policy: {policy}")), "{method} {path}: {head}");
                assert!(!head.contains("unsafe-"), "{path}: {head}");
                let is_open = head.contains("access-control-allow-origin");
                assert!(!is_open, "{method} {path} {whose:?}: nothing is told to a page that may not ask: {head}");
            }
        }
    }
}

/// What is added to the router is added above.
#[test]
fn the_addresses_are_all_there_are() {
    let known = include_str!("security.rs");
    let router = include_str!("../../crates/server/src/net/http.rs");
    let routes: Vec<&str> = router.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(routes.len() >= 3, "{routes:?}");
    for route in routes {
        let begin = route.split('{').next().unwrap_or(route);
        assert!(known.contains(&format!("(\"{begin}")), "{route} is not walked");
    }
}

/// One way of comparing keys, and nothing that is compared otherwise.
#[test]
fn keys_are_compared_in_a_time_that_says_nothing() {
    let key = include_str!("../../crates/server/src/config/http_api.rs");
    let signature = include_str!("../../crates/server/src/util/signature.rs");
    assert!(key.contains("same_secret(self.0"), "the key of the server API");
    assert!(signature.contains("hmac::verify("), "signatures of tokens");
}
