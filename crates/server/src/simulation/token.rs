//! Who clients say they are, for a while: tokens, and when they are over.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::plan::EXPIRED_CLOSE_DELAY;
use crate::auth::tools::make_claims;
use crate::config::Client;

/// A token that is signed by what that configuration knows, of which a client has so many seconds: of who it is, or of a room.
pub(super) fn token(options: &Client, user: &str, room: Option<&str>, now_ms: u64, ttl_s: u64) -> String {
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), Value::from(user));
    claims.insert("exp".to_owned(), Value::from(now_ms / 1_000 + ttl_s));
    claims.extend(room.map(|room| ("channel".to_owned(), Value::from(room))));
    make_claims(&options.token, claims).expect("the secret is configured")
}

/// How long its client may be connected by a token.
#[derive(Clone, Copy)]
pub(super) struct Term {
    said: Instant,
    ttl: Duration,
    /// It brings a new one in time.
    pub(super) renews: bool,
    /// It brings it at once.
    is_asked: bool,
    /// What it has brought was refused, and what holds is what it had before.
    is_unsure: bool,
}

/// The clock of tokens is of whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// Longer than any rest.
const LONG: Duration = Duration::from_secs(3_600);

/// What closing a client may take beyond its time: timers that are due, what it is told and does not take.
const SLACK: Duration = Duration::from_secs(4);

/// What is the same whenever it is played.
impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term").field("ttl", &self.ttl).field("renews", &self.renews).finish_non_exhaustive()
    }
}

impl Term {
    pub(super) fn new(ttl_s: u64, renews: bool) -> Self {
        Self { said: Instant::now(), ttl: Duration::from_secs(ttl_s), renews, is_asked: false, is_unsure: false }
    }

    /// Another one like this.
    pub(super) fn again(self) -> Self {
        Self { said: Instant::now(), is_asked: false, is_unsure: false, ..self }
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

    /// What it has brought was refused.
    pub(super) fn is_refused(&mut self) {
        (self.is_unsure, self.renews) = (true, false);
    }

    /// Whether it may be closed for it.
    pub(super) fn may_be_over(&self) -> bool {
        self.is_unsure || self.is_asked || self.said.elapsed() + SECOND >= self.ttl
    }

    /// Whether it should have been.
    pub(super) fn is_over(&self) -> bool {
        !self.is_unsure && self.said.elapsed() > self.ttl + EXPIRED_CLOSE_DELAY + SLACK
    }
}
