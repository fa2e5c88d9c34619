//! Tokens for people at a command line: made, and looked at.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{TokenError, Tokens, jwt};
use crate::config::{Client, TokenOptions};
use crate::util::clock::unix_ms;

/// Makes a connection token, signed by HS256; nothing where there is no secret to sign with.
#[must_use]
pub fn make_connection_token(client: &Client, user: &str, ttl: Option<Duration>) -> Option<String> {
    make(&client.token, user, None, ttl)
}

/// The same of a subscription token.
#[must_use]
pub fn make_subscription_token(client: &Client, user: &str, room: &str, ttl: Option<Duration>) -> Option<String> {
    let options = if client.subscription_token_enabled { &client.subscription_token } else { &client.token };
    make(options, user, Some(room), ttl)
}

/// Whose this connection token is.
///
/// # Errors
/// What is wrong with it.
pub fn check_connection_token(client: &Client, token: &str) -> Result<String, &'static str> {
    Tokens::new(client, unix_ms).connection(token).map(|token| token.user).map_err(describe)
}

/// Whose this subscription token is, and for which room.
///
/// # Errors
/// What is wrong with it.
pub fn check_subscription_token(client: &Client, token: &str) -> Result<(String, String), &'static str> {
    Tokens::new(client, unix_ms).subscription(token).map(|token| (token.user, token.room)).map_err(describe)
}

fn make(options: &TokenOptions, user: &str, room: Option<&str>, ttl: Option<Duration>) -> Option<String> {
    let now_s = unix_ms() / 1_000;
    let mut claims = Map::new();
    let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    claim("iat", json!(now_s));
    if let Some(ttl) = ttl {
        claim("exp", json!(now_s.saturating_add(ttl.as_secs())));
    }
    if let Some(room) = room {
        claim("channel", json!(room));
    }
    if let Some(audience) = &options.audience {
        claim("aud", json!(audience));
    }
    if let Some(issuer) = &options.issuer {
        claim("iss", json!(issuer));
    }
    claim(options.user_id_claim.as_deref().unwrap_or("sub"), json!(user));
    make_claims(options, claims)
}

/// Makes a token of these claims, signed by HS256; nothing where there is no secret to sign with.
#[must_use]
pub fn make_claims(options: &TokenOptions, claims: Map<String, Value>) -> Option<String> {
    Some(jwt::sign(&Value::Object(claims).to_string(), options.hmac_secret_key.as_ref()?))
}

fn describe(error: TokenError) -> &'static str {
    match error {
        TokenError::Expired => "the token has expired, or is not good yet",
        TokenError::Invalid => {
            "the token is invalid: its signature, its form, its audience or issuer, or its kind is not what is asked for"
        }
    }
}
