//! How a command ended, as a backend is told it.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::rooms::cluster::Untold;
use roomcast_protocol::ErrorCode;

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// There is no such method.
    NoMethod,
    /// The body is not what the method takes; with what is wrong.
    Malformed(String),
    /// An error of the API.
    Error(ApiError),
}

/// An error of the API: the numbers and texts of the wire, but two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ApiError {
    pub(super) code: u32,
    pub(super) message: &'static str,
}

impl ApiError {
    pub(super) const NOT_FOUND: Self = Self { code: 104, message: "not found" };

    /// With which status it is told where errors are told by it.
    fn status(self) -> StatusCode {
        match self.code {
            102 | 104 => StatusCode::NOT_FOUND,
            106..=108 => StatusCode::BAD_REQUEST,
            // Asking again later may help.
            111 => StatusCode::SERVICE_UNAVAILABLE,
            112 => StatusCode::RANGE_NOT_SATISFIABLE,
            113 => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(error: ErrorCode) -> Self {
        Self { code: error.code(), message: error.message() }
    }
}

impl Failed {
    /// What is asked for does not fit into an answer.
    pub(super) const TOO_LONG: Self =
        Self::Error(ApiError { code: ErrorCode::LimitExceeded.code(), message: ErrorCode::LimitExceeded.message() });

    pub(super) fn code(&self) -> u32 {
        self.error().code
    }

    /// It as an error, where nothing else can be told: among other answers.
    pub(super) fn error(&self) -> ApiError {
        match self {
            Self::NoMethod => ApiError::NOT_FOUND,
            Self::Malformed(_) => ErrorCode::BadRequest.into(),
            Self::Error(error) => *error,
        }
    }
}

impl From<ErrorCode> for Failed {
    fn from(error: ErrorCode) -> Self {
        Self::Error(error.into())
    }
}

impl From<Untold> for Failed {
    fn from(_: Untold) -> Self {
        ErrorCode::Internal.into()
    }
}

/// A result as JSON.
pub(super) fn json(result: &impl Serialize) -> Vec<u8> {
    // What is written has no keys that are not texts, and nothing else can fail.
    serde_json::to_vec(result).unwrap_or_else(|_| b"{}".to_vec())
}

/// `{"NAME":VALUE}`.
pub(super) fn wrap(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 5);
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
    out.push(b'}');
    out
}

/// The method whose result stands where that of others is within `result`.
pub(super) const BARE: &str = "batch";

/// The answer to one command.
pub(super) fn result(method: &str, done: Result<Vec<u8>, Failed>, tells_by_status: bool) -> Response<Body> {
    match done {
        Ok(result) if method == BARE => with_type(StatusCode::OK, JSON, result),
        Ok(result) => with_type(StatusCode::OK, JSON, wrap("result", &result)),
        Err(Failed::NoMethod) => text(StatusCode::NOT_FOUND, "there is no such method\n".to_owned()),
        Err(Failed::Malformed(advice)) => text(StatusCode::BAD_REQUEST, advice),
        Err(Failed::Error(error)) if tells_by_status => with_type(error.status(), JSON, json(&error)),
        Err(Failed::Error(error)) => with_type(StatusCode::OK, JSON, wrap("error", &json(&error))),
    }
}

/// The answers to commands that came in lines.
pub(super) fn lines(answered: Result<Vec<u8>, String>) -> Response<Body> {
    match answered {
        Ok(answers) => with_type(StatusCode::OK, JSON, answers),
        Err(advice) => text(StatusCode::BAD_REQUEST, advice),
    }
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(super) fn text(status: StatusCode, text: String) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", text.into_bytes())
}

pub(super) const JSON: &str = "application/json";

pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
