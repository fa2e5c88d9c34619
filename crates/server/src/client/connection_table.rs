//! The connections of a shard, by key, and when each is to be looked after.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use slab::Slab;

use crate::client::connection::Connection;
use crate::util::key::ConnectionKey;
use crate::util::timer_wheel::{Due, Wheel};

/// Connections with replies for which space is kept between turns.
const UNFLUSHED_KEPT: usize = 256;

/// The connections of one shard.
pub(crate) struct ConnectionTable {
    connections: RefCell<Slab<Rc<Connection>>>,
    next_number: Cell<u64>,
    wheel: RefCell<Wheel<ConnectionKey>>,
    /// Those with replies that have not been written.
    unflushed: RefCell<Vec<Rc<Connection>>>,
    /// What is held for clients that do not take it, with the slots of their connections.
    held: RefCell<BTreeSet<(u64, usize)>>,
    /// All of that.
    held_bytes: Cell<u64>,
}

impl ConnectionTable {
    pub(crate) fn new() -> Self {
        Self {
            connections: RefCell::default(),
            next_number: Cell::new(0),
            wheel: RefCell::new(Wheel::new(0)),
            unflushed: RefCell::default(),
            held: RefCell::default(),
            held_bytes: Cell::new(0),
        }
    }

    /// Gives a new connection its place.
    pub(crate) fn admit(&self, connection: impl FnOnce(ConnectionKey) -> Connection) -> Rc<Connection> {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let mut connections = self.connections.borrow_mut();
        let place = connections.vacant_entry();
        let slot = place.key();
        let connection = Rc::new(connection(ConnectionKey { slot, number }));
        place.insert(Rc::clone(&connection));
        connection
    }

    /// Takes the place back.
    pub(crate) fn dismiss(&self, connection: &Connection) {
        let mut connections = self.connections.borrow_mut();
        let slot = connection.key.slot;
        if connections.get(slot).is_some_and(|c| c.key == connection.key) {
            connections.remove(slot);
        }
    }

    pub(crate) fn find(&self, key: ConnectionKey) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.get(key.slot).filter(|connection| connection.key == key).cloned()
    }

    /// Says that for a connection so many bytes are held, and no longer `before`.
    pub(crate) fn note_held(&self, key: ConnectionKey, before: u64, bytes: u64) {
        if before == bytes {
            return;
        }
        self.held_bytes.set((self.held_bytes.get() + bytes).saturating_sub(before));
        let mut held = self.held.borrow_mut();
        held.remove(&(before, key.slot));
        if bytes > 0 {
            held.insert((bytes, key.slot));
        }
    }

    /// The bytes that are held for all.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes.get()
    }

    /// The most bytes that are held for one, and its slot.
    pub(crate) fn largest_holder(&self) -> Option<(u64, usize)> {
        self.held.borrow().last().copied()
    }

    /// The slots of those for which most is held.
    pub(crate) fn largest_holders(&self, count: usize) -> Vec<usize> {
        self.held.borrow().iter().rev().take(count).map(|(_, slot)| *slot).collect()
    }

    /// The connection in a slot.
    pub(crate) fn at(&self, slot: usize) -> Option<Rc<Connection>> {
        self.connections.borrow().get(slot).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().iter().map(|(_, connection)| Rc::clone(connection)).collect()
    }

    /// The number of the next connection that comes; those that are here have lower ones.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.get()
    }

    /// The first connection that is in that slot or behind it.
    pub(crate) fn next_from(&self, slot: usize) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        (slot..connections.capacity()).find_map(|slot| connections.get(slot).cloned())
    }

    /// Runs the connection's timer at `at_ms`, once; an earlier time replaces a later one.
    pub(crate) fn schedule(&self, connection: &Connection, at_ms: u64) {
        connection.due_ms.set(at_ms);
        self.wheel.borrow_mut().schedule(at_ms, connection.key);
    }

    /// Appends the timers that are due by then.
    pub(crate) fn take_due(&self, now_ms: u64, due: &mut Vec<Due<ConnectionKey>>) {
        self.wheel.borrow_mut().advance(now_ms, due);
    }

    /// Has what waits for a connection be written by [`ConnectionTable::flush_all`].
    pub(crate) fn flush_later(&self, connection: &Rc<Connection>) {
        self.unflushed.borrow_mut().push(Rc::clone(connection));
    }

    pub(crate) fn flush_all(&self) {
        // Nothing is added meanwhile: writing runs nobody's code.
        let mut unflushed = self.unflushed.borrow_mut();
        for connection in unflushed.drain(..) {
            connection.flush();
            connection.give_back_memory(self);
        }
        unflushed.shrink_to(UNFLUSHED_KEPT);
    }
}

impl fmt::Debug for ConnectionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTable").field("connections", &self.connections.borrow().len()).finish_non_exhaustive()
    }
}
