//! The load: many connections in one thread, which publishes, receives, and checks what it receives.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use roomcast_lab::load::{DeliveryChecker, Events, Poller, Ready};

use crate::client::{Client, Phase};
use crate::fault::Fault;
use crate::payload::Stamp;
use crate::room::{Latency, Room};
use crate::wire::{Intent, Wire};

/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;

/// Connections looked at in one turn.
const EVENTS_PER_TURN: usize = 256;

/// Connections that may be opening at once: fewer than a server's backlog takes.
const OPENING_MAX: usize = 64;

/// How long opening may stand still, and how long what is on its way may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a turn waits for something to happen before the clock is looked at again.
const WAIT: Duration = Duration::from_millis(50);

/// All connections to one server.
pub struct Load {
    address: SocketAddr,
    /// Whether TLS is spoken there.
    is_tls: bool,
    wire: Wire,
    /// Of connections that only publish.
    publishers_wire: Wire,
    poller: Poller,
    /// The connections.
    pub clients: Vec<Client>,
    /// The rooms.
    pub rooms: Vec<Room>,
    /// Rooms whose publishers may publish.
    due: Vec<usize>,
    /// Whether publishers go on when their messages have arrived.
    is_running: bool,
    opening: usize,
    buffer: Vec<u8>,
    events: Events,
    patience: Duration,
}

impl Load {
    /// A load without connections.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(address: SocketAddr, wire: Wire) -> Result<Self, Fault> {
        Ok(Self {
            address,
            is_tls: false,
            wire,
            publishers_wire: wire,
            poller: Poller::new()?,
            clients: Vec::new(),
            rooms: Vec::new(),
            due: Vec::new(),
            is_running: false,
            opening: 0,
            buffer: vec![0; READ_BYTES],
            events: Events::with_capacity(EVENTS_PER_TURN),
            patience: PATIENCE,
        })
    }

    /// Lets opening, and the arrival of what is on its way, take that long.
    #[must_use]
    pub fn patient_for(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Has all connections speak TLS, or none.
    #[must_use]
    pub fn with_tls(mut self, is_tls: bool) -> Self {
        self.is_tls = is_tls;
        self
    }

    /// Lets connections that only publish talk otherwise than members.
    #[must_use]
    pub fn published_over(mut self, wire: Wire) -> Self {
        self.publishers_wire = wire;
        self
    }

    /// Makes a room with so many members, and one more connection that publishes.
    ///
    /// # Errors
    /// As [`Load::turn`].
    pub fn add_room(&mut self, name: &str, bytes: usize, in_flight: usize, members: usize) -> Result<usize, Fault> {
        let room = self.add_silent_room(name, bytes, in_flight, members, 1)?;
        let client = self.connect(room, false)?;
        self.rooms[room].add_publisher(client);
        Ok(room)
    }

    /// Makes a room whose first members publish, so many of them.
    ///
    /// # Errors
    /// As [`Load::turn`].
    pub fn add_talk(
        &mut self,
        name: &str,
        bytes: usize,
        in_flight: usize,
        members: usize,
        publishers: usize,
    ) -> Result<usize, Fault> {
        let first = self.clients.len();
        let room = self.add_silent_room(name, bytes, in_flight, members, publishers)?;
        (first..first + publishers).for_each(|client| self.rooms[room].add_publisher(client));
        Ok(room)
    }

    fn add_silent_room(
        &mut self,
        name: &str,
        bytes: usize,
        in_flight: usize,
        members: usize,
        publishers: usize,
    ) -> Result<usize, Fault> {
        let room = self.rooms.len();
        self.rooms.push(Room::new(name.to_owned(), bytes, in_flight));
        for _ in 0..members {
            let client = self.connect(room, true)?;
            // Offsets begin with 1, where the protocol tells them.
            let checker = DeliveryChecker::from_the_start(publishers).numbered_from(1);
            self.clients[client].checker = Some(checker);
        }
        self.rooms[room].awaited = members as u32;
        Ok(room)
    }

    /// Opens one more connection to a room, when not too many are opening already.
    fn connect(&mut self, room: usize, joins: bool) -> Result<usize, Fault> {
        self.open_until(OPENING_MAX - 1)?;
        let intent = Intent { room: self.rooms[room].name.clone(), joins, since: None };
        let index = self.clients.len();
        let wire = if joins { self.wire } else { self.publishers_wire };
        let client = Client::open((self.address, self.is_tls), wire, intent, room)?;
        self.register(&client, index)?;
        self.clients.push(client);
        self.opening += 1;
        Ok(index)
    }

    /// Opens a connection in the place of another one, which is dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn reconnect(&mut self, index: usize, since: Option<(String, u64)>) -> Result<(), Fault> {
        let room = self.clients[index].room;
        let intent = Intent { room: self.rooms[room].name.clone(), joins: true, since };
        let mut client = Client::open((self.address, self.is_tls), self.wire, intent, room)?;
        let before = &mut self.clients[index];
        (client.checker, client.is_awaited) = (before.checker.take(), before.is_awaited);
        self.register(&client, index)?;
        self.clients[index] = client;
        self.opening += 1;
        Ok(())
    }

    /// Waits until every connection is open.
    ///
    /// # Errors
    /// As [`Load::turn`], and [`Fault::TooLong`].
    pub fn open_all(&mut self) -> Result<(), Fault> {
        self.open_until(0)
    }

    fn open_until(&mut self, opening: usize) -> Result<(), Fault> {
        let limit = Instant::now() + self.patience;
        self.turns_until(limit, "opening connections", |load| load.opening <= opening)
    }

    /// Publishers keep their messages in flight until that time.
    ///
    /// # Errors
    /// As [`Load::turn`].
    pub fn run_until(&mut self, end: Instant) -> Result<(), Fault> {
        self.start();
        while Instant::now() < end {
            self.turn(WAIT)?;
        }
        Ok(())
    }

    /// Lets publishers begin, or go on.
    pub fn start(&mut self) {
        if !self.is_running {
            self.is_running = true;
            self.due = (0..self.rooms.len()).filter(|room| self.rooms[*room].in_flight > 0).collect();
            self.due.iter().for_each(|room| self.rooms[*room].is_due = true);
        }
    }

    /// Stops publishing and waits until everything has arrived.
    ///
    /// # Errors
    /// As [`Load::turn`], and [`Fault::TooLong`].
    pub fn settle(&mut self) -> Result<(), Fault> {
        self.is_running = false;
        let limit = Instant::now() + self.patience;
        self.turns_until(limit, "the arrival of what was published", |load| load.rooms.iter().all(Room::is_settled))
    }

    /// Checks that every member that was awaited received everything, or was told that it is gone.
    ///
    /// # Errors
    /// [`Fault::Delivery`] when one did not.
    pub fn check(&self) -> Result<(), Fault> {
        self.clients.iter().filter(|client| client.is_awaited).try_for_each(|client| self.check_client(client))
    }

    /// The same of one member.
    ///
    /// # Errors
    /// As [`Load::check`].
    pub fn check_client(&self, client: &Client) -> Result<(), Fault> {
        let Some(mut checker) = client.checker.clone() else { return Ok(()) };
        checker.close(Some(self.rooms[client.room].published()));
        checker.complaint().map_or(Ok(()), |complaint| Err(Fault::Delivery(complaint.to_owned())))
    }

    /// Messages received by all members together.
    pub fn deliveries(&self) -> u64 {
        self.rooms.iter().map(|room| room.deliveries).sum()
    }

    /// Publishes one message that was due at that time.
    ///
    /// # Errors
    /// What the system says.
    pub fn publish_due(&mut self, room: usize, due: Instant) -> Result<(), Fault> {
        let Self { rooms, clients, .. } = self;
        let room = &mut rooms[room];
        let publisher = &mut room.publishers[0];
        if let Some(latency) = &mut room.latency {
            latency.expect(publisher.sent, due);
        }
        let client = &mut clients[publisher.client];
        client.publish(&room.name, Stamp { publisher: 0, sequence: publisher.sent }, room.bytes);
        publisher.sent += 1;
        client.flush()
    }

    /// Looks at no more connections than that in one turn.
    pub fn limit_turns(&mut self, events: usize) {
        self.events = Events::with_capacity(events);
    }

    /// Notes from now on when messages of that room arrive.
    pub fn time(&mut self, room: usize) {
        self.rooms[room].latency = Some(Latency::new(Instant::now()));
    }

    /// What was noted in all rooms, which begin anew, in nanoseconds.
    pub fn take_samples(&mut self) -> Vec<u32> {
        let latencies = self.rooms.iter_mut().filter_map(|room| room.latency.as_mut());
        latencies.flat_map(|latency| std::mem::take(&mut latency.samples)).collect()
    }

    /// Waits until something happens, but no longer than that, handles it, and lets publishers go on.
    ///
    /// # Errors
    /// [`Fault`] when a connection fails or something arrives that should not.
    pub fn turn(&mut self, wait: Duration) -> Result<(), Fault> {
        // What is due needs no waiting.
        let wait = if self.is_running && !self.due.is_empty() { Duration::ZERO } else { wait };
        let mut events = std::mem::take(&mut self.events);
        self.poller.wait(&mut events, wait)?;
        for ready in events.iter() {
            self.handle(ready)?;
        }
        self.events = events;
        if self.is_running { self.refill() } else { Ok(()) }
    }

    /// Takes turns until it is so.
    ///
    /// # Errors
    /// As [`Load::turn`], and [`Fault::TooLong`] when the time is up.
    pub fn turns_until(
        &mut self,
        limit: Instant,
        what: &'static str,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Fault> {
        while !is_so(self) {
            if Instant::now() >= limit {
                return Err(Fault::TooLong(what));
            }
            self.turn(WAIT)?;
        }
        Ok(())
    }

    fn handle(&mut self, ready: Ready) -> Result<(), Fault> {
        let index = ready.index;
        let Self { clients, rooms, buffer, .. } = self;
        let client = &mut clients[index];
        let was_blocked = client.is_blocked();
        if ready.can_write {
            client.flush()?;
        }
        let at = client.room;
        if ready.can_read {
            let room = &mut rooms[at];
            if let Some(latency) = &mut room.latency {
                latency.now = Instant::now();
            }
            let turn = client.read(buffer, room)?;
            if turn.has_opened {
                self.opening -= 1;
            }
            if turn.is_due && !room.is_due {
                room.is_due = true;
                self.due.push(at);
            }
            if let Phase::Gone(_) = client.phase {
                // Its end would be told again and again.
                self.poller.remove(&*client)?;
                return Ok(());
            }
        }
        self.watch(index, was_blocked)
    }

    /// Lets the publishers of rooms that are due fill their windows, with one write each.
    fn refill(&mut self) -> Result<(), Fault> {
        let mut due = std::mem::take(&mut self.due);
        for at in due.drain(..) {
            self.rooms[at].is_due = false;
            for nth in 0..self.rooms[at].publishers.len() {
                let room = &mut self.rooms[at];
                let publisher = &mut room.publishers[nth];
                let (index, until) = (publisher.client, publisher.done + room.in_flight as u32);
                if publisher.sent >= until {
                    continue;
                }
                let client = &mut self.clients[index];
                let was_blocked = client.is_blocked();
                while publisher.sent < until {
                    client.publish(&room.name, Stamp { publisher: nth, sequence: publisher.sent }, room.bytes);
                    publisher.sent += 1;
                }
                client.flush()?;
                self.watch(index, was_blocked)?;
            }
        }
        self.due = due;
        Ok(())
    }

    fn register(&self, client: &Client, index: usize) -> Result<(), Fault> {
        Ok(self.poller.add(client, index, client.is_blocked())?)
    }

    /// Watches whether a client can write, when that has become a question or is none any more.
    fn watch(&self, index: usize, was_blocked: bool) -> Result<(), Fault> {
        let client = &self.clients[index];
        if client.is_blocked() == was_blocked {
            return Ok(());
        }
        Ok(self.poller.update(client, index, client.is_blocked())?)
    }

    /// From now on this member does not read.
    ///
    /// # Errors
    /// What the system says.
    pub fn stop_reading(&mut self, index: usize) -> Result<(), Fault> {
        Ok(self.poller.remove(&self.clients[index])?)
    }

    /// It reads again.
    ///
    /// # Errors
    /// What the system says.
    pub fn go_on_reading(&mut self, index: usize) -> Result<(), Fault> {
        self.register(&self.clients[index], index)
    }
}
