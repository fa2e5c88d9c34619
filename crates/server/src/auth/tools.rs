//! Tokens for people at a command line: made, and looked at.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{KeyFetcher, TokenError, Tokens, jwt};
use crate::config::{Client, TokenOptions};
use crate::ops::metrics::KeyFetches;
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

/// Whose this connection token is. The keys of its issuer are fetched, if need be.
///
/// # Errors
/// What is wrong with it.
pub fn check_connection_token(client: &Client, token: &str) -> Result<String, &'static str> {
    with_keys(client, |tokens| tokens.connection(token)).map(|token| token.user)
}

/// Whose this subscription token is, and for which room.
///
/// # Errors
/// What is wrong with it.
pub fn check_subscription_token(client: &Client, token: &str) -> Result<(String, String), &'static str> {
    with_keys(client, |tokens| tokens.subscription(token)).map(|token| (token.user, token.room))
}

/// Looks at a token, and once more when the keys are there that it needs.
fn with_keys<T>(client: &Client, look: impl Fn(&Tokens) -> Result<T, TokenError>) -> Result<T, &'static str> {
    let tokens = Tokens::new(client, unix_ms);
    let wanted = match look(&tokens) {
        Err(TokenError::Unverified(Some(wanted))) => wanted,
        looked => return looked.map_err(|error| describe(&error)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| "there is no thread left to fetch keys with")?;
    let sets = tokens.key_sets().ok_or(UNAVAILABLE)?;
    let fetcher = KeyFetcher::new(Arc::clone(sets), runtime.handle().clone(), None, KeyFetches::default(), unix_ms)
        .map_err(|_| UNAVAILABLE)?;
    runtime.block_on(fetcher.fetch(wanted)).map_err(|_| UNAVAILABLE)?;
    look(&tokens).map_err(|error| match error {
        TokenError::Unverified(_) => "the issuer publishes no key by the name in the token that has signed it",
        error => describe(&error),
    })
}

const UNAVAILABLE: &str = "the keys of the issuer cannot be had: is `jwks_public_endpoint` where they are?";

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

fn describe(error: &TokenError) -> &'static str {
    match error {
        TokenError::Unverified(_) => UNAVAILABLE,
        TokenError::Expired => "the token has expired, or is not good yet",
        TokenError::Invalid => {
            "the token is invalid: its signature, its form, its audience or issuer, or its kind is not what is asked for"
        }
    }
}
