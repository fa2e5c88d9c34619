//! HTTP: the page, health, metrics, the server API, and the door to WebSocket connections.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use axum::routing::get;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use super::Front;
use crate::client::connection::{Connection, Takeover};
use crate::client::shard::{Shard, SocketGuard};
use crate::config::Compression;
use crate::limits::memory::Grow as _;
use crate::net::admission::Purpose;
use crate::net::answer_headers;
use crate::net::arrival::Arrival;
use crate::net::fast_upgrade::Opened;
use crate::net::http_stream;
use crate::net::http_stream::{EMULATION_PATH, Transport};
use crate::net::page;
use crate::net::refusal;
use crate::net::unidirectional;
use crate::net::upgrade::UpgradeSlot;
use crate::ops::logging::cut;
use crate::rooms::hub::Hub;
use crate::wire::ws::Handshake;

/// Where clients connect.
pub(crate) const WEBSOCKET_PATH: &str = "/connection/websocket";

/// How long a client may take for the head of a request, and how long a connection may wait for the next one.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head, and of what is buffered of it; the most hyper can be told to keep small.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request.
pub(crate) const HEADERS_MAX: usize = 64;
/// What a connection takes while requests are read from it: their heads, and what is known of them.
const REQUEST_BYTES: u64 = 16 * 1024;
/// The answer where there is no memory for it.
static NO_MEMORY_LEFT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let later = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static("1"))]);
    answer_headers::refused(NO_MEMORY, &later)
});
/// The same of a request.
pub(crate) const NO_MEMORY: Refusal = (StatusCode::SERVICE_UNAVAILABLE, "there are too many requests: come later\n");
/// How long a request under way may take once the server drains.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves a connection that did not ask for a WebSocket in its first breath, until it ends or a client has taken it over.
pub(crate) async fn serve(
    front: Rc<Front>,
    shard: Rc<Shard>,
    stream: Opened,
    arrival: Arrival,
    mut socket: SocketGuard,
) {
    let mut memory = shard.hub.request_memory(arrival.connected_from(), shard.now_ms());
    // The operator is let in where nobody else reaches.
    if !memory.grow(REQUEST_BYTES) && arrival.way.role.serves_clients() {
        shard.hub.metrics.refused.inc();
        tracing::warn!("refused a request: memory for requests, in all or of its address, used up");
        // Whoever takes none of it learns by the end.
        let _ = stream.into_parts().0.try_write(&NO_MEMORY_LEFT);
        return;
    }
    let mut draining = shard.draining.clone();
    let slot = UpgradeSlot::default();
    let service = {
        let (hub, slot) = (Arc::clone(&shard.hub), slot.clone());
        service_fn(move |request: Request<Incoming>| {
            let request = request.map(Body::new);
            Box::pin(answer(Rc::clone(&front), Arc::clone(&hub), arrival.clone(), request, slot.clone()))
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let served = poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        match slot.take() {
            Some(takeover) => Poll::Ready(Served::TakenOver(takeover)),
            None => polled.map(Served::Ended),
        }
    });
    let served = tokio::select! {
        served = served => served,
        _ = draining.wait_for(|draining| *draining) => {
            Pin::new(&mut connection).graceful_shutdown();
            let ended = tokio::time::timeout(DRAIN_TIMEOUT, connection).await;
            return note(ended.unwrap_or(Ok(())));
        }
    };
    match served {
        Served::Ended(ended) => note(ended),
        // A client sends this request when it has read the answer to the one before, so HTTP has nothing left to write.
        Served::TakenOver(mut takeover) => {
            let Parts { io, read_buf, .. } = connection.into_parts();
            let (stream, said) = io.into_inner().into_parts();
            if takeover.framing.is_websocket() {
                takeover.behind = [read_buf, said].concat().into();
            }
            drop(memory);
            if let Some(Err(excess)) = slot.address().map(|address| socket.came_from(address)) {
                // Nothing of an answer has been written; whoever takes none of it learns by the end.
                let _ = stream.try_write(&refusal::answer(excess));
                return;
            }
            Connection::start(&shard, stream, takeover, socket);
        }
    }
}

enum Served {
    Ended(hyper::Result<()>),
    TakenOver(Takeover),
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// The routes that answer with a body.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page/{name}", get(page::file))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .with_state(hub)
}

/// Answers a request, of whatever version; one that becomes a client's connection never returns, see [`UpgradeSlot`].
pub(crate) async fn answer(
    front: Rc<Front>,
    hub: Arc<Hub>,
    arrival: Arrival,
    request: Request,
    slot: UpgradeSlot,
) -> Result<Response<Body>, Infallible> {
    let hub = &*hub;
    slot.came_from(arrival.forwarded_address(request.headers()));
    let is_version_1 = request.version() <= Version::HTTP_11;
    let path = request.uri().path();
    // By whatever name: it is the authority that asks, or there is nothing to be asked.
    if let Some(proof) = arrival.way.autocert.as_ref().and_then(|it| it.answer(path)) {
        return Ok(plain(StatusCode::OK, proof));
    }
    let now = hub.settled();
    let admission = front.admission(hub);
    let transport = Transport::at(&now.config, path);
    let is_streaming = transport.is_some() || path == EMULATION_PATH;
    let one_way = &now.config.unidirectional;
    let listens = path == one_way.websocket.handler_prefix;
    let is_init = one_way.init.enabled && path == one_way.init.handler_prefix;
    let is_api = front.api.serves(path);
    let is_page = page::has(path);
    let health = &now.config.health;
    let (is_health, is_ready) = (path == health.handler_prefix, path == health.ready_handler_prefix);
    let role = arrival.way.role;
    let is_here = match path {
        "/metrics" => role.serves_inside(),
        _ if is_health || is_ready => role.serves_inside(),
        _ if is_api => role.serves_api(&now.config),
        _ => role.serves_clients(),
    };
    let purpose = match path {
        _ if is_health || is_ready => Purpose::Health,
        WEBSOCKET_PATH => Purpose::Connect,
        _ if is_streaming || listens || is_init => Purpose::Connect,
        // What it asks for is done, whoever wrote the page that asks: the browser may know the key, or need none.
        _ if is_api => Purpose::Command,
        _ => Purpose::Read,
    };
    let authority = request.uri().authority();
    let user = admission.user(request.headers());
    let kept = if is_streaming || listens || path == WEBSOCKET_PATH {
        now.callbacks.keep_headers(request.headers())
    } else {
        None
    };
    let admitted = admission.admit(purpose, request.version(), authority, request.headers());
    let is_websocket = path == WEBSOCKET_PATH || listens;
    // Whoever commands the server has the key, or is counted when it turns out that it has not; and whoever becomes a client is counted
    // as a connection.
    let is_counted_later = is_here && admitted.is_ok() && (is_websocket || is_api && request.method() == Method::POST);
    let address = arrival.client_address(request.headers());
    let is_one_too_many = || role.serves_clients() && hub.connections.refuses_request(address, front.now_ms());
    let is_counted = !(is_counted_later || is_health || is_ready);
    let mut memory = hub.request_memory(address.filter(|_| role.serves_clients()), front.now_ms());
    // A connection of a proxy's is counted for nobody, and what is asked on it for who asks; a stream counts by itself.
    let is_for_another = is_version_1 && is_counted && slot.address().is_some();
    let mut response = if is_counted && is_one_too_many() {
        hold_off()
    } else if is_for_another && !memory.count(REQUEST_BYTES) {
        refuse(NO_MEMORY)
    } else if let Err(refusal) = admitted {
        turn_away(request.headers(), &arrival, refusal)
    } else if !is_here {
        refuse(NOTHING_HERE)
    } else if hub.is_settled() && (is_websocket || transport.is_some() && request.method() != Method::OPTIONS) {
        refuse(GOES_ELSEWHERE)
    } else if is_websocket {
        let upgraded = match path {
            WEBSOCKET_PATH => upgrade(hub, &request),
            _ => unidirectional::upgrade(hub, &request),
        };
        match upgraded {
            Ok(takeover) => slot.make(Takeover { user, headers: kept, ..takeover }).await,
            Err(_) if is_one_too_many() => hold_off(),
            Err(refusal) => turn_away(request.headers(), &arrival, refusal),
        }
    } else if is_streaming && request.method() == Method::OPTIONS {
        http_stream::preflight(request.headers())
    } else if let Some(transport) = transport {
        match transport.open(hub, request, memory).await {
            Ok(takeover) => slot.make(Takeover { user, headers: kept, ..takeover }).await,
            Err(refusal) => refuse(refusal),
        }
    } else if is_streaming {
        http_stream::emulate(hub, request, memory).await
    } else if is_init {
        unidirectional::init(&request)
    } else if is_health || is_ready {
        health_of(hub, request.method(), is_ready && (hub.drains() || hub.is_settled()))
    } else if is_api {
        match front.api.answer(request).await {
            refused if refused.status() == StatusCode::UNAUTHORIZED && is_one_too_many() => hold_off(),
            answered => answered,
        }
    } else {
        TowerToHyperService::new(front.router.clone()).call(request).await?
    };
    answer_headers::protect(response.headers_mut(), is_page);
    if hub.is_settled() && is_version_1 {
        // The next request, or the same one again, is the other process's.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Refuses a request of an address that sends too many: the next one costs it a connection.
fn hold_off() -> Response<Body> {
    let mut response = refuse(TOO_MANY);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Refuses a request, and says so in the log.
fn turn_away(headers: &HeaderMap, arrival: &Arrival, refusal: Refusal) -> Response<Body> {
    let (status, advice) = refusal;
    let [origin, host] = [header::ORIGIN, header::HOST].map(|name| headers.get(name).map(HeaderValue::as_bytes));
    let [origin, host] = [origin, host].map(|value| value.map(cut));
    let address = arrival.client_address(headers).map(tracing::field::display);
    tracing::warn!(origin, host, address, %status, "not let in: {}", advice.trim_end());
    refuse(refusal)
}

/// How a request for a WebSocket goes on.
fn upgrade(hub: &Hub, request: &Request) -> Result<Takeover, Refusal> {
    let handshake = handshake(request, &hub.now().config.websocket.compression)?;
    let framing = handshake.framing();
    Ok(Takeover {
        framing,
        head: handshake.head(),
        unanswered: None,
        frame: None,
        behind: Bytes::new(),
        user: None,
        headers: None,
    })
}

/// The handshake that a request asks for.
pub(crate) fn handshake(request: &Request, compression: &Compression) -> Result<Handshake, Refusal> {
    if request.version() < Version::HTTP_11 {
        return Err((
            StatusCode::BAD_REQUEST,
            "a WebSocket needs HTTP/1.1; behind nginx, say `proxy_http_version 1.1;`\n",
        ));
    }
    let (method, query, headers) = (request.method(), request.uri().query(), request.headers());
    let handshake = match request.version() {
        Version::HTTP_2 => {
            let protocol = request.extensions().get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
            Handshake::parse_stream(method, protocol, query, headers)
        }
        _ => Handshake::parse(method, query, headers),
    };
    let mut handshake = handshake.map_err(|error| (error.status(), error.advice()))?;
    handshake.negotiate(request.headers(), compression);
    Ok(handshake)
}

/// Whether the server is well; one that `drains` is not, where it is asked whether it takes clients.
fn health_of(hub: &Hub, method: &Method, drains: bool) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = refuse((StatusCode::METHOD_NOT_ALLOWED, "ask for it with GET\n"));
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
        return response;
    }
    if hub.stored_rooms().is_some_and(|stored_rooms| stored_rooms.archive.is_stopped()) {
        return refuse((
            StatusCode::SERVICE_UNAVAILABLE,
            "storage has stopped; the log says why. See that one server alone uses the database, then restart this one\n",
        ));
    }
    if drains {
        return refuse((StatusCode::SERVICE_UNAVAILABLE, "this server drains; clients are to go to another\n"));
    }
    plain(StatusCode::OK, "{}\n")
}

async fn metrics(State(hub): State<Arc<Hub>>) -> Response<Body> {
    hub.show_memory();
    let mut response = Response::new(Body::from(
        hub.metrics
            .render(hub.stored_rooms().map(|stored_rooms| stored_rooms.archive.status()).as_ref(), (hub.rooms.clock)()),
    ));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}

async fn not_found() -> Response<Body> {
    refuse(NOTHING_HERE)
}

const TOO_MANY: Refusal =
    (StatusCode::TOO_MANY_REQUESTS, "there are too many requests of your address: try again later\n");

/// What a client is told that comes when another process takes over.
pub(crate) const GOES_ELSEWHERE: Refusal =
    (StatusCode::SERVICE_UNAVAILABLE, "another process takes over at this moment: connect again\n");

const NOTHING_HERE: Refusal = (StatusCode::NOT_FOUND, "there is nothing here\n");

/// With what a request is refused, and what to do about it.
pub(crate) type Refusal = (StatusCode, &'static str);

pub(crate) fn refuse(refusal: Refusal) -> Response<Body> {
    let (status, advice) = refusal;
    let mut response = plain(status, advice);
    if refusal == NO_MEMORY {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
