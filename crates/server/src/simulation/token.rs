//! Who clients say they are, for a while: tokens, and when they are over.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::plan::EXPIRED_CLOSE_DELAY;
use crate::auth::tools::make_claims;
use crate::config::Client;

/// A token that is signed by what that configuration knows, of which a client has so many seconds.
pub(super) fn token(options: &Client, user: &str, now_ms: u64, ttl_s: u64) -> String {
    let claims = [("sub", Value::from(user)), ("exp", Value::from(now_ms / 1_000 + ttl_s))];
    let claims: Map<String, Value> = claims.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    make_claims(&options.token, claims).expect("the secret is configured")
}

/// How long its client may be connected by a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    said: Instant,
    ttl: Duration,
    /// It brings a new one in time.
    pub(super) renews: bool,
    /// It brings it at once.
    is_asked: bool,
}

/// The clock of tokens is of whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// Longer than any rest.
const LONG: Duration = Duration::from_secs(3_600);

/// What closing a client may take beyond its time: timers that are due, what it is told and does not take.
const SLACK: Duration = Duration::from_secs(10);

impl Term {
    pub(super) fn new(ttl_s: u64, renews: bool) -> Self {
        Self { said: Instant::now(), ttl: Duration::from_secs(ttl_s), renews, is_asked: false }
    }

    /// Another one like this.
    pub(super) fn again(self) -> Self {
        Self { said: Instant::now(), is_asked: false, ..self }
    }

    /// From here on it stays, and brings at once what says so.
    pub(super) fn stay(&mut self) {
        *self = Self { ttl: LONG, renews: true, is_asked: true, ..*self };
    }

    pub(super) fn ttl_s(self) -> u64 {
        self.ttl.as_secs()
    }

    /// Whether it is to bring a new one.
    pub(super) fn is_due(&self) -> bool {
        self.is_asked || self.renews && self.said.elapsed() + SECOND >= self.ttl
    }

    /// Whether it may be closed for it.
    pub(super) fn may_be_over(&self) -> bool {
        self.said.elapsed() + SECOND >= self.ttl
    }

    /// Whether it should have been.
    pub(super) fn is_over(&self) -> bool {
        self.said.elapsed() > self.ttl + EXPIRED_CLOSE_DELAY + SLACK
    }
}
