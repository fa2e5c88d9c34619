//! Who is in a room is who has an open socket there, however sockets end.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::harness::{Client, Running, eventually, text};

fn server() -> Running {
    Running::with(|config| {
        config.client.ping_interval = Duration::from_secs(1);
        config.client.pong_timeout = Duration::from_millis(500);
    })
}

/// The ids of those who are in the hall.
fn present(asker: &mut Client) -> BTreeSet<String> {
    asker.send(r#"{"id":77,"presence":{"channel":"hall"}}"#);
    let reply = asker.reply(77);
    let members = reply["presence"]["presence"].as_object().expect("members");
    members
        .iter()
        .map(|(id, info)| (id, text(&info["client"])))
        .inspect(|(id, client)| assert_eq!(id, client))
        .map(|(id, _)| id.clone())
        .collect()
}

fn ids<'a>(clients: impl IntoIterator<Item = &'a Client>) -> BTreeSet<String> {
    clients.into_iter().map(|client| client.id.clone()).collect()
}

/// Ends the socket at once, as a machine that lost its memory does.
fn reset(client: Client) {
    set_socket_linger(&client.stream, Some(Duration::ZERO)).expect("a socket option");
}

/// Who came and who went, in order, as `observer` heard it until it has heard `count` of it.
fn comings_and_goings(observer: &mut Client, count: usize) -> Vec<(&'static str, String)> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let push = observer.push();
        for kind in ["join", "leave"] {
            if let Some(info) = push.get(kind) {
                heard.push((kind, text(&info["info"]["client"]).to_owned()));
            }
        }
    }
    heard
}

#[test]
fn a_reset_socket_is_gone_at_once_and_said_so_once() {
    let server = server();
    let mut observer = server.member("observer", "hall");
    let victim = server.member("victim", "hall");
    let id = victim.id.clone();
    assert_eq!(present(&mut observer), ids([&observer, &victim]));
    reset(victim);
    // Its own join is the observer's first.
    let own = observer.id.clone();
    let heard = comings_and_goings(&mut observer, 3);
    assert_eq!(heard, [("join", own), ("join", id.clone()), ("leave", id)]);
    assert_eq!(present(&mut observer), ids([&observer]));
}

#[test]
fn a_half_open_socket_is_found_out_by_its_silence_and_a_second_one_is_another_client() {
    let server = server();
    let mut observer = server.member("observer", "hall");
    // It stays open and says nothing more: its network is gone, and it connects again before that is noticed.
    let silent = server.member("guest", "hall");
    let mut again = server.member("guest", "hall");
    assert_eq!(present(&mut observer), ids([&observer, &silent, &again]));
    eventually("the silent one to be missed", || {
        // Both live ones answer their pings meanwhile.
        present(&mut again);
        present(&mut observer) == ids([&observer, &again])
    });
    again.send(r#"{"id":78,"presence_stats":{"channel":"hall"}}"#);
    assert_eq!(again.reply(78)["presence_stats"]["num_clients"], 2);
}

#[test]
fn two_tabs_are_two_clients_and_one_may_close() {
    let server = server();
    let mut first = server.member("Ann", "hall");
    let mut second = server.member("Ann", "hall");
    assert_eq!(present(&mut first), ids([&first, &second]));
    drop(first);
    eventually("the closed tab to leave", || present(&mut second) == ids([&second]));
}

#[test]
fn whatever_becomes_of_sockets_presence_is_the_living() {
    const ROUNDS: u32 = 120;
    let server = server();
    let mut observer = server.connected("observer");
    observer.subscribe(2, "hall");
    let mut living: Vec<Client> = Vec::new();
    // The same steps every time: join, and each end a socket can have, in turn.
    let mut ended = 0;
    for round in 0..ROUNDS {
        living.push(server.member("guest", "hall"));
        if round % 3 == 2 {
            let mut gone = living.swap_remove((round as usize * 7) % living.len());
            match round % 4 {
                0 => drop(gone),
                1 => reset(gone),
                2 => gone.send_raw(&[0x88, 0x80, 1, 2, 3, 4]),
                _ => {
                    gone.send(r#"{"id":5,"unsubscribe":{"channel":"hall"}}"#);
                    gone.reply(5);
                }
            }
            ended += 1;
        }
    }
    let expected: BTreeSet<_> = ids(living.iter().chain([&observer]));
    eventually("presence to be true", || present(&mut observer) == expected);
    let heard = comings_and_goings(&mut observer, (1 + ROUNDS + ended) as usize);
    for id in expected {
        assert_eq!(heard.iter().filter(|(_, client)| *client == id).collect::<Vec<_>>(), [&("join", id.clone())]);
    }
    let went: Vec<_> = heard.iter().filter(|(kind, _)| *kind == "leave").map(|(_, id)| id).collect();
    assert_eq!(went.len(), ended as usize);
    assert_eq!(went.iter().collect::<BTreeSet<_>>().len(), went.len(), "somebody left twice");
}
