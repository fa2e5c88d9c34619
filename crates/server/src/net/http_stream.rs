//! The transports for clients that WebSocket does not reach: HTTP streaming, server-sent events, and the requests that bring
//! their commands.

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use prost::Message;
use serde::Deserialize;

use crate::client::connection::Takeover;
use crate::config::Config;
use crate::limits::memory::{Gathering, NotGathered};
use crate::limits::requests::RequestMemory;
use crate::net::http::{NO_MEMORY, Refusal, refuse};
use crate::net::{answer_headers, unidirectional};
use crate::rooms::cluster::NotTaken;
use crate::rooms::hub::Hub;
use crate::wire::framing::Framing;
use crate::wire::unanswered::Unanswered;
use roomcast_protocol::{Command, Encoding, Limits, Request as Asked};

/// Where commands of all emulated connections go.
pub(crate) const EMULATION_PATH: &str = "/emulation";

/// Bytes of an emulation request beside its commands: names of session and node, and what quoting adds.
const EMULATION_BYTES_MORE: usize = 1_024;

/// A content type that says Protobuf.
const BINARY: &str = "application/octet-stream";

/// How long a browser may remember that it may ask, in seconds.
const PREFLIGHT_SECONDS: &str = "300";

/// A transport that answers one request for as long as its client stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    HttpStream,
    Events,
    /// The same two for clients that only listen.
    UniHttpStream,
    UniEvents,
}

impl Transport {
    /// The one that is served at `path`.
    pub(crate) fn at(config: &Config, path: &str) -> Option<Self> {
        let (two_ways, one_way) = (&config.transports, &config.unidirectional);
        let paths = [
            (Self::HttpStream, &two_ways.http_stream.handler_prefix),
            (Self::Events, &two_ways.sse.handler_prefix),
            (Self::UniHttpStream, &one_way.http_stream.handler_prefix),
            (Self::UniEvents, &one_way.sse.handler_prefix),
        ];
        paths.into_iter().find(|(_, prefix)| *prefix == path).map(|(transport, _)| transport)
    }

    fn is_enabled(self, config: &Config) -> bool {
        match self {
            Self::HttpStream => config.transports.http_stream.enabled,
            Self::Events => config.transports.sse.enabled,
            Self::UniHttpStream => config.unidirectional.http_stream.enabled,
            Self::UniEvents => config.unidirectional.sse.enabled,
        }
    }

    /// What the request asks for, if it may.
    pub(crate) async fn open(self, hub: &Hub, request: Request, memory: RequestMemory) -> Result<Takeover, Refusal> {
        let now = hub.settled();
        if !self.is_enabled(&now.config) {
            return Err(SWITCHED_OFF);
        }
        let method = request.method().clone();
        let may_get = matches!(self, Self::Events | Self::UniEvents) && method == Method::GET;
        if method != Method::POST && !may_get {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "open this address with POST, the commands in the body\n"));
        }
        if request.version() < Version::HTTP_11 {
            return Err((
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "an answer without end needs HTTP/1.1; behind nginx, say `proxy_http_version 1.1;`\n",
            ));
        }
        let encoding = match self {
            Self::HttpStream => encoding_of(request.headers()),
            Self::Events => Encoding::Json,
            Self::UniHttpStream | Self::UniEvents => Encoding::JsonPushes,
        };
        let cors = cors(request.headers());
        let one_way = &now.config.unidirectional;
        let frame = match (self, method) {
            (Self::UniEvents, Method::GET) => unidirectional::connect_in_query(hub, &request)?.unwrap_or(NOBODY),
            (Self::UniEvents, _) => {
                unidirectional::connect_in_body(hub, request, memory, one_way.sse.max_request_body_size).await?
            }
            (Self::UniHttpStream, _) => {
                unidirectional::connect_in_body(hub, request, memory, one_way.http_stream.max_request_body_size).await?
            }
            (_, Method::GET) => commands_in(request.uri(), &now.settings.limits)?,
            _ => body(hub, request, memory, now.config.websocket.message_size_limit).await?.ok_or(TOO_LARGE)?,
        };
        // Like all that is wrong with commands, that there are none is said by the session.
        let (framing, content_type) = match self {
            Self::Events | Self::UniEvents => (Framing::Events(encoding), "text/event-stream"),
            Self::HttpStream if encoding == Encoding::Protobuf => (Framing::Stream(encoding), BINARY),
            Self::HttpStream | Self::UniHttpStream => (Framing::Stream(encoding), "application/json"),
        };
        let head = head(content_type, &cors);
        let waits = match self {
            Self::UniEvents => Some(&one_way.sse.connect_code_to_http_response),
            Self::UniHttpStream => Some(&one_way.http_stream.connect_code_to_http_response),
            Self::HttpStream | Self::Events => None,
        };
        let (head, unanswered) = match waits.filter(|answers| answers.enabled) {
            None => (head, None),
            Some(answers) => {
                let unanswered =
                    Unanswered { head, lines: answer_headers::lines(&cors), answers: answers.clone(), refused: None };
                (Vec::new(), Some(Box::new(unanswered)))
            }
        };
        Ok(Takeover { framing, head, unanswered, frame: Some(frame), behind: Bytes::new(), user: None, headers: None })
    }
}

/// Takes the commands of one request to the session it names.
pub(crate) async fn emulate(hub: &Hub, request: Request, memory: RequestMemory) -> Response<Body> {
    let (cors, command) = match receive(hub, request, memory).await {
        Ok(received) => received,
        Err(refusal) => return refuse(refusal),
    };
    let Envelope { session, data } = command;
    let mut response = match hub.commands.take_frame(session, data).await {
        Ok(()) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(NotTaken::NoSession) => refuse((StatusCode::NOT_FOUND, "there is no such session: connect again\n")),
        Err(NotTaken::Busy) => refuse((StatusCode::SERVICE_UNAVAILABLE, "the session is busy: send it again later\n")),
    };
    response.headers_mut().extend(cors);
    response
}

/// Answers a browser that asks whether a page may send such a request.
pub(crate) fn preflight(headers: &HeaderMap) -> Response<Body> {
    let cors = cors(headers);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.extend(cors);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    response
}

/// Commands, and whom they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) session: String,
    pub(crate) data: Bytes,
}

impl Envelope {
    /// What a body says, if it says something.
    pub(crate) fn read(encoding: Encoding, body: Bytes) -> Option<Self> {
        match encoding {
            Encoding::Json | Encoding::JsonPushes => serde_json::from_slice(&body)
                .map(|JsonEnvelope { session, data }| Self { session, data: data.into() })
                .ok(),
            Encoding::Protobuf => {
                ProtobufEnvelope::decode(body).map(|ProtobufEnvelope { session, data }| Self { session, data }).ok()
            }
        }
    }

    /// The body that says it.
    #[cfg(any(test, roomcast_fuzz))]
    pub(crate) fn write(&self, encoding: Encoding) -> Bytes {
        let Self { session, data } = self.clone();
        match encoding {
            Encoding::Json | Encoding::JsonPushes => {
                serde_json::json!({ "session": session, "data": String::from_utf8_lossy(&data) }).to_string().into()
            }
            Encoding::Protobuf => ProtobufEnvelope { session, data }.encode_to_vec().into(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonEnvelope {
    session: String,
    data: String,
}

#[derive(Clone, PartialEq, Message)]
struct ProtobufEnvelope {
    #[prost(string, tag = "2")]
    session: String,
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
}

async fn receive(hub: &Hub, request: Request, memory: RequestMemory) -> Result<(HeaderMap, Envelope), Refusal> {
    if request.method() != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "send commands with POST\n"));
    }
    let cors = cors(request.headers());
    let encoding = encoding_of(request.headers());
    let bytes_max = hub.now().config.websocket.message_size_limit;
    // A string of JSON may be longer than what it says.
    let body = body(hub, request, memory, 2 * bytes_max + EMULATION_BYTES_MORE).await?.ok_or(TOO_LARGE)?;
    let command = Envelope::read(encoding, body).ok_or(MALFORMED)?;
    if command.data.len() > bytes_max {
        return Err(TOO_LARGE);
    }
    Ok((cors, command))
}

fn encoding_of(headers: &HeaderMap) -> Encoding {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if content_type == Some(BINARY.as_bytes()) { Encoding::Protobuf } else { Encoding::Json }
}

/// The commands in the address. It is asked for by pictures and links, too, and remembered by those it passes; so what it
/// asks for must change nothing.
pub(crate) fn commands_in(address: &Uri, limits: &Limits) -> Result<Bytes, Refusal> {
    #[derive(Deserialize)]
    struct Parameters {
        cf_connect: String,
    }
    let parameters = Query::<Parameters>::try_from_uri(address);
    let commands = parameters.map(|Query(Parameters { cf_connect })| cf_connect).ok().filter(|it| !it.is_empty());
    let frame = commands.map(Bytes::from);
    let frame = frame.ok_or((StatusCode::BAD_REQUEST, "put the connect command into the parameter `cf_connect`\n"))?;
    // Of what is not the protocol the session says so.
    let commands = Encoding::Json.commands(&frame, limits).into_iter().flatten();
    let changes_nothing = |command: Command| matches!(command.request, Asked::Connect(_) | Asked::Subscribe(_));
    if commands.flatten().all(changes_nothing) {
        return Ok(frame);
    }
    Err((StatusCode::BAD_REQUEST, "an address may connect and subscribe; send other commands with POST\n"))
}

/// Bytes of a body for which memory is taken before it comes: most have fewer.
const BODY_BYTES_LEAST: u64 = 4 * 1024;

/// The body, if it comes in the time that a client has to say what it wants; nothing where it has more than so many bytes.
pub(crate) async fn body(
    hub: &Hub,
    request: Request,
    memory: RequestMemory,
    bytes_max: usize,
) -> Result<Option<Bytes>, Refusal> {
    let body = whole(request.into_body(), memory, bytes_max);
    let stale = hub.now().config.client.stale_close_delay;
    let body = tokio::time::timeout(stale, body).await;
    body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the rest of the request did not come in time\n"))?
}

/// The same, however long that takes.
async fn whole(mut body: Body, memory: RequestMemory, bytes_max: usize) -> Result<Option<Bytes>, Refusal> {
    let mut gathering = Gathering::begin(memory, BODY_BYTES_LEAST, bytes_max).ok_or(NO_MEMORY)?;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Ok(None) };
        let Ok(data) = frame.into_data() else { continue };
        match gathering.push(&data) {
            Ok(()) => {}
            Err(NotGathered::TooLong) => return Ok(None),
            Err(NotGathered::NoMemory) => return Err(NO_MEMORY),
        }
    }
    Ok(Some(gathering.finish().0))
}

pub(crate) const SWITCHED_OFF: Refusal =
    (StatusCode::NOT_FOUND, "this transport is switched off in the configuration\n");

/// The connect request of a client that says nothing of itself.
const NOBODY: Bytes = Bytes::from_static(b"{}");

const MALFORMED: Refusal =
    (StatusCode::BAD_REQUEST, "send {\"session\":…,\"node\":…,\"data\":…}, the commands as text in `data`\n");

const TOO_LARGE: Refusal =
    (StatusCode::PAYLOAD_TOO_LARGE, "the commands are longer than `message_size_limit` allows\n");

/// What tells a browser that the page, which was let in, may read the answer.
pub(crate) fn cors(headers: &HeaderMap) -> HeaderMap {
    let mut cors = HeaderMap::new();
    let Some(origin) = headers.get(header::ORIGIN) else { return cors };
    cors.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    cors.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    cors.insert(header::VARY, HeaderValue::from_static("origin"));
    cors
}

/// The head of an answer without end.
fn head(content_type: &str, cors: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    let mut line = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    line("content-type", content_type.as_bytes());
    line("transfer-encoding", b"chunked");
    // The socket ends with the answer: whoever keeps sockets for other requests is not to keep this one.
    line("connection", b"close");
    line("cache-control", b"private, no-cache, no-store, must-revalidate, max-age=0");
    // Proxies are not to gather what is meant for now.
    line("x-accel-buffering", b"no");
    head.extend(answer_headers::lines(cors));
    head.extend_from_slice(b"\r\n");
    head
}
