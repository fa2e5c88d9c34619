//! Rooms that a client makes by wanting something of them: how many it may.

use crate::client::driver::SessionDriver;
use crate::client::turn::Turn;
use crate::session::Action;
use roomcast_protocol::{ErrorCode, RoomName};

impl SessionDriver {
    /// Gives the action back, unless it would make a room and the client has made too many: then it is told to try again.
    pub(super) fn unless_one_room_too_many(&mut self, turn: &mut Turn<'_>, action: Action) -> Option<Action> {
        const REFUSED: ErrorCode = ErrorCode::TooManyRequests;
        match action {
            Action::Subscribe { ticket, room, .. } if self.makes_too_many(turn, &room) => {
                self.session.subscribed(ticket, Err(REFUSED), &mut turn.out);
            }
            Action::Publish { ticket, room, .. } if self.makes_too_many(turn, &room) => {
                self.published(turn, ticket, Err(REFUSED));
            }
            Action::History { ticket, room, .. } if self.makes_too_many(turn, &room) => {
                self.read_history(turn, ticket, room, Err(REFUSED));
            }
            action => return Some(action),
        }
        None
    }

    fn makes_too_many(&mut self, turn: &mut Turn<'_>, room: &RoomName) -> bool {
        self.session.may_make_room()
            && turn.shard.hub.rooms.running(room).is_none()
            && self.session.makes_too_many_rooms(turn.connection.socket.address(), &mut turn.out)
    }
}
