//! One connection of a load.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use roomcast_lab::load::DeliveryChecker;
use roomcast_lab::websocket::PONG;
use rustix::net::sockopt::set_tcp_quickack;

use crate::fault::Fault;
use crate::link::Link;
use crate::payload::Stamp;
use crate::room::Room;
use crate::wire::{Decoder, Heard, Intent, Wire};

/// A connection and what it is for.
#[derive(Debug)]
pub struct Client {
    connection: Link,
    wire: Wire,
    decoder: Decoder,
    intent: Intent,
    /// The room's place in the load.
    pub room: usize,
    pub(crate) phase: Phase,
    /// Of a member.
    pub checker: Option<DeliveryChecker>,
    /// Whether others wait until it has received a message.
    pub is_awaited: bool,
    /// Whether the server may close it.
    pub may_be_closed: bool,
    /// Epoch and offset of the room when it joined, where the protocol tells them.
    pub position: Option<(String, u64)>,
    /// Whether the server said that it recovered everything.
    pub recovered: bool,
    published: u32,
}

/// Opening → Ready → Leaving → Gone; the server may lead to Gone from everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The intent is not carried out yet.
    Opening,
    /// It is.
    Ready,
    /// It has said goodbye.
    Leaving,
    /// The server has said goodbye, with that code.
    Gone(Option<u16>),
}

/// What reading came to, for the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// A publisher of the room may publish.
    pub(crate) is_due: bool,
    /// The client was not ready before and is now, or is gone.
    pub(crate) has_opened: bool,
}

impl Client {
    /// Connects, over TLS if that is spoken there, and says what comes first.
    ///
    /// # Errors
    /// What the system says.
    pub fn open((address, is_tls): (SocketAddr, bool), wire: Wire, intent: Intent, room: usize) -> Result<Self, Fault> {
        let mut client = Self {
            connection: Link::open(address, is_tls)?,
            wire,
            decoder: Decoder::new(wire),
            intent,
            room,
            phase: Phase::Opening,
            checker: None,
            is_awaited: true,
            may_be_closed: false,
            position: None,
            recovered: false,
            published: 0,
        };
        let (out, _) = client.connection.out();
        wire.write_opening(&client.intent, out);
        client.flush()?;
        Ok(client)
    }

    /// Reads once, and enters what it hears in its own checker and its room's counters.
    pub(crate) fn read(&mut self, buffer: &mut [u8], room: &mut Room) -> Result<Turn, Fault> {
        let before = self.phase;
        let mut turn = Turn::default();
        let Some(n) = self.connection.read(buffer)? else { return Ok(turn) };
        if n == 0 {
            self.phase = match self.phase {
                Phase::Gone(code) => Phase::Gone(code),
                _ => Phase::Gone(None),
            };
        }
        let Self { connection, decoder, wire, intent, checker, phase, position, recovered, is_awaited, .. } = self;
        decoder.hear(&buffer[..n], |heard| {
            match heard {
                Heard::Message { payload, offset } => {
                    let checker =
                        checker.as_mut().ok_or(Fault::Unexpected("a message for somebody who did not join"))?;
                    turn.is_due |= room.receive(checker, payload, offset, *is_awaited)?;
                }
                Heard::Missed(count) => {
                    checker.as_mut().ok_or(Fault::Unexpected("a loss for somebody who did not join"))?.miss(count);
                }
                Heard::Taken => {}
                Heard::Welcome => {
                    let (out, mask) = connection.out();
                    wire.write_intent(intent, mask, out);
                }
                Heard::Connected if intent.joins => {}
                Heard::Connected => *phase = Phase::Ready,
                Heard::Ready { position: at, recovered: all } => {
                    *phase = Phase::Ready;
                    *position = at.map(|(epoch, offset)| (epoch.to_owned(), offset));
                    *recovered = all;
                }
                Heard::Ping => {
                    let (out, mask) = connection.out();
                    wire.write_pong(mask, out);
                }
                Heard::FramePing => connection.write_frame(PONG, |_| {}),
                Heard::Close(code) => *phase = Phase::Gone(code),
            }
            Ok(())
        })?;
        match self.phase {
            Phase::Gone(code) if !self.may_be_closed && before != Phase::Leaving => return Err(Fault::Closed(code)),
            Phase::Gone(_) => {}
            _ => self.flush()?,
        }
        turn.has_opened = before == Phase::Opening && self.phase != Phase::Opening;
        if turn.has_opened {
            self.acknowledge_when_reading()?;
        }
        Ok(turn)
    }

    /// Leaves the state in which the system holds acknowledgements back, in the hope of data to send them with.
    ///
    /// A client that has answered its server gets into it, one that had nothing to say after the handshake does not. In it
    /// acknowledgements are sent, on the server's core, whenever some 500 bytes have come; else the load sends them as it
    /// reads. So the way of joining would decide what a delivery costs the server, by a third.
    fn acknowledge_when_reading(&self) -> Result<(), Fault> {
        match set_tcp_quickack(&self.connection, true) {
            // It may be closed already.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTCONN) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Adds a publish to what is to be written.
    pub(crate) fn publish(&mut self, room: &str, stamp: Stamp, bytes: usize) {
        let (out, mask) = self.connection.out();
        self.wire.write_publish(room, stamp, bytes, self.published, mask, out);
        self.published += 1;
    }

    /// Whether it is connected and joined.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether the connection has ended.
    pub fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone(_))
    }

    /// Says goodbye.
    pub(crate) fn leave(&mut self) -> Result<(), Fault> {
        self.phase = Phase::Leaving;
        let (out, mask) = self.connection.out();
        self.wire.write_close(mask, out);
        self.flush()?;
        if !self.wire.is_framed() {
            self.connection.finish()?;
        }
        Ok(())
    }

    /// Writes what the system takes.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        Ok(self.connection.flush()?)
    }

    /// Whether something waits to be written.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.is_blocked()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
