//! Sets of public keys as RFC 7517 has them, where an issuer of tokens publishes its own.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::util::signature::{Algorithm, VerifyingKey};

/// Keys of one set that are looked at: many times what issuers have.
const KEYS_MAX: usize = 128;
/// The longest name of a key, in bytes: a hash in hexadecimal four times over.
pub(super) const KEY_ID_BYTES_MAX: usize = 256;

/// The keys of one issuer that verify tokens, by name. Some may have the same, one for each kind.
#[derive(Debug, Default)]
pub(super) struct Jwks(HashMap<String, Vec<VerifyingKey>>);

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Reads a set. A key in it that is of no use here is left out: issuers have some for other things.
    ///
    /// # Errors
    /// It is no set, or one of more keys than anybody has.
    pub(super) fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let Set { keys } = serde_json::from_slice(json).map_err(|_| "what was answered is no set of keys in JSON")?;
        if keys.len() > KEYS_MAX {
            return Err("there are too many keys in it");
        }
        let mut set = Self::default();
        for (key_id, key) in keys.iter().filter_map(|json| serde_json::from_str::<Jwk>(json.get()).ok()?.read()) {
            set.0.entry(key_id).or_default().push(key);
        }
        Ok(set)
    }

    /// The key of that name that signs by that algorithm.
    pub(super) fn find(&self, key_id: &str, algorithm: Algorithm) -> Option<&VerifyingKey> {
        self.0.get(key_id)?.iter().find(|key| key.takes(algorithm))
    }

    /// Whether there is a key of that name.
    pub(super) fn has(&self, key_id: &str) -> bool {
        self.0.contains_key(key_id)
    }
}

impl Jwk {
    /// The key and its name, if it has one and verifies signatures.
    fn read(self) -> Option<(String, VerifyingKey)> {
        let key_id = self.kid.filter(|key_id| (1..=KEY_ID_BYTES_MAX).contains(&key_id.len()))?;
        let is_for_signatures = self.purpose.is_none_or(|purpose| purpose == "sig")
            && self.key_ops.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        // There is to be no padding, which some write all the same.
        let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?.trim_end_matches('=')).ok();
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            _ if !is_for_signatures => None,
            ("RSA", _) => VerifyingKey::rsa(&bytes(self.n)?, &bytes(self.e)?),
            ("EC", Some(curve)) => VerifyingKey::ec(curve, &bytes(self.x)?, &bytes(self.y)?),
            ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(&bytes(self.x)?),
            // Secrets are not published, and a set that holds one holds none that is any good.
            _ => None,
        }?;
        let key = match self.alg {
            Some(alg) => key.only(Algorithm::named(&alg)?)?,
            None => key,
        };
        Some((key_id, key))
    }
}
