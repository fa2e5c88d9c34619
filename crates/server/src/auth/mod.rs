//! Who somebody is: tokens, verified by the keys of the configuration, or by those that an issuer publishes.
//!
//! It uses `config`, `util`, `ops`, `limits`, `backend` and the protocol. It is used by `callbacks`, `session`, `rooms` and the command line.

mod claims;
mod jwk;
mod jwt;
mod key_fetch;
mod key_sets;
#[cfg(test)]
pub(crate) mod tests;
pub mod tools;
mod verifier;

use std::fmt;
use std::sync::Arc;

pub(crate) use self::claims::{
    ConnectionToken, Expiry, OverrideClaims, Overrides, RoomClaims, STAY_MAX_MS, SubClaims, Subs, SubscriptionToken,
    object, overrides, payload, rooms,
};
pub(crate) use self::key_fetch::{Fetched, KeyFetcher, KeysUnavailable};
pub(crate) use self::key_sets::{KeySets, WantedKeys};
use self::verifier::Verifier;
use crate::config::Client;

/// Why a token is no good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// It was good, or will be: the client should fetch another.
    Expired,
    /// It proves nothing.
    Invalid,
    /// It may be good: its key is not here. These are to be fetched; nothing where they cannot be asked for at the moment.
    Unverified(Option<WantedKeys>),
}

/// Verifies the tokens that clients bring.
pub(crate) struct Tokens {
    connection: Verifier,
    /// Where subscription tokens are verified otherwise.
    subscription: Option<Verifier>,
    /// The keys that issuers publish.
    sets: Arc<KeySets>,
    /// Milliseconds since 1970.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Tokens {
    /// By the options of `client`; `clock` says the milliseconds since 1970.
    pub(crate) fn new(client: &Client, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self::with_sets(client, Arc::default(), clock)
    }

    /// The same with keys that issuers have published, as far as they were fetched.
    pub(crate) fn with_sets(
        client: &Client,
        sets: Arc<KeySets>,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let believes_all = client.insecure_skip_token_signature_verify;
        let verifier = |options| Verifier::new(options, believes_all, Arc::clone(&sets));
        Self {
            connection: verifier(&client.token),
            subscription: client.subscription_token_enabled.then(|| verifier(&client.subscription_token)),
            sets,
            clock: Box::new(clock),
        }
    }

    /// No token is good.
    #[cfg(any(test, roomcast_fuzz))]
    pub(crate) fn none() -> Self {
        Self::new(&crate::config::Config::default().client, || 0)
    }

    /// The keys that issuers publish, if any does.
    pub(crate) fn key_sets(&self) -> Option<&Arc<KeySets>> {
        let mut verifiers = self.subscription.iter().chain([&self.connection]);
        verifiers.any(Verifier::asks_issuer).then_some(&self.sets)
    }

    /// Whether any connection token can be good.
    pub(crate) fn takes_connections(&self) -> bool {
        self.connection.takes_any()
    }

    /// Whether any subscription token can be good.
    pub(crate) fn takes_subscriptions(&self) -> bool {
        self.subscriptions().takes_any()
    }

    /// Who brings this token.
    ///
    /// # Errors
    /// As the token is.
    pub(crate) fn connection(&self, token: &str) -> Result<ConnectionToken, TokenError> {
        self.connection.connection(token, (self.clock)())
    }

    /// Which room this token opens, and for whom.
    ///
    /// # Errors
    /// As the token is.
    pub(crate) fn subscription(&self, token: &str) -> Result<SubscriptionToken, TokenError> {
        self.subscriptions().subscription(token, (self.clock)())
    }

    fn subscriptions(&self) -> &Verifier {
        self.subscription.as_ref().unwrap_or(&self.connection)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}
