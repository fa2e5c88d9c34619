//! The network: accepting, telling WebSocket from HTTP, the HTTP transports, the page, and who may connect from where.
//!
//! It uses `api`, `client` and everything below. It is used by the server itself, in `lib.rs`.

pub(crate) mod accept;
pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod answer_headers;
pub(crate) mod arrival;
pub(crate) mod autocert;
pub(crate) mod certificates;
pub(crate) mod fast_upgrade;
pub(crate) mod handshakes;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod http_stream;
pub(crate) mod inherited;
pub(crate) mod listeners;
pub(crate) mod page;
pub(crate) mod proxy_protocol;
pub(crate) mod refusal;
pub(crate) mod unidirectional;
pub(crate) mod unix_socket;
pub(crate) mod upgrade;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use tokio::time::Instant;

use self::admission::Admission;
use self::arrival::Arrival;
use self::handshakes::Handshakes;
use crate::api::Api;
use crate::client::shard::{Shard, SocketGuard};
use crate::config::Config;
use crate::limits::connections::Place;
use crate::rooms::hub::Hub;
use crate::wire::stream::Stream;

/// What a shard answers with before a socket is a client's.
#[derive(Debug)]
pub(crate) struct Front {
    /// Since when its shard's milliseconds count.
    since: Instant,
    /// Who is let in, and by which configuration.
    admission: RefCell<(Arc<Config>, Rc<Admission>)>,
    router: Router,
    api: Api,
    handshakes: Handshakes,
}

impl Front {
    fn new(shard: &Shard) -> Self {
        let hub = &shard.hub;
        let config = Arc::clone(&hub.now().config);
        Self {
            since: shard.started(),
            admission: RefCell::new((Arc::clone(&config), Rc::new(Admission::new(&config)))),
            router: http::router(Arc::clone(hub)),
            api: Api::new(Arc::clone(hub)),
            handshakes: Handshakes::new(hub.metrics.shards(), hub.metrics.tls.clone()),
        }
    }

    /// The time of its shard.
    fn now_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    /// Who is let in, by the configuration of this moment.
    fn admission(&self, hub: &Hub) -> Rc<Admission> {
        let now = hub.now();
        let mut made = self.admission.borrow_mut();
        if !Arc::ptr_eq(&made.0, &now.config) {
            *made = (Arc::clone(&now.config), Rc::new(Admission::new(&now.config)));
        }
        Rc::clone(&made.1)
    }

    /// Serves a connection that was accepted.
    fn take_in(self: &Rc<Self>, shard: &Rc<Shard>, stream: Stream, arrival: Arrival, place: Place) {
        let socket = SocketGuard::new(shard, place);
        let (front, shard) = (Rc::clone(self), Rc::clone(shard));
        tokio::task::spawn_local(async move {
            // Whoever looks after the server waits for none of them.
            let is_newcomer = Cell::new(arrival.way.role.serves_clients());
            let serving = fast_upgrade::serve(front, Rc::clone(&shard), stream, arrival, socket, &is_newcomer);
            shard.newcomers.hold(&is_newcomer, serving).await
        });
    }
}
