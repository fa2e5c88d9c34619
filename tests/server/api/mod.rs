//! What a backend commands over HTTP.

mod connections;
mod describe;
mod erase;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod memory;
mod publish;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use roomcast_server::config::{ApiErrorMode, ApiKey, Config};
use serde_json::{Value, json};

use crate::harness::{Running, dial, number, text};

/// For servers whose key is `secret`.
pub(crate) const KEY: &str = "X-API-Key: secret\r\n";

fn server() -> Running {
    with(|_| {})
}

fn with(change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.http_api.key = ApiKey::new("secret");
        change(config);
    })
}

/// The status and the body of an answer.
pub(crate) fn post(server: &Running, path: &str, headers: &str, body: &str) -> (u16, String) {
    post_at(server.address, path, headers, body)
}

fn post_at(address: SocketAddr, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = dial(address);
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a request");
    // A server that does not want it may have closed by then.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    assert!(!is_chunked, "answers are whole: {head}");
    (status, body.to_owned())
}

/// What a method answers.
pub(crate) fn call(server: &Running, method: &str, params: Value) -> Value {
    let (status, body) = post(server, &format!("/api/{method}"), KEY, &params.to_string());
    assert_eq!(status, 200, "{method} {params}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// The same where it has done what it was asked.
pub(crate) fn result(server: &Running, method: &str, params: Value) -> Value {
    let mut answer = call(server, method, params.clone());
    if answer.get("replies").is_some() {
        // A batch has nothing around it.
        return answer;
    }
    match answer.get_mut("result") {
        Some(result) => result.take(),
        None => panic!("{method} {params}: {answer}"),
    }
}

fn error(server: &Running, method: &str, params: Value) -> (u64, String) {
    let answer = call(server, method, params.clone());
    let error = answer.get("error").unwrap_or_else(|| panic!("{method} {params}: {answer}"));
    (number(&error["code"]), text(&error["message"]).to_owned())
}

#[test]
fn only_who_has_the_key_is_answered() {
    let server = server();
    let status = |headers: &str, query: &str| post(&server, &format!("/api/info{query}"), headers, "{}").0;
    for headers in
        [KEY, "x-api-key: secret\r\n", "Authorization: apikey secret\r\n", "authorization: ApiKey secret\r\n"]
    {
        assert_eq!(status(headers, ""), 200, "{headers}");
    }
    assert_eq!(status("", "?api_key=secret"), 200);
    for headers in
        ["", "X-API-Key: secre\r\n", "X-API-Key: secret2\r\n", "X-API-Key:\r\n", "Authorization: Bearer secret\r\n"]
    {
        assert_eq!(post(&server, "/api/info", headers, "{}"), (401, String::new()), "{headers}");
    }
    assert_eq!(status("", "?api_key=wrong"), 401);
    assert_eq!(status("X-API-Key: wrong\r\n", "?api_key=secret"), 401, "one key is shown");
    assert_eq!(post(&server, "/api/nothing", "", "{}").0, 401, "nothing is told of what there is");
    assert_eq!(server.metric("roomcast_api_refused_total"), 8);
    let (head, _) = server.get("/api/info", KEY);
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: POST"), "{head}");
    let page = format!("{KEY}Origin: http://evil.example\r\n");
    assert_eq!(post(&server, "/api/info", &page, "{}").0, 403, "pages of others command nothing");
}

#[test]
fn without_a_key_there_is_nobody_who_has_it() {
    let keyless = Running::start();
    for headers in ["", "X-API-Key:\r\n", "Authorization: apikey \r\n"] {
        assert_eq!(post(&keyless, "/api/info", headers, "{}").0, 401, "{headers}");
    }
    let insecure = Running::with(|config| config.http_api.insecure = true);
    assert_eq!(post(&insecure, "/api/info", "", "{}").0, 200);
    let disabled = with(|config| config.http_api.disabled = true);
    assert_eq!(post(&disabled, "/api/info", KEY, "{}").0, 404);
    assert!(disabled.get("/api/openapi.json", "").0.starts_with("HTTP/1.1 404 "));
    let elsewhere = with(|config| config.http_api.handler_prefix = "/v1/backend".to_owned());
    assert_eq!(post(&elsewhere, "/v1/backend/info", KEY, "{}").0, 200);
    assert_eq!(post(&elsewhere, "/api/info", KEY, "{}").0, 404);
}

#[test]
fn what_is_no_command_is_told_what_is_wrong_with_it() {
    let server = server();
    for (path, body) in [
        ("/api/publish", ""),
        ("/api/publish", "{"),
        ("/api/publish", "[\"hall\", 1]"),
        ("/api/publish", "null"),
        ("/api/publish", "{} {}"),
        ("/api/publish", "{\"channel\":1}"),
        ("/api/publish", "{\"channel\":\"a\",\"channel\":\"b\"}"),
        ("/api/publish", "{\"channel\":\"a\",\"data\":1,\"tags\":{\"a\":1}}"),
        ("/api/publish", "{\"channel\":\"a\",\"data\":1,\"tags\":[]}"),
        ("/api/publish", "{\"channel\":\"a\",\"data\":1,\"version\":-1}"),
        ("/api/broadcast", "{\"channels\":\"a\"}"),
        ("/api/history", "{\"channel\":\"a\",\"since\":[1]}"),
        ("/api/history", "{\"channel\":\"a\",\"limit\":3000000000}"),
        ("/api/disconnect", "{\"disconnect\":\"now\"}"),
        ("/api/batch", "{\"commands\":{}}"),
        ("/api", ""),
        ("/api", "{\"params\":{}}"),
        ("/api", "[]"),
    ] {
        let (status, advice) = post(&server, path, KEY, body);
        assert!(status == 400 && advice.ends_with('\n'), "{path} {body}: {status} {advice}");
    }
    assert_eq!(post(&server, "/api/nothing", KEY, "{}").0, 404);
    assert_eq!(post(&server, "/api/publish/more", KEY, "{}").0, 404);
    assert_eq!(post(&server, "/apiary", KEY, "{}").0, 404);
    assert_eq!(error(&server, "map_publish", json!({})), (108, "not available".to_owned()));
    let not_utf8 = String::from_utf8(vec![b' '; 8]).expect("text").replacen(' ', "\u{0}", 1);
    assert_eq!(post(&server, "/api/info", KEY, &not_utf8).0, 400);
    let large = format!("{{\"channel\":\"{}\"}}", "x".repeat(17 << 20));
    assert_eq!(post(&server, "/api/publish", KEY, &large).0, 413);
    assert_eq!(server.metric("roomcast_api_messages_total"), 0);
}

#[test]
fn who_is_in_a_room_is_told() {
    let server = with(|config| {
        let mut quiet = config.channel.without_namespace.clone();
        (quiet.presence, quiet.history_size) = (false, 0);
        config.channel.namespaces.insert("quiet".to_owned(), quiet);
    });
    assert_eq!(result(&server, "presence", json!({ "channel": "hall" })), json!({ "presence": {} }));
    assert_eq!(
        result(&server, "presence_stats", json!({ "channel": "hall" })),
        json!({ "num_clients": 0, "num_users": 0 })
    );
    assert_eq!(result(&server, "channels", json!({})), json!({ "channels": {} }));
    let ann = server.member("ann", "hall");
    let _bob = server.member("bob", "hall");
    let _cid = server.member("cid", "quiet:1");
    let here = result(&server, "presence", json!({ "channel": "hall" }));
    let of_ann = &here["presence"][&ann.id];
    assert_eq!((&of_ann["client"], &of_ann["user"]), (&json!(ann.id), &json!("")));
    assert_eq!(here["presence"].as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(
        result(&server, "presence_stats", json!({ "channel": "hall" })),
        json!({ "num_clients": 2, "num_users": 1 })
    );
    for method in ["presence", "presence_stats", "history", "history_remove"] {
        assert_eq!(error(&server, method, json!({ "channel": "quiet:1" })).0, 108, "{method}");
        assert_eq!(error(&server, method, json!({ "channel": "no:where" })).0, 102, "{method}");
        assert_eq!(error(&server, method, json!({})).0, 107, "{method}");
    }
    let all = result(&server, "channels", json!({}));
    assert_eq!(all, json!({ "channels": { "hall": { "num_clients": 2 }, "quiet:1": { "num_clients": 1 } } }));
    let some = result(&server, "channels", json!({ "pattern": "q*:?" }));
    assert_eq!(some, json!({ "channels": { "quiet:1": { "num_clients": 1 } } }));
    let info = result(&server, "info", json!({}));
    let node = &info["nodes"][0];
    assert_eq!(info["nodes"].as_array().map(Vec::len), Some(1));
    let counts = ["num_clients", "num_users", "num_channels", "num_subs"].map(|name| number(&node[name]));
    assert_eq!(counts, [3, 1, 2, 3], "{node}");
    assert!(!text(&node["uid"]).is_empty() && text(&node["name"]) == "roomcast" && !text(&node["version"]).is_empty());
}

#[test]
fn a_batch_does_one_after_the_other_or_all_at_once() {
    let server = server();
    for parallel in [false, true] {
        let room = format!("hall-{parallel}");
        let commands = json!([
            { "publish": { "channel": room, "data": 1 } },
            { "history": { "channel": room, "limit": 10 } },
            { "unsubscribe": { "channel": room, "user": "nobody" } },
            { "nothing": {} },
            null,
            {},
            { "publish": {}, "info": {} },
            { "batch": { "commands": [] } },
            { "publish": { "channel": 5 } },
            { "publish": { "channel": "no:where", "data": 1 } },
            { "presence_stats": { "channel": room } },
        ]);
        let (status, body) =
            post(&server, "/api/batch", KEY, &json!({ "commands": commands, "parallel": parallel }).to_string());
        assert_eq!(status, 200);
        let told: Value = serde_json::from_str(&body).expect("JSON");
        let replies = told["replies"].as_array().unwrap_or_else(|| panic!("{told}"));
        assert_eq!(replies[0]["publish"]["offset"], 1);
        assert_eq!(replies[1]["history"]["publications"].as_array().map(Vec::len), Some(1));
        assert_eq!(replies[2], json!({ "unsubscribe": {} }));
        let code = |at: usize| number(&replies[at]["error"]["code"]);
        assert_eq!([3, 4, 5, 6, 7, 8, 9].map(code), [104, 107, 107, 107, 107, 107, 102]);
        assert_eq!(replies[10], json!({ "presence_stats": { "num_clients": 0, "num_users": 0 } }));
        assert_eq!(replies.len(), 11);
    }
    let many = vec![json!({ "info": {} }); 10_001];
    assert_eq!(error(&server, "batch", json!({ "commands": many })).0, 106);
    assert_eq!(result(&server, "batch", json!({})), json!({ "replies": [] }));
}

#[test]
fn an_answer_is_bounded_and_says_what_it_leaves_out() {
    let server = server();
    let large = "x".repeat(60_000);
    for _ in 0..80 {
        result(&server, "publish", json!({ "channel": "hall", "data": large }));
    }
    let one = result(&server, "history", json!({ "channel": "hall", "limit": -1 }));
    let found = one["publications"].as_array().map_or(0, Vec::len);
    assert!((60..80).contains(&found), "{found}");
    assert_eq!(one["offset"], 80, "the rest is asked for from there on");
    let told = result(
        &server,
        "batch",
        json!({ "commands": vec![json!({ "history": { "channel": "hall", "limit": -1 } }); 9] }),
    );
    let replies = told["replies"].as_array().expect("a list");
    assert!(replies[0].get("history").is_some());
    assert_eq!(replies[8]["error"]["code"], 106);
}

#[test]
fn the_older_form_takes_commands_in_lines() {
    let server = server();
    let lines = "{\"id\":1,\"method\":\"publish\",\"params\":{\"channel\":\"hall\",\"data\":1}}\n\
                 {\"method\":\"history\",\"params\":{}} {\"id\":3,\"method\":\"nothing\",\"params\":{}}\n{\"id\":4,\"method\":\"info\"}";
    let (status, body) = post(&server, "/api", KEY, lines);
    let answers: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((status, answers.len()), (200, 4), "{body}");
    assert_eq!((&answers[0]["id"], &answers[0]["result"]["offset"]), (&json!(1), &json!(1)));
    assert_eq!(answers[1], json!({ "error": { "code": 107, "message": "bad request" } }));
    assert_eq!(answers[2], json!({ "id": 3, "error": { "code": 104, "message": "not found" } }));
    assert!(answers[3]["result"]["nodes"].is_array());
}

#[test]
fn errors_are_told_by_the_status_where_that_is_wanted() {
    let by_header = server();
    let by_option = with(|config| config.http_api.error_mode = ApiErrorMode::Transport);
    let header = format!("{KEY}X-Centrifugo-Error-Mode: transport\r\n");
    for (server, headers) in [(&by_header, header.as_str()), (&by_option, KEY)] {
        let told = |method: &str, params: Value| {
            let (status, body) = post(server, &format!("/api/{method}"), headers, &params.to_string());
            (status, serde_json::from_str::<Value>(&body).expect("JSON"))
        };
        let unknown = json!({ "code": 102, "message": "unknown channel" });
        assert_eq!(told("publish", json!({ "channel": "no:where", "data": 1 })), (404, unknown));
        assert_eq!(told("publish", json!({ "data": 1 })).0, 400);
        assert_eq!(told("rpc", json!({ "method": "x" })), (404, json!({ "code": 104, "message": "not found" })));
        let since = json!({ "offset": 1, "epoch": "another" });
        assert_eq!(told("history", json!({ "channel": "hall", "since": since, "limit": 1 })).0, 416);
        assert_eq!(told("publish", json!({ "channel": "hall", "data": 1 })).0, 200);
        let (status, among) = told("broadcast", json!({ "channels": ["no:where"], "data": 1 }));
        assert_eq!((status, &among["result"]["responses"][0]["error"]["code"]), (200, &json!(102)));
    }
}

#[test]
fn who_breaks_off_in_the_middle_is_no_harm() {
    let server = server();
    for cut in [
        "POST /api/publish HTTP/1.1\r\n",
        "POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: secret\r\nContent-Length: 50\r\n\r\n{",
    ] {
        dial(server.address).write_all(cut.as_bytes()).expect("a request");
    }
    let mut ann = server.member("ann", "hall");
    result(&server, "publish", json!({ "channel": "hall", "data": 1 }));
    assert_eq!(ann.publication()["data"], 1);
    assert_eq!(server.metric("roomcast_api_commands_total{method=\"publish\",code=\"0\"}"), 1);
}

#[test]
fn a_name_that_no_client_may_use_is_refused_to_the_backend_as_well() {
    let server = with(|config| {
        config.channel.without_namespace.channel_regex = Some(regex::Regex::new("^[a-z]+$").expect("a pattern"));
    });
    result(&server, "publish", json!({ "channel": "hall", "data": 1 }));
    for (method, params) in [
        ("publish", json!({ "channel": "HALL", "data": 1 })),
        ("subscribe", json!({ "channel": "HALL", "user": "ann" })),
        ("history", json!({ "channel": "HALL" })),
    ] {
        assert_eq!(error(&server, method, params).0, 107, "{method}");
    }
}
