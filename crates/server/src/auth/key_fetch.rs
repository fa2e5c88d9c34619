//! Fetching the keys that issuers publish: one fetch of a set at a time, for all who wait for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use tokio::runtime::Handle;

use super::jwk::Jwks;
use super::key_sets::{Fetch, KeySets, WantedKeys};
use crate::backend::{Answer, Call, CallError, HttpClient};
use crate::config::TlsOptions;
use crate::limits::memory::CallMemory;
use crate::ops::metrics::KeyFetches;

/// How long one attempt may take, as at Centrifugo.
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is tried.
const ATTEMPTS: usize = 2;
/// The largest set: a hundred keys of the largest kind, with their certificates.
const SET_BYTES_MAX: usize = 512 * 1024;

/// Fetches keys. All clones are one.
#[derive(Clone)]
pub(crate) struct KeyFetcher {
    sets: Arc<KeySets>,
    client: HttpClient,
    runtime: Handle,
    /// What all that is under way has; nothing where there is one at a time.
    memory: Option<Arc<CallMemory>>,
    attempts: KeyFetches,
    /// Milliseconds since 1970.
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl KeyFetcher {
    /// One that does its work on `runtime`, for those who look into `sets`; it counts its `attempts`.
    ///
    /// # Errors
    /// This machine cannot make connections over TLS.
    pub(crate) fn new(
        sets: Arc<KeySets>,
        runtime: Handle,
        memory: Option<Arc<CallMemory>>,
        attempts: KeyFetches,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let client = HttpClient::new(runtime.clone(), &TlsOptions::default())?;
        Ok(Self { sets, client, runtime, memory, attempts, clock: Arc::new(clock) })
    }

    /// Fetches these keys, or waits for who does. It takes a few seconds at most.
    ///
    /// # Errors
    /// They could not be had; it may be better later.
    pub(crate) async fn fetch(&self, wanted: WantedKeys) -> Result<Fetched, KeysUnavailable> {
        let mut fetching = match self.sets.begin(&wanted, (self.clock)()) {
            Fetch::NotNow => return Err(KeysUnavailable),
            Fetch::Done => return Ok(Fetched::Before),
            Fetch::Wait(mut fetching) => {
                let _ = fetching.changed().await;
                // It had begun before.
                return fetching.borrow().map(|_| Fetched::Before);
            }
            Fetch::Begin(done) => {
                let fetching = done.subscribe();
                let this = self.clone();
                // Whoever asked first may go; the others still wait for it.
                self.runtime.spawn(async move {
                    let keys = this.get(&wanted).await;
                    let is_new = keys.is_some();
                    let outcome = match this.sets.fetched(&wanted, keys, (this.clock)()) {
                        true if is_new => Ok(Fetched::Now),
                        true => Ok(Fetched::Before),
                        false => Err(KeysUnavailable),
                    };
                    let _ = done.send(outcome);
                });
                fetching
            }
        };
        // Who fetches says so, or has gone.
        let _ = fetching.changed().await;
        *fetching.borrow()
    }

    async fn get(&self, wanted: &WantedKeys) -> Option<Jwks> {
        let url: Uri = wanted.url.parse().ok()?;
        let host = url.host().unwrap_or_default().to_owned();
        for _ in 0..ATTEMPTS {
            let answer = self.ask(&url).await.and_then(Answer::ok);
            let keys = answer.map_err(|error| error.to_string()).and_then(|json| Ok(Jwks::parse(&json)?));
            self.attempts.count(keys.is_ok());
            match keys {
                Ok(keys) => {
                    tracing::debug!(host, "fetched the keys of an issuer");
                    return Some(keys);
                }
                Err(error) => tracing::warn!(host, error, "cannot fetch the keys of an issuer"),
            }
        }
        None
    }

    async fn ask(&self, url: &Uri) -> Result<Answer, CallError> {
        let hold = |memory: &Arc<CallMemory>| memory.hold(0).ok_or(CallError::NoMemory);
        let memory = self.memory.as_ref().map(hold).transpose()?;
        self.client
            .call(Call { answer_bytes_max: SET_BYTES_MAX, memory, ..Call::get(url.clone(), FETCH_TIMEOUT) })
            .await
    }
}

/// When keys were fetched that somebody has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// After that: a key that is not among them is not there.
    Now,
    /// Before: shortly, or they could not be fetched again and are believed all the same.
    Before,
}

/// Keys that could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeysUnavailable;

impl fmt::Debug for KeyFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFetcher").finish_non_exhaustive()
    }
}
