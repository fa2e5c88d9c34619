//! The world of a seed: what happens in it, step by step, and what must hold when it is at rest.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use super::actions::Action;
use super::client::{Client, Found};
use super::clock::SystemClock;
use super::dice::Dice;
use super::disk::Disk;
use super::events::{LogFile, Told};
use super::handing_over::HandedOver;
use super::model::{Broken, Forbids, Invariant, Model};
use super::plan::Plan;
use super::server::{Backend, Server};
use super::stay::InRoom;
use super::temper::Temper;
use super::terms::Asked;
use crate::backend::double;
use crate::limits::memory::Reservation;
use crate::util::stepped;

/// How soon those are put out of a room whose namespace has gone: at once, but for what waits for its turn.
const PUT_OUT_WITHIN: Duration = Duration::from_secs(1);

/// How a seed was played.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) broken: Option<Broken>,
    /// What was done, line by line.
    pub(super) trace: String,
    /// What each client heard.
    pub(super) heard: Vec<String>,
    /// Of that, and of everything that clients heard.
    pub(super) hash: u64,
}

/// Plays a seed: always the same.
pub(super) fn play(seed: u64) -> Played {
    let mut dice = Dice::new(seed);
    let plan = Plan::draw(&mut dice);
    let disk = Disk::new(dice.fork());
    let clients = plan.clients.iter().map(|(user, form)| Client::new(user.clone(), *form)).collect();
    let mut model = Model::new(plan.rooms.clone(), Arc::clone(&disk));
    model.are_rooms_scarce = plan.bounds.rooms.is_some();
    model.terms.are_keys_scarce = plan.bounds.key_bytes.is_some();
    let mut world = World {
        dice,
        disk,
        clock: SystemClock::new(),
        model,
        clients,
        late: Rc::default(),
        handed_over: None,
        backend: plan.has_events.then(|| (LogFile::new(), Rc::default())),
        trace: String::new(),
        erased_next: None,
        plan,
    };
    world.describe();
    for run in 1..=world.plan.runs {
        let handed_over = world.handed_over.as_ref().map(|handed_over| (handed_over.given, handed_over.has_settled));
        world.model.begin_run(run, handed_over);
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let tasks = LocalSet::new();
        tasks.block_on(&runtime, world.run(run == world.plan.runs));
        // Whatever is left of it is gone.
        drop(tasks);
        stepped::take_back();
        double::take_back();
        drop(runtime);
        world.model.hear_complaints();
        if world.model.broken().is_some() {
            break;
        }
    }
    world.end()
}

/// What has been answered that no client has asked.
pub(super) enum Late {
    /// A message, what was asked of it beyond, when, and where it is.
    Published(u64, Option<Asked>, u64, (String, u64)),
    /// A message that is there or not.
    NotPublished(u64, Option<Asked>),
    /// Messages of a room, from what is written then on.
    Erased(String, Vec<u64>, u64),
    /// The history of a room, as it was then.
    Removed(String, u64),
    Failed,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) plan: Plan,
    pub(super) disk: Arc<Disk>,
    pub(super) clock: SystemClock,
    pub(super) model: Model,
    pub(super) clients: Vec<Client>,
    pub(super) late: Rc<RefCell<(usize, Vec<Late>)>>,
    /// What the run before has given to this one.
    pub(super) handed_over: Option<HandedOver>,
    /// Where it is told who comes and goes.
    pub(super) backend: Option<Backend>,
    pub(super) trace: String,
    /// A room of which something is erased as soon as it is known what was published there.
    pub(super) erased_next: Option<String>,
}

/// How a run of the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As it should.
    Clean,
    /// The process is killed; the system goes on.
    Killed,
    /// The machine has no power any more.
    Power,
    /// It gives its rooms to the next run.
    HandOver,
}

impl World {
    fn describe(&mut self) {
        for room in self.plan.rooms.clone() {
            let _ = writeln!(self.trace, "{room:?}");
        }
        let (shards, clients) = (self.plan.shards, self.plan.clients.clone());
        let (temper, bounds) = (self.plan.temper, self.plan.bounds);
        let _ = writeln!(self.trace, "{temper:?}, {bounds:?}, {shards} shards, {clients:?}");
    }

    /// One run of the server.
    async fn run(&mut self, is_last: bool) {
        let began = Instant::now();
        let (config, dice) = (self.plan.config.clone(), self.dice.fork());
        let machine = (self.plan.shards, self.plan.bounds);
        self.late = Rc::default();
        self.model.site.borrow_mut().is_well = false;
        self.tell(false);
        let backend = (Rc::clone(&self.model.site), self.backend.as_ref());
        let server = Rc::new(Server::start(config, machine, (&self.disk, &self.clock), backend, dice).await);
        if let Some(handed_over) = self.handed_over.take() {
            self.take_rooms(&server, &handed_over);
        }
        let others = self.take_memory(&server);
        let steps = self.dice.between(self.plan.steps / 2, self.plan.steps);
        if self.plan.temper != Temper::Mixed && self.dice.percent(80) {
            self.note(began, format_args!("everybody comes"));
            self.gather(&server).await;
        }
        for _ in 0..steps {
            let action = self.dice.weighed(&self.plan.actions);
            self.note(began, format_args!("{action:?}"));
            if let Some(room) = self.erased_next.take() {
                self.erase(&server, room, true);
            }
            self.act(&server, action);
            let time = match action {
                // Until rooms come to an end that nobody is in.
                Action::Abandon => self.dice.between(5_000, 30_000),
                // Until what is over is over.
                Action::Doze => self.dice.between(6_000, 18_000),
                // What has been said there is on its way yet.
                Action::Regret => self.dice.weighed(&[(3, 0), (1, 1)]),
                Action::Reload => self.dice.weighed(&[(2, 1), (1, 40), (2, 1_500)]),
                _ => self.dice.weighed(&[(20, 0), (20, 1), (10, 7), (10, 40), (5, 300), (2, 2_000)]),
            };
            self.pass(&server, Duration::from_millis(time)).await;
            if self.model.broken().is_some() {
                return;
            }
        }
        drop(others);
        self.erased_next = None;
        let end = self.dice.weighed(match self.plan.temper {
            Temper::Deploys => &[(1, End::Clean), (12, End::HandOver)],
            Temper::Epochs => &[(3, End::Clean), (3, End::Killed), (3, End::Power), (1, End::HandOver)],
            _ => &[(3, End::Clean), (2, End::Killed), (4, End::Power), (5, End::HandOver)],
        });
        if is_last || self.dice.percent(60) {
            self.note(began, format_args!("rest"));
            self.rest(&server).await;
        }
        if self.model.broken().is_none() {
            self.note(began, format_args!("{end:?}"));
            if end == End::HandOver {
                self.hand_over(&server, began).await;
            }
            self.finish(server, end).await;
        }
        self.clock.go_on(began);
    }

    /// Takes memory as others would that are not played, so that those who are have little.
    fn take_memory(&mut self, server: &Rc<Server>) -> Vec<Reservation> {
        let memory = &server.hub.rooms.memory;
        let mut others = Vec::new();
        for share in [&memory.replies, &memory.database, &memory.caches] {
            let left = self.dice.weighed(&[(5, u64::MAX), (1, 400_000), (2, 60_000), (1, 8_000), (1, 1_024)]);
            others.extend(share.left().checked_sub(left).and_then(|bytes| share.try_reserve(bytes)));
            let _ = writeln!(self.trace, "    {} bytes are left of the memory for {}", share.left(), share.name());
        }
        let left = self.dice.weighed(&[(8, u64::MAX), (1, 3_000_000), (1, 300_000)]);
        let rings = memory.rings.left().checked_sub(left).and_then(|bytes| memory.rings.try_reserve(bytes));
        let _ = writeln!(
            self.trace,
            "    {} bytes are left of the memory for {}",
            memory.rings.left(),
            memory.rings.name()
        );
        self.model.is_scarce = !others.is_empty() || rings.is_some();
        self.model.are_rings_scarce |= rings.is_some();
        others.extend(rings);
        others
    }

    pub(super) fn note(&mut self, began: Instant, what: std::fmt::Arguments<'_>) {
        let ms = began.elapsed().as_millis();
        let _ = writeln!(self.trace, "{}.{ms:06} {what}", self.model.run);
    }

    pub(super) fn detail(&mut self, what: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.trace, "    {what}");
    }

    /// Lets time pass, in which clients hear what comes.
    pub(super) async fn pass(&mut self, server: &Rc<Server>, time: Duration) {
        const SLICE: Duration = Duration::from_millis(500);
        let until = Instant::now() + time;
        if time.is_zero() {
            tokio::task::yield_now().await;
        }
        loop {
            self.listen(server);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(SLICE)).await;
        }
    }

    pub(super) fn listen(&mut self, server: &Rc<Server>) -> Found {
        let mut found = Found::default();
        for client in &mut self.clients {
            if client.waits_in_vain(server) {
                let how = format!("{:?} has taken everything, and is not given what waits for it", client.client());
                self.model.break_with(Invariant::Alive, how);
            }
            client.listen(server, &mut self.model, &mut found);
            // From here on it waits.
            client.waits_in_vain(server);
        }
        for late in std::mem::take(&mut self.late.borrow_mut().1) {
            match late {
                Late::Published(number, None, written, place) => {
                    self.model.acknowledged(number, written);
                    self.model.placed(number, place);
                }
                Late::Published(number, Some(asked), written, place) => {
                    self.model.acknowledged_on(number, asked, written, &place);
                }
                Late::NotPublished(number, asked) => {
                    if let (Some(asked), Some(message)) = (asked, self.model.messages.get(&number)) {
                        self.model.terms.failed(&message.room, asked);
                    }
                }
                Late::Erased(room, numbers, since) => self.model.has_erased(&room, &numbers, since),
                Late::Removed(room, asked_at) => self.model.has_removed(&room, asked_at),
                Late::Failed => {}
            }
        }
        self.model.hear_complaints();
        if let Some(complaint) = self.told().and_then(|told| told.borrow_mut().complaint.take()) {
            self.model.break_with(Invariant::Balance, format!("the backend is told: {complaint}"));
        }
        self.check_terms(server);
        self.check_undeclared(server);
        self.check_bounds(server);
        found
    }

    /// Who was in a room when its namespace went has been put out, and told so, once it has taken everything.
    fn check_undeclared(&mut self, server: &Rc<Server>) {
        let Forbids { rooms, since, at, .. } = &self.model.forbids;
        if rooms.is_empty() || since.is_none_or(|since| since.elapsed() < PUT_OUT_WITHIN) {
            return;
        }
        let stays = |client: &&Client| rooms.iter().any(|room| client.since(room).is_some_and(|since| since < *at));
        let hears = |client: &&Client| client.has_taken_all(server);
        if let Some(client) = self.clients.iter().filter(stays).find(hears) {
            let how = format!("{:?} is in one of {rooms:?}, which are not declared", client.client());
            self.model.break_with(Invariant::Alive, how);
        }
    }

    /// Nobody stays beyond its time.
    fn check_terms(&mut self, server: &Rc<Server>) {
        for client in &self.clients {
            let Some(line) = &client.line else { continue };
            if line.term.is_some_and(|term| term.is_over()) && !line.socket.is_over() {
                let how = format!("{:?} is connected, and its time is over: {:?}", client.client(), line.term);
                self.model.break_with(Invariant::Alive, how);
            }
            let is_over = |stay: &InRoom| stay.term.is_some_and(|term| term.is_over());
            if let Some((room, stay)) = line.stays.iter().find(|(_, stay)| is_over(stay))
                && client.has_taken_all(server)
            {
                let how = format!("{:?} is in {room}, and its time is over: {:?}", client.client(), stay.term);
                self.model.break_with(Invariant::Alive, how);
            }
        }
    }

    /// What the backend was told of who comes and goes.
    pub(super) fn told(&self) -> Option<&Rc<RefCell<Told>>> {
        self.backend.as_ref().map(|(_, told)| told)
    }

    /// Whether the backend takes what it is told from here on, and at once.
    pub(super) fn tell(&self, is_well: bool) {
        if let Some(told) = self.told() {
            told.borrow_mut().is_well = is_well;
        }
    }

    /// Ends the run.
    async fn finish(&mut self, server: Rc<Server>, end: End) {
        if end == End::Clean {
            let ending = Rc::clone(&server);
            let ended = spawn_local(async move { ending.end().await });
            while !ended.is_finished() {
                self.listen(&server);
                sleep(Duration::from_millis(20)).await;
            }
        }
        self.listen(&server);
        for client in &mut self.clients {
            // What was written is on its way.
            (client.takes, client.takes_each_time) = (None, None);
            let mut found = Found::default();
            client.listen(&server, &mut self.model, &mut found);
            client.log.push_str("the server is gone\n");
            if let Some(line) = &client.line {
                line.socket.cut();
            }
            client.is_gone(&mut self.model);
        }
        let lost = match end {
            End::Power => self.disk.power_gone(),
            _ => {
                self.disk.process_gone();
                0
            }
        };
        self.detail(format_args!("{lost} entries are lost"));
    }

    fn end(self) -> Played {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.trace.as_bytes());
        for client in &self.clients {
            hasher.write(client.log.as_bytes());
        }
        let heard = self.clients.into_iter().map(|client| client.log).collect();
        Played { broken: self.model.broken().cloned(), trace: self.trace, heard, hash: hasher.finish() }
    }
}
