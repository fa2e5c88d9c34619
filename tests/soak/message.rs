//! Messages that do harm when they are cloned or dropped, and are counted all the same.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;

use roomcast::{Broker, Start};

use crate::dice::Dice;

/// Rooms that publishers fill.
pub(crate) const ROOMS: u64 = 4;

/// Mixed with the number of a message, so that memory which is none is told from one.
const MARK: u64 = 0x5eed_ab1e_c0ff_ee00;

/// What a message does beside being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Calm,
    PanicsInClone,
    PanicsInDrop,
    PublishesInDrop,
    SubscribesInDrop,
    RemovesInDrop,
}

/// Leads to the broker. Behind a pointer, since a type cannot be asked for its own `Send` while it is being defined.
type Way = Box<dyn Fn() -> Broker<Message> + Send + Sync>;

/// What all messages of a test share.
#[derive(Default)]
pub(crate) struct Stage {
    /// Taken away at the end: messages that keep their broker would keep themselves.
    broker: Mutex<Option<Way>>,
    pub(crate) made: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// Handlers that have panicked.
    pub(crate) tantrums: AtomicU64,
    /// Things that messages did in their `Drop`.
    pub(crate) returns: AtomicU64,
}

impl Stage {
    pub(crate) fn new(broker: &Broker<Message>) -> Arc<Self> {
        let broker = broker.clone();
        Arc::new(Self { broker: Mutex::new(Some(Box::new(move || broker.clone()))), ..Self::default() })
    }

    pub(crate) fn broker(&self) -> Option<Broker<Message>> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|broker| broker())
    }

    /// From here on messages do no harm.
    pub(crate) fn close(&self) {
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(broker);
    }

    /// A message; with `hostile`, one of some in a hundred does harm.
    pub(crate) fn message(self: &Arc<Self>, dice: &mut Dice, hostile: bool) -> Message {
        let nature = match if hostile { dice.roll(1_000) } else { 999 } {
            0 => Nature::PanicsInDrop,
            1..20 => Nature::PanicsInClone,
            20..40 => Nature::PublishesInDrop,
            40..50 => Nature::SubscribesInDrop,
            50 => Nature::RemovesInDrop,
            _ => Nature::Calm,
        };
        self.of(nature, dice.roll(u64::MAX))
    }

    fn of(self: &Arc<Self>, nature: Nature, number: u64) -> Message {
        self.made.fetch_add(1, SeqCst);
        Message { number, mark: number ^ MARK, nature, stage: self.clone() }
    }
}

pub(crate) struct Message {
    number: u64,
    mark: u64,
    nature: Nature,
    stage: Arc<Stage>,
}

impl Message {
    /// Fails if this is no message.
    pub(crate) fn check(&self) {
        assert_eq!(self.mark, self.number ^ MARK, "memory was read that holds no message");
    }
}

impl Clone for Message {
    fn clone(&self) -> Self {
        self.check();
        if self.nature == Nature::PanicsInClone {
            tantrum();
        }
        self.stage.of(Nature::Calm, self.number)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.check();
        self.mark = 0;
        self.stage.dropped.fetch_add(1, SeqCst);
        if self.nature == Nature::Calm || thread::panicking() {
            return;
        }
        if self.nature == Nature::PanicsInDrop {
            tantrum();
        }
        let Some(broker) = self.stage.broker() else { return };
        self.stage.returns.fetch_add(1, SeqCst);
        let name = name(self.number);
        match self.nature {
            Nature::PublishesInDrop => drop(broker.publish(&name, self.stage.of(Nature::Calm, self.number))),
            Nature::SubscribesInDrop => {
                let room = broker.room(&name).map(|room| room.subscribe_from(Start::Oldest).now());
                if let Ok(Ok(mut subscription)) = room {
                    let _ = subscription.try_recv_ref().map(|message| message.check());
                }
            }
            Nature::RemovesInDrop => drop(broker.remove(&name)),
            Nature::Calm | Nature::PanicsInClone | Nature::PanicsInDrop => {}
        }
    }
}

/// The name of the room with this number, of those there are.
pub(crate) fn name(number: u64) -> String {
    format!("room {}", number % ROOMS)
}

/// What hostile code panics with.
struct Tantrum;

/// Panics, without a word in the output.
pub(crate) fn tantrum() -> ! {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Tantrum>() {
                loud(info);
            }
        }));
    });
    panic::panic_any(Tantrum)
}

/// Runs what may have a tantrum; any other panic goes on.
pub(crate) fn bear<R>(run: impl FnOnce() -> R) -> Option<R> {
    match panic::catch_unwind(panic::AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(panic) if panic.is::<Tantrum>() => None,
        Err(panic) => panic::resume_unwind(panic),
    }
}
