//! One connection of a load.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;

use crate::books::Books;
use crate::fault::Fault;
use crate::payload::Stamp;
use crate::room::Room;
use crate::wire::{Ear, Heard, Intent, Wire};
use crate::ws;

/// How long the system may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Room to write that is kept by a client that writes little.
const OUT_KEPT: usize = 4_096;

/// A connection and what it is for.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    wire: Wire,
    ear: Ear,
    intent: Intent,
    /// The room's place in the load.
    pub room: usize,
    pub(crate) phase: Phase,
    /// Of a member.
    pub books: Option<Books>,
    /// Whether others wait until it has received a message.
    pub is_awaited: bool,
    /// Whether the server may close it.
    pub may_be_closed: bool,
    /// Epoch and offset of the room when it joined, where the protocol tells them.
    pub position: Option<(String, u64)>,
    /// Whether the server said that it recovered everything.
    pub recovered: bool,
    out: Vec<u8>,
    published: u32,
    mask: u32,
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
    /// Connects and says what comes first.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(address: SocketAddr, wire: Wire, intent: Intent, room: usize) -> Result<Self, Fault> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut client = Self {
            stream,
            wire,
            ear: Ear::new(wire),
            intent,
            room,
            phase: Phase::Opening,
            books: None,
            is_awaited: true,
            may_be_closed: false,
            position: None,
            recovered: false,
            out: Vec::new(),
            published: 0,
            mask: 0x1234_5678,
        };
        wire.write_opening(&client.intent, &mut client.out);
        client.flush()?;
        Ok(client)
    }

    /// Reads once, and enters what it hears in its own books and its room's.
    pub(crate) fn read(&mut self, buffer: &mut [u8], room: &mut Room) -> Result<Turn, Fault> {
        let before = self.phase;
        let mut turn = Turn::default();
        let n = match self.stream.read(buffer) {
            Ok(n) => n,
            Err(error) if is_for_later(&error) => return Ok(turn),
            // Who is cut off may find a reset instead of an end.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => 0,
            Err(error) => return Err(error.into()),
        };
        if n == 0 {
            self.phase = match self.phase {
                Phase::Gone(code) => Phase::Gone(code),
                _ => Phase::Gone(None),
            };
        }
        let Self { ear, wire, intent, books, phase, out, mask, position, recovered, is_awaited, .. } = self;
        ear.hear(&buffer[..n], |heard| {
            match heard {
                Heard::Message { payload, offset } => {
                    let books = books.as_mut().ok_or(Fault::Unexpected("a message for somebody who did not join"))?;
                    turn.is_due |= room.receive(books, payload, offset, *is_awaited)?;
                }
                Heard::Missed(count) => {
                    books.as_mut().ok_or(Fault::Unexpected("a loss for somebody who did not join"))?.miss(count);
                }
                Heard::Taken => {}
                Heard::Welcome => wire.write_intent(intent, next_mask(mask), out),
                Heard::Connected if intent.joins => {}
                Heard::Connected => *phase = Phase::Ready,
                Heard::Ready { position: at, recovered: all } => {
                    *phase = Phase::Ready;
                    *position = at.map(|(epoch, offset)| (epoch.to_owned(), offset));
                    *recovered = all;
                }
                Heard::Ping => wire.write_pong(next_mask(mask), out),
                Heard::FramePing => ws::write(ws::PONG, Some(next_mask(mask)), out, |_| {}),
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
        match set_tcp_quickack(&self.stream, true) {
            // It may be closed already.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTCONN) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Adds a publish to what is to be written.
    pub(crate) fn publish(&mut self, room: &str, stamp: Stamp, bytes: usize) {
        let mask = next_mask(&mut self.mask);
        self.wire.write_publish(room, stamp, bytes, self.published, mask, &mut self.out);
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
        let mask = next_mask(&mut self.mask);
        self.wire.write_close(mask, &mut self.out);
        self.flush()?;
        if !self.wire.is_framed() {
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Writes what the system takes.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(n) => sent += n,
                Err(error) if is_for_later(&error) => break,
                // The reason is still to be read.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.out.drain(..sent);
        if self.out.is_empty() && self.out.capacity() > OUT_KEPT {
            mem::take(&mut self.out);
        }
        Ok(())
    }

    /// Whether something waits to be written.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.out.is_empty()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// A mask unlike the one before, so that unmasking is real work for the server.
fn next_mask(mask: &mut u32) -> [u8; 4] {
    *mask ^= *mask << 13;
    *mask ^= *mask >> 17;
    *mask ^= *mask << 5;
    mask.to_ne_bytes()
}
