//! Commands whose tokens wait for the keys of their issuer.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Harness, describe, dev_settings, entered, error_of};
use crate::auth::tests::issuer::signed_by;
use crate::auth::{Fetched, KeysUnavailable, Tokens, WantedKeys};
use crate::config::{Config, JwksEndpoint};
use crate::session::{Action, Ticket};
use roomcast_protocol::{CloseCode, ErrorCode};

struct Issued {
    harness: Harness,
    pair: Ed25519KeyPair,
    sets: Arc<crate::auth::KeySets>,
}

impl Issued {
    fn new() -> Self {
        let mut client = Config::default().client;
        client.token.jwks_public_endpoint = Some(JwksEndpoint::read("https://id.example/keys").expect("an address"));
        let tokens = Tokens::new(&client, || 0);
        let sets = Arc::clone(tokens.key_sets().expect("it asks an issuer"));
        let mut settings = dev_settings();
        settings.ignore_tokens = false;
        settings.allow_anonymous = false;
        settings.tokens = tokens;
        Self { harness: Harness::opening(settings), pair: Ed25519KeyPair::generate().expect("a key"), sets }
    }

    fn token(&self, key: &str, claims: &Value) -> String {
        signed_by(&self.pair, &json!({"alg": "EdDSA", "kid": key}), claims)
    }

    fn connect(&mut self, key: &str) {
        let token = self.token(key, &json!({"sub": "42"}));
        self.harness.send(&json!({"id": 1, "connect": {"token": token}}).to_string());
    }

    /// What the last action asks for.
    #[track_caller]
    fn wanted(&self) -> (Ticket, WantedKeys) {
        match self.harness.actions.last() {
            Some(Action::FetchKeys { ticket, wanted }) => (*ticket, wanted.clone()),
            other => panic!("no keys are asked for, but {other:?}"),
        }
    }

    /// Has the issuer publish the key by that name.
    #[track_caller]
    fn publish(&mut self, key: &str) {
        let (ticket, wanted) = self.wanted();
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": key, "x": x}]});
        self.sets.put(&wanted, &set.to_string(), 0);
        self.complete(ticket, Ok(Fetched::Now));
    }

    fn complete(&mut self, ticket: Ticket, fetched: Result<Fetched, KeysUnavailable>) {
        self.harness.actions.clear();
        self.harness.session.keys_fetched(ticket, fetched, &mut self.harness.actions);
    }

    /// A session that has connected by a key called "k".
    fn connected() -> Self {
        let mut issued = Self::new();
        issued.connect("k");
        issued.publish("k");
        assert_eq!(issued.harness.heard()[0], "identify");
        issued
    }
}

#[test]
fn who_connects_waits_for_the_keys_and_what_came_with_it_waits_too() {
    let mut issued = Issued::new();
    let token = issued.token("k", &json!({"sub": "42"}));
    let frame = json!({"id": 1, "connect": {"token": token}}).to_string();
    issued.harness.send(&format!("{frame}\n{}", json!({"id": 2, "subscribe": {"channel": "room"}})));
    assert_eq!(issued.harness.actions.iter().map(describe).collect::<Vec<_>>(), ["fetch_keys"]);
    assert!(!issued.harness.session.wants_frames(), "nothing more is read");
    issued.publish("k");
    let heard = issued.harness.heard();
    assert!(heard[0] == "identify" && heard[1].contains("\"connect\"") && heard[2] == "subscribe room", "{heard:?}");
    assert_eq!(issued.harness.session.user(), "42");
}

#[test]
fn who_waits_is_not_stale_and_is_gone_when_it_goes() {
    let mut issued = Issued::new();
    issued.harness.wait(9_000);
    issued.connect("k");
    issued.harness.wait(9_000);
    assert!(!issued.harness.session.is_closed(), "it waits for us");
    let (ticket, _) = issued.wanted();
    issued.harness.session.close(CloseCode::Closed, &mut Vec::new());
    issued.complete(ticket, Ok(Fetched::Now));
    assert_eq!(issued.harness.heard(), [""; 0]);
}

#[test]
fn keys_that_cannot_be_had_are_our_fault_and_the_client_may_try_again() {
    let mut issued = Issued::new();
    issued.connect("k");
    let (ticket, _) = issued.wanted();
    issued.complete(ticket, Err(KeysUnavailable));
    issued.harness.assert_heard(&[&error_of(1, ErrorCode::Internal)]);
    issued.connect("k");
    issued.publish("k");
    assert_eq!(issued.harness.heard()[0], "identify");
}

#[test]
fn a_key_that_the_issuer_has_not_is_no_key_once_it_was_asked() {
    let mut issued = Issued::new();
    issued.connect("unknown");
    issued.publish("k");
    issued.harness.assert_closed(CloseCode::InvalidToken);
    // It was asked for another token a moment ago, and may have this key by now.
    let mut issued = Issued::new();
    issued.connect("unknown");
    let (ticket, _) = issued.wanted();
    issued.complete(ticket, Ok(Fetched::Before));
    issued.harness.assert_heard(&[&error_of(1, ErrorCode::Internal)]);
}

#[test]
fn what_follows_a_connect_that_waits_is_refused_as_behind_any_other() {
    for second in [json!({"id": 2, "connect": {}}), json!({})] {
        let mut issued = Issued::new();
        issued.connect("k");
        issued.harness.send(&second.to_string());
        assert!(!issued.harness.session.is_closed() && !issued.harness.session.wants_frames());
        issued.publish("k");
        issued.harness.assert_closed(CloseCode::BadRequest);
    }
    let mut issued = Issued::new();
    issued.connect("k");
    issued.harness.send(r#"{"id":2,"subscribe":{"channel":"room"}}"#);
    let (ticket, _) = issued.wanted();
    issued.complete(ticket, Err(KeysUnavailable));
    let heard = issued.harness.heard();
    assert_eq!(heard, [error_of(1, ErrorCode::Internal), "close 3501".to_owned()], "nobody has been let in");
}

#[test]
fn rooms_and_refreshes_wait_for_keys_as_well() {
    let mut issued = Issued::connected();
    let token = issued.token("new", &json!({"sub": "42", "channel": "$room"}));
    // Ten seconds on a new key is asked for; the clock of the tokens stands still, so the set is forgotten instead.
    issued.sets.forget();
    issued.harness.send(&json!({"id": 2, "subscribe": {"channel": "$room", "token": token}}).to_string());
    issued.publish("new");
    let ticket = issued.harness.ticket();
    issued.harness.session.subscribed(ticket, Ok(entered(0, &[])), &mut issued.harness.actions);
    assert!(issued.harness.heard().contains(&"activate $room".to_owned()));

    issued.sets.forget();
    let of_room = issued.token("next", &json!({"sub": "42", "channel": "$room", "exp": 60}));
    issued.harness.send(&json!({"id": 3, "sub_refresh": {"channel": "$room", "token": of_room}}).to_string());
    issued.publish("next");
    let heard = issued.harness.heard();
    assert!(heard[0].contains("\"id\":3") && heard[0].contains("\"ttl\":60"), "{heard:?}");

    issued.sets.forget();
    let again = issued.token("last", &json!({"sub": "42", "exp": 60}));
    issued.harness.send(&json!({"id": 4, "refresh": {"token": again}}).to_string());
    issued.harness.send(r#"{"id":5,"presence_stats":{"channel":"$room"}}"#);
    issued.publish("last");
    let heard = issued.harness.heard();
    assert!(heard[0].contains("\"id\":4") && heard[0].contains("\"ttl\":60"), "{heard:?}");
    assert_eq!(heard[1], "presence_stats $room");
}

#[test]
fn a_refresh_whose_keys_cannot_be_had_ends_nothing() {
    let mut issued = Issued::connected();
    issued.sets.forget();
    let again = issued.token("k", &json!({"sub": "42"}));
    issued.harness.send(&json!({"id": 4, "refresh": {"token": again}}).to_string());
    let (ticket, _) = issued.wanted();
    issued.complete(ticket, Err(KeysUnavailable));
    issued.harness.assert_heard(&[&error_of(4, ErrorCode::Internal)]);
    assert!(!issued.harness.session.is_closed());
}
