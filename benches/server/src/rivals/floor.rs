//! The floor: one thread that fans out and does nothing else.
//!
//! What arrives within one turn for a room becomes one buffer of frames, and each member gets that buffer with one write.
//! No names beyond the path, no history, no limits but one: a member that is too far behind is cut off.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use roomcast_lab::websocket;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::room_of;
use crate::fault::Fault;

/// What is around a message: as many bytes as roomcast has there for a message of an anonymous client.
pub(super) const ENVELOPE: [&str; 2] = [
    r#"{"push":{"channel":"room","pub":{"data":"#,
    r#","info":{"user":"","client":"00000000-0000-0000-0000-000000000000"},"offset":"#,
];
/// What follows the number of a message.
const ENVELOPE_END: &str = r#","time":1700000000000}}}"#;

/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// Bytes a member may be behind.
const BACKLOG_BYTES_MAX: usize = 1024 * 1024;

/// Connections looked at in one turn.
const EVENTS_PER_TURN: usize = 1_024;

/// The listener among the connections.
const LISTENER: u64 = u64::MAX;

/// A room: its members, and what they are to get at the end of the turn.
#[derive(Default)]
struct Room {
    members: Vec<usize>,
    frames: Vec<u8>,
    messages: u64,
}

struct Connection {
    stream: TcpStream,
    /// Its room and whether it joined, once the handshake is done.
    room: Option<(usize, bool)>,
    partial: Vec<u8>,
    backlog: Vec<u8>,
}

struct Floor {
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    rooms: Vec<Room>,
    names: HashMap<String, usize>,
    /// Rooms with something to send.
    due: Vec<usize>,
    envelope: Option<[&'static str; 2]>,
}

/// Serves until the process is ended.
pub(super) fn serve(address: SocketAddr, envelope: Option<[&'static str; 2]>) -> Result<(), Fault> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // The standard library asks for a shorter queue.
    rustix::net::listen(&listener, 1_024)?;
    let mut floor = Floor {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        connections: Vec::new(),
        vacant: Vec::new(),
        rooms: Vec::new(),
        names: HashMap::new(),
        due: Vec::new(),
        envelope,
    };
    epoll::add(&floor.epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let (mut events, mut buffer) = (Vec::with_capacity(EVENTS_PER_TURN), vec![0; READ_BYTES]);
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => floor.accept(&listener)?,
                index => floor.handle(index as usize, event.flags, &mut buffer)?,
            }
        }
        floor.deliver()?;
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> Result<(), Fault> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = self.vacant.pop().unwrap_or(self.connections.len());
            if index == self.connections.len() {
                self.connections.push(None);
            }
            epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            let connection = Connection { stream, room: None, partial: Vec::new(), backlog: Vec::new() };
            self.connections[index] = Some(connection);
        }
    }

    fn handle(&mut self, index: usize, flags: EventFlags, buffer: &mut [u8]) -> Result<(), Fault> {
        // An event may be of a connection that went earlier in the turn.
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        if flags.contains(EventFlags::OUT) {
            if !connection.flush() {
                return self.drop_connection(index);
            }
            if connection.backlog.is_empty() {
                epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            }
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        let n = match connection.stream.read(buffer) {
            Ok(n) if n > 0 => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            _ => return self.drop_connection(index),
        };
        let mut partial = std::mem::take(&mut connection.partial);
        let used = if partial.is_empty() {
            self.hear(index, &mut buffer[..n])
        } else {
            partial.extend_from_slice(&buffer[..n]);
            self.hear(index, &mut partial)
        };
        let Some(used) = used else { return self.drop_connection(index) };
        if partial.is_empty() {
            partial.extend_from_slice(&buffer[used..n]);
        } else {
            partial.drain(..used);
        }
        if let Some(connection) = &mut self.connections[index]
            && !partial.is_empty()
        {
            connection.partial = partial;
        }
        Ok(())
    }

    /// Handles what is complete and returns how much that was; `None` when the connection is over.
    fn hear(&mut self, index: usize, bytes: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        if self.connections[index].as_ref()?.room.is_none() {
            let Some((head, length)) = websocket::head(bytes).ok()? else { return Some(0) };
            self.open(index, head)?;
            at = length;
        }
        let (room, _) = self.connections[index].as_ref()?.room?;
        while let Some(frame) = websocket::parse(&bytes[at..]).ok()? {
            let payload = &mut bytes[at + frame.start..at + frame.end];
            at += frame.end;
            match frame.opcode {
                websocket::TEXT => {
                    websocket::apply_mask(payload, frame.mask?);
                    self.publish(room, payload);
                }
                websocket::PONG => {}
                _ => return None,
            }
        }
        Some(at)
    }

    fn open(&mut self, index: usize, head: &str) -> Option<()> {
        let (name, joins) = room_of(head.split(' ').nth(1)?)?;
        let mut response = Vec::new();
        websocket::write_response(websocket::field(head, "sec-websocket-key")?, &mut response);
        let room = match self.names.get(name) {
            Some(room) => *room,
            None => {
                self.rooms.push(Room::default());
                self.names.insert(name.to_owned(), self.rooms.len() - 1);
                self.rooms.len() - 1
            }
        };
        if joins {
            self.rooms[room].members.push(index);
        }
        let connection = self.connections[index].as_mut()?;
        connection.room = Some((room, joins));
        connection.send(&response).then_some(())
    }

    fn publish(&mut self, at: usize, payload: &[u8]) {
        let room = &mut self.rooms[at];
        if room.frames.is_empty() {
            self.due.push(at);
        }
        room.messages += 1;
        let number = room.messages;
        websocket::write(websocket::TEXT, None, &mut room.frames, |out| {
            let Some([before, between]) = self.envelope else { return out.extend_from_slice(payload) };
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(payload);
            out.extend_from_slice(between.as_bytes());
            let _ = write!(out, "{number}{ENVELOPE_END}");
        });
    }

    /// Gives every member what its room has gathered.
    fn deliver(&mut self) -> Result<(), Fault> {
        let mut due = std::mem::take(&mut self.due);
        let mut lost = Vec::new();
        for at in due.drain(..) {
            let room = &mut self.rooms[at];
            for member in &room.members {
                let Some(connection) = &mut self.connections[*member] else { continue };
                let was_blocked = !connection.backlog.is_empty();
                if !connection.send(&room.frames) {
                    lost.push(*member);
                } else if !was_blocked && !connection.backlog.is_empty() {
                    let flags = EventFlags::IN | EventFlags::OUT;
                    epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(*member as u64), flags)?;
                }
            }
            room.frames.clear();
        }
        self.due = due;
        lost.into_iter().try_for_each(|member| self.drop_connection(member))
    }

    fn drop_connection(&mut self, index: usize) -> Result<(), Fault> {
        if let Some(Connection { stream, room, .. }) = self.connections[index].take() {
            epoll::delete(&self.epoll, &stream)?;
            self.vacant.push(index);
            if let Some((room, true)) = room {
                self.rooms[room].members.retain(|member| *member != index);
            }
        }
        Ok(())
    }
}

impl Connection {
    /// Writes now what can be written and keeps the rest; false when the connection is over.
    fn send(&mut self, bytes: &[u8]) -> bool {
        let mut sent = 0;
        if self.backlog.is_empty() {
            match self.stream.write(bytes) {
                Ok(n) => sent = n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        self.backlog.extend_from_slice(&bytes[sent..]);
        self.backlog.len() <= BACKLOG_BYTES_MAX
    }

    /// Writes what waits; false when the connection is over.
    fn flush(&mut self) -> bool {
        match self.stream.write(&self.backlog) {
            Ok(n) => {
                self.backlog.drain(..n);
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}
