//! Limits that stand elsewhere, each exceeded while another client goes on.

use std::num::NonZeroUsize;

use crate::harness::Running;

#[test]
fn a_message_holds_so_many_commands() {
    let server = Running::with(|config| {
        config.client.channel_limit = 10;
        config.client.message_command_limit = NonZeroUsize::new(20);
    });
    let (mut bob, mut ann) = (server.member("Bob", "hall"), server.member("Ann", "hall"));
    let pings = |ids: std::ops::Range<u32>| {
        ids.map(|id| format!(r#"{{"id":{id},"ping":{{}}}}"#)).collect::<Vec<_>>().join("\n")
    };
    ann.send(&pings(10..30));
    for id in 10..30 {
        ann.reply(id);
    }
    ann.send(&pings(30..51));
    assert_eq!(ann.closed().0, 3501);
    bob.publish(3, "hall", "1");
}

#[test]
fn an_answer_holds_so_many_publications() {
    let server = Running::with(|config| config.client.history_max_publication_limit = 3);
    let mut ann = server.member("Ann", "hall");
    for id in 10..15 {
        ann.publish(id, "hall", "1");
    }
    for limit in [100, -1] {
        ann.send(&format!(r#"{{"id":20,"history":{{"channel":"hall","limit":{limit}}}}}"#));
        let reply = ann.reply(20);
        assert_eq!(reply["history"]["publications"].as_array().map(Vec::len), Some(3), "{reply}");
    }
}

#[test]
fn a_room_has_a_name_of_so_many_bytes() {
    let server = Running::with(|config| config.channel.max_length = 8);
    let mut ann = server.member("Ann", "eight888");
    ann.send(r#"{"id":3,"subscribe":{"channel":"nine99999"}}"#);
    assert_eq!(ann.reply(3)["error"]["code"], 107);
    ann.publish(4, "eight888", "1");
}

#[test]
fn a_history_holds_so_many_messages() {
    let server = Running::with(|config| config.channel.without_namespace.history_size = 3);
    let mut ann = server.member("Ann", "hall");
    for id in 10..15 {
        ann.publish(id, "hall", &id.to_string());
    }
    ann.send(r#"{"id":20,"history":{"channel":"hall","limit":10}}"#);
    let reply = ann.reply(20);
    let found = reply["history"]["publications"].as_array().expect("publications");
    assert_eq!(found.iter().map(|publication| publication["data"].clone()).collect::<Vec<_>>(), [12, 13, 14]);
}
