//! Saying that this process is still at it, while it does something that takes its time and cannot be left for a word in between.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::channel::Channel;
use super::message::Message;

/// How often it is said.
pub(crate) const SAID_EVERY: Duration = Duration::from_secs(1);
/// How long either process may be at one step, as long as it says that it is: longer than the largest databases take to be brought up to
/// date, and short enough that a server that hangs is started again before somebody does it by hand.
pub(crate) const AT_WORK_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long the other end may take to have place for a few bytes. One that has none has heard enough.
const TAKEN_WITHIN: Duration = Duration::from_secs(1);

/// Says it again and again, from a thread of its own, until this is dropped; then nothing more comes of it.
#[derive(Debug)]
pub(crate) struct AtWork {
    /// Nobody says anything into it.
    until: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AtWork {
    /// Tells whoever is at the other end of that. Where no thread is to be had nobody is told, and the other end goes by its patience.
    pub(crate) fn told(channel: &Channel) -> Self {
        Self::told_every(SAID_EVERY, channel)
    }

    fn told_every(every: Duration, channel: &Channel) -> Self {
        let (until, is_over) = mpsc::channel::<()>();
        let thread = channel.once_more().and_then(|mut channel| {
            let says = move || {
                while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout)
                    && channel.say(Message::Working, TAKEN_WITHIN).is_ok()
                {}
            };
            thread::Builder::new().name("roomcast-at-work".to_owned()).spawn(says)
        });
        let thread =
            thread.inspect_err(|error| tracing::warn!(%error, "the other process is not told how it goes")).ok();
        Self { until: Some(until), thread }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        drop(self.until.take());
        if let Some(thread) = self.thread.take() {
            // What it was about to say is said: the next word is somebody else's.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::handover::channel::Failure;

    #[test]
    fn it_is_said_until_it_is_over_and_never_afterwards() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Channel::new(one).unwrap(), Channel::new(other).unwrap());
        let soon = Duration::from_secs(20);
        let at_work = AtWork::told_every(Duration::from_millis(1), &one);
        for _ in 0..3 {
            assert_eq!(other.hear(soon).unwrap(), Message::Working);
        }
        drop(at_work);
        one.say(Message::Serves, soon).unwrap();
        drop(one);
        while other.hear(soon).unwrap() != Message::Serves {}
        assert!(matches!(other.hear(soon), Err(Failure::Gone)), "nothing came behind, and nobody holds the other end");
    }

    #[test]
    fn who_is_not_heard_any_more_does_not_hang() {
        let (one, other) = UnixStream::pair().unwrap();
        let one = Channel::new(one).unwrap();
        drop(other);
        drop(AtWork::told_every(Duration::from_millis(1), &one));
    }
}
