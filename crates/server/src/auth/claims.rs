//! What tokens say, and in which form.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::TokenError;
use crate::config::Echo;
use roomcast_protocol::compact_json;

/// The longest that a token lets somebody stay, as at Centrifugo; who may stay longer brings another in time.
pub(crate) const STAY_MAX_MS: u64 = 365 * 24 * 60 * 60 * 1_000;

/// What a connection token says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConnectionToken {
    /// Empty for an anonymous one.
    pub(crate) user: String,
    /// The `conn_info`, compact JSON.
    pub(crate) info: Option<Bytes>,
    /// What the backend is told with the client's questions and nobody else is, compact JSON.
    pub(crate) meta: Option<Bytes>,
    /// How long the connection may stay.
    pub(crate) expiry: Expiry,
    /// The rooms that the client is put into when it connects, by name.
    pub(crate) rooms: Vec<(String, RoomClaims)>,
}

/// What a token says of one room.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoomClaims {
    /// The `chan_info`, compact JSON.
    pub(crate) info: Option<Bytes>,
    /// What the reply brings, compact JSON.
    pub(crate) data: Option<Bytes>,
    pub(crate) overrides: Overrides,
    /// How long the client may stay there, where that is said of the room alone.
    pub(crate) ttl_ms: Option<u64>,
}

/// What a subscription token says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubscriptionToken {
    /// Whose it is; empty for an anonymous one.
    pub(crate) user: String,
    /// The one connection that it is for, where it names one.
    pub(crate) client: Option<String>,
    /// The room that it opens.
    pub(crate) room: String,
    pub(crate) says: RoomClaims,
    /// How long the subscription may stay.
    pub(crate) expiry: Expiry,
}

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Never,
    InMs(u64),
    /// It has ended before.
    Past,
}

impl Expiry {
    /// At that time, in milliseconds since 1970, or as late as may be.
    pub(crate) fn at_ms(end_ms: u64, now_ms: u64) -> Self {
        let left_ms = end_ms.saturating_sub(now_ms);
        if left_ms == 0 { Self::Past } else { Self::InMs(left_ms.min(STAY_MAX_MS)) }
    }
}

/// Options of a room that a token sets otherwise for one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    pub(crate) presence: Option<bool>,
    pub(crate) join_leave: Option<bool>,
    pub(crate) force_push_join_leave: Option<bool>,
    pub(crate) force_recovery: Option<bool>,
    pub(crate) force_positioning: Option<bool>,
    pub(crate) echo: Option<Echo>,
}

/// The claims of both kinds. What is of another type than it should be makes the token invalid, and so does what stands twice.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    pub(super) aud: Option<OneOrMany>,
    #[serde(default)]
    pub(super) iss: Option<String>,
    #[serde(default)]
    pub(super) exp: Option<Seconds>,
    #[serde(default)]
    pub(super) nbf: Option<Seconds>,
    /// When it was issued.
    #[serde(default)]
    pub(super) iat: Option<Seconds>,
    /// Not looked at.
    #[serde(default, rename = "jti")]
    _jti: Option<String>,
    #[serde(default)]
    expire_at: Option<Seconds>,
    #[serde(default)]
    info: Option<Box<RawValue>>,
    #[serde(default)]
    b64info: Option<String>,
    #[serde(default)]
    meta: Option<Box<RawValue>>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    b64data: Option<String>,
    #[serde(default, rename = "override")]
    overrides: Option<OverrideClaims>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    /// By name.
    #[serde(default)]
    subs: Option<Subs>,
}

/// Rooms that somebody is put into, by name, with what is said of each.
pub(crate) type Subs = BTreeMap<String, Option<Box<RawValue>>>;

/// By option, each with its `value`.
pub(crate) type OverrideClaims = BTreeMap<String, Option<BTreeMap<String, OverrideValue>>>;

/// What an option is instead.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum OverrideValue {
    Truth(bool),
    Name(String),
}

/// What stands behind the name of a room.
#[derive(Deserialize)]
pub(crate) struct SubClaims {
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<OverrideClaims>,
}

impl SubClaims {
    pub(crate) fn read(self) -> Result<RoomClaims, TokenError> {
        Ok(RoomClaims {
            info: payload(self.info.as_deref(), self.b64info.as_deref())?,
            data: payload(self.data.as_deref(), self.b64data.as_deref())?,
            overrides: overrides(&self.overrides.unwrap_or_default())?,
            ttl_ms: None,
        })
    }
}

pub(crate) fn overrides(claims: &OverrideClaims) -> Result<Overrides, TokenError> {
    let claim = |option: &str| claims.get(option)?.as_ref().map(|claim| claim.get("value"));
    let truth = |option: &str| match claim(option) {
        None => Ok(None),
        Some(None) => Ok(Some(false)),
        Some(Some(OverrideValue::Truth(value))) => Ok(Some(*value)),
        Some(Some(OverrideValue::Name(_))) => Err(TokenError::Invalid),
    };
    let echo = match claim("echo") {
        None => None,
        Some(None) => Some(Echo::default()),
        Some(Some(OverrideValue::Name(name))) => Some(Echo::from_name(name).ok_or(TokenError::Invalid)?),
        Some(Some(OverrideValue::Truth(_))) => return Err(TokenError::Invalid),
    };
    Ok(Overrides {
        presence: truth("presence")?,
        join_leave: truth("join_leave")?,
        force_push_join_leave: truth("force_push_join_leave")?,
        force_recovery: truth("force_recovery")?,
        force_positioning: truth("force_positioning")?,
        echo,
    })
}

impl Claims {
    pub(super) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        object(json)
    }

    /// When what they allow ends; they are no good later themselves.
    fn expiry(&self, now_ms: u64) -> Result<Expiry, TokenError> {
        let end = match self.expire_at {
            Some(Seconds(0.0)) => return Ok(Expiry::Never),
            Some(Seconds(at)) if at < 0.0 => return Err(TokenError::Invalid),
            given => given.or(self.exp),
        };
        let Some(end) = end else { return Ok(Expiry::Never) };
        Ok(Expiry::at_ms(end.ms(), now_ms))
    }

    fn info(&self) -> Result<Option<Bytes>, TokenError> {
        payload(self.info.as_deref(), self.b64info.as_deref())
    }

    pub(super) fn connection(self, user: Option<String>, now_ms: u64) -> Result<ConnectionToken, TokenError> {
        if self.channel.as_ref().is_some_and(|channel| !channel.is_empty()) {
            // One for a room opens no connection.
            return Err(TokenError::Invalid);
        }
        let (info, expiry) = (self.info()?, self.expiry(now_ms)?);
        let meta = payload(self.meta.as_deref(), None)?;
        let rooms = rooms(self.channels, self.subs, |says| object::<SubClaims>(says)?.read())?;
        Ok(ConnectionToken { user: user.or(self.sub).unwrap_or_default(), info, meta, expiry, rooms })
    }

    pub(super) fn subscription(self, user: Option<String>, now_ms: u64) -> Result<SubscriptionToken, TokenError> {
        let (info, expiry) = (self.info()?, self.expiry(now_ms)?);
        let data = payload(self.data.as_deref(), self.b64data.as_deref())?;
        let Some(room) = self.channel.filter(|channel| !channel.is_empty()) else { return Err(TokenError::Invalid) };
        Ok(SubscriptionToken {
            user: user.or(self.sub).unwrap_or_default(),
            client: self.client.filter(|client| !client.is_empty()),
            room,
            says: RoomClaims { info, data, overrides: overrides(&self.overrides.unwrap_or_default())?, ttl_ms: None },
            expiry,
        })
    }
}

/// The rooms that somebody is put into: those of `subs`, with what `read` makes of what stands there, or where there are none those of
/// `channels`, of which nothing is said.
pub(crate) fn rooms<E>(
    channels: Option<Vec<String>>,
    subs: Option<Subs>,
    read: impl Fn(&[u8]) -> Result<RoomClaims, E>,
) -> Result<Vec<(String, RoomClaims)>, E> {
    let Some(subs) = subs.filter(|subs| !subs.is_empty()) else {
        return Ok(channels.into_iter().flatten().map(|name| (name, RoomClaims::default())).collect());
    };
    let read = |(name, says): (String, Option<Box<RawValue>>)| {
        let claims = says.map_or_else(|| Ok(RoomClaims::default()), |says| read(says.get().as_bytes()));
        claims.map(|claims| (name, claims))
    };
    subs.into_iter().map(read).collect()
}

/// Reads an object. A struct may be read from a list as well, which no token is.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    let begins = json.iter().find(|byte| !byte.is_ascii_whitespace());
    if begins == Some(&b'{') {
        serde_json::from_slice(json).map_err(|_| TokenError::Invalid)
    } else {
        Err(TokenError::Invalid)
    }
}

/// What stands there as JSON, or as JSON in base64. Every client is given it, so it has to be JSON.
pub(crate) fn payload(json: Option<&RawValue>, base64: Option<&str>) -> Result<Option<Bytes>, TokenError> {
    if let Some(base64) = base64.filter(|text| !text.is_empty()) {
        let bytes = STANDARD.decode(base64).map_err(|_| TokenError::Invalid)?;
        let json: &RawValue = serde_json::from_slice(&bytes).map_err(|_| TokenError::Invalid)?;
        return Ok(Some(compact_json(json.get())));
    }
    Ok(json.map(|json| compact_json(json.get())))
}

/// What a claim that the configuration names says: a text, or a whole number as it is written.
pub(super) fn text_claim(json: &[u8], name: &str) -> Result<Option<String>, TokenError> {
    let claims: BTreeMap<String, &RawValue> = serde_json::from_slice(json).map_err(|_| TokenError::Invalid)?;
    let value: Option<Option<TextOrNumber>> =
        claims.get(name).map(|value| serde_json::from_str(value.get())).transpose().map_err(|_| TokenError::Invalid)?;
    Ok(value.flatten().map(|value| match value {
        TextOrNumber::Text(text) => text,
        TextOrNumber::Number(number) => number.to_string(),
    }))
}

/// Users are numbered in many a database.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Text(String),
    Number(i64),
}

/// A time in seconds since 1970, with or without a fraction. It is a number, and finite.
#[derive(Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct Seconds(f64);

impl Seconds {
    /// In milliseconds; the end of time where it is further, and 0 where it is before 1970.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a conversion that saturates is meant")]
    pub(super) fn ms(self) -> u64 {
        (self.0 * 1_000.0) as u64
    }
}

/// Text, or a list of texts.
pub(super) struct OneOrMany(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
                Ok(vec![text.to_owned()])
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(texts)
            }
        }
        deserializer.deserialize_any(Texts).map(Self)
    }
}
