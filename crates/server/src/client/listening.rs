//! Clients that only listen: what is heard of them, and what they are told where another would be answered.

use super::turn::Turn;
use crate::config::{Client, Farewell};
use crate::session::Speech;
use crate::wire::disconnect::Disconnect;
use crate::wire::framing::Framing;
use crate::wire::unanswered::Unanswered;
use roomcast_protocol::{CloseCode, Encoding, ErrorCode, Reply, ReplyBody};

/// What a driver keeps of how much its client speaks.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) speech: Speech,
    /// Whether one that only listens has said who it is.
    has_introduced_itself: bool,
    /// The answer to its request, while it waits.
    unanswered: Option<Box<Unanswered>>,
}

impl Listening {
    pub(super) fn new(framing: Framing, unanswered: Option<Box<Unanswered>>) -> Self {
        let speech = match framing.only_listens() {
            false => Speech::Commands,
            true if framing.is_websocket() => Speech::Pongs,
            true => Speech::Nothing,
        };
        Self { speech, has_introduced_itself: false, unanswered }
    }

    pub(super) fn is_all(&self) -> bool {
        self.speech != Speech::Commands
    }

    /// Whether what the client says is heard: who it is, and from then on nothing.
    pub(super) fn hears(&mut self) -> bool {
        !std::mem::replace(&mut self.has_introduced_itself, true)
    }

    /// Tells a client that only listens that it is connected, with which its request is answered, or why it is not.
    pub(super) fn answer(&mut self, turn: &mut Turn<'_>, encoding: Encoding, reply: &Reply) -> Result<(), Disconnect> {
        self.refuse(&turn.shard.hub.now().config.client, &reply.body)?;
        if let Some(unanswered) = self.unanswered() {
            turn.flush();
            turn.connection.write_own(turn.shard, &unanswered.head);
        }
        turn.replies.push(|out| encoding.encode_reply(reply, out));
        Ok(())
    }

    /// How a client is closed whose `connect` has come to an error: there are none among pushes.
    fn refuse(&mut self, options: &Client, body: &ReplyBody) -> Result<(), Disconnect> {
        let Some((code, called)) = body.error() else { return Ok(()) };
        if let Some(unanswered) = &mut self.unanswered {
            unanswered.refused = Some((code, called.into()));
        }
        Err(refused(options, code))
    }

    /// Takes the answer to the client's request, if it has none.
    pub(super) fn unanswered(&mut self) -> Option<Box<Unanswered>> {
        self.unanswered.take()
    }
}

fn refused(options: &Client, error: u32) -> Disconnect {
    let farewell = options.connect_code_to_unidirectional_disconnect.find(error);
    // What the configuration lets through can be said.
    let said = farewell.and_then(|Farewell { code, reason, .. }| Disconnect::custom((*code).into(), reason.clone()));
    said.unwrap_or_else(|| {
        let is = |code: ErrorCode| code.code() == error;
        let code = match () {
            () if is(ErrorCode::Unauthorized) => CloseCode::BadRequest,
            () if is(ErrorCode::TokenExpired) || is(ErrorCode::Expired) => CloseCode::Expired,
            () if is(ErrorCode::PermissionDenied) => CloseCode::PermissionDenied,
            () if is(ErrorCode::TooManyRequests) => CloseCode::TooManyRequests,
            () => CloseCode::ServerError,
        };
        code.into()
    })
}
