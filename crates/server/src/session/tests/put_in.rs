//! Rooms that the server puts every client into.

use super::*;
use roomcast_protocol::RoomName;

fn opening() -> Harness {
    let mut settings = dev_settings();
    settings.subscribe_on_connect = ["news", "shut:alarm"].map(|name| RoomName::parse(name, 255).unwrap()).into();
    Harness::opening(settings)
}

/// Answers the entering of the next room.
fn enter(harness: &mut Harness, subscribed: Subscribed) {
    let ticket = harness.ticket();
    harness.session.subscribed(ticket, Ok(subscribed), &mut harness.actions);
}

/// A session of the user 42, who has a room.
fn opening_personal(change: impl FnOnce(&mut Settings)) -> Harness {
    let mut settings = dev_settings();
    settings.personal_rooms = Some("own:#".to_owned());
    change(&mut settings);
    let ids = Ids { user: Some("42".to_owned()), ..Ids::default() };
    Harness { session: Session::new(Arc::new(settings), ids, START_MS), now_ms: START_MS, actions: Vec::new() }
}

#[test]
fn a_user_is_put_into_its_own_room_and_nobody_into_nobodys() {
    let mut harness = opening_personal(|_| {});
    harness.send(r##"{"id":1,"connect":{"subs":{"own:#42":{"recover":true,"offset":3,"epoch":"e"}}}}"##);
    let Some(Action::Subscribe { recover: Some(recover), .. }) = harness.actions.last() else { panic!("nothing") };
    assert_eq!(recover.position, at(3));
    enter(&mut harness, entered(4, &[4]));
    let heard = harness.heard();
    assert_eq!(heard[..2], ["identify", "subscribe own:#42"]);
    assert!(heard[2].contains(r##""subs":{"own:#42":{"recoverable":true"##), "{}", heard[2]);
    assert_eq!(heard[3..], ["activate own:#42"]);

    let mut settings = dev_settings();
    settings.personal_rooms = Some("#".to_owned());
    let mut nobody = Harness::opening(settings);
    nobody.send(r#"{"id":1,"connect":{}}"#);
    let heard = nobody.heard();
    assert!(heard.len() == 1 && !heard[0].contains("subs"), "{heard:?}");
}

#[test]
fn a_user_who_can_have_no_room_of_its_own_is_not_let_in() {
    let mut long = opening_personal(|settings| settings.limits.room_name_bytes_max = 6);
    long.send(r#"{"id":1,"connect":{}}"#);
    long.assert_closed(CloseCode::BadRequest);
    let mut full = opening_personal(|settings| {
        settings.limits.rooms_per_client_max = 1;
        settings.subscribe_on_connect = vec![RoomName::parse("news", 255).unwrap()];
    });
    full.send(r#"{"id":1,"connect":{}}"#);
    full.assert_closed(CloseCode::RoomLimit);
}

/// The rooms `#42,43` and `#x#43` are for user 43 as well.
#[test]
fn a_user_whose_name_says_that_its_room_is_for_others_is_not_let_in() {
    for (user, is_let_in) in
        [("42", true), ("42,43", false), ("x#43", false), ("#", false), (",", false), ("42;43", true)]
    {
        let mut harness = opening_personal(|_| {});
        let ids = Ids { user: Some(user.to_owned()), ..Ids::default() };
        harness.session = Session::new(Arc::clone(&harness.session.settings), ids, START_MS);
        harness.send(r#"{"id":1,"connect":{}}"#);
        match is_let_in {
            true => assert!(matches!(harness.actions.last(), Some(Action::Subscribe { .. })), "{user}"),
            false => harness.assert_closed(CloseCode::BadRequest),
        }
    }
}

#[test]
fn who_only_listens_hears_first_that_it_is_connected() {
    let mut harness = opening_personal(|_| {});
    harness.session = std::mem::replace(&mut harness.session, Harness::opening(dev_settings()).session)
        .with_speech(crate::session::Speech::Nothing);
    harness.send(r#"{"id":1,"connect":{}}"#);
    harness.wait(60_000);
    enter(&mut harness, entered(0, &[]));
    let heard = harness.heard();
    assert_eq!(heard[..2], ["identify", "subscribe own:#42"]);
    assert!(heard[2].contains("\"connect\"") && !heard[2].contains("pong") && !heard[2].contains("node"), "{heard:?}");
    // Then pings come, and nobody waits for their answers.
    (0..3).for_each(|_| harness.wait(25_000));
    harness.assert_heard(&["activate own:#42", "{}", "{}", "{}"][1..]);
}

#[test]
fn a_user_with_one_connection_is_superseded_behind_its_connect_reply() {
    let mut harness = opening_personal(|settings| settings.single_connection = true);
    harness.send("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}");
    enter(&mut harness, entered(0, &[]));
    let heard = harness.heard();
    assert!(heard[2].starts_with(r#"{"id":1,"connect""#), "{heard:?}");
    assert_eq!(heard[3..], ["activate own:#42", "supersede", r#"{"id":2,"ping":{}}"#]);
    let mut refused = opening_personal(|settings| settings.single_connection = true);
    refused.send(r#"{"id":1,"connect":{}}"#);
    let ticket = refused.ticket();
    refused.session.subscribed(ticket, Err(ErrorCode::LimitExceeded), &mut refused.actions);
    let heard = refused.heard();
    assert!(!heard.contains(&"supersede".to_owned()), "who does not come in ends nobody: {heard:?}");
}

#[test]
fn the_connect_reply_names_them_before_anything_of_them_is_heard() {
    let mut harness = opening();
    // The rest of the frame waits for connect to be finished.
    harness.send("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}");
    enter(&mut harness, entered(5, &[]));
    enter(&mut harness, entered(0, &[]));
    let heard = harness.heard();
    assert_eq!(heard[..2], ["subscribe news", "subscribe shut:alarm"]);
    let subs = r#""subs":{"news":{"recoverable":true,"positioned":true,"epoch":"e","offset":5},"shut:alarm":{}}}}"#;
    assert!(heard[2].starts_with(r#"{"id":1,"connect":{"client":"c1","#) && heard[2].ends_with(subs), "{}", heard[2]);
    assert_eq!(heard[3..], ["activate news", "activate shut:alarm", r#"{"id":2,"ping":{}}"#]);
}

#[test]
fn what_was_missed_of_them_comes_with_the_connect_reply() {
    let mut harness = opening();
    harness.send(r#"{"id":1,"connect":{"subs":{"news":{"recover":true,"offset":3,"epoch":"e"}}}}"#);
    let Some(Action::Subscribe { recover: Some(recover), .. }) = harness.actions.last() else { panic!("nothing") };
    assert_eq!(recover.position, at(3));
    enter(&mut harness, entered(5, &[4, 5]));
    enter(&mut harness, entered(0, &[]));
    let replayed = r#""news":{"recoverable":true,"positioned":true,"epoch":"e","offset":3,"publications":[{"data":4,"offset":4},{"data":5,"offset":5}],"was_recovering":true,"recovered":true}"#;
    assert!(harness.heard()[2].contains(replayed));
}

#[test]
fn they_are_rooms_like_others_afterwards() {
    let mut harness = opening();
    harness.send(r#"{"id":1,"connect":{}}"#);
    enter(&mut harness, entered(0, &[]));
    enter(&mut harness, entered(0, &[]));
    harness.heard();
    harness.assert_error(r#"{"id":2,"subscribe":{"channel":"news"}}"#, ErrorCode::AlreadySubscribed);
    harness.send(r#"{"id":3,"unsubscribe":{"channel":"news"}}"#);
    harness.assert_heard(&["unsubscribe news"]);
}

#[test]
fn a_client_that_cannot_be_put_in_is_told_to_come_again() {
    let mut harness = opening();
    harness.send(r#"{"id":1,"connect":{}}"#);
    let ticket = harness.ticket();
    harness.session.subscribed(ticket, Err(ErrorCode::LimitExceeded), &mut harness.actions);
    harness.assert_closed(CloseCode::ServerError);
}

#[test]
fn a_client_is_put_into_the_rooms_it_names_where_it_may_subscribe() {
    let mut harness = opening();
    harness.send(
        r#"{"id":1,"connect":{"subs":{
            "a":{"recover":true,"offset":3,"epoch":"e"},
            "b":{},
            "c":null,
            "news":{"recover":true,"offset":4,"epoch":"e"},
            "shut:b":{},
            "none:a":{"recover":true},
            "":{},
            "filtered":{"tf":{"key":"k"}},
            "map":{"type":1}
        }}}"#,
    );
    let subscribed = [entered(4, &[]), entered(0, &[]), entered(5, &[4, 5]), entered(7, &[]), entered(8, &[])];
    for subscribed in subscribed {
        enter(&mut harness, subscribed);
    }
    let heard = harness.heard();
    let rooms = ["news", "shut:alarm", "a", "b", "c"];
    assert_eq!(heard[..5], rooms.map(|room| format!("subscribe {room}")));
    let at = |offset: u32| format!(r#"{{"recoverable":true,"positioned":true,"epoch":"e","offset":{offset}}}"#);
    let recovered = r#"{"recoverable":true,"positioned":true,"epoch":"e","offset":3,"publications":[{"data":4,"offset":4},{"data":5,"offset":5}],"was_recovering":true,"recovered":true}"#;
    let subs = format!(r#""shut:alarm":{{}},"a":{recovered},"b":{},"c":{}}}}}}}"#, at(7), at(8));
    assert!(heard[5].ends_with(&subs), "{}", heard[5]);
    assert_eq!(heard[6..], rooms.map(|room| format!("activate {room}")));
    harness.assert_error(r#"{"id":2,"subscribe":{"channel":"a"}}"#, ErrorCode::AlreadySubscribed);
}

#[test]
fn a_room_that_was_only_a_wish_does_not_keep_the_client_out() {
    let mut harness = opening();
    harness.send(r#"{"id":1,"connect":{"subs":{"a":{"recover":true,"offset":3,"epoch":"e"},"b":{}}}}"#);
    enter(&mut harness, entered(0, &[]));
    enter(&mut harness, entered(0, &[]));
    let ticket = harness.ticket();
    harness.session.subscribed(ticket, Err(ErrorCode::LimitExceeded), &mut harness.actions);
    enter(&mut harness, entered(0, &[]));
    let heard = harness.heard();
    assert!(heard[4].contains(r#""b":{"#) && !heard[4].contains(r#""a":{"#), "{}", heard[4]);
    assert_eq!(heard[5..], ["activate news", "activate shut:alarm", "activate b"]);
    // It may still try itself.
    harness.join("a");
}

#[test]
fn nobody_is_put_into_more_rooms_than_a_client_may_be_in() {
    let mut settings = dev_settings();
    settings.limits.rooms_per_client_max = 2;
    let mut harness = Harness::opening(settings);
    harness.send(r#"{"id":1,"connect":{"subs":{"none:a":{},"a":{}}}}"#);
    enter(&mut harness, entered(0, &[]));
    let heard = harness.heard();
    assert_eq!(heard[0], "subscribe a");
    assert_eq!(heard[2..], ["activate a"]);
}
