//! Requests to the server API: whatever their bodies are, they are answered, in JSON where there is something to tell, and whoever is
//! refused has changed nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local};

use super::source::Source;
use crate::api::Api;
use crate::config::{ApiKey, Config, NamespaceOptions};
use crate::rooms::hub::Hub;

const KEY: &str = "key";

/// What an answer has at most, and a little for what is written around it.
const ANSWER_BYTES_MAX: usize = (16 << 20) + 1_024;

/// Requests of one input.
const REQUESTS_MAX: usize = 8;

/// Methods that look, and do nothing.
const LOOKING: [&str; 6] = ["presence", "presence_stats", "history", "channels", "info", "rpc"];

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// One request after the other, each up to an empty line: a digit says whether it has the key and how errors are to be told, the rest of its
/// line names the method, and what is behind it is the body.
pub(super) fn check(input: &[u8]) {
    RUNTIME.with(|runtime| LocalSet::new().block_on(runtime, serve(input)));
}

async fn serve(input: &[u8]) {
    let mut config = Config::dev();
    config.http_api.disabled = false;
    config.http_api.key = ApiKey::new(KEY);
    // In which there is next to nothing.
    config.channel.namespaces.insert("bare".to_owned(), NamespaceOptions::default());
    let hub = Arc::new(Hub::alone(config));
    // A shard on which nobody is; who asks it is answered by that.
    let mut inbox = hub.local.commands.inbox(0).expect("nobody else has taken it");
    let shard = spawn_local(async move { while inbox.next().await.is_some() {} });
    let api = Api::new(Arc::clone(&hub));
    let mut left = Some(input);
    for _ in 0..REQUESTS_MAX {
        let Some(asked) = left.filter(|left| !left.is_empty()) else { break };
        let end = asked.windows(2).position(|two| two == b"\n\n");
        let (request, behind) = end.map_or((asked, None), |at| (&asked[..at], Some(&asked[at + 2..])));
        ask(&api, &hub, request).await;
        left = behind;
    }
    shard.abort();
}

async fn ask(api: &Api, hub: &Hub, asked: &[u8]) {
    let mut source = Source::new(asked);
    let (how, rest) = (source.byte(), source.rest());
    let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let Ok(method) = std::str::from_utf8(&rest[..at]) else { return };
    let body = rest.get(at + 1..).unwrap_or_default();
    let (has_key, tells_by_status) = (how % 8 != 0, how & 8 != 0);
    let mut request = Request::builder().method(Method::POST).uri(format!("/api/{method}"));
    if has_key {
        request = request.header("x-api-key", KEY);
    }
    if tells_by_status {
        request = request.header("x-centrifugo-error-mode", "transport");
    }
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
    if !api.serves(request.uri().path()) {
        return;
    }
    let is_shown = request.uri().query().is_some_and(|query| query.contains("api_key"));
    let name = request.uri().path().trim_start_matches("/api/").to_owned();
    let before = state(hub);
    let response = api.answer(request).await;
    let (head, answer) = response.into_parts();
    let answer = to_bytes(answer, usize::MAX).await.expect("it is there");
    assert!(answer.len() <= ANSWER_BYTES_MAX, "{} bytes", answer.len());
    let is_json = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let told = match is_json {
        true => serde_json::Deserializer::from_slice(&answer).into_iter().collect::<Result<Vec<Value>, _>>(),
        false => Ok(Vec::new()),
    };
    let told = told.unwrap_or_else(|error| panic!("{error}: {}", answer.escape_ascii()));
    assert!(has_key || is_shown || head.status == StatusCode::UNAUTHORIZED, "without a key: {}", head.status);
    assert_eq!(is_json, head.status == StatusCode::OK || !told.is_empty());
    let is_refused = match head.status {
        StatusCode::OK => told.iter().all(is_refusal),
        _ => true,
    };
    let mut after = state(hub);
    if !is_refused && LOOKING.contains(&&*name) {
        // Whoever asks for the past of a room that is not there is told an epoch, which is then that of the room.
        after.retain(|room, ends| before.contains_key(room) || *ends != (0, 0));
    }
    if is_refused || LOOKING.contains(&&*name) {
        assert_eq!(after, before, "{name}, {}: {}", head.status, answer.escape_ascii());
    }
}

/// Whether that is all that was done: to tell an error, of each command of several.
fn is_refusal(told: &Value) -> bool {
    let Some(object) = told.as_object() else { return false };
    let refuses_all = |of: &Value| {
        let parts = ["responses", "replies"].into_iter().find_map(|name| of.get(name)?.as_array());
        parts.is_some_and(|parts| !parts.is_empty() && parts.iter().all(is_refusal))
    };
    object.contains_key("error") || refuses_all(told) || object.values().any(refuses_all)
}

/// The rooms there are, where each begins, and where it ends.
fn state(hub: &Hub) -> BTreeMap<String, (u64, u64)> {
    let rooms = hub.rooms.broker.rooms().into_iter();
    rooms.map(|room| (room.name().to_owned(), (room.oldest(), room.tail()))).collect()
}
