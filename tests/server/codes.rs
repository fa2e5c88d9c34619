//! What refuses, and with which code; docs/protocol.md names these tests.

use roomcast_server::config::NamespaceOptions;

use crate::harness::Running;

#[test]
fn who_may_not_connect_is_unauthorized() {
    let server = Running::with(|config| config.client.allow_anonymous_connect_without_token = false);
    let mut client = server.client();
    client.send(r#"{"id":1,"connect":{}}"#);
    assert_eq!(client.reply(1)["error"]["code"], 101);
    // It may try once more on the same connection.
    client.send(r#"{"id":2,"connect":{}}"#);
    assert_eq!(client.reply(2)["error"]["code"], 101);
}

#[test]
fn a_token_that_nobody_can_verify_is_invalid() {
    let server = Running::with(|config| config.dev = false);
    let mut client = server.client();
    client.send(r#"{"id":1,"connect":{"token":"x.y.z"}}"#);
    assert_eq!(client.closed(), (3500, "invalid token".to_owned()));
}

#[test]
fn each_refusal_in_a_room_has_its_error() {
    let server = Running::with(|config| {
        config.client.channel_limit = 2;
        config.channel.namespaces.insert("shut".to_owned(), NamespaceOptions::default());
    });
    let mut client = server.member("Ann", "hall");
    for (command, code) in [
        (r#""subscribe":{"channel":"shut:1"}"#, 103),
        (r#""publish":{"channel":"shut:1","data":1}"#, 103),
        (r#""subscribe":{"channel":"hall"}"#, 105),
        (r#""history":{"channel":"hall","since":{"offset":0,"epoch":"another"}}"#, 112),
        (r#""subscribe":{"channel":"yard","recover":true,"offset":7,"epoch":"another","flag":2}"#, 112),
    ] {
        client.send(&format!(r#"{{"id":7,{command}}}"#));
        assert_eq!(client.reply(7)["error"]["code"], code, "{command}");
    }
    client.subscribe(8, "yard");
    client.send(r#"{"id":9,"subscribe":{"channel":"attic"}}"#);
    assert_eq!(client.reply(9)["error"]["code"], 106);
}
