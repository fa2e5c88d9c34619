//! Where what is delivered goes.

use roomcast_protocol::{CloseCode, RoomName};

use crate::wire::encoded_batch::EncodedBatch;
use crate::wire::framing::Framing;

/// A member of rooms as delivery sees it: a connection, or what a test puts in its place.
///
/// Everything happens on the member's own thread, in turns that never wait.
pub(crate) trait MemberSink {
    /// The framing of its output; members of a room that share a framing share its bytes.
    fn framing(&self) -> Framing;

    /// Who it is, for those who look at lags.
    fn client(&self) -> String;

    /// Writes a batch, unless it is full.
    fn write_batch(&self, batch: &mut EncodedBatch) -> Written;

    /// Whether it takes nothing at the moment.
    fn is_full(&self) -> bool;

    /// One more membership is behind; the member is to have its feed catch it up as soon as it takes something.
    fn fell_behind(&self);

    /// One membership fewer is behind.
    fn caught_up(&self);

    /// Has the member end itself, soon: whoever calls is in the midst of delivering.
    fn close_soon(&self, code: CloseCode);

    /// The member is in that room no more, and what waits for its socket is of the room all the same.
    fn has_left(&self, room: &RoomName);

    /// Has the member end without another byte: what waits for its socket is not to be given any more.
    fn cut(&self);

    /// Has the member look after those of its memberships that are behind.
    fn wake(&self);
}

/// Whether a batch was written to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The member's socket has taken all of the batch.
    Taken,
    /// The socket has taken some of it and is full; the rest follows.
    InPart,
    /// The socket is full and nothing of the batch was written.
    Full,
}
