//! One set of keys and rules, and whether a token keeps them.

use regex::Regex;

use super::TokenError;
use super::claims::{Claims, ConnectionToken, SubscriptionToken, text_claim};
use super::jwt::Jwt;
use crate::config::TokenOptions;
use crate::util::signature::Algorithm;

#[derive(Debug)]
pub(super) struct Verifier {
    options: TokenOptions,
    /// Whether signatures are not looked at.
    believes_all: bool,
}

impl Verifier {
    pub(super) fn new(options: &TokenOptions, believes_all: bool) -> Self {
        Self { options: options.clone(), believes_all }
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
        if !self.believes_all && !self.is_signed(&jwt, now_ms) {
            return Err(TokenError::Invalid);
        }
        let json = jwt.claims()?;
        let claims = Claims::parse(&json)?;
        let user = match &self.options.user_id_claim {
            // A token that does not name its user there names none.
            Some(claim) => Some(text_claim(&json, claim)?.unwrap_or_default()),
            None => None,
        };
        let TokenOptions { audience, audience_regex, issuer, issuer_regex, .. } = &self.options;
        let audiences = claims.aud.as_ref().map_or(&[][..], |aud| &aud.0);
        let issuers = claims.iss.as_slice();
        if !is_one(audiences, audience.as_deref(), audience_regex.as_ref())
            || !is_one(issuers, issuer.as_deref(), issuer_regex.as_ref())
        {
            return Err(TokenError::Invalid);
        }
        let has_ended = claims.exp.is_some_and(|exp| exp.ms() <= now_ms);
        let has_not_begun = claims.nbf.is_some_and(|nbf| nbf.ms() > now_ms);
        if has_ended || has_not_begun { Err(TokenError::Expired) } else { Ok((claims, user)) }
    }

    /// Whether a key that is for its algorithm has signed it: a public key is no secret, whatever the header says.
    fn is_signed(&self, jwt: &Jwt<'_>, now_ms: u64) -> bool {
        use Algorithm::{Es256, Es384, Es512, Hs256, Hs384, Hs512, Rs256, Rs384, Rs512};
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
        }
    }
}

/// Whether one of `found` is what was asked for; anything where nothing was.
fn is_one(found: &[String], exactly: Option<&str>, like: Option<&Regex>) -> bool {
    exactly.is_none_or(|exactly| found.iter().any(|text| text == exactly))
        && like.is_none_or(|like| found.iter().any(|text| like.is_match(text)))
}
