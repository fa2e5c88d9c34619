//! One proxy: how it asks, how many questions it has under way, and what it makes of failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::question::{Question, Way};
use crate::backend::{self, Call, CallError, HttpClient};
use crate::config::{Config, ProxyOptions, TransformTo};
use crate::ops::metrics::ProxyMetrics;
use roomcast_protocol::{CustomError, Encoding, ErrorCode};

/// A line to a backend, and what holds on it whatever is asked.
#[derive(Debug)]
pub(super) struct Line {
    client: HttpClient,
    url: Uri,
    options: ProxyOptions,
    static_headers: HeaderMap,
    pub(super) http_headers: Vec<HeaderName>,
    free: Semaphore,
    waiting: AtomicUsize,
}

/// What one kind of event is asked by.
#[derive(Debug)]
pub(super) struct Proxy {
    line: Arc<Line>,
    metrics: ProxyMetrics,
    clock: Clock,
    /// Bytes that a backend may publish in place of a client.
    publish_bytes_max: usize,
}

struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Trouble {
    Call(CallError),
    /// As many questions wait as may.
    Busy,
    Unreadable(answer::Unreadable),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Busy => f.write_str("too many calls wait for it already; see `concurrency` and `queue_size`"),
            Self::Unreadable(why) => write!(f, "the answer cannot be used: {why}"),
        }
    }
}

impl Trouble {
    /// One word for a label.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Call(error) => error.kind(),
            Self::Busy => "busy",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl Line {
    pub(super) fn new(options: &ProxyOptions, endpoint: &str, runtime: Handle) -> Result<Self, String> {
        let url = endpoint.parse().map_err(|_| "`endpoint` is no address".to_owned())?;
        let name = |name: &String| HeaderName::from_bytes(name.as_bytes()).ok();
        let mut static_headers = HeaderMap::new();
        for (key, value) in &options.static_headers.0 {
            if let (Some(key), Ok(mut value)) = (name(key), HeaderValue::from_str(&value.reveal())) {
                value.set_sensitive(true);
                static_headers.insert(key, value);
            }
        }
        Ok(Self {
            client: HttpClient::new(runtime, &options.tls)?,
            url,
            static_headers,
            http_headers: options.http_headers.iter().filter_map(name).collect(),
            free: Semaphore::new(options.concurrency),
            waiting: AtomicUsize::new(0),
            options: options.clone(),
        })
    }

    /// Those of every call, below those that the client writes, below those of its handshake.
    fn headers(&self, question: &Question, handshake: Option<&HeaderMap>) -> HeaderMap {
        let mut headers = self.static_headers.clone();
        for (name, value) in &question.headers {
            let name = name.to_ascii_lowercase();
            if !self.options.emulated_headers.contains(&name) {
                continue;
            }
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        for name in handshake.into_iter().flat_map(|_| &self.http_headers) {
            let values = handshake.into_iter().flat_map(|handshake| handshake.get_all(name));
            for (nth, value) in values.enumerate() {
                match nth {
                    0 => drop(headers.insert(name, value.clone())),
                    _ => drop(headers.append(name, value.clone())),
                }
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }

    async fn call(&self, headers: HeaderMap, body: Vec<u8>) -> Result<backend::Answer, Trouble> {
        let deadline = Instant::now() + self.options.timeout;
        let _place = match self.free.try_acquire() {
            Ok(place) => place,
            Err(_) => self.wait(deadline).await?,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let call = Call::post(self.url.clone(), headers, Bytes::from(body), left);
        self.client.call(call).await.map_err(Trouble::Call)
    }

    /// Waits for a free place.
    async fn wait(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Trouble> {
        let waiting = Waiting(&self.waiting);
        // Relaxed: a count, which guards nothing.
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.options.queue_size {
            return Err(Trouble::Busy);
        }
        let place = tokio::time::timeout_at(deadline, self.free.acquire()).await;
        drop(waiting);
        match place {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Trouble::Call(CallError::Timeout)),
        }
    }
}

/// Is counted as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Relaxed: as above.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Proxy {
    pub(super) fn new(
        line: Arc<Line>,
        metrics: ProxyMetrics,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
        config: &Config,
    ) -> Self {
        Self { line, metrics, clock: Clock(clock), publish_bytes_max: config.websocket.message_size_limit }
    }

    pub(super) async fn ask(&self, question: &Question, way: &Way, handshake: Option<&HeaderMap>) -> Answer {
        let options = &self.line.options;
        let Ok(body) = question.body(way, options.binary_encoding, options.include_connection_meta) else {
            let (code, message) = (ErrorCode::BadRequest.code(), ErrorCode::BadRequest.message().to_owned());
            return Answer::Error(Box::new(CustomError { code, message, temporary: false }));
        };
        let _under_way = self.metrics.begin();
        let started = Instant::now();
        let answered = self.line.call(self.line.headers(question, handshake), body).await;
        let took = started.elapsed();
        let (kind, client) = (question.event.kind(), &way.client);
        match answered.and_then(|answer| self.read(answer, question, way)) {
            Ok(answer) => {
                self.metrics.ended("answered", took);
                answer
            }
            Err(trouble) => {
                self.metrics.ended(trouble.kind(), took);
                tracing::warn!(event = kind.name(), proxy = question.proxy, client, %trouble, "call to the backend failed");
                Answer::Failed
            }
        }
    }

    fn read(&self, answer: backend::Answer, question: &Question, way: &Way) -> Result<Answer, Trouble> {
        let transforms = &self.line.options.status_to_code_transforms;
        if let Some(transform) = transforms.iter().find(|transform| transform.status == answer.status.as_u16()) {
            return Ok(match &transform.to {
                TransformTo::Error { code, message, temporary } => Answer::Error(Box::new(CustomError {
                    code: *code,
                    message: message.clone(),
                    temporary: *temporary,
                })),
                TransformTo::Disconnect { code, reason } => Answer::Disconnect { code: *code, reason: reason.clone() },
            });
        }
        let body = answer.ok().map_err(Trouble::Call)?;
        let takes_bytes = way.encoding == Encoding::Protobuf;
        let read = answer::read(&body, question.event.kind(), (self.clock.0)(), takes_bytes, self.publish_bytes_max);
        read.map_err(Trouble::Unreadable)
    }
}
