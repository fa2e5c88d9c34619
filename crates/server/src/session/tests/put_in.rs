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
