//! What cannot be done in a turn because the database has to be asked, or waited for.
//!
//! A session answers one command after the other, so a connection has at most one such thing under way.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::timeout;

use crate::client::connection::Connection;
use crate::client::driver::SessionDriver;
use crate::client::shard::Shard;
use crate::config::Overload;
use crate::rooms::hub::Hub;
use crate::rooms::publish::{TRIES, refusal};
use crate::rooms::stored::{NoAnswer, ReadFrom, StoredRooms};
use crate::rooms::visible::{Edge, Visible};
use crate::session::{Recover, Subscribed, Ticket};
use roomcast::store::Watermark;
use roomcast::{PublishError, Room, Subscription};
use roomcast_protocol::{ErrorCode, HistoryQuery, HistoryResult, Publication, RoomName};

/// What has been done, for the session to go on with.
#[derive(Debug)]
pub(crate) enum Done {
    Entered(Ticket, RoomName, Result<(Subscription<Publication>, Subscribed), ErrorCode>),
    Published(Ticket, Result<(), ErrorCode>),
    Read(Ticket, Result<HistoryResult, ErrorCode>),
    /// What a member has missed from that sequence on, with sequences and times.
    Fetched(RoomName, u64, Vec<(u64, u64, Publication)>),
}

/// Messages that are fetched at once for a member that is behind its ring: few enough that many such members do not fill the memory
/// with them, also where each is as large as it may be.
const FETCHED: usize = 64;

/// Enters a kept room.
pub(crate) fn enter(to: &Receiver, ticket: Ticket, name: RoomName, recover: Option<Recover>) {
    let hub = to.hub();
    to.complete_with(async move {
        let entered = blocking({
            let name = name.clone();
            move || {
                let publications_max = hub.config.client.recovery_max_publication_limit;
                try_twice(&hub, &name, |stored_rooms, room, visible| {
                    stored_rooms.enter(room, recover.as_ref(), visible, publications_max, ReadFrom::MemoryOrDatabase)
                })
            }
        });
        Done::Entered(ticket, name, entered.await)
    });
}

/// Reads the past of a kept room.
pub(crate) fn read(to: &Receiver, ticket: Ticket, name: RoomName, query: HistoryQuery) {
    let hub = to.hub();
    to.complete_with(async move {
        let read = move || {
            try_twice(&hub, &name, |stored_rooms, room, visible| {
                stored_rooms.history(room, &query, visible, ReadFrom::MemoryOrDatabase)
            })
        };
        Done::Read(ticket, blocking(read).await)
    });
}

/// Publishes into a kept room that does not run, or has no space at the moment.
pub(crate) fn publish(to: &Receiver, ticket: Ticket, name: RoomName, publication: Publication) {
    let hub = to.hub();
    to.complete_with(async move { Done::Published(ticket, publish_stored(hub, name, publication).await) });
}

/// Waits until what was published is stored.
pub(crate) fn await_stored(to: &Receiver, ticket: Ticket, mark: Arc<Watermark>, end: u64) {
    let hub = to.hub();
    to.complete_with(async move { Done::Published(ticket, stored(&hub, &mark, end).await) });
}

/// Fetches what a member has missed of a room from `from` on.
pub(crate) fn fetch(to: &Receiver, name: RoomName, room: Room<Publication>, from: u64) {
    let hub = to.hub();
    to.complete_with(async move {
        let fetch = move || hub.stored_rooms().ok_or(ErrorCode::Internal)?.fetch(&room, from, FETCHED);
        Done::Fetched(name, from, blocking(fetch).await.unwrap_or_default())
    });
}

async fn publish_stored(hub: Arc<Hub>, name: RoomName, mut publication: Publication) -> Result<(), ErrorCode> {
    let stored_rooms = hub.stored_rooms().ok_or(ErrorCode::Internal)?;
    for _ in 0..TRIES {
        let room = {
            let (hub, name) = (Arc::clone(&hub), name.clone());
            blocking(move || hub.open_stored(&name)).await?
        };
        let published = match stored_rooms.overload {
            Overload::Refuse => room.publish(publication),
            Overload::Wait => match timeout(stored_rooms.timeout, room.publish_wait(publication)).await {
                Ok(published) => published,
                Err(_) => return Err(ErrorCode::TooManyRequests),
            },
        };
        match published {
            Ok(sequence) => {
                return match Edge::awaited(&stored_rooms.archive, &room)? {
                    Some(mark) => stored(&hub, &mark, sequence + 1).await,
                    None => Ok(()),
                };
            }
            // Ended between the look-up and the publish.
            Err(PublishError::Closed(back) | PublishError::Crashed(back)) => publication = back,
            Err(refused) => return Err(refusal(&refused)),
        }
    }
    Err(ErrorCode::Internal)
}

async fn stored(hub: &Hub, mark: &Watermark, end: u64) -> Result<(), ErrorCode> {
    let limit = hub.stored_rooms().ok_or(ErrorCode::Internal)?.timeout;
    // Not in time, or never: either way it is not known to be stored.
    let reached = timeout(limit, mark.reached(end)).await.map_err(|_| ErrorCode::TooManyRequests)?;
    reached.map_err(|_| ErrorCode::TooManyRequests)
}

fn try_twice<R>(
    hub: &Hub,
    name: &RoomName,
    work: impl Fn(&StoredRooms, &Room<Publication>, &Visible) -> Result<R, NoAnswer>,
) -> Result<R, ErrorCode> {
    let stored_rooms = hub.stored_rooms().ok_or(ErrorCode::Internal)?;
    let mut done = Err(ErrorCode::Internal);
    for _ in 0..TRIES {
        let room = hub.open_stored(name)?;
        done = work(stored_rooms, &room, &hub.visible(&room)?).map_err(|no| match no {
            NoAnswer::Failed(code) => code,
            NoAnswer::InTheDatabase => ErrorCode::Internal,
        });
        if room.is_running() {
            break;
        }
    }
    done
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, ErrorCode> + Send + 'static,
) -> Result<R, ErrorCode> {
    spawn_blocking(work).await.unwrap_or(Err(ErrorCode::Internal))
}

/// For whom it is done.
#[derive(Debug)]
pub(crate) struct Receiver {
    connection: Weak<Connection>,
    shard: Rc<Shard>,
}

impl Receiver {
    pub(crate) fn new(connection: &Rc<Connection>, shard: &Shard) -> Option<Self> {
        // A connection that goes meanwhile is not kept.
        Some(Self { connection: Rc::downgrade(connection), shard: shard.itself()? })
    }

    fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.shard.hub)
    }

    fn complete_with(&self, work: impl Future<Output = Done> + 'static) {
        let (connection, shard) = (self.connection.clone(), Rc::clone(&self.shard));
        spawn_local(async move {
            let done = work.await;
            if let Some(connection) = connection.upgrade() {
                connection.go_on(&shard, |connection, shard| SessionDriver::complete(connection, shard, done));
            }
        });
    }
}
