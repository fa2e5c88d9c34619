//! The side of the process that has the rooms: it listens for a new one, and gives it what it has.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::at_work::{AT_WORK_WITHIN, AtWork, SAID_EVERY};
use super::channel::{Channel, Failure, Peer};
use super::giver::{Event, Giver, Outcome, Refusal, Step};
use super::message::Message;
use super::staging::{Pace, STEP};
use crate::config::{FileMode, Handover};
use crate::net::accept::Accepting;
use crate::net::listeners::{Listener, Offer};
use crate::net::unix_socket::{self, SocketFile};
use crate::ops::shutdown::Shutdown;
use crate::ops::systemd::Manager;
use crate::rooms::cluster::ANSWER_WITHIN;
use crate::rooms::handing_over::GiveWithin;
use crate::rooms::hub::Hub;
use crate::rooms::shard_commands::{LetGo, ShardCommand, To};
use crate::util::panics::lock;

/// Who may connect: the user whose server it is.
const MODE: FileMode = FileMode(0o600);
/// Those who wait to ask; one is answered at a time, and all others are told so.
const BACKLOG: i32 = 8;
/// How long the new process may say nothing from the last room until it serves. One that opens a large database says that it is at work.
const SERVE_WITHIN: Duration = Duration::from_secs(60);
/// How often the new process is told who has gone.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// Bytes of rooms after which it is told what is left here: a part of what the smallest budgets have for messages.
const TOLD_EVERY: usize = 4 << 20;
/// The user who may do everything.
const ROOT: u32 = 0;

/// Whom this process is of.
pub(super) fn own_user() -> u32 {
    geteuid().as_raw()
}

/// Whether a process of user `own` speaks with one of `other` about what it has: with those who could take it in any case.
pub(super) fn trusts(own: u32, other: u32) -> bool {
    other == ROOT || other == own
}

/// The sockets of a server and their files, which either end with it or go to another process.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    sockets: Vec<(OwnedFd, Offer)>,
    files: Vec<SocketFile>,
}

impl Sockets {
    /// Those of `listeners`, once more if they may be given, and the files that go with them.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn of(listeners: &mut [Listener], may_be_given: bool) -> io::Result<Self> {
        let files = listeners.iter_mut().filter_map(|it| it.socket.take_file()).collect();
        let once_more = listeners.iter().filter(|_| may_be_given);
        let sockets = once_more.map(|it| Ok((it.socket.try_clone()?, it.offer()))).collect::<io::Result<_>>()?;
        Ok(Self { sockets, files })
    }
}

/// How far it has come with going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// The rooms are this process's.
    Has,
    /// They are no more.
    Released { is_served: bool, is_unstored: bool, is_over: bool },
    /// They are this process's until its end, which has begun.
    Keeps,
}

/// What became of the rooms, as it is seen at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// They are this process's.
    Here,
    /// They were given away. Where nobody serves them, or not all of what was published is there, something is to be said.
    Away { is_served: bool, is_unstored: bool },
}

/// What a server hands over, and what has to know of it.
pub(crate) struct OldProcess {
    hub: Arc<Hub>,
    sockets: Mutex<Sockets>,
    accepting: watch::Sender<Accepting>,
    manager: Arc<Manager>,
    shutdown: Shutdown,
    hold: Mutex<Hold>,
    /// Told when what was given away is served, or is not going to be.
    is_over: Condvar,
    /// The file of the socket at which it is asked for.
    file: Mutex<Option<SocketFile>>,
    /// What is not to go on when everything is given away.
    tasks: Mutex<Vec<AbortHandle>>,
    is_asked: AtomicBool,
    background: Handle,
}

/// The process that wants to take over.
struct Asker {
    channel: Channel,
    peer: Peer,
    reads_notes: bool,
    /// Since when it has everything.
    awaited_since: Option<Instant>,
}

impl OldProcess {
    /// Of a server of these parts; what waits waits on `background`.
    pub(crate) fn new(
        (hub, sockets, accepting, manager, shutdown): (
            Arc<Hub>,
            Sockets,
            watch::Sender<Accepting>,
            Arc<Manager>,
            Shutdown,
        ),
        background: Handle,
    ) -> Self {
        Self {
            hub,
            sockets: Mutex::new(sockets),
            accepting,
            manager,
            shutdown,
            hold: Mutex::new(Hold::Has),
            is_over: Condvar::new(),
            file: Mutex::default(),
            tasks: Mutex::default(),
            is_asked: AtomicBool::new(false),
            background,
        }
    }

    /// Ends that task before everything is given away.
    pub(crate) fn ends(&self, task: AbortHandle) {
        lock(&self.tasks).push(task);
    }

    /// From here on the server ends: what it has by then it keeps. What is being given away it gives before, `within` that time.
    pub(crate) fn conclude(&self, within: Duration) -> Left {
        let is_giving = |hold: &mut Hold| matches!(hold, Hold::Released { is_over: false, .. });
        let waited = self.is_over.wait_timeout_while(lock(&self.hold), within, is_giving);
        let (mut hold, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match *hold {
            Hold::Has | Hold::Keeps => {
                *hold = Hold::Keeps;
                Left::Here
            }
            Hold::Released { is_served, is_unstored, .. } => Left::Away { is_served, is_unstored },
        }
    }

    /// Lets go of what others may take as long as the server serves: nobody connects from here on.
    pub(crate) fn close(&self) {
        drop(lock(&self.file).take());
        // What is released is given.
        let hold = lock(&self.hold);
        if !matches!(*hold, Hold::Released { .. }) {
            *lock(&self.sockets) = Sockets::default();
        }
    }

    /// Listens at `path` for processes that want to take over, until the server ends. Where that cannot be had the server serves
    /// without.
    pub(crate) async fn keep(self: Arc<Self>, path: PathBuf) {
        let listening = unix_socket::listen_at(&path, MODE, BACKLOG)
            .and_then(|(listener, file)| Ok((tokio::net::UnixListener::from_std(nonblocking(listener)?)?, file)));
        let listener = match listening {
            Ok((listener, file)) => {
                *lock(&self.file) = Some(file);
                listener
            }
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "no other process can take over: its socket cannot be had; see `handover.socket`");
                return;
            }
        };
        let mut draining = self.shutdown.watch();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = draining.wait_for(|draining| *draining) => return,
            };
            match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => {
                    let this = Arc::clone(&self);
                    tokio::task::spawn_blocking(move || this.answer(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "a process that wants to take over could not be heard");
                    tokio::time::sleep(STEP).await;
                }
            }
        }
    }

    /// Answers a process that has connected.
    fn answer(&self, stream: UnixStream) {
        let channel = Channel::new(stream).and_then(|channel| channel.peer().map(|peer| (channel, peer)));
        let (mut channel, peer) = match channel {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "a process that wants to take over could not be heard"),
        };
        let timeout = self.options().timeout;
        if !trusts(own_user(), peer.user) {
            let (process, user, own) = (peer.process, peer.user, own_user());
            tracing::warn!(process, user, "refused a process that wants to take over: it is another user's");
            let reason = format!("it is of the user with id {own}, and who asks of the one with id {user}");
            let _ = channel.say(Message::Refused(reason), timeout);
            return;
        }
        if self.is_asked.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                process = peer.process,
                "refused a process that wants to take over: another one is about to"
            );
            let _ = channel.say(Message::Refused("another process is about to take over".to_owned()), timeout);
            return;
        }
        let mut asker = Asker { channel, peer, reads_notes: false, awaited_since: None };
        let outcome = self.converse(&mut asker);
        self.end(outcome, asker);
    }

    /// Tells a process that it does not take over; whoever asks from here on is heard.
    fn refuse(&self, mut channel: Channel, refusal: Refusal) {
        self.is_asked.store(false, Ordering::Release);
        let _ = channel.say(Message::Refused(refusal.to_string()), self.options().timeout);
    }

    fn options(&self) -> Handover {
        self.hub.now().config.handover.clone()
    }

    fn converse(&self, asker: &mut Asker) -> Outcome {
        let process = asker.peer.process;
        let (mut giver, mut step) = Giver::begin();
        loop {
            let timeout = self.options().timeout;
            let channel = &mut asker.channel;
            let event = match step {
                Step::Listen => heard(channel.hear(timeout)),
                Step::Welcome => {
                    let sockets = lock(&self.sockets).sockets.iter().map(|(_, offer)| offer.clone()).collect();
                    let reads_notes = asker.reads_notes;
                    said_and_heard(channel, Message::Welcome { sockets, timeout, reads_notes }, timeout)
                }
                Step::Settle => {
                    tracing::info!(process, "another process takes over: nothing more is accepted");
                    self.settle(timeout)
                }
                Step::SaySettled => said_and_heard(channel, Message::Settled, timeout),
                Step::Release => {
                    let _at_work = asker.reads_notes.then(|| AtWork::told(channel));
                    self.release(timeout)
                }
                Step::GiveSockets => self.give_sockets(channel, timeout),
                Step::GiveRooms => done(self.give_rooms(asker, timeout)),
                Step::Await => self.hear_at_work(asker),
                Step::End(outcome) => return outcome,
            };
            if let Event::Heard(Message::Hello { reads_notes, .. }) = &event {
                asker.reads_notes = *reads_notes;
            }
            tracing::debug!(process, ?event, "hand-over");
            step = giver.on(event);
        }
    }

    fn settle(&self, timeout: Duration) -> Event {
        let mut draining = self.shutdown.watch();
        let settle = async {
            self.hub.stop_taking().await;
            // Not before: as long as a configuration is taken over, everything goes on.
            self.accepting.send_replace(Accepting::Paused);
            self.hub.settle().await;
        };
        let settled = self.background.block_on(async {
            tokio::select! {
                biased;
                _ = draining.wait_for(|draining| *draining) => None,
                settled = tokio::time::timeout(timeout, settle) => Some(settled.is_ok()),
            }
        });
        match settled {
            None => Event::Ends,
            Some(true) => Event::Done,
            Some(false) if !self.hub.is_settled() => Event::Reloads,
            Some(false) => Event::Failed,
        }
    }

    fn release(&self, timeout: Duration) -> Event {
        {
            let mut hold = lock(&self.hold);
            // Its sockets are closed by now, or are about to be.
            if *hold != Hold::Has || *self.shutdown.watch().borrow() {
                return Event::Ends;
            }
            *hold = Hold::Released { is_served: false, is_unstored: false, is_over: false };
        }
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
        match self.hub.release(timeout) {
            Ok(()) => Event::Done,
            Err(error) => {
                tracing::error!(%error, "the new process begins new epochs");
                *lock(&self.hold) = Hold::Released { is_served: false, is_unstored: true, is_over: false };
                Event::Failed
            }
        }
    }

    fn give_sockets(&self, channel: &mut Channel, timeout: Duration) -> Event {
        // The new process makes its own.
        drop(lock(&self.file).take());
        let sockets = std::mem::take(&mut *lock(&self.sockets));
        let descriptors: Vec<_> = sockets.sockets.iter().map(|(descriptor, _)| descriptor.as_fd()).collect();
        let said = channel.say_with(Message::Sockets, &descriptors, timeout);
        if said.is_ok() {
            sockets.files.into_iter().for_each(SocketFile::leave);
        }
        self.accepting.send_replace(Accepting::Over);
        done(said)
    }

    fn give_rooms(&self, asker: &mut Asker, timeout: Duration) -> Result<(), Failure> {
        let Handover { aim, bytes, .. } = self.options();
        let Asker { channel, reads_notes, .. } = asker;
        let began = Instant::now();
        let (mut records, mut given, mut untold) = (0_usize, 0_usize, usize::MAX);
        for record in self.hub.give_rooms(GiveWithin { bytes: bytes as u64, time: aim }) {
            if *reads_notes && untold >= TOLD_EVERY {
                channel.say(self.holds(), timeout)?;
                untold = 0;
            }
            records += 1;
            given += record.len();
            untold = untold.saturating_add(record.len());
            channel.say(Message::Rooms(record), timeout)?;
        }
        tracing::info!(records, bytes = given, took = ?began.elapsed(), "rooms given to the new process");
        channel.say(Message::AllGiven, timeout)
    }

    /// Hears a process that has everything: it serves, or is at work.
    fn hear_at_work(&self, asker: &mut Asker) -> Event {
        if asker.reads_notes && asker.awaited_since.is_none() {
            // Now that all rings are given; more is said when it serves. Where it is lost, that is heard next.
            let _ = asker.channel.say(self.holds(), self.options().timeout);
        }
        let since = *asker.awaited_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= AT_WORK_WITHIN {
            tracing::error!(within = ?AT_WORK_WITHIN, "the process that was taking over says that it is at work, and does not serve");
            return Event::Lost;
        }
        heard(asker.channel.hear(SERVE_WITHIN))
    }

    /// What this process has in memory at this moment.
    fn holds(&self) -> Message {
        Message::Holds(self.hub.rooms.memory.held())
    }

    /// Does what is left to do, however it has ended.
    fn end(&self, outcome: Outcome, Asker { channel, peer, reads_notes, .. }: Asker) {
        let process = peer.process;
        match outcome {
            Outcome::Refused(refusal) => {
                tracing::warn!(process, %refusal, "a process does not take over");
                self.refuse(channel, refusal);
            }
            Outcome::Thawed(refusal) => {
                self.hub.thaw();
                self.accepting.send_replace(Accepting::On);
                tracing::warn!(process, %refusal, "a process does not take over; this one goes on");
                self.refuse(channel, refusal);
            }
            Outcome::HandedOver => {
                self.manager.successor(process);
                tracing::info!(process, "handed over: another process serves");
                self.over(true);
                let are_closed = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let telling = std::thread::Builder::new().name("roomcast-leavers".to_owned());
                    let told = telling.spawn_scoped(scope, || self.tell_how_it_goes(channel, reads_notes, &are_closed));
                    if let Err(error) = told {
                        tracing::warn!(%error, "the new process is not told how this one goes");
                    }
                    // Whoever has ended it meanwhile has closed them.
                    if !*self.shutdown.watch().borrow() {
                        self.background.block_on(close_clients(&self.hub, &self.shutdown));
                    }
                    are_closed.store(true, Ordering::Release);
                });
                self.shutdown.begin();
            }
            Outcome::Orphaned => {
                tracing::error!(
                    process,
                    "the process that was taking over is lost when it had everything: nobody serves until the server is started again"
                );
                self.accepting.send_replace(Accepting::Over);
                self.over(false);
                self.shutdown.begin();
            }
        }
    }

    /// Tells the new process who goes from this one, for the log of room events that it has now, and what this one has in memory, until all
    /// are closed. Whom it is not told of it takes for gone when this ends.
    fn tell_how_it_goes(&self, mut channel: Channel, reads_notes: bool, are_closed: &AtomicBool) {
        let room_events = self.hub.room_events();
        if room_events.is_none() && !reads_notes {
            return;
        }
        let (mut leavers, mut held_at) = (room_events.map(|it| it.leavers()), None::<Instant>);
        loop {
            // Before it is looked who has gone. The process before this one may have clients for longer, and is heard nowhere else.
            let is_last = are_closed.load(Ordering::Acquire)
                && (room_events.is_none_or(|it| !it.hears_of_leavers()) || *self.shutdown.watch().borrow());
            let holds = reads_notes && held_at.is_none_or(|held_at| held_at.elapsed() >= SAID_EVERY);
            let gone = std::iter::from_fn(|| leavers.as_mut()?.next_record()).map(Message::Gone);
            for message in gone.chain(holds.then(|| self.holds())) {
                if let Err(failure) = channel.say(message, self.options().timeout) {
                    return tracing::debug!(%failure, "the new process does not hear how this one goes");
                }
            }
            if holds {
                held_at = Some(Instant::now());
            }
            if is_last {
                return;
            }
            std::thread::sleep(TELL_EVERY);
        }
    }

    /// What was given away is served by now, or is not.
    fn over(&self, served: bool) {
        if let Hold::Released { is_served, is_over, .. } = &mut *lock(&self.hold) {
            (*is_served, *is_over) = (served, true);
        }
        self.is_over.notify_all();
    }
}

fn nonblocking(listener: UnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn heard(heard: Result<Message, Failure>) -> Event {
    match heard {
        Ok(message) => Event::Heard(message),
        Err(failure) => lost(&failure),
    }
}

fn lost(failure: &Failure) -> Event {
    tracing::warn!(%failure, "lost the process that was to take over");
    Event::Lost
}

fn said_and_heard(channel: &mut Channel, message: Message, timeout: Duration) -> Event {
    heard(channel.say(message, timeout).and_then(|()| channel.hear(timeout)))
}

fn done(said: Result<(), Failure>) -> Event {
    match said {
        Ok(()) => Event::Done,
        Err(failure) => lost(&failure),
    }
}

/// Closes all clients, so many in a second, or until the server is told to end.
async fn close_clients(hub: &Hub, shutdown: &Shutdown) {
    let (answer, mut answers) = mpsc::unbounded_channel();
    let shards = hub.local.commands.shards();
    let let_go = async |shard: usize, count: usize| {
        let command = ShardCommand::LetGo(LetGo::new(count, answer.clone()));
        // One that stands still is cut at the end.
        tokio::time::timeout(ANSWER_WITHIN, hub.local.commands.send(shard, To::Shard, command)).await.is_ok()
    };
    let mut left = vec![0; shards];
    for shard in 0..shards {
        if let_go(shard, 0).await
            && let Ok(Some((shard, count))) = tokio::time::timeout(ANSWER_WITHIN, answers.recv()).await
        {
            left[shard] = count;
        }
    }
    let Handover { close_rate, close_within, .. } = hub.now().config.handover.clone();
    let mut draining = shutdown.watch();
    let (mut pace, began) = (Pace::new(close_rate, close_within), tokio::time::Instant::now());
    tracing::info!(
        clients = left.iter().sum::<usize>(),
        close_rate,
        "clients are closed, to connect to the new process"
    );
    let mut turns = (0..shards).cycle();
    loop {
        while let Ok((shard, count)) = answers.try_recv() {
            left[shard] = count.min(left[shard]);
        }
        let all = left.iter().sum();
        if all == 0 {
            return;
        }
        let mut counts = vec![0; shards];
        for _ in 0..pace.due(began.elapsed(), all) {
            // There is one: so many are left at least.
            if let Some(shard) = turns.by_ref().take(shards).find(|shard| left[*shard] > 0) {
                counts[shard] += 1;
                left[shard] -= 1;
            }
        }
        for (shard, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            if !let_go(shard, count).await {
                left[shard] = 0;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(STEP) => {}
            _ = draining.wait_for(|draining| *draining) => return,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "it speaks version {version} of the hand-over, and this one {}", super::message::VERSION)
            }
            Self::Lost => f.write_str("it was lost, or said what nobody expected"),
            Self::NotSettled => f.write_str("what was under way did not end in time"),
            Self::Reloads => f.write_str("a configuration was being taken over all that time: try again"),
            Self::Ends => f.write_str("it is being stopped"),
        }
    }
}

impl fmt::Debug for OldProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldProcess").field("hold", &self.hold).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_has_is_for_its_user_and_for_root() {
        assert!(trusts(1_000, 1_000) && trusts(1_000, ROOT) && trusts(ROOT, ROOT));
        assert!(!trusts(1_000, 1_001));
        assert!(!trusts(ROOT, 1_000), "nobody is given what is root's");
    }
}
