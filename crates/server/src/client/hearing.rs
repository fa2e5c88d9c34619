//! What a client says, taken from its bytes to its session: at once, or in its turn behind what was said before.

use bytes::Bytes;

use crate::client::backlog::{Backlog, COMMANDS_WAITING_MAX, FRAME_BYTES_WAITING_MAX, FRAMES_WAITING_MAX, Waiting};
use crate::client::driver::SessionDriver;
use crate::client::turn::Turn;
use crate::delivery::sink::MemberSink as _;
use crate::session::ServerCommand;
use crate::wire::disconnect::Disconnect;
use crate::wire::ws;
use crate::wire::ws::Opcode;
use roomcast_protocol::{CloseCode, DecodeError, Encoding};

/// Bytes of messages of one client that are heard before others on its shard have their turn. Few reads bring as many; but a few
/// bytes that are compressed may be that many when they are not.
const HEARD_BYTES_PER_TURN: usize = 256 * 1024;

/// How many bytes of messages one is worth that comes compressed: a few may describe tables, behind which there is nothing.
const DEFLATED_READ_COST: usize = 16;

impl SessionDriver {
    /// Decodes and handles frames, until there are no more or the client must first take its replies.
    pub(super) fn read(&mut self, turn: &mut Turn<'_>, input: &mut [u8]) -> Result<(), Disconnect> {
        let limit_bytes = match self.listening.is_all() {
            false => self.session.settings().limits.frame_bytes_max,
            true => turn.shard.hub.now().config.unidirectional.websocket.message_size_limit,
        };
        let takes_deflated = turn.connection.framing().is_deflated();
        let (mut used, mut heard) = (0, 0);
        while used < input.len() {
            let is_heard_out = heard >= HEARD_BYTES_PER_TURN;
            if is_heard_out || !self.wants_input(turn) {
                self.backlog().input.extend_from_slice(&input[used..]);
                if is_heard_out {
                    self.backlog().is_heard_out = true;
                    turn.connection.wake();
                }
                return Ok(());
            }
            let (read, event) = self.decoder.decode(&mut input[used..], limit_bytes, takes_deflated)?;
            used += read;
            let Some(event) = event else { continue };
            // What is empty takes its time as well, and what is compressed before it is seen to be little.
            heard += event.payload_bytes().max(if takes_deflated { read * DEFLATED_READ_COST } else { read });
            match event {
                ws::Event::Text(text) if self.encoding == Encoding::Json => self.feed_session(turn, text.as_bytes())?,
                ws::Event::Binary(bytes) if self.encoding == Encoding::Protobuf => self.feed_session(turn, &bytes)?,
                ws::Event::Text(text) if self.listening.is_all() => self.introduce(turn, text.as_bytes())?,
                ws::Event::Binary(bytes) if self.listening.is_all() => self.introduce(turn, &bytes)?,
                ws::Event::Text(_) | ws::Event::Binary(_) => {
                    self.session.reject(DecodeError::WrongFrameKind, &mut turn.out);
                    self.run_actions(turn)?;
                }
                ws::Event::Ping(payload) => turn.replies.push_control(Opcode::Pong, &payload),
                ws::Event::Pong => self.session.ponged(),
                ws::Event::Close(code) => return Err(Disconnect::answer(code)),
            }
        }
        Ok(())
    }

    /// The same for a whole frame.
    pub(super) fn read_frame(&mut self, turn: &mut Turn<'_>, frame: Bytes) -> Result<(), Disconnect> {
        if self.wants_input(turn) {
            return match self.listening.is_all() {
                false => self.feed_session(turn, &frame),
                true => self.introduce(turn, &frame),
            };
        }
        let waiting = &mut self.backlog().waiting;
        let (mut frames, mut bytes) = (0, frame.len());
        for waiting in &*waiting {
            if let Waiting::Frame(frame) = waiting {
                frames += 1;
                bytes += frame.len();
            }
        }
        if frames >= FRAMES_WAITING_MAX || frames > 0 && bytes > FRAME_BYTES_WAITING_MAX {
            return Err(CloseCode::TooManyRequests.into());
        }
        waiting.push_back(Waiting::Frame(frame));
        Ok(())
    }

    /// Has the session obey a command of the server, behind all that its client has said before.
    pub(super) fn read_command(&mut self, turn: &mut Turn<'_>, command: ServerCommand) -> Result<(), Disconnect> {
        let is_first = |backlog: &Backlog| backlog.input.is_empty() && backlog.waiting.is_empty();
        if self.backlog.as_deref().is_none_or(is_first) {
            self.session.notice_time(turn.shard.now_ms());
            self.session.command(command, &mut turn.out);
            return self.run_actions(turn);
        }
        let waiting = &mut self.backlog().waiting;
        if waiting.iter().filter(|waiting| matches!(waiting, Waiting::Command(_))).count() >= COMMANDS_WAITING_MAX {
            return Err(CloseCode::ServerError.into());
        }
        waiting.push_back(Waiting::Command(command));
        Ok(())
    }

    /// Takes what a client says that only listens.
    fn introduce(&mut self, turn: &mut Turn<'_>, said: &[u8]) -> Result<(), Disconnect> {
        if self.listening.hears() { self.feed_session(turn, said) } else { Ok(()) }
    }

    fn feed_session(&mut self, turn: &mut Turn<'_>, frame: &[u8]) -> Result<(), Disconnect> {
        self.session.receive_frame(self.encoding, frame, turn.shard.now_ms(), &mut turn.out);
        self.run_actions(turn)
    }

    /// Has what waits be done before what this turn adds: it was said before.
    pub(super) fn take_up(&mut self, turn: &mut Turn<'_>) {
        if let Some(backlog) = &mut self.backlog {
            turn.actions.append(&mut backlog.actions);
            turn.found_in.append(&mut backlog.found_in);
        }
    }

    pub(super) fn backlog(&mut self) -> &mut Backlog {
        self.backlog.get_or_insert_default()
    }

    /// Whether the next frame may be heard: no other waits before it, nor is much to be done for those that were heard. Behind one
    /// action it is: an end that the client brings about does not wait until it has taken its replies.
    fn wants_input(&self, turn: &Turn<'_>) -> bool {
        let waits = |backlog: &Backlog| backlog.actions.len() > 1 || !backlog.waiting.is_empty();
        turn.actions.is_empty() && !self.backlog.as_deref().is_some_and(waits) && self.session.wants_frames()
    }
}
