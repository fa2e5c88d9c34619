//! The outside of a token, as RFC 7515 has it in its compact form: header, claims and signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::TokenError;
use super::claims::object;
use crate::util::signature::{Algorithm, Secret};

/// The longest token that is looked at, in bytes: `channels` of 128 rooms with names of full length, and as much again of the
/// application's. A longer one would cost more than it can say.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// A token of which nothing is verified yet.
#[derive(Debug)]
pub(super) struct Jwt<'a> {
    pub(super) algorithm: Algorithm,
    /// Which key has signed it, if it says so.
    pub(super) key_id: Option<String>,
    /// What is signed.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    claims: &'a str,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: std::borrow::Cow<'a, str>,
    kid: Option<String>,
    /// Extensions that must be understood, of which there is none here.
    crit: Option<IgnoredAny>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Invalid)?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Invalid)?;
        let header = decode(header)?;
        let Header { alg, kid: key_id, crit } = object(&header)?;
        if crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let algorithm = Algorithm::named(&alg).ok_or(TokenError::Invalid)?;
        Ok(Self { algorithm, key_id, message: message.as_bytes(), signature: decode(signature)?, claims })
    }

    /// What it says, in JSON. To be asked for when the signature is verified.
    pub(super) fn claims(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.claims)
    }
}

/// Base64 as tokens have it, to the bit: a dot is not in it, so a token has three parts.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Invalid)
}

/// Makes a token of these claims, which are JSON, signed by HS256.
pub(super) fn sign(claims: &str, secret: &Secret) -> String {
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#), URL_SAFE_NO_PAD.encode(claims));
    let signature = secret.sign(Algorithm::Hs256, message.as_bytes()).unwrap_or_default();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
