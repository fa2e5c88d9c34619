//! One turn of one connection: what is to be done, and what is said in it.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::client::connection::Connection;
use crate::client::deferred::Receiver;
use crate::client::shard::Shard;
use crate::session::Action;
use crate::wire::disconnect::Disconnect;
use crate::wire::encoded_batch::EncodedBatch;
use crate::wire::send_queue::REPLY_BYTES_HIGH;
use roomcast_protocol::{CloseCode, Placed, ReplyBody, RoomName};

/// What one turn of one connection works with.
pub(super) struct Turn<'a> {
    pub(super) connection: &'a Rc<Connection>,
    pub(super) shard: &'a Shard,
    pub(super) replies: EncodedBatch,
    /// What is to be done next.
    pub(super) actions: VecDeque<Action>,
    /// What the session has just added.
    pub(super) out: Vec<Action>,
    /// The rooms of which replies among `actions` and `out` tell publications, in their order.
    pub(super) found_in: VecDeque<RoomName>,
    /// The rooms of which `replies` tell publications.
    pub(super) told_of: Vec<RoomName>,
}

impl Turn<'_> {
    /// Notes of which room the reply tells publications that was added behind `before`, if one was.
    pub(super) fn note_found(&mut self, before: usize, room: RoomName) {
        let tells = |action: &mut Action| match action {
            Action::Reply(reply) => found(&mut reply.body).is_some(),
            _ => false,
        };
        if self.out[before..].iter_mut().any(tells) {
            self.found_in.push_back(room);
        }
    }

    /// Takes out of a reply what was erased while it waited: for other rooms that its client is put into, or for the client to take
    /// what was said before.
    pub(super) fn hide_erased_since(&mut self, reply: &mut ReplyBody) {
        let hub = &self.shard.hub;
        if let ReplyBody::Connect(connected) = reply {
            for (room, subscribed) in &mut connected.subs {
                hub.hide_erased(room, &mut subscribed.publications);
                if !subscribed.publications.is_empty() {
                    self.told_of.push(room.clone());
                }
            }
        } else if let Some(found) = found(reply)
            && let Some(room) = self.found_in.pop_front()
        {
            hub.hide_erased(&room, found);
            if !found.is_empty() {
                self.told_of.push(room);
            }
        }
    }

    /// Writes what has been said so far.
    pub(super) fn flush(&mut self) {
        self.replies.finish();
        if !self.replies.is_empty() {
            let bytes = self.replies.as_bytes();
            self.shard.metrics.bytes_out.inc_by(bytes.len() as u64);
            self.connection.write_own(self.shard, bytes);
            self.replies.clear();
            if !self.told_of.is_empty() {
                self.connection.note_told_of(std::mem::take(&mut self.told_of));
            }
        }
    }

    /// Who is told when something that takes its time is done.
    pub(super) fn receiver(&self) -> Result<Receiver, Disconnect> {
        Receiver::new(self.connection, self.shard).ok_or_else(|| CloseCode::Shutdown.into())
    }

    /// Whether the client must take its replies before more is done for it.
    pub(super) fn is_saturated(&mut self) -> bool {
        if self.replies.len() >= REPLY_BYTES_HIGH {
            self.flush();
        }
        self.connection.is_saturated()
    }
}

/// What a reply tells of one room's publications.
pub(super) fn found(reply: &mut ReplyBody) -> Option<&mut Vec<Placed>> {
    match reply {
        ReplyBody::Subscribe(subscribed) => Some(&mut subscribed.publications),
        ReplyBody::History(read) => Some(&mut read.publications),
        _ => None,
    }
}
