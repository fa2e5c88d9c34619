//! A backend of a site, as good or as bad as a test has it.

use std::convert::Infallible;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::harness::PATIENCE;

/// What a backend says.
pub(crate) enum Said {
    Json(Value),
    Status(u16, &'static str),
    /// Nothing, for as long as anybody waits.
    Nothing,
    /// That it is elsewhere.
    Redirect,
    /// More than is read.
    Huge,
}

/// What a backend was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

type Answers = Box<dyn Fn(&Asked) -> Said + Send + Sync>;

struct Served {
    answers: Answers,
    asked: Mutex<mpsc::Sender<Asked>>,
}

/// A running backend.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    asked: Mutex<mpsc::Receiver<Asked>>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// One that answers so.
    pub(crate) fn start(answers: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let (sender, asked) = mpsc::channel();
        let served = Arc::new(Served { answers: Box::new(answers), asked: Mutex::new(sender) });
        let router = Router::new().fallback(answer).with_state(served);
        Self::run(asked, move |listener| async move {
            axum::serve(listener, router).await.expect("it serves");
        })
    }

    /// One that says these bytes and hangs up, whatever it is asked.
    pub(crate) fn saying(bytes: &'static [u8]) -> Self {
        Self::talking(bytes, None)
    }

    /// One that says these bytes, and then others again and again for as long as somebody listens, whatever it is asked.
    pub(crate) fn dripping(first: &'static [u8], again: &'static [u8], pause: Duration) -> Self {
        Self::talking(first, Some((again, pause)))
    }

    fn talking(first: &'static [u8], then: Option<(&'static [u8], Duration)>) -> Self {
        let (_, asked) = mpsc::channel();
        Self::run(asked, move |listener| async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut asked = [0; 4096];
                    let _ = socket.read(&mut asked).await;
                    let _ = socket.write_all(first).await;
                    let Some((again, pause)) = then else { return };
                    while socket.write_all(again).await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                });
            }
        })
    }

    fn run<Serving: Future<Output = ()>>(
        asked: mpsc::Receiver<Asked>,
        serve: impl FnOnce(TcpListener) -> Serving + Send + 'static,
    ) -> Self {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let (sender, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
                sender.send(listener.local_addr().expect("an address")).expect("somebody waits for it");
                tokio::select! {
                    () = serve(listener) => {}
                    () = stopped.notified() => {}
                }
            });
        });
        let address = address.recv().expect("it starts");
        Self { address, asked: Mutex::new(asked), stop, thread: Some(thread) }
    }

    pub(crate) fn endpoint(&self, path: &str) -> Option<String> {
        Some(format!("http://{}{path}", self.address))
    }

    /// What it is asked next.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.lock().expect("no test has failed").recv_timeout(PATIENCE).expect("it is asked")
    }

    /// That it was not asked anything more.
    pub(crate) fn assert_not_asked(&self) {
        let asked = self.asked.lock().expect("no test has failed").try_recv();
        assert!(asked.is_err(), "{asked:?}");
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn answer(State(served): State<Arc<Served>>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let body = serde_json::from_slice(&body).expect("JSON is asked");
    let asked = Asked { path: parts.uri.path().to_owned(), headers: parts.headers, body };
    let said = (served.answers)(&asked);
    let _ = served.asked.lock().expect("no test has failed").send(asked);
    let status = |status: u16, body: Body| {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    };
    Ok(match said {
        Said::Json(body) => status(200, Body::from(body.to_string())),
        Said::Status(code, body) => status(code, Body::from(body)),
        Said::Nothing => pending().await,
        Said::Redirect => {
            let mut response = status(307, Body::empty());
            response.headers_mut().insert(header::LOCATION, "/elsewhere".parse().expect("a header"));
            response
        }
        Said::Huge => status(200, Body::from(Bytes::from(vec![b' '; 2 << 20]))),
    })
}
