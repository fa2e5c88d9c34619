//! Lines of one kind: so many in a time are written, the rest is counted, and the count is told.
//!
//! Most lines are about what strangers do, and whoever can make a server write a line can make it write a million.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::cut;
use crate::util::panics::lock;

/// The time in which lines of a kind are counted.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Decides which lines are left out. A kind is a place in the program.
#[derive(Debug)]
pub(super) struct Repeats {
    /// Lines of a kind in [`WINDOW`]; 0 is no limit.
    max: AtomicU64,
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    written: u64,
    left_out: u64,
    /// What such a line says.
    like: String,
}

impl Repeats {
    pub(super) fn new(max: u64) -> Self {
        Self { max: AtomicU64::new(max), kinds: Mutex::default() }
    }

    /// Counts by another limit from here on.
    pub(super) fn limit(&self, max: u64) {
        self.max.store(max, Relaxed);
    }

    /// Tells what was left out of kinds whose time is over; true when nothing more can be told without another line.
    pub(super) fn tell(&self, now: Instant) -> bool {
        let is_over = |kind: &Kind| now.duration_since(kind.since) >= WINDOW;
        self.tell_of(is_over);
        let mut kinds = self.kinds();
        kinds.retain(|_, kind| !is_over(kind) || kind.left_out > 0);
        kinds.is_empty()
    }

    /// Tells all that was left out.
    pub(super) fn tell_all(&self) {
        self.tell_of(|_| true);
    }

    fn tell_of(&self, is_due: impl Fn(&Kind) -> bool) {
        let take = |kind: &mut Kind| (std::mem::take(&mut kind.left_out), std::mem::take(&mut kind.like));
        let due: Vec<_> =
            self.kinds().values_mut().filter(|kind| kind.left_out > 0 && is_due(kind)).map(take).collect();
        for (left_out, like) in due {
            tracing::warn!(left_out, like, "lines of one kind were left out of the log");
        }
    }

    fn admits(&self, event: &Event<'_>, now: Instant) -> bool {
        // Relaxed: nothing else hangs on it.
        let max = self.max.load(Relaxed);
        if max == 0 {
            return true;
        }
        let mut kinds = self.kinds();
        let kind = kinds.entry(event.metadata().callsite()).or_insert_with(|| Kind::begun(now));
        if now.duration_since(kind.since) >= WINDOW && kind.left_out == 0 {
            *kind = Kind::begun(now);
        }
        if kind.written < max {
            kind.written += 1;
            return true;
        }
        if kind.left_out == 0 {
            kind.like = message_of(event);
        }
        kind.left_out += 1;
        false
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        lock(&self.kinds)
    }
}

impl Kind {
    fn begun(since: Instant) -> Self {
        Self { since, written: 0, left_out: 0, like: String::new() }
    }
}

/// The text of a line, without its fields.
fn message_of(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = cut(format!("{value:?}").as_bytes());
            }
        }
    }
    let mut message = Message(event.metadata().target().to_owned());
    event.record(&mut message);
    message.0
}

/// Leaves lines out of what is written.
pub(super) struct LeaveOut(pub(super) Arc<Repeats>);

impl<S: Subscriber> Layer<S> for LeaveOut {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(event, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::ops::logging::written::Written;

    #[test]
    fn a_flood_of_one_kind_is_counted_and_other_kinds_are_written() {
        let (written, repeats) = (Written::default(), Arc::new(Repeats::new(3)));
        let out = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || out.clone());
        let subscriber = tracing_subscriber::registry().with(layer).with(LeaveOut(Arc::clone(&repeats)));
        let start = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            for count in 0..1_000 {
                tracing::warn!(count, "a stranger knocked");
            }
            tracing::warn!("somebody else spoke");
            assert!(!repeats.tell(start), "the time of these is not over");
            assert!(repeats.tell(start + 3 * WINDOW));
        });
        let text = written.text();
        assert_eq!(text.matches("a stranger knocked count=").count(), 3, "{text}");
        assert!(text.contains("somebody else spoke"), "{text}");
        assert!(text.contains("left_out=997 like=\"a stranger knocked\""), "{text}");
    }

    #[test]
    fn without_a_limit_nothing_is_left_out() {
        let (written, repeats) = (Written::default(), Arc::new(Repeats::new(0)));
        let out = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || out.clone());
        let subscriber = tracing_subscriber::registry().with(layer).with(LeaveOut(repeats));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..1_000 {
                tracing::warn!("a stranger knocked");
            }
        });
        let text = written.text();
        assert_eq!(text.lines().count(), 1_000);
    }
}
