//! What cannot be done in a turn because somebody else has to be asked, or waited for.
//!
//! A session answers one command after the other, so a connection has at most one such thing under way.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;

use tokio::task::{AbortHandle, spawn_local};

use crate::auth::{Fetched, KeysUnavailable};
use crate::callbacks;
use crate::client::connection::Connection;
use crate::client::driver::SessionDriver;
use crate::client::shard::Shard;
use crate::rooms::engine::{Accepted, Entered};
use crate::session::Ticket;
use crate::util::panics::guard;
use roomcast_protocol::{ClientInfo, ErrorCode, HistoryResult, Placed, PresenceStats, RoomName};

/// What has been done, for the session to go on with.
#[derive(Debug)]
pub(crate) enum Done {
    Entered(Ticket, RoomName, Result<Entered, ErrorCode>),
    Published(Ticket, Result<Accepted, ErrorCode>),
    Read(Ticket, RoomName, Result<HistoryResult, ErrorCode>),
    Members(Ticket, Result<Vec<ClientInfo>, ErrorCode>),
    Counted(Ticket, Result<PresenceStats, ErrorCode>),
    Keys(Ticket, Result<Fetched, KeysUnavailable>),
    Answered(Ticket, callbacks::Answer),
    /// What a member has missed from that sequence on.
    Fetched(RoomName, u64, Vec<Placed>),
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

    /// Has the session go on with what `work` comes to, unless the connection has gone by then. Where it comes to nothing because
    /// it panicked, the connection ends: its client would wait for ever.
    ///
    /// What is returned ends it before.
    pub(crate) fn complete_with(&self, work: impl Future<Output = Done> + 'static) -> AbortHandle {
        let (connection, shard) = (self.connection.clone(), Rc::clone(&self.shard));
        let task = spawn_local(async move {
            let mut work = pin!(work);
            let done = poll_fn(|cx| match guard(|| work.as_mut().poll(cx)) {
                Ok(done) => done.map(Some),
                Err(_) => Poll::Ready(None),
            });
            let done = done.await;
            let Some(connection) = connection.upgrade() else { return };
            match done {
                Some(done) => {
                    connection.go_on(&shard, |connection, shard| SessionDriver::complete(connection, shard, done))
                }
                None if connection.is_open() => connection.survive(&shard),
                None => {}
            }
        });
        task.abort_handle()
    }
}
