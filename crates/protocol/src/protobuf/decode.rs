//! From a frame to commands.

use crate::{
    Command, ConnectRequest, DecodeError, FilterWish, HistoryRequest, Limits, Payload, PublishRequest, Request,
    RpcRequest, StreamPosition, SubscribeRequest,
};
use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, message, skip_field};

/// The commands of one frame.
#[derive(Debug)]
pub(crate) struct Commands<'a> {
    /// What has not been read; nothing after an error.
    rest: &'a [u8],
    frame_bytes: usize,
    /// How many more commands the frame may hold.
    left: usize,
    limits: Limits,
}

impl<'a> Commands<'a> {
    pub(crate) fn new(frame: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        if frame.len() > limits.frame_bytes_max {
            return Err(DecodeError::TooLarge { bytes_max: limits.frame_bytes_max });
        }
        if frame.is_empty() {
            return Err(DecodeError::Empty);
        }
        Ok(Self { rest: frame, frame_bytes: frame.len(), left: limits.commands_per_frame_max, limits: *limits })
    }

    fn read(&mut self) -> Result<Command, DecodeError> {
        let malformed = DecodeError::Malformed { at: self.frame_bytes - self.rest.len() };
        let length = prost::decode_length_delimiter(&mut self.rest).map_err(|_| malformed)?;
        let (command, rest) = self.rest.split_at_checked(length).ok_or(malformed)?;
        if self.left == 0 {
            return Err(DecodeError::TooManyCommands { commands_max: self.limits.commands_per_frame_max });
        }
        let raw = RawCommand::decode(command).map_err(|_| malformed)?;
        self.left -= 1;
        self.rest = rest;
        raw.into_command(&self.limits).map_err(|_| malformed)
    }
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let command = self.read();
        if command.is_err() {
            self.rest = &[];
        }
        Some(command)
    }
}

#[derive(Clone, PartialEq, Message)]
struct RawCommand {
    #[prost(uint32, tag = "1")]
    id: u32,
    /// A [`RawConnect`], and what [`subs`] and [`headers`] read.
    #[prost(bytes = "bytes", optional, tag = "4")]
    connect: Option<Bytes>,
    #[prost(message, optional, boxed, tag = "5")]
    subscribe: Option<Box<RawSubscribe>>,
    #[prost(message, optional, tag = "6")]
    unsubscribe: Option<RawRoom>,
    #[prost(message, optional, tag = "7")]
    publish: Option<RawPublish>,
    #[prost(message, optional, tag = "8")]
    presence: Option<RawRoom>,
    #[prost(message, optional, tag = "9")]
    presence_stats: Option<RawRoom>,
    #[prost(message, optional, tag = "10")]
    history: Option<RawHistory>,
    #[prost(message, optional, tag = "11")]
    ping: Option<Nothing>,
    #[prost(message, optional, tag = "12")]
    send: Option<RawSend>,
    #[prost(message, optional, tag = "13")]
    rpc: Option<RawRpc>,
    #[prost(message, optional, tag = "14")]
    refresh: Option<RawToken>,
    #[prost(message, optional, tag = "15")]
    sub_refresh: Option<RawRoom>,
}

/// A message whose fields do not matter.
#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// A connect message but for its maps.
#[derive(Clone, PartialEq, Message)]
struct RawConnect {
    #[prost(bytes = "vec", tag = "1")]
    token: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
    #[prost(bytes = "vec", tag = "4")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    version: Vec<u8>,
}

/// The fields of a connect message that are its maps.
const SUBS: u32 = 3;
const HEADERS: u32 = 6;

#[derive(Clone, PartialEq, Message)]
struct RawHeader {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RawSub {
    #[prost(bytes = "vec", tag = "1")]
    room: Vec<u8>,
    #[prost(message, optional, boxed, tag = "2")]
    request: Option<Box<RawSubscribe>>,
}

#[derive(Clone, PartialEq, Message)]
struct RawSubscribe {
    #[prost(bytes = "vec", tag = "1")]
    room: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    token: Vec<u8>,
    #[prost(bool, tag = "3")]
    recover: bool,
    #[prost(bytes = "vec", tag = "6")]
    epoch: Vec<u8>,
    #[prost(uint64, tag = "7")]
    offset: u64,
    #[prost(bytes = "bytes", tag = "8")]
    data: Bytes,
    #[prost(bool, tag = "9")]
    positioned: bool,
    #[prost(bool, tag = "10")]
    recoverable: bool,
    #[prost(bool, tag = "11")]
    join_leave: bool,
    #[prost(bytes = "vec", tag = "12")]
    delta: Vec<u8>,
    /// What [`FilterWish::from_protobuf`] reads.
    #[prost(bytes = "bytes", optional, tag = "13")]
    tf: Option<Bytes>,
    #[prost(int64, tag = "14")]
    flag: i64,
    #[prost(int32, tag = "15")]
    kind: i32,
}

/// A command that names a room, and perhaps brings a token for it.
#[derive(Clone, PartialEq, Message)]
struct RawRoom {
    #[prost(bytes = "vec", tag = "1")]
    room: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    token: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RawPublish {
    #[prost(bytes = "vec", tag = "1")]
    room: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(bytes = "vec", tag = "4")]
    key: Vec<u8>,
    #[prost(bool, tag = "5")]
    removed: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RawHistory {
    #[prost(bytes = "vec", tag = "1")]
    room: Vec<u8>,
    #[prost(int32, tag = "7")]
    limit: i32,
    #[prost(message, optional, tag = "8")]
    since: Option<RawPosition>,
    #[prost(bool, tag = "9")]
    reverse: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RawPosition {
    #[prost(uint64, tag = "1")]
    offset: u64,
    #[prost(bytes = "vec", tag = "2")]
    epoch: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RawSend {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RawRpc {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
    #[prost(bytes = "vec", tag = "2")]
    method: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RawToken {
    #[prost(bytes = "vec", tag = "1")]
    token: Vec<u8>,
}

/// Why a command is not read.
enum Flaw {
    /// Its bytes are not the protocol.
    Malformed,
    /// They are, but for a text that is none.
    NoText,
}

impl From<prost::DecodeError> for Flaw {
    fn from(_: prost::DecodeError) -> Self {
        Self::Malformed
    }
}

impl RawCommand {
    fn into_command(self, limits: &Limits) -> Result<Command, Flaw> {
        let id = self.id;
        if id == 0 {
            let request = match self.send {
                Some(send) => Request::Send { data: send.data },
                None => Request::Pong,
            };
            return Ok(Command { id, request });
        }
        let is_connect = self.connect.is_some();
        let request = match self.into_request(limits) {
            Err(Flaw::NoText) => Request::Unreadable { is_connect },
            request => request?,
        };
        Ok(Command { id, request })
    }

    /// The first method that is there, in the order of the field numbers.
    fn into_request(self, limits: &Limits) -> Result<Request, Flaw> {
        Ok(if let Some(raw) = self.connect {
            // Whether it is well-formed is looked at first, whatever its maps hold.
            let connect = RawConnect::decode(raw.clone())?;
            let headers = headers(&raw)?;
            Request::Connect(connect.into_request(subs(&raw, limits.rooms_per_client_max)?, headers)?)
        } else if let Some(raw) = self.subscribe {
            Request::Subscribe(raw.into_request()?)
        } else if let Some(raw) = self.unsubscribe {
            Request::Unsubscribe { room: raw.room()? }
        } else if let Some(raw) = self.publish {
            Request::Publish(raw.into_request()?)
        } else if let Some(raw) = self.presence {
            Request::Presence { room: raw.room()? }
        } else if let Some(raw) = self.presence_stats {
            Request::PresenceStats { room: raw.room()? }
        } else if let Some(raw) = self.history {
            Request::History(raw.into_request()?)
        } else if self.ping.is_some() {
            Request::Ping
        } else if let Some(raw) = self.send {
            Request::Send { data: raw.data }
        } else if let Some(raw) = self.rpc {
            Request::Rpc(RpcRequest { method: text(raw.method)?, data: given(raw.data) })
        } else if let Some(raw) = self.refresh {
            Request::Refresh { token: text(raw.token)? }
        } else if let Some(raw) = self.sub_refresh {
            let RawRoom { room, token } = raw;
            Request::SubRefresh { room: text(room)?, token: text(token)? }
        } else {
            Request::Unknown
        })
    }
}

impl RawConnect {
    fn into_request(self, subs: Subs, headers: Headers) -> Result<ConnectRequest, Flaw> {
        let Self { token, data, name, version } = self;
        let (token, name, version) = (text(token)?, text(name)?, text(version)?);
        Ok(ConnectRequest { token, data: given(data), name, version, subs, headers })
    }
}

/// Rooms, and where to recover from in them.
type Subs = Vec<(String, Option<StreamPosition>)>;

/// The map of a connect message, of which at most `entries_max` entries are read. The others are not kept for a moment
/// either: an entry can have two bytes, and whatever stands for it in a list has many more.
fn subs(mut connect: &[u8], entries_max: usize) -> Result<Subs, Flaw> {
    let mut subs = Vec::new();
    let mut left = entries_max;
    while left > 0 && !connect.is_empty() {
        let (tag, wire_type) = decode_key(&mut connect)?;
        if tag != SUBS {
            skip_field(wire_type, tag, &mut connect, DecodeContext::default())?;
            continue;
        }
        let mut entry = RawSub::default();
        message::merge(wire_type, &mut entry, &mut connect, DecodeContext::default())?;
        let request = entry.request.unwrap_or_default().into_request()?;
        if request.is_plain() {
            subs.push((text(entry.room)?, request.recover.then_some(request.position)));
        }
        left -= 1;
    }
    Ok(subs)
}

/// Names and values.
type Headers = Vec<(String, String)>;

/// The other map of a connect message, of which no more is read than is kept.
fn headers(mut connect: &[u8]) -> Result<Headers, Flaw> {
    let mut headers = Vec::new();
    while headers.len() < ConnectRequest::HEADERS_MAX && !connect.is_empty() {
        let (tag, wire_type) = decode_key(&mut connect)?;
        if tag != HEADERS {
            skip_field(wire_type, tag, &mut connect, DecodeContext::default())?;
            continue;
        }
        let mut entry = RawHeader::default();
        message::merge(wire_type, &mut entry, &mut connect, DecodeContext::default())?;
        headers.push((text(entry.name)?, text(entry.value)?));
    }
    Ok(headers)
}

impl RawSubscribe {
    fn into_request(self) -> Result<SubscribeRequest, Flaw> {
        Ok(SubscribeRequest {
            room: text(self.room)?,
            token: text(self.token)?,
            recover: self.recover,
            position: StreamPosition { offset: self.offset, epoch: text(self.epoch)? },
            data: given(self.data),
            positioned: self.positioned,
            recoverable: self.recoverable,
            join_leave: self.join_leave,
            delta: text(self.delta)?,
            flag: self.flag.cast_unsigned(),
            kind: self.kind,
            filter: self.tf.map(|tf| FilterWish::from_protobuf(&tf)).unwrap_or_default(),
        })
    }
}

impl RawRoom {
    fn room(self) -> Result<String, Flaw> {
        text(self.room)
    }
}

impl RawPublish {
    fn into_request(self) -> Result<PublishRequest, Flaw> {
        let is_map = self.kind != 0 || !self.key.is_empty() || self.removed;
        Ok(PublishRequest { room: text(self.room)?, data: given(self.data).map(Payload::opaque), is_map })
    }
}

impl RawHistory {
    fn into_request(self) -> Result<HistoryRequest, Flaw> {
        let since = self.since.map(RawPosition::into_position).transpose()?;
        Ok(HistoryRequest { room: text(self.room)?, limit: self.limit, since, reverse: self.reverse })
    }
}

impl RawPosition {
    fn into_position(self) -> Result<StreamPosition, Flaw> {
        Ok(StreamPosition { offset: self.offset, epoch: text(self.epoch)? })
    }
}

/// A text. The messages hold texts as bytes, so that one that is none does not spoil the frame.
fn text(bytes: Vec<u8>) -> Result<String, Flaw> {
    String::from_utf8(bytes).map_err(|_| Flaw::NoText)
}

/// A payload, which Protobuf cannot tell from none when it is empty.
fn given(data: Bytes) -> Option<Bytes> {
    (!data.is_empty()).then_some(data)
}
