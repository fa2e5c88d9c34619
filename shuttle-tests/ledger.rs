//! Messages that are written down, so that one lost, dropped twice or read after its drop is told.

use std::cell::RefCell;

std::thread_local! {
    /// Whether each message made in this execution is alive. All threads of an execution run in turns on one.
    static ALIVE: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
}

/// Begins an execution.
pub(crate) fn open() {
    ALIVE.with_borrow_mut(Vec::clear);
}

/// Ends an execution, in which everything was let go.
pub(crate) fn settle() {
    let left = ALIVE.with_borrow(|alive| alive.iter().filter(|alive| **alive).count());
    assert_eq!(left, 0, "messages were never dropped");
}

/// Says who published it and as their how-manieth.
#[derive(Debug)]
pub(crate) struct Message {
    id: usize,
    publisher: u32,
    number: u32,
}

impl Message {
    pub(crate) fn new(publisher: u32, number: u32) -> Self {
        let id = ALIVE.with_borrow_mut(|alive| {
            alive.push(true);
            alive.len() - 1
        });
        Self { id, publisher, number }
    }

    /// (publisher, number), of a message that is alive.
    pub(crate) fn read(&self) -> (u32, u32) {
        assert!(is_alive(self.id), "a message was read before its commit or after its drop");
        (self.publisher, self.number)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        assert!(is_alive(self.id), "a message was dropped twice, or where there is none");
        ALIVE.with_borrow_mut(|alive| alive[self.id] = false);
    }
}

fn is_alive(id: usize) -> bool {
    ALIVE.with_borrow(|alive| alive.get(id) == Some(&true))
}
