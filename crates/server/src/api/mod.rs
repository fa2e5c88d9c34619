//! The server API: what a backend commands the server with, over HTTP.
//!
//! A request names a method in its path and says the rest in JSON. What can be asked and what is answered is declared once, in
//! `messages`, and read, written and described from there.
//!
//! It uses `rooms` and everything below. It is used by `net`, which brings it requests.

mod answer;
mod batch;
mod connections;
mod messages;
mod methods;
mod openapi;
mod publish;
mod read;
mod shape;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde::Deserialize;

use self::answer::Failed;
use crate::config::{ApiErrorMode, Config, HttpApi};
use crate::rooms::hub::Hub;
use roomcast_protocol::ErrorCode;

/// Bytes of a request: some hundreds of the largest messages that clients may send, or a broadcast to as many rooms as one may have.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// How long a request's body may take to come; who sends it is a backend in the same house.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer: several histories of the most that one may hold. What is longer answers error 106.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Commands of a batch, rooms of a broadcast, and clients that stay. What more is to be done comes in a request more.
const COUNT_MAX: usize = 10_000;

/// Where its description is, below the prefix.
const DESCRIPTION: &str = "openapi.json";

const KEY_HEADER: &str = "x-api-key";
const KEY_SCHEME: &str = "apikey ";
const ERROR_MODE_HEADER: &str = "x-centrifugo-error-mode";

/// The API of one server.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    hub: Arc<Hub>,
}

impl Api {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// The configuration of this moment.
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.hub.now().config)
    }

    /// Whether it answers what is asked for at `path`.
    pub(crate) fn serves(&self, path: &str) -> bool {
        let now = self.hub.now();
        let HttpApi { disabled, handler_prefix, .. } = &now.config.http_api;
        !disabled && path.strip_prefix(&**handler_prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a request that it [serves](Self::serves).
    pub(crate) async fn answer(&self, request: Request) -> Response<Body> {
        let config = self.config();
        let prefix = &*config.http_api.handler_prefix;
        let asked = request.uri().path().strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
        if request.method() == Method::GET && asked == Some(DESCRIPTION) {
            // It tells of this server what its source does.
            return answer::with_type(StatusCode::OK, answer::JSON, answer::json(&openapi::describe(prefix)));
        }
        if request.method() != Method::POST {
            let mut response = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        // Before anything is read of it.
        if !self.admits(&request) {
            match config.http_api.key.is_empty() {
                true => tracing::warn!("server API: request refused, no `http_api.key` is configured"),
                false => tracing::warn!("server API: request refused, its key is wrong or missing"),
            }
            self.hub.metrics.api_refused.inc();
            return answer::empty(StatusCode::UNAUTHORIZED);
        }
        let (head, body) = request.into_parts();
        let (requests, bytes) = (&self.hub.rooms.memory.requests, body.size_hint().upper());
        let read = async {
            // Whoever has the key is not refused, and waits.
            let bytes = bytes.unwrap_or(REQUEST_BYTES_MAX as u64).min(requests.limit() / 2);
            let reserved = requests.reserve(bytes).await;
            to_bytes(body, REQUEST_BYTES_MAX).await.map(|body| (body, reserved))
        };
        let (body, _reserved) = match tokio::time::timeout(BODY_TIMEOUT, read).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                return answer::text(StatusCode::PAYLOAD_TOO_LARGE, "the request is longer than 16 MiB\n".to_owned());
            }
            Err(_) => {
                return answer::text(
                    StatusCode::REQUEST_TIMEOUT,
                    "the rest of the request did not come in time\n".to_owned(),
                );
            }
        };
        let Ok(body) = std::str::from_utf8(&body) else {
            return answer::text(StatusCode::BAD_REQUEST, "the request is not UTF-8\n".to_owned());
        };
        let asked = head.uri.path().strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
        match asked.filter(|method| !method.is_empty()) {
            None => answer::lines(batch::lines(self, body).await),
            Some(method) => {
                let done = self.call(method, body).await;
                answer::result(method, done, self.tells_by_status(&head.headers))
            }
        }
    }

    /// Whether the request brings the key, in one of the three ways.
    fn admits(&self, request: &Request) -> bool {
        #[derive(Deserialize)]
        struct Parameters {
            api_key: String,
        }
        let config = self.config();
        let HttpApi { key, insecure, .. } = &config.http_api;
        if *insecure {
            return true;
        }
        let headers = request.headers();
        let header = headers.get(KEY_HEADER).map(HeaderValue::as_bytes);
        let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let bearer = bearer.and_then(|value| {
            let (scheme, key) = value.split_at_checked(KEY_SCHEME.len())?;
            scheme.eq_ignore_ascii_case(KEY_SCHEME.as_bytes()).then_some(key)
        });
        if let Some(shown) = header.or(bearer) {
            return key.is(shown);
        }
        let parameters = Query::<Parameters>::try_from_uri(request.uri());
        parameters.is_ok_and(|Query(Parameters { api_key })| key.is(api_key.as_bytes()))
    }

    /// Whether an error is told by the status of the answer.
    fn tells_by_status(&self, headers: &HeaderMap) -> bool {
        let asked = headers.get(ERROR_MODE_HEADER).is_some_and(|mode| mode == "transport");
        asked || self.hub.now().config.http_api.error_mode == ApiErrorMode::Transport
    }

    /// Does what a command asks for; the result is JSON.
    async fn call(&self, method: &str, body: &str) -> Result<Vec<u8>, Failed> {
        // Neither the rooms nor all connections are here any more, or soon will not be.
        let done = match self.hub.is_settled() {
            true => Err(ErrorCode::TooManyRequests.into()),
            false => methods::call(self, method, body).await,
        };
        let done =
            done.and_then(|result| if result.len() <= ANSWER_BYTES_MAX { Ok(result) } else { Err(Failed::TOO_LONG) });
        self.hub.metrics.api_called(methods::known(method), done.as_ref().err().map_or(0, Failed::code));
        done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::task::LocalSet;

    use super::*;
    use crate::config::Config;

    /// Something like JSON: what methods take, and anything else.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            prop_oneof![Just("hall"), Just("no:where"), Just(""), Just("AP8="), Just("\\ud800"), Just("\\u0000")]
                .prop_map(|text| format!("\"{text}\"")),
            "\\PC{0,6}",
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let name = prop::sample::select(vec![
                "channel",
                "channels",
                "data",
                "b64data",
                "tags",
                "user",
                "client",
                "session",
                "limit",
                "since",
                "offset",
                "epoch",
                "reverse",
                "commands",
                "publish",
                "history",
                "batch",
                "parallel",
                "disconnect",
                "code",
                "reason",
                "whitelist",
                "version",
                "idempotency_key",
                "skip_history",
                "expire_at",
                "override",
                "presence",
                "value",
                "recover_since",
                "info",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec((name, inner), 0..6).prop_map(|fields| {
                    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_answered(body in value()) {
            // There is no shard; what waits for one is over at once.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(LocalSet::new().run_until(async {
                let api = Api::new(Arc::new(Hub::alone(Config::dev())));
                for method in methods::METHODS.iter().map(|method| method.name) {
                    if let Ok(result) = api.call(method, &body).await {
                        prop_assert!(serde_json::from_slice::<serde_json::Value>(&result).is_ok(), "{}", method);
                    }
                }
                Ok(())
            }))?;
        }
    }
}
