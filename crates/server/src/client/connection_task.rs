//! The task of one connection: it runs it to its end.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::client::connection::Connection;
use crate::client::driver::SessionDriver;
use crate::client::shard::Shard;
use crate::delivery::sink::MemberSink as _;
use crate::util::panics::guard;
use roomcast_protocol::CloseCode;

/// Runs a connection to its end and cleans up behind it, however it ends.
pub(super) struct Task {
    shard: Rc<Shard>,
    connection: Rc<Connection>,
    /// What the client said before this was begun: commands, then frames.
    first: Option<(Option<Bytes>, Bytes)>,
}

impl Task {
    pub(super) fn new(shard: &Rc<Shard>, connection: Rc<Connection>, first: Option<(Option<Bytes>, Bytes)>) -> Self {
        Self { shard: Rc::clone(shard), connection, first }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let first = self.first.take();
        let Self { shard, connection, .. } = &*self;
        let turn = || {
            if let Some((frame, behind)) = first {
                if let Some(frame) = frame {
                    SessionDriver::receive_frame(connection, shard, frame);
                }
                if !behind.is_empty() && connection.is_open() {
                    SessionDriver::receive(connection, shard, &mut behind.to_vec());
                }
                connection.hasten(shard);
            }
            connection.poll(shard, cx)
        };
        guard(turn).unwrap_or_else(|_| {
            connection.survive(shard);
            connection.wake();
            Poll::Pending
        })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Self { shard, connection, .. } = self;
        connection.end();
        let depart = || connection.driver.borrow_mut().depart(shard, connection.key, &CloseCode::Closed.into());
        if guard(depart).is_err() {
            tracing::error!(shard = shard.index, "cleaning up a connection panicked");
        }
        shard.connections.note_held(connection.key, connection.send_queue.borrow().bytes_reserved(), 0);
        shard.connections.dismiss(connection);
        shard.metrics.connections.dec();
    }
}
