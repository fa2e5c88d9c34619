//! What is held for a client that does not take it, and who goes when that is too much.

use std::rc::Rc;

use crate::client::connection::Connection;
use crate::client::shard::Shard;
use crate::wire::send_queue::REPLY_BYTES_HIGH;
use roomcast_protocol::CloseCode;

impl Connection {
    /// Whether so many replies wait that the client's commands must, too.
    pub(crate) fn is_saturated(&self) -> bool {
        self.send_queue.borrow().reply_bytes() >= REPLY_BYTES_HIGH
    }

    /// Reserves what is held for the client, or lets somebody go.
    pub(super) fn reserve_memory(self: &Rc<Self>, shard: &Shard) {
        let beside = self.driver.borrow().bytes_held();
        let share = &shard.hub.rooms.memory.replies;
        loop {
            let mut send_queue = self.send_queue.borrow_mut();
            let before = send_queue.bytes_reserved();
            let has_it = send_queue.reserve(share, beside);
            let (bytes, needed) = (send_queue.bytes_reserved(), (send_queue.bytes() + beside) as u64);
            drop(send_queue);
            shard.connections.note_held(self.key, before, bytes);
            if has_it {
                return;
            }
            // Who holds most goes: it takes least of what it is given, or asks for most.
            let other = shard.connections.largest_holder().filter(|(bytes, _)| *bytes > needed);
            match other.and_then(|(_, slot)| shard.connections.at(slot)).filter(|other| other.key != self.key) {
                Some(other) => other.let_go(shard),
                None => return self.let_go(shard),
            }
        }
    }

    /// Closes the connection for what is held for it, and holds no more of it.
    fn let_go(self: &Rc<Self>, shard: &Shard) {
        let bytes = self.send_queue.borrow().bytes_reserved();
        tracing::warn!(
            client = self.driver.borrow().client(),
            shard = shard.index,
            bytes,
            "memory for replies used up, connection closed"
        );
        self.close_with(shard, CloseCode::Slow);
        self.send_queue.borrow_mut().give_up();
        shard.connections.note_held(self.key, bytes, 0);
        self.end();
    }
}
