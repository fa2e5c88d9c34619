//! Messages that are written down, so that one lost, dropped twice or read after its drop is told.

use std::cell::RefCell;

std::thread_local! {
    /// Of each message made in this execution that is alive, which it is. All threads of an execution run in turns on one.
    static ALIVE: RefCell<Vec<Option<Which>>> = const { RefCell::new(Vec::new()) };
}

/// Who published a message, as their how-manieth, and whether it was put in the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Which {
    publisher: u32,
    number: u32,
    is_other: bool,
}

/// Begins an execution.
pub(crate) fn open() {
    ALIVE.with_borrow_mut(Vec::clear);
}

/// Ends an execution, in which everything was let go.
pub(crate) fn settle() {
    let left = ALIVE.with_borrow(|alive| alive.iter().flatten().count());
    assert_eq!(left, 0, "messages were never dropped");
}

/// How many messages of that publisher are alive that were not put in the place of another.
pub(crate) fn left_of(publisher: u32) -> usize {
    let is_left = |which: &&Which| which.publisher == publisher && !which.is_other;
    ALIVE.with_borrow(|alive| alive.iter().flatten().filter(is_left).count())
}

/// Says who published it and as their how-manieth.
#[derive(Debug)]
pub(crate) struct Message {
    id: usize,
    which: Which,
}

impl Message {
    pub(crate) fn new(publisher: u32, number: u32) -> Self {
        Self::of(Which { publisher, number, is_other: false })
    }

    fn of(which: Which) -> Self {
        let id = ALIVE.with_borrow_mut(|alive| {
            alive.push(Some(which));
            alive.len() - 1
        });
        Self { id, which }
    }

    /// (publisher, number), of a message that is alive.
    pub(crate) fn read(&self) -> (u32, u32) {
        assert!(self.is_alive(), "a message was read before its commit or after its drop");
        (self.which.publisher, self.which.number)
    }

    /// What is put in its place.
    pub(crate) fn other(&self) -> Self {
        let (publisher, number) = self.read();
        Self::of(Which { publisher, number, is_other: true })
    }

    /// Whether it was put in the place of another.
    pub(crate) fn is_other(&self) -> bool {
        self.which.is_other
    }

    fn is_alive(&self) -> bool {
        ALIVE.with_borrow(|alive| alive.get(self.id) == Some(&Some(self.which)))
    }
}

impl Clone for Message {
    fn clone(&self) -> Self {
        self.read();
        Self::of(self.which)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        assert!(self.is_alive(), "a message was dropped twice, or where there is none");
        ALIVE.with_borrow_mut(|alive| alive[self.id] = None);
    }
}
