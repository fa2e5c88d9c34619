//! What a session wants done.

use super::View;
use crate::auth::WantedKeys;
use crate::callbacks::{Allowed, Question};
use crate::config::RecoveryMode;
use roomcast_protocol::{CloseCode, HistoryQuery, Placed, Publication, Push, Reply, RoomName, StreamPosition};

/// Something the owner of a session does for it, in the order the session names it.
///
/// An action with a [`Ticket`] is completed by the session's method of the same matter, now or later; until then the
/// session answers no further command, so there is at most one such action at a time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub(crate) enum Action {
    /// Write this reply.
    Reply(Reply),
    /// Write this push.
    Push(Push),
    /// Write a ping.
    Ping,
    /// End the connection with this code. The last action of a session: leave all its rooms.
    Close(CloseCode),
    /// The same for a reason of the backend's, which fits a close frame.
    Disconnect {
        /// 3000 to 4999.
        code: u32,
        /// In words.
        reason: String,
    },
    /// The client has said whose it is: commands for its user find it from here on. Of a client without a user it does not come.
    Identify,
    /// The client has connected, and is to be the only one of its user: end those that have said before it that they are that user's.
    Supersede,
    /// Enter the room silently and read what the client missed; then [`subscribed`](super::Session::subscribed).
    /// Nothing of the room may be written, nor anybody told, before [`Action::Activate`].
    Subscribe {
        /// To be handed back.
        ticket: Ticket,
        /// The room.
        room: RoomName,
        /// What the client wants of the room's past, if anything.
        recover: Option<Recover>,
    },
    /// The subscribe reply is written: from here on write the room's pushes, from the position of the reply on, and
    /// let the others know.
    Activate {
        /// The room.
        room: RoomName,
        /// What being in the room means for this client.
        membership: MembershipGrant,
        /// How the client is given what is published there.
        view: View,
    },
    /// Leave the room, writing nothing of it any more; then [`unsubscribed`](super::Session::unsubscribed).
    Unsubscribe {
        /// To be handed back.
        ticket: Ticket,
        /// The room.
        room: RoomName,
    },
    /// Publish; then [`published`](super::Session::published).
    Publish {
        /// To be handed back.
        ticket: Ticket,
        /// The room.
        room: RoomName,
        /// What.
        publication: Publication,
        /// What the backend asks beyond, if anything; the data and the tags have been taken out.
        terms: Option<Box<Allowed>>,
    },
    /// Ask the backend; then [`answered`](super::Session::answered). What is asked aside holds up no command, so there may be
    /// several of these at a time.
    Ask {
        /// To be handed back.
        ticket: Ticket,
        /// What.
        question: Box<Question>,
    },
    /// Read the room's past; then [`history`](super::Session::history).
    History {
        /// To be handed back.
        ticket: Ticket,
        /// The room.
        room: RoomName,
        /// Which part.
        query: HistoryQuery,
    },
    /// Look who is in the room; then [`presence`](super::Session::presence).
    Presence {
        /// To be handed back.
        ticket: Ticket,
        /// The room.
        room: RoomName,
    },
    /// Fetch these keys of an issuer of tokens; then [`keys_fetched`](super::Session::keys_fetched).
    FetchKeys {
        /// To be handed back.
        ticket: Ticket,
        /// Which.
        wanted: WantedKeys,
    },
    /// Count who is in the room; then [`presence_stats`](super::Session::presence_stats).
    PresenceStats {
        /// To be handed back.
        ticket: Ticket,
        /// The room.
        room: RoomName,
    },
}

/// What of a room's past a client wants when it enters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recover {
    /// Where the client says it stands.
    pub(crate) position: StreamPosition,
    /// All that came after it, or the newest publication only.
    pub(crate) mode: RecoveryMode,
    /// Whether the client is given some publications only, so that the newest one of these may lie further back.
    pub(crate) is_filtered: bool,
    /// Bytes of publications that the reply has space for; what is left comes as pushes.
    pub(crate) bytes_max: usize,
}

impl Recover {
    /// All, or the newest, of what came after `position`.
    pub(crate) fn new(position: StreamPosition, mode: RecoveryMode) -> Self {
        Self { position, mode, is_filtered: false, bytes_max: usize::MAX }
    }

    /// How many of the newest publications to look at for the newest one, at most as many as may be recovered.
    pub(crate) fn newest_max(&self, publications_max: usize) -> usize {
        if self.is_filtered { publications_max } else { 1 }
    }
}

/// Names one action of one session. A ticket that is no longer awaited is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(super) u64);

/// What being in a room means for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MembershipGrant {
    /// The client shows in the room's presence.
    pub(crate) presence: bool,
    /// The client's coming and going is told to those who hear of it.
    pub(crate) announced: bool,
    /// The client is told who comes and goes.
    pub(crate) hears_join_leave: bool,
}

/// How entering a room went.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Subscribed {
    /// The room's newest publication at the moment of entering; pushes go on with the next.
    pub(crate) top: StreamPosition,
    /// The publications asked for, up to `top`, oldest first: those after the client's position, or the newest one. Where
    /// they are no longer all there, or too many, this may hold whatever was found: the session judges it.
    pub(crate) found: Vec<Placed>,
}
