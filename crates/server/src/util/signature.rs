//! Keys, and the signatures of tokens that they make or verify: HMAC, RSA and ECDSA with SHA-2, and Ed25519.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a token is signed. `none` is no algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    /// The algorithm that a token's header names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    /// Whether it is verified by a key that everybody may have.
    pub(crate) fn has_public_key(self) -> bool {
        self.hmac().is_none()
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        Some(match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        })
    }
}

/// A secret that both sides know. It is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// The secret itself.
    pub(crate) fn reveal(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Whether it has signed `message`; in constant time. No public-key algorithm is verified by a secret.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let key = algorithm.hmac().map(|hash| hmac::Key::new(hash, &self.0));
        key.is_some_and(|key| hmac::verify(&key, message, signature).is_ok())
    }

    /// Signs `message`; nothing where the algorithm takes no secret.
    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let key = hmac::Key::new(algorithm.hmac()?, &self.0);
        Some(hmac::sign(&key, message).as_ref().to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What verifies the signatures of one public key, by algorithm.
pub(crate) struct VerifyingKey(Vec<(Algorithm, ParsedPublicKey)>);

/// Algorithms, each with the way in which it is verified.
type Ways = [(Algorithm, &'static dyn VerificationAlgorithm)];

const RSA: &Ways = &[
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
];
const EC: &Ways = &[
    (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
    (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
    (Algorithm::Es512, &ECDSA_P521_SHA512_FIXED),
];

impl VerifyingKey {
    /// Those of the ways that take this key, if any does.
    fn read(bytes: &[u8], ways: &Ways) -> Option<Self> {
        let parsed =
            ways.iter().filter_map(|(algorithm, how)| Some((*algorithm, ParsedPublicKey::new(*how, bytes).ok()?)));
        let keys: Vec<_> = parsed.collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// A key of RSA by its modulus and exponent, of 2,048 to 8,192 bits.
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        Self::read(&der(SEQUENCE, &[der_integer(modulus), der_integer(exponent)].concat()), RSA)
    }

    /// A key of ECDSA by a point on that curve.
    pub(crate) fn ec(curve: &str, x: &[u8], y: &[u8]) -> Option<Self> {
        let (at, bytes): (_, usize) = match curve {
            "P-256" => (0, 32),
            "P-384" => (1, 48),
            "P-521" => (2, 66),
            _ => return None,
        };
        // Each of the length that the curve has; some who publish keys leave out the zeros that a number begins with.
        let whole = |number: &[u8]| Some([&vec![0; bytes.checked_sub(number.len())?], number].concat());
        Self::read(&[vec![0x04], whole(x)?, whole(y)?].concat(), &EC[at..=at])
    }

    /// A key of Ed25519.
    pub(crate) fn ed25519(x: &[u8]) -> Option<Self> {
        (x.len() == 32).then(|| Self::read(x, &[(Algorithm::EdDsa, &ED25519)]))?
    }

    /// The same for that algorithm alone, if it is one of the key's.
    pub(crate) fn only(mut self, algorithm: Algorithm) -> Option<Self> {
        self.0.retain(|(of, _)| *of == algorithm);
        (!self.0.is_empty()).then_some(self)
    }

    /// Whether it could have been signed by that.
    pub(crate) fn takes(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|(of, _)| *of == algorithm)
    }

    /// Whether the owner of the key has signed `message`.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let key = self.0.iter().find(|(of, _)| *of == algorithm);
        key.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(algorithm, _)| algorithm)).finish()
    }
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// One thing of ASN.1, as DER has it.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let head = match content.len() {
        0..0x80 => vec![tag, content.len() as u8],
        _ => [&[tag, 0x80 | length.len() as u8], length].concat(),
    };
    [&head, content].concat()
}

fn der_integer(big_endian: &[u8]) -> Vec<u8> {
    let digits = &big_endian[big_endian.iter().take_while(|byte| **byte == 0).count()..];
    // A first bit that is set would be a sign.
    let sign: &[u8] = if digits.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    der(INTEGER, &[sign, digits].concat())
}

/// A public key: of RSA, with 2,048 to 8,192 bits, or of ECDSA, on P-256, P-384 or P-521.
#[derive(Clone)]
pub struct PublicKey {
    pem: String,
    key: Arc<VerifyingKey>,
}

impl PublicKey {
    /// Reads a key of RSA in PEM.
    ///
    /// # Errors
    /// What was expected. Never what was found, which may be a private key.
    pub fn rsa(pem: &str) -> Result<Self, String> {
        let expected = "expected a public key of RSA in PEM (-----BEGIN PUBLIC KEY-----), of 2048 to 8192 bits";
        Self::read(pem, &["PUBLIC KEY", "RSA PUBLIC KEY"], RSA).ok_or_else(|| expected.to_owned())
    }

    /// Reads a key of ECDSA in PEM.
    ///
    /// # Errors
    /// As [`PublicKey::rsa`].
    pub fn ecdsa(pem: &str) -> Result<Self, String> {
        let expected =
            "expected a public key of ECDSA in PEM (-----BEGIN PUBLIC KEY-----), on the curve P-256, P-384 or P-521";
        Self::read(pem, &["PUBLIC KEY"], EC).ok_or_else(|| expected.to_owned())
    }

    fn read(pem: &str, labels: &[&str], ways: &Ways) -> Option<Self> {
        let der = labels.iter().find_map(|label| decode_pem(pem, label))?;
        Some(Self { pem: pem.to_owned(), key: Arc::new(VerifyingKey::read(&der, ways)?) })
    }

    /// The key as it was written.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether its owner has signed `message`.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify(algorithm, message, signature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.pem).finish()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl Eq for PublicKey {}

/// The bytes between the lines that begin and end a thing of that name.
fn decode_pem(pem: &str, label: &str) -> Option<Vec<u8>> {
    let rest = pem.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let body = rest.strip_suffix(&format!("-----END {label}-----"))?;
    let text: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}
