//! What waits until a client has taken its replies.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::client::turn::found;
use crate::session::{Action, ServerCommand};
use crate::util::lane::InLane;
use roomcast_protocol::{Placed, ReplyBody, RoomName};

/// What a driver keeps until the client has taken its replies.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) actions: VecDeque<Action>,
    /// The rooms of which replies among them tell publications, in their order.
    pub(super) found_in: VecDeque<RoomName>,
    pub(super) input: Vec<u8>,
    /// What came behind those.
    pub(super) waiting: VecDeque<Waiting>,
    /// Whether more was said than is heard in a turn.
    pub(super) is_heard_out: bool,
    /// Where it waits for a turn of its own.
    pub(super) place: InLane,
}

impl Backlog {
    /// Has `hide` take out of the answers that wait what was erased of a room.
    pub(super) fn recall(&mut self, room: &RoomName, mut hide: impl FnMut(&mut [Placed])) {
        let mut found_in = self.found_in.iter();
        for action in &mut self.actions {
            let Action::Reply(reply) = action else { continue };
            if let ReplyBody::Connect(connected) = &mut reply.body {
                let of_room = connected.subs.iter_mut().filter(|(of, _)| *of == *room);
                of_room.for_each(|(_, subscribed)| hide(&mut subscribed.publications));
            } else if let Some(found) = found(&mut reply.body)
                && found_in.next() == Some(room)
            {
                hide(found);
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::{HistoryResult, Payload, Publication, Reply, StreamPosition};

    #[test]
    fn answers_that_tell_of_the_room_are_looked_at_and_no_others() {
        let name = |room: &str| RoomName::parse(room, 255).expect("a name");
        let mut backlog = Backlog::default();
        for (room, time_ms) in [("hall", 1), ("other", 2), ("hall", 3)] {
            let publication = Publication::new(Payload::json("1".into()), None);
            let position = StreamPosition { offset: 1, epoch: String::new() };
            let read = HistoryResult::new(vec![Placed { offset: 1, time_ms, publication }], position);
            backlog.actions.push_back(Action::Ping);
            backlog.actions.push_back(Action::Reply(Reply { id: 1, body: ReplyBody::History(read) }));
            backlog.found_in.push_back(name(room));
        }
        let mut looked_at = Vec::new();
        backlog.recall(&name("hall"), |found| looked_at.extend(found.iter().map(|placed| placed.time_ms)));
        assert_eq!(looked_at, [1, 3]);
    }
}
