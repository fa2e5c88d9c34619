//! The cases of the Autobahn test suite, ported by id: `docs/autobahn.md` says how, and what they show.

mod case;
mod close;
mod fragments;
mod framing;
mod limits;
mod page;
mod peer;
mod refused;
mod utf8;
mod wire;

use roomcast_server::config::Config;

use self::case::Case;
use crate::harness::Running;

/// Cases that share a server, in a table of their own.
struct Section {
    title: &'static str,
    about: &'static str,
    cases: Vec<Case>,
}

/// All of them, in the order of the page.
fn sections() -> Vec<Section> {
    let framing = [framing::text(), framing::binary(), framing::pings()];
    let refused = [refused::reserved_bits(), refused::opcodes(), fragments::fragments()];
    let utf8 = [utf8::fragments(), utf8::fail_fast(), utf8::sequences()];
    let sections = framing.into_iter().chain(refused).chain(utf8).chain([close::closing()]);
    sections.chain(limits::sections()).collect()
}

/// Plays the cases of the section whose title begins so.
fn play(title: &str) {
    let section = sections().into_iter().find(|section| section.title.starts_with(title)).expect("a section");
    let server = Running::with(configure);
    let (rows, wrong): (Vec<_>, Vec<_>) = section.cases.iter().map(|case| case.play(&server)).partition(Result::is_ok);
    let wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    page::settle(&section, &rows.into_iter().flatten().collect::<Vec<_>>());
}

/// Messages of up to 16 MiB, and nothing said but what a case leads to.
fn configure(config: &mut Config) {
    config.shards = std::num::NonZeroUsize::new(1);
    config.websocket.message_size_limit = 16 * 1024 * 1024;
    config.client.ping_interval = std::time::Duration::ZERO;
    let room = &mut config.channel.without_namespace;
    (room.history_size, room.force_recovery, room.force_push_join_leave) = (0, false, false);
}

/// The suite's ids: what they begin with, and how many there are.
const IDS: [(&str, usize); 45] = [
    ("1.1", 8),
    ("1.2", 8),
    ("2", 11),
    ("3", 7),
    ("4.1", 5),
    ("4.2", 5),
    ("5", 20),
    ("6.1", 3),
    ("6.2", 4),
    ("6.3", 2),
    ("6.4", 4),
    ("6.5", 5),
    ("6.6", 11),
    ("6.7", 4),
    ("6.8", 2),
    ("6.9", 4),
    ("6.10", 3),
    ("6.11", 5),
    ("6.12", 8),
    ("6.13", 5),
    ("6.14", 10),
    ("6.15", 1),
    ("6.16", 3),
    ("6.17", 5),
    ("6.18", 5),
    ("6.19", 5),
    ("6.20", 7),
    ("6.21", 8),
    ("6.22", 34),
    ("6.23", 7),
    ("7.1", 6),
    ("7.3", 6),
    ("7.5", 1),
    ("7.7", 13),
    ("7.9", 13),
    ("7.13", 2),
    ("9.1", 6),
    ("9.2", 6),
    ("9.3", 9),
    ("9.4", 9),
    ("9.5", 6),
    ("9.6", 6),
    ("9.7", 6),
    ("9.8", 6),
    ("10.1", 1),
];

#[test]
fn every_case_is_there_and_on_the_page() {
    let known: Vec<_> =
        IDS.iter().flat_map(|(group, cases)| (1..=*cases).map(move |n| format!("{group}.{n}"))).collect();
    let ported: Vec<_> = sections().into_iter().flat_map(|section| section.cases).map(|case| case.id).collect();
    assert_eq!(ported, known);
    if !page::is_written() {
        assert_eq!(page::ids(), known, "docs/autobahn.md is out of date, say `make autobahn results`");
    }
}

#[test]
fn text_messages_of_every_form_of_length_come_back() {
    play("1.1 ");
}

#[test]
fn binary_messages_of_every_form_of_length_come_back() {
    play("1.2 ");
}

#[test]
fn pings_are_answered_and_pongs_are_not() {
    play("2 ");
}

#[test]
fn reserved_bits_end_the_connection() {
    play("3 ");
}

#[test]
fn reserved_opcodes_end_the_connection() {
    play("4 ");
}

#[test]
fn fragments_make_a_message_or_end_the_connection() {
    play("5 ");
}

#[test]
fn valid_text_comes_back_wherever_it_is_cut() {
    play("6.1 ");
}

#[test]
fn invalid_text_in_pieces_ends_the_connection() {
    play("6.4 ");
}

#[test]
fn sequences_are_told_apart_as_unicode_says() {
    play("6.5 ");
}

#[test]
fn closes_are_answered_and_wrong_ones_refused() {
    play("7 ");
}

#[test]
fn large_text_messages_come_back() {
    play("9.1 ");
}

#[test]
fn large_binary_messages_come_back() {
    play("9.2 ");
}

#[test]
fn large_text_messages_in_fragments_come_back() {
    play("9.3 ");
}

#[test]
fn large_binary_messages_in_fragments_come_back() {
    play("9.4 ");
}

#[test]
fn text_messages_in_small_writes_come_back() {
    play("9.5 ");
}

#[test]
fn binary_messages_in_small_writes_come_back() {
    play("9.6 ");
}

#[test]
fn text_messages_come_back_a_thousand_times() {
    play("9.7 ");
}

#[test]
fn binary_messages_come_back_a_thousand_times() {
    play("9.8 ");
}

#[test]
fn a_message_in_fragments_of_a_packet_comes_back() {
    play("10 ");
}
