//! How tokens are verified: `[client.token]` and `[client.subscription_token]`.

use std::borrow::Cow;

use regex::Regex;

use super::expression;
use super::jwks::{JwksEndpoint, choices, has_group};
use super::options::{Reload, Setting};
use super::setting::{Kind as _, quote, read};
use super::tls::Pem;
use super::tree::Value;
use crate::util::signature::{PublicKey, Secret};

/// `[client.token]`, `[client.subscription_token]`: who signs tokens, and for whom. Without a key no token is good.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TokenOptions {
    /// What backend and server both know: HS256, HS384, HS512.
    pub hmac_secret_key: Option<Secret>,
    /// The one before it, while tokens that it has signed are still about.
    pub hmac_previous_secret_key: Option<Secret>,
    /// Until when the one before is good, in seconds since 1970; 0 is for as long as it stands here.
    pub hmac_previous_secret_key_valid_until: usize,
    /// RS256, RS384, RS512.
    pub rsa_public_key: Option<PublicKey>,
    /// ES256, ES384 or ES512, by its curve.
    pub ecdsa_public_key: Option<PublicKey>,
    /// Whom a token must be for (`aud`).
    pub audience: Option<String>,
    /// The same, as an expression that one of them matches.
    pub audience_regex: Option<Regex>,
    /// Who must have made it (`iss`).
    pub issuer: Option<String>,
    /// The same, as an expression.
    pub issuer_regex: Option<Regex>,
    /// The claim that names the user; `None` is `sub`.
    pub user_id_claim: Option<String>,
    /// Where the issuer publishes its keys. Where it is set, no other key counts.
    pub jwks_public_endpoint: Option<JwksEndpoint>,
    /// Whether what is put into that address may be anything that the groups find, and not one of the texts they choose among.
    pub insecure_skip_jwks_endpoint_safety_check: bool,
}

impl TokenOptions {
    /// Whether any token can be good.
    #[must_use]
    pub fn has_key(&self) -> bool {
        let Self { hmac_secret_key, hmac_previous_secret_key, rsa_public_key, ecdsa_public_key, .. } = self;
        self.jwks_public_endpoint.is_some()
            || hmac_secret_key.is_some()
            || hmac_previous_secret_key.is_some()
            || rsa_public_key.is_some()
            || ecdsa_public_key.is_some()
    }

    /// The same with the secrets left out, to be shown to people.
    pub(super) fn hide_secrets(&mut self) {
        for secret in [&mut self.hmac_secret_key, &mut self.hmac_previous_secret_key].into_iter().flatten() {
            *secret = Secret::new("…");
        }
        self.jwks_public_endpoint.iter_mut().for_each(JwksEndpoint::hide_query);
    }

    /// Each option as it is written.
    fn written(&self) -> [Option<String>; 12] {
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| quote(&secret.reveal()));
        let key = |key: &Option<PublicKey>| key.as_ref().map(|key| quote(key.pem()));
        let text = |text: &Option<String>| text.as_deref().map(quote);
        let regex = |regex: &Option<Regex>| regex.as_ref().map(|regex| quote(regex.as_str()));
        [
            secret(&self.hmac_secret_key),
            secret(&self.hmac_previous_secret_key),
            Some(self.hmac_previous_secret_key_valid_until.to_string()),
            key(&self.rsa_public_key),
            key(&self.ecdsa_public_key),
            text(&self.audience),
            regex(&self.audience_regex),
            text(&self.issuer),
            regex(&self.issuer_regex),
            text(&self.user_id_claim),
            self.jwks_public_endpoint.as_ref().map(|endpoint| quote(endpoint.written())),
            Some(self.insecure_skip_jwks_endpoint_safety_check.to_string()),
        ]
    }

    /// What of the address of the keys is not told by the other options, if something is not.
    pub(super) fn jwks_problem(&self) -> Option<String> {
        let expressions = || [&self.issuer_regex, &self.audience_regex].into_iter().flatten();
        let mut groups = self.jwks_public_endpoint.iter().flat_map(JwksEndpoint::groups);
        groups.find_map(|group| {
            let mut named = expressions().filter(|expression| has_group(expression, group)).peekable();
            if named.peek().is_none() {
                return Some(format!("`{{{{{group}}}}}` is no group of `issuer_regex` or `audience_regex`"));
            }
            let is_safe = self.insecure_skip_jwks_endpoint_safety_check
                || named.all(|expression| choices(expression, group).is_some());
            (!is_safe).then(|| {
                format!(
                    "a token could have any address asked by `{{{{{group}}}}}`: let the group choose among texts, \
                     as (?P<{group}>one|other), or set `insecure_skip_jwks_endpoint_safety_check`"
                )
            })
        })
    }
}

impl PartialEq for TokenOptions {
    /// Expressions are compared by their text.
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl Eq for TokenOptions {}

/// A text; an empty one is none. What was found instead is not said: it may be a secret.
fn text(value: &Value) -> Result<Option<&str>, String> {
    let text = value.text().ok_or("expected text in quotes")?;
    Ok((!text.is_empty()).then_some(text))
}

pub(super) fn secret(value: &Value) -> Result<Option<Secret>, String> {
    Ok(text(value)?.map(Secret::new))
}

pub(super) fn key(value: &Value, read: fn(&str) -> Result<PublicKey, String>) -> Result<Option<PublicKey>, String> {
    let read = |written: &str| {
        // As it stands there, or by way of base64 or a file.
        read(written).or_else(|expected| Pem::read(written).and_then(|pem| read(&pem.text())).map_err(|_| expected))
    };
    text(value)?.map(read).transpose()
}

pub(super) fn name(value: &Value) -> Result<Option<String>, String> {
    Ok(text(value)?.map(str::to_owned))
}

pub(super) fn expression(value: &Value) -> Result<Option<Regex>, String> {
    let expected = "expected a regular expression in quotes such as \"^shop-[0-9]+$\"";
    text(value)?.map(|text| expression::read(text).ok_or_else(|| expected.to_owned())).transpose()
}

pub(super) fn endpoint(value: &Value) -> Result<Option<JwksEndpoint>, String> {
    text(value)?.map(JwksEndpoint::read).transpose()
}

pub(super) fn claim(value: &Value) -> Result<Option<String>, String> {
    let claim = name(value)?;
    let is_name = |claim: &String| claim.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if claim.as_ref().is_none_or(is_name) { Ok(claim) } else { Err("expected letters and _".to_owned()) }
}

/// The options of one of the two, of which `$which` is the field of the client's options.
macro_rules! token_settings {
    ($which:ident $(, $first:expr)?) => {
        &[
            $($first,)?
            token_settings!(@ $which, hmac_secret_key, 0, "the secret of HS256, HS384 and HS512", secret),
            token_settings!(@ $which, hmac_previous_secret_key, 1, "the one before it, whose tokens are still good", secret),
            super::options::setting!(
                "hmac_previous_secret_key_valid_until",
                Live,
                client.$which.hmac_previous_secret_key_valid_until,
                "until when they are, in seconds since 1970; 0: for as long as it stands here"
            ),
            token_settings!(@ $which, rsa_public_key, 3, "the public key of RS256, RS384 and RS512: PEM, that in base64, or the path of a file of it", |value| {
                key(value, PublicKey::rsa)
            }),
            token_settings!(@ $which, ecdsa_public_key, 4, "the public key of ES256, ES384 or ES512: the same", |value| {
                key(value, PublicKey::ecdsa)
            }),
            token_settings!(@ $which, audience, 5, "whom a token must be for (aud)", name),
            token_settings!(@ $which, audience_regex, 6, "the same, as an expression", expression),
            token_settings!(@ $which, issuer, 7, "who must have made a token (iss)", name),
            token_settings!(@ $which, issuer_regex, 8, "the same, as an expression", expression),
            token_settings!(@ $which, user_id_claim, 9, "the claim that names the user; unset: sub", claim),
            token_settings!(
                @ $which, jwks_public_endpoint, 10,
                "where the issuer publishes its keys (JWKS); no other key counts then", endpoint
            ),
            super::options::setting!(
                "insecure_skip_jwks_endpoint_safety_check",
                Live,
                client.$which.insecure_skip_jwks_endpoint_safety_check,
                "let tokens put anything that a group finds into that address"
            ),
        ]
    };
    (@ $which:ident, $field:ident, $at:literal, $about:literal, $read:expr) => {
        Setting {
            key: stringify!($field),
            reload: Reload::Live,
            about: || $about.into(),
            read: |target: &mut super::Config, value| {
                let read: fn(&Value) -> Result<_, String> = $read;
                target.client.$which.$field = read(value)?;
                Ok(())
            },
            write: |target| target.client.$which.written()[$at].clone(),
            copy: |target, source| target.client.$which.$field.clone_from(&source.client.$which.$field),
        }
    };
}

/// `[client.token]`
pub(super) const CONNECTION: &[Setting<super::Config>] = token_settings!(token);

/// `[client.subscription_token]`
pub(super) const SUBSCRIPTION: &[Setting<super::Config>] = token_settings!(
    subscription_token,
    super::options::setting!(
        "enabled",
        Live,
        client.subscription_token_enabled,
        "verify subscription tokens by what follows; false: as connection tokens"
    )
);
