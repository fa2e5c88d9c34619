//! Commands inside and outside rooms, and the errors they can meet.

use super::*;
use roomcast_protocol::{ClientInfo, HistoryResult, PresenceStats};

#[test]
fn a_publication_carries_its_payload_and_its_author() {
    let mut harness = Harness::opening(dev_settings());
    harness.send("{\"id\":1,\"connect\":{\"data\":{\"name\":\"Ada\"}}}\n{\"id\":2,\"publish\":{\"channel\":\"a\",\"data\":{\"t\": 1}}}");
    let ticket = harness.ticket();
    let actions = harness.actions();
    let Some(Action::Publish { room, publication, .. }) = actions.last() else { panic!("{actions:?}") };
    assert_eq!(room.as_str(), "a");
    assert_eq!(publication.data.as_bytes(), br#"{"t":1}"#);
    assert_eq!(publication.info.as_ref(), harness.session.info());
    assert!(publication.info.as_ref().is_some_and(|info| info.conn_info().is_some()));
    harness.session.published(ticket, Ok(()), &mut harness.actions);
    harness.assert_heard(&[r#"{"id":2,"publish":{}}"#]);
}

#[test]
fn a_publication_needs_a_payload_and_null_is_one() {
    let mut harness = Harness::connected();
    harness.assert_error(r#"{"id":2,"publish":{"channel":"a"}}"#, ErrorCode::BadRequest);
    harness.send(r#"{"id":2,"publish":{"channel":"a","data":null}}"#);
    harness.assert_heard(&["publish a"]);
}

#[test]
fn every_error_of_the_world_reaches_the_client() {
    for error in ErrorCode::ALL {
        let mut harness = Harness::connected();
        harness.send(r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
        harness.session.published(harness.ticket(), Err(error), &mut harness.actions);
        harness.send(r#"{"id":3,"history":{"channel":"a"}}"#);
        harness.session.history(harness.ticket(), Err(error), &mut harness.actions);
        harness.send(r#"{"id":4,"presence":{"channel":"a"}}"#);
        harness.session.presence(harness.ticket(), Err(error), &mut harness.actions);
        harness.send(r#"{"id":5,"presence_stats":{"channel":"a"}}"#);
        harness.session.presence_stats(harness.ticket(), Err(error), &mut harness.actions);
        harness.send(r#"{"id":6,"subscribe":{"channel":"a"}}"#);
        harness.session.subscribed(harness.ticket(), Err(error), &mut harness.actions);
        let replies: Vec<_> = harness.heard().into_iter().filter(|heard| heard.starts_with('{')).collect();
        assert_eq!(replies, [2, 3, 4, 5, 6].map(|id| error_of(id, error)));
        // The failed subscribe left nothing behind.
        harness.join("a");
    }
}

#[test]
fn history_is_read_with_its_limits_and_judged_by_its_epoch() {
    for (limit, asked) in [("-1", 300), ("0", 0), ("10", 10), ("100000", 300)] {
        let mut harness = Harness::connected();
        harness.send(&format!(r#"{{"id":2,"history":{{"channel":"a","limit":{limit}}}}}"#));
        let actions = harness.actions();
        let Some(Action::History { query, .. }) = actions.last() else { panic!("{actions:?}") };
        assert_eq!((query.limit, query.reverse, &query.since), (asked, false, &None));
    }
    let ask = |since: &str| {
        let mut harness = Harness::connected();
        harness.send(&format!(r#"{{"id":2,"history":{{"channel":"a","limit":1,"since":{since},"reverse":true}}}}"#));
        let result = HistoryResult::new(vec![placed(1)], at(2));
        harness.session.history(harness.ticket(), Ok(result), &mut harness.actions);
        harness.heard().pop().unwrap()
    };
    let found = r#"{"id":2,"history":{"publications":[{"data":1,"offset":1}],"epoch":"e","offset":2}}"#;
    assert_eq!(ask(r#"{"offset":2,"epoch":"e"}"#), found);
    assert_eq!(ask(r#"{"offset":2}"#), found);
    assert_eq!(ask(r#"{"offset":2,"epoch":"x"}"#), error_of(2, ErrorCode::UnrecoverablePosition));
}

#[test]
fn presence_answers_with_who_is_there() {
    let mut harness = Harness::connected();
    harness.send(r#"{"id":2,"presence":{"channel":"a"}}"#);
    let info = ClientInfo::new("42".to_owned(), "c9".to_owned(), None, None);
    harness.session.presence(harness.ticket(), Ok(vec![info]), &mut harness.actions);
    harness.send(r#"{"id":3,"presence_stats":{"channel":"a"}}"#);
    let stats = PresenceStats { clients: 3, users: 2 };
    harness.session.presence_stats(harness.ticket(), Ok(stats), &mut harness.actions);
    harness.assert_heard(&[
        "presence a",
        r#"{"id":2,"presence":{"presence":{"c9":{"user":"42","client":"c9"}}}}"#,
        "presence_stats a",
        r#"{"id":3,"presence_stats":{"num_clients":3,"num_users":2}}"#,
    ]);
}

#[test]
fn what_is_outside_the_subset_is_not_available_and_what_nobody_knows_is_not_found() {
    let mut harness = Harness::connected();
    for frame in [
        r#"{"id":2,"rpc":{"method":"m","data":{}}}"#,
        r#"{"id":2,"subscribe":{"channel":"a","type":1}}"#,
        r#"{"id":2,"publish":{"channel":"a","data":1,"type":1}}"#,
        r#"{"id":2,"publish":{"channel":"a","data":1,"key":"k"}}"#,
        r#"{"id":2,"publish":{"channel":"a","removed":true}}"#,
    ] {
        harness.assert_error(frame, ErrorCode::NotAvailable);
    }
    // A filter that is not applied would let through what the client does not want.
    harness.assert_error(r#"{"id":2,"subscribe":{"channel":"a","tf":{"op":"eq"}}}"#, ErrorCode::BadRequest);
    harness.assert_error(r#"{"id":2,"shout":{}}"#, ErrorCode::MethodNotFound);
    harness.assert_error(r#"{"id":2}"#, ErrorCode::MethodNotFound);
    assert!(!harness.session.is_closed());
}

#[test]
fn tokens_are_not_looked_at_in_development() {
    let mut harness = Harness::opening(dev_settings());
    harness.send(r#"{"id":1,"connect":{"token":"t"}}"#);
    harness.heard();
    harness.join("a");
    harness.send(r#"{"id":2,"refresh":{"token":"t"}}"#);
    harness.send(r#"{"id":3,"sub_refresh":{"channel":"a","token":"t"}}"#);
    harness.assert_heard(&[r#"{"id":2,"refresh":{}}"#, r#"{"id":3,"sub_refresh":{}}"#]);
    harness.assert_error(r#"{"id":2,"sub_refresh":{"channel":"b","token":"t"}}"#, ErrorCode::PermissionDenied);
}

#[test]
fn without_a_key_no_token_is_valid() {
    let settings = || {
        let mut settings = dev_settings();
        settings.ignore_tokens = false;
        settings
    };
    let mut harness = Harness::opening(settings());
    harness.send(r#"{"id":1,"connect":{"token":"t"}}"#);
    harness.assert_closed(CloseCode::InvalidToken);
    for command in [r#"{"id":2,"refresh":{"token":"t"}}"#, r#"{"id":2,"sub_refresh":{"channel":"b","token":"t"}}"#] {
        let mut harness = Harness::connected_with(settings());
        harness.join("b");
        harness.assert_error(r#"{"id":2,"subscribe":{"channel":"a","token":"t"}}"#, ErrorCode::PermissionDenied);
        harness.send(command);
        harness.assert_closed(CloseCode::InvalidToken);
    }
}

#[test]
fn send_is_taken_without_a_word() {
    let mut harness = Harness::connected();
    harness.send("{\"send\":{\"data\":{}}}\n{\"id\":5,\"send\":{\"data\":1}}");
    harness.assert_heard(&[]);
    assert!(!harness.session.is_closed());
}

/// Every command that names a room, with the command id 2.
fn in_room(room: &str) -> [String; 6] {
    let room = serde_json::Value::from(room);
    [
        format!(r#"{{"id":2,"subscribe":{{"channel":{room}}}}}"#),
        format!(r#"{{"id":2,"publish":{{"channel":{room},"data":1}}}}"#),
        format!(r#"{{"id":2,"history":{{"channel":{room}}}}}"#),
        format!(r#"{{"id":2,"presence":{{"channel":{room}}}}}"#),
        format!(r#"{{"id":2,"presence_stats":{{"channel":{room}}}}}"#),
        format!(r#"{{"id":2,"unsubscribe":{{"channel":{room}}}}}"#),
    ]
}

#[test]
fn malformed_room_names_are_bad_requests() {
    let mut harness = Harness::connected();
    for room in [String::new(), "x".repeat(256), "a\nb".to_owned()] {
        for frame in in_room(&room) {
            harness.assert_error(&frame, ErrorCode::BadRequest);
        }
    }
    harness.join(&"x".repeat(255));
}

#[test]
fn rooms_of_namespaces_nobody_configured_are_unknown() {
    let mut harness = Harness::connected();
    for frame in &in_room("none:a")[..5] {
        harness.assert_error(frame, ErrorCode::UnknownRoom);
    }
}

#[test]
fn what_the_rules_forbid_is_denied() {
    let mut harness = Harness::connected();
    for frame in &in_room("shut:a")[..5] {
        harness.assert_error(frame, ErrorCode::PermissionDenied);
    }
}

#[test]
fn private_rooms_need_a_token_but_in_development() {
    let mut settings = dev_settings();
    settings.ignore_tokens = false;
    let mut harness = Harness::connected_with(settings);
    for room in ["$a", "$cache:a"] {
        harness.assert_error(&in_room(room)[0], ErrorCode::PermissionDenied);
    }
    let mut harness = Harness::connected();
    for room in ["$a", "$cache:a"] {
        harness.join(room);
    }
    harness.assert_error(&in_room("$none:a")[0], ErrorCode::UnknownRoom);
}

#[test]
fn a_text_that_is_none_spoils_its_command_alone() {
    for text in [r#""\ud83d""#, r#""\udc4d\ud83d""#, r#""a\ud83dB""#] {
        let mut harness = Harness::connected();
        for command in [
            format!(r#""subscribe":{{"channel":{text}}}"#),
            format!(r#""subscribe":{{"channel":"a","recover":true,"epoch":{text}}}"#),
            format!(r#""subscribe":{{"channel":"a","token":{text}}}"#),
            format!(r#""subscribe":{{"channel":"a","delta":{text}}}"#),
            format!(r#""unsubscribe":{{"channel":{text}}}"#),
            format!(r#""publish":{{"channel":{text},"data":1}}"#),
            format!(r#""publish":{{"channel":"a","key":{text},"data":1}}"#),
            format!(r#""history":{{"channel":"a","since":{{"offset":1,"epoch":{text}}}}}"#),
            format!(r#""presence":{{"channel":{text}}}"#),
            format!(r#""presence_stats":{{"channel":{text}}}"#),
            format!(r#""rpc":{{"method":{text}}}"#),
            format!(r#""refresh":{{"token":{text}}}"#),
            format!(r#""sub_refresh":{{"channel":{text}}}"#),
            format!(r#""ping":{{}},{text}:1"#),
        ] {
            harness.send(&format!("{{\"id\":2,{command}}}\n{{\"id\":3,\"ping\":{{}}}}"));
            harness.assert_heard(&[&error_of(2, ErrorCode::BadRequest), r#"{"id":3,"ping":{}}"#]);
        }
        let mut harness = Harness::opening(dev_settings());
        for connect in [format!(r#"{{"name":{text}}}"#), format!(r#"{{"subs":{{{text}:{{}}}}}}"#)] {
            harness.send(&format!(r#"{{"id":1,"connect":{connect}}}"#));
            harness.assert_heard(&[&error_of(1, ErrorCode::BadRequest)]);
        }
        harness.send(r#"{"id":2,"connect":{}}"#);
        assert!(harness.session.info().is_some(), "it may try again");
        harness.actions();
        // A payload is the application's, whatever its strings hold.
        harness.send(&format!(r#"{{"id":3,"publish":{{"channel":"a","data":{text}}}}}"#));
        let actions = harness.actions();
        let Some(Action::Publish { publication, .. }) = actions.last() else { panic!("{actions:?}") };
        assert_eq!(publication.data.as_bytes(), text.as_bytes());
    }
}

#[test]
fn history_and_presence_are_not_available_where_they_are_off() {
    let mut harness = Harness::connected();
    for frame in &in_room("bare:a")[2..5] {
        harness.assert_error(frame, ErrorCode::NotAvailable);
    }
}
