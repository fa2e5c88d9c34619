//! What two people in a room see.

use serde_json::json;

use crate::harness::{Running, eventually, number, publish, text};

#[test]
fn two_clients_chat_and_know_who_wrote() {
    let server = Running::start();
    let mut ann = server.member("Ann", "hall");
    let mut bob = server.member("Bob", "hall");
    ann.publish(3, "hall", r#"{ "text": "hi" }"#);
    bob.publish(3, "hall", r#"{"text":"hello"}"#);
    for client in [&mut ann, &mut bob] {
        let (first, second) = (client.publication(), client.publication());
        assert_eq!(first["data"], json!({"text": "hi"}));
        assert_eq!(first["info"]["conn_info"], json!({"name": "Ann"}));
        assert_eq!((number(&first["offset"]), number(&second["offset"])), (1, 2));
        assert_eq!(second["data"], json!({"text": "hello"}));
        assert_eq!(second["info"]["conn_info"], json!({"name": "Bob"}));
        assert!(number(&second["time"]) >= number(&first["time"]));
        assert!(number(&first["time"]) > 1_700_000_000_000);
    }
}

#[test]
fn connect_and_subscribes_may_come_in_one_frame() {
    let server = Running::start();
    let mut client = server.client();
    client.send(
        "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n\
         {\"id\":3,\"subscribe\":{\"channel\":\"b\"}}",
    );
    let connect = client.reply(1)["connect"].clone();
    assert_eq!(connect["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((number(&connect["ping"]), &connect["pong"]), (25, &json!(true)));
    assert!(client.reply(2).get("subscribe").is_some());
    assert!(client.reply(3).get("subscribe").is_some());
    client.send(r#"{"id":4,"subscribe":{"channel":"a"}}"#);
    assert_eq!(client.reply(4)["error"]["code"], 105);
}

#[test]
fn a_client_reads_on_joining_what_was_said_before() {
    let server = Running::start();
    let mut ann = server.member("Ann", "hall");
    for n in 0..5 {
        ann.publish(3 + n, "hall", &n.to_string());
    }
    let mut bob = server.connected("Bob");
    let position = bob.subscribe(2, "hall");
    assert_eq!(number(&position["offset"]), 5);
    bob.send(r#"{"id":3,"history":{"channel":"hall","limit":3,"reverse":true}}"#);
    let history = bob.reply(3)["history"].clone();
    assert_eq!(history["epoch"], position["epoch"]);
    let offsets = |history: &serde_json::Value| -> Vec<u64> {
        let publications = history["publications"].as_array().expect("publications");
        publications.iter().map(|p| number(&p["offset"])).collect()
    };
    assert_eq!(offsets(&history), [5, 4, 3]);
    let since = format!(
        r#"{{"id":4,"history":{{"channel":"hall","limit":2,"since":{{"offset":1,"epoch":{}}}}}}}"#,
        position["epoch"]
    );
    bob.send(&since);
    assert_eq!(offsets(&bob.reply(4)["history"]), [2, 3]);
    bob.send(r#"{"id":5,"history":{"channel":"hall","since":{"offset":1,"epoch":"other"}}}"#);
    assert_eq!(bob.reply(5)["error"]["code"], 112);
}

#[test]
fn joins_and_leaves_are_told_once_and_presence_equals_the_sockets() {
    let server = Running::start();
    let mut ann = server.member("Ann", "hall");
    let joined = ann.push();
    assert_eq!(joined["join"]["info"]["client"], json!(ann.id), "her own coming");
    let bob = server.member("Bob", "hall");
    let joined = ann.push();
    assert_eq!(joined["join"]["info"]["client"], json!(bob.id));
    assert_eq!(joined["join"]["info"]["conn_info"]["name"], "Bob");

    let (bob_id, socket) = (bob.id.clone(), &bob.stream);
    rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO)).expect("a socket option");
    // Now closing resets the connection: no close frame, no orderly end.
    drop(bob);
    let left = ann.push();
    assert_eq!(left["leave"]["info"]["client"], json!(bob_id));
    ann.send(r#"{"id":9,"presence":{"channel":"hall"}}"#);
    let presence = ann.reply(9)["presence"]["presence"].clone();
    let clients: Vec<&String> = presence.as_object().expect("clients").keys().collect();
    assert_eq!(clients, [&ann.id]);
    assert!(ann.pushes.is_empty(), "{:?}", ann.pushes);
    eventually("one connection", || server.metric("roomcast_connections{") == 1);
}

#[test]
fn no_push_of_a_room_follows_its_unsubscribe_reply() {
    let server = Running::start();
    let address = server.address;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let flood = std::thread::spawn(move || {
        let mut ann = crate::harness::Client::open(address);
        ann.send(r#"{"id":1,"connect":{}}"#);
        ann.reply(1);
        let mut id = 2;
        while stopped.try_recv().is_err() {
            for n in 0..16 {
                ann.send(&publish(id + n, "hall", "1"));
            }
            for n in 0..16 {
                ann.reply(id + n);
            }
            id += 16;
        }
    });
    let mut bob = server.connected("Bob");
    for round in 0..200 {
        let id = 2 + 2 * round;
        bob.pushes.clear();
        let position = bob.subscribe(id, "hall");
        assert!(bob.pushes.is_empty(), "a push before the subscribe reply");
        let first = bob.publication();
        assert_eq!(number(&first["offset"]), number(&position["offset"]) + 1, "pushes go on from the reply's position");
        bob.send(&format!(r#"{{"id":{},"unsubscribe":{{"channel":"hall"}}}}"#, id + 1));
        assert!(bob.reply(id + 1).get("unsubscribe").is_some());
    }
    // Whatever was sent behind the last unsubscribe reply would come before this one.
    bob.pushes.clear();
    bob.send(r#"{"id":9999,"presence_stats":{"channel":"yard"}}"#);
    bob.reply(9999);
    assert!(bob.pushes.is_empty(), "{:?}", bob.pushes);
    stop.send(()).expect("the flood runs");
    flood.join().expect("the flood ends well");
}

#[test]
fn errors_name_what_is_wrong_and_the_connection_goes_on() {
    let server = Running::start();
    let mut client = server.connected("Ann");
    let long = "x".repeat(256);
    for (command, code) in [
        (format!(r#""subscribe":{{"channel":"{long}"}}"#), 107),
        (r#""subscribe":{"channel":""}"#.to_owned(), 107),
        (r#""subscribe":{"channel":"nobody:declared"}"#.to_owned(), 102),
        (r#""publish":{"channel":"hall"}"#.to_owned(), 107),
        (r#""rpc":{"method":"m"}"#.to_owned(), 108),
        (r#""subscribe":{"channel":"hall","type":1}"#.to_owned(), 108),
        (r#""subscribe":{"channel":"hall","tf":{"key":"k"}}"#.to_owned(), 107),
        (r#""publish":{"channel":"hall","data":1,"key":"k"}"#.to_owned(), 108),
        (r#""publish":{"channel":"\ud83d","data":1}"#.to_owned(), 107),
        (r#""dance":{}"#.to_owned(), 104),
    ] {
        client.send(&format!(r#"{{"id":7,{command}}}"#));
        let reply = client.reply(7);
        assert_eq!(reply["error"]["code"], code, "{command}: {reply}");
        assert!(!text(&reply["error"]["message"]).is_empty());
    }
    client.publish(8, "hall", "1");
}
