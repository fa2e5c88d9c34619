//! Buffers that a shard's connections use one after the other.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;

use crate::session::Action;
use crate::wire::encoded_batch::EncodedBatch;

/// The one buffer into which all connections of a shard are read, one after the other.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// What turns lend and give back; all of it is empty in between.
#[derive(Default)]
pub(crate) struct Scratch {
    read_buffer: Cell<Vec<u8>>,
    /// Where replies are built, for one turn of one connection.
    replies: Cell<EncodedBatch>,
    actions: Cell<VecDeque<Action>>,
}

impl Scratch {
    /// The read buffer, for one read.
    pub(crate) fn take_read_buffer(&self) -> Vec<u8> {
        let mut buffer = self.read_buffer.take();
        if buffer.is_empty() {
            buffer.resize(READ_BUFFER_BYTES, 0);
        }
        buffer
    }

    pub(crate) fn return_read_buffer(&self, buffer: Vec<u8>) {
        self.read_buffer.set(buffer);
    }

    /// Lets go of the buffers: something was erased that may have gone through them.
    pub(crate) fn forget(&self) {
        self.read_buffer.take();
        self.replies.take();
    }

    /// What a turn builds its replies in, and where its actions wait; both empty.
    pub(crate) fn lend(&self) -> (EncodedBatch, VecDeque<Action>) {
        (self.replies.take(), self.actions.take())
    }

    /// Takes back what was lent, for the next turn.
    pub(crate) fn take_back(&self, mut replies: EncodedBatch, actions: VecDeque<Action>) {
        debug_assert!(actions.is_empty(), "an action would be done for another client");
        replies.clear();
        self.replies.set(replies);
        self.actions.set(actions);
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}
