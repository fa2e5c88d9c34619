//! How often a client may do something.

use std::time::Duration;

use super::*;
use crate::config::{ChannelSyntax, OperationLimit, RateBucket, RateLimit};
use crate::limits::rates::ClientRates;
use crate::ops::metrics::Refusals;

/// Settings where a connection may do so much within the time of a test.
fn limited(commands: usize, errors: usize) -> Settings {
    let once = |rate| OperationLimit {
        enabled: true,
        buckets: vec![RateBucket { interval: Duration::from_secs(3_600), rate }],
        overrides: Vec::new(),
    };
    let mut limits = RateLimit::default();
    (limits.client_command.total, limits.client_error.total) = (once(commands), once(errors));
    Settings {
        rates: ClientRates::new(&limits, &ChannelSyntax::default(), Arc::default(), Refusals::default()).map(Arc::new),
        ..dev_settings()
    }
}

#[test]
fn attempts_to_connect_are_counted_like_other_commands() {
    let mut harness = Harness::opening(Settings { allow_anonymous: false, ..limited(3, 5) });
    for _ in 0..3 {
        harness.send(r#"{"id":1,"connect":{}}"#);
        harness.assert_heard(&[&error_of(1, ErrorCode::Unauthorized)]);
    }
    for _ in 0..2 {
        harness.send(r#"{"id":1,"connect":{}}"#);
        harness.assert_heard(&[&error_of(1, ErrorCode::TooManyRequests)]);
    }
    harness.send(r#"{"id":1,"connect":{}}"#);
    harness.assert_closed(CloseCode::TooManyErrors);
}

#[test]
fn rooms_that_a_client_asks_for_when_it_connects_are_counted_like_subscribe_commands() {
    let mut harness = Harness::opening(limited(3, 5));
    harness.send(r#"{"id":1,"connect":{"subs":{"a":{},"b":{},"c":{},"d":{}}}}"#);
    for room in ["a", "b"] {
        assert_eq!(harness.heard().pop(), Some(format!("subscribe {room}")));
        let ticket = harness.session.pending.as_ref().map(|pending| pending.ticket).expect("it is under way");
        harness.session.subscribed(ticket, Ok(entered(0, &[])), &mut harness.actions);
    }
    let heard = harness.heard();
    assert_eq!(heard[1..], ["activate a", "activate b"], "the connect command itself is one as well");
}

#[test]
fn who_leaves_rooms_that_it_is_not_in_for_ever_is_cut_off() {
    let mut harness = Harness::connected_with(limited(3, 3));
    harness.join("hall");
    let leave = |harness: &mut Harness, room: &str| {
        harness.send(&format!(r#"{{"id":2,"unsubscribe":{{"channel":"{room}"}}}}"#));
    };
    for _ in 0..4 {
        leave(&mut harness, "elsewhere");
        harness.assert_heard(&[r#"{"id":2,"unsubscribe":{}}"#]);
    }
    leave(&mut harness, "hall");
    harness.assert_heard(&["unsubscribe hall"]);
    harness.session.unsubscribed(harness.session.pending.as_ref().expect("it leaves").ticket, &mut harness.actions);
    harness.actions();
    leave(&mut harness, "elsewhere");
    harness.assert_closed(CloseCode::TooManyErrors);
}
