//! Clients that prove who they are.

use std::io::{BufRead as _, BufReader, Write as _};
use std::time::Duration;

use roomcast_protocol::CloseCode;
use roomcast_server::Recipients;
use roomcast_server::config::{Client as Options, Config, NamespaceOptions, Secret};
use roomcast_server::token_tools::{make_claims, make_connection_token, make_subscription_token};
use serde_json::{Value, json};

use crate::harness::{Client, Running, dial, text};

pub(crate) fn options() -> Options {
    let mut options = Config::default().client;
    options.token.hmac_secret_key = Some(Secret::new("a secret that both know"));
    options
}

/// A server that lets in who brings a token.
fn server(change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.dev = false;
        config.client.allow_anonymous_connect_without_token = false;
        config.client.token = options().token;
        config.channel.namespaces.insert("shut".to_owned(), NamespaceOptions::default());
        change(config);
    })
}

pub(crate) fn seconds_from_now(seconds: i64) -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a clock");
    i64::try_from(since.as_secs()).expect("a time") + seconds
}

pub(crate) fn token(claims: &Value) -> String {
    make_claims(&options().token, claims.as_object().expect("claims").clone()).expect("a secret")
}

/// Sends a command, and what it is answered.
pub(crate) fn say(client: &mut Client, id: u32, command: &Value) -> Value {
    let mut command = command.clone();
    command["id"] = json!(id);
    client.send(&command.to_string());
    client.reply(id)
}

pub(crate) fn connected(server: &Running, claims: &Value) -> Client {
    let mut client = server.client();
    let reply = say(&mut client, 1, &json!({"connect": {"token": token(claims)}}));
    client.id = text(&reply["connect"]["client"]).to_owned();
    client
}

#[test]
fn a_token_says_who_somebody_is_to_others_and_to_the_server() {
    let server = server(|_| {});
    let ann = json!({"sub": "ann", "info": {"name": "Ann"}});
    let (mut here, mut there) = (connected(&server, &ann), connected(&server, &ann));
    let mut bob = connected(&server, &json!({"sub": "bob"}));
    for client in [&mut here, &mut there, &mut bob] {
        client.subscribe(2, "hall");
    }
    let presence = say(&mut bob, 3, &json!({"presence": {"channel": "hall"}}));
    let info = &presence["presence"]["presence"][&here.id];
    assert_eq!((text(&info["user"]), &info["conn_info"]), ("ann", &json!({"name": "Ann"})));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let all = Recipients { user: "ann".to_owned(), ..Recipients::default() };
    runtime.block_on(server.commands.disconnect(&all, CloseCode::ForceDisconnect)).expect("all are told");
    assert_eq!(here.closed().0, 3503);
    assert_eq!(there.closed().0, 3503);
    bob.publish(4, "hall", "1");
}

#[test]
fn a_token_past_its_time_is_no_good_and_another_one_is() {
    let server = server(|_| {});
    let mut client = server.client();
    let expired = token(&json!({"sub": "ann", "exp": seconds_from_now(-5)}));
    assert_eq!(say(&mut client, 1, &json!({"connect": {"token": expired}}))["error"]["code"], 109);
    let over = token(&json!({"sub": "ann", "expire_at": seconds_from_now(-5)}));
    assert_eq!(say(&mut client, 2, &json!({"connect": {"token": over}}))["error"]["code"], 110);
    let good = make_connection_token(&options(), "ann", Some(Duration::from_secs(60))).expect("a secret");
    let reply = say(&mut client, 3, &json!({"connect": {"token": good}}));
    assert_eq!(reply["connect"]["expires"], true, "{reply}");
    for (id, claims, code) in [
        (4, json!({"sub": "ann", "channel": "shut:a", "exp": seconds_from_now(-5)}), 109),
        (5, json!({"sub": "ann", "channel": "shut:a", "expire_at": seconds_from_now(-5)}), 110),
    ] {
        let reply = say(&mut client, id, &json!({"subscribe": {"channel": "shut:a", "token": token(&claims)}}));
        assert_eq!(reply["error"]["code"], code);
    }
}

#[test]
fn a_token_that_proves_nothing_closes_the_connection() {
    let server = server(|_| {});
    let foreign = {
        let mut options = options();
        options.token.hmac_secret_key = Some(Secret::new("another secret"));
        make_connection_token(&options, "ann", None).expect("a secret")
    };
    for token in [foreign, "x.y.z".to_owned(), token(&json!({"sub": 7}))] {
        let mut client = server.client();
        client.send(&json!({"id": 1, "connect": {"token": token}}).to_string());
        assert_eq!(client.closed(), (3500, "invalid token".to_owned()));
    }
}

#[test]
fn a_token_without_a_user_may_be_refused() {
    let server = server(|config| config.client.disallow_anonymous_connection_tokens = true);
    let mut client = server.client();
    client.send(&json!({"id": 1, "connect": {"token": token(&json!({}))}}).to_string());
    assert_eq!(client.closed(), (3507, "permission denied".to_owned()));
}

#[test]
fn a_connection_that_outlives_its_token_is_closed() {
    let server = server(|config| config.client.expired_close_delay = Duration::ZERO);
    let mut client = connected(&server, &json!({"sub": "ann", "exp": seconds_from_now(2)}));
    let mut other = connected(&server, &json!({"sub": "bob", "exp": seconds_from_now(2)}));
    let longer = token(&json!({"sub": "bob", "exp": seconds_from_now(600)}));
    let reply = say(&mut other, 2, &json!({"refresh": {"token": longer}}));
    assert_eq!(reply["refresh"]["expires"], true, "{reply}");
    assert_eq!(client.closed(), (3005, "connection expired".to_owned()));
    other.publish(3, "hall", "1");
}

#[test]
fn a_room_opens_by_its_token_until_that_is_over() {
    let server = server(|config| config.client.expired_sub_close_delay = Duration::ZERO);
    let mut ann = connected(&server, &json!({"sub": "ann"}));
    assert_eq!(say(&mut ann, 2, &json!({"subscribe": {"channel": "shut:a"}}))["error"]["code"], 103);
    let claims = json!({"sub": "ann", "channel": "shut:a", "exp": seconds_from_now(2), "data": {"topic": 7}});
    let reply = say(&mut ann, 3, &json!({"subscribe": {"channel": "shut:a", "token": token(&claims)}}));
    assert_eq!((&reply["subscribe"]["expires"], &reply["subscribe"]["data"]), (&json!(true), &json!({"topic": 7})));
    let mut bob = connected(&server, &json!({"sub": "bob"}));
    let for_bob = make_subscription_token(&options(), "bob", "shut:a", None).expect("a secret");
    let reply = say(&mut bob, 2, &json!({"subscribe": {"channel": "shut:a", "token": for_bob}}));
    assert!(reply["subscribe"].get("expires").is_none(), "{reply}");
    let push = ann.push();
    assert_eq!(push["unsubscribe"], json!({"code": 2501, "reason": "subscription expired"}));
    // The other's token opens nothing for her.
    ann.send(&json!({"id": 4, "subscribe": {"channel": "shut:a", "token": for_bob}}).to_string());
    assert_eq!(ann.closed(), (3500, "invalid token".to_owned()));
    assert_eq!(
        say(&mut bob, 3, &json!({"sub_refresh": {"channel": "shut:a", "token": for_bob}}))["sub_refresh"],
        json!({})
    );
}

#[test]
fn what_a_token_says_of_a_room_is_told_there_alone() {
    let server = server(|_| {});
    let mut bob = connected(&server, &json!({"sub": "bob"}));
    let mut ann = connected(&server, &json!({"sub": "ann"}));
    bob.send(r#"{"id":2,"subscribe":{"channel":"hall","join_leave":true}}"#);
    bob.reply(2);
    bob.send(r#"{"id":3,"subscribe":{"channel":"yard","join_leave":true}}"#);
    bob.reply(3);
    let host = token(&json!({"sub": "ann", "channel": "hall", "info": {"role": "host"}}));
    say(&mut ann, 2, &json!({"subscribe": {"channel": "hall", "token": host}}));
    ann.subscribe(3, "yard");
    ann.publish(4, "hall", "1");
    ann.publish(5, "yard", "1");
    drop(ann);
    let (mut said, mut told) = (json!({"role": "host"}), 0);
    while told < 6 {
        let push = bob.push();
        let of = ["join", "pub", "leave"].iter().find_map(|kind| push.get(kind)).expect("an event of the room");
        if of["info"]["user"] != "ann" {
            continue;
        }
        let expected = if push["channel"] == "hall" { said.take() } else { Value::Null };
        assert_eq!(of["info"]["chan_info"], expected, "{push}");
        said = json!({"role": "host"});
        told += 1;
    }
}

#[test]
fn nobody_comes_in_without_a_key() {
    let server = Running::with(|config| {
        config.dev = false;
        config.client.allow_anonymous_connect_without_token = false;
    });
    let mut client = server.client();
    assert_eq!(say(&mut client, 1, &json!({"connect": {}}))["error"]["code"], 101);
    client.send(&json!({"id": 2, "connect": {"token": token(&json!({"sub": "ann"}))}}).to_string());
    assert_eq!(client.closed(), (3500, "invalid token".to_owned()));
}

/// What a server says to somebody who comes with these headers and no token.
fn comes_with(server: &Running, headers: &str) -> Value {
    let mut stream = dial(server.address);
    let body = r#"{"id":1,"connect":{}}"#;
    let request = format!(
        "POST /connection/http_stream HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with('{')).expect("a reply");
    serde_json::from_str(&line).expect("JSON")
}

#[test]
fn a_proxy_may_say_whose_a_client_is() {
    let server = server(|config| config.client.user_id_http_header = Some("X-User".to_owned()));
    assert_eq!(comes_with(&server, "")["error"]["code"], 101);
    assert_eq!(comes_with(&server, "X-User: \r\n")["error"]["code"], 101);
    assert_eq!(comes_with(&server, "X-User: ann\r\nX-User: bob\r\n")["error"]["code"], 101);
    assert!(comes_with(&server, "x-user: ann\r\n").get("connect").is_some());
    // A handshake in one piece goes another way.
    let mut client = Client::over_with(dial(server.address), "X-User: ann\r\n");
    say(&mut client, 1, &json!({"connect": {}}));
    client.subscribe(2, "hall");
    let presence = say(&mut client, 3, &json!({"presence": {"channel": "hall"}}));
    let people: Vec<_> = presence["presence"]["presence"].as_object().expect("people").values().collect();
    assert_eq!(people.len(), 1);
    assert_eq!(people[0]["user"], "ann");
    // A token says more than a header.
    let mut client = Client::over_with(dial(server.address), "X-User: ann\r\n");
    client.send(r#"{"id":1,"connect":{"token":"x.y.z"}}"#);
    assert_eq!(client.closed().0, 3500);
    // Whom nobody asked, nobody believes.
    let other = self::server(|_| {});
    assert_eq!(comes_with(&other, "X-User: ann\r\n")["error"]["code"], 101);
}

#[test]
fn a_user_may_be_let_stay_longer_than_its_token_says() {
    let server = server(|config| config.client.expired_close_delay = Duration::ZERO);
    let mut ann = connected(&server, &json!({"sub": "ann", "exp": seconds_from_now(2)}));
    let mut bob = connected(&server, &json!({"sub": "bob", "exp": seconds_from_now(2)}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let all = Recipients { user: "ann".to_owned(), ..Recipients::default() };
    runtime.block_on(server.commands.refresh(&all, Some(Duration::from_secs(600)))).expect("all are told");
    assert_eq!(ann.push(), json!({"refresh": {"expires": true, "ttl": 600}}));
    assert_eq!(bob.closed().0, 3005);
    ann.publish(2, "hall", "1");
}

#[test]
fn a_room_may_be_for_some_users_alone() {
    let server = server(|config| {
        let mut limited = NamespaceOptions::default();
        limited.allow_user_limited_channels = true;
        config.channel.namespaces.insert("dialog".to_owned(), limited);
    });
    for (user, room, enters) in [
        ("42", "dialog:a#42,43", true),
        ("43", "dialog:a#42,43", true),
        ("4", "dialog:a#42,43", false),
        ("", "dialog:a#", false),
        ("42", "dialog:a", false),
        ("42", "$dialog:a#42", false),
        ("42", "shut:a#42", false),
    ] {
        let mut client = connected(&server, &json!({"sub": user}));
        let reply = say(&mut client, 2, &json!({"subscribe": {"channel": room}}));
        assert_eq!(reply.get("subscribe").is_some(), enters, "{user:?} {room}: {reply}");
    }
}
