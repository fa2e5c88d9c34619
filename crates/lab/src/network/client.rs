//! One connection: what it is for, and how far it has come.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};

use super::Site;
use super::stamp::{self, Stamp};
use crate::load::{Connection, DeliveryChecker};
use crate::protocol::{Encoding, Heard, PUBLISH_ID, Position};
use crate::recorder::Recorder;
use crate::websocket::{self, Event, PONG, Reader};

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
    connection: Connection,
    reader: Reader,
    encoding: Encoding,
    pub(super) role: Role,
    pub(super) state: State,
    /// Its room.
    pub(super) room: usize,
    pub(super) checker: DeliveryChecker,
    /// Where it was last, to go on from there.
    pub(super) position: Option<Position>,
    /// When it was to join.
    pub(super) asked: u64,
    /// Whether it is on its way to where it wants to be for the first time on this connection.
    pub(super) is_opening: bool,
    is_timed: bool,
    published: u32,
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
            connection: connect(site)?,
            reader: Reader::new(),
            encoding: site.encoding,
            role,
            state: State::Opening,
            room,
            checker,
            position: None,
            asked: 0,
            is_opening: true,
            is_timed,
            published: 0,
        };
        client.greet(site)?;
        Ok(client)
    }

    /// Connects anew in place of a connection that has ended, with the same checker.
    pub(super) fn reopen(&mut self, site: &Site) -> Result<(), String> {
        (self.connection, self.reader) = (connect(site)?, Reader::new());
        (self.is_opening, self.state) = (true, State::Opening);
        self.greet(site)
    }

    fn greet(&mut self, site: &Site) -> Result<(), String> {
        let (out, _) = self.connection.out();
        websocket::write_request(&site.host, &site.path, self.encoding.subprotocol(), out);
        self.flush()
    }

    /// Reads once, at most what the buffer takes.
    pub(super) fn read(&mut self, buffer: &mut [u8], site: &Site, times: &mut Times) -> Result<Turn, String> {
        let Some(read) = self.connection.read(buffer).map_err(|error| error.to_string())? else {
            return Ok(Turn::default());
        };
        if read == 0 {
            self.state = State::Gone;
            return Ok(Turn::default());
        }
        let mut turn = Turn::default();
        let mut reader = mem::take(&mut self.reader);
        reader.read(&buffer[..read], |event| self.hear(event, site, times, &mut turn))?;
        self.reader = reader;
        if self.state != State::Gone {
            self.flush()?;
        }
        Ok(turn)
    }

    fn hear(&mut self, event: Event<'_>, site: &Site, times: &mut Times, turn: &mut Turn) -> Result<(), String> {
        match event {
            Event::Open => self.say(|encoding, out| encoding.connect(out)),
            Event::Message(message) => self.hear_message(message, site, times, turn)?,
            Event::Ping(payload) => self.connection.write_frame(PONG, |out| out.extend_from_slice(payload)),
            Event::Close(_) => self.state = State::Gone,
        }
        Ok(())
    }

    fn hear_message(&mut self, message: &[u8], site: &Site, times: &mut Times, turn: &mut Turn) -> Result<(), String> {
        let (mut refused, mut pings, mut has_connected, mut is_put_out) = (None, 0, false, false);
        let encoding = self.encoding;
        encoding.hear(message, &mut |heard| {
            match heard {
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
            }
            Ok::<(), String>(())
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
            self.say(|encoding, out| encoding.pong(out));
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
        let encoding = self.encoding;
        self.connection.write_frame(encoding.opcode(), |out| encoding.subscribe(room, since.as_ref(), out));
        self.position = since;
    }

    pub(super) fn ask_to_leave(&mut self, site: &Site) {
        self.state = State::Leaving;
        let room = &site.rooms[self.room];
        self.say(|encoding, out| encoding.unsubscribe(room, out));
    }

    /// Adds a publish to what is to be written.
    pub(super) fn publish(&mut self, room: &str, stamp: Stamp, bytes: usize) {
        let id = PUBLISH_ID + (self.published & 0x3fff_ffff);
        self.published = self.published.wrapping_add(1);
        self.say(|encoding, out| encoding.publish(room, id, |out| stamp::write(stamp, bytes, out), out));
    }

    fn say(&mut self, command: impl FnOnce(Encoding, &mut Vec<u8>)) {
        let encoding = self.encoding;
        self.connection.write_frame(encoding.opcode(), |out| command(encoding, out));
    }

    /// Writes what the system takes.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        self.connection.flush().map_err(|error| error.to_string())
    }

    /// Breaks the connection, without a word.
    pub(super) fn cut(&mut self) {
        self.connection.cut();
        self.state = State::Gone;
    }

    /// Whether something waits to be written.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.is_blocked()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn connect(site: &Site) -> Result<Connection, String> {
    Connection::open(site.address).map_err(|error| format!("{} cannot be reached: {error}", site.address))
}
