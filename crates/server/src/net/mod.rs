//! The network: accepting, telling WebSocket from HTTP, the HTTP transports, the page, and who may connect from where.
//!
//! It uses `api`, `client` and everything below. It is used by the server itself, in `lib.rs`.

pub(crate) mod accept;
pub(crate) mod admission;
pub(crate) mod answer_headers;
pub(crate) mod arrival;
pub(crate) mod fast_upgrade;
pub(crate) mod http;
pub(crate) mod http_stream;
pub(crate) mod listeners;
pub(crate) mod page;
pub(crate) mod refusal;
pub(crate) mod unidirectional;
pub(crate) mod unix_socket;
pub(crate) mod upgrade;

use std::rc::Rc;
use std::sync::Arc;

use axum::Router;

use self::admission::Admission;
use self::arrival::Arrival;
use crate::api::Api;
use crate::client::shard::{Shard, SocketGuard};
use crate::limits::connections::Place;
use crate::rooms::hub::Hub;
use crate::wire::stream::Stream;

/// What a shard answers with before a socket is a client's.
#[derive(Debug)]
pub(crate) struct Front {
    admission: Admission,
    router: Router,
    api: Api,
}

impl Front {
    fn new(hub: &Arc<Hub>) -> Self {
        Self {
            admission: Admission::new(&hub.config),
            router: http::router(Arc::clone(hub)),
            api: Api::new(Arc::clone(hub)),
        }
    }

    /// Serves a connection that was accepted.
    fn take_in(self: &Rc<Self>, shard: &Rc<Shard>, stream: Stream, arrival: Arrival, place: Place) {
        let socket = SocketGuard::new(shard, place);
        tokio::task::spawn_local(fast_upgrade::serve(Rc::clone(self), Rc::clone(shard), stream, arrival, socket));
    }
}
