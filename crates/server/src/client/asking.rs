//! What the backend is asked about a client, on the way there and back.

use axum::http::HeaderMap;
use tokio::task::AbortHandle;

use crate::callbacks::{Allowed, Callbacks, Question, Way};
use crate::client::deferred::{Done, Receiver};
use crate::rooms::terms::Terms;
use crate::session::Ticket;
use crate::wire::disconnect::Disconnect;
use roomcast_protocol::CloseCode;

/// What of a client's handshake the backend is told, and what it is being asked.
#[derive(Debug, Default)]
pub(super) struct Asking {
    headers: Option<Box<HeaderMap>>,
    under_way: Vec<AbortHandle>,
}

impl Asking {
    pub(super) fn new(headers: Box<HeaderMap>) -> Self {
        Self { headers: Some(headers), under_way: Vec::new() }
    }

    /// Asks, and has the session told what comes of it.
    pub(super) fn ask(
        &mut self,
        callbacks: &Callbacks,
        receiver: &Receiver,
        ticket: Ticket,
        question: Question,
        way: Way,
    ) {
        let work = callbacks.ask(question, way, self.headers.as_deref());
        let task = receiver.complete_with(async move { Done::Answered(ticket, work.await) });
        self.under_way.retain(|task| !task.is_finished());
        self.under_way.push(task);
    }
}

impl Drop for Asking {
    /// Nobody is left who would be told.
    fn drop(&mut self) {
        self.under_way.iter().for_each(AbortHandle::abort);
    }
}

/// What a backend asks of a publish.
pub(super) fn on_terms(allowed: Allowed) -> Terms {
    let Allowed { idempotency_key, version, version_epoch, skip_history, .. } = allowed;
    Terms { idempotency_key, version, version_epoch, skip_history }
}

/// A disconnect of the backend's.
pub(super) fn custom(code: u32, reason: &str) -> Disconnect {
    // It has been looked at whether it fits.
    Disconnect::custom(code, reason.to_owned()).unwrap_or_else(|| CloseCode::ServerError.into())
}
