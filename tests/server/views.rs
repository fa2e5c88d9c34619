//! Members that are given something else than all of it as it was published: deltas, what matches a filter, not their own.

use roomcast_protocol::apply_delta;
use roomcast_server::config::{ApiKey, Config, DataFormat, Echo, NamespaceOptions, RecoveryMode};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};

use crate::api::call;
use crate::harness::{Client, Running, eventually, number, publish, text};

fn server(change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.http_api.key = ApiKey::new("secret");
        let options = &mut config.channel.without_namespace;
        (options.force_push_join_leave, options.join_leave) = (false, false);
        options.allowed_delta_types = vec!["fossil".to_owned()];
        options.delta_publish = true;
        options.allow_tags_filter = true;
        change(config);
    })
}

fn subscribed(client: &mut Client, id: u32, mut request: Value) -> Value {
    request["channel"] = json!("hall");
    client.send(&json!({ "id": id, "subscribe": request }).to_string());
    client.reply(id)["subscribe"].clone()
}

fn state(number: u64) -> Value {
    json!({ "state": "the same as ever, or nearly: \"ä\"", "number": number })
}

/// What somebody has who takes deltas.
#[derive(Default)]
struct Chain(Option<Vec<u8>>);

impl Chain {
    /// The payload of a publication, and whether it came as a delta.
    fn take(&mut self, publication: &Value) -> (Value, bool) {
        assert!(publication.get("time").is_none(), "{publication}");
        let data = text(&publication["data"]).as_bytes();
        let is_delta = publication["delta"].as_bool().unwrap_or_default();
        let payload = match is_delta {
            true => apply_delta(self.0.as_ref().expect("the first is whole"), data, 1 << 16).expect("a delta of it"),
            false => data.to_vec(),
        };
        let shown = serde_json::from_slice(&payload).expect("a payload is JSON");
        self.0 = Some(payload);
        (shown, is_delta)
    }
}

#[test]
fn who_asks_for_deltas_is_given_the_first_publication_whole_and_of_each_next_what_has_changed() {
    let server = server(|_| {});
    let mut ann = server.member("ann", "hall");
    let mut bob = server.connected("bob");
    assert_eq!(subscribed(&mut bob, 2, json!({ "delta": "fossil" }))["delta"], true);
    let mut chain = Chain::default();
    for sent in 0..5 {
        ann.publish(10 + sent, "hall", &state(sent.into()).to_string());
        assert_eq!(ann.publication()["data"], state(sent.into()), "others are given it as ever");
        let heard = bob.publication();
        assert_eq!(chain.take(&heard), (state(sent.into()), sent > 0));
        assert_eq!(
            (number(&heard["offset"]), &heard["info"]["conn_info"]["name"]),
            (u64::from(sent) + 1, &json!("ann"))
        );
    }
    // What is hardly longer than a delta comes whole, and so does what has nothing to do with the one before.
    ann.publish(20, "hall", "1");
    assert_eq!(chain.take(&bob.publication()), (json!(1), false));
    // Of history and of the server API everybody is given everything.
    bob.send(r#"{"id":21,"history":{"channel":"hall","limit":2}}"#);
    assert_eq!(bob.reply(21)["history"]["publications"][1]["data"], state(1));
    // One who comes in later begins anew, while the other one goes on.
    ann.publish(22, "hall", &state(5).to_string());
    assert!(!chain.take(&bob.publication()).1);
    let mut eve = server.connected("eve");
    subscribed(&mut eve, 2, json!({ "delta": "fossil" }));
    let mut late = Chain::default();
    for (sent, is_delta) in [(6, false), (7, true)] {
        ann.publish(30 + sent, "hall", &state(sent.into()).to_string());
        assert_eq!(chain.take(&bob.publication()), (state(sent.into()), true));
        assert_eq!(late.take(&eve.publication()), (state(sent.into()), is_delta));
    }
}

#[test]
fn who_recovers_and_takes_deltas_is_given_a_chain_that_goes_on() {
    let server = server(|_| {});
    let mut ann = server.member("ann", "hall");
    let mut bob = server.connected("bob");
    let epoch = subscribed(&mut bob, 2, json!({ "delta": "fossil" }))["epoch"].clone();
    for sent in 0..6 {
        ann.publish(10 + sent, "hall", &state(sent.into()).to_string());
    }
    let mut back = server.connected("bob");
    let recover = |offset: u64| json!({ "delta": "fossil", "recover": true, "offset": offset, "epoch": epoch });
    let reply = subscribed(&mut back, 2, recover(2));
    assert_eq!((&reply["recovered"], &reply["delta"], number(&reply["offset"])), (&json!(true), &json!(true), 2));
    let mut chain = Chain::default();
    let missed: Vec<_> = reply["publications"].as_array().expect("a list").iter().map(|it| chain.take(it)).collect();
    let expected: Vec<_> = (2..6).map(|sent| (state(sent), sent > 2)).collect();
    assert_eq!(missed, expected);
    // Somebody else keeps the group going, so that what it has been given last is known there.
    ann.publish(20, "hall", &state(6).to_string());
    ann.publish(21, "hall", &state(7).to_string());
    assert_eq!(chain.take(&back.publication()).0, state(6));
    assert_eq!(chain.take(&back.publication()), (state(7), true));
    // Nothing missed: what it has is not known, so that the next one is whole.
    let mut again = server.connected("bob");
    let reply = subscribed(&mut again, 2, recover(8));
    assert_eq!((&reply["recovered"], reply.get("publications")), (&json!(true), None));
    ann.publish(22, "hall", &state(8).to_string());
    assert_eq!(Chain::default().take(&again.publication()), (state(8), false));
    assert_eq!(chain.take(&back.publication()), (state(8), true));
    // Out of the room and in again.
    back.send(r#"{"id":30,"unsubscribe":{"channel":"hall"}}"#);
    back.reply(30);
    subscribed(&mut back, 31, json!({ "delta": "fossil" }));
    ann.publish(32, "hall", &state(9).to_string());
    assert_eq!(Chain::default().take(&back.publication()), (state(9), false));
}

#[test]
fn the_first_push_after_a_recovery_is_a_delta_of_what_was_recovered_though_nobody_else_takes_deltas() {
    let server = server(|_| {});
    let mut ann = server.member("ann", "hall");
    let mut bob = server.connected("bob");
    let epoch = subscribed(&mut bob, 2, json!({}))["epoch"].clone();
    for sent in 0..4 {
        ann.publish(10 + sent, "hall", &state(sent.into()).to_string());
    }
    let mut back = server.connected("bob");
    let reply = subscribed(&mut back, 2, json!({ "delta": "fossil", "recover": true, "offset": 3, "epoch": epoch }));
    let mut chain = Chain::default();
    let missed: Vec<_> = reply["publications"].as_array().expect("a list").iter().map(|it| chain.take(it)).collect();
    assert_eq!(missed, [(state(3), false)]);
    ann.publish(20, "hall", &state(4).to_string());
    assert_eq!(chain.take(&back.publication()), (state(4), true));
}

#[test]
fn deltas_are_made_of_what_is_published_so_and_granted_where_they_are_allowed() {
    let server = server(|config| {
        config.channel.without_namespace.delta_publish = false;
        config.channel.namespaces.insert("shut".to_owned(), NamespaceOptions::dev());
    });
    let mut bob = server.connected("bob");
    let mut in_shut = server.connected("eve");
    in_shut.send(r#"{"id":2,"subscribe":{"channel":"shut:1","delta":"fossil"}}"#);
    let reply = in_shut.reply(2)["subscribe"].clone();
    assert!(reply.is_object() && reply.get("delta").is_none(), "{reply}");
    subscribed(&mut bob, 2, json!({ "delta": "fossil" }));
    let mut chain = Chain::default();
    for (sent, delta, is_delta) in [(0, true, false), (1, false, false), (2, true, true), (3, false, false)] {
        call(&server, "publish", json!({ "channel": "hall", "data": state(sent), "delta": delta }));
        assert_eq!(chain.take(&bob.publication()), (state(sent), is_delta), "{sent}");
    }
    // One that is kept nowhere is what a client has last, and no base.
    call(&server, "publish", json!({ "channel": "hall", "data": state(4), "skip_history": true }));
    let heard = bob.publication();
    assert_eq!((chain.take(&heard), heard.get("offset")), ((state(4), false), None));
    for (sent, is_delta) in [(5, false), (6, true)] {
        call(&server, "publish", json!({ "channel": "hall", "data": state(sent), "delta": true }));
        assert_eq!(chain.take(&bob.publication()), (state(sent), is_delta), "{sent}");
    }
}

#[test]
fn a_delta_that_nobody_knows_closes_the_connection() {
    let server = server(|_| {});
    let mut client = server.connected("bob");
    client.send(r#"{"id":2,"subscribe":{"channel":"hall","delta":"nonsense"}}"#);
    assert_eq!(client.closed().0, 3501);
}

#[test]
fn who_brings_a_filter_is_given_what_matches_live_and_recovered_and_offsets_go_on() {
    let server = server(|config| {
        config.channel.namespaces.insert("shut".to_owned(), NamespaceOptions::dev());
    });
    let eur = json!({ "key": "pair", "cmp": "eq", "val": "EUR" });
    let not_eur = json!({ "op": "not", "nodes": [eur] });
    let (mut ann, mut bob, mut all) = (server.connected("ann"), server.connected("bob"), server.member("all", "hall"));
    let epoch = subscribed(&mut ann, 2, json!({ "tf": eur, "delta": "fossil" }));
    assert!(epoch.get("delta").is_none(), "filters and deltas exclude each other");
    let epoch = epoch["epoch"].clone();
    subscribed(&mut bob, 2, json!({ "tf": not_eur }));
    for sent in 1..=6 {
        let pair = if sent % 2 == 0 { "EUR" } else { "USD" };
        call(&server, "publish", json!({ "channel": "hall", "data": sent, "tags": { "pair": pair } }));
    }
    call(&server, "publish", json!({ "channel": "hall", "data": 7, "tags": { "pair": "EUR" }, "skip_history": true }));
    call(&server, "publish", json!({ "channel": "hall", "data": 8 }));
    let heard = |client: &mut Client, count: usize| -> Vec<(Value, Value)> {
        (0..count).map(|_| client.publication()).map(|it| (it["data"].clone(), it["offset"].clone())).collect()
    };
    let at = |sent: u64| (json!(sent), json!(sent));
    assert_eq!(heard(&mut ann, 4), [at(2), at(4), at(6), (json!(7), Value::Null)]);
    assert_eq!(heard(&mut bob, 4), [at(1), at(3), at(5), (json!(8), json!(7))]);
    assert_eq!(heard(&mut all, 8).len(), 8, "and whoever has none is given everything");
    let mut back = server.connected("ann");
    let reply = subscribed(&mut back, 2, json!({ "tf": eur, "recover": true, "offset": 2, "epoch": epoch }));
    let offsets = |reply: &Value| -> Vec<u64> {
        reply["publications"].as_array().into_iter().flatten().map(|it| number(&it["offset"])).collect()
    };
    assert_eq!((&reply["recovered"], offsets(&reply)), (&json!(true), vec![4, 6]));
    back.send(r#"{"id":3,"history":{"channel":"hall","limit":10}}"#);
    assert_eq!(back.reply(3)["history"]["publications"].as_array().map(Vec::len), Some(7), "history is whole");
    for (room, filter) in
        [("shut:1", eur), ("hall2", json!({ "key": "pair", "cmp": "is", "val": "EUR" })), ("hall2", json!(5))]
    {
        back.send(&json!({ "id": 4, "subscribe": { "channel": room, "tf": filter } }).to_string());
        assert_eq!(back.reply(4)["error"]["code"], 107, "{room}");
    }
}

#[test]
fn whoever_is_not_to_hear_itself_is_given_everything_else() {
    let server = server(|config| config.channel.without_namespace.echo = Echo::NotClient);
    let (mut ann, mut bob) = (server.member("ann", "hall"), server.member("bob", "hall"));
    let mut chain = server.connected("eve");
    subscribed(&mut chain, 2, json!({ "delta": "fossil" }));
    // Many at once, so that they come in batches of both.
    for round in 0..20 {
        let says =
            |client: &Client, id: u32| publish(id, "hall", &json!({ "by": client.id, "round": round }).to_string());
        let said: Vec<String> = (0..5).map(|nth| says(&ann, 100 + 5 * round + nth)).collect();
        ann.send(&said.join("\n"));
        let said: Vec<String> = (0..5).map(|nth| says(&bob, 100 + 5 * round + nth)).collect();
        bob.send(&said.join("\n"));
        for nth in 0..5 {
            ann.reply(100 + 5 * round + nth);
            bob.reply(100 + 5 * round + nth);
        }
    }
    let by = |client: &mut Client, count: usize| -> Vec<String> {
        (0..count).map(|_| text(&client.publication()["data"]["by"]).to_owned()).collect()
    };
    let (ann_id, bob_id) = (ann.id.clone(), bob.id.clone());
    assert!(by(&mut ann, 100).iter().all(|author| *author == bob_id));
    assert!(by(&mut bob, 100).iter().all(|author| *author == ann_id));
    let mut heard = Chain::default();
    let offsets: Vec<u64> = (0..200)
        .map(|_| {
            let publication = chain.publication();
            heard.take(&publication);
            number(&publication["offset"])
        })
        .collect();
    assert_eq!(offsets, (1..=200).collect::<Vec<_>>());
    // Its own in between leaves it without a base.
    for (id, data) in [(500, 1), (501, 2)] {
        chain.publish(id, "hall", &state(data).to_string());
        ann.publish(id + 200, "hall", &state(data + 10).to_string());
        assert_eq!(heard.take(&chain.publication()), (state(data + 10), false));
    }
    ann.publish(800, "hall", &state(13).to_string());
    assert_eq!(heard.take(&chain.publication()), (state(13), true));
    let epoch = subscribed(&mut server.connected("new"), 2, json!({}))["epoch"].clone();
    ann.send(r#"{"id":900,"unsubscribe":{"channel":"hall"}}"#);
    ann.reply(900);
    let reply = subscribed(&mut ann, 901, json!({ "recover": true, "offset": 195, "epoch": epoch }));
    let missed: Vec<_> = reply["publications"].as_array().expect("a list").iter().collect();
    assert_eq!((&reply["recovered"], missed.len() < 10), (&json!(true), true));
    assert!(missed.iter().all(|it| text(&it["info"]["client"]) != ann.id), "recovery leaves them out, too");
}

#[test]
fn a_subscription_may_say_otherwise_whether_it_hears_itself() {
    let server = server(|_| {});
    let mut ann = server.connected("ann");
    let mut bob = server.member("bob", "hall");
    let put_in = |echo: &str| {
        let wish = json!({ "echo": { "value": echo } });
        call(&server, "subscribe", json!({ "channel": "hall", "user": "", "client": ann.id, "override": wish }))
    };
    assert_eq!(put_in("nobody")["error"]["code"], 107);
    assert!(put_in("not_client").get("error").is_none());
    assert_eq!(ann.push()["channel"], "hall");
    ann.publish(10, "hall", "1");
    bob.publish(11, "hall", "2");
    assert_eq!(ann.publication()["data"], 2);
    assert_eq!([bob.publication()["data"].clone(), bob.publication()["data"].clone()], [json!(1), json!(2)]);
}

#[test]
fn what_is_slow_and_takes_deltas_catches_up_whole_and_goes_on_with_deltas() {
    const MESSAGES: u64 = 600;
    let server = server(|config| config.channel.without_namespace.history_size = 4_000);
    let mut ann = server.connected("ann");
    let mut bob = server.connected("bob");
    set_socket_recv_buffer_size(&bob.stream, 128 * 1024).expect("a socket option");
    subscribed(&mut bob, 2, json!({ "delta": "fossil" }));
    // Up to the last few nothing that could be told by what was before.
    let word = |index: u64| format!("{:08x}", index.wrapping_mul(0x9e37_79b9) as u32);
    let state = |of: u64| (0..5_000).map(|nth| word(of * 5_000 + nth)).collect::<String>();
    let large = |sent: u64| json!({ "state": state(sent.min(MESSAGES)), "number": sent });
    // It takes nothing meanwhile: far more than a socket holds.
    for sent in 0..MESSAGES {
        ann.publish(10 + sent as u32, "hall", &large(sent).to_string());
    }
    eventually("somebody behind", || server.metric("roomcast_members_behind") == 1);
    let (mut chain, mut deltas) = (Chain::default(), 0);
    for sent in 0..MESSAGES + 5 {
        if sent >= MESSAGES {
            ann.publish(10 + sent as u32, "hall", &large(sent).to_string());
        }
        let heard = bob.publication();
        assert_eq!(number(&heard["offset"]), sent + 1);
        let (shown, is_delta) = chain.take(&heard);
        assert_eq!(shown["number"], sent);
        deltas += u64::from(is_delta);
    }
    assert!(deltas >= 3, "it goes along again: {deltas}");
}

#[test]
fn the_newest_is_recovered_without_having_been_asked_for_where_a_namespace_says_so() {
    let server = server(|config| {
        let options = &mut config.channel.without_namespace;
        (options.force_recovery_mode, options.auto_cache_recover) = (RecoveryMode::Cache, true);
    });
    let mut ann = server.connected("ann");
    let reply = subscribed(&mut ann, 2, json!({}));
    assert_eq!((&reply["was_recovering"], reply.get("recovered")), (&json!(true), None), "there is none yet");
    for sent in 1..=3 {
        let tag = if sent == 2 { "even" } else { "odd" };
        call(&server, "publish", json!({ "channel": "hall", "data": sent, "tags": { "kind": tag } }));
    }
    let newest = |client: &mut Client, request: Value| {
        let reply = subscribed(client, 2, request);
        assert_eq!((&reply["was_recovering"], &reply["recovered"]), (&json!(true), &json!(true)));
        let publications = reply["publications"].as_array().expect("a list").clone();
        assert_eq!(publications.len(), 1, "{reply}");
        publications[0]["data"].clone()
    };
    assert_eq!(newest(&mut server.connected("bob"), json!({})), 3);
    assert_eq!(newest(&mut server.connected("bob"), json!({ "delta": "fossil" })), "3");
    // The newest of those that match.
    let even = json!({ "key": "kind", "cmp": "eq", "val": "even" });
    assert_eq!(newest(&mut server.connected("bob"), json!({ "tf": even })), 2);
    let none = json!({ "key": "kind", "cmp": "eq", "val": "none" });
    let reply = subscribed(&mut server.connected("bob"), 2, json!({ "tf": none }));
    assert_eq!((reply.get("recovered"), number(&reply["offset"])), (None, 3));
}

#[test]
fn payloads_are_what_their_namespace_says() {
    let server = server(|config| {
        for (name, format) in [
            ("any", DataFormat::NotEmpty),
            ("json", DataFormat::Json),
            ("object", DataFormat::JsonObject),
            ("binary", DataFormat::Binary),
        ] {
            let mut options = NamespaceOptions::dev();
            options.publication_data_format = format;
            config.channel.namespaces.insert(name.to_owned(), options);
        }
    });
    let mut client = server.connected("ann");
    for (room, taken) in [
        ("any:1", [true, true, true, false]),
        ("json:1", [true, true, false, false]),
        ("object:1", [true, false, false, false]),
        ("binary:1", [true, true, true, true]),
    ] {
        let payloads = [json!({ "data": { "a": 1 } }), json!({ "data": [1] }), json!({ "b64data": "AP8=" }), json!({})];
        for (mut payload, is_taken) in payloads.into_iter().zip(taken) {
            payload["channel"] = json!(room);
            let answer = call(&server, "publish", payload.clone());
            let expected = if is_taken { json!(null) } else { json!(107) };
            assert_eq!(answer["error"]["code"], expected, "{payload}: {answer}");
        }
        for (id, (data, is_taken)) in
            [(r#","data":{}"#, taken[0]), (r#","data":1"#, taken[1]), ("", taken[3])].into_iter().enumerate()
        {
            client.send(&format!(r#"{{"id":{},"publish":{{"channel":"{room}"{data}}}}}"#, id + 2));
            let expected = if is_taken { json!(null) } else { json!(107) };
            assert_eq!(client.reply(id as u32 + 2)["error"]["code"], expected, "{room} {data}");
        }
    }
}

#[test]
fn the_connect_reply_says_the_time_where_it_is_told_to() {
    let server = server(|config| config.client.connect_include_server_time = true);
    let mut client = server.client();
    client.send(r#"{"id":1,"connect":{}}"#);
    let told = number(&client.reply(1)["connect"]["time"]);
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_millis() as u64;
    assert!(now - told < 600_000, "{told} and {now}");
    let other = Running::start();
    let mut silent = other.client();
    silent.send(r#"{"id":1,"connect":{}}"#);
    assert!(silent.reply(1)["connect"].get("time").is_none());
}
