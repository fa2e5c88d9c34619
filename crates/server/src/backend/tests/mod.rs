//! The client, before backends that are slow, dead, lying, redirecting, huge, or not whom they should be.

pub(crate) mod tls;

use std::convert::Infallible;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Redirect;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_core::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::http::ANSWER_BYTES_MAX;
use super::*;
use crate::config::{MemoryOptions, TlsOptions};
use crate::limits::memory::{CallMemory, Memory};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
/// The shortest that says something.
const SHORT: Duration = Duration::from_millis(50);

/// A backend that answers as `router` does, and where it is.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A backend that says those bytes to whoever asks it something, and then nothing, or hangs up.
async fn says(bytes: &'static [u8], hangs_up: bool) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = socket.read(&mut asked).await;
                let _ = socket.write_all(bytes).await;
                if !hangs_up {
                    pending::<()>().await;
                }
            });
        }
    });
    address
}

fn client() -> HttpClient {
    HttpClient::new(Handle::current(), &TlsOptions::default()).unwrap()
}

fn url(address: SocketAddr, path: &str) -> Uri {
    format!("http://{address}{path}").parse().unwrap()
}

async fn ask(address: SocketAddr, path: &str, timeout: Duration) -> Result<Answer, CallError> {
    client().call(Call::get(url(address, path), timeout)).await
}

#[tokio::test]
async fn a_call_brings_its_body_and_headers_and_the_answer_comes_whole() {
    let echo = async |headers: HeaderMap, body: Bytes| {
        let said = |name: &str| headers[name].to_str().unwrap().to_owned();
        format!("{} {} {}", said("x-asked"), said("user-agent"), str::from_utf8(&body).unwrap())
    };
    let address = serve(Router::new().route("/echo", post(echo))).await;
    let mut headers = HeaderMap::new();
    headers.insert("x-asked", HeaderValue::from_static("yes"));
    let client = client();
    for _ in 0..3 {
        let call = Call::post(url(address, "/echo"), headers.clone(), Bytes::from_static(b"{\"a\":1}"), LONG);
        let answer = client.call(call).await.unwrap();
        let expected = concat!("yes roomcast/", env!("CARGO_PKG_VERSION"), " {\"a\":1}");
        assert_eq!(answer.ok().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_status_is_an_answer_and_a_redirect_is_none() {
    let router = Router::new()
        .route("/teapot", get(async || (StatusCode::IM_A_TEAPOT, "short and stout")))
        .route("/elsewhere", get(async || Redirect::temporary("http://192.0.2.1/")));
    let address = serve(router).await;
    let answer = ask(address, "/teapot", LONG).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::IM_A_TEAPOT, &b"short and stout"[..]));
    assert_eq!(answer.ok().unwrap_err(), CallError::Status(StatusCode::IM_A_TEAPOT));
    let error = ask(address, "/elsewhere", LONG).await.unwrap_err();
    assert_eq!(error, CallError::Redirected(StatusCode::TEMPORARY_REDIRECT));
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
}

#[tokio::test]
async fn who_takes_too_long_is_not_waited_for_in_the_head_nor_in_the_body() {
    let silent = says(b"", false).await;
    assert_eq!(ask(silent, "/", SHORT).await.unwrap_err(), CallError::Timeout);
    let begins = says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", false).await;
    assert_eq!(ask(begins, "/", SHORT).await.unwrap_err(), CallError::Timeout);
    // A listener that nobody serves takes the connection and says nothing.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    assert_eq!(ask(listener.local_addr().unwrap(), "/", SHORT).await.unwrap_err(), CallError::Timeout);
}

/// Calls have their own time; a connection goes on without its call where another one becomes free for that.
#[tokio::test(start_paused = true)]
async fn a_connection_that_never_comes_about_is_given_up_whoever_waits_for_it() {
    let silent = says(b"", false).await;
    let call = Call::get(format!("https://{silent}/").parse().unwrap(), 2 * super::http::CONNECT_TIMEOUT);
    let error = client().call(call).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn who_is_not_there_is_not_reached() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = ask(address, "/", LONG).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
    let nowhere = Call::get("http://roomcast.invalid/".parse().unwrap(), LONG);
    let error = client().call(nowhere).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn who_does_not_speak_http_or_hangs_up_is_found_out() {
    for (bytes, what) in [
        (&b"SSH-2.0-OpenSSH_9.9\r\n"[..], "another protocol"),
        (b"", "nothing"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "less than it announced"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "no chunk"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "no length"),
    ] {
        let error = ask(says(bytes, true).await, "/", LONG).await.unwrap_err();
        assert!(matches!(error, CallError::Broken(_)), "{what}: {error:?}");
    }
}

/// A body without end, and without an announcement.
struct Flood;

impl Stream for Flood {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 4096]))))
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let router = Router::new()
        .route("/announced", get(async || vec![b'x'; ANSWER_BYTES_MAX + 1]))
        .route("/fits", get(async || vec![b'x'; ANSWER_BYTES_MAX]))
        .route("/flood", get(async || Body::from_stream(Flood)));
    let address = serve(router).await;
    let too_large = CallError::TooLarge { bytes_max: ANSWER_BYTES_MAX };
    assert_eq!(ask(address, "/announced", LONG).await.unwrap_err(), too_large);
    assert_eq!(ask(address, "/flood", LONG).await.unwrap_err(), too_large);
    assert_eq!(ask(address, "/fits", LONG).await.unwrap().body.len(), ANSWER_BYTES_MAX);
    let bounded = Call { answer_bytes_max: 10, ..Call::get(url(address, "/fits"), LONG) };
    assert_eq!(client().call(bounded).await.unwrap_err(), CallError::TooLarge { bytes_max: 10 });
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let line = format!("x-long: {}\r\n", "x".repeat(3000)).repeat(90);
    let long = format!("HTTP/1.1 200 OK\r\n{line}content-length: 0\r\n\r\n").leak();
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "a: b\r\n".repeat(200)).leak();
    for head in [long, many] {
        let error = ask(says(head.as_bytes(), false).await, "/", LONG).await.unwrap_err();
        assert!(matches!(error, CallError::Broken(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_is_not_used_again() {
    let address = says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true).await;
    let client = client();
    for _ in 0..10 {
        assert_eq!(client.call(Call::get(url(address, "/"), LONG)).await.unwrap().body, "ok");
    }
}

#[tokio::test]
async fn whoever_stops_waiting_ends_the_call() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = client();
    let call = tokio::spawn(async move { client.call(Call::get(url(address, "/"), LONG)).await });
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut asked = [0; 1024];
    assert!(socket.read(&mut asked).await.unwrap() > 0);
    call.abort();
    assert_eq!(socket.read(&mut asked).await.unwrap(), 0, "it hangs up");
}

#[test]
fn a_call_from_another_runtime_is_made_on_the_clients() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (background, shard) = (runtime(), runtime());
    let (address, client) =
        background.block_on(async { (serve(Router::new().route("/", get(async || "here"))).await, client()) });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let working = std::thread::spawn(move || background.block_on(stopped));
    for _ in 0..2 {
        let answer = shard.block_on(client.call(Call::get(url(address, "/"), LONG))).unwrap();
        assert_eq!(answer.body, "here");
    }
    stop.send(()).unwrap();
    working.join().unwrap().unwrap();
    let error = shard.block_on(client.call(Call::get(url(address, "/"), LONG))).unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn answers_are_of_the_memory_for_calls_and_one_for_which_there_is_none_is_not_heard() {
    let much = "x".repeat(600 * 1_024);
    let address = serve(Router::new().route("/", get(async move || much))).await;
    let memory = Arc::new(Memory::new(&MemoryOptions { limit: NonZeroUsize::new(128 << 20) }));
    let line = CallMemory::new(Arc::clone(&memory));
    let ask = async || {
        let call = Call { memory: line.hold(0), ..Call::get(url(address, "/"), LONG) };
        client().call(call).await
    };
    let others = line.hold(memory.callbacks.limit() / 4).expect("it is there");
    assert_eq!(ask().await.map(drop), Err(CallError::NoMemory));
    drop(others);
    assert_eq!(memory.callbacks.used(), 0);
    let answer = ask().await.expect("it is alone");
    assert_eq!(answer.body.len(), 600 * 1_024);
    assert!((600 * 1_024..1_300 * 1_024).contains(&memory.callbacks.used()), "{memory:?}");
    drop(answer);
    assert_eq!(memory.callbacks.used(), 0);
}

#[test]
fn errors_and_what_is_logged_of_calls_hold_nothing_secret() {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
    let url = "http://backend.test/?key=secret".parse().unwrap();
    let call = Call::post(url, headers, Bytes::from_static(b"secret"), LONG);
    assert!(!format!("{call:?}").contains("secret"));
    let body = Bytes::from_static(b"secret");
    let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body, _memory: None };
    assert!(!format!("{answer:?}").contains("secret"));
}
