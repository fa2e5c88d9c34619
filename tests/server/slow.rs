//! What becomes of members that cannot keep up, by `slow_consumer`, and where they are seen.

use std::io::Write as _;

use roomcast_server::config::{SlowConsumer, Storage};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::frames::frame;
use crate::harness::{Client, Running, eventually, number, text};

/// Messages that the ring of a room without history keeps.
const RING: u64 = 1_024;

/// Long enough for a few hundred messages to fill a socket.
fn data() -> String {
    format!("\"{}\"", "x".repeat(30_000))
}

fn server(policy: SlowConsumer) -> Running {
    Running::with(|config| {
        config.shards = std::num::NonZeroUsize::new(1);
        let options = &mut config.channel.without_namespace;
        (options.history_size, options.slow_consumer) = (16, policy);
        // The database would have what the ring has lost.
        options.storage = Storage::Off;
        options.force_push_join_leave = false;
    })
}

/// A member that does not read, the ring having moved past it by far; how many messages were published.
fn lap(server: &Running) -> (Client, u64) {
    let mut slow = server.client();
    set_socket_recv_buffer_size(&slow.stream, 128 * 1024).expect("a socket option");
    slow.send("{\"id\":1,\"connect\":{\"data\":{\"name\":\"Slow\"}}}\n{\"id\":2,\"subscribe\":{\"channel\":\"hall\"}}");
    slow.id = text(&slow.reply(1)["connect"]["client"]).to_owned();
    slow.reply(2);
    let mut ann = server.member("Ann", "hall");
    let data = data();
    let published = 3 * RING;
    for offset in 1..=published {
        ann.publish(offset as u32 + 2, "hall", &data);
        assert_eq!(number(&ann.publication()["offset"]), offset, "who reads misses nothing");
    }
    (slow, published)
}

/// The member is in the room and gets what is published now, as the next one.
fn assert_hears_the_next(server: &Running, member: &mut Client, published: u64) {
    server.connected("Bob").publish(2, "hall", "1");
    assert_eq!(number(&member.publication()["offset"]), published + 1);
}

#[test]
fn a_member_that_is_skipped_is_told_and_may_come_again() {
    let server = server(SlowConsumer::Skip);
    let (mut slow, published) = lap(&server);
    let mut next = 1;
    let push = loop {
        let push = slow.push();
        match push.get("pub") {
            Some(publication) => {
                assert_eq!(number(&publication["offset"]), next, "in order up to the end");
                next += 1;
            }
            None if push.get("unsubscribe").is_some() => break push,
            None => {}
        }
    };
    assert_eq!((text(&push["channel"]), number(&push["unsubscribe"]["code"])), ("hall", 2500));
    assert!(next < published, "it was not slow at all");
    assert_eq!(server.metric("roomcast_slow_consumers_total"), 1);
    // Nothing of the room follows, and the connection lives.
    let again = slow.subscribe(3, "hall");
    assert_eq!(number(&again["offset"]), published);
    assert_hears_the_next(&server, &mut slow, published);
}

#[test]
fn a_member_that_wants_the_latest_goes_on_with_it() {
    let server = server(SlowConsumer::Latest);
    let (mut slow, published) = lap(&server);
    let mut offsets = vec![0];
    while offsets.last() != Some(&published) {
        offsets.push(number(&slow.publication()["offset"]));
    }
    assert!(offsets.is_sorted_by(|before, after| before < after), "never back, nothing twice");
    let gaps = offsets.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
    assert!(gaps >= 1 && offsets.len() < published as usize, "it was not slow at all");
    assert_eq!(server.metric("roomcast_slow_consumers_total"), 0);
    assert_hears_the_next(&server, &mut slow, published);
}

#[test]
fn who_lags_shows_in_the_metrics_until_it_has_caught_up() {
    let server = server(SlowConsumer::Latest);
    assert_eq!(server.metric("roomcast_members_behind"), 0);
    let (mut slow, published) = lap(&server);
    let metrics = || server.get("/metrics", "").1;
    let client = format!("client=\"{}\"", slow.id);
    let value = |metrics: &str, name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name) && line.contains("room=\"hall\""));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse::<u64>().ok())
    };
    // The first look may have come while it was still being published.
    eventually("the lag shows", || {
        let lag = metrics();
        let of_room = value(&lag, "roomcast_room_lag_messages{");
        lag.contains(&client)
            && of_room.is_some_and(|messages| (RING..=published).contains(&messages))
            && of_room == value(&lag, "roomcast_member_lag_messages{")
    });
    assert_eq!(server.metric("roomcast_members_behind"), 1);
    while number(&slow.publication()["offset"]) < published {}
    eventually("nobody lags", || server.metric("roomcast_members_behind") == 0);
    eventually("nobody is shown", || !metrics().contains(&client));
}

/// What the system holds of a connection of the server's, by the port at its other end: what has not been acknowledged, and what the
/// server has not read.
fn held_by_the_system(server: &Running) -> std::collections::HashMap<u16, [u64; 2]> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let port = |address: &str| address.split_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    let row = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, other, state, queues, ..] = fields[..] else { return None };
        let is_of_server = port(local)? == server.address.port() && state == "01";
        let (sent, received) = queues.split_once(':')?;
        let queued = |bytes: &str| u64::from_str_radix(bytes, 16).ok();
        is_of_server.then_some((port(other)?, [queued(sent)?, queued(received)?]))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn the_system_holds_little_for_who_takes_nothing() {
    const LIMIT: usize = 16 * 1024;
    let server = Running::with(|config| {
        config.channel.without_namespace.storage = Storage::Off;
        config.http_server.tcp_unsent_limit = LIMIT;
        config.client.write_timeout = std::time::Duration::from_secs(3_600);
    });
    let deaf: Vec<_> = (0..20).map(|_| server.member("Deaf", "hall")).collect();
    let mut ann = server.member("Ann", "hall");
    let data = data();
    // Far more than what their own system takes for them.
    for id in 3..803 {
        ann.publish(id, "hall", &data);
        ann.publication();
    }
    let ports: Vec<_> = deaf.iter().map(|client| client.stream.local_addr().expect("a port").port()).collect();
    eventually("all sockets are full", || {
        let held = held_by_the_system(&server);
        ports.iter().all(|port| held[port][0] > 0)
    });
    let held = held_by_the_system(&server);
    // What fits is written as a whole packet, on loopback of 64 KiB.
    let most = ports.iter().map(|port| held[port][0]).max().expect("clients");
    assert!(most <= LIMIT as u64 + 2 * 65_536, "{most} bytes");
}

/// It has asked for more than it takes, so nothing more is read of what it says.
#[test]
fn the_system_holds_little_of_who_is_not_read() {
    const LIMIT: usize = 16 * 1024;
    let server = Running::with(|config| {
        config.channel.without_namespace.storage = Storage::Off;
        config.http_server.tcp_unread_limit = LIMIT;
        config.client.write_timeout = std::time::Duration::from_secs(3_600);
    });
    let mut ann = server.member("Ann", "hall");
    let data = data();
    for id in 3..103 {
        ann.publish(id, "hall", &data);
        ann.publication();
    }
    let mut deaf = server.connected("Deaf");
    let port = deaf.stream.local_addr().expect("a port").port();
    deaf.stream.set_nonblocking(true).expect("a socket option");
    let ask = frame(0x81, br#"{"id":2,"history":{"channel":"hall","limit":100}}"#);
    let said = ask.repeat(300_000);
    let mut left = &said[..];
    let mut unread = 0;
    eventually("it is not read any more", || {
        while let Ok(written @ 1..) = deaf.stream.write(left) {
            left = &left[written..];
        }
        assert!(!left.is_empty(), "all of it was taken");
        let before = std::mem::replace(&mut unread, held_by_the_system(&server)[&port][1]);
        unread > 0 && unread == before
    });
    assert!(unread <= 2 * LIMIT as u64, "{unread} bytes");
    ann.publish(103, "hall", &data);
}
