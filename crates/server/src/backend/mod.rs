//! The site's backend: calls to it over HTTP.
//!
//! It uses `limits`, `config` and `util`. It is used by everybody above: whoever asks the backend for something, or tells it.

#[cfg(test)]
pub(crate) mod double;
mod error;
mod http;
mod resolver;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::error::CallError;
pub(crate) use self::http::{Answer, Call, EndsWithUs, HttpClient};
