//! One set of keys and rules, and whether a token keeps them.

use std::sync::Arc;

use regex::Regex;

use super::TokenError;
use super::claims::{Claims, ConnectionToken, Seconds, SubscriptionToken, text_claim};
use super::jwt::Jwt;
use super::key_sets::{Found, KeySets};
use crate::config::jwks::choices;
use crate::config::{JwksEndpoint, TokenOptions};
use crate::util::signature::Algorithm;

#[derive(Debug)]
pub(super) struct Verifier {
    options: TokenOptions,
    /// Whether signatures are not looked at.
    believes_all: bool,
    /// The keys that issuers publish.
    sets: Arc<KeySets>,
}

impl Verifier {
    pub(super) fn new(options: &TokenOptions, believes_all: bool, sets: Arc<KeySets>) -> Self {
        Self { options: options.clone(), believes_all, sets }
    }

    /// Whether it goes by the keys that an issuer publishes.
    pub(super) fn asks_issuer(&self) -> bool {
        self.options.jwks_public_endpoint.is_some() && !self.believes_all
    }

    pub(super) fn takes_any(&self) -> bool {
        self.options.has_key() || self.believes_all
    }

    pub(super) fn connection(&self, token: &str, now_ms: u64) -> Result<ConnectionToken, TokenError> {
        let (claims, user) = self.claims(token, now_ms)?;
        claims.connection(user, now_ms)
    }

    pub(super) fn subscription(&self, token: &str, now_ms: u64) -> Result<SubscriptionToken, TokenError> {
        let (claims, user) = self.claims(token, now_ms)?;
        claims.subscription(user, now_ms)
    }

    /// What a good token says, and the user where another claim than `sub` names it.
    fn claims(&self, token: &str, now_ms: u64) -> Result<(Claims, Option<String>), TokenError> {
        let jwt = Jwt::parse(token)?;
        if !self.believes_all && !self.asks_issuer() && !self.is_signed(&jwt, now_ms) {
            return Err(TokenError::Invalid);
        }
        let json = jwt.claims()?;
        let claims = Claims::parse(&json)?;
        let user = match &self.options.user_id_claim {
            // A token that does not name its user there names none.
            Some(claim) => Some(text_claim(&json, claim)?.unwrap_or_default()),
            None => None,
        };
        let options = &self.options;
        let TokenOptions { audience, audience_regex, issuer, issuer_regex, .. } = options;
        let audiences = claims.aud.as_ref().map_or(&[][..], |aud| &aud.0);
        let issuers = claims.iss.as_slice();
        if !is_one(audiences, audience.as_deref(), audience_regex.as_ref())
            || !is_one(issuers, issuer.as_deref(), issuer_regex.as_ref())
        {
            return Err(TokenError::Invalid);
        }
        // Who asks an issuer asks for tokens that it may have made, and for no others.
        if let Some(endpoint) = &options.jwks_public_endpoint
            && !self.believes_all
        {
            self.verify_by_issuer(endpoint, &jwt, (&claims, issuers, audiences), now_ms)?;
        }
        let has_ended = claims.exp.is_some_and(|exp| exp.ms() <= now_ms);
        let has_not_begun = claims.nbf.is_some_and(|nbf| nbf.ms() > now_ms);
        if has_ended || has_not_begun { Err(TokenError::Expired) } else { Ok((claims, user)) }
    }

    /// Whether a key that the issuer publishes has signed it. Nothing that the token says is proven here.
    fn verify_by_issuer(
        &self,
        endpoint: &JwksEndpoint,
        jwt: &Jwt<'_>,
        (claims, issuers, audiences): (&Claims, &[String], &[String]),
        now_ms: u64,
    ) -> Result<(), TokenError> {
        let key_id = jwt.key_id.as_deref().ok_or(TokenError::Invalid)?;
        if !jwt.algorithm.has_public_key() {
            return Err(TokenError::Invalid);
        }
        let options = &self.options;
        let value = |group: &str| {
            let found = |expression: &Option<Regex>, texts: &[String]| {
                let expression = expression.as_ref()?;
                let captures = texts.iter().find_map(|text| expression.captures(text))?;
                let value = captures.name(group)?.as_str().to_owned();
                let is_safe = options.insecure_skip_jwks_endpoint_safety_check
                    || choices(expression, group).is_some_and(|choices| choices.contains(&value));
                is_safe.then_some(value)
            };
            found(&options.issuer_regex, issuers).or_else(|| found(&options.audience_regex, audiences))
        };
        let url = endpoint.url(value).ok_or(TokenError::Invalid)?;
        let keys = match self.sets.find(&url, key_id, jwt.algorithm, now_ms) {
            Found::Keys(keys) => keys,
            Found::Nothing => return Err(TokenError::Invalid),
            Found::Wanted(wanted) => return Err(TokenError::Unverified(Some(wanted))),
            Found::NotNow => return Err(TokenError::Unverified(None)),
        };
        let key = keys.find(key_id, jwt.algorithm);
        if key.is_some_and(|key| key.verify(jwt.algorithm, jwt.message, &jwt.signature)) {
            return Ok(());
        }
        Err(match self.sets.doubt(&url, claims.iat.map(Seconds::ms), now_ms) {
            Found::Wanted(wanted) => TokenError::Unverified(Some(wanted)),
            Found::NotNow => TokenError::Unverified(None),
            Found::Keys(_) | Found::Nothing => TokenError::Invalid,
        })
    }

    /// Whether a key that is for its algorithm has signed it: a public key is no secret, whatever the header says.
    fn is_signed(&self, jwt: &Jwt<'_>, now_ms: u64) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Es512, Hs256, Hs384, Hs512, Rs256, Rs384, Rs512};
        let Jwt { algorithm, message, signature, .. } = jwt;
        let options = &self.options;
        match algorithm {
            Hs256 | Hs384 | Hs512 => {
                let until_s = options.hmac_previous_secret_key_valid_until as u64;
                let is_previous_good = until_s == 0 || now_ms < until_s.saturating_mul(1_000);
                let previous = options.hmac_previous_secret_key.as_ref().filter(|_| is_previous_good);
                let mut secrets = options.hmac_secret_key.iter().chain(previous);
                secrets.any(|secret| secret.verify(*algorithm, message, signature))
            }
            Rs256 | Rs384 | Rs512 => {
                options.rsa_public_key.as_ref().is_some_and(|key| key.verify(*algorithm, message, signature))
            }
            Es256 | Es384 | Es512 => {
                options.ecdsa_public_key.as_ref().is_some_and(|key| key.verify(*algorithm, message, signature))
            }
            // Such a key has no option: an issuer publishes it.
            EdDsa => false,
        }
    }
}

/// Whether one of `found` is what was asked for; anything where nothing was.
fn is_one(found: &[String], exactly: Option<&str>, like: Option<&Regex>) -> bool {
    exactly.is_none_or(|exactly| found.iter().any(|text| text == exactly))
        && like.is_none_or(|like| found.iter().any(|text| like.is_match(text)))
}
