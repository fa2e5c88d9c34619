//! What an archive keeps, how safely, and for how long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How safely the messages of a room are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Soon after they were published. What was published in the last moments before a crash may be missing.
    #[default]
    Async,
    /// On the disk when [`Watermark`](super::Watermark) says so: for rooms whose messages are acknowledged or delivered
    /// after that only.
    Stored,
}

/// How long stored messages are kept. By default for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// For how long after they were published, on a broker's clock that counts milliseconds.
    pub ttl: Option<Duration>,
    /// How many of a room at most.
    pub messages_max: Option<u64>,
}

impl Retention {
    /// Whether anything is ever let go.
    #[must_use]
    pub fn is_bounded(self) -> bool {
        self.ttl.is_some() || self.messages_max.is_some()
    }
}

type ByRoom<R> = Arc<dyn Fn(&str) -> R + Send + Sync>;

/// Which rooms are kept and how: for [`Archive::start`](super::Archive::start).
#[derive(Clone)]
pub struct Options {
    pub(super) durability: ByRoom<Option<Durability>>,
    pub(super) retention: ByRoom<Retention>,
    pub(super) retains_all: bool,
    pub(super) batch_messages_max: usize,
    pub(super) batch_bytes_max: usize,
    pub(super) batch_delay: Duration,
    pub(super) clock: Option<ByRoom<u64>>,
}

/// Messages committed at once at most: enough that what a commit costs by itself no longer counts, little enough that those
/// who wait for one wait some ten milliseconds.
const BATCH_MESSAGES_MAX: usize = 8_192;

/// Bytes after which a batch takes no more messages. The archive holds one such batch in memory.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// How long messages gather that nobody waits for.
const BATCH_DELAY: Duration = Duration::from_millis(5);

impl Options {
    /// Every room is kept with that durability, for good.
    pub fn all(durability: Durability) -> Self {
        Self::by_room(move |_| Some(durability))
    }

    /// Rooms are kept as `durability` says of their names, `None` not at all. It is asked by whoever opens a room: it must be
    /// quick, and always say the same of the same name.
    pub fn by_room(durability: impl Fn(&str) -> Option<Durability> + Send + Sync + 'static) -> Self {
        Self {
            durability: Arc::new(durability),
            retention: Arc::new(|_| Retention::default()),
            retains_all: true,
            batch_messages_max: BATCH_MESSAGES_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
            batch_delay: BATCH_DELAY,
            clock: None,
        }
    }

    /// How long the messages of a room are kept. Reading sees nothing older; it is taken out of the store once a minute.
    /// `clock` is the broker's, in milliseconds.
    #[must_use]
    pub fn retention(
        mut self,
        retention: impl Fn(&str) -> Retention + Send + Sync + 'static,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.retention = Arc::new(retention);
        self.clock = Some(Arc::new(move |_| clock()));
        self.retains_all = false;
        self
    }

    /// Messages committed at once at most. Default 8,192.
    #[must_use]
    pub fn batch_messages_max(mut self, messages: usize) -> Self {
        self.batch_messages_max = messages.max(1);
        self
    }

    /// Bytes of bodies after which a batch takes no more messages: it is larger by one message at most. Default 4 MiB.
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.batch_bytes_max = bytes.max(1);
        self
    }

    /// How long messages may gather that nobody waits for. Default 5 ms. Messages of [`Durability::Stored`] do not wait for
    /// others: they gather while the batch before them is written.
    #[must_use]
    pub fn batch_delay(mut self, delay: Duration) -> Self {
        self.batch_delay = delay;
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("batch_messages_max", &self.batch_messages_max)
            .field("batch_bytes_max", &self.batch_bytes_max)
            .field("batch_delay", &self.batch_delay)
            .finish_non_exhaustive()
    }
}
