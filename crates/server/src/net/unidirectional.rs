//! Clients that only listen: how they say who they are, their WebSocket, and the address that opens a connection for them.

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use serde::Deserialize;

use crate::client::connection::Takeover;
use crate::limits::requests::RequestMemory;
use crate::net::http::{Refusal, handshake, refuse};
use crate::net::http_stream::{SWITCHED_OFF, body, cors};
use crate::rooms::hub::Hub;
use crate::wire::framing::Framing;
use roomcast_protocol::Encoding;

const MALFORMED: Refusal =
    (StatusCode::BAD_REQUEST, "send a connect request such as {\"token\":\"…\"}, or {} without a token\n");

const TOO_LARGE: Refusal =
    (StatusCode::PAYLOAD_TOO_LARGE, "the connect request is longer than `max_request_body_size` allows\n");

/// The connect request in the address, if there is one.
pub(crate) fn connect_in_query(hub: &Hub, request: &Request) -> Result<Option<Bytes>, Refusal> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Parameters {
        cf_connect: String,
    }
    let parameters = Query::<Parameters>::try_from_uri(request.uri()).map_err(|_| MALFORMED)?;
    let Query(Parameters { cf_connect }) = parameters;
    if cf_connect.is_empty() {
        return Ok(None);
    }
    understood(hub, cf_connect.into()).map(Some)
}

/// The connect request in the body.
pub(crate) async fn connect_in_body(
    hub: &Hub,
    request: Request,
    memory: RequestMemory,
    bytes_max: usize,
) -> Result<Bytes, Refusal> {
    understood(hub, body(hub, request, memory, bytes_max).await?.ok_or(TOO_LARGE)?)
}

/// The request, if it is one: nobody can be told later that it is not.
fn understood(hub: &Hub, request: Bytes) -> Result<Bytes, Refusal> {
    match Encoding::JsonPushes.commands(&request, &hub.now().settings.limits) {
        Ok(_) => Ok(request),
        Err(_) => Err(MALFORMED),
    }
}

/// How a request for a WebSocket goes on whose client only listens.
pub(crate) fn upgrade(hub: &Hub, request: &Request) -> Result<Takeover, Refusal> {
    let now = hub.now();
    let options = &now.config.unidirectional.websocket;
    if !options.enabled {
        return Err(SWITCHED_OFF);
    }
    let mut handshake = handshake(request, &options.compression)?;
    // There is one way to speak here, and it has no name.
    handshake.subprotocol = None;
    let frame = connect_in_query(hub, request)?;
    let framing = match (options.join_push_messages, handshake.compression) {
        (true, None) => Framing::Frames(Encoding::JsonPushes),
        (true, Some(agreed)) => Framing::Deflated(Encoding::JsonPushes, agreed.deflate),
        (false, None) => Framing::PushFrames,
        (false, Some(agreed)) => Framing::DeflatedPushes(agreed.deflate),
    };
    Ok(Takeover {
        framing,
        head: handshake.head(),
        unanswered: None,
        frame,
        behind: Bytes::new(),
        user: None,
        headers: None,
    })
}

/// Answers with next to nothing: the connection is open, for whatever comes next.
pub(crate) fn init(request: &Request) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refuse((StatusCode::METHOD_NOT_ALLOWED, "open this address with GET\n"));
    }
    let mut response = Response::new(Body::from("{}"));
    let headers = response.headers_mut();
    headers.extend(cors(request.headers()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}
