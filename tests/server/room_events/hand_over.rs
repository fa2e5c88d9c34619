//! Processes hand over to each other, and what the backend is told of those who are in rooms meanwhile.

use std::collections::BTreeMap;

use rustix::process::Signal;

use super::backend::{Backend, Books, Manner};
use super::crash::{ROOMS, config, members};
use super::user;
use crate::crash::Process;
use crate::harness::{Client, Folder, Heard, eventually};

const ROOM: &str = ROOMS[0];

/// Longer than a client here takes to come back.
const VACATED_DELAY: &str = "4s";

/// The same, where so many clients of the old process are closed in a second.
fn config_of(backend: &Backend, close_rate: u32) -> String {
    config(backend, VACATED_DELAY) + &format!("[handover]\nclose_rate = {close_rate}\n")
}

/// Somebody in a room.
fn member(process: &Process, name: &str) -> Client {
    let mut client = user(process.address, name);
    client.subscribe(10, ROOM);
    client
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("user-{at}")).collect()
}

/// Waits until each is closed, or cut off, and has it come back; what they are then.
fn come_back(clients: Vec<(String, Client)>, to: &Process) -> Vec<(String, Client)> {
    std::thread::scope(|scope| {
        let coming: Vec<_> = clients
            .into_iter()
            .map(|(name, mut client)| {
                scope.spawn(move || {
                    loop {
                        match client.hear() {
                            Heard::Close(code, _) => break assert_eq!(code, 3001),
                            Heard::End => break,
                            _ => {}
                        }
                    }
                    let client = member(to, &name);
                    (name, client)
                })
            })
            .collect();
        coming.into_iter().map(|coming| coming.join().expect("it comes back")).collect()
    })
}

/// Waits until the backend knows who is there, as the server says, and nobody else.
fn agrees(backend: &Backend, clients: Vec<(String, Client)>) {
    let mut clients: Vec<Client> = clients.into_iter().map(|(_, client)| client).collect();
    let there = members(&mut clients);
    assert_eq!(there.len(), clients.len());
    eventually("what is so to be told", || {
        let books = backend.books();
        books.members == there && books.connected.len() == clients.len()
    });
}

/// How many events of a kind there are for each reason.
fn reasons(books: &Books, kind: &str) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for event in books.events.values().filter(|event| event["type"] == kind) {
        *reasons.entry(event["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    reasons
}

/// Whether that user was in the room from its first moment there on.
fn was_never_away(books: &Books, name: &str) -> bool {
    let (mut count, mut has_come) = (0, false);
    books.events.values().filter(|event| event["user"] == name).all(|event| {
        match event["type"].as_str() {
            Some("join") => count += 1,
            Some("leave") => count -= 1,
            _ => {}
        }
        has_come |= count > 0;
        !has_come || count > 0
    })
}

#[test]
fn who_is_closed_by_a_hand_over_and_comes_back_was_never_away() {
    let (backend, folder) = (Backend::start(), Folder::new());
    let config = config_of(&backend, 2);
    let mut first = Process::start_by(&folder, &config, &[]);
    let mut clients: Vec<_> = names(8).into_iter().map(|name| (name.clone(), member(&first, &name))).collect();
    eventually("all of them", || backend.books().members.len() == 8);
    let second = first.taken_over(&folder, &config);
    // Some go by themselves, and their process has nothing any more to write that in.
    drop(clients.split_off(5));
    eventually("that they are gone", || reasons(&backend.books(), "leave").contains_key("disconnect"));
    assert!(first.runs(), "others are still there");
    let clients = come_back(clients, &second);
    first.ends();
    agrees(&backend, clients);
    let books = backend.books();
    let (left, gone) = (reasons(&books, "leave"), reasons(&books, "disconnect"));
    assert_eq!(left.values().sum::<usize>(), 8, "{left:?}");
    assert!(left["hand_over"] >= 5 && left.keys().eq(["disconnect", "hand_over"]), "{left:?}");
    assert!(gone["hand_over"] == left["hand_over"] && !gone.contains_key("restart"), "{gone:?}");
    for name in names(5) {
        assert!(was_never_away(&books, &name), "{name}: {:?}", books.words());
    }
    assert!(!books.words().iter().any(|word| word.starts_with("vacated")), "{:?}", books.words());
}

#[test]
fn a_new_process_that_is_killed_ends_all_stays_and_who_comes_back_is_told_of() {
    let (backend, folder) = (Backend::start(), Folder::new());
    let config = config_of(&backend, 3);
    let mut first = Process::start_by(&folder, &config, &[]);
    let clients: Vec<_> = names(6).into_iter().map(|name| (name.clone(), member(&first, &name))).collect();
    eventually("all of them", || backend.books().members.len() == 6);
    let mut second = first.taken_over(&folder, &config);
    second.kill();
    let third = Process::spawn(&folder, &config, &["--listen", &first.address.to_string()], &[]);
    let clients = come_back(clients, &third);
    first.ends();
    agrees(&backend, clients);
    let left = reasons(&backend.books(), "leave");
    assert!(left["restart"] > 0 && left.values().sum::<usize>() == 6, "{left:?}");
}

#[test]
fn a_process_that_hands_over_before_the_one_before_it_has_ended_passes_on_what_it_hears() {
    let (backend, folder) = (Backend::start(), Folder::new());
    // The last are closed later than the second one could wait for its own.
    let config = config_of(&backend, 1);
    let mut first = Process::start_by(&folder, &config, &[]);
    let clients: Vec<_> = names(6).into_iter().map(|name| (name.clone(), member(&first, &name))).collect();
    eventually("all of them", || backend.books().members.len() == 6);
    let mut second = first.taken_over(&folder, &config);
    let third = second.taken_over(&folder, &config);
    let clients = come_back(clients, &third);
    first.ends();
    second.ends();
    agrees(&backend, clients);
    let books = backend.books();
    let left = reasons(&books, "leave");
    assert!(left.keys().eq(["hand_over"]) && left["hand_over"] == 6, "{left:?}");
    for name in names(6) {
        assert!(was_never_away(&books, &name), "{name}: {:?}", books.words());
    }
}

/// However the old process ends, and whatever the backend does meanwhile.
#[test]
fn an_old_process_that_is_ended_in_the_midst_leaves_nobody_behind() {
    for signal in [Signal::TERM, Signal::KILL] {
        let (backend, folder) = (Backend::start(), Folder::new());
        let config = config_of(&backend, 1);
        let mut first = Process::start_by(&folder, &config, &[]);
        let clients: Vec<_> = names(6).into_iter().map(|name| (name.clone(), member(&first, &name))).collect();
        eventually("all of them", || backend.books().members.len() == 6);
        backend.behaves(Manner::DiesAfter);
        let second = first.taken_over(&folder, &config);
        first.signal(signal);
        let clients = come_back(clients, &second);
        first.is_over();
        backend.behaves(Manner::Takes);
        agrees(&backend, clients);
        let books = backend.books();
        let left = reasons(&books, "leave");
        // Who was cut off with the old process may have been seen to go by itself before.
        assert!(left.values().sum::<usize>() == 6 && !left.contains_key("restart"), "{left:?}");
        assert!(names(6).iter().all(|name| was_never_away(&books, name)), "{:?}", books.words());
    }
}

/// An old process that stands still is not waited for without end, and contradicts nothing when it goes on.
#[test]
fn an_old_process_that_stands_still_is_not_waited_for() {
    let (backend, folder) = (Backend::start(), Folder::new());
    let bounds = "close_within = \"1s\"\ntimeout = \"1s\"\n";
    let config = config(&backend, "100ms") + &format!("[handover]\nclose_rate = 1\n{bounds}");
    let mut first = Process::start_by(&folder, &config, &[]);
    let clients: Vec<_> = names(3).into_iter().map(|name| (name.clone(), member(&first, &name))).collect();
    eventually("all of them", || backend.books().members.len() == 3);
    let second = first.taken_over(&folder, &config);
    first.signal(Signal::STOP);
    eventually("that they are gone", || backend.books().members.is_empty());
    first.signal(Signal::CONT);
    let clients = come_back(clients, &second);
    first.ends();
    agrees(&backend, clients);
    let left = reasons(&backend.books(), "leave");
    assert!(left.keys().eq(["hand_over"]) && left["hand_over"] == 3, "{left:?}");
}
