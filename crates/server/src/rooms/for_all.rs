//! Messages that are kept nowhere, on their way to all shards: each shard keeps space for one before any takes it, so that all members
//! of the room are given it or none is.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::join_leave::{Event, What, inbox_bytes_max};
use crate::util::panics::lock;
use roomcast::Position;
use roomcast_protocol::RoomName;

/// The ways to all shards.
pub(crate) struct ForAll {
    shards: Box<[Arc<Way>]>,
    /// Bytes that may wait for one of them.
    bytes_max: usize,
    /// Held while an event is sent on all ways to be taken, so that all shards take events in one order.
    taking: Mutex<()>,
}

/// The way to a shard.
struct Way {
    sender: UnboundedSender<Coming>,
    /// Until the shard takes it.
    receiver: Mutex<Option<UnboundedReceiver<Coming>>>,
    bytes: AtomicUsize,
}

/// What a shard is to do with an event for all members of its room. Of one event these come in their order.
#[derive(Debug)]
pub(crate) struct Coming {
    pub(crate) event: Arc<Event>,
    pub(crate) step: Step,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// Keep space for it, and say whether there is some.
    Reserve(oneshot::Sender<bool>),
    /// Take it into the space that is kept, and say so.
    Take(oneshot::Sender<()>),
    /// It does not come: where space is kept for it, that is free.
    Release,
}

/// Why not everybody was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unannounced {
    /// A shard, or those on it, have too much before it, or stand still: nobody is told.
    Full,
    /// A shard that has space for it has not taken it in time. It will.
    InTime,
}

impl ForAll {
    /// The ways to so many shards, which have so much memory for all events.
    pub(crate) fn new(shards: usize, bytes_max: u64) -> Self {
        let way = |_| {
            let (sender, receiver) = unbounded_channel();
            Arc::new(Way { sender, receiver: Mutex::new(Some(receiver)), bytes: AtomicUsize::new(0) })
        };
        let bytes_max = inbox_bytes_max(shards, bytes_max);
        Self { shards: (0..shards).map(way).collect(), bytes_max, taking: Mutex::default() }
    }

    /// What comes for a shard; once.
    pub(crate) fn inbox(&self, shard: usize) -> Option<InboxForAll> {
        let way = Arc::clone(&self.shards[shard]);
        let receiver = lock(&way.receiver).take()?;
        Some(InboxForAll { way, receiver })
    }

    /// Tells all members of the room, and waits until each shard has it before whatever it delivers next: what is published after this
    /// comes after it. Either everybody is told, or nobody, and of what is told at once all are told in the same order.
    ///
    /// # Errors
    /// [`Unannounced`], after as long as `within` at most.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it tells everybody or nobody.
    pub(crate) async fn announce(
        &self,
        room: &RoomName,
        what: What,
        after: Position,
        within: Duration,
    ) -> Result<(), Unannounced> {
        let event = Arc::new(Event { room: room.clone(), what, after });
        let bytes = event.bytes();
        // Relaxed: a figure. Several at once may each be let in; it is bounded all the same.
        let is_full = |way: &Arc<Way>| way.bytes.load(Relaxed) + bytes > self.bytes_max;
        if self.shards.iter().any(|way| !way.is_over() && is_full(way)) {
            return Err(Unannounced::Full);
        }
        let mut announcing = Announcing { event, ways: Vec::new(), taking: &self.taking };
        let mut answers = Vec::new();
        // Where no shard is yet, nobody is.
        for way in self.shards.iter().filter(|way| way.has_shard()) {
            let (reserve, has_space) = oneshot::channel();
            if way.send(&announcing.event, Step::Reserve(reserve)) {
                announcing.ways.push(way);
                answers.push(has_space);
            }
        }
        let all_have_space = async {
            for has_space in answers {
                // A shard that is over has nobody to tell.
                if !has_space.await.unwrap_or(true) {
                    return false;
                }
            }
            true
        };
        if timeout(within / 2, all_have_space).await != Ok(true) {
            return Err(Unannounced::Full);
        }
        timeout(within / 2, announcing.take()).await.map_err(|_| Unannounced::InTime)
    }
}

/// An event for which shards are asked to keep space. Unless they are to take it, they give that back.
struct Announcing<'a> {
    event: Arc<Event>,
    ways: Vec<&'a Way>,
    taking: &'a Mutex<()>,
}

impl Announcing<'_> {
    /// Has all shards take it at once; ready when they have.
    fn take(mut self) -> impl Future<Output = ()> {
        let mut answers = Vec::new();
        let taking = lock(self.taking);
        for way in std::mem::take(&mut self.ways) {
            let (take, is_taken) = oneshot::channel();
            way.send(&self.event, Step::Take(take));
            answers.push(is_taken);
        }
        drop(taking);
        async {
            for is_taken in answers {
                let _ = is_taken.await;
            }
        }
    }
}

impl Drop for Announcing<'_> {
    fn drop(&mut self) {
        for way in &self.ways {
            way.send(&self.event, Step::Release);
        }
    }
}

impl Way {
    fn has_shard(&self) -> bool {
        lock(&self.receiver).is_none()
    }

    /// Whether its shard takes nothing any more: what waits for it waits for nobody.
    fn is_over(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether anybody is there; nobody is any more when the server ends.
    fn send(&self, event: &Arc<Event>, step: Step) -> bool {
        // Relaxed: a figure.
        self.bytes.fetch_add(event.bytes(), Relaxed);
        self.sender.send(Coming { event: Arc::clone(event), step }).is_ok()
    }
}

/// Where what all members are given comes in.
pub(crate) struct InboxForAll {
    way: Arc<Way>,
    receiver: UnboundedReceiver<Coming>,
}

impl InboxForAll {
    /// What is to be done next, when there is something.
    pub(crate) async fn next(&mut self) -> Option<Coming> {
        let coming = self.receiver.recv().await?;
        // Relaxed: a figure.
        self.way.bytes.fetch_sub(coming.event.bytes(), Relaxed);
        Some(coming)
    }
}

impl fmt::Debug for ForAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForAll").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::join_leave::INBOX_BYTES_MAX;
    use roomcast::Epoch;
    use roomcast_protocol::{Payload, Publication};

    const WITHIN: Duration = Duration::from_secs(2);

    fn tell(ways: &Arc<ForAll>, bytes: usize) -> impl Future<Output = Result<(), Unannounced>> + use<> {
        let (ways, room) = (Arc::clone(ways), RoomName::parse("hall", 255).unwrap());
        let what = What::Message(Publication::new(Payload::opaque(vec![b' '; bytes].into()), None), 0);
        let after = Position { epoch: Epoch::from(1), sequence: 0 };
        async move { ways.announce(&room, what, after, WITHIN).await }
    }

    /// Answers whether there is space.
    async fn reserve(inbox: &mut InboxForAll, has_space: bool) {
        let Coming { step: Step::Reserve(reserve), .. } = inbox.next().await.unwrap() else { panic!("not first") };
        reserve.send(has_space).unwrap();
    }

    async fn is_released(inbox: &mut InboxForAll) -> bool {
        matches!(inbox.next().await.unwrap().step, Step::Release)
    }

    #[tokio::test(start_paused = true)]
    async fn all_shards_keep_space_before_any_takes_it() {
        let ways = Arc::new(ForAll::new(3, u64::MAX));
        assert_eq!(tell(&ways, 1).await, Ok(()), "where no shard is, nobody is");
        let (mut one, mut two) = (ways.inbox(1).unwrap(), ways.inbox(2).unwrap());
        assert!(ways.inbox(1).is_none(), "an inbox has one owner");
        let telling = tokio::spawn(tell(&ways, 1));
        reserve(&mut one, true).await;
        assert!(timeout(Duration::from_millis(1), one.next()).await.is_err(), "the other one has not said so");
        reserve(&mut two, true).await;
        for inbox in [&mut one, &mut two] {
            let Coming { event, step: Step::Take(take) } = inbox.next().await.unwrap() else { panic!("not second") };
            assert!(matches!(event.what, What::Message(..)) && !telling.is_finished(), "not all have it");
            take.send(()).unwrap();
        }
        assert_eq!(telling.await.unwrap(), Ok(()));
        drop((one, two));
        assert_eq!(tell(&ways, 1).await, Ok(()), "the shards are over");
    }

    #[tokio::test(start_paused = true)]
    async fn where_one_shard_has_no_space_or_stands_still_none_takes_it() {
        let ways = Arc::new(ForAll::new(2, u64::MAX));
        let (mut one, mut two) = (ways.inbox(0).unwrap(), ways.inbox(1).unwrap());
        for stands_still in [false, true] {
            let telling = tokio::spawn(tell(&ways, 1));
            reserve(&mut one, true).await;
            if !stands_still {
                reserve(&mut two, false).await;
            }
            assert_eq!(telling.await.unwrap(), Err(Unannounced::Full));
            assert!(is_released(&mut one).await);
            if stands_still {
                // When it goes on: nobody waits for what it says.
                let Coming { step: Step::Reserve(reserve), .. } = two.next().await.unwrap() else {
                    panic!("not first")
                };
                assert!(reserve.send(true).is_err());
            }
            assert!(is_released(&mut two).await);
        }
        // Whoever publishes breaks off.
        let telling = tokio::spawn(tell(&ways, 1));
        reserve(&mut one, true).await;
        telling.abort();
        assert!(is_released(&mut one).await, "nothing is kept for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_has_space_and_takes_it_late_is_told_apart() {
        let ways = Arc::new(ForAll::new(1, u64::MAX));
        let mut inbox = ways.inbox(0).unwrap();
        let telling = tokio::spawn(tell(&ways, 1));
        reserve(&mut inbox, true).await;
        assert_eq!(telling.await.unwrap(), Err(Unannounced::InTime));
        assert!(matches!(inbox.next().await.unwrap().step, Step::Take(_)), "and takes it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_shard_is_bounded() {
        let ways = Arc::new(ForAll::new(1, u64::MAX));
        let mut inbox = ways.inbox(0).unwrap();
        let waiting = tokio::spawn(tell(&ways, INBOX_BYTES_MAX / 2));
        tokio::task::yield_now().await;
        assert_eq!(tell(&ways, INBOX_BYTES_MAX / 2).await, Err(Unannounced::Full), "it is told at once");
        reserve(&mut inbox, true).await;
        assert!(!waiting.is_finished());
        drop(inbox);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        for _ in 0..4 {
            assert_eq!(tell(&ways, INBOX_BYTES_MAX / 2).await, Ok(()), "for a shard that is over nothing waits");
        }
    }

    #[test]
    fn all_shards_take_what_is_told_at_once_in_the_same_order() {
        const EACH: usize = 1_000;
        let ways = Arc::new(ForAll::new(4, u64::MAX));
        let inboxes: Vec<_> = (0..4).map(|shard| ways.inbox(shard).unwrap()).collect();
        let take_all = |mut inbox: InboxForAll| async move {
            let mut taken = Vec::new();
            while taken.len() < 2 * EACH {
                let Coming { event, step } = inbox.next().await.unwrap();
                match step {
                    Step::Reserve(reserve) => reserve.send(true).unwrap(),
                    Step::Take(take) => {
                        taken.push(event.bytes());
                        take.send(()).unwrap();
                    }
                    Step::Release => panic!("there is space"),
                }
            }
            taken
        };
        // Each message is told from the others by its size.
        let tell_all = async |of: usize| {
            for nth in 0..EACH {
                tell(&ways, of * EACH + nth).await.unwrap();
            }
        };
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let orders: Vec<_> = std::thread::scope(|scope| {
            for publisher in 0..2 {
                let tell_all = &tell_all;
                scope.spawn(move || runtime().block_on(tell_all(publisher)));
            }
            let shards: Vec<_> =
                inboxes.into_iter().map(|inbox| scope.spawn(move || runtime().block_on(take_all(inbox)))).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).collect()
        });
        assert!(orders.iter().all(|order| *order == orders[0]), "one order for all");
    }
}
