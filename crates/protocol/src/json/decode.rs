//! From a frame to commands.

use super::compact::compact;
use crate::{
    Command, ConnectRequest, DecodeError, FilterWish, HistoryRequest, Limits, Payload, PublishRequest, Request,
    RpcRequest, StreamPosition, SubscribeRequest,
};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::StreamDeserializer;
use serde_json::de::StrRead;
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

/// The commands of one frame.
pub(crate) struct Commands<'a> {
    stream: Stream<'a>,
    /// What is being read.
    text: &'a str,
    /// Where in `text` the stream began.
    begun: usize,
    /// Whether bytes follow that are no text.
    is_cut: bool,
    /// How many more commands the frame may hold; `None` after its end or an error.
    left: Option<usize>,
    limits: Limits,
}

type Stream<'a> = StreamDeserializer<'a, StrRead<'a>, Object<RawCommand<'a>>>;

impl<'a> Commands<'a> {
    pub(crate) fn new(frame: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        if frame.len() > limits.frame_bytes_max {
            return Err(DecodeError::TooLarge { bytes_max: limits.frame_bytes_max });
        }
        // Commands before bytes that are no text are read, as those before any other noise.
        let text = match str::from_utf8(frame) {
            Ok(text) => text,
            Err(error) => str::from_utf8(&frame[..error.valid_up_to()]).unwrap_or_default(),
        };
        let is_cut = text.len() < frame.len();
        if text.trim_ascii().is_empty() && !is_cut {
            return Err(DecodeError::Empty);
        }
        let stream = serde_json::Deserializer::from_str(text).into_iter();
        Ok(Self { stream, text, begun: 0, is_cut, left: Some(limits.commands_per_frame_max), limits: *limits })
    }

    /// Reads a command that has not been understood once more, with marks in place of what is no text. What is malformed
    /// otherwise stays so.
    fn read_broken(&mut self, start: usize) -> Result<Command, DecodeError> {
        let rest = &self.text[start..];
        let malformed = DecodeError::Malformed { at: start };
        let mut whole = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let Some(Ok(command)) = whole.next() else { return Err(malformed) };
        let mended = mend_surrogates(command.get()).ok_or(malformed)?;
        let Object(raw) = serde_json::from_str::<Object<RawCommand<'_>>>(&mended).map_err(|_| malformed)?;
        let is_connect = raw.connect.is_some();
        let mut command = raw.into_command(&self.limits);
        if command.id != 0 {
            command.request = Request::Unreadable { is_connect };
        }
        self.begun = start + whole.byte_offset();
        self.stream = serde_json::Deserializer::from_str(&self.text[self.begun..]).into_iter();
        Ok(command)
    }
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.left.take()?;
        let start = self.begun + self.stream.byte_offset();
        let item = match self.stream.next() {
            None if self.is_cut => Err(DecodeError::Malformed { at: self.text.len() }),
            None => return None,
            Some(Ok(Object(raw))) => Ok(raw.into_command(&self.limits)),
            Some(Err(_)) => self.read_broken(start),
        };
        Some(match (item, left.checked_sub(1)) {
            (Ok(_), None) => Err(DecodeError::TooManyCommands { commands_max: self.limits.commands_per_frame_max }),
            (Ok(command), left) => {
                self.left = left;
                Ok(command)
            }
            (Err(error), _) => Err(error),
        })
    }
}

/// Reads a connect request that stands alone, as command 1. How long it may be is bounded by whoever has read it.
pub(crate) fn connect_alone(request: &[u8], limits: &Limits) -> Result<Command, DecodeError> {
    if request.trim_ascii().is_empty() {
        return Err(DecodeError::Empty);
    }
    // As of a command: also what is passed over has to be text.
    let text = str::from_utf8(request).map_err(|error| DecodeError::Malformed { at: error.valid_up_to() })?;
    let Object(raw) = serde_json::from_str::<Object<RawConnect<'_>>>(text)
        .map_err(|error| DecodeError::Malformed { at: error.column() })?;
    Ok(Command { id: 1, request: raw.into_request(limits) })
}

/// JSON in which a replacement character stands for each half of a surrogate pair that stands alone, such as half an emoji;
/// `None` when there is none. Such a half is JSON, but no text.
fn mend_surrogates(json: &str) -> Option<String> {
    /// The number that four digits at `at` write.
    fn unit(json: &str, at: usize) -> Option<u16> {
        u16::from_str_radix(json.get(at..at + 4)?, 16).ok()
    }
    let mut mended = String::with_capacity(json.len());
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = json[at..].find('\\') {
        at += found;
        // Anything else that is escaped takes two bytes.
        let (is_unit, next) = (json[at + 1..].starts_with('u'), at + 2);
        let first = if is_unit { unit(json, next) } else { None };
        at = match first {
            None => next,
            Some(0xd800..0xdc00)
                if json[next + 4..].starts_with("\\u")
                    && unit(json, next + 6).is_some_and(|second| (0xdc00..0xe000).contains(&second)) =>
            {
                next + 10
            }
            Some(0xd800..0xe000) => {
                mended.push_str(&json[copied..next]);
                mended.push_str("fffd");
                copied = next + 4;
                copied
            }
            Some(_) => next + 4,
        };
    }
    if copied == 0 {
        return None;
    }
    mended.push_str(&json[copied..]);
    Some(mended)
}

impl fmt::Debug for Commands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").field("left", &self.left).finish_non_exhaustive()
    }
}

/// A value that must be written as an object: what serde derives would read an array as well, field by field.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// A field that may be missing or `null`, which mean the same but for payloads.
type Maybe<T> = Option<T>;

/// A payload; unlike the other fields it tells `null` from nothing.
#[derive(Default)]
struct RawPayload<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for RawPayload<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self(Some(raw)))
    }
}

impl RawPayload<'_> {
    fn compact(&self) -> Option<Bytes> {
        self.0.map(|raw| compact(raw.get()))
    }

    /// The same where `null` stands for nothing.
    fn compact_non_null(&self) -> Option<Bytes> {
        self.0.filter(|raw| raw.get() != "null").map(|raw| compact(raw.get()))
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct RawCommand<'a> {
    #[serde(default)]
    id: Maybe<u32>,
    #[serde(default)]
    connect: Maybe<Object<RawConnect<'a>>>,
    #[serde(default)]
    subscribe: Maybe<Object<RawSubscribe<'a>>>,
    #[serde(default)]
    unsubscribe: Maybe<Object<RawRoom>>,
    #[serde(default)]
    publish: Maybe<Object<RawPublish<'a>>>,
    #[serde(default)]
    presence: Maybe<Object<RawRoom>>,
    #[serde(default)]
    presence_stats: Maybe<Object<RawRoom>>,
    #[serde(default)]
    history: Maybe<Object<RawHistory>>,
    #[serde(default)]
    ping: Maybe<Object<Ignored>>,
    #[serde(default)]
    send: Maybe<Object<RawSend<'a>>>,
    #[serde(default)]
    rpc: Maybe<Object<RawRpc<'a>>>,
    #[serde(default)]
    refresh: Maybe<Object<RawToken>>,
    #[serde(default)]
    sub_refresh: Maybe<Object<RawRoom>>,
}

/// An object whose fields do not matter.
#[derive(Deserialize)]
struct Ignored {}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct RawConnect<'a> {
    #[serde(default)]
    token: Maybe<String>,
    #[serde(default)]
    data: RawPayload<'a>,
    #[serde(default)]
    name: Maybe<String>,
    #[serde(default)]
    version: Maybe<String>,
    #[serde(default)]
    subs: Maybe<RawSubs>,
    #[serde(default)]
    headers: Maybe<RawHeaders>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct RawSubscribe<'a> {
    #[serde(default)]
    channel: Maybe<String>,
    #[serde(default)]
    token: Maybe<String>,
    #[serde(default)]
    recover: Maybe<bool>,
    #[serde(default)]
    epoch: Maybe<String>,
    #[serde(default)]
    offset: Maybe<u64>,
    #[serde(default)]
    data: RawPayload<'a>,
    #[serde(default)]
    positioned: Maybe<bool>,
    #[serde(default)]
    recoverable: Maybe<bool>,
    #[serde(default)]
    join_leave: Maybe<bool>,
    #[serde(default)]
    delta: Maybe<String>,
    #[serde(default)]
    flag: Maybe<u64>,
    #[serde(default, rename = "type")]
    kind: Maybe<i32>,
    #[serde(default)]
    tf: Maybe<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawRoom {
    #[serde(default)]
    channel: Maybe<String>,
    #[serde(default)]
    token: Maybe<String>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct RawPublish<'a> {
    #[serde(default)]
    channel: Maybe<String>,
    #[serde(default)]
    data: RawPayload<'a>,
    #[serde(default, rename = "type")]
    kind: Maybe<i32>,
    #[serde(default)]
    key: Maybe<String>,
    #[serde(default)]
    removed: Maybe<bool>,
}

#[derive(Deserialize)]
struct RawHistory {
    #[serde(default)]
    channel: Maybe<String>,
    #[serde(default)]
    limit: Maybe<i32>,
    #[serde(default)]
    since: Maybe<Object<RawPosition>>,
    #[serde(default)]
    reverse: Maybe<bool>,
}

#[derive(Deserialize)]
struct RawPosition {
    #[serde(default)]
    offset: Maybe<u64>,
    #[serde(default)]
    epoch: Maybe<String>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct RawSend<'a> {
    #[serde(default)]
    data: RawPayload<'a>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct RawRpc<'a> {
    #[serde(default)]
    method: Maybe<String>,
    #[serde(default)]
    data: RawPayload<'a>,
}

#[derive(Deserialize)]
struct RawToken {
    #[serde(default)]
    token: Maybe<String>,
}

/// Rooms, and where to recover from in them, in the order they came. How many are kept is decided with the limits at hand;
/// the frame bounds how many there can be.
struct RawSubs(Vec<(String, Option<StreamPosition>)>);

impl<'de> Deserialize<'de> for RawSubs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SubsVisitor;
        impl<'de> Visitor<'de> for SubsVisitor {
            type Value = RawSubs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of subscriptions by channel")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSubs, A::Error> {
                let mut subs = Vec::new();
                while let Some(room) = map.next_key::<String>()? {
                    let request = map.next_value::<Maybe<Object<RawSubscribe<'_>>>>()?;
                    let request = request.map(|Object(raw)| raw.into_request()).unwrap_or_default();
                    if request.is_plain() {
                        subs.push((room, request.recover.then_some(request.position)));
                    }
                }
                Ok(RawSubs(subs))
            }
        }
        deserializer.deserialize_map(SubsVisitor)
    }
}

/// Names and values, as many as are kept, in the order they came.
struct RawHeaders(Vec<(String, String)>);

impl<'de> Deserialize<'de> for RawHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;
        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = RawHeaders;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeaders, A::Error> {
                let mut headers = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let value = map.next_value::<Maybe<String>>()?.unwrap_or_default();
                    if headers.len() < ConnectRequest::HEADERS_MAX {
                        headers.push((name, value));
                    }
                }
                Ok(RawHeaders(headers))
            }
        }
        deserializer.deserialize_map(HeadersVisitor)
    }
}

impl From<RawPosition> for StreamPosition {
    fn from(raw: RawPosition) -> Self {
        Self { offset: raw.offset.unwrap_or_default(), epoch: raw.epoch.unwrap_or_default() }
    }
}

impl RawCommand<'_> {
    fn into_command(self, limits: &Limits) -> Command {
        let id = self.id.unwrap_or_default();
        if id == 0 {
            let request = match self.send {
                Some(Object(send)) => send.into_request(),
                None => Request::Pong,
            };
            return Command { id, request };
        }
        Command { id, request: self.into_request(limits) }
    }

    /// The first method that is there, in the order of the protocol's field numbers.
    fn into_request(self, limits: &Limits) -> Request {
        if let Some(Object(raw)) = self.connect {
            raw.into_request(limits)
        } else if let Some(Object(raw)) = self.subscribe {
            Request::Subscribe(raw.into_request())
        } else if let Some(Object(raw)) = self.unsubscribe {
            Request::Unsubscribe { room: raw.channel.unwrap_or_default() }
        } else if let Some(Object(raw)) = self.publish {
            raw.into_request()
        } else if let Some(Object(raw)) = self.presence {
            Request::Presence { room: raw.channel.unwrap_or_default() }
        } else if let Some(Object(raw)) = self.presence_stats {
            Request::PresenceStats { room: raw.channel.unwrap_or_default() }
        } else if let Some(Object(raw)) = self.history {
            raw.into_request()
        } else if self.ping.is_some() {
            Request::Ping
        } else if let Some(Object(raw)) = self.send {
            raw.into_request()
        } else if let Some(Object(raw)) = self.rpc {
            Request::Rpc(RpcRequest { method: raw.method.unwrap_or_default(), data: raw.data.compact() })
        } else if let Some(Object(raw)) = self.refresh {
            Request::Refresh { token: raw.token.unwrap_or_default() }
        } else if let Some(Object(raw)) = self.sub_refresh {
            Request::SubRefresh { room: raw.channel.unwrap_or_default(), token: raw.token.unwrap_or_default() }
        } else {
            Request::Unknown
        }
    }
}

impl RawConnect<'_> {
    fn into_request(self, limits: &Limits) -> Request {
        let mut subs = self.subs.map(|RawSubs(subs)| subs).unwrap_or_default();
        subs.truncate(limits.rooms_per_client_max);
        subs.shrink_to_fit();
        Request::Connect(ConnectRequest {
            token: self.token.unwrap_or_default(),
            data: self.data.compact_non_null(),
            name: self.name.unwrap_or_default(),
            version: self.version.unwrap_or_default(),
            subs,
            headers: self.headers.map(|RawHeaders(headers)| headers).unwrap_or_default(),
        })
    }
}

impl RawSubscribe<'_> {
    fn into_request(self) -> SubscribeRequest {
        SubscribeRequest {
            room: self.channel.unwrap_or_default(),
            token: self.token.unwrap_or_default(),
            recover: self.recover.unwrap_or_default(),
            position: StreamPosition { offset: self.offset.unwrap_or_default(), epoch: self.epoch.unwrap_or_default() },
            data: self.data.compact_non_null(),
            positioned: self.positioned.unwrap_or_default(),
            recoverable: self.recoverable.unwrap_or_default(),
            join_leave: self.join_leave.unwrap_or_default(),
            delta: self.delta.unwrap_or_default(),
            flag: self.flag.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            filter: self.tf.map(|tf| FilterWish::from_json(tf.get())).unwrap_or_default(),
        }
    }
}

impl RawPublish<'_> {
    fn into_request(self) -> Request {
        let is_map = self.kind.is_some_and(|kind| kind != 0)
            || self.key.is_some_and(|key| !key.is_empty())
            || self.removed == Some(true);
        Request::Publish(PublishRequest {
            room: self.channel.unwrap_or_default(),
            data: self.data.compact().map(Payload::json),
            is_map,
        })
    }
}

impl RawHistory {
    fn into_request(self) -> Request {
        Request::History(HistoryRequest {
            room: self.channel.unwrap_or_default(),
            limit: self.limit.unwrap_or_default(),
            since: self.since.map(|Object(position)| position.into()),
            reverse: self.reverse.unwrap_or_default(),
        })
    }
}

impl RawSend<'_> {
    fn into_request(self) -> Request {
        Request::Send { data: self.data.compact().unwrap_or_else(|| Bytes::from_static(b"null")) }
    }
}
