//! What the backend is asked, and the form in which it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use roomcast_protocol::Encoding;

/// A kind of event that the backend is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Connect,
    Refresh,
    Subscribe,
    Publish,
    SubRefresh,
    Rpc,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::SubRefresh => "sub_refresh",
            Self::Rpc => "rpc",
        }
    }
}

/// Something about a client that the backend is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The name of the proxy that asks.
    pub(crate) proxy: String,
    /// Whose the client is; nothing as long as nobody has said.
    pub(crate) user: Option<String>,
    /// What the backend has attached to the connection, compact JSON.
    pub(crate) meta: Option<Bytes>,
    /// What the client has said in place of headers.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) event: Event,
}

/// What has happened, or is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A client without a token: who is it?
    Connect { data: Option<Bytes>, name: String, version: String, rooms: Vec<String> },
    /// A connection's time is over: may it stay?
    Refresh,
    /// May the client enter?
    Subscribe { room: String, data: Option<Bytes> },
    /// May the client publish that?
    Publish { room: String, data: Bytes },
    /// The client's time in a room is over: may it stay?
    SubRefresh { room: String },
    /// The client calls a procedure.
    Rpc { method: String, data: Option<Bytes> },
}

impl Event {
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Connect { .. } => Kind::Connect,
            Self::Refresh => Kind::Refresh,
            Self::Subscribe { .. } => Kind::Subscribe,
            Self::Publish { .. } => Kind::Publish,
            Self::SubRefresh { .. } => Kind::SubRefresh,
            Self::Rpc { .. } => Kind::Rpc,
        }
    }
}

/// Which client it is, and by which way it is connected.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) client: String,
    /// What the field calls it: `websocket`, `sse`, `http_stream`.
    pub(crate) transport: &'static str,
    pub(crate) encoding: Encoding,
}

/// What is posted. The fields are those of the field, in its order.
#[derive(Default, Serialize)]
struct Posted<'a> {
    client: &'a str,
    transport: &'static str,
    protocol: &'static str,
    encoding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64data: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    channels: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
}

/// The client's data is no JSON, and the proxy does not ask in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

impl Question {
    /// The body of the request.
    ///
    /// # Errors
    /// [`NotJson`]
    pub(super) fn body(&self, way: &Way, is_binary: bool, tells_meta: bool) -> Result<Vec<u8>, NotJson> {
        let mut posted = Posted {
            client: &way.client,
            transport: way.transport,
            protocol: match way.encoding {
                Encoding::Json | Encoding::JsonPushes => "json",
                Encoding::Protobuf => "protobuf",
            },
            encoding: if is_binary { "binary" } else { "json" },
            user: self.user.as_deref(),
            ..Posted::default()
        };
        let data = match &self.event {
            Event::Connect { data, name, version, rooms } => {
                (posted.name, posted.version, posted.channels) = (name, version, rooms);
                data.as_ref()
            }
            Event::Refresh => None,
            Event::Subscribe { room, data } => {
                posted.channel = room;
                data.as_ref()
            }
            Event::Publish { room, data } => {
                posted.channel = room;
                Some(data)
            }
            Event::SubRefresh { room } => {
                posted.channel = room;
                None
            }
            Event::Rpc { method, data } => {
                posted.method = method;
                data.as_ref()
            }
        };
        match data {
            Some(data) if is_binary => posted.b64data = Some(STANDARD.encode(data)),
            Some(data) => posted.data = Some(serde_json::from_slice(data).map_err(|_| NotJson)?),
            None => {}
        }
        if let Some(meta) = self.meta.as_ref().filter(|_| tells_meta) {
            posted.meta = Some(serde_json::from_slice(meta).map_err(|_| NotJson)?);
        }
        // There is nothing in it that could not be written.
        serde_json::to_vec(&posted).map_err(|_| NotJson)
    }
}
