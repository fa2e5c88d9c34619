//! An HTTP client for calls to the site's backend.
//!
//! It asks for what it is told, at the address it is told: it follows no redirect and no proxy of the environment, asks once, and
//! keeps an answer no longer than its caller does.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tower_service::Service;

use super::error::{CallError, chain};
use super::resolver::Resolver;
use crate::config::TlsOptions;
use crate::limits::memory::{Gathering, HeldByCall, NotGathered};

/// The largest body of an answer, unless its caller says otherwise: several times what a client may send in a message.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Memory that is there for an answer before anything is asked: most are smaller.
const ANSWER_BYTES_LEAST: u64 = 2 * 1024;

/// Bytes of an answer's head, and of what is buffered of it, give or take a read: four times what web servers take of a request's.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header lines of an answer.
const HEADERS_MAX: usize = 100;
/// How long a connection is kept that nobody uses. Web servers close theirs after 2 s (gunicorn), 5 s (Node, uvicorn) or later, and
/// who asks at that very moment asks in vain: what has been posted is not posted again. Where there is much to ask, connections are
/// used again at once; where there is little, another handshake costs little.
const IDLE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Connections of that kind, to one host.
const IDLE_MAX: usize = 128;

/// How long a connection may be on its way, TLS included. A call has its own time; this is for connections that go on without one: where
/// another becomes free first, the client takes that, and lets the new one be made for later.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

const NAME: &str = concat!("roomcast/", env!("CARGO_PKG_VERSION"));

type HttpsClient = Client<Within<HttpsConnector<HttpConnector<Resolver>>>, Full<Bytes>>;

/// Calls a backend, and keeps connections to it. All clones are one.
///
/// # Guarantees
/// - A call ends within its time, whoever is at the other end, and holds no more of an answer than it may.
/// - All of it happens on the runtime that the client was made with, TLS included, whichever thread asks: a shard has nothing to do
///   but to wait.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: HttpsClient,
    runtime: Handle,
}

/// What is asked for.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Of `http` or `https`.
    pub(crate) url: Uri,
    /// In place of nothing but the name of the client.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long all of it may take.
    pub(crate) timeout: Duration,
    /// The largest body of the answer.
    pub(crate) answer_bytes_max: usize,
    /// Whether the status is all that is wanted: of a body that is larger nothing is had, and it is no error.
    pub(crate) is_status_enough: bool,
    /// What it has of the memory for calls, of which the answer takes more as it comes; nothing where there is one of its kind at a
    /// time.
    pub(crate) memory: Option<HeldByCall>,
}

/// What was answered, and is no redirect.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What the call has of the memory, as long as this is there.
    pub(crate) _memory: Option<HeldByCall>,
}

impl Call {
    /// Asks for what is there.
    pub(crate) fn get(url: Uri, timeout: Duration) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout,
            answer_bytes_max: ANSWER_BYTES_MAX,
            is_status_enough: false,
            memory: None,
        }
    }

    /// Says something, with `headers` that say what it is.
    pub(crate) fn post(url: Uri, headers: HeaderMap, body: Bytes, timeout: Duration) -> Self {
        Self { method: Method::POST, headers, body, ..Self::get(url, timeout) }
    }
}

impl Answer {
    /// The body, of an answer that says that all is well.
    ///
    /// # Errors
    /// [`CallError::Status`] if it does not.
    pub(crate) fn ok(self) -> Result<Bytes, CallError> {
        if self.status == StatusCode::OK { Ok(self.body) } else { Err(CallError::Status(self.status)) }
    }
}

impl HttpClient {
    /// A client that does its work on `runtime`, and knows servers by `tls`.
    ///
    /// # Errors
    /// What of `tls` cannot be used; the configuration has been checked for it.
    pub(crate) fn new(runtime: Handle, tls: &TlsOptions) -> Result<Self, String> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls.client()?).https_or_http();
        let connector = match tls.server_name()? {
            None => https.enable_http1().wrap_connector(tcp),
            Some(name) => {
                https.with_server_name_resolver(FixedServerNameResolver::new(name)).enable_http1().wrap_connector(tcp)
            }
        };
        let connector = Within { connector, limit: CONNECT_TIMEOUT };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .build(connector);
        Ok(Self { client, runtime })
    }

    /// Makes a call. Whoever stops waiting for it ends it.
    ///
    /// # Errors
    /// As the answer is, or is missing. A status that is not 200 is none: see [`Answer::ok`].
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, CallError> {
        let client = self.client.clone();
        let timeout = call.timeout;
        let work = async move {
            match tokio::time::timeout(timeout, exchange(client, call)).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::Timeout),
            }
        };
        let mut work = EndsWithUs(self.runtime.spawn(work));
        match (&mut work.0).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Unreachable("the server is ending".to_owned())),
        }
    }
}

/// Gives up connections that are not there in time.
#[derive(Clone)]
struct Within<C> {
    connector: C,
    limit: Duration,
}

impl<C: Service<Uri>> Service<Uri> for Within<C>
where
    C::Future: Send + 'static,
    C::Response: 'static,
    C::Error: Into<BoxError> + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let (connecting, limit) = (self.connector.call(url), self.limit);
        Box::pin(async move { tokio::time::timeout(limit, connecting).await?.map_err(Into::into) })
    }
}

async fn exchange(client: HttpsClient, call: Call) -> Result<Answer, CallError> {
    #[cfg(test)]
    if let Some(double) = super::double::given() {
        return super::double::ask(&double, call).await;
    }
    let Call { method, url, headers, body, answer_bytes_max: bytes_max, is_status_enough, memory, .. } = call;
    // Before anything is asked: what was done for it would be done in vain.
    let gathering = Gathering::begin(memory, ANSWER_BYTES_LEAST, bytes_max).ok_or(CallError::NoMemory)?;
    let mut request = Request::new(Full::new(body));
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, url, headers);
    request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(NAME));
    let response = client.request(request).await.map_err(|error| unanswered(&error))?;
    let (parts, body) = Response::into_parts(response);
    if is_redirect(parts.status) {
        return Err(CallError::Redirected(parts.status));
    }
    let (body, memory) = match read(body, bytes_max, gathering).await {
        Err(CallError::TooLarge { .. }) if is_status_enough => (Bytes::new(), None),
        read => read?,
    };
    Ok(Answer { status: parts.status, headers: parts.headers, body, _memory: memory })
}

/// Reads a body to its end.
async fn read(
    mut body: Incoming,
    bytes_max: usize,
    mut gathering: Gathering<Option<HeldByCall>>,
) -> Result<(Bytes, Option<HeldByCall>), CallError> {
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(CallError::TooLarge { bytes_max });
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CallError::Broken(chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        gathering.push(&data).map_err(|why| match why {
            NotGathered::TooLong => CallError::TooLarge { bytes_max },
            NotGathered::NoMemory => CallError::NoMemory,
        })?;
    }
    Ok(gathering.finish())
}

fn unanswered(error: &ClientError) -> CallError {
    let why = chain(error);
    if error.is_connect() { CallError::Unreachable(why) } else { CallError::Broken(why) }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Ends its work when nobody waits for it any more.
pub(crate) struct EndsWithUs<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for EndsWithUs<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

impl fmt::Debug for Call {
    /// Without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("method", &self.method).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}
