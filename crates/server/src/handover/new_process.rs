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

use super::at_work::{AT_WORK_WITHIN, AtWork};
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

/// How often it is looked whether this process is still there, while nothing is heard of the other one.
const LOOKED_EVERY: Duration = Duration::from_secs(5);

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
    /// Whether the other one reads notes.
    reads_notes: bool,
    /// Since when it says that it is at work.
    at_work_since: Option<Instant>,
}

/// What was taken; the other process waits to be told that it is served.
#[derive(Debug)]
pub(crate) struct TakenOver {
    pub(crate) sockets: Vec<Given>,
    channel: Channel,
    /// Whether it was there to the end.
    has_all: bool,
    /// Says that the database is being opened.
    at_work: Option<AtWork>,
    reads_notes: bool,
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
            reads_notes: false,
            at_work_since: None,
        };
        match this.go_on(step, None)? {
            Step::Prepare => {}
            _ => return Err(NotTaken::Lost),
        }
        this.others = listeners::open_others(http_server, &this.offers).map_err(NotTaken::Bind)?;
        Ok(Some(this))
    }

    /// Takes what the other process has; the database is free then, or about to be. That one is told from here on that this one is at work,
    /// and what that one has of the memory is left to it.
    ///
    /// # Errors
    /// It was not given, and the other process goes on.
    pub(crate) fn finish(mut self, hub: &Arc<Hub>) -> Result<TakenOver, NotTaken> {
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
        hub.taken_all();
        let at_work = self.reads_notes.then(|| AtWork::told(&self.channel));
        Ok(TakenOver { sockets: self.others, channel: self.channel, has_all, at_work, reads_notes: self.reads_notes })
    }

    /// Does what is to be done, until it is something that others have to do.
    fn go_on(&mut self, mut step: Step, hub: Option<&Hub>) -> Result<Step, NotTaken> {
        let (mut bytes, mut dropped) = (0, 0);
        loop {
            if step != Step::Listen {
                self.at_work_since = None;
            }
            let event = match step {
                Step::Listen => self.hear_who_is_at_work(),
                Step::Leave(bytes) => {
                    if let Some(hub) = hub {
                        hub.leave_to_another(bytes);
                    }
                    self.hear()
                }
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

    /// The next word of a process that has said that it is at work.
    fn hear_who_is_at_work(&mut self) -> Event {
        let since = *self.at_work_since.get_or_insert_with(Instant::now);
        if since.elapsed() < AT_WORK_WITHIN {
            return self.hear();
        }
        tracing::error!(within = ?AT_WORK_WITHIN, "the process before this one says that it is at work, and does not come to an end");
        Event::Lost
    }

    fn hear(&mut self) -> Event {
        match self.channel.hear(self.patience) {
            Ok(message) => {
                tracing::debug!(?message, "hand-over");
                if let Message::Welcome { sockets, timeout, reads_notes } = &message {
                    self.reads_notes = *reads_notes;
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
        drop(self.at_work.take());
        // Where it is lost, nobody has to be told.
        if let Err(failure) = self.channel.say(Message::Serves, SLACK) {
            tracing::warn!(%failure, "the process before this one was not told that this one serves");
        }
        let room_events = hub.room_events().filter(|_| self.before() == Before::Closes);
        room_events.inspect(|it| it.expect_leavers());
        if room_events.is_none() && !self.reads_notes {
            return;
        }
        let Handover { close_within, timeout, .. } = hub.now().config.handover.clone();
        let until = room_events.map(|_| Instant::now() + close_within + timeout);
        // It outlives neither: it ends when the other process does, and holds nothing of this one.
        let of_thread = Arc::downgrade(hub);
        let hearing = thread::Builder::new().name("roomcast-leavers".to_owned());
        let spawned = hearing.spawn(move || hear_how_it_goes(self.channel, &of_thread, until));
        if let Err(error) = spawned {
            tracing::warn!(%error, "how the process before this one goes is not heard");
            others_are_gone(hub);
            hub.leave_to_another(0);
        }
    }
}

/// Notes who goes from the process before this one, `until` that takes longer than it may, and leaves to it what it has in memory until it
/// is gone.
fn hear_how_it_goes(mut channel: Channel, hub: &Weak<Hub>, mut until: Option<Instant>) {
    loop {
        let heard = channel.hear(until.map_or(LOOKED_EVERY, |until| until.saturating_duration_since(Instant::now())));
        let Some(hub) = hub.upgrade() else { return };
        let is_over = match heard {
            Ok(Message::Gone(record)) => hub.room_events().and_then(|it| it.hear_of_leavers(&record)).is_none(),
            Ok(Message::Holds(bytes)) => {
                hub.leave_to_another(bytes);
                false
            }
            Err(Failure::Late) => {
                if until.is_some() {
                    tracing::warn!(
                        "the process before this one still has clients; the backend is told that they are gone"
                    );
                }
                true
            }
            _ => {
                until.inspect(|_| others_are_gone(&hub));
                return hub.leave_to_another(0);
            }
        };
        if is_over && until.take().is_some() {
            others_are_gone(&hub);
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::config::Config;

    fn eventually(what: &str, holds: impl Fn() -> bool) {
        for _ in 0..4_000 {
            if holds() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("waited in vain for: {what}");
    }

    #[tokio::test]
    async fn what_the_old_process_has_is_left_to_it_until_it_is_gone() {
        let mut config = Config::dev();
        config.memory.limit = NonZeroUsize::new(128 << 20);
        let hub = Arc::new(Hub::alone(config));
        let (old, new) = UnixStream::pair().expect("sockets");
        let (mut old, new) = (Channel::new(old).expect("a channel"), Channel::new(new).expect("a channel"));
        let weak = Arc::downgrade(&hub);
        let hearing = thread::spawn(move || hear_how_it_goes(new, &weak, None));
        let (all, now) = (hub.rooms.memory.rings.limit(), || hub.rooms.memory.rings.limit_now());
        let soon = Duration::from_secs(20);
        old.say(Message::Holds(u64::MAX), soon).expect("it is heard");
        eventually("less is kept here", || now() < all / 2);
        // Who has gone is nothing to a process that tells nobody of it.
        old.say(Message::Gone(vec![1]), soon).expect("it is heard");
        old.say(Message::Holds(1 << 20), soon).expect("it is heard");
        eventually("nearly all is this one's", || now() > all / 2);
        old.say(Message::Holds(u64::MAX), soon).expect("it is heard");
        eventually("less is kept here", || now() < all / 2);
        drop(old);
        hearing.join().expect("it ends");
        assert_eq!(now(), all, "all of it is this one's");
    }
}
