//! People at the SDK: clients that note what they are told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use tokio_centrifuge::client::{Client, RequestError};
use tokio_centrifuge::config::{BackoffReconnect, Config, Protocol};
use tokio_centrifuge::protocol::Publication;
use tokio_centrifuge::subscription::Subscription;

use crate::server::Server;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody with a connection.
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) events: Events,
}

/// What happens to a connection or a subscription, one text an event.
pub(crate) struct Events(UnboundedReceiver<String>);

impl Events {
    pub(crate) async fn next(&mut self) -> String {
        timeout(PATIENCE, self.0.recv()).await.expect("an event in time").expect("whoever tells is there")
    }

    /// Passes over everything up to this event.
    pub(crate) async fn wait_for(&mut self, event: &str) {
        while self.next().await != event {}
    }

    /// Everything that was told and not taken.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

impl Person {
    pub(crate) fn new(server: &Server, protocol: Protocol) -> Self {
        Self::with_token(server, protocol, "")
    }

    pub(crate) fn with_token(server: &Server, protocol: Protocol, token: &str) -> Self {
        let (query, mut config) = match protocol {
            Protocol::Json => ("", Config::new().use_json()),
            Protocol::Protobuf => ("?format=protobuf", Config::new().use_protobuf()),
        };
        // An answer that takes its time is no lost connection.
        config = config.with_token(token).with_read_timeout(PATIENCE).with_reconnect_strategy(BackoffReconnect {
            factor: 2.0,
            min_delay: Duration::from_millis(10),
            max_delay: Duration::from_millis(100),
        });
        let client = Client::new(&server.url(query), config);
        let (tell, events) = unbounded_channel();
        client.on_connecting({
            let tell = tell.clone();
            move |event| drop(tell.send(format!("connecting: {}", event.reason)))
        });
        client.on_connected({
            let tell = tell.clone();
            move |_| drop(tell.send("connected".to_owned()))
        });
        client.on_disconnected(move |event| drop(tell.send(format!("disconnected: {}", event.reason))));
        Self { client, events: Events(events) }
    }

    pub(crate) async fn connected(server: &Server, protocol: Protocol) -> Self {
        let mut person = Self::new(server, protocol);
        person.connect().await;
        person
    }

    pub(crate) async fn connect(&mut self) {
        timeout(PATIENCE, self.client.connect().into_future()).await.expect("a connection in time").expect("a server");
        self.events.wait_for("connected").await;
    }

    pub(crate) fn id(&self) -> String {
        self.client.server_info().client_id
    }

    pub(crate) async fn publish(&self, room: &str, data: impl AsRef<[u8]>) -> Result<(), RequestError> {
        self.client.publish(room, data.as_ref().to_vec()).await
    }

    /// Prepares a subscription without subscribing.
    pub(crate) fn member(&self, room: &str) -> Member {
        let subscription = self.client.new_subscription(room);
        let (tell, events) = unbounded_channel();
        let heard = Arc::new(Mutex::new(Vec::new()));
        subscription.on_publication({
            let (tell, heard) = (tell.clone(), heard.clone());
            move |publication| {
                heard.lock().expect("no test panics while it holds this").push(publication);
                drop(tell.send("publication".to_owned()));
            }
        });
        subscription.on_subscribed({
            let tell = tell.clone();
            move |_| drop(tell.send("subscribed".to_owned()))
        });
        subscription.on_unsubscribed(move |event| drop(tell.send(format!("unsubscribed: {}", event.code))));
        Member { subscription, events: Events(events), heard }
    }

    pub(crate) async fn enter(&self, room: &str) -> Member {
        let mut member = self.member(room);
        member.enter().await;
        member
    }
}

/// A person in one room.
pub(crate) struct Member {
    pub(crate) subscription: Subscription,
    pub(crate) events: Events,
    heard: Arc<Mutex<Vec<Publication>>>,
}

impl Member {
    pub(crate) async fn enter(&mut self) {
        let entered = timeout(PATIENCE, self.subscription.subscribe().into_future());
        entered.await.expect("an answer in time").expect("a room that may be entered");
        self.events.wait_for("subscribed").await;
    }

    pub(crate) async fn leave(&mut self) {
        timeout(PATIENCE, self.subscription.unsubscribe().into_future()).await.expect("an answer in time");
        self.events.wait_for("unsubscribed: 0").await;
    }

    /// Everything heard once these are so many.
    pub(crate) async fn heard(&mut self, count: usize) -> Vec<Publication> {
        loop {
            let heard = self.heard.lock().expect("no test panics while it holds this").clone();
            if heard.len() >= count {
                return heard;
            }
            self.events.wait_for("publication").await;
        }
    }
}

/// The number of a refusal.
pub(crate) fn code<T>(result: Result<T, RequestError>) -> Option<u32> {
    match result {
        Err(RequestError::ErrorResponse(error)) => Some(error.code),
        _ => None,
    }
}
