//! Rooms of a user, and users who may be here once.

use std::time::Duration;

use roomcast_server::config::{ApiKey, Config, NamespaceOptions};
use serde_json::{Value, json};

use crate::api::{KEY, post};
use crate::harness::{Client, Heard, Running, eventually, text};

/// A server that believes a header, with rooms of users in a namespace of theirs.
fn server(change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.dev = false;
        config.http_api.key = ApiKey::new("secret");
        config.client.user_id_http_header = Some("x-user".to_owned());
        config.client.subscribe_to_user_personal_channel.enabled = true;
        config.client.subscribe_to_user_personal_channel.personal_channel_namespace = "own".to_owned();
        let mut own = NamespaceOptions::default();
        own.presence = true;
        config.channel.namespaces.insert("own".to_owned(), own);
        change(config);
    })
}

fn open(server: &Running, user: &str) -> Client {
    let mut client = Client::over_with(crate::harness::dial(server.address), &format!("X-User: {user}\r\n"));
    client.send(r#"{"id":1,"connect":{}}"#);
    client
}

fn connected(server: &Running, user: &str) -> (Client, Value) {
    let mut client = open(server, user);
    let reply = client.reply(1);
    client.id = text(&reply["connect"]["client"]).to_owned();
    (client, reply["connect"].clone())
}

fn publish(server: &Running, room: &str, data: &Value) {
    let body = json!({"channel": room, "data": data}).to_string();
    let (status, answer) = post(server, "/api/publish", KEY, &body);
    assert!(status == 200 && answer.contains("result"), "{answer}");
}

#[test]
fn what_is_published_for_a_user_reaches_all_of_its_clients_and_nobody_else() {
    let server = server(|_| {});
    let (mut here, reply) = connected(&server, "42");
    assert_eq!(reply["subs"], json!({"own:#42": {}}));
    let (mut there, _) = connected(&server, "42");
    let (mut other, reply) = connected(&server, "4");
    assert_eq!(reply["subs"], json!({"own:#4": {}}));
    other.send(r##"{"id":2,"subscribe":{"channel":"own:#42"}}"##);
    assert_eq!(other.reply(2)["error"]["code"], 103);
    publish(&server, "own:#42", &json!("for 42"));
    publish(&server, "own:#4", &json!("for 4"));
    for (client, data) in [(&mut here, "for 42"), (&mut there, "for 42"), (&mut other, "for 4")] {
        assert_eq!(client.publication()["data"], data);
    }
    // It may be left, as any room.
    here.send(r##"{"id":3,"unsubscribe":{"channel":"own:#42"}}"##);
    assert!(here.reply(3).get("unsubscribe").is_some());
    let users = post(&server, "/api/presence_stats", KEY, r##"{"channel":"own:#42"}"##).1;
    assert_eq!(users, r#"{"result":{"num_clients":1,"num_users":1}}"#);
}

#[test]
fn without_a_namespace_the_room_is_the_user_alone() {
    let server = server(|config| {
        config.client.subscribe_to_user_personal_channel.personal_channel_namespace = String::new();
    });
    let (_client, reply) = connected(&server, "ann@shop.example");
    let rooms: Vec<_> = reply["subs"].as_object().expect("rooms").keys().collect();
    assert_eq!(rooms, ["#ann@shop.example"]);
}

/// As in Centrifugo: the newer connection has its reply, the older one is closed with 3504, and its SDK stays away.
#[test]
fn a_user_with_one_connection_keeps_the_newest() {
    let server = server(|config| config.client.subscribe_to_user_personal_channel.single_connection = true);
    let (mut bystander, _) = connected(&server, "7");
    let (mut first, _) = connected(&server, "42");
    let (mut second, _) = connected(&server, "42");
    assert_eq!(first.closed(), (3504, "connection limit".to_owned()));
    publish(&server, "own:#42", &json!(1));
    assert_eq!(second.publication()["data"], 1);
    let (_third, _) = connected(&server, "42");
    assert_eq!(second.closed().0, 3504);
    publish(&server, "own:#7", &json!(2));
    assert_eq!(bystander.publication()["data"], 2);
}

#[test]
fn of_many_that_come_at_once_one_stays() {
    let server = server(|config| config.client.subscribe_to_user_personal_channel.single_connection = true);
    let mut clients: Vec<Client> = (0..40).map(|_| open(&server, "42")).collect();
    let present = || post(&server, "/api/presence_stats", KEY, r##"{"channel":"own:#42"}"##).1;
    eventually("all but one to be closed", || {
        server.metric("roomcast_connections{") == 1 && present().contains("\"num_clients\":1")
    });
    publish(&server, "own:#42", &json!("stays"));
    let mut stayed = 0;
    for client in &mut clients {
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        loop {
            match client.hear() {
                Heard::Object(said) if said["push"]["pub"]["data"] == "stays" => {
                    stayed += 1;
                    break;
                }
                Heard::Object(_) | Heard::Pong(_) => {}
                Heard::Close(code, _) => {
                    assert_eq!(code, 3504);
                    break;
                }
                Heard::End => break,
            }
        }
    }
    assert_eq!(stayed, 1);
}
