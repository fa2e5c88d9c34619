//! What clients must not send: each case has its answer, and nobody else notices.

use crate::frames::frame;
use crate::harness::{Running, number};

const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Every case with the code that closes it; the client is connected already if `true`.
pub(crate) fn cases() -> Vec<(&'static str, bool, Vec<u8>, u16)> {
    let huge_header = |first: u8| vec![first, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 1, 2, 3, 4];
    let too_large = vec![b' '; MESSAGE_BYTES_MAX + 1];
    let half_large = vec![b' '; MESSAGE_BYTES_MAX / 2 + 1];
    let fragments = [frame(0x01, &half_large), frame(0x80, &half_large)].concat();
    let many = vec!["{}"; 2_000].join("\n");
    let deep = "[".repeat(60_000);
    vec![
        ("a message over the limit", true, frame(0x81, &too_large), 1009),
        ("fragments over the limit", true, fragments, 1009),
        ("a header that promises gigabytes", false, huge_header(0x82), 1009),
        ("binary on a JSON connection", true, frame(0x82, b"\x00"), 3501),
        ("text that is not JSON", true, frame(0x81, b"hello"), 3501),
        ("half an object", true, frame(0x81, b"{\"id\":1,"), 3501),
        ("nothing", true, frame(0x81, b""), 3501),
        ("deep nesting", true, frame(0x81, deep.as_bytes()), 3501),
        ("too many commands", true, frame(0x81, many.as_bytes()), 3501),
        ("a command before connect", false, frame(0x81, br#"{"id":1,"subscribe":{"channel":"hall"}}"#), 3501),
        ("connecting twice", true, frame(0x81, br#"{"id":2,"connect":{}}"#), 3501),
        ("a pong that nobody asked for", true, frame(0x81, b"{}"), 3501),
        ("text that is not UTF-8", true, frame(0x81, b"\"\xff\""), 1007),
        ("a frame without a mask", true, b"\x81\x02{}".to_vec(), 1002),
        ("a reserved bit", true, frame(0xc1, b"{}"), 1002),
        ("a reserved opcode", true, frame(0x83, b"{}"), 1002),
        ("a continuation of nothing", true, frame(0x80, b"{}"), 1002),
        ("a long control frame", true, frame(0x89, &[0; 126]), 1002),
        ("a close code not to be sent", true, frame(0x88, b"\x03\xee"), 1002),
        ("an HTTP request", true, b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1002),
    ]
}

#[test]
fn each_case_is_closed_with_its_code_and_others_go_on() {
    let server = Running::start();
    let mut ann = server.member("Ann", "hall");
    let mut bob = server.member("Bob", "hall");
    for (round, (case, connected, bytes, code)) in cases().into_iter().enumerate() {
        let mut client = match connected {
            true => server.member("Eve", "hall"),
            false => server.client(),
        };
        client.send_raw(&bytes);
        assert_eq!(client.closed().0, code, "{case}");
        ann.publish(10 + round as u32, "hall", &round.to_string());
        assert_eq!(number(&bob.publication()["data"]), round as u64, "after {case}");
    }
    let closed = cases().len() as u64;
    assert_eq!(server.metric("roomcast_closes_total"), closed);
    assert_eq!(server.metric("roomcast_bad_input_total"), closed);
}

#[test]
fn commands_before_the_bad_one_are_answered() {
    let server = Running::start();
    let mut client = server.connected("Eve");
    client.send("{\"id\":2,\"ping\":{}}\nnonsense");
    assert_eq!(client.object()["id"], 2);
    assert_eq!(client.closed(), (3501, "bad request".to_owned()));
}

#[test]
fn silence_is_closed_as_stale() {
    let server = Running::with(|config| {
        config.client.stale_close_delay = std::time::Duration::from_millis(300);
    });
    let mut silent = server.client();
    let mut halfway = server.client();
    halfway.send_raw(&frame(0x81, br#"{"id":1,"connect":{}}"#)[..9]);
    for client in [&mut silent, &mut halfway] {
        assert_eq!(client.closed(), (3502, "stale".to_owned()));
    }
}

#[test]
fn the_time_for_connecting_does_not_delay_pings() {
    let server = Running::with(|config| {
        config.client.stale_close_delay = std::time::Duration::from_secs(3_600);
        config.client.ping_interval = std::time::Duration::from_millis(300);
        config.client.pong_timeout = std::time::Duration::from_millis(200);
    });
    let mut silent = server.connected("Eve");
    assert_eq!(silent.closed_in_silence(), (3012, "no pong".to_owned()));
}

#[test]
fn pings_are_answered_between_fragments_and_missing_pongs_are_noticed() {
    let server = Running::with(|config| {
        config.client.ping_interval = std::time::Duration::from_millis(1_500);
        config.client.pong_timeout = std::time::Duration::from_millis(1_000);
    });
    let mut client = server.client();
    let (head, tail) = br#"{"id":1,"connect":{}}"#.split_at(7);
    client.send_raw(&frame(0x01, head));
    client.send_raw(&frame(0x89, b"there?"));
    client.send_raw(&frame(0x80, tail));
    assert_eq!(client.hear(), crate::harness::Heard::Pong(b"there?".to_vec()));
    client.reply(1);
    let mut silent = server.connected("Eve");
    let silent = std::thread::spawn(move || silent.closed_in_silence());
    // Meanwhile a client that answers its pings stays.
    let mut id = 2;
    while !silent.is_finished() {
        client.send(&format!(r#"{{"id":{id},"ping":{{}}}}"#));
        client.reply(id);
        id += 1;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let closed = silent.join().expect("a close frame");
    assert_eq!(closed, (3012, "no pong".to_owned()));
}
