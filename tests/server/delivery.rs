//! Delivering to clients that read, and to those that do not.

use std::time::Duration;

use roomcast_server::config::Storage;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::harness::{Client, Heard, Running, number, publish};

/// A client of little patience for input: its socket is full soon.
fn slow_client(server: &Running) -> Client {
    let mut client = server.client();
    set_socket_recv_buffer_size(&client.stream, 128 * 1024).expect("a socket option");
    client.send("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"hall\"}}");
    client.reply(1);
    client.reply(2);
    client
}

#[test]
fn a_slow_consumer_is_closed_while_others_receive_everything() {
    let server = Running::with(|config| {
        let options = &mut config.channel.without_namespace;
        (options.history_size, options.storage) = (16, Storage::Off);
    });
    let mut slow = slow_client(&server);
    let mut ann = server.member("Ann", "hall");
    let mut bob = server.member("Bob", "hall");
    let data = format!("\"{}\"", "x".repeat(30_000));
    let mut published = 0;
    let mut id = 3;
    // Until the ring has moved past the slow one; the healthy ones set the pace.
    while server.metric("roomcast_slow_consumers_total") == 0 {
        for _ in 0..64 {
            ann.publish(id, "hall", &data);
            id += 1;
            published += 1;
        }
        for client in [&mut ann, &mut bob] {
            for offset in published - 63..=published {
                assert_eq!(number(&client.publication()["offset"]), offset);
            }
        }
        assert!(published < 20_000, "the slow one is never closed");
    }
    // What it reads now is in order, up to the close.
    let mut offset = 0;
    loop {
        match slow.hear() {
            Heard::Object(object) if object["push"].get("pub").is_some() => {
                offset += 1;
                assert_eq!(number(&object["push"]["pub"]["offset"]), offset);
            }
            Heard::Object(_) => {}
            Heard::Close(code, _) => {
                assert_eq!(code, 3008);
                break;
            }
            other => panic!("expected a close frame, heard {other:?}"),
        }
    }
    assert!(offset < published, "it was not slow at all");
    bob.send(r#"{"id":3,"presence_stats":{"channel":"hall"}}"#);
    assert_eq!(bob.reply(3)["presence_stats"]["num_clients"], 2);
}

#[test]
fn a_client_that_pauses_goes_on_from_the_ring_where_it_stopped() {
    let server = Running::with(|config| config.channel.without_namespace.history_size = 4_096);
    let mut slow = slow_client(&server);
    let mut ann = server.connected("Ann");
    let data = format!("\"{}\"", "x".repeat(8_000));
    // Far more than sockets hold, far less than the ring.
    let messages = 2_000;
    for id in 0..messages {
        ann.publish(2 + id, "hall", &data);
    }
    assert!(server.metric("roomcast_messages_out_total") < u64::from(messages), "the socket took everything");
    for offset in 1..=u64::from(messages) {
        assert_eq!(number(&slow.publication()["offset"]), offset);
    }
    // And it goes along with the others again.
    ann.publish(9_000, "hall", "1");
    assert_eq!(number(&slow.publication()["data"]), 1);
}

#[test]
fn a_client_in_many_rooms_gets_each_rooms_messages_in_order() {
    let server = Running::start();
    let mut bob = server.connected("Bob");
    let rooms: Vec<String> = (0..20).map(|n| format!("room-{n}")).collect();
    for (n, room) in rooms.iter().enumerate() {
        bob.subscribe(2 + n as u32, room);
    }
    let mut ann = server.connected("Ann");
    let mut id = 2;
    for _ in 0..50 {
        let frame: Vec<String> = rooms
            .iter()
            .map(|room| {
                id += 1;
                publish(id, room, "1")
            })
            .collect();
        ann.send(&frame.join("\n"));
    }
    let mut next = std::collections::HashMap::new();
    let mut left = 50 * rooms.len();
    while left > 0 {
        let push = bob.push();
        if let Some(publication) = push.get("pub") {
            let expected = next.entry(push["channel"].to_string()).or_insert(1);
            assert_eq!(number(&publication["offset"]), *expected);
            *expected += 1;
            left -= 1;
        }
    }
    assert_eq!(next.len(), rooms.len());
}

#[test]
fn a_client_that_asks_for_much_and_reads_late_gets_every_reply() {
    let server = Running::start();
    let mut ann = server.connected("Ann");
    let data = format!("\"{}\"", "x".repeat(1_000));
    for id in 2..302 {
        ann.publish(id, "hall", &data);
    }
    let ask = |id: u32| format!(r#"{{"id":{id},"history":{{"channel":"hall","limit":-1}}}}"#);
    let commands: Vec<String> = (1_000..1_100).map(ask).collect();
    ann.send(&commands.join("\n"));
    ann.send(r#"{"id":2000,"presence_stats":{"channel":"hall"}}"#);
    for id in 1_000..1_100 {
        let reply = ann.reply(id);
        let publications = reply["history"]["publications"].as_array().map(Vec::len);
        assert_eq!(publications, Some(300));
    }
    assert!(ann.reply(2_000).get("presence_stats").is_some());
}

/// Three hundred messages of 60 kB: one command asks for eighteen megabytes.
#[test]
fn an_answer_is_bounded_in_bytes_and_who_takes_it_gets_the_rest() {
    const MESSAGES: u64 = 300;
    let server = Running::start();
    let mut ann = server.connected("Ann");
    let data = format!("\"{}\"", "x".repeat(60_000));
    (2..MESSAGES as u32 + 2).for_each(|id| ann.publish(id, "hall", &data));
    let offsets = |result: &serde_json::Value| -> Vec<u64> {
        let found = result["publications"].as_array().expect("publications");
        found.iter().map(|publication| number(&publication["offset"])).collect()
    };
    // In pages.
    let (mut id, mut since) = (1_000, 0);
    while since < MESSAGES {
        id += 1;
        ann.send(&format!(
            r#"{{"id":{id},"history":{{"channel":"hall","limit":300,"since":{{"offset":{since},"epoch":""}}}}}}"#
        ));
        let told = ann.reply(id)["history"].clone();
        let page = offsets(&told);
        assert!(page.len() < 100 && page.iter().copied().eq((since + 1..).take(page.len())), "{page:?}");
        assert_eq!(number(&told["offset"]), MESSAGES, "which says that there are more");
        since = page.last().copied().expect("a page holds one at least");
    }
    ann.send(r#"{"id":2000,"history":{"channel":"hall","limit":300,"reverse":true}}"#);
    let newest = offsets(&ann.reply(2_000)["history"]);
    assert!(newest.len() < 100 && newest.iter().copied().eq((1..=MESSAGES).rev().take(newest.len())), "{newest:?}");
    // Who recovers has recovered, and is given the rest as pushes.
    let mut bob = server.connected("Bob");
    bob.send(r#"{"id":2,"subscribe":{"channel":"hall","recover":true,"offset":0,"epoch":""}}"#);
    let back = bob.reply(2)["subscribe"].clone();
    let first = offsets(&back);
    assert!(back["recovered"] == true && first.len() < 100, "{} at once", first.len());
    assert!(first.iter().copied().eq((1..).take(first.len())), "{first:?}");
    let mut next = first.len() as u64 + 1;
    while next <= MESSAGES {
        assert_eq!(number(&bob.publication()["offset"]), next);
        next += 1;
    }
}

#[test]
fn a_room_of_more_members_than_a_visit_writes_to_loses_nothing() {
    const MEMBERS: usize = 1_300;
    let server = Running::with(|config| {
        config.shards = std::num::NonZeroUsize::new(1);
        // The members say nothing until the end, however long that takes.
        config.client.ping_interval = Duration::from_secs(3_600);
        let options = &mut config.channel.without_namespace;
        (options.presence, options.join_leave, options.force_push_join_leave) = (false, false, false);
    });
    let mut members: Vec<_> = (0..MEMBERS).map(|_| server.member("Ann", "hall")).collect();
    let mut bob = server.member("Bob", "small");
    let mut id = 2;
    for round in 0..10 {
        for _ in 0..30 {
            id += 1;
            bob.publish(id, "hall", "1");
        }
        id += 1;
        bob.publish(id, "small", "2");
        // Some leave and others come in the midst of it.
        for member in &mut members[round * 100..round * 100 + 20] {
            *member = server.member("Cid", "hall");
        }
        assert_eq!(number(&bob.publication()["offset"]), round as u64 + 1);
    }
    id += 1;
    bob.publish(id, "hall", "3");
    for member in &mut members {
        let mut next = number(&member.publication()["offset"]) + 1;
        while next <= 301 {
            assert_eq!(number(&member.publication()["offset"]), next);
            next += 1;
        }
    }
}

#[test]
fn messages_that_gather_share_a_write() {
    let server = Running::with(|config| {
        config.shards = std::num::NonZeroUsize::new(1);
        config.channel.without_namespace.delivery_delay = Duration::from_millis(100);
        config.channel.without_namespace.force_push_join_leave = false;
    });
    let mut ann = server.member("Ann", "hall");
    let mut bob = server.member("Bob", "hall");
    let runs = server.metric("roomcast_shard_batches_total");
    for id in 3..13 {
        // One by one: the reply says that it was published.
        ann.publish(id, "hall", "1");
    }
    for client in [&mut ann, &mut bob] {
        for offset in 1..=10 {
            assert_eq!(number(&client.publication()["offset"]), offset);
        }
    }
    let runs = server.metric("roomcast_shard_batches_total") - runs;
    assert!(runs <= 5, "{runs} runs for ten messages that gathered");
    // And again, when the room has been quiet.
    ann.publish(13, "hall", "2");
    assert_eq!(number(&bob.publication()["offset"]), 11);
}
