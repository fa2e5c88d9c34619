//! Tokens: whatever stands in them, they prove no more than their signature does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::{Expiry, RoomClaims, STAY_MAX_MS, TokenError, Tokens};
use crate::config::{Client, Config, JwksEndpoint, Secret};
use crate::util::signature::Algorithm;
use serde::de::IgnoredAny;

const NOW_MS: u64 = 1_800_000_000_000;
const SECRET: &[u8] = b"secret";
const ALGORITHMS: [(&str, Algorithm); 3] =
    [("HS256", Algorithm::Hs256), ("HS384", Algorithm::Hs384), ("HS512", Algorithm::Hs512)];

fn tokens(change: impl FnOnce(&mut Client)) -> Tokens {
    let mut client = Config::default().client;
    change(&mut client);
    Tokens::new(&client, || NOW_MS)
}

pub(super) fn check(input: &[u8]) {
    let verifying = tokens(|client| client.token.hmac_secret_key = Some(Secret::new(SECRET)));
    let believing = tokens(|client| client.insecure_skip_token_signature_verify = true);
    let asking = tokens(|client| {
        let token = &mut client.token;
        token.jwks_public_endpoint = JwksEndpoint::read("https://id.example/{{tenant}}/keys").ok();
        token.issuer_regex = regex::Regex::new("^(?P<tenant>.*)$").ok();
        token.insecure_skip_jwks_endpoint_safety_check = true;
    });
    let whole = String::from_utf8_lossy(input);
    assert!(asking.connection(&whole).is_err(), "nothing is proven");
    for tokens in [&verifying, &believing] {
        look(tokens, &whole);
    }
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let (header, claims) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let unsigned = format!("{message}.AAAA");
    asks_its_issuer_alone(&asking, &unsigned);
    assert!(verifying.connection(&unsigned).is_err() && verifying.subscription(&unsigned).is_err());
    look(&believing, &unsigned);
    for (name, algorithm) in ALGORITHMS {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = Secret::new(SECRET).sign(algorithm, message.as_bytes()).expect("an HMAC");
        let signed = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        look(&verifying, &signed);
        assert_eq!(asking.connection(&signed).err(), Some(TokenError::Invalid), "no secret is published");
        assert_eq!(
            verifying.connection(&signed),
            believing.connection(&signed),
            "a good signature is as good as none asked for"
        );
        assert_eq!(verifying.subscription(&signed), believing.subscription(&signed));
    }
}

/// No token has another address asked.
fn asks_its_issuer_alone(asking: &Tokens, token: &str) {
    match asking.connection(token) {
        Err(TokenError::Unverified(Some(wanted))) => {
            let tenant = wanted.url().strip_prefix("https://id.example/").and_then(|rest| rest.strip_suffix("/keys"));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            assert!(tenant.is_some_and(|tenant| tenant.bytes().all(is_plain) && tenant != ".."), "{}", wanted.url());
        }
        answer => assert!(answer.is_err(), "nothing is proven: {token}"),
    }
}

/// What is said of a good token can be handed on, and it is of one kind.
fn look(tokens: &Tokens, token: &str) {
    let (connection, subscription) = (tokens.connection(token), tokens.subscription(token));
    assert!(connection.is_err() || subscription.is_err(), "it opens a connection and a room: {token}");
    if let Ok(connection) = connection {
        assert_json(connection.info.as_deref());
        assert_bounded(connection.expiry);
        connection.rooms.iter().for_each(|(_, says)| assert_room(says));
    }
    if let Ok(subscription) = subscription {
        assert!(!subscription.room.is_empty());
        assert_room(&subscription.says);
        assert_bounded(subscription.expiry);
    }
}

fn assert_room(says: &RoomClaims) {
    assert_json(says.info.as_deref());
    assert_json(says.data.as_deref());
}

/// Nothing, or JSON that can stand in a line.
fn assert_json(json: Option<&[u8]>) {
    let Some(json) = json else { return };
    assert!(serde_json::from_slice::<IgnoredAny>(json).is_ok() && !json.contains(&b'\n'), "{json:?}");
}

fn assert_bounded(expiry: Expiry) {
    assert!(!matches!(expiry, Expiry::InMs(ms) if ms == 0 || ms > STAY_MAX_MS), "{expiry:?}");
}
