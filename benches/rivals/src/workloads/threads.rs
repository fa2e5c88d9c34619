//! L3 and L5: publishers on one core, readers on another, and how many messages a second get across.
//!
//! Nothing is lost on the way: where a publisher would overrun its readers, it waits until they are less than a ring
//! behind. Who gates does that by itself.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::machine::{back_off, cores, pin};

use crate::contenders::{CAPACITY, Contender, Shares, Sleeps};
use crate::tally::{Payload, Tally};

/// How a reader waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wait {
    /// It asks again at once.
    Spin,
    /// It pauses for 32 `pause`s first.
    BackOff,
    /// It backs off, and now and then gives up its core: for more threads than cores.
    Yield,
}

/// A number on a cache line of its own, so that what is measured shares none with what measures it.
#[repr(align(128))]
#[derive(Default)]
struct Padded(AtomicU64);

/// How often a reader tells how far it has come, and how many messages a publisher sends between two looks at that.
const STEP: u64 = 64;

/// How far publishers may be ahead: with as much again, no message is lost before it was read.
const AHEAD_MAX: u64 = CAPACITY as u64 / 2;

/// What publishers and readers share: the numbers still to be sent, and how far everybody is.
struct Course {
    /// The number that is to be sent next; publishers draw a step at a time. The top bit says that no more are.
    drawn: Padded,
    /// The number of messages in all; known before the last are sent.
    end: Padded,
    /// How far each reader has come.
    progress: Vec<Padded>,
}

const CLOSED: u64 = 1 << 63;

impl Course {
    fn new(readers: usize) -> Arc<Self> {
        let progress = (0..readers).map(|_| Padded::default()).collect();
        Arc::new(Self { drawn: Padded::default(), end: Padded(AtomicU64::new(u64::MAX)), progress })
    }

    /// The first of the numbers to send next, the last ones if `is_last`; nothing when all were drawn.
    fn draw(&self, is_last: bool) -> Option<u64> {
        let first = self.drawn.0.fetch_add(STEP + if is_last { CLOSED } else { 0 }, Relaxed);
        if is_last {
            self.end.0.store(first + STEP, Relaxed);
        }
        (first < CLOSED).then_some(first)
    }

    fn slowest(&self) -> u64 {
        self.progress.iter().map(|progress| progress.0.load(Acquire)).min().unwrap_or(u64::MAX)
    }

    fn end(&self) -> u64 {
        self.end.0.load(Relaxed)
    }
}

/// Publishes what it draws, in batches; the first of several publishers ends the run when the time is up.
fn publish<T: Payload, C: Contender<T>>(
    publisher: &mut C::Publisher,
    course: &Course,
    nth: usize,
    batch: usize,
    time: Duration,
    wait: Wait,
) {
    let begin = Instant::now();
    let (mut is_over, mut slowest) = (false, 0);
    for steps in 1_u32.. {
        is_over = is_over || nth == 0 && steps % 16 == 0 && begin.elapsed() > time;
        let Some(first) = course.draw(is_over) else { return };
        // Who gates spins while it waits, which helps nobody where others wait for its core.
        while (!C::IS_GATED || wait == Wait::Yield) && (first + STEP).saturating_sub(slowest) > AHEAD_MAX {
            slowest = course.slowest();
            if (first + STEP).saturating_sub(slowest) <= AHEAD_MAX {
                break;
            }
            match wait {
                Wait::Yield => thread::yield_now(),
                _ => spin_loop(),
            }
        }
        for number in (first..first + STEP).step_by(batch) {
            if batch == 1 {
                C::publish(publisher, T::make(number));
            } else {
                C::publish_batch(publisher, number, batch);
            }
        }
        if is_over {
            return;
        }
    }
}

fn reader<T: Payload, C: Contender<T>>(
    mut reader: C::Reader,
    course: Arc<Course>,
    nth: usize,
    core: usize,
    mut read: impl FnMut(&mut C::Reader, &mut Tally) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        pin(core);
        let (mut tally, mut told) = (Tally::from(0), 0);
        while tally.next() < course.end() {
            read(&mut reader, &mut tally);
            if tally.next() - told >= STEP {
                told = tally.next();
                // Release: the publisher overwrites only what we have read.
                course.progress[nth].0.store(told, Release);
            }
        }
        tally.check(course.end());
        assert_eq!(tally.lagged(), 0, "nobody was overrun");
        C::compare(&reader, &tally);
        course.progress[nth].0.store(u64::MAX, Release);
    })
}

/// Messages a second, in millions, from one publisher to one reader that never sleeps.
pub fn across<T: Payload, C: Contender<T>>(batch: usize, wait: Wait, time: Duration) -> f64 {
    one_to_one::<T, C>(batch, time, move |reader, tally| {
        if C::read(reader, tally) == 0 && wait != Wait::Spin {
            back_off();
        }
    })
}

/// The same to a reader that sleeps while there is nothing.
pub fn across_sleeping<T: Payload, C: Sleeps<T>>(batch: usize, time: Duration) -> f64 {
    one_to_one::<T, C>(batch, time, |reader, tally| C::read_blocking(reader, tally))
}

fn one_to_one<T: Payload, C: Contender<T>>(
    batch: usize,
    time: Duration,
    read: impl FnMut(&mut C::Reader, &mut Tally) + Send + 'static,
) -> f64 {
    let (mut publisher, mut readers) = C::open(1);
    let course = Course::new(1);
    let only = readers.pop().expect("one was asked for");
    let reading = reader::<T, C>(only, course.clone(), 0, 1, read);
    pin(0);
    let begin = Instant::now();
    publish::<T, C>(&mut publisher, &course, 0, batch, time, Wait::Spin);
    reading.join().expect("the reader's books are right");
    millions(course.end(), begin)
}

/// Messages a second, in millions, from some publishers to some readers, each of which gets all.
pub fn many_to_many<T: Payload, C: Shares<T>>(publishers: usize, readers: usize, time: Duration) -> f64 {
    let (publisher, opened) = C::open(readers);
    let course = Course::new(readers);
    let wait = if publishers + readers > cores().len() { Wait::Yield } else { Wait::BackOff };
    let reading = (0..).zip(opened).map(|(nth, opened)| {
        let mut looks = 0_u32;
        reader::<T, C>(opened, course.clone(), nth, 1 + nth, move |reader, tally| {
            if C::read(reader, tally) == 0 {
                back_off();
                looks += 1;
                if wait == Wait::Yield && looks.is_multiple_of(4) {
                    thread::yield_now();
                }
            }
        })
    });
    let reading: Vec<_> = reading.collect();
    let begin = Instant::now();
    thread::scope(|scope| {
        for nth in 0..publishers {
            let (mut publisher, course) = (C::another(&publisher), &course);
            scope.spawn(move || {
                pin(nth);
                publish::<T, C>(&mut publisher, course, nth, 1, time, wait);
            });
        }
    });
    reading.into_iter().for_each(|reading| reading.join().expect("the reader's books are right"));
    millions(course.end(), begin)
}

fn millions(messages: u64, begin: Instant) -> f64 {
    messages as f64 / begin.elapsed().as_secs_f64() / 1e6
}
