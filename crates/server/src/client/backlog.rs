//! What waits until a client has taken its replies.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::session::{Action, ServerCommand};
use roomcast_protocol::RoomName;

/// What a driver keeps until the client has taken its replies.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) actions: VecDeque<Action>,
    /// The rooms of which replies among them tell publications, in their order.
    pub(super) found_in: VecDeque<RoomName>,
    pub(super) input: Vec<u8>,
    /// What came behind those.
    pub(super) waiting: VecDeque<Waiting>,
}

impl Backlog {
    /// What it takes.
    pub(super) fn bytes_held(&self) -> usize {
        let frames: usize = self.waiting.iter().map(Waiting::bytes_held).sum();
        self.actions.len() * size_of::<Action>() + self.input.capacity() + frames
    }
}

/// What comes to a session by another way than its connection.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A whole frame of an emulated client.
    Frame(Bytes),
    /// Of the server.
    Command(ServerCommand),
}

impl Waiting {
    fn bytes_held(&self) -> usize {
        let frame = match self {
            Self::Frame(frame) => frame.len(),
            Self::Command(_) => 0,
        };
        size_of::<Self>() + frame
    }
}

/// Frames that an emulated connection may have waiting; they come in requests, which nothing holds up.
pub(super) const FRAMES_WAITING_MAX: usize = 64;

/// Bytes of them, of which a single frame may have more: some dozen frames of the usual largest size, or 64 of usual ones.
pub(super) const FRAME_BYTES_WAITING_MAX: usize = 1024 * 1024;

/// Commands of the server that may wait behind what a client has said and was not heard.
pub(super) const COMMANDS_WAITING_MAX: usize = 64;
