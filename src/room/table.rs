//! The rooms of a broker by name: a hash trie of small leaves, each replaced whole.
//!
//! Looking a room up takes no lock and copies nothing. Adding one copies its leaf, at most [`LEAF_MAX`] rooms, so creating
//! a million is linear. A leaf that overflows becomes a branch, and a branch stays one. After P. Bagwell, "Ideal Hash
//! Trees" (2001).

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::core::RoomRef;
use crate::sync::{AtomicU64, HashState, Relaxed, Snapshot};

/// Rooms in a leaf before it is split.
const LEAF_MAX: usize = 8;

/// The root has as many slots as this makes; a model needs no more than two.
const ROOT_BITS: u32 = if cfg!(any(roomcast_loom, roomcast_shuttle)) { 1 } else { 10 };
const BRANCH_BITS: u32 = 4;

enum Node<T> {
    Leaf(Box<[Entry<T>]>),
    Branch(Box<[Snapshot<Self>]>),
}

/// A room and the hash of its name. The hash tells it from its neighbours without a look at them: a name lies two lines of
/// memory away, which among many rooms are in no cache.
struct Entry<T> {
    hash: u64,
    room: RoomRef<T>,
}

impl<T> Entry<T> {
    fn is(&self, hash: u64, name: &str) -> bool {
        self.hash == hash && &*self.room.0.name == name
    }
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, room: self.room.clone() }
    }
}

/// All rooms of one broker.
pub(crate) struct Table<T> {
    root: Box<[Snapshot<Node<T>>]>,
    /// What a slot without rooms holds; one allocation for all.
    empty: Arc<Node<T>>,
    hasher: HashState,
    /// Rooms in it, and for a moment rooms about to be added.
    len: AtomicU64,
    rooms_max: u64,
}

/// What became of an attempt to add a room.
pub(crate) enum Added {
    /// It is in the table.
    New,
    /// Another one of that name was there already.
    Found,
    /// The table is full.
    Full,
}

impl<T> Table<T> {
    pub(crate) fn new(rooms_max: usize) -> Self {
        let empty = Arc::new(Node::Leaf(Box::default()));
        Self {
            root: (0..1 << ROOT_BITS).map(|_| Snapshot::new(empty.clone())).collect(),
            empty,
            hasher: HashState::default(),
            len: AtomicU64::new(0),
            rooms_max: rooms_max as u64,
        }
    }

    pub(crate) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    pub(crate) fn rooms_max(&self) -> u64 {
        self.rooms_max
    }

    /// How many rooms are in it.
    pub(crate) fn len(&self) -> u64 {
        // Relaxed: a figure.
        self.len.load(Relaxed)
    }

    /// The room of that name.
    pub(crate) fn find(&self, hash: u64, name: &str) -> Option<RoomRef<T>> {
        find_in(&self.root[root_index(hash)], hash, ROOT_BITS, name)
    }

    /// Adds a room unless there is one of its name.
    pub(crate) fn add(&self, hash: u64, room: &RoomRef<T>) -> Added {
        // Relaxed: a bound on a number; the room itself is published by its leaf.
        if self.len.fetch_add(1, Relaxed) >= self.rooms_max {
            self.len.fetch_sub(1, Relaxed);
            return Added::Full;
        }
        let found = self.add_in(&self.root[root_index(hash)], hash, ROOT_BITS, room);
        match found {
            None => Added::New,
            Some(_) => {
                // Relaxed: as above.
                self.len.fetch_sub(1, Relaxed);
                Added::Found
            }
        }
    }

    fn add_in(&self, slot: &Snapshot<Node<T>>, hash: u64, used: u32, room: &RoomRef<T>) -> Option<RoomRef<T>> {
        let mut found = None;
        let added = slot.update(|node| {
            let Node::Leaf(entries) = node else { return None };
            found = entries.iter().find(|other| other.is(hash, &room.0.name)).map(|other| other.room.clone());
            if found.is_some() {
                return None;
            }
            let entry = Entry { hash, room: room.clone() };
            let entries = entries.iter().cloned().chain([entry]).collect();
            Some(self.leaf_or_branch(entries, used))
        });
        if added || found.is_some() {
            return found;
        }
        slot.read(|node| match node {
            Node::Branch(slots) => self.add_in(&slots[branch_index(hash, used)], hash, used + BRANCH_BITS, room),
            Node::Leaf(_) => unreachable!("a branch stays one"),
        })
    }

    fn leaf_or_branch(&self, entries: Vec<Entry<T>>, used: u32) -> Node<T> {
        if entries.len() <= LEAF_MAX || used + BRANCH_BITS > u64::BITS {
            return Node::Leaf(entries.into());
        }
        let mut leaves: Vec<Vec<Entry<T>>> = (0..1 << BRANCH_BITS).map(|_| Vec::new()).collect();
        for entry in entries {
            leaves[branch_index(entry.hash, used)].push(entry);
        }
        let slots = leaves.into_iter().map(|entries| match entries.is_empty() {
            true => Snapshot::new(self.empty.clone()),
            false => Snapshot::new(Arc::new(Node::Leaf(entries.into()))),
        });
        Node::Branch(slots.collect())
    }

    /// Takes out this very room; another of its name stays. False if it was not there.
    pub(crate) fn remove(&self, hash: u64, room: &RoomRef<T>) -> bool {
        let removed = remove_in(&self.root[root_index(hash)], hash, ROOT_BITS, room);
        if removed {
            // Relaxed: as in `add`.
            self.len.fetch_sub(1, Relaxed);
        }
        removed
    }

    /// Visits every room that is there throughout, and perhaps some that come or go meanwhile.
    pub(crate) fn for_each(&self, visit: &mut impl FnMut(&RoomRef<T>)) {
        for slot in &self.root {
            visit_in(slot, visit);
        }
    }
}

fn find_in<T>(slot: &Snapshot<Node<T>>, hash: u64, used: u32, name: &str) -> Option<RoomRef<T>> {
    slot.read(|node| match node {
        Node::Leaf(entries) => entries.iter().find(|entry| entry.is(hash, name)).map(|entry| entry.room.clone()),
        Node::Branch(slots) => find_in(&slots[branch_index(hash, used)], hash, used + BRANCH_BITS, name),
    })
}

fn remove_in<T>(slot: &Snapshot<Node<T>>, hash: u64, used: u32, room: &RoomRef<T>) -> bool {
    let removed = slot.update(|node| {
        let Node::Leaf(entries) = node else { return None };
        let rest: Vec<_> = entries.iter().filter(|other| other.room.id() != room.id()).cloned().collect();
        (rest.len() < entries.len()).then(|| Node::Leaf(rest.into()))
    });
    removed
        || slot.read(|node| match node {
            Node::Leaf(_) => false,
            Node::Branch(slots) => remove_in(&slots[branch_index(hash, used)], hash, used + BRANCH_BITS, room),
        })
}

fn visit_in<T>(slot: &Snapshot<Node<T>>, visit: &mut impl FnMut(&RoomRef<T>)) {
    slot.read(|node| match node {
        Node::Leaf(entries) => entries.iter().for_each(|entry| visit(&entry.room)),
        Node::Branch(slots) => slots.iter().for_each(|slot| visit_in(slot, visit)),
    });
}

fn root_index(hash: u64) -> usize {
    (hash & ((1 << ROOT_BITS) - 1)) as usize
}

fn branch_index(hash: u64, used: u32) -> usize {
    (hash >> used & ((1 << BRANCH_BITS) - 1)) as usize
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("len", &self.len()).finish_non_exhaustive()
    }
}
