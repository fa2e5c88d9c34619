//! Entering and leaving rooms, recovery, and being put out.

use super::*;
use crate::auth::Tokens;
use crate::session::{MembershipGrant, View};
use roomcast_protocol::{RoomName, UnsubscribeCode};

/// Enters room "a" of a fresh session with these fields beside its name; the world answers `subscribed`.
fn enter(fields: &str, subscribed: Subscribed) -> (Harness, Vec<String>) {
    let mut harness = Harness::connected();
    harness.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"a"{fields}}}}}"#));
    let ticket = harness.ticket();
    harness.session.subscribed(ticket, Ok(subscribed), &mut harness.actions);
    let heard = harness.heard();
    (harness, heard)
}

#[test]
fn a_fresh_subscription_learns_its_position_and_goes_live_after_the_reply() {
    let (_, heard) = enter("", entered(43, &[]));
    assert_eq!(
        heard,
        [
            "subscribe a",
            r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e","offset":43}}"#,
            "activate a",
        ]
    );
}

#[test]
fn a_recovering_client_is_given_exactly_what_it_missed() {
    let (_, heard) = enter(r#","recover":true,"offset":41,"epoch":"e""#, entered(43, &[42, 43]));
    assert_eq!(
        heard[1],
        r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e","offset":41,"publications":[{"data":42,"offset":42},{"data":43,"offset":43}],"was_recovering":true,"recovered":true}}"#
    );
}

#[test]
fn a_recovered_reply_names_the_position_that_was_asked_for() {
    // Also without an epoch, in the incarnation that the room is in.
    for asked in [r#""offset":41,"epoch":"e""#, r#""offset":41"#] {
        let (_, heard) = enter(&format!(r#","recover":true,{asked}"#), entered(43, &[42, 43]));
        assert!(heard[1].contains(r#""epoch":"e","offset":41,"publications":[{"data":42,"#), "{heard:?}");
    }
    let (_, heard) = enter(r#","recover":true,"offset":0,"epoch":"e""#, entered(1, &[1]));
    assert!(heard[1].contains(r#""epoch":"e","publications":[{"data":1,"#), "nought is left out: {heard:?}");
}

#[test]
fn a_client_that_missed_nothing_has_recovered() {
    let (_, heard) = enter(r#","recover":true,"offset":43,"epoch":"e""#, entered(43, &[]));
    assert!(heard[1].ends_with(r#""offset":43,"was_recovering":true,"recovered":true}}"#), "{heard:?}");
}

#[test]
fn what_cannot_be_recovered_whole_is_not_recovered_at_all() {
    let not_recovered =
        r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e","offset":43,"was_recovering":true}}"#;
    for (asked, found) in [
        (r#""offset":41,"epoch":"x""#, &[42, 43][..]),
        (r#""offset":40,"epoch":"e""#, &[42, 43]),
        (r#""offset":41,"epoch":"e""#, &[42]),
        (r#""offset":41,"epoch":"e""#, &[]),
        (r#""offset":44,"epoch":"e""#, &[]),
    ] {
        let (_, heard) = enter(&format!(r#","recover":true,{asked}"#), entered(43, found));
        assert_eq!(heard[1], not_recovered, "{asked} {found:?}");
    }
    let long: Vec<u64> = (1..=301).collect();
    let (_, heard) = enter(r#","recover":true,"offset":0,"epoch":"e""#, entered(301, &long));
    assert!(heard[1].ends_with(r#""offset":301,"was_recovering":true}}"#), "{}", heard[1]);
}

#[test]
fn the_position_asked_for_is_handed_on_only_to_recover() {
    let mut harness = Harness::connected();
    for (fields, expected) in [
        (r#""recover":true,"offset":41,"epoch":"e""#, Some(at(41))),
        (r#""recover":false,"offset":41,"epoch":"e""#, None),
    ] {
        harness.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"a",{fields}}}}}"#));
        let ticket = harness.ticket();
        let actions = harness.actions();
        let Some(Action::Subscribe { recover, .. }) = actions.last() else { panic!("{actions:?}") };
        assert_eq!(recover.as_ref().map(|recover| recover.position.clone()), expected);
        harness.session.subscribed(ticket, Err(ErrorCode::Internal), &mut harness.actions);
    }
}

#[test]
fn a_client_may_rather_stay_out_than_lose_something() {
    let (mut harness, heard) = enter(r#","flag":3,"recover":true,"offset":1,"epoch":"x""#, entered(43, &[]));
    // It has entered already, so it leaves before it is told; nobody heard of it.
    assert_eq!(heard, ["subscribe a", "unsubscribe a"]);
    harness.send(r#"{"id":3,"ping":{}}"#);
    harness.assert_heard(&[]);
    let ticket = Ticket(1);
    harness.session.unsubscribed(ticket, &mut harness.actions);
    harness.assert_heard(&[&error_of(2, ErrorCode::UnrecoverablePosition), r#"{"id":3,"ping":{}}"#]);
    harness.join("a");

    let (_, heard) = enter(r#","flag":2,"recover":true,"offset":43,"epoch":"e""#, entered(43, &[]));
    assert_eq!(heard[2], "activate a");
}

#[test]
fn a_room_without_history_gives_no_position_and_no_recovery() {
    let mut harness = Harness::connected();
    harness.send(r#"{"id":2,"subscribe":{"channel":"bare:a","recover":true,"recoverable":true,"offset":1}}"#);
    assert!(matches!(harness.actions.last(), Some(Action::Subscribe { recover: None, .. })));
    harness.session.subscribed(harness.ticket(), Ok(entered(5, &[])), &mut harness.actions);
    let lost = r#"{"id":2,"subscribe":{"was_recovering":true}}"#;
    harness.assert_heard(&["subscribe bare:a", lost, "activate bare:a"]);
    harness.send(r#"{"id":3,"subscribe":{"channel":"bare:b","recover":true,"offset":1,"flag":2}}"#);
    harness.session.subscribed(harness.ticket(), Ok(entered(5, &[])), &mut harness.actions);
    harness.session.unsubscribed(harness.ticket(), &mut harness.actions);
    let rejected = error_of(3, ErrorCode::UnrecoverablePosition);
    harness.assert_heard(&["subscribe bare:b", "unsubscribe bare:b", &rejected]);
}

#[test]
fn membership_follows_the_rules_of_the_room() {
    for (room, presence) in [("a", true), ("bare:a", false)] {
        let mut harness = Harness::connected();
        harness.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{room}"}}}}"#));
        harness.session.subscribed(harness.ticket(), Ok(entered(0, &[])), &mut harness.actions);
        let room = RoomName::parse(room, 255).unwrap();
        let membership = MembershipGrant { presence, announced: true, hears_join_leave: true };
        assert_eq!(harness.actions().last(), Some(&Action::Activate { room, membership, view: View::default() }));
    }
}

#[test]
fn nobody_enters_a_room_twice_but_after_leaving_again() {
    let mut harness = Harness::connected();
    harness.join("a");
    harness.assert_error(r#"{"id":2,"subscribe":{"channel":"a"}}"#, ErrorCode::AlreadySubscribed);
    harness.send(r#"{"id":2,"unsubscribe":{"channel":"a"}}"#);
    harness.session.unsubscribed(harness.ticket(), &mut harness.actions);
    harness.assert_heard(&["unsubscribe a", r#"{"id":2,"unsubscribe":{}}"#]);
    harness.join("a");
}

#[test]
fn leaving_a_room_one_is_not_in_is_fine() {
    let mut harness = Harness::connected();
    harness.send(r#"{"id":2,"unsubscribe":{"channel":"a"}}"#);
    harness.assert_heard(&[r#"{"id":2,"unsubscribe":{}}"#]);
}

#[test]
fn a_client_may_be_in_128_rooms_and_not_one_more() {
    let mut harness = Harness::connected();
    for room in 0..128 {
        harness.join(&format!("room-{room}"));
    }
    harness.assert_error(r#"{"id":2,"subscribe":{"channel":"one-more"}}"#, ErrorCode::LimitExceeded);
    harness.assert_error(r#"{"id":2,"subscribe":{"channel":"room-7"}}"#, ErrorCode::AlreadySubscribed);
    harness.send(r#"{"id":2,"unsubscribe":{"channel":"room-7"}}"#);
    harness.session.unsubscribed(harness.ticket(), &mut harness.actions);
    harness.actions();
    harness.join("one-more");
}

#[test]
fn an_expelled_client_is_told_why_and_may_come_back() {
    for code in UnsubscribeCode::ALL {
        let mut harness = Harness::connected();
        harness.join("a");
        harness.session.expelled("a", code, &mut harness.actions);
        harness.assert_heard(&[&format!(
            r#"{{"push":{{"channel":"a","unsubscribe":{{"code":{},"reason":"{}"}}}}}}"#,
            code.code(),
            code.reason()
        )]);
        harness.session.expelled("a", code, &mut harness.actions);
        harness.assert_heard(&[]);
        harness.join("a");
    }
}

#[test]
fn being_in_a_room_can_be_what_permits_to_publish() {
    let options = NamespaceOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_subscriber: true,
        allow_publish_for_anonymous: true,
        ..NamespaceOptions::default()
    };
    let options = Box::new(ByNamespace { rooms: HashMap::new(), others: options });
    let mut settings = Settings::new("n1".to_owned(), options, Tokens::none());
    settings.allow_anonymous = true;
    let mut harness = Harness::connected_with(settings);
    let publish = r#"{"id":2,"publish":{"channel":"a","data":1}}"#;
    harness.assert_error(publish, ErrorCode::PermissionDenied);
    harness.join("a");
    harness.send(publish);
    harness.assert_heard(&["publish a"]);
}

#[test]
fn in_cache_mode_the_newest_message_is_recovered_unless_it_is_known() {
    let said = |asked: &str, subscribed| {
        let mut harness = Harness::connected();
        harness.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"cache:a","recover":true{asked}}}}}"#));
        let Some(Action::Subscribe { recover: Some(recover), .. }) = harness.actions.last() else { panic!("nothing") };
        assert_eq!(recover.mode, RecoveryMode::Cache);
        let ticket = harness.ticket();
        harness.session.subscribed(ticket, Ok(subscribed), &mut harness.actions);
        harness.heard().remove(1)
    };
    let newest = r#""publications":[{"data":43,"offset":43}],"was_recovering":true,"recovered":true}}"#;
    for (asked, told) in [
        ("", ""),
        (r#","offset":7,"epoch":"e""#, r#""offset":7,"#),
        (r#","offset":43,"epoch":"another""#, r#""offset":43,"#),
    ] {
        let said = said(asked, entered(43, &[43]));
        assert!(said.ends_with(&format!(r#""epoch":"e",{told}{newest}"#)), "{said}");
    }
    for found in [&[43][..], &[]] {
        // Also when the history has let it go.
        let known = said(r#","offset":43,"epoch":"e""#, entered(43, found));
        assert!(known.ends_with(r#""offset":43,"was_recovering":true,"recovered":true}}"#), "{known}");
    }
    for gone in [entered(43, &[]), entered(43, &[42])] {
        let said = said("", gone);
        assert!(said.ends_with(r#""offset":43,"was_recovering":true}}"#), "{said}");
    }
}

#[test]
fn every_cycle_of_leaving_and_entering_is_asked_for() {
    let mut harness = Harness::connected();
    harness.join("a");
    let cycle = |id: u32| {
        format!(r#"{{"id":{id},"unsubscribe":{{"channel":"a"}}}}{{"id":{},"subscribe":{{"channel":"a"}}}}"#, id + 1)
    };
    harness.send(&[2, 4, 6].map(cycle).join("\n"));
    for _ in 0..3 {
        harness.session.unsubscribed(harness.ticket(), &mut harness.actions);
        harness.session.subscribed(harness.ticket(), Ok(entered(0, &[])), &mut harness.actions);
    }
    let heard = harness.heard();
    let count = |what: &str| heard.iter().filter(|heard| *heard == what).count();
    assert_eq!((count("unsubscribe a"), count("subscribe a"), count("activate a")), (3, 3, 3), "{heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some("activate a"));
}
