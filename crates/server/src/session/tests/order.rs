//! One command at a time, in the order they came, however late the world answers.

use super::server_commands::{subscribe, unsubscribe};
use super::*;
use proptest::prelude::*;
use roomcast_protocol::Limits;

#[test]
fn commands_behind_a_slow_one_wait_for_it() {
    let mut harness = Harness::connected();
    harness.send("{\"id\":2,\"publish\":{\"channel\":\"a\",\"data\":1}}\n{\"id\":3,\"ping\":{}}\n{\"id\":4,\"publish\":{\"channel\":\"b\",\"data\":2}}\n{\"id\":5,\"ping\":{}}");
    let first = harness.ticket();
    harness.assert_heard(&["publish a"]);
    harness.session.published(first, Ok(()), &mut harness.actions);
    let second = harness.ticket();
    assert_ne!(first, second);
    harness.assert_heard(&[r#"{"id":2,"publish":{}}"#, r#"{"id":3,"ping":{}}"#, "publish b"]);
    harness.session.published(second, Err(ErrorCode::Internal), &mut harness.actions);
    harness.assert_heard(&[&error_of(4, ErrorCode::Internal), r#"{"id":5,"ping":{}}"#]);
}

#[test]
fn the_room_is_left_before_the_unsubscribe_is_answered() {
    let mut harness = Harness::connected();
    harness.join("a");
    harness.send("{\"id\":2,\"unsubscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"a\"}}");
    let ticket = harness.ticket();
    harness.assert_heard(&["unsubscribe a"]);
    // The room ends meanwhile: the client, on its way out, hears nothing of it.
    harness.session.expelled("a", roomcast_protocol::UnsubscribeCode::Server, &mut harness.actions);
    harness.assert_heard(&[]);
    harness.session.unsubscribed(ticket, &mut harness.actions);
    harness.assert_heard(&[r#"{"id":2,"unsubscribe":{}}"#, "subscribe a"]);
}

#[test]
fn a_completion_counts_once() {
    let mut harness = Harness::connected();
    harness.send(r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
    let ticket = harness.ticket();
    harness.session.published(ticket, Ok(()), &mut harness.actions);
    harness.session.published(ticket, Ok(()), &mut harness.actions);
    harness.session.published(Ticket(99), Ok(()), &mut harness.actions);
    harness.assert_heard(&["publish a", r#"{"id":2,"publish":{}}"#]);
}

#[test]
fn the_transport_stops_reading_while_commands_wait() {
    let mut harness = Harness::connected();
    assert!(harness.session.wants_frames());
    harness.send(r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
    let ticket = harness.ticket();
    assert!(harness.session.wants_frames(), "one under way, none waiting");
    harness.send(r#"{"id":3,"ping":{}}"#);
    assert!(!harness.session.wants_frames());
    harness.session.published(ticket, Ok(()), &mut harness.actions);
    assert!(harness.session.wants_frames());
}

#[test]
fn a_pong_does_not_wait_behind_a_slow_command() {
    let mut harness = Harness::connected();
    harness.send(r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
    harness.wait(25_000);
    harness.send("{\"id\":3,\"ping\":{}}\n{}");
    harness.wait(8_000);
    harness.assert_heard(&["publish a", "{}"]);
    assert!(!harness.session.is_closed());
}

#[test]
fn a_session_that_is_fed_on_and_on_ends_instead_of_growing() {
    let mut settings = dev_settings();
    settings.limits = Limits { ..settings.limits };
    settings.limits.commands_per_frame_max = 3;
    let mut harness = Harness::connected_with(settings);
    harness.send(r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
    for id in 3..6 {
        harness.send(&format!(r#"{{"id":{id},"ping":{{}}}}"#));
    }
    harness.assert_heard(&["publish a"]);
    harness.send(r#"{"id":6,"ping":{}}"#);
    harness.assert_closed(CloseCode::TooManyRequests);
}

/// What a client or the world does next.
#[derive(Clone, Debug)]
enum Step {
    Command(u8, u8),
    Complete(bool),
    Expel(u8),
    PutIn(u8),
    TakeOut(u8),
    Wait(u64),
    Noise(Vec<u8>),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => (0..9_u8, 0..3_u8).prop_map(|(method, room)| Step::Command(method, room)),
        60 => prop::bool::weighted(0.8).prop_map(Step::Complete),
        10 => (0..3_u8).prop_map(Step::Expel),
        10 => (0..3_u8).prop_map(Step::PutIn),
        10 => (0..3_u8).prop_map(Step::TakeOut),
        10 => (0..4_000_u64).prop_map(Step::Wait),
        1 => prop::collection::vec(any::<u8>(), 0..4).prop_map(Step::Noise),
    ]
}

proptest! {
    /// Whatever happens, be it said by the client or by the server: each command is answered once and in order, at most one action is under way, pushes of a
    /// room fall between its activation and its leaving, and nothing follows a close.
    #[test]
    fn the_guarantees_hold_for_any_course_of_events(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut harness = Harness::connected();
        let mut next_id = 1_u32;
        let mut answered = 1_u32;
        let mut under_way: Option<Action> = None;
        let mut live: std::collections::BTreeSet<String> = Default::default();
        // The room that was left last; whoever is taken out of one is told when it is out.
        let mut left = None;
        for step in steps {
            match step {
                Step::Command(method, room) => {
                    next_id += 1;
                    let body = match method {
                        0 | 1 => format!(r#""subscribe":{{"channel":"r{room}"}}"#),
                        2 => format!(r#""subscribe":{{"channel":"r{room}","recover":true,"offset":9,"flag":2}}"#),
                        3 | 4 => format!(r#""unsubscribe":{{"channel":"r{room}"}}"#),
                        5 => format!(r#""publish":{{"channel":"r{room}","data":1}}"#),
                        6 => format!(r#""history":{{"channel":"r{room}"}}"#),
                        7 => format!(r#""presence":{{"channel":"none:{room}"}}"#),
                        _ => r#""ping":{}"#.to_owned(),
                    };
                    harness.send(&format!(r#"{{"id":{next_id},{body}}}"#));
                }
                Step::Complete(good) => {
                    let Harness { session, actions, .. } = &mut harness;
                    let error = ErrorCode::Internal;
                    match under_way.take() {
                        Some(Action::Subscribe { ticket, .. }) => {
                            session.subscribed(ticket, good.then(|| entered(3, &[])).ok_or(error), actions);
                        }
                        Some(Action::Unsubscribe { ticket, .. }) => session.unsubscribed(ticket, actions),
                        Some(Action::Publish { ticket, .. }) => {
                            session.published(ticket, good.then_some(()).ok_or(error), actions);
                        }
                        Some(Action::History { ticket, .. }) => session.history(ticket, Err(error), actions),
                        _ => {}
                    }
                }
                Step::Expel(room) => {
                    let code = roomcast_protocol::UnsubscribeCode::Server;
                    harness.session.expelled(&format!("r{room}"), code, &mut harness.actions);
                }
                Step::PutIn(room) => harness.command(subscribe(&format!("r{room}"))),
                Step::TakeOut(room) => harness.command(unsubscribe(&format!("r{room}"))),
                Step::Wait(ms) => harness.wait(ms),
                Step::Noise(bytes) => {
                    let Harness { session, now_ms, actions } = &mut harness;
                    session.receive_frame(Encoding::Json, &bytes, *now_ms, actions);
                }
            }
            for action in harness.actions() {
                prop_assert!(under_way.is_none() || matches!(action, Action::Ping | Action::Push(_) | Action::Close(_)));
                match &action {
                    Action::Reply(reply) => {
                        answered += 1;
                        prop_assert_eq!(reply.id, answered);
                    }
                    Action::Activate { room, .. } => prop_assert!(live.insert(room.to_string())),
                    Action::Unsubscribe { room, .. } => {
                        live.remove(room.as_str());
                        left = Some(room.clone());
                    }
                    Action::Push(roomcast_protocol::Push::Subscribe { room, .. }) => {
                        prop_assert!(!live.contains(room.as_str()));
                    }
                    Action::Push(roomcast_protocol::Push::Unsubscribe { room, .. }) => {
                        prop_assert!(live.remove(room.as_str()) || left.take().as_ref() == Some(room));
                    }
                    Action::Close(_) => {
                        prop_assert!(harness.session.is_closed());
                        return Ok(());
                    }
                    _ => {}
                }
                if matches!(
                    action,
                    Action::Subscribe { .. } | Action::Unsubscribe { .. } | Action::Publish { .. } | Action::History { .. }
                ) {
                    under_way = Some(action);
                }
            }
            prop_assert!(under_way.is_some() || answered == next_id, "nothing is under way, yet a command waits");
        }
    }
}
