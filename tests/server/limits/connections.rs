//! How many connections there may be, of whom, and how many new ones.

use std::io::Read as _;
use std::thread;

use super::{ask, handshake, name_users, of_user, once, per_second, refused};
use crate::harness::{Running, eventually};

#[test]
fn beyond_the_connection_limit_newcomers_are_told_so_and_others_stay() {
    const LIMIT: usize = 20;
    let server = Running::with(|config| config.client.connection_limit = LIMIT);
    let mut ann = server.member("Ann", "hall");
    // All at once, on all shards.
    let asked: Vec<_> = thread::scope(|scope| {
        let tries: Vec<_> = (0..3 * LIMIT).map(|_| scope.spawn(|| ask(&server, ""))).collect();
        tries.into_iter().map(|tried| tried.join().expect("it has asked")).collect()
    });
    let mut taken = Vec::new();
    for mut stream in asked {
        let mut first = [0; 12];
        match stream.read_exact(&mut first).map(|()| &first[9..]) {
            Ok(b"101") => taken.push(stream),
            Ok(b"503") => {}
            // So many at once are not all heard.
            Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(taken.len(), LIMIT - 1, "not one more, and not one less");
    eventually("one of them is told why", || {
        let mut answer = String::new();
        let is_heard = ask(&server, "").read_to_string(&mut answer).is_ok();
        is_heard && answer.starts_with("HTTP/1.1 503 ") && answer.contains("try again")
    });
    ann.publish(3, "hall", "1");
    drop(taken);
    eventually("the places are free", || handshake(&server, "").0.contains(" 101 "));
    assert!(refused(&server, "client.connection_limit") > 2 * LIMIT as u64);
}

#[test]
fn a_user_has_so_many_connections_and_others_theirs() {
    let server = Running::with(|config| {
        name_users(config);
        config.client.user_connection_limit = 2;
    });
    let mut first: Vec<_> = (0..2).map(|_| of_user(&server, "7")).collect();
    for client in &mut first {
        assert!(client.reply(1).get("connect").is_some());
    }
    let mut third = of_user(&server, "7");
    assert_eq!(third.closed(), (3504, "connection limit".to_owned()));
    assert!(of_user(&server, "8").reply(1).get("connect").is_some());
    assert_eq!(refused(&server, "client.user_connection_limit"), 1);
    first.pop();
    eventually("the place is free", || of_user(&server, "7").object().get("connect").is_some());
}

#[test]
fn new_connections_come_so_many_in_a_second() {
    let server = Running::with(|config| config.client.connection_rate_limit = 2);
    let mut ann = server.member("Ann", "hall");
    eventually("one is refused", || handshake(&server, "").0.starts_with("HTTP/1.1 503 "));
    ann.publish(3, "hall", "1");
    eventually("one is let in again", || handshake(&server, "").0.contains(" 101 "));
}

#[test]
fn an_address_has_so_many_connections() {
    let server = Running::with(|config| {
        config.client.rate_limit.ip_connect.exempt.clear();
        config.client.rate_limit.ip_connect.max_concurrent_per_ip = 3;
    });
    let mut ann = server.member("Ann", "hall");
    let bob = server.member("Bob", "hall");
    let third = handshake(&server, "");
    let (head, _) = handshake(&server, "");
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    ann.publish(3, "hall", "1");
    drop((bob, third));
    eventually("the places are free", || handshake(&server, "").0.contains(" 101 "));
    eventually("it is counted", || refused(&server, "client.rate_limit.ip_connect.max_concurrent_per_ip") > 0);
}

#[test]
fn an_address_opens_so_many_connections_in_a_time() {
    let server = Running::with(|config| {
        config.client.rate_limit.ip_connect.exempt.clear();
        config.client.rate_limit.ip_connect.buckets = once(3);
    });
    let mut ann = server.member("Ann", "hall");
    let found = [(); 4].map(|()| handshake(&server, "").0);
    assert!(found[..2].iter().all(|head| head.contains(" 101 ")), "{found:?}");
    assert!(found[2..].iter().all(|head| head.starts_with("HTTP/1.1 429 ")), "{found:?}");
    ann.publish(3, "hall", "1");
}

#[test]
fn addresses_behind_which_there_may_be_anybody_are_not_counted() {
    let server = Running::with(|config| {
        config.client.rate_limit.ip_connect.max_concurrent_per_ip = 1;
        config.client.rate_limit.ip_connect.buckets = per_second(1);
    });
    let _clients: Vec<_> = (0..10).map(|n| server.connected(&n.to_string())).collect();
    assert_eq!(server.metric("roomcast_connections_refused_total"), 0);
}
