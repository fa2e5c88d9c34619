//! What the backend answers, and the form in which it does.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::question::Kind;
use crate::auth::{Expiry, OverrideClaims, RoomClaims, SubClaims, Subs, object, overrides, payload, rooms};
use roomcast_protocol::{CLOSE_REASON_BYTES_MAX, CustomError, Payload, compact_json};

/// What has come of a question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// Who a client is; nothing where the backend does not know it either.
    Connect(Option<Box<Admitted>>),
    /// Until when something may go on; nothing where it may not.
    Extended(Option<Box<Extended>>),
    /// A client may enter.
    Subscribe(Box<Entry>),
    /// A client may publish.
    Publish(Box<Allowed>),
    /// What a procedure has returned.
    Rpc(Option<Bytes>),
    /// The client's command is to fail.
    Error(Box<CustomError>),
    /// The client is to be disconnected, with a code of 3000 to 4999 and a reason that fits a close frame.
    Disconnect { code: u32, reason: String },
    /// There is no answer that could be used; the log says why.
    Failed,
}

/// Who a client is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Admitted {
    pub(crate) user: String,
    pub(crate) expiry: Expiry,
    pub(crate) info: Option<Bytes>,
    pub(crate) data: Option<Bytes>,
    /// The rooms that it is put into.
    pub(crate) rooms: Vec<(String, RoomClaims)>,
    /// What is told with later questions about it, compact JSON.
    pub(crate) meta: Option<Bytes>,
}

/// Until when something may go on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Extended {
    pub(crate) expiry: Expiry,
    pub(crate) info: Option<Bytes>,
    pub(crate) meta: Option<Bytes>,
}

/// How a client enters a room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) says: RoomClaims,
    pub(crate) expiry: Expiry,
}

/// What is published in place of what the client sent, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) data: Option<Payload>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) delta: bool,
    pub(crate) skip_history: bool,
    pub(crate) idempotency_key: String,
    pub(crate) version: u64,
    pub(crate) version_epoch: String,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<RawError>,
    #[serde(default)]
    disconnect: Option<RawDisconnect>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    temporary: bool,
}

#[derive(Deserialize)]
struct RawDisconnect {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    reason: String,
}

/// The fields of all results. Each kind looks at its own.
#[derive(Default, Deserialize)]
struct RawResult {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    expired: Option<bool>,
    #[serde(default)]
    expire_at: Option<i64>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    b64data: Option<String>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    #[serde(default)]
    subs: Option<Subs>,
    #[serde(default)]
    meta: Option<Box<RawValue>>,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
    #[serde(default)]
    delta: Option<bool>,
    #[serde(default)]
    skip_history: Option<bool>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    version: Option<u64>,
    #[serde(default)]
    version_epoch: Option<String>,
    #[serde(default)]
    info: Option<Box<RawValue>>,
    #[serde(default)]
    b64info: Option<String>,
    #[serde(default, rename = "override")]
    overrides: Option<OverrideClaims>,
}

/// Until when a client may stay in a room that it is put into; the rest is as tokens have it.
#[derive(Deserialize)]
struct RawEnd {
    #[serde(default)]
    expire_at: Option<i64>,
}

/// Why an answer cannot be used, for the log.
pub(super) type Unreadable = &'static str;

/// Bytes of an error's message: more than anybody shows, and a command costs no more than it to answer.
const MESSAGE_BYTES_MAX: usize = 1_024;
/// The codes that a close frame of ours can have.
const DISCONNECT_CODES: std::ops::RangeInclusive<u32> = 3_000..=4_999;
/// Bytes of a key, and of what versions count in: as much as names of rooms have.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a user: as names of rooms have, in which users stand.
const USER_BYTES_MAX: usize = 255;
/// Bytes of what is held of a client as long as it is connected, and shown to everybody in its rooms: `info`, in all of its rooms, and
/// `meta`. As much as a token can say, which comes in a message.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Reads an answer. `takes_bytes` says whether its client can be given data that is no JSON, `bytes_max` how much may be published.
pub(super) fn read(
    body: &[u8],
    kind: Kind,
    now_ms: u64,
    takes_bytes: bool,
    bytes_max: usize,
) -> Result<Answer, Unreadable> {
    let envelope: Envelope = object(body).map_err(|_| "it is no JSON object of the form that is asked for")?;
    let is_extension = matches!(kind, Kind::Refresh | Kind::SubRefresh);
    match envelope {
        // As Centrifugo: who is asked whether a client may stay says so by its result.
        Envelope { disconnect: Some(RawDisconnect { code, reason }), .. } if !is_extension => {
            let fits = DISCONNECT_CODES.contains(&code) && reason.len() <= CLOSE_REASON_BYTES_MAX;
            if fits { Ok(Answer::Disconnect { code, reason }) } else { Err("its disconnect fits no close frame") }
        }
        Envelope { error: Some(RawError { code, message, temporary }), .. } if !is_extension => {
            let fits = code > 0 && message.len() <= MESSAGE_BYTES_MAX;
            let error = CustomError { code, message, temporary };
            if fits { Ok(Answer::Error(Box::new(error))) } else { Err("its error has no code, or too long a message") }
        }
        Envelope { result, .. } => {
            let result = result.as_deref().filter(|result| result.get() != "null");
            answer(result, kind, now_ms, takes_bytes, bytes_max)
        }
    }
}

fn answer(
    result: Option<&RawValue>,
    kind: Kind,
    now_ms: u64,
    takes_bytes: bool,
    bytes_max: usize,
) -> Result<Answer, Unreadable> {
    let raw: Option<RawResult> = result
        .map(|result| object(result.get().as_bytes()))
        .transpose()
        .map_err(|_| "its result is no object, or has fields of other types")?;
    Ok(match (kind, raw) {
        (Kind::Connect, None) => Answer::Connect(None),
        (Kind::Connect, Some(raw)) => Answer::Connect(Some(Box::new(raw.admitted(now_ms, takes_bytes)?))),
        (Kind::Refresh | Kind::SubRefresh, None) => Answer::Extended(None),
        (Kind::Refresh | Kind::SubRefresh, Some(raw)) => Answer::Extended(raw.extended(now_ms)?.map(Box::new)),
        (Kind::Subscribe, raw) => Answer::Subscribe(Box::new(raw.unwrap_or_default().entry(now_ms, takes_bytes)?)),
        (Kind::Publish, raw) => Answer::Publish(Box::new(raw.unwrap_or_default().allowed(bytes_max)?)),
        (Kind::Rpc, raw) => Answer::Rpc(raw.unwrap_or_default().data(takes_bytes)?),
    })
}

impl RawResult {
    fn admitted(self, now_ms: u64, takes_bytes: bool) -> Result<Admitted, Unreadable> {
        let (data, info) = (self.data(takes_bytes)?, self.info()?);
        let rooms = rooms(self.channels, self.subs, |json| {
            let says: SubClaims = object(json).map_err(|_| "one of its subs is of another form")?;
            let RawEnd { expire_at } = object(json).map_err(|_| "an expire_at of its subs is no time")?;
            let claims = says.read().map_err(|_| NOT_JSON)?;
            let ttl_ms = match expiry(expire_at, now_ms) {
                Expiry::Never => None,
                Expiry::InMs(ttl_ms) => Some(ttl_ms),
                Expiry::Past => Some(0),
            };
            Ok::<_, Unreadable>(RoomClaims { ttl_ms, ..claims })
        })?;
        let (user, meta) = (self.user.unwrap_or_default(), meta(self.meta.as_deref()));
        if user.len() > USER_BYTES_MAX {
            return Err("its user is too long");
        }
        let infos = rooms.iter().map(|(_, says)| &says.info).chain([&info, &meta]);
        can_be_held(infos)?;
        Ok(Admitted { user, expiry: expiry(self.expire_at, now_ms), info, data, rooms, meta })
    }

    fn extended(self, now_ms: u64) -> Result<Option<Extended>, Unreadable> {
        if self.expired == Some(true) {
            return Ok(None);
        }
        let (info, meta) = (self.info()?, meta(self.meta.as_deref()));
        can_be_held([&info, &meta])?;
        Ok(Some(Extended { expiry: expiry(self.expire_at, now_ms), info, meta }))
    }

    fn entry(self, now_ms: u64, takes_bytes: bool) -> Result<Entry, Unreadable> {
        let (data, info) = (self.data(takes_bytes)?, self.info()?);
        let overrides =
            overrides(&self.overrides.unwrap_or_default()).map_err(|_| "its override has values of other types")?;
        can_be_held([&info])?;
        let says = RoomClaims { info, data, overrides, ..RoomClaims::default() };
        Ok(Entry { says, expiry: expiry(self.expire_at, now_ms) })
    }

    fn allowed(self, bytes_max: usize) -> Result<Allowed, Unreadable> {
        let data = self.bytes()?;
        let tags = self.tags.unwrap_or_default();
        let tags_bytes: usize = tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        if data.as_ref().map_or(0, Bytes::len) + tags_bytes > bytes_max {
            return Err("it publishes more than a client may");
        }
        let (key, epoch) = (self.idempotency_key.unwrap_or_default(), self.version_epoch.unwrap_or_default());
        if key.len().max(epoch.len()) > NAME_BYTES_MAX {
            return Err("its idempotency_key or version_epoch is too long");
        }
        Ok(Allowed {
            data: data.map(Payload::opaque),
            tags,
            delta: self.delta.unwrap_or_default(),
            skip_history: self.skip_history.unwrap_or_default(),
            idempotency_key: key,
            version: self.version.unwrap_or_default(),
            version_epoch: epoch,
        })
    }

    /// The data as it was said.
    fn bytes(&self) -> Result<Option<Bytes>, Unreadable> {
        match (self.b64data.as_deref().filter(|text| !text.is_empty()), &self.data) {
            (Some(text), _) => {
                STANDARD.decode(text).map(|bytes| Some(bytes.into())).map_err(|_| "its b64data is no base64")
            }
            (None, data) => Ok(data.as_deref().map(|data| compact_json(data.get()))),
        }
    }

    /// The same for one client: one that speaks JSON is given JSON.
    fn data(&self, takes_bytes: bool) -> Result<Option<Bytes>, Unreadable> {
        if takes_bytes {
            return self.bytes();
        }
        payload(self.data.as_deref(), self.b64data.as_deref()).map_err(|_| NOT_JSON)
    }

    fn info(&self) -> Result<Option<Bytes>, Unreadable> {
        payload(self.info.as_deref(), self.b64info.as_deref()).map_err(|_| NOT_JSON)
    }
}

const NOT_JSON: Unreadable = "its info or data is no JSON, and its client takes nothing else";

fn meta(meta: Option<&RawValue>) -> Option<Bytes> {
    meta.filter(|meta| meta.get() != "null").map(|meta| compact_json(meta.get()))
}

fn can_be_held<'a>(held: impl IntoIterator<Item = &'a Option<Bytes>>) -> Result<(), Unreadable> {
    let bytes: usize = held.into_iter().flatten().map(Bytes::len).sum();
    if bytes <= HELD_BYTES_MAX { Ok(()) } else { Err("its info and meta are larger than 64 KiB") }
}

fn expiry(expire_at: Option<i64>, now_ms: u64) -> Expiry {
    match expire_at.unwrap_or_default() {
        0 => Expiry::Never,
        at => Expiry::at_ms(u64::try_from(at).unwrap_or_default().saturating_mul(1_000), now_ms),
    }
}
