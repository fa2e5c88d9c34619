//! Where the backend is asked, as a file and variables say it.

use super::{TempFile, command, roomcast, text};

const GOOD: &str = r#"
[client.proxy.connect]
enabled = true
endpoint = "https://shop.example/connect"
http_headers = ["Cookie"]
timeout = "2s"
http.static_headers = { "X-Key" = "hush-hush" }
http.status_to_code_transforms = [{ status_code = 404, to_error = { code = 404, message = "not found" } }]

[client.proxy.connect.http.tls]
enabled = true
server_name = "shop.example"

[channel.proxy.subscribe]
endpoint = "http://127.0.0.1:1/subscribe"

[[channel.namespaces]]
name = "orders"
subscribe_proxy_enabled = true
publish_proxy_enabled = true
publish_proxy_name = "filter"

[[proxies]]
name = "filter"
endpoint = "http://127.0.0.1:1/filter"
[proxies.http]
static_headers = { "Authorization" = "hush-hush" }

[rpc.proxy]
endpoint = "http://127.0.0.1:1/rpc?key=hush-hush"
[[rpc.namespaces]]
name = "shop"
proxy_enabled = true
"#;

#[test]
fn proxies_are_read_shown_and_read_again_without_their_secrets() {
    let file = TempFile::new("proxies.toml", GOOD);
    let shown = roomcast(&["config", "show", file.path()]);
    let printed = text(&shown.stdout);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert!(!printed.contains("hush-hush"), "{printed}");
    for line in [
        "endpoint = \"https://shop.example/connect\"",
        "http_headers = [\"cookie\"]",
        "endpoint = \"http://127.0.0.1:1/rpc?…\"",
        "http.tls.server_name = \"shop.example\"",
        "http.static_headers = { \"authorization\" = \"…\" }",
        "status_code = 404",
        "[[rpc.namespaces]]\nname = \"shop\"",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    let hidden = printed.replace('…', "x");
    let again = TempFile::new("again.toml", &hidden);
    let output = roomcast(&["config", "show", again.path()]);
    assert_eq!(text(&output.stdout).replace('…', "x"), hidden, "{}", text(&output.stderr));
}

#[test]
fn a_proxy_that_is_asked_and_is_not_there_is_found_with_its_line() {
    for (change, line, said) in [
        (
            ("endpoint = \"https://shop.example/connect\"\n", ""),
            "3",
            "`client.proxy.connect.enabled`: client.proxy.connect needs an `endpoint`",
        ),
        (("_name = \"filter\"", "_name = \"sieve\""), "21", "there is no proxy \"sieve\" among `proxies`"),
        (("endpoint = \"http://127.0.0.1:1/filter\"", ""), "21", "proxy `filter` needs an `endpoint`"),
        (("endpoint = \"http://127.0.0.1:1/rpc?key=hush-hush\"", ""), "", "rpc.proxy needs an `endpoint`"),
        (("https://shop.example/connect", "grpc://shop.example"), "4", "gRPC is not served"),
        (("https://shop.example/connect", "https://u:hush-hush@shop.example"), "4", "http.static_headers"),
        (("[\"Cookie\"]", "[\"Host\"]"), "5", "host is said by the connection"),
        (("timeout = \"2s\"", "timeout = \"2h\""), "6", "`client.proxy.connect.timeout`: expected 1ms to 1m"),
        (("{ \"X-Key\" = \"hush-hush\" }", "\"hush-hush\""), "7", "expected headers with their values"),
        (("status_code = 404, to", "status_code = 200, to"), "8", "200 is no status"),
        (("server_name = \"shop.example\"", "server_name = \"not a name\""), "", "`server_name`"),
        (("server_name = \"shop.example\"", "cert_pem = \"no/such/file\""), "12", "PEM"),
        (
            ("server_name = \"shop.example\"", "server_nam = \"x\""),
            "12",
            "did you mean `client.proxy.connect.http.tls.server_name`?",
        ),
        (("\nname = \"filter\"", "\nname = \"default\""), "", "choose another"),
        (("\nname = \"filter\"", "\nname = \"a b\""), "", "2 to 64 letters"),
    ] {
        let (from, to) = change;
        let written = GOOD.replacen(from, to, 1);
        assert_ne!(written, GOOD, "{from}");
        let file = TempFile::new("wrong.toml", &written);
        let output = roomcast(&["config", "check", file.path()]);
        let found = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}: {found}");
        assert!(found.contains(said) && !found.contains("hush"), "{said}: {found}");
        assert!(line.is_empty() || found.contains(&format!("wrong.toml:{line}: ")), "{said}: {found}");
    }
}

#[test]
fn variables_say_the_same() {
    let output = command(&["config", "show"])
        .env("ROOMCAST_CLIENT_PROXY_CONNECT_ENABLED", "true")
        .env("ROOMCAST_CLIENT_PROXY_CONNECT_ENDPOINT", "http://127.0.0.1:1/")
        .env("ROOMCAST_CLIENT_PROXY_CONNECT_HTTP_STATIC_HEADERS", r#"{"X-Key": "hush"}"#)
        .env("ROOMCAST_PROXIES", r#"[{"name": "filter", "endpoint": "http://127.0.0.1:1/"}]"#)
        .env("ROOMCAST_PROXIES_FILTER_TIMEOUT", "3s")
        .env("ROOMCAST_RPC_NAMESPACES", r#"[{"name": "shop", "proxy_enabled": true, "proxy_name": "filter"}]"#)
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    for line in ["http.static_headers = { \"x-key\" = \"…\" }", "timeout = \"3s\"", "proxy_name = \"filter\""] {
        assert!(printed.contains(line), "{line}: {printed} {}", text(&output.stderr));
    }
}

#[test]
fn the_backend_of_events_is_known_in_the_same_words() {
    let written = "[events]\nendpoint = \"https://shop.example/events\"\nsecret = \"hush-hush-hush-hush\"\n\
                   [events.tls]\nenabled = true\nserver_name = \"shop.example\"\n";
    let good = TempFile::new("events.toml", written);
    let output = roomcast(&["config", "show", good.path()]);
    let printed = text(&output.stdout);
    for line in ["tls.enabled = true", "tls.server_name = \"shop.example\""] {
        assert!(printed.contains(line), "{line}: {printed} {}", text(&output.stderr));
    }
    assert!(!printed.contains("hush"), "{printed}");
    let wrong =
        TempFile::new("wrong.toml", &written.replace("server_name = \"shop.example\"", "server_name = \"not a name\""));
    let output = roomcast(&["config", "check", wrong.path()]);
    let found = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{found}");
    assert!(found.contains("events: `tls`: `server_name`"), "{found}");
}
