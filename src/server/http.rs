//! HTTP: the page, health, metrics, and the door to WebSocket connections.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use super::connection::Connection;
use super::entrance::Opened;
use super::hub::Hub;
use super::origin::Origins;
use super::page;
use super::shard::{Shard, SocketGuard};
use super::ws::Handshake;

/// Where clients connect.
pub(super) const WEBSOCKET_PATH: &str = "/connection/websocket";

/// How long a client may take for the head of a request, and how long a connection may wait for the next one.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head, and of what is buffered of it; the most hyper can be told to keep small.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request.
pub(super) const HEADERS_MAX: usize = 64;
/// How long a request under way may take once the server drains.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves a connection that did not ask for a WebSocket in its first breath, until it ends or has become one.
pub(crate) async fn serve(shard: Rc<Shard>, stream: Opened, socket: SocketGuard) {
    let mut draining = shard.draining.clone();
    let service = service_fn(move |request| answer(Rc::clone(&shard), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = draining.wait_for(|draining| *draining) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
    drop(socket);
}

/// The routes that answer with a body.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page/{name}", get(page::file))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .with_state(hub)
}

async fn answer(shard: Rc<Shard>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let mut response = if request.uri().path() == WEBSOCKET_PATH {
        upgrade(&shard, request)
    } else {
        let router = TowerToHyperService::new(shard.router.clone());
        router.call(request.map(Body::new)).await?
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::CONTENT_SECURITY_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// Answers a WebSocket handshake; the connection starts when the answer has been written.
fn upgrade(shard: &Rc<Shard>, mut request: Request<Incoming>) -> Response<Body> {
    let handshake = match admit(&shard.hub.origins, request.method(), request.headers()) {
        Ok(handshake) => handshake,
        Err((status, advice)) => {
            let origin = request.headers().get(header::ORIGIN);
            tracing::warn!(?origin, %status, "not let in: {}", advice.trim_end());
            return refuse(status, advice);
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(begin(Rc::clone(shard), upgrade, SocketGuard::new(shard)));

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(handshake.accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Whether a request may become a WebSocket; otherwise with what it is refused.
pub(super) fn admit(
    origins: &Origins,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Handshake, (StatusCode, &'static str)> {
    let handshake = Handshake::parse(method, headers).map_err(|error| (error.status(), error.advice()))?;
    let text = |name| headers.get(name).map(HeaderValue::to_str);
    match text(header::ORIGIN) {
        None => Ok(handshake),
        Some(Ok(origin)) if origins.allow(origin, text(header::HOST).and_then(Result::ok)) => Ok(handshake),
        Some(_) => Err((StatusCode::FORBIDDEN, ORIGIN_ADVICE)),
    }
}

const ORIGIN_ADVICE: &str = "pages from this origin may not connect: add it to `allowed_origins` \
     in section `[client]` of the configuration\n";

/// Takes the bare socket out of HTTP, whose buffers end here, and starts the connection.
async fn begin(shard: Rc<Shard>, upgrade: OnUpgrade, socket: SocketGuard) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "an upgrade did not happen"),
    };
    match upgraded.downcast::<TokioIo<Opened>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let (stream, said) = io.into_inner().into_parts();
            Connection::start(&shard, stream, [read_buf, said].concat().into(), socket);
        }
        Err(_) => tracing::error!("an upgraded connection is not a plain socket"),
    }
}

async fn health() -> &'static str {
    "{}\n"
}

async fn metrics(State(hub): State<Arc<Hub>>) -> Response<Body> {
    let mut response = Response::new(Body::from(hub.metrics.render()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}

async fn not_found() -> Response<Body> {
    refuse(StatusCode::NOT_FOUND, "there is nothing here\n")
}

fn refuse(status: StatusCode, advice: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(advice));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
