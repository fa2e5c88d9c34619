//! A server that asks the site's backend: who somebody is, what they may do, what they mean.

mod backend;
mod bad;
mod staying;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use roomcast_server::config::{Config, NamespaceOptions, ProxyOptions, RpcOptions, Secret};
use roomcast_server::token_tools::make_claims;
use serde_json::{Value, json};

use self::backend::{Asked, Backend, Said};
use crate::harness::{Client, Running, dial, text};
use crate::tokens::say;

/// A server in which nothing is allowed that the backend does not allow.
fn server(backend: &Backend, change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.dev = false;
        config.client.allow_anonymous_connect_without_token = false;
        config.channel.without_namespace = NamespaceOptions::default();
        let mut keeping = NamespaceOptions::default();
        keeping.history_size = 10;
        keeping.history_ttl = Duration::from_secs(60);
        keeping.presence = true;
        keeping.allow_presence_for_client = true;
        keeping.allow_history_for_client = true;
        let mut open = keeping.clone();
        open.allow_subscribe_for_client = true;
        open.allow_publish_for_client = true;
        let mut asking = keeping;
        asking.allow_user_limited_channels = true;
        asking.subscribe_proxy_enabled = true;
        asking.publish_proxy_enabled = true;
        config.channel.namespaces.insert("open".to_owned(), open);
        config.channel.namespaces.insert("ask".to_owned(), asking);
        let proxies = &mut config.proxies;
        proxies.connect_enabled = true;
        for (proxy, path) in [
            (&mut proxies.connect, "/connect"),
            (&mut proxies.refresh, "/refresh"),
            (&mut proxies.subscribe, "/subscribe"),
            (&mut proxies.publish, "/publish"),
            (&mut proxies.sub_refresh, "/sub_refresh"),
            (&mut proxies.rpc, "/rpc"),
        ] {
            proxy.endpoint = backend.endpoint(path);
            // On a busy machine a backend is slow that is not meant to be.
            proxy.timeout = Duration::from_secs(10);
        }
        change(config);
    })
}

/// A backend that lets everybody in as user 42, and says of the rest what it is told to.
fn backend(rest: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Backend {
    Backend::start(move |asked| match asked.path.as_str() {
        "/connect" => Said::Json(json!({"result": {"user": "42"}})),
        _ => rest(asked),
    })
}

/// A client that the backend has let in.
fn connected(server: &Running, backend: &Backend) -> Client {
    let mut client = server.client();
    let reply = say(&mut client, 1, &json!({"connect": {}}));
    client.id = text(&reply["connect"]["client"]).to_owned();
    assert_eq!(backend.asked().path, "/connect");
    client
}

#[test]
fn a_client_without_a_token_is_whom_the_backend_says() {
    let backend = Backend::start(|_| {
        Said::Json(json!({"result": {
            "user": "42", "info": {"name": "Ann"}, "data": {"hello": 1},
            "subs": {"open:hall": {"data": {"topic": "x"}, "info": {"role": "host"}}},
        }}))
    });
    let server = server(&backend, |config| {
        let connect = &mut config.proxies.connect;
        connect.http_headers = vec!["cookie".to_owned(), "x-forwarded-for".to_owned()];
        connect.emulated_headers = vec!["x-page".to_owned()];
    });
    let headers = "Cookie: sid=1\r\nX-Secret: no\r\n";
    let mut client = Client::over_with(dial(server.address), headers);
    let connect = json!({"connect": {
        "name": "js", "version": "2", "data": {"a": 1}, "headers": {"X-Page": "shop", "X-Other": "no"},
        "subs": {"open:mine": {}},
    }});
    let reply = say(&mut client, 1, &connect)["connect"].clone();
    assert_eq!((&reply["data"], &reply["expires"]), (&json!({"hello": 1}), &Value::Null), "{reply}");
    assert_eq!(reply["subs"]["open:hall"]["data"], json!({"topic": "x"}), "{reply}");
    assert!(reply["subs"].get("open:mine").is_some(), "it may enter by itself: {reply}");
    let asked = backend.asked();
    let expected = json!({
        "client": reply["client"], "transport": "websocket", "protocol": "json", "encoding": "json",
        "name": "js", "version": "2", "data": {"a": 1}, "channels": ["open:mine"],
    });
    assert_eq!((asked.path.as_str(), &asked.body), ("/connect", &expected));
    assert_eq!(asked.headers["cookie"], "sid=1");
    assert_eq!(asked.headers["x-page"], "shop");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert!(!asked.headers.contains_key("x-secret") && !asked.headers.contains_key("x-other"));
    let presence = say(&mut client, 2, &json!({"presence": {"channel": "open:hall"}}));
    let info = &presence["presence"]["presence"][text(&reply["client"])];
    assert_eq!(info["user"], "42");
    assert_eq!((&info["conn_info"], &info["chan_info"]), (&json!({"name": "Ann"}), &json!({"role": "host"})));
}

#[test]
fn the_backend_refuses_with_its_own_words_or_knows_nothing() {
    let backend = Backend::start(|asked| {
        Said::Json(match asked.body["data"].as_str() {
            Some("error") => json!({"error": {"code": 1000, "message": "not today", "temporary": true}}),
            Some("expired") => json!({"result": {"user": "42", "expire_at": 1}}),
            Some("disconnect") => json!({"disconnect": {"code": 4500, "reason": "banned"}}),
            _ => json!({}),
        })
    });
    let server_of =
        |allows: bool| server(&backend, |config| config.client.allow_anonymous_connect_without_token = allows);
    let strict = server_of(false);
    let mut client = strict.client();
    let reply = say(&mut client, 1, &json!({"connect": {"data": "error"}}));
    assert_eq!(reply["error"], json!({"code": 1000, "message": "not today", "temporary": true}));
    assert_eq!(say(&mut client, 2, &json!({"connect": {"data": "expired"}}))["error"]["code"], 110);
    assert_eq!(say(&mut client, 3, &json!({"connect": {}}))["error"]["code"], 101);
    client.send(r#"{"id":4,"connect":{"data":"disconnect"}}"#);
    assert_eq!(client.closed(), (4500, "banned".to_owned()));
    let lenient = server_of(true);
    let mut anybody = lenient.client();
    assert!(say(&mut anybody, 1, &json!({"connect": {}})).get("connect").is_some(), "anonymous ones are let in");
}

#[test]
fn what_is_said_behind_connect_waits_for_it_and_counts_for_nothing_where_it_fails() {
    let backend = Backend::start(|asked| {
        let is_good = asked.body["data"] == "good";
        Said::Json(if is_good { json!({"result": {"user": "42"}}) } else { json!({"error": {"code": 1000}}) })
    });
    let server = server(&backend, |_| {});
    let frame = |data: &str| {
        let rest = r#"{"id":2,"subscribe":{"channel":"open:a"}}"#;
        format!("{{\"id\":1,\"connect\":{{\"data\":\"{data}\"}}}}\n{rest}")
    };
    let mut client = server.client();
    client.send(&frame("good"));
    assert!(client.reply(1).get("connect").is_some());
    assert!(client.reply(2).get("subscribe").is_some());
    let mut refused = server.client();
    refused.send(&frame("bad"));
    assert_eq!(refused.reply(1)["error"]["code"], 1000);
    assert_eq!(refused.closed().0, 3501);
    let mut twice = server.client();
    twice.send("{\"id\":1,\"connect\":{\"data\":\"good\"}}\n{\"id\":2,\"connect\":{\"data\":\"good\"}}");
    assert_eq!(twice.closed().0, 3501);
}

#[test]
fn the_backend_says_who_may_enter_and_as_what() {
    let backend = backend(|asked| {
        Said::Json(match asked.body["channel"].as_str() {
            Some("ask:error") => json!({"error": {"code": 403, "message": "no entry"}}),
            Some("ask:kick") => json!({"disconnect": {"code": 4501, "reason": "out"}}),
            Some("ask:over") => json!({"result": {"expire_at": 1}}),
            Some("ask:limited") => json!({"result": {"expire_at": 4_000_000_000_u64}}),
            _ => json!({"result": {"info": {"role": "guest"}, "data": {"topic": 1},
                "override": {"join_leave": {"value": true}}}}),
        })
    });
    let server = server(&backend, |_| {});
    let mut client = connected(&server, &backend);
    let mut subscribe =
        |id: u32, room: &str| say(&mut client, id, &json!({"subscribe": {"channel": room, "data": {"why": 1}}}));
    let entered = subscribe(2, "ask:a");
    assert_eq!(entered["subscribe"]["data"], json!({"topic": 1}), "{entered}");
    let asked = backend.asked();
    let client_id = asked.body["client"].clone();
    let expected = json!({
        "client": client_id, "transport": "websocket", "protocol": "json", "encoding": "json",
        "user": "42", "channel": "ask:a", "data": {"why": 1},
    });
    assert_eq!((asked.path.as_str(), asked.body), ("/subscribe", expected));
    let refused = subscribe(3, "ask:error");
    assert_eq!(refused["error"], json!({"code": 403, "message": "no entry"}), "{refused}");
    assert_eq!(subscribe(4, "ask:over")["error"]["code"], 110);
    let limited = subscribe(5, "ask:limited");
    assert_eq!(limited["subscribe"]["expires"], true, "by itself the client brings a token: {limited}");
    // These three are not the backend's to say.
    for _ in 0..3 {
        backend.asked();
    }
    assert_eq!(subscribe(6, "$ask:private")["error"]["code"], 103);
    assert!(subscribe(7, "ask:ours#42,43").get("subscribe").is_some());
    assert_eq!(subscribe(8, "ask:theirs#43")["error"]["code"], 103);
    backend.assert_not_asked();
    let presence = say(&mut client, 9, &json!({"presence": {"channel": "ask:a"}}));
    assert_eq!(presence["presence"]["presence"][&client.id]["chan_info"], json!({"role": "guest"}));
    client.send(r#"{"id":10,"subscribe":{"channel":"ask:kick"}}"#);
    assert_eq!(client.closed(), (4501, "out".to_owned()));
}

#[test]
fn the_backend_says_what_is_published() {
    let backend = backend(|asked| match asked.path.as_str() {
        "/subscribe" => Said::Json(json!({"result": {}})),
        _ => Said::Json(match asked.body["data"].as_str() {
            Some("rude") => json!({"error": {"code": 1001, "message": "watch your words"}}),
            Some("plain") => json!({"result": {}}),
            Some("fleeting") => json!({"result": {"skip_history": true}}),
            _ => json!({"result": {"data": {"clean": true}, "tags": {"by": "backend"}}}),
        }),
    });
    let server = server(&backend, |_| {});
    let mut reader = connected(&server, &backend);
    reader.subscribe(2, "ask:a");
    assert_eq!(backend.asked().path, "/subscribe");
    let mut writer = connected(&server, &backend);
    let mut publish =
        |id: u32, data: &str| say(&mut writer, id, &json!({"publish": {"channel": "ask:a", "data": data}}));
    assert_eq!(publish(2, "rude")["error"], json!({"code": 1001, "message": "watch your words"}));
    assert!(publish(3, "dirty").get("publish").is_some());
    assert!(publish(4, "plain").get("publish").is_some());
    assert!(publish(5, "fleeting").get("publish").is_some());
    let heard = reader.publication();
    assert_eq!((&heard["data"], &heard["tags"]), (&json!({"clean": true}), &json!({"by": "backend"})), "{heard}");
    assert_eq!(heard["info"]["user"], "42", "{heard}");
    assert_eq!(reader.publication()["data"], "plain");
    let fleeting = reader.publication();
    assert_eq!((&fleeting["data"], &fleeting["offset"]), (&json!("fleeting"), &Value::Null), "{fleeting}");
}

#[test]
fn procedures_are_the_backends_by_namespace() {
    let backend = backend(|asked| match asked.body["method"].as_str() {
        Some("add") => Said::Json(json!({"result": {"data": {"sum": 3}}})),
        Some("fail") => Said::Json(json!({"error": {"code": 1002, "message": "cannot"}})),
        Some("missing") => Said::Status(404, "not found"),
        Some("forbidden") => Said::Status(403, "go away"),
        _ => Said::Json(json!({"result": {}})),
    });
    let server = server(&backend, |config| {
        config.rpc.without_namespace.proxy_enabled = true;
        config.rpc.ping_enabled = true;
        let mut named = ProxyOptions::default();
        named.endpoint = backend.endpoint("/named");
        named.include_connection_meta = true;
        config.proxies.named.insert("second".to_owned(), named);
        let mut second = RpcOptions::default();
        second.proxy_enabled = true;
        second.proxy_name = "second".to_owned();
        config.rpc.namespaces.insert("second".to_owned(), second);
        config.rpc.namespaces.insert("off".to_owned(), RpcOptions::default());
        let transforms = r#"[{"status_code":404,"to_error":{"code":1404,"message":"no such thing"}},
            {"status_code":403,"to_disconnect":{"code":4503,"reason":"forbidden"}}]"#;
        config.proxies.rpc.status_to_code_transforms = transforms_of(transforms);
    });
    let mut client = connected(&server, &backend);
    let mut call = |id: u32, method: &str| say(&mut client, id, &json!({"rpc": {"method": method, "data": [1, 2]}}));
    assert_eq!(call(2, "add")["rpc"]["data"], json!({"sum": 3}));
    let asked = backend.asked();
    assert_eq!((asked.path.as_str(), &asked.body["data"], &asked.body["user"]), ("/rpc", &json!([1, 2]), &json!("42")));
    assert_eq!(call(3, "fail")["error"], json!({"code": 1002, "message": "cannot"}));
    assert_eq!(call(4, "missing")["error"], json!({"code": 1404, "message": "no such thing"}));
    assert_eq!(call(5, "second:x")["rpc"], json!({}));
    assert_eq!(backend.asked().body["method"], "fail");
    assert_eq!(backend.asked().body["method"], "missing");
    assert_eq!(backend.asked().path, "/named");
    assert_eq!(call(6, "ping")["rpc"], json!({}));
    assert_eq!(call(7, "unknown:x")["error"]["code"], 104);
    assert_eq!(call(8, "off:x")["error"]["code"], 108);
    backend.assert_not_asked();
    client.send(r#"{"id":9,"rpc":{"method":"forbidden"}}"#);
    assert_eq!(client.closed(), (4503, "forbidden".to_owned()));
    let text = server.get("/metrics", "").1;
    let counted =
        |outcome: &str| format!("roomcast_proxy_calls_total{{event=\"rpc\",proxy=\"default\",outcome=\"{outcome}\"}}");
    assert!(text.contains(&format!("{} 4\n", counted("answered"))), "{text}");
}

/// Transforms as a file writes them.
fn transforms_of(json: &str) -> Vec<roomcast_server::config::StatusTransform> {
    let folder = crate::harness::Folder::new();
    let file = folder.0.join("config.json");
    let written = format!("{{\"rpc\":{{\"proxy\":{{\"http\":{{\"status_to_code_transforms\":{json}}}}}}}}}");
    std::fs::write(&file, written).expect("a file");
    let flags = roomcast_server::config::Flags { config: Some(file), ..Default::default() };
    roomcast_server::config::load(&flags).expect("a configuration").config.proxies.rpc.status_to_code_transforms
}

#[test]
fn what_the_backend_attaches_to_a_connection_is_told_where_it_is_asked_for() {
    let backend = Backend::start(|asked| {
        Said::Json(match asked.path.as_str() {
            "/connect" => json!({"result": {"user": "42", "meta": {"plan": "gold"}}}),
            _ => json!({"result": {}}),
        })
    });
    let server = server(&backend, |config| {
        config.rpc.without_namespace.proxy_enabled = true;
        config.proxies.rpc.include_connection_meta = true;
        config.proxies.rpc.http_headers = vec!["cookie".to_owned()];
    });
    let mut client = Client::over_with(dial(server.address), "Cookie: sid=2\r\n");
    say(&mut client, 1, &json!({"connect": {}}));
    assert!(!backend.asked().headers.contains_key("cookie"), "this proxy does not want it");
    say(&mut client, 2, &json!({"rpc": {"method": "x"}}));
    let asked = backend.asked();
    assert_eq!(
        (&asked.body["meta"], &asked.headers["cookie"]),
        (&json!({"plan": "gold"}), &"sid=2".parse().expect("a header"))
    );
    say(&mut client, 3, &json!({"subscribe": {"channel": "ask:a"}}));
    assert_eq!(backend.asked().body.get("meta"), None);
}

#[test]
fn what_a_token_attaches_to_a_connection_is_told_to_the_backend_and_to_no_client() {
    let backend = backend(|_| Said::Json(json!({"result": {}})));
    let server = server(&backend, |config| {
        config.client.token.hmac_secret_key = Some(Secret::new("hush"));
        config.rpc.without_namespace.proxy_enabled = true;
        config.proxies.rpc.include_connection_meta = true;
    });
    let token = |claims: Value| {
        let mut options = Config::default().client.token;
        options.hmac_secret_key = Some(Secret::new("hush"));
        make_claims(&options, claims.as_object().expect("claims").clone()).expect("a secret")
    };
    let mut client = server.client();
    let bronze = token(json!({"sub": "42", "meta": {"plan": "bronze"}}));
    let reply = say(&mut client, 1, &json!({"connect": {"token": bronze}}));
    assert!(!reply.to_string().contains("bronze"), "{reply}");
    let told = |client: &mut Client, id: u32| {
        say(client, id, &json!({"rpc": {"method": "x"}}));
        backend.asked().body["meta"]["plan"].clone()
    };
    assert_eq!(told(&mut client, 2), "bronze");
    for (id, claims, expected) in [
        (3, json!({"sub": "42", "meta": {"plan": "gold"}}), "gold"),
        // A token without it takes nothing away.
        (5, json!({"sub": "42"}), "gold"),
    ] {
        let reply = say(&mut client, id, &json!({"refresh": {"token": token(claims)}}));
        assert!(reply["refresh"].is_object(), "{reply}");
        assert_eq!(told(&mut client, id + 1), expected);
    }
}

#[test]
fn data_in_base64_goes_both_ways() {
    let backend = backend(|_| Said::Json(json!({"result": {"b64data": "eyJiIjoyfQ=="}})));
    let server = server(&backend, |config| {
        config.rpc.without_namespace.proxy_enabled = true;
        config.proxies.rpc.binary_encoding = true;
    });
    let mut client = connected(&server, &backend);
    let reply = say(&mut client, 2, &json!({"rpc": {"method": "x", "data": {"a": 1}}}));
    assert_eq!(reply["rpc"]["data"], json!({"b": 2}));
    let asked = backend.asked().body;
    assert_eq!((&asked["b64data"], &asked["encoding"]), (&json!("eyJhIjoxfQ=="), &json!("binary")));
    assert_eq!(asked.get("data"), None);
}

#[test]
fn a_client_that_only_listens_is_asked_about_as_well() {
    let backend = Backend::start(|asked| {
        Said::Json(match asked.body["data"].as_str() {
            Some("good") => json!({"result": {"user": "42", "channels": ["open:hall"]}}),
            _ => json!({"error": {"code": 1000, "message": "no"}}),
        })
    });
    let server = server(&backend, |config| config.unidirectional.sse.enabled = true);
    let listen = |data: &str, until: &str| {
        let mut stream = dial(server.address);
        let request = format!(
            "GET /connection/uni_sse?cf_connect={{%22data%22:%22{data}%22}} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        while !said.contains(until) {
            let read = stream.read(&mut buffer).expect("more");
            assert!(read > 0, "{said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        said
    };
    let said = listen("good", "\"connect\"");
    assert!(said.contains("open:hall"), "{said}");
    let asked = backend.asked().body;
    assert_eq!((&asked["transport"], &asked["protocol"]), (&json!("uni_sse"), &json!("json")));
    let said = listen("bad", "\"disconnect\"");
    assert!(said.contains("3004"), "{said}");
}
