//! A batch as a request: signed, and answered with success or not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use tokio::runtime::Handle;

use super::error::EventsError;
use super::relay::{Backend, Batch};
use super::signature::sign;
use crate::backend::{Call, CallError, HttpClient};
use crate::config::{Endpoint, RoomEventsOptions, WebhookSecret};

/// What is read of an answer, so that the connection can be used again; nobody looks at it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The backend of a configuration.
#[derive(Debug)]
pub(super) struct Post {
    client: HttpClient,
    endpoint: Endpoint,
    /// The secret, and the one before it while there is one.
    secrets: Vec<WebhookSecret>,
    timeout: Duration,
}

impl Post {
    /// A client that works on that runtime.
    pub(super) fn new(options: &RoomEventsOptions, runtime: &Handle) -> Result<Self, EventsError> {
        let (Some(endpoint), Some(secret)) = (options.endpoint.clone(), options.secret.clone()) else {
            return Err(EventsError::new("`events.endpoint` needs `events.secret`"));
        };
        let client = HttpClient::new(runtime.clone(), &options.tls).map_err(EventsError::new)?;
        let secrets = std::iter::once(secret).chain(options.previous_secret.clone()).collect();
        Ok(Self { client, endpoint, secrets, timeout: options.timeout })
    }

    fn headers(&self, batch: &Batch) -> Result<HeaderMap, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let signatures: Vec<String> =
            self.secrets.iter().map(|secret| sign(secret, &batch.id, now, &batch.body)).collect();
        let signature = signatures.join(" ");
        let said = [
            ("webhook-id", batch.id.clone()),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signature),
        ];
        for (name, value) in said {
            headers.insert(name, HeaderValue::try_from(value).map_err(|error| error.to_string())?);
        }
        Ok(headers)
    }
}

impl Backend for Post {
    async fn post(&self, batch: &Batch) -> Result<(), String> {
        let (url, body) = (self.endpoint.uri().clone(), Bytes::copy_from_slice(&batch.body));
        let call = Call {
            answer_bytes_max: ANSWER_BYTES_MAX,
            is_status_enough: true,
            ..Call::post(url, self.headers(batch)?, body, self.timeout)
        };
        match self.client.call(call).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(CallError::Status(answer.status).to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}
