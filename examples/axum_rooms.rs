//! Server-sent events from rooms in an axum handler, where one would use `tokio::sync::broadcast` and a map of rooms.
//!
//! `cargo run --example axum_rooms` starts it on a free port, talks to it, and ends.

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::convert::Infallible;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures::{Stream, StreamExt};
use roomcast::{Broker, RecvError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

type Rooms = Broker<String>;

/// Everything said in the room from now on. A reader too slow for the ring is told how much it missed and goes on.
async fn listen(
    State(rooms): State<Rooms>,
    Path(room): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    let room = rooms.room(&room).map_err(|_| StatusCode::BAD_REQUEST)?;
    let subscription = room.subscribe().now().map_err(|_| StatusCode::GONE)?;
    Ok(Sse::new(subscription.map(|received| {
        Ok(match received {
            Ok(text) => Event::default().data(text),
            Err(RecvError::Lagged(missed)) => Event::default().event("missed").data(missed.to_string()),
            Err(error) => Event::default().event("end").data(error.to_string()),
        })
    })))
}

/// Says something in the room; returns its sequence.
async fn say(State(rooms): State<Rooms>, Path(room): Path<String>, text: String) -> Result<String, StatusCode> {
    rooms.publish(&room, text).map(|sequence| sequence.to_string()).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rooms = Rooms::new();
    let app = axum::Router::new().route("/rooms/{room}", get(listen).post(say)).with_state(rooms.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    // One listener over HTTP, and two who speak: one over HTTP, one in the process.
    let mut ear = BufReader::new(TcpStream::connect(address).await?).lines();
    ear.get_mut().write_all(b"GET /rooms/tea HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    while ear.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut mouth = TcpStream::connect(address).await?;
    mouth.write_all(b"POST /rooms/tea HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello").await?;
    let mut answer = BufReader::new(mouth).lines();
    assert_eq!(answer.next_line().await?.as_deref(), Some("HTTP/1.1 200 OK"));
    rooms.publish("tea", "good morning".into())?;

    let mut heard = Vec::new();
    while heard.len() < 2 {
        let line = ear.next_line().await?.ok_or("the stream ended early")?;
        heard.extend(line.strip_prefix("data: ").map(str::to_string));
    }
    assert_eq!(heard, ["hello", "good morning"]);
    println!("heard {heard:?}");
    server.abort();
    Ok(())
}
