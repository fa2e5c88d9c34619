//! Tokens that a client brings, and what becomes of it when their time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

use super::{Harness, dev_settings, entered, error_of};
use crate::auth::Tokens;
use crate::auth::tools::make_claims;
use crate::config::{Client, Config, Secret};
use crate::session::commands::TOKENS_REFUSED_MAX;
use crate::session::server_command::{ServerCommand, SubscribeOptions};
use crate::session::{Action, Settings};
use roomcast_protocol::{ClientInfo, CloseCode, ErrorCode, RoomName};

/// What the clock of the tokens says at the start.
const NOW_S: u64 = 1_800_000_000;

/// A session whose tokens have a clock that can be moved.
struct Brought {
    harness: Harness,
    clock: Arc<AtomicU64>,
}

impl std::ops::Deref for Brought {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.harness
    }
}

impl std::ops::DerefMut for Brought {
    fn deref_mut(&mut self) -> &mut Harness {
        &mut self.harness
    }
}

fn client() -> Client {
    let mut client = Config::default().client;
    client.token.hmac_secret_key = Some(Secret::new("secret"));
    client
}

/// A token of these claims that is good, as far as its signature goes.
fn token(claims: Value) -> String {
    make_claims(&client().token, claims.as_object().expect("claims").clone()).expect("a secret")
}

impl Brought {
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let clock = Arc::new(AtomicU64::new(NOW_S * 1_000));
        let of = Arc::clone(&clock);
        let mut settings = dev_settings();
        settings.tokens = Tokens::new(&client(), move || of.load(Relaxed));
        settings.ignore_tokens = false;
        settings.allow_anonymous = false;
        settings.ping_interval_ms = 0;
        change(&mut settings);
        Self { harness: Harness::opening(settings), clock }
    }

    fn opening() -> Self {
        Self::with(|_| {})
    }

    fn connect(&mut self, claims: Value) {
        let token = token(claims);
        self.send(&json!({"id": 1, "connect": {"token": token}}).to_string());
    }

    /// A session of a user who is connected for a minute.
    fn connected() -> Self {
        let mut brought = Self::opening();
        brought.connect(json!({"sub": "42", "exp": NOW_S + 60}));
        assert_eq!(brought.heard()[0], "identify");
        brought
    }

    fn pass(&mut self, ms: u64) {
        self.clock.fetch_add(ms, Relaxed);
        self.harness.wait(ms);
    }

    fn subscribe(&mut self, room: &str, claims: Value) {
        let token = token(claims);
        self.send(&json!({"id": 2, "subscribe": {"channel": room, "token": token}}).to_string());
    }

    fn refresh(&mut self, claims: Value) {
        let token = token(claims);
        self.send(&json!({"id": 3, "refresh": {"token": token}}).to_string());
    }

    fn sub_refresh(&mut self, room: &str, claims: Value) {
        let token = token(claims);
        self.send(&json!({"id": 4, "sub_refresh": {"channel": room, "token": token}}).to_string());
    }

    /// Enters by a token what it could not enter without.
    #[track_caller]
    fn enter(&mut self, room: &str, more: &Value) -> Vec<String> {
        let mut claims = json!({"sub": "42", "channel": room});
        claims.as_object_mut().expect("claims").extend(more.as_object().expect("claims").clone());
        self.subscribe(room, claims);
        let ticket = self.ticket();
        self.harness.session.subscribed(ticket, Ok(entered(3, &[])), &mut self.harness.actions);
        self.heard()
    }
}

#[test]
fn a_token_says_whose_the_client_is_and_how_long_it_may_stay() {
    let mut brought = Brought::opening();
    brought.connect(json!({"sub": "42", "exp": NOW_S + 60, "info": {"name": "Ann"}}));
    let heard = brought.heard();
    assert_eq!(heard[0], "identify");
    assert!(heard[1].contains(r#""expires":true,"ttl":60"#), "{heard:?}");
    assert_eq!(brought.session.user(), "42");
    let info = brought.session.info().and_then(ClientInfo::conn_info).cloned();
    assert_eq!(info.as_deref(), Some(&br#"{"name":"Ann"}"#[..]));

    let mut brought = Brought::opening();
    brought.connect(json!({"sub": "42"}));
    assert!(!brought.heard()[1].contains("expires"));
    assert_eq!(brought.session.deadline_ms(), None, "for good");
}

#[test]
fn each_wrong_connection_token_has_its_answer() {
    for (claims, answer) in [
        (json!({"sub": "42", "exp": NOW_S}), Err(ErrorCode::TokenExpired)),
        (json!({"sub": "42", "nbf": NOW_S + 1}), Err(ErrorCode::TokenExpired)),
        (json!({"sub": "42", "expire_at": NOW_S}), Err(ErrorCode::Expired)),
        (json!({"sub": 42}), Ok(CloseCode::InvalidToken)),
        (json!({"sub": "42", "channel": "hall"}), Ok(CloseCode::InvalidToken)),
    ] {
        let mut brought = Brought::opening();
        brought.connect(claims.clone());
        match answer {
            Err(error) => {
                brought.assert_heard(&[&error_of(1, error)]);
                // It may bring another one.
                brought.connect(json!({"sub": "42"}));
                assert_eq!(brought.heard().len(), 2, "{claims}");
            }
            Ok(code) => brought.assert_closed(code),
        }
    }
}

#[test]
fn who_brings_no_token_is_let_in_where_that_is_allowed() {
    for (anonymous, insecure, enters) in [(false, false, false), (true, false, true), (false, true, true)] {
        let mut brought = Brought::with(|settings| {
            (settings.allow_anonymous, settings.insecure) = (anonymous, insecure);
        });
        brought.send(r#"{"id":1,"connect":{}}"#);
        let heard = brought.heard();
        assert_eq!(heard != [error_of(1, ErrorCode::Unauthorized)], enters, "{heard:?}");
    }
    let mut brought = Brought::with(|settings| settings.disallow_anonymous_tokens = true);
    brought.connect(json!({"exp": NOW_S + 60}));
    brought.assert_closed(CloseCode::PermissionDenied);
    let mut brought = Brought::opening();
    brought.connect(json!({"exp": NOW_S + 60}));
    assert!(brought.heard()[0].contains("connect"), "an anonymous one is not made known");
}

#[test]
fn development_mode_verifies_what_it_has_a_key_for() {
    let mut brought = Brought::with(|settings| (settings.ignore_tokens, settings.allow_anonymous) = (true, true));
    brought.send(r#"{"id":1,"connect":{"token":"x.y.z"}}"#);
    brought.assert_closed(CloseCode::InvalidToken);
    let mut brought = Brought::with(|settings| {
        (settings.ignore_tokens, settings.allow_anonymous) = (true, true);
        settings.tokens = Tokens::none();
    });
    brought.send(r#"{"id":1,"connect":{"token":"x.y.z"}}"#);
    assert!(brought.heard()[0].contains("connect"), "without a key it is not looked at");
}

#[test]
fn insecure_mode_allows_everything_for_good() {
    let mut brought = Brought::with(|settings| settings.insecure = true);
    brought.connect(json!({"sub": "42", "exp": NOW_S + 60}));
    brought.heard();
    brought.pass(1_000_000);
    brought.assert_heard(&[]);
    for room in ["shut:a", "$shut:a", "shut:a#7"] {
        brought.join(room);
        brought.send(&format!(r#"{{"id":2,"publish":{{"channel":"{room}","data":1}}}}"#));
        assert!(matches!(brought.actions.last(), Some(Action::Publish { .. })), "{room}");
        let ticket = brought.ticket();
        brought.harness.session.published(ticket, Ok(()), &mut brought.harness.actions);
        brought.heard();
    }
}

#[test]
fn a_connection_that_is_not_refreshed_is_closed_a_while_after_its_time() {
    let mut brought = Brought::connected();
    let after_ms = brought.session.deadline_ms().expect("it is closed") - brought.now_ms;
    // Not all who share an end are closed at once.
    assert!((60_000 + 20_000..=60_000 + 25_000).contains(&after_ms), "{after_ms}");
    brought.pass(after_ms - 1);
    brought.assert_heard(&[]);
    brought.pass(1);
    brought.assert_closed(CloseCode::Expired);
}

#[test]
fn a_new_token_lets_a_connection_stay() {
    let mut brought = Brought::connected();
    brought.pass(70_000);
    brought.refresh(json!({"sub": "42", "exp": NOW_S + 130, "info": {"name": "Ann"}}));
    brought.assert_heard(&[r#"{"id":3,"refresh":{"expires":true,"ttl":60}}"#]);
    let info = brought.session.info().and_then(ClientInfo::conn_info).cloned();
    assert_eq!(info.as_deref(), Some(&br#"{"name":"Ann"}"#[..]));
    brought.pass(60_000);
    brought.assert_heard(&[]);
    brought.refresh(json!({"sub": "42"}));
    assert!(!brought.heard()[0].contains("expires"));
    brought.pass(10_000_000);
    brought.assert_heard(&[]);
    assert_eq!(brought.session.deadline_ms(), None);
}

#[test]
fn each_wrong_token_of_a_refresh_has_its_answer() {
    for (claims, code) in [
        (json!({"sub": "42", "exp": NOW_S}), CloseCode::Expired),
        (json!({"sub": "42", "expire_at": NOW_S}), CloseCode::Expired),
        (json!({"sub": "43"}), CloseCode::InvalidToken),
        (json!({}), CloseCode::InvalidToken),
        (json!({"sub": "42", "channel": "hall"}), CloseCode::InvalidToken),
    ] {
        let mut brought = Brought::connected();
        brought.refresh(claims);
        brought.assert_closed(code);
    }
    let mut brought = Brought::connected();
    brought.assert_error(r#"{"id":2,"refresh":{}}"#, ErrorCode::BadRequest);
}

#[test]
fn a_subscription_token_opens_its_room_and_says_more() {
    let mut brought = Brought::connected();
    let more = json!({"exp": NOW_S + 10, "info": {"role": "host"}, "data": [1, 2]});
    let heard = brought.enter("$shut:a", &more);
    assert_eq!(heard[0], "subscribe $shut:a");
    assert!(heard[1].contains(r#""expires":true,"ttl":10"#) && heard[1].contains(r#""data":[1,2]"#), "{heard:?}");
    let info_in = |room| brought.session.info_in(room).and_then(ClientInfo::chan_info).cloned();
    assert_eq!(info_in("$shut:a").as_deref(), Some(&br#"{"role":"host"}"#[..]));
    assert_eq!(info_in("hall"), None, "it is said of that room alone");
    brought.send(r#"{"id":5,"unsubscribe":{"channel":"$shut:a"}}"#);
    let ticket = brought.ticket();
    brought.harness.session.unsubscribed(ticket, &mut brought.harness.actions);
    assert!(brought.session.info_in("$shut:a").is_some_and(|info| info.chan_info().is_none()));
    brought.heard();
    brought.pass(40_000);
    brought.assert_heard(&[]);
}

#[test]
fn a_token_may_set_options_of_the_room_otherwise() {
    let mut brought = Brought::connected();
    let overrides = json!({"override": {"force_recovery": {"value": true}, "presence": {"value": false},
        "join_leave": {"value": true}, "force_push_join_leave": {"value": true}}});
    let heard = brought.enter("shut:a", &overrides);
    assert!(heard[1].contains(r#""recoverable":true"#), "{heard:?}");
    let mut brought = Brought::connected();
    brought.subscribe("shut:a", json!({"sub": "42", "channel": "shut:a", "override": overrides["override"]}));
    let ticket = brought.ticket();
    brought.harness.session.subscribed(ticket, Ok(entered(3, &[])), &mut brought.harness.actions);
    let Some(Action::Activate { membership, .. }) = brought.actions().pop() else { panic!("not live") };
    assert!(!membership.presence && membership.announced && membership.hears_join_leave);
}

#[test]
fn each_wrong_subscription_token_has_its_answer() {
    let good = json!({"sub": "42", "channel": "shut:a"});
    for (more, answer) in [
        (json!({"exp": NOW_S}), Err(ErrorCode::TokenExpired)),
        (json!({"expire_at": NOW_S}), Err(ErrorCode::Expired)),
        (json!({"sub": 42}), Err(ErrorCode::PermissionDenied)),
        (json!({"channel": ""}), Err(ErrorCode::PermissionDenied)),
        (json!({"channel": "shut:b"}), Ok(CloseCode::InvalidToken)),
        (json!({"sub": "43"}), Ok(CloseCode::InvalidToken)),
        (json!({"sub": ""}), Ok(CloseCode::InvalidToken)),
        (json!({"client": "c2"}), Ok(CloseCode::InvalidToken)),
    ] {
        let mut claims = good.clone();
        claims.as_object_mut().expect("claims").extend(more.as_object().expect("claims").clone());
        let mut brought = Brought::connected();
        brought.subscribe("shut:a", claims);
        match answer {
            Err(error) => brought.assert_heard(&[&error_of(2, error)]),
            Ok(code) => brought.assert_closed(code),
        }
    }
    let mut brought = Brought::connected();
    brought.enter("shut:a", &json!({"client": "c1"}));
    let mut brought = Brought::connected();
    brought.assert_error(r#"{"id":2,"subscribe":{"channel":"$hall"}}"#, ErrorCode::PermissionDenied);
}

#[test]
fn a_room_whose_token_is_not_refreshed_is_left_a_while_after_its_time() {
    let mut brought = Brought::connected();
    brought.refresh(json!({"sub": "42"}));
    brought.enter("$hall", &json!({"exp": NOW_S + 10}));
    brought.enter("$yard", &json!({"exp": NOW_S + 20}));
    let after_ms = brought.session.deadline_ms().expect("it is put out") - brought.now_ms;
    assert!((10_000 + 20_000..=10_000 + 25_000).contains(&after_ms), "{after_ms}");
    brought.pass(after_ms - 1);
    brought.assert_heard(&[]);
    brought.pass(1);
    let ticket = brought.ticket();
    brought.assert_heard(&["unsubscribe $hall"]);
    brought.harness.session.unsubscribed(ticket, &mut brought.harness.actions);
    brought
        .assert_heard(&[r#"{"push":{"channel":"$hall","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#]);
    brought.pass(1_000 - after_ms % 1_000);
    let now_s = NOW_S + after_ms / 1_000 + 1;
    brought.sub_refresh("$yard", json!({"sub": "42", "channel": "$yard", "exp": now_s + 60}));
    brought.assert_heard(&[r#"{"id":4,"sub_refresh":{"expires":true,"ttl":60}}"#]);
    brought.pass(60_000);
    brought.assert_heard(&[]);
    brought.sub_refresh("$yard", json!({"sub": "42", "channel": "$yard"}));
    brought.assert_heard(&[r#"{"id":4,"sub_refresh":{}}"#]);
    assert_eq!(brought.session.deadline_ms(), None);
}

#[test]
fn each_wrong_token_of_a_sub_refresh_has_its_answer() {
    let claims = |more: Value| {
        let mut claims = json!({"sub": "42", "channel": "$hall"});
        claims.as_object_mut().expect("claims").extend(more.as_object().expect("claims").clone());
        claims
    };
    let inside = || {
        let mut brought = Brought::connected();
        brought.enter("$hall", &json!({"exp": NOW_S + 10}));
        brought
    };
    for (more, code) in [
        (json!({"sub": 42}), CloseCode::InvalidToken),
        (json!({"sub": "43"}), CloseCode::InvalidToken),
        (json!({"channel": "$yard"}), CloseCode::InvalidToken),
    ] {
        let mut brought = inside();
        brought.sub_refresh("$hall", claims(more));
        brought.assert_closed(code);
    }
    // A plain 109 would have SDKs give up the room, and the room keeps its end.
    let mut brought = inside();
    let until_ms = brought.session.deadline_ms();
    brought.sub_refresh("$hall", claims(json!({"exp": NOW_S})));
    brought.assert_heard(&[r#"{"id":4,"error":{"code":109,"message":"token expired","temporary":true}}"#]);
    assert_eq!(brought.session.deadline_ms(), until_ms);
    brought.sub_refresh("$hall", claims(json!({"expire_at": NOW_S})));
    brought.assert_heard(&[&error_of(4, ErrorCode::Expired)]);
    brought.assert_error(r#"{"id":2,"sub_refresh":{"channel":"$hall"}}"#, ErrorCode::BadRequest);
    brought.sub_refresh("$yard", claims(json!({"channel": "$yard"})));
    brought.assert_heard(&[&error_of(4, ErrorCode::PermissionDenied)]);
}

#[test]
fn the_server_may_let_a_client_stay_for_another_time() {
    let mut brought = Brought::connected();
    brought.command(ServerCommand::Refresh { ttl_ms: Some(600_000), info: None });
    brought.assert_heard(&[r#"{"push":{"refresh":{"expires":true,"ttl":600}}}"#]);
    brought.pass(600_000);
    brought.assert_heard(&[]);
    brought.command(ServerCommand::Refresh { ttl_ms: None, info: None });
    brought.assert_heard(&[r#"{"push":{"refresh":{}}}"#]);
    assert_eq!(brought.session.deadline_ms(), None);
}

/// Lets everything that is asked of the world be there.
fn enter_all(brought: &mut Brought) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(Action::Subscribe { ticket, .. }) = brought.actions.last() {
        let ticket = *ticket;
        heard.extend(brought.heard());
        brought.harness.session.subscribed(ticket, Ok(entered(3, &[])), &mut brought.harness.actions);
    }
    heard.extend(brought.heard());
    heard
}

#[test]
fn a_connection_token_puts_the_client_into_rooms() {
    let subs = json!({"$hall": null, "shut:a": {
        "info": {"role": "host"}, "data": 7, "override": {"force_recovery": {"value": true}},
    }});
    let mut brought = Brought::opening();
    brought.connect(json!({"sub": "42", "exp": NOW_S + 60, "subs": subs}));
    let heard = enter_all(&mut brought);
    assert_eq!(heard[..3], ["identify", "subscribe $hall", "subscribe shut:a"]);
    let reply: Value = serde_json::from_str(&heard[3]).expect("a reply");
    let subs = &reply["connect"]["subs"];
    assert_eq!(subs.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!((&subs["shut:a"]["recoverable"], &subs["shut:a"]["data"]), (&json!(true), &json!(7)));
    assert_eq!(heard[4..], ["activate $hall", "activate shut:a"]);
    assert!(brought.session.info_in("shut:a").is_some_and(|info| info.chan_info().is_some()));
    assert!(brought.session.info_in("$hall").is_some_and(|info| info.chan_info().is_none()));
    // The same rooms again change nothing; others are entered by coming again.
    brought.refresh(json!({"sub": "42", "channels": ["shut:a", "$hall", "$hall"]}));
    assert!(brought.heard()[0].contains("refresh"));
    brought.refresh(json!({"sub": "42", "channels": ["$hall"]}));
    brought.assert_closed(CloseCode::InsufficientState);
}

#[test]
fn a_connection_token_whose_rooms_cannot_be_entered_lets_nobody_in() {
    for (channels, code) in [
        (json!(["none:a"]), CloseCode::BadRequest),
        (json!([""]), CloseCode::BadRequest),
        (json!(["a", "b", "c"]), CloseCode::RoomLimit),
    ] {
        let mut brought = Brought::with(|settings| settings.limits.rooms_per_client_max = 2);
        brought.connect(json!({"sub": "42", "channels": channels}));
        brought.assert_closed(code);
    }
    let mut brought = Brought::connected();
    brought.refresh(json!({"sub": "42", "channels": ["hall"]}));
    brought.assert_closed(CloseCode::InsufficientState);
}

#[test]
fn a_token_that_nobody_can_verify_is_not_looked_at_in_insecure_mode() {
    for (has_key, enters) in [(false, true), (true, false)] {
        let mut brought = Brought::with(|settings| {
            settings.insecure = true;
            if !has_key {
                settings.tokens = Tokens::new(&Config::default().client, || 0);
            }
        });
        brought.send(r#"{"id":1,"connect":{"token":"nothing.of.ours"}}"#);
        let heard = brought.heard();
        assert_eq!(heard[0].contains("connect"), enters, "{heard:?}");
    }
}

#[test]
fn who_brings_one_token_after_another_that_proves_nothing_is_closed() {
    let mut brought = Brought::connected();
    let wrong = |brought: &mut Brought| {
        brought.send(r#"{"id":2,"subscribe":{"channel":"$hall","token":"nothing.of.ours"}}"#);
    };
    for _ in 1..TOKENS_REFUSED_MAX {
        wrong(&mut brought);
        brought.assert_heard(&[&error_of(2, ErrorCode::PermissionDenied)]);
    }
    // One that is good begins anew.
    let good = token(json!({"sub": "42", "channel": "$yard"}));
    brought.send(&format!(r#"{{"id":3,"subscribe":{{"channel":"$yard","token":"{good}"}}}}"#));
    enter_all(&mut brought);
    for _ in 1..TOKENS_REFUSED_MAX {
        wrong(&mut brought);
        brought.assert_heard(&[&error_of(2, ErrorCode::PermissionDenied)]);
    }
    wrong(&mut brought);
    brought.assert_closed(CloseCode::TooManyErrors);
}

#[test]
fn a_stay_in_a_room_is_counted_from_when_it_was_commanded() {
    let mut brought = Brought::connected();
    let options = SubscribeOptions { ttl_ms: Some(10_000), ..SubscribeOptions::default() };
    let room = RoomName::parse("hall", 255).expect("a name");
    let mut command = ServerCommand::Subscribe { room, options: Some(Box::new(options)) };
    command.begins(brought.now_ms);
    let until_ms = brought.now_ms + 10_000;
    // It waits behind what the client has said, and for the room.
    brought.pass(4_000);
    brought.command(command);
    brought.pass(4_000);
    enter_all(&mut brought);
    assert_eq!(brought.session.deadline_ms(), Some(until_ms));
    brought.pass(2_000);
    // Nothing of its own would bring it back into the room: it comes again.
    brought.assert_closed(CloseCode::SubscriptionExpired);
}

/// Whatever it brings for a room: it has not asked for it.
#[test]
fn who_was_put_in_and_brings_a_token_for_it_comes_again_when_that_is_over() {
    let mut brought = Brought::connected();
    let options = SubscribeOptions { ttl_ms: Some(10_000), ..SubscribeOptions::default() };
    let room = RoomName::parse("hall", 255).expect("a name");
    let mut command = ServerCommand::Subscribe { room, options: Some(Box::new(options)) };
    command.begins(brought.now_ms);
    brought.command(command);
    enter_all(&mut brought);
    brought.sub_refresh("hall", json!({"sub": "42", "channel": "hall", "exp": NOW_S + 20}));
    brought.assert_heard(&[r#"{"id":4,"sub_refresh":{"expires":true,"ttl":20}}"#]);
    brought.pass(20_000 + 25_000);
    brought.assert_closed(CloseCode::SubscriptionExpired);
}

#[test]
fn what_a_token_says_of_a_room_holds_where_everybody_is_put_in_anyway() {
    let mut brought =
        Brought::with(|settings| settings.subscribe_on_connect = vec![RoomName::parse("hall", 255).expect("a name")]);
    let subs = json!({"hall": {"info": {"seat": 7}, "data": {"tip": 1}, "override": {"join_leave": {"value": true}}}});
    brought.connect(json!({"sub": "42", "subs": subs}));
    let heard = enter_all(&mut brought);
    assert!(heard.iter().any(|heard| heard.contains(r#""data":{"tip":1}"#)), "{heard:?}");
    let info = brought.session.info_in("hall").and_then(ClientInfo::chan_info).cloned();
    assert_eq!(info.as_deref(), Some(&br#"{"seat":7}"#[..]));
}

#[test]
fn tokens_that_let_nobody_in_are_looked_at_a_few_in_a_turn() {
    let mut brought = Brought::opening();
    for _ in 0..2 {
        brought.session.begin_turn();
        for _ in 0..4 {
            brought.connect(json!({"sub": "42", "exp": NOW_S - 60}));
            brought.assert_heard(&[&error_of(1, ErrorCode::TokenExpired)]);
        }
    }
    brought.connect(json!({"sub": "42", "exp": NOW_S + 60}));
    brought.assert_closed(CloseCode::TooManyRequests);
}
