//! One connection: what it is for, and how far it has come.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::Site;
use super::frame;
use super::stamp::{self, Stamp};
use super::wire::{Heard, PUBLISH_ID, Position, Wire};
use crate::delivery_checker::DeliveryChecker;
use crate::recorder::Recorder;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It stays in a room and is to keep up.
    Member,
    /// It stays and reads slowly.
    Slow,
    /// It comes and goes.
    Churner,
    /// It only publishes.
    Publisher,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The handshake and the connect command are on their way.
    Opening,
    /// It has asked to join.
    Joining,
    /// It is in the room.
    In,
    /// It has asked to leave.
    Leaving,
    /// It is connected and in no room.
    Out,
    /// The connection has ended.
    Gone,
}

/// What reading came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// Messages received, of those that count.
    pub(super) received: u64,
    /// Messages it learnt it had missed.
    pub(super) missed: u64,
    /// It is where it wanted to be, and was not before.
    pub(super) has_settled: bool,
    /// It has left its room.
    pub(super) has_left: bool,
}

/// What a worker keeps of what its clients read.
#[derive(Debug)]
pub(super) struct Times {
    /// The time of what is being read.
    pub(super) now: u64,
    /// How long messages took.
    pub(super) all: Recorder,
    /// The same, since it was last looked at.
    pub(super) window: Recorder,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    wire: Wire,
    pub(super) role: Role,
    pub(super) state: State,
    /// Its room.
    pub(super) room: usize,
    pub(super) checker: DeliveryChecker,
    /// Where it was last, to go on from there.
    pub(super) position: Option<Position>,
    /// When it was to join.
    pub(super) asked: u64,
    is_open: bool,
    /// Whether it is on its way to where it wants to be for the first time on this connection.
    pub(super) is_opening: bool,
    is_timed: bool,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// The beginning of a message in several frames.
    message: Vec<u8>,
    out: Vec<u8>,
    published: u32,
    mask: u32,
}

impl Client {
    /// Connects and asks for a WebSocket.
    pub(super) fn open(
        site: &Site,
        role: Role,
        room: usize,
        checker: DeliveryChecker,
        is_timed: bool,
    ) -> Result<Self, String> {
        let mut client = Self {
            stream: connect(site)?,
            wire: Wire(site.encoding),
            role,
            state: State::Opening,
            room,
            checker,
            position: None,
            asked: 0,
            is_open: false,
            is_opening: true,
            is_timed,
            partial: Vec::new(),
            message: Vec::new(),
            out: Vec::new(),
            published: 0,
            mask: 0x1234_5678 ^ room as u32,
        };
        client.greet(site)?;
        Ok(client)
    }

    /// Connects anew in place of a connection that has ended, with the same checker.
    pub(super) fn reopen(&mut self, site: &Site) -> Result<(), String> {
        self.stream = connect(site)?;
        (self.is_open, self.is_opening, self.state) = (false, true, State::Opening);
        self.partial.clear();
        self.message.clear();
        self.out.clear();
        self.greet(site)
    }

    fn greet(&mut self, site: &Site) -> Result<(), String> {
        frame::write_request(&site.host, &site.path, self.wire.subprotocol(), &mut self.out);
        self.flush()
    }

    /// Reads once, at most what the buffer takes.
    pub(super) fn read(&mut self, buffer: &mut [u8], site: &Site, times: &mut Times) -> Result<Turn, String> {
        let read = match self.stream.read(buffer) {
            Ok(read) => read,
            Err(error) if is_for_later(&error) => return Ok(Turn::default()),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => 0,
            Err(error) => return Err(error.to_string()),
        };
        if read == 0 {
            self.state = State::Gone;
            return Ok(Turn::default());
        }
        let mut turn = Turn::default();
        if self.partial.is_empty() {
            let used = self.hear(&buffer[..read], site, times, &mut turn)?;
            self.partial.extend_from_slice(&buffer[used..read]);
        } else {
            let mut bytes = mem::take(&mut self.partial);
            bytes.extend_from_slice(&buffer[..read]);
            let used = self.hear(&bytes, site, times, &mut turn)?;
            bytes.drain(..used);
            self.partial = bytes;
        }
        if self.partial.is_empty() && self.partial.capacity() > KEPT {
            self.partial = Vec::new();
        }
        if self.state != State::Gone {
            self.flush()?;
        }
        Ok(turn)
    }

    fn hear(&mut self, bytes: &[u8], site: &Site, times: &mut Times, turn: &mut Turn) -> Result<usize, String> {
        let mut at = 0;
        if !self.is_open {
            let Some(length) = frame::answer(bytes)? else { return Ok(0) };
            (self.is_open, at) = (true, length);
            self.say(|wire, out| wire.connect(out));
        }
        while let Some(found) = frame::parse(&bytes[at..])? {
            let payload = &bytes[at + found.start..at + found.end];
            at += found.end;
            match found.opcode {
                frame::TEXT | frame::BINARY if found.is_last => self.hear_message(payload, site, times, turn)?,
                frame::TEXT | frame::BINARY | frame::CONTINUATION => {
                    self.message.extend_from_slice(payload);
                    if found.is_last {
                        let whole = mem::take(&mut self.message);
                        self.hear_message(&whole, site, times, turn)?;
                    }
                }
                frame::PING => {
                    let mask = self.next_mask();
                    frame::write(frame::PONG, mask, &mut self.out, |out| out.extend_from_slice(payload));
                }
                frame::PONG => {}
                frame::CLOSE => self.state = State::Gone,
                kind => return Err(format!("a frame of kind {kind}")),
            }
        }
        Ok(at)
    }

    fn hear_message(&mut self, message: &[u8], site: &Site, times: &mut Times, turn: &mut Turn) -> Result<(), String> {
        let (mut refused, mut pings, mut has_connected, mut is_put_out) = (None, 0, false, false);
        let wire = self.wire;
        wire.hear(message, &mut |heard| match heard {
            Heard::Message(payload, offset) => self.receive(payload, offset, site, times, turn),
            Heard::Joined { position, recovered } => self.join(position, recovered, turn),
            Heard::Left => {
                (self.state, turn.has_left) = (State::Out, true);
            }
            Heard::Connected => has_connected = true,
            Heard::PutOut => is_put_out = true,
            Heard::Ping => pings += 1,
            Heard::Refused(why) => refused = Some(why),
            Heard::Taken | Heard::Other => {}
        })?;
        if let Some(why) = refused {
            return Err(format!("the server said {why}"));
        }
        if has_connected {
            if self.role == Role::Publisher {
                (self.state, turn.has_settled) = (State::Out, true);
            } else {
                self.ask_to_join(site, times.now);
            }
        }
        if is_put_out {
            // It was too slow; it goes on from where it was.
            self.ask_to_join(site, times.now);
        }
        for _ in 0..pings {
            self.say(|wire, out| wire.pong(out));
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, payload: &[u8], offset: u64, site: &Site, times: &mut Times, turn: &mut Turn) {
        let Some(Stamp { source, sequence, due }) = stamp::read(payload).filter(|_| payload.len() == site.bytes) else {
            return self
                .checker
                .lose(1, || format!("{:?} is not what was published", String::from_utf8_lossy(payload)));
        };
        if matches!(self.state, State::Out | State::Opening) {
            return self.checker.lose(1, || "a message came to somebody who had left".to_owned());
        }
        let before = self.checker.received();
        self.checker.receive(source, sequence, (offset > 0).then_some(offset));
        turn.received += self.checker.received() - before;
        if offset > 0
            && let Some(position) = &mut self.position
        {
            position.offset = offset;
        }
        if due != 0 && self.is_timed {
            let took = times.now.saturating_sub(due);
            times.all.record(took);
            times.window.record(took);
        }
    }

    fn join(&mut self, position: Option<Position>, recovered: Option<bool>, turn: &mut Turn) {
        let is_back = self.position.is_some() || self.checker.received() > 0;
        if is_back && self.role != Role::Churner && recovered != Some(true) {
            match (&self.position, &position) {
                (Some(was), Some(is)) if was.epoch == is.epoch => {
                    let missed = is.offset.saturating_sub(was.offset);
                    self.checker.miss(missed);
                    turn.missed += missed;
                }
                // Who cannot tell where it was cannot tell what it missed.
                _ => self.checker.lose_track(),
            }
        }
        self.position = match (self.position.take(), position) {
            // The reply names what was asked for; what it recovered has been received before.
            (Some(was), Some(is)) if recovered == Some(true) && was.epoch == is.epoch => {
                Some(Position { offset: was.offset.max(is.offset), ..is })
            }
            (_, position) => position,
        };
        (self.state, turn.has_settled) = (State::In, true);
    }

    pub(super) fn ask_to_join(&mut self, site: &Site, now: u64) {
        self.state = State::Joining;
        if self.asked == 0 {
            self.asked = now;
        }
        let (room, since) = (&site.rooms[self.room], self.position.take());
        let mask = self.next_mask();
        frame::write(self.wire.opcode(), mask, &mut self.out, |out| self.wire.subscribe(room, since.as_ref(), out));
        self.position = since;
    }

    pub(super) fn ask_to_leave(&mut self, site: &Site) {
        self.state = State::Leaving;
        let room = &site.rooms[self.room];
        self.say(|wire, out| wire.unsubscribe(room, out));
    }

    /// Adds a publish to what is to be written.
    pub(super) fn publish(&mut self, room: &str, stamp: Stamp, bytes: usize) {
        let id = PUBLISH_ID + (self.published & 0x3fff_ffff);
        self.published = self.published.wrapping_add(1);
        self.say(|wire, out| wire.publish(room, id, |out| stamp::write(stamp, bytes, out), out));
    }

    fn say(&mut self, command: impl FnOnce(Wire, &mut Vec<u8>)) {
        let (mask, wire) = (self.next_mask(), self.wire);
        frame::write(wire.opcode(), mask, &mut self.out, |out| command(wire, out));
    }

    /// Writes what the system takes.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // What the server had to say is still to be read.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    sent = self.out.len();
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        self.out.drain(..sent);
        if self.out.is_empty() && self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        if self.out.len() > BEHIND_MAX {
            return Err(format!("the server does not read: {} MiB wait for it", BEHIND_MAX >> 20));
        }
        Ok(())
    }

    /// Breaks the connection, without a word.
    pub(super) fn cut(&mut self) {
        // It may be broken already.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.state = State::Gone;
    }

    /// Whether something waits to be written.
    pub(super) fn is_blocked(&self) -> bool {
        !self.out.is_empty()
    }

    /// A mask unlike the one before, so that unmasking is real work for the server.
    fn next_mask(&mut self) -> u32 {
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        self.mask
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn connect(site: &Site) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&site.address, PATIENCE)
        .map_err(|error| format!("{} cannot be reached: {error}", site.address))?;
    stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).map_err(|error| error.to_string())?;
    Ok(stream)
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// How long the system may take to connect.
const PATIENCE: Duration = Duration::from_secs(10);
/// Memory kept by a connection that has nothing to say.
const KEPT: usize = 4_096;
/// What may wait for a server that reads slowly.
const BEHIND_MAX: usize = 64 << 20;
