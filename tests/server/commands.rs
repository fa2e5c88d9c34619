//! What the server wants of its connections without their having asked.

use roomcast_protocol::{CloseCode, RoomName, UnsubscribeCode};
use roomcast_server::Recipients;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Client, Running};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// The next push of that kind; others of the room may come and go meanwhile.
fn told(client: &mut Client, kind: &str) -> Value {
    loop {
        let push = client.push();
        if push.get(kind).is_some() {
            return push;
        }
    }
}

fn hall() -> RoomName {
    RoomName::parse("hall", 255).expect("a name")
}

#[test]
fn one_client_is_commanded_wherever_it_is() {
    let server = Running::start();
    // On both shards.
    let mut clients: Vec<_> = (0..4).map(|_| server.connected("Ann")).collect();
    for client in &mut clients {
        let one = Recipients { client: Some(client.id.clone()), ..Recipients::default() };
        runtime().block_on(server.commands.subscribe(&one, hall())).expect("it is told");
        let push = told(client, "subscribe");
        assert_eq!(push["channel"], "hall");
        runtime().block_on(server.commands.unsubscribe(&one, hall(), UnsubscribeCode::Server)).expect("it is told");
        let push = told(client, "unsubscribe");
        assert_eq!(push["unsubscribe"], json!({ "code": 2000, "reason": "server unsubscribe" }));
        runtime().block_on(server.commands.disconnect(&one, CloseCode::ForceDisconnect)).expect("it is told");
        assert_eq!(client.closed(), (3503, "force disconnect".to_owned()));
    }
}

#[test]
fn all_without_a_user_are_put_into_a_room_and_hear_what_is_said_there() {
    let server = Running::start();
    let mut clients: Vec<_> = (0..200).map(|_| server.connected("Ann")).collect();
    let all = Recipients::default();
    runtime().block_on(server.commands.subscribe(&all, hall())).expect("it is told");
    for client in &mut clients {
        told(client, "subscribe");
    }
    let mut publisher = server.connected("Bob");
    publisher.publish(2, "hall", "1");
    for client in &mut clients {
        assert_eq!(told(client, "pub")["pub"]["data"], 1);
    }
    runtime().block_on(server.commands.disconnect(&all, CloseCode::ForceReconnect)).expect("it is told");
    for client in &mut clients {
        assert_eq!(client.closed(), (3011, "force reconnect".to_owned()));
    }
}

#[test]
fn commands_for_a_user_without_connections_reach_nobody() {
    let server = Running::start();
    let mut client = server.connected("Ann");
    let ann = Recipients { user: "ann".to_owned(), ..Recipients::default() };
    runtime().block_on(server.commands.disconnect(&ann, CloseCode::ForceDisconnect)).expect("it is told");
    client.publish(2, "hall", "1");
}
