//! One proxy: how it asks, how many questions it has under way, and what it makes of failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::question::{Kind, Question, Way};
use crate::backend::{self, Call, CallError, HttpClient};
use crate::config::{Config, ProxyOptions, TransformTo};
use crate::limits::memory::{CallMemory, Memory};
use crate::ops::metrics::ProxyMetrics;
use roomcast_protocol::{CustomError, Encoding, ErrorCode};

/// Bytes of calls that wait for a free place on one line, of which a single one may have more: as many of usual ones as may wait, or 256
/// of the largest that clients send by default.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often the log tells of calls that failed: where a backend is gone, every client would be a line of it, again and again.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

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
    waiting_bytes: AtomicUsize,
    /// What all calls have, those under way among them.
    memory: Arc<CallMemory>,
}

/// What one kind of event is asked by.
#[derive(Debug)]
pub(super) struct Proxy {
    line: Arc<Line>,
    metrics: ProxyMetrics,
    failures: Failures,
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
    pub(super) fn new(
        options: &ProxyOptions,
        endpoint: &str,
        runtime: Handle,
        memory: Arc<Memory>,
    ) -> Result<Self, String> {
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
            waiting_bytes: AtomicUsize::new(0),
            memory: CallMemory::new(memory),
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
        let held = self.memory.hold(held_bytes(&headers, &body)).ok_or(Trouble::Call(CallError::NoMemory))?;
        let _place = match self.free.try_acquire() {
            Ok(place) => place,
            Err(_) => self.wait(deadline, body.len()).await?,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let call = Call { memory: Some(held), ..Call::post(self.url.clone(), headers, Bytes::from(body), left) };
        self.client.call(call).await.map_err(Trouble::Call)
    }

    /// Waits for a free place.
    async fn wait(&self, deadline: Instant, bytes: usize) -> Result<SemaphorePermit<'_>, Trouble> {
        let waiting = Waiting { line: self, bytes };
        // Relaxed: counts, which guard nothing.
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before >= self.options.queue_size || before > 0 && bytes_before + bytes > WAITING_BYTES_MAX {
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

/// What a call holds of what clients have said: its body and its headers.
fn held_bytes(headers: &HeaderMap, body: &[u8]) -> u64 {
    let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (headers + body.len()) as u64
}

/// Is counted as long as it lives.
struct Waiting<'a> {
    line: &'a Line,
    bytes: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Relaxed: as above.
        self.line.waiting.fetch_sub(1, Ordering::Relaxed);
        self.line.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Which failures the log tells of.
#[derive(Debug)]
pub(super) struct Failures {
    since: Instant,
    /// From when on it is told again.
    told_from_ms: AtomicU64,
    untold: AtomicU64,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), told_from_ms: AtomicU64::new(0), untold: AtomicU64::new(0) }
    }

    /// One more. If the log is to be told, how many it was not told of before.
    pub(super) fn note(&self) -> Option<u64> {
        let now_ms = self.since.elapsed().as_millis() as u64;
        // Relaxed, all of them: counts, which guard nothing.
        let from_ms = self.told_from_ms.load(Ordering::Relaxed);
        let next_ms = now_ms + LOG_INTERVAL.as_millis() as u64;
        let is_told = now_ms >= from_ms
            && self.told_from_ms.compare_exchange(from_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_told {
            Some(self.untold.swap(0, Ordering::Relaxed))
        } else {
            self.untold.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl Proxy {
    pub(super) fn new(
        line: Arc<Line>,
        metrics: ProxyMetrics,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
        config: &Config,
    ) -> Self {
        let publish_bytes_max = config.websocket.message_size_limit;
        Self { line, metrics, failures: Failures::new(), clock: Clock(clock), publish_bytes_max }
    }

    pub(super) async fn ask(&self, question: Question, way: &Way, handshake: Option<&HeaderMap>) -> Answer {
        let options = &self.line.options;
        let Ok(body) = question.body(way, options.binary_encoding, options.include_connection_meta) else {
            let (code, message) = (ErrorCode::BadRequest.code(), ErrorCode::BadRequest.message().to_owned());
            return Answer::Error(Box::new(CustomError { code, message, temporary: false }));
        };
        let _under_way = self.metrics.begin();
        let started = Instant::now();
        let headers = self.line.headers(&question, handshake);
        // What the body says is not held twice while it waits.
        let Question { proxy, event, .. } = question;
        let kind = event.kind();
        drop(event);
        let answered = self.line.call(headers, body).await;
        let took = started.elapsed();
        match self.read(answered, kind, way) {
            Ok(answer) => {
                self.metrics.ended("answered", took);
                answer
            }
            Err(trouble) => {
                self.metrics.ended(trouble.kind(), took);
                if let Some(untold) = self.failures.note() {
                    let (event, client) = (kind.name(), &way.client);
                    tracing::warn!(event, proxy, client, %trouble, untold, "call to the backend failed");
                }
                Answer::Failed
            }
        }
    }

    fn read(&self, answered: Result<backend::Answer, Trouble>, kind: Kind, way: &Way) -> Result<Answer, Trouble> {
        let status = match &answered {
            Ok(answer) => Some(answer.status.as_u16()),
            Err(Trouble::Call(CallError::Redirected(status))) => Some(status.as_u16()),
            Err(_) => None,
        };
        let transforms = &self.line.options.status_to_code_transforms;
        if let Some(transform) = transforms.iter().find(|transform| Some(transform.status) == status) {
            return Ok(match &transform.to {
                TransformTo::Error { code, message, temporary } => Answer::Error(Box::new(CustomError {
                    code: *code,
                    message: message.clone(),
                    temporary: *temporary,
                })),
                TransformTo::Disconnect { code, reason } => Answer::Disconnect { code: *code, reason: reason.clone() },
            });
        }
        let body = answered?.ok().map_err(Trouble::Call)?;
        let takes_bytes = way.encoding == Encoding::Protobuf;
        let read = answer::read(&body, kind, (self.clock.0)(), takes_bytes, self.publish_bytes_max);
        read.map_err(Trouble::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryOptions;
    use tokio::runtime::Builder;

    fn line(options: &ProxyOptions, runtime: &tokio::runtime::Runtime, memory: &Arc<Memory>) -> Line {
        let handle = runtime.handle().clone();
        Line::new(options, "http://127.0.0.1:1/", handle, Arc::clone(memory)).expect("a line")
    }

    fn memory(mib: usize) -> Arc<Memory> {
        Arc::new(Memory::new(&MemoryOptions { limit: std::num::NonZeroUsize::new(mib << 20) }))
    }

    #[test]
    fn calls_for_which_there_is_no_memory_fail_and_leave_none_taken() {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let memory = memory(128);
        let [first, second] = [(); 2].map(|()| line(&ProxyOptions::default(), &runtime, &memory));
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text"))]);
        let all = memory.callbacks.limit();
        let taken = first.memory.hold(all).expect("it is alone");
        let refused = runtime.block_on(second.call(headers.clone(), vec![0; 8]));
        assert!(matches!(refused, Err(Trouble::Call(CallError::NoMemory))), "{refused:?}");
        drop(taken);
        // For what it says, and not for what it is answered.
        let refused = runtime.block_on(second.call(HeaderMap::new(), vec![0; all as usize]));
        assert!(matches!(refused, Err(Trouble::Call(CallError::NoMemory))), "{refused:?}");
        assert_eq!(memory.callbacks.used(), 0);
        assert_eq!(held_bytes(&headers, b"body"), 12 + 4 + 4);
    }

    /// A thousand waiting calls of what clients may send at most would be hundreds of megabytes.
    #[test]
    fn what_waits_for_a_place_is_bounded_in_bytes_and_one_may_always_wait() {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options = ProxyOptions { concurrency: 1, ..ProxyOptions::default() };
        let line = line(&options, &runtime, &memory(1_024));
        runtime.block_on(async {
            let _taken = line.free.try_acquire().expect("nobody asks");
            let soon = Instant::now() + Duration::from_millis(50);
            let (large, more) = tokio::join!(line.wait(soon, WAITING_BYTES_MAX + 1), line.wait(soon, 1));
            assert!(matches!(large, Err(Trouble::Call(CallError::Timeout))), "{large:?}");
            assert!(matches!(more, Err(Trouble::Busy)), "{more:?}");
            let (first, second) = tokio::join!(line.wait(soon, 1), line.wait(soon, WAITING_BYTES_MAX - 1));
            for waited in [first, second] {
                assert!(matches!(waited, Err(Trouble::Call(CallError::Timeout))), "{waited:?}");
            }
        });
        assert_eq!(line.waiting.into_inner(), 0);
        assert_eq!(line.waiting_bytes.into_inner(), 0);
    }

    #[test]
    fn the_log_is_told_of_failures_once_in_a_while_and_of_how_many_it_was_not_told() {
        let failures = Failures::new();
        assert_eq!(failures.note(), Some(0));
        for _ in 0..1_000 {
            failures.note();
        }
        failures.told_from_ms.store(0, Ordering::Relaxed);
        assert!(failures.note().is_some_and(|untold| untold >= 990), "{failures:?}");
    }
}
