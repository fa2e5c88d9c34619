//! What the backend is asked, and what becomes of its answers, in whatever order they come.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Harness, START_MS, dev_settings, entered};
use crate::auth::{Expiry, RoomClaims};
use crate::callbacks::{Admitted, Answer, Extended};
use crate::config::NamespaceOptions;
use crate::session::settings::{Asks, ByNamespace};
use crate::session::{Action, Ids, ServerCommand, Session, Settings};
use roomcast_protocol::{CloseCode, CustomError};

fn settings() -> Settings {
    let open = NamespaceOptions::dev();
    let ask = NamespaceOptions {
        subscribe_proxy_enabled: true,
        publish_proxy_enabled: true,
        sub_refresh_proxy_enabled: true,
        ..open.clone()
    };
    let options = Box::new(ByNamespace { rooms: HashMap::from([("ask", ask)]), others: open });
    Settings { options, proxies: Asks { connect: true, refresh: true, ..Asks::default() }, ..dev_settings() }
}

fn admitted(ttl_ms: Option<u64>) -> Answer {
    let expiry = ttl_ms.map_or(Expiry::Never, Expiry::InMs);
    let user = "42".to_owned();
    Answer::Connect(Some(Box::new(Admitted { user, expiry, info: None, data: None, rooms: Vec::new(), meta: None })))
}

fn extended(ttl_ms: u64) -> Answer {
    Answer::Extended(Some(Box::new(Extended { expiry: Expiry::InMs(ttl_ms), info: None, meta: None })))
}

impl Harness {
    #[track_caller]
    fn answer(&mut self, answer: Answer) {
        let ticket = self.ticket();
        self.heard();
        self.session.notice_time(self.now_ms);
        self.session.answered(ticket, answer, &mut self.actions);
    }

    /// A client that the backend has let in.
    fn admitted(ttl_ms: Option<u64>) -> Self {
        let mut client = Self::opening(settings());
        client.send(r#"{"id":1,"connect":{}}"#);
        client.answer(admitted(ttl_ms));
        client.heard();
        client
    }
}

#[test]
fn commands_behind_connect_wait_for_the_answer_and_are_bounded() {
    let mut client = Harness::opening(settings());
    client.send("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}");
    assert!(!client.session.wants_frames(), "more is not read");
    client.assert_heard_last("ask connect");
    client.answer(admitted(None));
    let heard = client.heard();
    assert!(heard[0] == "identify" && heard[1].starts_with(r#"{"id":1,"connect""#), "{heard:?}");
    assert_eq!(heard[2], r#"{"id":2,"ping":{}}"#);
    let mut flood = Harness::opening(Settings { limits: few(), ..settings() });
    flood.send(r#"{"id":1,"connect":{}}"#);
    flood.heard();
    for _ in 0..3 {
        flood.send(r#"{"id":2,"ping":{}}"#);
    }
    flood.assert_closed(CloseCode::TooManyRequests);
}

fn few() -> roomcast_protocol::Limits {
    roomcast_protocol::Limits { commands_per_frame_max: 2, ..roomcast_protocol::Limits::default() }
}

impl Harness {
    #[track_caller]
    fn assert_heard_last(&self, expected: &str) {
        assert_eq!(self.actions.last().map(super::describe).as_deref(), Some(expected));
    }
}

#[test]
fn an_answer_that_comes_after_the_end_is_nothing() {
    let mut client = Harness::opening(settings());
    client.send(r#"{"id":1,"connect":{}}"#);
    let ticket = client.ticket();
    client.send("nonsense");
    client.heard();
    client.session.close(CloseCode::Closed, &mut client.actions);
    client.heard();
    client.session.answered(ticket, admitted(None), &mut client.actions);
    client.assert_heard(&[]);
}

#[test]
fn a_client_that_waits_for_the_backend_is_not_stale_and_one_that_was_refused_is() {
    let mut client = Harness::opening(settings());
    client.send(r#"{"id":1,"connect":{}}"#);
    client.wait(60_000);
    client.assert_heard_last("ask connect");
    let failed = CustomError { code: 1000, message: "no".to_owned(), temporary: false };
    client.answer(Answer::Error(Box::new(failed)));
    client.assert_heard(&[r#"{"id":1,"error":{"code":1000,"message":"no"}}"#]);
    client.wait(60_000);
    client.assert_closed(CloseCode::Stale);
}

#[test]
fn whether_a_client_may_stay_is_asked_aside_and_later_commands_do_not_wait() {
    let mut client = Harness::admitted(Some(5_000));
    client.wait(4_499);
    assert!(!client.heard().contains(&"ask refresh".to_owned()));
    // In the last tenth.
    client.wait(501);
    client.assert_heard_last("ask refresh");
    let ticket = client.ticket();
    client.heard();
    client.send(r#"{"id":2,"ping":{}}"#);
    client.assert_heard(&[r#"{"id":2,"ping":{}}"#]);
    client.wait(1_000);
    assert!(client.heard().is_empty(), "it is asked once");
    client.session.answered(ticket, extended(5_000), &mut client.actions);
    client.assert_heard(&[]);
    client.wait(5_000);
    client.assert_heard_last("ask refresh");
    client.answer(Answer::Failed);
    client.wait(59_000);
    assert!(!client.heard().contains(&"ask refresh".to_owned()), "not before a minute");
    // It has been pinged.
    client.send("{}");
    client.wait(31_000);
    let ticket = client.actions.iter().rev().find_map(|action| match action {
        Action::Ask { ticket, .. } => Some(*ticket),
        _ => None,
    });
    client.heard();
    client.session.answered(ticket.expect("it is asked again"), Answer::Extended(None), &mut client.actions);
    client.assert_closed(CloseCode::Expired);
}

#[test]
fn an_answer_about_a_room_that_was_left_meanwhile_does_not_touch_a_later_membership() {
    let mut client = Harness::admitted(None);
    let enter = |client: &mut Harness, ttl_ms: u64| {
        client.send(r#"{"id":2,"subscribe":{"channel":"ask:a"}}"#);
        client.assert_heard_last("ask subscribe");
        let entry = crate::callbacks::Entry { says: RoomClaims::default(), expiry: Expiry::InMs(ttl_ms) };
        client.answer(Answer::Subscribe(Box::new(entry)));
        let ticket = client.ticket();
        client.heard();
        client.session.subscribed(ticket, Ok(entered(0, &[])), &mut client.actions);
        client.heard();
    };
    enter(&mut client, 1_000);
    client.wait(1_000);
    client.assert_heard_last("ask sub_refresh");
    let asked = client.ticket();
    client.heard();
    client.send(r#"{"id":3,"unsubscribe":{"channel":"ask:a"}}"#);
    let ticket = client.ticket();
    client.session.unsubscribed(ticket, &mut client.actions);
    enter(&mut client, 100_000);
    client.session.answered(asked, Answer::Extended(None), &mut client.actions);
    client.assert_heard(&[]);
    client.send(r#"{"id":4,"publish":{"channel":"ask:a","data":1}}"#);
    client.assert_heard(&["ask publish"]);
}

#[test]
fn an_answer_of_another_kind_is_an_internal_error() {
    let mut client = Harness::admitted(None);
    client.send(r#"{"id":2,"publish":{"channel":"ask:a","data":1}}"#);
    client.answer(Answer::Rpc(None));
    client.assert_heard(&[r#"{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}"#]);
}

/// Clients whose time is over at once, and about whom a backend could not be asked at once, come again one after the other.
#[test]
fn whom_the_backend_could_not_be_asked_about_together_it_is_asked_about_again_apart() {
    let settings = Arc::new(Settings { ping_interval_ms: 0, ..settings() });
    let again = |number: u32| {
        let ids = Ids { client: format!("client-{number}"), session: "secret".to_owned(), user: None };
        let session = Session::new(Arc::clone(&settings), ids, START_MS);
        let mut client = Harness { session, now_ms: START_MS, actions: Vec::new() };
        client.send(r#"{"id":1,"connect":{}}"#);
        client.answer(admitted(Some(5_000)));
        client.wait(5_000);
        client.assert_heard_last("ask refresh");
        client.answer(Answer::Failed);
        client.session.deadline_ms().expect("it is asked again") - client.now_ms
    };
    let all: Vec<u64> = (0..1_000).map(again).collect();
    assert!(all.iter().all(|ms| (60_000..90_000).contains(ms)), "{all:?}");
    let seconds: BTreeSet<u64> = all.iter().map(|ms| ms / 1_000).collect();
    assert_eq!(seconds.len(), 30, "{seconds:?}");
}

/// A backend may give all who come the same end: it is not asked about all of them in one moment, and about nobody after that end.
#[test]
fn who_share_an_end_are_asked_about_apart_before_it() {
    let settings = Arc::new(Settings { ping_interval_ms: 0, ..settings() });
    let asked = |number: u32| {
        let ids = Ids { client: format!("client-{number}"), session: "secret".to_owned(), user: None };
        let session = Session::new(Arc::clone(&settings), ids, START_MS);
        let mut client = Harness { session, now_ms: START_MS, actions: Vec::new() };
        client.send(r#"{"id":1,"connect":{}}"#);
        client.answer(admitted(Some(100_000)));
        let first_ms = client.session.deadline_ms().expect("it is asked") - client.now_ms;
        client.wait(first_ms);
        client.assert_heard_last("ask refresh");
        // Another end, the same for all.
        let expiry = Expiry::InMs(1_000_000 - first_ms);
        client.answer(Answer::Extended(Some(Box::new(Extended { expiry, info: None, meta: None }))));
        (first_ms, client.session.deadline_ms().expect("it is asked again") - START_MS)
    };
    let all: Vec<_> = (0..1_000).map(asked).collect();
    for (which, range) in [("first", 90_000..=100_000), ("second", 970_000..=1_000_000)] {
        let ms = |&(first, second): &(u64, u64)| if which == "first" { first } else { second };
        assert!(all.iter().map(ms).all(|ms| range.contains(&ms)), "{which} {all:?}");
        let seconds: BTreeSet<u64> = all.iter().map(|times| ms(times) / 1_000).collect();
        assert!(seconds.len() as u64 >= (range.end() - range.start()) / 1_000, "{which} {seconds:?}");
    }
}

/// What the server API has said meanwhile is newer than the question.
#[test]
fn an_answer_to_what_has_been_decided_meanwhile_is_nothing() {
    let mut client = Harness::admitted(Some(5_000));
    client.wait(5_000);
    client.assert_heard_last("ask refresh");
    let ticket = client.ticket();
    client.session.command(ServerCommand::Refresh { ttl_ms: None, info: None }, &mut client.actions);
    client.heard();
    client.session.answered(ticket, Answer::Extended(None), &mut client.actions);
    client.assert_heard(&[]);
    client.send(r#"{"id":2,"ping":{}}"#);
    client.assert_heard(&[r#"{"id":2,"ping":{}}"#]);
}

#[test]
fn what_a_client_says_in_place_of_headers_is_bounded_and_the_rest_is_not_held() {
    let emulated_headers = BTreeSet::from(["x-page".to_owned()]);
    let proxies = Asks { emulated_headers, ..settings().proxies };
    let mut client = Harness::opening(Settings { proxies, ..settings() });
    let long = "x".repeat(20_000);
    client.send(&format!(r#"{{"id":1,"connect":{{"headers":{{"X-Page":"{long}"}}}}}}"#));
    client.assert_heard(&[r#"{"id":1,"error":{"code":107,"message":"bad request"}}"#]);
    client.send(&format!(r#"{{"id":2,"connect":{{"headers":{{"X-Page":"shop","X-Other":"{long}"}}}}}}"#));
    let Some(Action::Ask { question, .. }) = client.actions.last() else { panic!("{:?}", client.actions) };
    assert_eq!(question.headers, [("X-Page".to_owned(), "shop".to_owned())]);
    client.answer(admitted(None));
    assert_eq!(client.session.stays.headers().len(), 1);
}
