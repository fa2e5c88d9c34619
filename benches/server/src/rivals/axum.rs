//! axum and `tokio::sync::broadcast`, in one thread: what most people write.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self, Receiver, Sender};

use crate::fault::Fault;

/// Messages a room keeps for members that are behind: as many as roomcast does.
const CAPACITY: usize = 1_024;

/// What a connection reads at once, and what it gathers before it writes, when tuned.
const READ_BYTES: usize = 4 * 1024;
const WRITE_BYTES: usize = 32 * 1024;

/// How much care is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tuning {
    /// The defaults, and a write per message.
    None,
    /// Small buffers, and a write per burst.
    Burst,
}

#[derive(Debug)]
struct Server {
    tuning: Tuning,
    rooms: Mutex<HashMap<String, Sender<Utf8Bytes>>>,
}

impl Server {
    fn room(&self, name: &str) -> Sender<Utf8Bytes> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.entry(name.to_owned()).or_insert_with(|| broadcast::channel(CAPACITY).0).clone()
    }
}

/// Serves until the process is ended.
pub(super) fn serve(address: SocketAddr, tuning: Tuning) -> Result<(), Fault> {
    let server = Arc::new(Server { tuning, rooms: Mutex::default() });
    let router = Router::new().route("/{verb}/{room}", get(upgrade)).with_state(server);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let no_delay = |stream: &mut TcpStream| {
            let _ = stream.set_nodelay(true);
        };
        let listener = TcpListener::bind(address).await?.tap_io(no_delay);
        axum::serve(listener, router).await
    })?;
    Ok(())
}

async fn upgrade(
    State(server): State<Arc<Server>>,
    Path((verb, room)): Path<(String, String)>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = match server.tuning {
        Tuning::None => upgrade,
        Tuning::Burst => upgrade.read_buffer_size(READ_BYTES).write_buffer_size(WRITE_BYTES),
    };
    let room = server.room(&room);
    // Subscribed before the handshake is answered: whoever has the answer misses nothing.
    let messages = (verb == "join").then(|| room.subscribe());
    let tuning = server.tuning;
    upgrade.on_upgrade(move |socket| serve_socket(socket, room, messages, tuning)).into_response()
}

async fn serve_socket(
    mut socket: WebSocket,
    room: Sender<Utf8Bytes>,
    mut messages: Option<Receiver<Utf8Bytes>>,
    tuning: Tuning,
) {
    loop {
        tokio::select! {
            came = socket.next() => match came {
                Some(Ok(Message::Text(text))) => {
                    // Nobody may be there to receive it.
                    let _ = room.send(text);
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            message = next(&mut messages) => {
                let sent = match tuning {
                    Tuning::None => socket.send(message).await,
                    Tuning::Burst => send_burst(&mut socket, message, &mut messages).await,
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    }
}

/// The next message for a member; never one for somebody who only publishes.
async fn next(messages: &mut Option<Receiver<Utf8Bytes>>) -> Message {
    let Some(messages) = messages else { return std::future::pending().await };
    match messages.recv().await {
        Ok(text) => Message::Text(text),
        Err(RecvError::Lagged(missed)) => told_missed(missed),
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

async fn send_burst(
    socket: &mut WebSocket,
    first: Message,
    messages: &mut Option<Receiver<Utf8Bytes>>,
) -> Result<(), axum::Error> {
    socket.feed(first).await?;
    while let Some(messages) = messages {
        match messages.try_recv() {
            Ok(text) => socket.feed(Message::Text(text)).await?,
            Err(TryRecvError::Lagged(missed)) => socket.feed(told_missed(missed)).await?,
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    socket.flush().await
}

fn told_missed(missed: u64) -> Message {
    Message::Text(format!("-{missed}").into())
}
