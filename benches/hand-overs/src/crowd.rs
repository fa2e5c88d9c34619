//! The clients: each is in a room, in some of which somebody talks; who is closed comes back, and knows what it must have received.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::socket::{Door, Over, Socket};

/// Rooms of each kind.
const ROOMS: usize = 10;
const KINDS: [&str; 3] = ["off", "async", "stored"];
/// How often somebody says something in a room.
const EVERY: Duration = Duration::from_millis(500);
/// How long a client that was closed waits before it comes back, at most, as SDKs do at first.
const BACKOFF: Duration = Duration::from_millis(500);
/// How long who is told to come later waits.
const LATER: Duration = Duration::from_millis(100);
/// How many connect at once in the beginning.
const AT_ONCE: usize = 32;
/// How long all may take to be there.
const PATIENCE: Duration = Duration::from_secs(300);
/// The code with which a server that goes closes its clients.
const SHUTDOWN: u16 = 3001;
/// The last message of a room.
const LAST: &str = "that was all";

/// What all clients have in common.
struct Shared {
    door: Rc<Door>,
    /// How many are in their rooms at this moment.
    there: Cell<usize>,
    stops: Cell<bool>,
    /// When clients were closed, and when they were back.
    closed: RefCell<Vec<Instant>>,
    came_back: RefCell<Vec<Instant>>,
    /// What was acknowledged in each room.
    acknowledged: RefCell<HashMap<String, Vec<u64>>>,
}

/// What the clients have seen, all together.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Messages that were acknowledged.
    pub(crate) acknowledged: usize,
    /// Messages received, over all clients.
    pub(crate) received: usize,
    /// Messages that a client should have received and did not.
    pub(crate) lost: usize,
    /// Messages that came twice, or out of order.
    pub(crate) disordered: usize,
    /// How often clients came back, and how often they were told that they had missed something.
    pub(crate) came_back: usize,
    pub(crate) unrecovered: usize,
    /// How often a connection ended otherwise than by a close with 3001.
    pub(crate) cut: usize,
}

/// A client that only listens.
#[derive(Default)]
struct Listener {
    numbers: Vec<u64>,
    disordered: usize,
    came_back: usize,
    unrecovered: usize,
    cut: usize,
}

/// All clients.
pub(crate) struct Crowd {
    shared: Rc<Shared>,
    clients: usize,
    listeners: Vec<(String, JoinHandle<Listener>)>,
    speakers: Vec<JoinHandle<usize>>,
}

impl Crowd {
    /// Connects them, and has them talk.
    pub(crate) async fn open(door: &Rc<Door>, clients: usize) -> Result<Self, String> {
        let shared = Rc::new(Shared {
            door: Rc::clone(door),
            there: Cell::new(0),
            stops: Cell::new(false),
            closed: RefCell::default(),
            came_back: RefCell::default(),
            acknowledged: RefCell::default(),
        });
        let rooms: Vec<_> = KINDS.iter().flat_map(|kind| (0..ROOMS).map(move |nth| format!("{kind}:{nth}"))).collect();
        let listening = clients.saturating_sub(rooms.len()).max(1);
        let mut crowd = Self { shared, clients, listeners: Vec::new(), speakers: Vec::new() };
        for nth in 0..listening {
            let room = rooms[nth % rooms.len()].clone();
            let listener = listen(Rc::clone(&crowd.shared), room.clone());
            crowd.listeners.push((room, spawn_local(listener)));
            if nth % AT_ONCE == AT_ONCE - 1 {
                crowd.are_there(nth + 1).await?;
            }
        }
        crowd.are_there(listening).await?;
        for (nth, room) in rooms.into_iter().enumerate() {
            crowd.speakers.push(spawn_local(speak(Rc::clone(&crowd.shared), room, nth)));
        }
        crowd.clients = listening + crowd.speakers.len();
        crowd.all_are_there().await?;
        Ok(crowd)
    }

    /// Waits until every client is connected, and in its room.
    pub(crate) async fn all_are_there(&self) -> Result<(), String> {
        self.are_there(self.clients).await
    }

    async fn are_there(&self, count: usize) -> Result<(), String> {
        let there = async {
            while self.shared.there.get() < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, there).await.map_err(|_| format!("{} of {count} clients are there", self.shared.there.get()))
    }

    pub(crate) fn forget_times(&self) {
        self.shared.closed.borrow_mut().clear();
        self.shared.came_back.borrow_mut().clear();
    }

    /// When clients were closed, and when they were back.
    pub(crate) fn times(&self) -> (Vec<Instant>, Vec<Instant>) {
        (self.shared.closed.borrow().clone(), self.shared.came_back.borrow().clone())
    }

    /// Says the last word in each room, and waits until everybody has heard it.
    pub(crate) async fn end(self) -> Result<Seen, String> {
        self.shared.stops.set(true);
        let mut seen = Seen::default();
        for speaker in self.speakers {
            seen.cut += speaker.await.map_err(|error| error.to_string())?;
        }
        let acknowledged = self.shared.acknowledged.take();
        seen.acknowledged = acknowledged.values().map(Vec::len).sum();
        for (room, listener) in self.listeners {
            let heard =
                timeout(PATIENCE, listener).await.map_err(|_| format!("{room}: the last message is missing"))?;
            let heard = heard.map_err(|error| error.to_string())?;
            let all = acknowledged.get(&room).map(Vec::as_slice).unwrap_or_default();
            seen.lost += missing(all, &heard.numbers);
            seen.received += heard.numbers.len();
            seen.disordered += heard.disordered;
            seen.came_back += heard.came_back;
            seen.unrecovered += heard.unrecovered;
            seen.cut += heard.cut;
        }
        Ok(seen)
    }
}

/// How many of `all` are not among `heard`; both rise.
fn missing(all: &[u64], heard: &[u64]) -> usize {
    let mut heard = heard.iter().peekable();
    let is_missing = |number: &&u64| {
        while heard.next_if(|it| it < number).is_some() {}
        heard.next_if_eq(number).is_none()
    };
    all.iter().filter(is_missing).count()
}

impl Shared {
    /// Connects, however often that has to be tried, and counts it as there.
    async fn come(&self, is_back: bool, spread: u64) -> Socket {
        if is_back {
            sleep(BACKOFF.mul_f64((spread % 100) as f64 / 100.0)).await;
        }
        loop {
            match self.door.open().await {
                Ok(socket) => return socket,
                Err(_) => sleep(LATER).await,
            }
        }
    }

    fn is_there(&self, is_back: bool) {
        self.there.set(self.there.get() + 1);
        if is_back {
            self.came_back.borrow_mut().push(Instant::now());
        }
    }

    /// It is over; whether it was cut.
    fn is_gone(&self, over: &Over, was_there: bool) -> bool {
        if was_there {
            self.there.set(self.there.get() - 1);
        }
        match over {
            Over::Closed(SHUTDOWN) => {
                self.closed.borrow_mut().push(Instant::now());
                false
            }
            over => {
                eprintln!("a client was lost: {over}");
                true
            }
        }
    }
}

/// A number that differs from client to client and from time to time.
fn mixed(nth: u64) -> u64 {
    (nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 33
}

async fn listen(shared: Rc<Shared>, room: String) -> Listener {
    let mut this = Listener::default();
    let (mut seen, mut epoch): (u64, Option<String>) = (0, None);
    let mut spread = shared.there.get() as u64;
    loop {
        spread = mixed(spread + 1);
        let mut socket = shared.come(epoch.is_some(), spread).await;
        let mut is_there = false;
        let over = match follow(&shared, &mut socket, &room, &mut this, (&mut seen, &mut epoch), &mut is_there).await {
            Ok(()) => return this,
            Err(over) => over,
        };
        this.cut += usize::from(shared.is_gone(&over, is_there));
    }
}

/// Is in the room until its last message.
async fn follow(
    shared: &Shared,
    socket: &mut Socket,
    room: &str,
    this: &mut Listener,
    (seen, epoch): (&mut u64, &mut Option<String>),
    is_there: &mut bool,
) -> Result<(), Over> {
    let recover = epoch.as_ref().map(|epoch| format!(r#","recover":true,"offset":{seen},"epoch":"{epoch}""#));
    let command = format!(r#"{{"id":2,"subscribe":{{"channel":"{room}"{}}}}}"#, recover.unwrap_or_default());
    let mut pushes = Vec::new();
    let subscribed = loop {
        socket.send(&command).await?;
        let mut reply = socket.reply(2, &mut pushes).await?;
        if reply.get("subscribe").is_some() {
            break reply["subscribe"].take();
        }
        sleep(LATER).await;
    };
    let is_back = epoch.is_some();
    if is_back {
        this.came_back += 1;
        if subscribed["recovered"] != true {
            this.unrecovered += 1;
            *seen = subscribed["offset"].as_u64().unwrap_or(0);
        }
    } else {
        *seen = subscribed["offset"].as_u64().unwrap_or(0);
    }
    *epoch = subscribed["epoch"].as_str().map(str::to_owned);
    *is_there = true;
    shared.is_there(is_back);
    for publication in subscribed["publications"].as_array().into_iter().flatten() {
        if this.take(publication, seen) {
            return Ok(());
        }
    }
    loop {
        for message in std::mem::take(&mut pushes) {
            if let Some(publication) = message.get("push").and_then(|push| push.get("pub"))
                && this.take(publication, seen)
            {
                return Ok(());
            }
        }
        pushes = socket.hear().await?;
    }
}

impl Listener {
    /// Whether it was the last one.
    fn take(&mut self, publication: &Value, seen: &mut u64) -> bool {
        let offset = publication["offset"].as_u64().unwrap_or(0);
        if offset != *seen + 1 {
            self.disordered += 1;
        }
        *seen = offset;
        match publication["data"].as_u64() {
            Some(number) => {
                self.numbers.push(number);
                false
            }
            None => true,
        }
    }
}

/// Says a number now and then, and the last word in the end; how often its connection was cut.
async fn speak(shared: Rc<Shared>, room: String, nth: usize) -> usize {
    let (mut number, mut cut, mut is_back) = (0_u64, 0, false);
    sleep(EVERY.mul_f64(nth as f64 / (KINDS.len() * ROOMS) as f64)).await;
    loop {
        let mut socket = shared.come(is_back, mixed(number + nth as u64)).await;
        shared.is_there(is_back);
        is_back = true;
        match say(&shared, &mut socket, &room, &mut number).await {
            Ok(()) => return cut,
            Err(over) => cut += usize::from(shared.is_gone(&over, true)),
        }
    }
}

async fn say(shared: &Shared, socket: &mut Socket, room: &str, number: &mut u64) -> Result<(), Over> {
    loop {
        let stops = shared.stops.get();
        *number += 1;
        let data = if stops { format!("\"{LAST}\"") } else { number.to_string() };
        let id = *number + 1;
        socket.send(&format!(r#"{{"id":{id},"publish":{{"channel":"{room}","data":{data}}}}}"#)).await?;
        let reply = socket.reply(id, &mut Vec::new()).await?;
        if reply.get("publish").is_some() {
            if stops {
                return Ok(());
            }
            shared.acknowledged.borrow_mut().entry(room.to_owned()).or_default().push(*number);
            // What comes meanwhile is heard: pings, and the end.
            if socket.speaks_within(EVERY).await {
                socket.hear().await?;
            }
        } else {
            sleep(LATER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn what_was_not_heard_is_missing() {
        assert_eq!(missing(&[1, 2, 5, 9], &[1, 2, 3, 5, 9]), 0, "more may be heard than was acknowledged");
        assert_eq!(missing(&[1, 2, 5, 9], &[2, 9]), 2);
        assert_eq!(missing(&[1], &[]), 1);
    }
}
