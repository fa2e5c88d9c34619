//! Coming back after a lost connection.

use std::sync::mpsc::channel;

use roomcast_server::config::RecoveryMode;
use serde_json::Value;

use crate::harness::{Client, Running, number, publish};

const MESSAGES: u32 = 10_000;
/// Publishes under way at a time.
const WINDOW: u32 = 64;

#[test]
fn a_client_that_reconnects_under_full_load_misses_nothing_and_sees_nothing_twice() {
    let server = Running::with(|config| {
        config.channel.without_namespace.history_size = MESSAGES as usize;
        config.client.recovery_max_publication_limit = MESSAGES as usize;
    });
    let mut bob = server.connected("Bob");
    let start = bob.subscribe(2, "hall");
    let epoch = start["epoch"].clone();
    let mut seen = number(&start["offset"]);

    let address = server.address;
    let (done, finished) = channel();
    let flood = std::thread::spawn(move || {
        let mut ann = Client::open(address);
        ann.send(r#"{"id":1,"connect":{}}"#);
        ann.reply(1);
        for first in (2..MESSAGES + 2).step_by(WINDOW as usize) {
            let ids = first..(first + WINDOW).min(MESSAGES + 2);
            for id in ids.clone() {
                ann.send(&publish(id, "hall", &id.to_string()));
            }
            for id in ids {
                ann.reply(id);
            }
        }
        done.send(()).expect("somebody listens");
    });

    let mut reconnects = 0;
    while seen < u64::from(MESSAGES) {
        for _ in 0..50 {
            if seen < u64::from(MESSAGES) {
                take(&bob.publication(), &mut seen);
            }
        }
        // Lost without a word, in the middle of whatever comes.
        bob = server.connected("Bob");
        reconnects += 1;
        bob.send(&format!(
            r#"{{"id":2,"subscribe":{{"channel":"hall","recover":true,"offset":{seen},"epoch":{epoch}}}}}"#
        ));
        let reply = bob.reply(2)["subscribe"].clone();
        assert!(bob.pushes.is_empty(), "a push before the reply");
        assert_eq!(reply["was_recovering"], true, "{reply}");
        assert_eq!(reply["recovered"], true, "after {seen}");
        assert_eq!(number(&reply["offset"]), seen, "the position that was asked for");
        let replayed = reply["publications"].as_array().cloned();
        for publication in replayed.unwrap_or_default() {
            take(&publication, &mut seen);
        }
    }
    assert_eq!(seen, u64::from(MESSAGES));
    assert!(reconnects > 5, "only {reconnects} reconnects");
    finished.recv().expect("the flood ends well");
    flood.join().expect("the flood ends well");
}

fn take(publication: &Value, seen: &mut u64) {
    assert_eq!(number(&publication["offset"]), *seen + 1, "after {seen}");
    // Ids began at 2, offsets at 1: the payload names the place.
    assert_eq!(number(&publication["data"]), *seen + 2);
    *seen += 1;
}

#[test]
fn a_client_that_missed_too_much_is_told_and_starts_from_now() {
    let server = Running::with(|config| config.client.recovery_max_publication_limit = 10);
    let mut ann = server.connected("Ann");
    for n in 0..11 {
        ann.publish(2 + n, "hall", "1");
    }
    let ask = |offset: u64, epoch: &str| {
        let mut bob = server.connected("Bob");
        bob.send(&format!(
            r#"{{"id":2,"subscribe":{{"channel":"hall","recover":true,"offset":{offset},"epoch":"{epoch}"}}}}"#
        ));
        let reply = bob.reply(2)["subscribe"].clone();
        let replayed = reply["publications"].as_array().map_or(0, Vec::len);
        (reply["recovered"] == true, replayed, number(&reply["offset"]))
    };
    assert_eq!(ask(0, ""), (false, 0, 11));
    assert_eq!(ask(1, ""), (true, 10, 1));
    assert_eq!(ask(11, ""), (true, 0, 11));
    assert_eq!(ask(12, ""), (false, 0, 11));
    assert_eq!(ask(5, "another"), (false, 0, 11));
}

/// An application that saves the position it is told, and breaks off before it has handled what came with it, loses nothing.
#[test]
fn who_saves_the_position_of_the_reply_and_starts_again_recovers_all_of_it_again() {
    let server = Running::start();
    let mut ann = server.connected("Ann");
    for n in 0..5 {
        ann.publish(2 + n, "hall", &n.to_string());
    }
    let subs = |offset: u64, epoch: &str| format!(r#""hall":{{"recover":true,"offset":{offset},"epoch":"{epoch}"}}"#);
    let (mut saved, mut epoch) = (2, String::new());
    for round in 0..4 {
        let mut bob = server.client();
        let reply = if round % 2 == 0 {
            bob.send(r#"{"id":1,"connect":{}}"#);
            bob.reply(1);
            bob.send(&format!(
                r#"{{"id":2,"subscribe":{{"channel":"hall","recover":true,"offset":{saved},"epoch":"{epoch}"}}}}"#
            ));
            bob.reply(2)["subscribe"].clone()
        } else {
            bob.send(&format!(r#"{{"id":1,"connect":{{"subs":{{{}}}}}}}"#, subs(saved, &epoch)));
            bob.reply(1)["connect"]["subs"]["hall"].clone()
        };
        assert_eq!(reply["recovered"], true, "{reply}");
        let offsets: Vec<u64> =
            reply["publications"].as_array().expect("some").iter().map(|it| number(&it["offset"])).collect();
        assert_eq!(offsets, [3, 4, 5], "{round}");
        (saved, epoch) = (number(&reply["offset"]), crate::harness::text(&reply["epoch"]).to_owned());
        // Pushes go on behind what was recovered.
        ann.publish(20, "yard", "1");
        assert!(bob.pushes.is_empty(), "{:?}", bob.pushes);
    }
    let mut bob = server.connected("Bob");
    bob.send(&format!(
        r#"{{"id":2,"subscribe":{{"channel":"hall","recover":true,"offset":{saved},"epoch":"{epoch}"}}}}"#
    ));
    assert_eq!(crate::harness::newest(&bob.reply(2)["subscribe"]), 5);
    ann.publish(30, "hall", "5");
    assert_eq!(number(&bob.publication()["offset"]), 6);
}

#[test]
fn in_cache_mode_only_the_newest_message_comes_back() {
    let server = Running::with(|config| config.channel.without_namespace.force_recovery_mode = RecoveryMode::Cache);
    let mut ann = server.connected("Ann");
    let ask = |id: &str| {
        let mut bob = server.connected("Bob");
        bob.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"price","recover":true{id}}}}}"#));
        let reply = bob.reply(2)["subscribe"].clone();
        (
            reply["recovered"] == true,
            reply["publications"].as_array().cloned().unwrap_or_default(),
            reply["epoch"].clone(),
        )
    };
    assert_eq!((ask("").0, ask("").1.len()), (false, 0), "there is nothing yet");
    for n in 0..5 {
        ann.publish(2 + n, "price", &n.to_string());
    }
    let (recovered, found, epoch) = ask("");
    assert!(recovered);
    let found: Vec<_> = found.iter().map(|p| (number(&p["offset"]), number(&p["data"]))).collect();
    assert_eq!(found, [(5, 4)]);
    let (recovered, found, _) = ask(&format!(r#","offset":5,"epoch":{epoch}"#));
    assert_eq!((recovered, found.len()), (true, 0), "the client has it already");
}

#[test]
fn rooms_of_the_server_are_recovered_with_the_connect_reply() {
    let server = Running::with(|config| config.client.subscribe_on_connect = vec!["news".to_owned()]);
    let mut ann = server.connected("Ann");
    let mut bob = server.client();
    bob.send(r#"{"id":1,"connect":{}}"#);
    let news = bob.reply(1)["connect"]["subs"]["news"].clone();
    assert_eq!((news["recoverable"].clone(), number(&news["offset"])), (true.into(), 0));
    for n in 0..3 {
        ann.publish(2 + n, "news", &n.to_string());
    }
    assert_eq!(number(&bob.publication()["offset"]), 1);
    drop(bob);
    let mut bob = server.client();
    bob.send(&format!(
        r#"{{"id":1,"connect":{{"subs":{{"news":{{"recover":true,"offset":1,"epoch":{}}}}}}}}}"#,
        news["epoch"]
    ));
    let news = bob.reply(1)["connect"]["subs"]["news"].clone();
    let offsets: Vec<_> = news["publications"].as_array().unwrap().iter().map(|p| number(&p["offset"])).collect();
    assert_eq!((&news["recovered"], offsets), (&true.into(), vec![2, 3]));
    ann.publish(9, "news", "4");
    assert_eq!(number(&bob.publication()["offset"]), 4, "and it goes on");
}
