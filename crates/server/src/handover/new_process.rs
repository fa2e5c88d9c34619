//! The side of the process that wants the rooms: it asks for them, and takes them before it serves.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::channel::{Channel, Failure};
use super::message::{Message, VERSION};
use super::old_process::{own_user, trusts};
use super::taker::{Event, Reason, Step, Taker};
use crate::config::{Handover, HttpServer};
use crate::events::Before;
use crate::net::listeners::{self, Given, NotBound, Offer};
use crate::rooms::hub::Hub;

/// What the other process may take longer than it has said: it has to be told, and to tell.
const SLACK: Duration = Duration::from_secs(2);

/// Why nothing was taken over. The other process goes on as before.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It cannot be asked.
    Unasked(io::Error),
    /// This process may not ask it: the socket is another user's, whose it is if that can be seen.
    Forbidden { path: PathBuf, user: Option<u32> },
    /// It is another user's.
    Foreign { user: u32 },
    /// It says why not.
    Refused(String),
    /// It was lost.
    Lost,
    /// A place cannot be had that it does not have either.
    Bind(NotBound),
}

/// A process that has been asked, and has not given anything yet.
#[derive(Debug)]
pub(crate) struct NewProcess {
    channel: Channel,
    taker: Taker,
    offers: Vec<Offer>,
    /// The sockets that it does not have.
    others: Vec<Given>,
    /// How long it may take for a step.
    patience: Duration,
    /// Bytes of rooms that are taken.
    bytes_max: usize,
}

/// What was taken; the other process waits to be told that it is served.
#[derive(Debug)]
pub(crate) struct TakenOver {
    pub(crate) sockets: Vec<Given>,
    channel: Channel,
    /// Whether it was there to the end.
    has_all: bool,
}

impl NewProcess {
    /// Asks whoever serves at `path`; nothing where nobody does. What the configuration asks for and that one does not have is had
    /// when this returns.
    ///
    /// # Errors
    /// It cannot be taken over.
    pub(crate) fn begin(path: &Path, options: &Handover, http_server: &HttpServer) -> Result<Option<Self>, NotTaken> {
        let channel = match connected(path) {
            Ok(stream) => Channel::new(stream).map_err(NotTaken::Unasked)?,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::InvalidFilename => {
                let path = path.display();
                tracing::warn!(%path, %error, "nobody can be asked to hand over there: set `handover.socket` to a shorter path");
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let user = std::fs::symlink_metadata(path).ok().map(|socket| socket.uid());
                return Err(NotTaken::Forbidden { path: path.to_owned(), user });
            }
            Err(error) => return Err(NotTaken::Unasked(error)),
        };
        let peer = channel.peer().map_err(NotTaken::Unasked)?;
        if !trusts(own_user(), peer.user) {
            return Err(NotTaken::Foreign { user: peer.user });
        }
        tracing::info!(process = peer.process, "taking over from another process");
        let (taker, step) = Taker::begin(VERSION);
        let mut this = Self {
            channel,
            taker,
            offers: Vec::new(),
            others: Vec::new(),
            patience: options.timeout + SLACK,
            bytes_max: options.bytes.saturating_mul(2),
        };
        match this.go_on(step, None)? {
            Step::Prepare => {}
            _ => return Err(NotTaken::Lost),
        }
        this.others = listeners::open_others(http_server, &this.offers).map_err(NotTaken::Bind)?;
        Ok(Some(this))
    }

    /// Takes what the other process has; the database is free then.
    ///
    /// # Errors
    /// It was not given, and the other process goes on.
    pub(crate) fn finish(mut self, hub: &Hub) -> Result<TakenOver, NotTaken> {
        let step = self.taker.on(Event::Done);
        let has_all = match self.go_on(step, Some(hub))? {
            Step::Serve { has_all } => {
                if !has_all {
                    tracing::error!(
                        "the process before this one was lost; rooms that it had not given begin new epochs"
                    );
                }
                has_all
            }
            _ => {
                tracing::error!(
                    "the process before this one was lost before it gave anything; starting as if it had not been there"
                );
                false
            }
        };
        Ok(TakenOver { sockets: self.others, channel: self.channel, has_all })
    }

    /// Does what is to be done, until it is something that others have to do.
    fn go_on(&mut self, mut step: Step, hub: Option<&Hub>) -> Result<Step, NotTaken> {
        let (mut bytes, mut dropped) = (0, 0);
        loop {
            let event = match step {
                Step::Say(message) => {
                    if let Err(failure) = self.channel.say(message, self.patience) {
                        tracing::debug!(%failure, "hand-over");
                    }
                    // Who takes nothing may have said why not before it went.
                    self.hear()
                }
                Step::TakeSockets => match self.take_sockets() {
                    Ok(()) => self.hear(),
                    Err(error) => {
                        tracing::error!(%error, "a socket cannot be taken over");
                        Event::Lost
                    }
                },
                Step::TakeRooms(record) => {
                    bytes += record.len();
                    match hub.filter(|_| bytes <= self.bytes_max).map(|hub| hub.take_rooms(&record)) {
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            tracing::warn!(%error, "rooms of the process before this one begin new epochs");
                        }
                        None => dropped += record.len(),
                    }
                    self.hear()
                }
                Step::GiveUp(Reason::Refused(reason)) => return Err(NotTaken::Refused(reason)),
                Step::GiveUp(Reason::Lost | Reason::Unexpected) => return Err(NotTaken::Lost),
                Step::Prepare | Step::Serve { .. } | Step::StartPlainly => {
                    if dropped > 0 {
                        let taken = bytes - dropped;
                        tracing::warn!(
                            dropped,
                            taken,
                            "the process before this one gives more than twice `handover.bytes` here: rooms behind that begin new epochs"
                        );
                    }
                    return Ok(step);
                }
            };
            step = self.taker.on(event);
        }
    }

    fn hear(&mut self) -> Event {
        match self.channel.hear(self.patience) {
            Ok(message) => {
                tracing::debug!(?message, "hand-over");
                if let Message::Welcome { sockets, timeout } = &message {
                    self.offers.clone_from(sockets);
                    self.patience = self.patience.max(timeout.saturating_add(SLACK));
                }
                Event::Heard(message)
            }
            Err(failure) => {
                tracing::warn!(%failure, "lost the process before this one");
                Event::Lost
            }
        }
    }

    /// The sockets that came with what was heard last, before those that it does not have.
    fn take_sockets(&mut self) -> io::Result<()> {
        let descriptors = self.channel.take_descriptors();
        if descriptors.len() != self.offers.len() {
            return Err(io::Error::other("there are others than were told"));
        }
        let offered = descriptors.into_iter().zip(&self.offers);
        let given =
            offered.map(|(descriptor, offer)| Given::offered(descriptor, offer)).collect::<io::Result<Vec<_>>>()?;
        self.others.splice(..0, given);
        Ok(())
    }
}

impl TakenOver {
    /// What is to be made of those whom the other process has in its rooms.
    pub(crate) fn before(&self) -> Before {
        if self.has_all { Before::Closes } else { Before::Over }
    }

    /// Tells the other process that this one serves, and from there on hears who goes from it.
    pub(crate) fn served(mut self, hub: &Arc<Hub>) {
        // Where it is lost, nobody has to be told.
        if let Err(failure) = self.channel.say(Message::Serves, SLACK) {
            tracing::warn!(%failure, "the process before this one was not told that this one serves");
        }
        let Some(room_events) = hub.room_events().filter(|_| self.before() == Before::Closes) else { return };
        room_events.expect_leavers();
        let Handover { close_within, timeout, .. } = hub.now().config.handover.clone();
        let until = Instant::now() + close_within + timeout;
        // It outlives neither: it ends when the other process does, and holds nothing of this one.
        let of_thread = Arc::downgrade(hub);
        let hearing = thread::Builder::new().name("roomcast-leavers".to_owned());
        let spawned = hearing.spawn(move || hear_of_leavers(self.channel, &of_thread, until));
        if let Err(error) = spawned {
            tracing::warn!(%error, "who goes from the process before this one is not heard");
            others_are_gone(hub);
        }
    }
}

/// Notes who goes from the process before this one, until that is over or takes longer than it may.
fn hear_of_leavers(mut channel: Channel, hub: &Weak<Hub>, until: Instant) {
    loop {
        let heard = channel.hear(until.saturating_duration_since(Instant::now()));
        let Some(hub) = hub.upgrade() else { return };
        let noted = match heard {
            Ok(Message::Gone(record)) => hub.room_events().and_then(|it| it.hear_of_leavers(&record)),
            Err(Failure::Late) => {
                tracing::warn!("the process before this one still has clients; the backend is told that they are gone");
                None
            }
            _ => None,
        };
        if noted.is_none() {
            return others_are_gone(&hub);
        }
    }
}

fn others_are_gone(hub: &Hub) {
    if let Some(room_events) = hub.room_events() {
        room_events.others_are_gone();
    }
}

fn connected(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    // Whoever waits for a full one waits for somebody who stands still.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unasked(error) => write!(f, "the process that serves cannot be asked to hand over: {error}"),
            Self::Forbidden { path, user } => {
                let (path, own) = (path.display(), own_user());
                let whose = user.map_or_else(String::new, |user| format!(", which is of the one with id {user},"));
                write!(
                    f,
                    "the user with id {own} may not ask at {path}{whose} for what another process serves: start this one as the same \
                     user as that"
                )
            }
            Self::Foreign { user } => {
                let own = own_user();
                write!(
                    f,
                    "the process that serves is of the user with id {user}, and this one of the one with id {own}: start this one as \
                     that user"
                )
            }
            Self::Refused(reason) => write!(f, "the process that serves does not hand over: {reason}"),
            Self::Lost => f.write_str(
                "the process that serves was lost, or did nothing in time, before it handed over; see its log, and `handover.timeout`",
            ),
            Self::Bind(NotBound { place, source }) => write!(f, "cannot listen at {place}: {source}"),
        }
    }
}
