//! Waiting for many connections at once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

/// Connections that are waited for, by number. Each is told as long as it can be read, and, where something waits to be written,
/// as long as it can be written to.
#[derive(Debug)]
pub struct Poller(OwnedFd);

/// A connection that something can be done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// The number it was added with.
    pub index: usize,
    /// Whether reading finds something, be it the end.
    pub can_read: bool,
    /// Whether writing does.
    pub can_write: bool,
}

/// What one wait told. An empty one takes no memory, so that it can be taken from whoever owns it while it is gone through.
#[derive(Default)]
pub struct Events(Vec<epoll::Event>);

impl Poller {
    /// Of no connections.
    ///
    /// # Errors
    /// What the system says, here and below.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Waits for a connection from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&self, connection: &impl AsFd, index: usize, is_blocked: bool) -> io::Result<()> {
        Ok(epoll::add(&self.0, connection, EventData::new_u64(index as u64), flags(is_blocked))?)
    }

    /// Tells of a connection that something waits to be written now, or that nothing does any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn update(&self, connection: &impl AsFd, index: usize, is_blocked: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.0, connection, EventData::new_u64(index as u64), flags(is_blocked))?)
    }

    /// Waits for it no longer.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, connection: &impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, connection)?)
    }

    /// Waits until something can be done, but no longer than that.
    ///
    /// # Errors
    /// What the system says; being interrupted is none.
    pub fn wait(&self, events: &mut Events, longest: Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: i64::from(longest.subsec_nanos()) };
        events.0.clear();
        match epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events.0), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn flags(is_blocked: bool) -> EventFlags {
    let mut flags = EventFlags::IN;
    flags.set(EventFlags::OUT, is_blocked);
    flags
}

impl Events {
    /// Room for so many connections at once; the others are told with the next wait.
    #[must_use]
    pub fn with_capacity(connections: usize) -> Self {
        Self(Vec::with_capacity(connections))
    }

    /// What was told.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Ready> {
        self.0.iter().map(|event| {
            let flags = event.flags;
            Ready {
                index: event.data.u64() as usize,
                can_read: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
                can_write: flags.contains(EventFlags::OUT),
            }
        })
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
