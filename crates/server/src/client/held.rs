//! What is held for a client that does not take it, and who goes when that is too much.

use std::rc::Rc;

use crate::client::connection::Connection;
use crate::client::connection_table::ConnectionTable;
use crate::client::shard::Shard;
use crate::delivery::sink::MemberSink as _;
use crate::limits::memory::Share;
use crate::util::panics::guard;
use crate::wire::send_queue::REPLY_BYTES_HIGH;
use roomcast_protocol::CloseCode;

/// How long a client may hold much while there is little left: most take an answer in less.
const HELD_MS: u64 = 2_000;

/// Connections that are looked at for it in one turn.
const LOOKED_AT: usize = 64;

/// Whether a shard that holds so many bytes may take more of the memory for replies. Of the last part of it, which is kept for those who
/// read, none takes more than falls to it: who goes is found on the shard that wants more, and clients of one must not have those
/// of another closed.
fn may_take(share: &Share, held: u64, shards: usize) -> bool {
    !share.is_short() || held <= share.limit() / shards.max(1) as u64
}

impl Shard {
    /// Lets those go that have held most for a while, if there is little left for others.
    pub(super) fn relieve(&self) {
        let share = &self.hub.rooms.memory.replies;
        if !share.is_short() {
            return;
        }
        for slot in self.connections.largest_holders(LOOKED_AT) {
            let Some(connection) = self.connections.at(slot).filter(|_| share.is_short()) else { continue };
            let since_ms = connection.send_queue.borrow().reserved_since_ms();
            // Nobody is judged by a time in which nothing was read of him.
            let is_long = |since_ms: u64| self.now_ms().saturating_sub(since_ms.max(self.awake_since_ms())) >= HELD_MS;
            if since_ms.is_some_and(is_long) && guard(|| connection.let_go(self)).is_err() {
                connection.survive(self);
            }
        }
    }
}

impl Connection {
    /// Whether so many replies wait that the client's commands must, too.
    pub(crate) fn is_saturated(&self) -> bool {
        self.send_queue.borrow().reply_bytes() >= REPLY_BYTES_HIGH
    }

    /// How many bytes wait to be written.
    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.send_queue.borrow().bytes()
    }

    /// In how many rooms it counts itself behind.
    #[cfg(test)]
    pub(crate) fn rooms_behind(&self) -> u32 {
        self.behind.get()
    }

    /// Reserves what is held for the client, or lets somebody go.
    pub(super) fn reserve_memory(self: &Rc<Self>, shard: &Shard) {
        let beside = self.driver.borrow().bytes_held() + self.buffered();
        let share = &shard.hub.rooms.memory.replies;
        loop {
            let mut send_queue = self.send_queue.borrow_mut();
            let before = send_queue.bytes_reserved();
            // Asked only of who needs more: all shards share what is left, and nearly always nobody does.
            let may_grow = || may_take(share, shard.connections.held_bytes(), shard.hub.metrics.shards());
            let has_it = send_queue.reserve(share, beside, may_grow, shard.now_ms());
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

    /// Gives back what was reserved for what has been written since: nothing else may wake the connection for a long time.
    pub(super) fn give_back_memory(&self, connections: &ConnectionTable) {
        let mut send_queue = self.send_queue.borrow_mut();
        let before = send_queue.bytes_reserved();
        // Whoever has gone has nothing noted any more.
        if before == 0 || self.is_gone() {
            return;
        }
        // In the midst of a turn of its own its task looks again, when that is over.
        let Ok(driver) = self.driver.try_borrow() else { return self.wake() };
        send_queue.give_back(driver.bytes_held() + self.buffered());
        let bytes = send_queue.bytes_reserved();
        drop(send_queue);
        connections.note_held(self.key, before, bytes);
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::config::MemoryOptions;
    use crate::limits::memory::Memory;

    #[test]
    fn a_shard_whose_clients_hold_nearly_all_leaves_another_shard_its_part() {
        let memory = Memory::new(&MemoryOptions { limit: NonZeroUsize::new(256 << 20) });
        let (share, limit) = (&memory.replies, memory.replies.limit());
        let mut held = Vec::new();
        while may_take(share, limit - share.left(), 4) {
            held.push(share.try_reserve(1 << 20).expect("the rest is left"));
        }
        assert!(share.left() > limit / 5, "{} of {limit}", share.left());
        assert!(may_take(share, 0, 4) && may_take(share, limit / 4, 4), "the others may");
        assert!(may_take(share, limit - share.left(), 1), "one that is alone has all");
    }
}
