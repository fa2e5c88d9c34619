//! What the Rust SDK `tokio-centrifuge` can do, against the server binary. It has no recovery, no history and no
//! presence, and tells the server nothing of its user.

mod person;
mod server;

use std::time::Duration;

use tokio_centrifuge::client::State;
use tokio_centrifuge::config::Protocol;
use tokio_centrifuge::protocol::Publication;
use tokio_centrifuge::subscription::State as Membership;

use person::{Person, code};
use server::Server;

/// Defines each test twice, as `name::json` and `name::protobuf`.
macro_rules! in_both_encodings {
    ($($name:ident)+) => {
        $(mod $name {
            #[tokio::test]
            async fn json() {
                super::bodies::$name(super::Protocol::Json).await;
            }

            #[tokio::test]
            async fn protobuf() {
                super::bodies::$name(super::Protocol::Protobuf).await;
            }
        })+
    };
}

in_both_encodings! {
    a_client_connects_and_disconnects_many_times
    everybody_in_a_room_hears_everybody_in_one_order
    who_leaves_a_room_hears_nothing_and_may_enter_again
    what_is_refused_carries_its_number
    an_idle_client_answers_pings_and_stays
    clients_of_a_server_that_drains_move_to_the_next_one
    a_token_says_who_somebody_is_and_a_wrong_one_ends_it
}

mod bodies {
    use super::*;

    pub(crate) async fn a_client_connects_and_disconnects_many_times(protocol: Protocol) {
        let server = Server::start("", 0);
        let mut ann = Person::new(&server, protocol);
        let mut ids = Vec::new();
        for _ in 0..20 {
            ann.connect().await;
            ids.push(ann.id());
            ann.client.disconnect().await;
            ann.events.wait_for("disconnected: disconnect called").await;
            assert_eq!(ann.client.state(), State::Disconnected);
        }
        assert!(!ann.client.server_info().server_version.is_empty());
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20, "each connection has a name of its own");
        server.stop().await;
    }

    pub(crate) async fn a_token_says_who_somebody_is_and_a_wrong_one_ends_it(protocol: Protocol) {
        let server = Server::start("[client.token]\nhmac_secret_key = \"secret\"\n", 0);
        let token = server.token("ann");
        let mut ann = Person::with_token(&server, protocol, &token);
        ann.connect().await;
        let mut here = ann.enter("hall").await;
        ann.publish("hall", "1").await.unwrap();
        let heard = here.heard(1).await;
        assert_eq!(heard[0].info.as_ref().map(|info| &*info.user), Some("ann"));
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        for wrong in [format!("{message}.{}", signature.chars().rev().collect::<String>()), "nonsense".to_owned()] {
            // Why it is not connected, this SDK does not say.
            let stranger = Person::with_token(&server, protocol, &wrong);
            assert!(stranger.client.connect().into_future().await.is_err());
            assert_ne!(stranger.client.state(), State::Connected);
        }
        server.stop().await;
    }

    pub(crate) async fn everybody_in_a_room_hears_everybody_in_one_order(protocol: Protocol) {
        let server = Server::start("", 0);
        let [ann, bob] = [Person::connected(&server, protocol).await, Person::connected(&server, protocol).await];
        let [mut here, mut there] = [ann.enter("hall").await, bob.enter("hall").await];
        for n in 0..50 {
            ann.publish("hall", format!("[0,{n}]")).await.unwrap();
            there.subscription.publish(format!("[1,{n}]").into_bytes()).await.unwrap();
        }
        let heard = here.heard(100).await;
        assert_eq!(there.heard(100).await, heard);
        for (index, publication) in heard.iter().enumerate() {
            let author = if index % 2 == 0 { &ann } else { &bob };
            assert_eq!(publication.data, format!("[{},{}]", index % 2, index / 2).into_bytes());
            assert_eq!(publication.offset, index as u64 + 1);
            assert_eq!(publication.info.as_ref().map(|info| &info.client), Some(&author.id()));
        }
        server.stop().await;
    }

    pub(crate) async fn who_leaves_a_room_hears_nothing_and_may_enter_again(protocol: Protocol) {
        let server = Server::start("", 0);
        let [ann, bob] = [Person::connected(&server, protocol).await, Person::connected(&server, protocol).await];
        let mut here = ann.enter("door").await;
        let mut visit = bob.enter("door").await;
        for round in 0..20 {
            ann.publish("door", format!("{round}")).await.unwrap();
            visit.heard(round + 1).await;
            visit.leave().await;
            ann.publish("door", "\"nobody there\"").await.unwrap();
            visit.enter().await;
        }
        here.heard(40).await;
        let heard: Vec<_> = visit.heard(20).await.into_iter().map(|publication| publication.data).collect();
        assert_eq!(heard, (0..20).map(|round| format!("{round}").into_bytes()).collect::<Vec<_>>());
        assert_eq!(visit.subscription.state(), Membership::Subscribed);
        server.stop().await;
    }

    pub(crate) async fn what_is_refused_carries_its_number(protocol: Protocol) {
        let config = "[[channel.namespaces]]\nname = \"read\"\nallow_publish_for_client = false\n\
                      allow_publish_for_subscriber = false\n";
        let server = Server::start(config, 0);
        let mut ann = Person::connected(&server, protocol).await;
        let mut nowhere = ann.member("nowhere:1");
        assert_eq!(nowhere.subscription.subscribe().await, Err(()));
        assert_eq!(nowhere.events.next().await, "unsubscribed: 102");
        assert_eq!(code(ann.publish("nowhere:1", "1").await), Some(102));
        let reader = ann.enter("read:1").await;
        assert_eq!(code(reader.subscription.publish(b"1".to_vec()).await), Some(103));
        assert_eq!(code(ann.publish(&"x".repeat(256), "1").await), Some(107));
        assert_eq!(code(ann.client.rpc("anything", b"{}".to_vec()).await), Some(108));
        ann.publish("hall", "\"still here\"").await.unwrap();
        assert_eq!(ann.events.rest(), Vec::<String>::new());
        server.stop().await;
    }

    pub(crate) async fn an_idle_client_answers_pings_and_stays(protocol: Protocol) {
        let server = Server::start("[client]\nping_interval = \"2s\"\npong_timeout = \"1900ms\"\n", 0);
        let mut ann = Person::connected(&server, protocol).await;
        let id = ann.id();
        tokio::time::sleep(Duration::from_secs(5)).await;
        ann.publish("hall", "\"still here\"").await.unwrap();
        assert_eq!(ann.id(), id);
        assert_eq!(ann.events.rest(), Vec::<String>::new());
        server.stop().await;
    }

    pub(crate) async fn clients_of_a_server_that_drains_move_to_the_next_one(protocol: Protocol) {
        let first = Server::start("", 0);
        let port = first.port;
        let mut ann = Person::connected(&first, protocol).await;
        let mut member = ann.enter("hall").await;
        ann.publish("hall", "1").await.unwrap();
        member.heard(1).await;
        first.stop().await;
        ann.events.wait_for("connecting: ").await;
        let second = Server::start("", port);
        ann.events.wait_for("connected").await;
        member.events.wait_for("subscribed").await;
        ann.publish("hall", "2").await.unwrap();
        let heard: Vec<_> = member.heard(2).await.into_iter().map(|it| (it.data, it.offset)).collect();
        assert_eq!(heard, [(b"1".to_vec(), 1), (b"2".to_vec(), 1)], "the room has a new life");
        second.stop().await;
    }
}

#[tokio::test]
async fn json_and_protobuf_are_in_one_room_and_bytes_stay_bytes() {
    let server = Server::start("", 0);
    let json = Person::connected(&server, Protocol::Json).await;
    let protobuf = Person::connected(&server, Protocol::Protobuf).await;
    let [mut here, mut there] = [json.enter("mixed").await, protobuf.enter("mixed").await];
    json.publish("mixed", "{\"a\": 1}").await.unwrap();
    protobuf.publish("mixed", "{\"b\": 2}").await.unwrap();
    protobuf.publish("mixed", [0, 255, 10]).await.unwrap();
    let data = |heard: Vec<Publication>| heard.into_iter().map(|it| it.data).collect::<Vec<_>>();
    assert_eq!(data(here.heard(3).await), [&b"{\"a\":1}"[..], b"{\"b\":2}", b"\"AP8K\""]);
    assert_eq!(data(there.heard(3).await), [&b"{\"a\":1}"[..], b"{\"b\": 2}", &[0, 255, 10]]);
    server.stop().await;
}
