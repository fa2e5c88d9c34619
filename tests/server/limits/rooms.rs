//! How many rooms clients may make.

use super::{name_users, of_user, once, refused};
use crate::harness::{Client, Running};

fn subscribe(client: &mut Client, id: u32, room: &str) -> u64 {
    client.send(&format!(r#"{{"id":{id},"subscribe":{{"channel":"{room}"}}}}"#));
    client.reply(id)["error"]["code"].as_u64().unwrap_or(0)
}

#[test]
fn a_connection_makes_so_many_rooms_and_enters_those_that_are_there() {
    let server = Running::with(|config| {
        let of = &mut config.client.rate_limit.room_creation;
        (of.enabled, of.client) = (true, once(2));
    });
    let (mut bob, mut ann) = (server.member("Bob", "hall"), server.connected("Ann"));
    assert_eq!([subscribe(&mut ann, 2, "a"), subscribe(&mut ann, 3, "b"), subscribe(&mut ann, 4, "c")], [0, 0, 111]);
    for (id, command) in [(5, "publish"), (6, "history")] {
        ann.send(&format!(r#"{{"id":{id},"{command}":{{"channel":"d","data":1}}}}"#));
        assert_eq!(ann.reply(id)["error"]["code"], 111, "{command}");
    }
    assert_eq!(subscribe(&mut ann, 7, "hall"), 0, "it is there");
    ann.publish(8, "a", "1");
    assert_eq!(subscribe(&mut bob, 3, "c"), 0);
    assert_eq!(subscribe(&mut ann, 9, "c"), 0, "now it is there");
    assert_eq!(refused(&server, "client.rate_limit.room_creation.client"), 3);
}

#[test]
fn a_user_and_an_address_make_so_many_rooms() {
    let server = Running::with(|config| {
        name_users(config);
        config.client.rate_limit.ip_connect.exempt.clear();
        let of = &mut config.client.rate_limit.room_creation;
        (of.enabled, of.client, of.user, of.ip) = (true, once(2), once(3), once(5));
    });
    let mut made = 0;
    let mut found = Vec::new();
    for user in ["7", "7", "8", "9"] {
        let mut client = of_user(&server, user);
        assert!(client.reply(1).get("connect").is_some());
        for id in [2, 3] {
            made += 1;
            found.push(subscribe(&mut client, id, &format!("room-{made}")));
        }
    }
    assert_eq!(found, [0, 0, 0, 111, 0, 0, 111, 111]);
    assert_eq!(refused(&server, "client.rate_limit.room_creation.user"), 1);
    assert_eq!(refused(&server, "client.rate_limit.room_creation.ip"), 2);
}
