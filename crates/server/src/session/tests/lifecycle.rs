//! From connect to close: who speaks first, pings, pongs, silence.

use super::*;
use roomcast_protocol::DecodeError;

#[test]
fn the_connect_reply_says_who_where_and_how_often_to_ping() {
    let mut harness = Harness::opening(dev_settings());
    harness.send(r#"{"id":1,"connect":{"name":"js","subs":{"none:gone":{"recover":true,"offset":5,"epoch":"x"}}}}"#);
    let version = env!("CARGO_PKG_VERSION");
    harness.assert_heard(&[&format!(
        r#"{{"id":1,"connect":{{"client":"c1","version":"{version}","ping":25,"pong":true,"session":"secret","node":"n1"}}}}"#
    )]);
    let info = harness.session.info().expect("connected");
    assert_eq!((info.user(), info.client(), info.conn_info()), ("", "c1", None));
}

#[test]
fn connect_completes_before_the_rest_of_its_frame() {
    let mut harness = Harness::opening(dev_settings());
    harness.send("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"ping\":{}}");
    let heard = harness.heard();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].contains("connect") && heard[1] == "subscribe a", "{heard:?}");
}

#[test]
fn any_command_before_connect_closes() {
    for frame in [
        r#"{"id":1,"subscribe":{"channel":"a"}}"#,
        r#"{"id":1,"ping":{}}"#,
        r#"{"id":1,"nonsense":{}}"#,
        r#"{"send":{"data":1}}"#,
        r#"{"connect":{}}"#,
        "{}",
    ] {
        let mut harness = Harness::opening(dev_settings());
        harness.send(frame);
        harness.assert_closed(CloseCode::BadRequest);
    }
}

#[test]
fn a_second_connect_closes() {
    let mut harness = Harness::connected();
    harness.send(r#"{"id":2,"connect":{}}"#);
    harness.assert_closed(CloseCode::BadRequest);
}

#[test]
fn bytes_that_are_not_the_protocol_close() {
    for frame in ["", "hello", "{\"id\":1", "[]"] {
        let mut harness = Harness::connected();
        harness.send(frame);
        harness.assert_closed(CloseCode::BadRequest);
    }
    let mut harness = Harness::connected();
    harness.session.reject(DecodeError::WrongFrameKind, &mut harness.actions);
    harness.assert_closed(CloseCode::BadRequest);
}

#[test]
fn commands_before_the_bad_part_of_a_frame_are_answered() {
    let mut harness = Harness::connected();
    harness.send("{\"id\":2,\"ping\":{}}\nnonsense");
    harness.assert_heard(&[r#"{"id":2,"ping":{}}"#, "close 3501"]);
}

/// Also when their answers take time.
#[test]
fn what_is_good_is_answered_before_what_is_bad_closes() {
    for bad in ["nonsense", "{}", r#"{"id":9,"connect":{}}"#, r#"{"id":9,"connect":{"name":"\ud83d"}}"#] {
        let mut harness = Harness::connected();
        harness.send(&format!(
            "{{\"id\":2,\"publish\":{{\"channel\":\"a\",\"data\":1}}}}\n{{\"id\":3,\"ping\":{{}}}}\n{bad}\n{{\"id\":4,\"ping\":{{}}}}"
        ));
        let ticket = harness.ticket();
        harness.assert_heard(&["publish a"]);
        assert!(!harness.session.wants_frames() && !harness.session.is_closed(), "{bad}");
        // What comes behind is not heard.
        harness.send(r#"{"id":5,"ping":{}}"#);
        harness.session.published(ticket, Ok(()), &mut harness.actions);
        harness.assert_heard(&[r#"{"id":2,"publish":{}}"#, r#"{"id":3,"ping":{}}"#, "close 3501"]);
    }
    let mut harness = Harness::connected();
    harness.send(r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
    harness.session.reject(DecodeError::WrongFrameKind, &mut harness.actions);
    harness.session.published(harness.ticket(), Ok(()), &mut harness.actions);
    harness.assert_heard(&["publish a", r#"{"id":2,"publish":{}}"#, "close 3501"]);
}

#[test]
fn a_client_that_does_not_connect_is_stale_after_ten_seconds() {
    let mut harness = Harness::opening(dev_settings());
    assert_eq!(harness.session.deadline_ms(), Some(START_MS + 10_000));
    harness.wait(9_999);
    harness.assert_heard(&[]);
    harness.wait(1);
    harness.assert_closed(CloseCode::Stale);
}

#[test]
fn without_tokens_nobody_connects_unless_anonymous_clients_may() {
    let mut settings = dev_settings();
    settings.allow_anonymous = false;
    let mut harness = Harness::opening(settings);
    harness.send(r#"{"id":2,"connect":{}}"#);
    harness.assert_heard(&[&error_of(2, ErrorCode::Unauthorized)]);
    assert!(harness.session.info().is_none());
    harness.wait(10_000);
    harness.assert_closed(CloseCode::Stale);
}

#[test]
fn pings_go_on_while_they_are_answered() {
    let mut harness = Harness::connected();
    let first_ms = harness.session.deadline_ms().unwrap() - START_MS;
    assert!((1..=25_000).contains(&first_ms));
    harness.wait(first_ms - 1);
    harness.assert_heard(&[]);
    harness.wait(1);
    for _ in 0..3 {
        harness.assert_heard(&["{}"]);
        harness.wait(7_999);
        harness.send("{}");
        harness.assert_heard(&[]);
        harness.wait(25_000 - 7_999);
    }
}

#[test]
fn a_ping_without_answer_closes_after_eight_seconds() {
    let mut harness = Harness::connected();
    harness.wait(25_000);
    harness.assert_heard(&["{}"]);
    // Other commands are no pong.
    harness.send(r#"{"id":2,"ping":{}}"#);
    harness.wait(7_999);
    harness.assert_heard(&[r#"{"id":2,"ping":{}}"#]);
    harness.wait(1);
    harness.assert_closed(CloseCode::NoPong);
}

#[test]
fn a_pong_nobody_asked_for_closes() {
    let mut harness = Harness::connected();
    harness.send("{}");
    harness.assert_closed(CloseCode::BadRequest);

    let mut harness = Harness::connected();
    harness.wait(25_000);
    harness.send("{}\n{}");
    harness.assert_closed(CloseCode::BadRequest);
}

#[test]
fn a_request_without_an_id_counts_as_a_pong() {
    let mut harness = Harness::connected();
    harness.send(r#"{"publish":{"channel":"a","data":1}}"#);
    harness.assert_closed(CloseCode::BadRequest);

    let mut harness = Harness::connected();
    harness.wait(25_000);
    harness.send(r#"{"publish":{"channel":"a","data":1}}"#);
    harness.assert_heard(&["{}"]);
}

#[test]
fn silence_while_the_server_does_not_read_is_forgiven() {
    let mut harness = Harness::connected();
    harness.send("{\"id\":2,\"publish\":{\"channel\":\"a\",\"data\":1}}\n{\"id\":3,\"ping\":{}}");
    let ticket = harness.ticket();
    assert!(!harness.session.wants_frames());
    harness.wait(25_000);
    harness.wait(8_000);
    assert!(!harness.session.is_closed());
    harness.session.published(ticket, Ok(()), &mut harness.actions);
    assert!(harness.session.wants_frames());
    harness.wait(7_999);
    assert!(!harness.session.is_closed());
    harness.wait(1);
    harness.assert_closed(CloseCode::NoPong);
}

#[test]
fn a_server_without_pings_says_so_and_sends_none() {
    let mut settings = dev_settings();
    settings.ping_interval_ms = 0;
    let mut harness = Harness::opening(settings);
    harness.send(r#"{"id":1,"connect":{}}"#);
    let heard = harness.heard();
    assert!(!heard[0].contains("ping") && !heard[0].contains("pong"), "{heard:?}");
    assert_eq!(harness.session.deadline_ms(), None);
    harness.wait(1_000_000);
    harness.assert_heard(&[]);
}

#[test]
fn a_close_is_the_last_word() {
    for code in CloseCode::ALL {
        let mut harness = Harness::connected();
        harness.join("a");
        harness.send(r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
        let ticket = harness.ticket();
        harness.session.close(code, &mut harness.actions);
        harness.assert_closed(code);
        harness.session.close(CloseCode::Closed, &mut harness.actions);
        harness.session.published(ticket, Ok(()), &mut harness.actions);
        harness.send(r#"{"id":3,"ping":{}}"#);
        harness.wait(1_000_000);
        harness.assert_heard(&[]);
        assert!(!harness.session.wants_frames());
        assert_eq!(harness.session.deadline_ms(), None);
    }
}

#[test]
fn a_development_client_names_itself() {
    let long = "é".repeat(100);
    let cut = format!(r#"{{"name":"{}"}}"#, "é".repeat(64));
    for (data, conn_info) in [
        (r#"{"name":"Ada"}"#.to_owned(), Some(r#"{"name":"Ada"}"#)),
        (r#"{"name":" A\u0000d\na ","x":1}"#.to_owned(), Some(r#"{"name":"Ada"}"#)),
        (r#"{"name":"\"<b>"}"#.to_owned(), Some(r#"{"name":"\"<b>"}"#)),
        (format!(r#"{{"name":"{long}"}}"#), Some(cut.as_str())),
        (r#"{"name":"  "}"#.to_owned(), None),
        (r#"{"name":7}"#.to_owned(), None),
        (r#"{}"#.to_owned(), None),
        (r#""Ada""#.to_owned(), None),
        ("null".to_owned(), None),
    ] {
        let mut harness = Harness::opening(dev_settings());
        harness.send(&format!(r#"{{"id":1,"connect":{{"data":{data}}}}}"#));
        let info = harness.session.info().expect("connected");
        let said = info.conn_info().map(|info| str::from_utf8(info).unwrap());
        assert_eq!(said, conn_info, "{data}");
    }
}

#[test]
fn outside_development_a_name_in_the_connect_data_proves_nothing() {
    let mut settings = dev_settings();
    settings.trust_display_names = false;
    let mut harness = Harness::opening(settings);
    harness.send(r#"{"id":1,"connect":{"data":{"name":"Ada"}}}"#);
    assert_eq!(harness.session.info().and_then(|info| info.conn_info()), None);
}
