//! Connections that cannot take commands: each command comes in a request of its own, on any shard, and finds its session here.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::connection::ConnectionKey;

/// Stripes of the register; far more than shards, so that two shards seldom want the same one.
const STRIPES: usize = 64;

/// Letters that wait for a shard; who writes one more waits.
const LETTERS_MAX: usize = 1_024;

/// Commands for a connection, on their way to its shard.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) to: ConnectionKey,
    pub(crate) frame: Bytes,
}

/// The emulated sessions of a server, by their secret names.
#[derive(Debug)]
pub(crate) struct Emulation {
    hasher: RandomState,
    stripes: Box<[Mutex<Stripe>]>,
    shards: Box<[Shard]>,
}

type Stripe = HashMap<Box<str>, Address>;

#[derive(Debug)]
struct Shard {
    letters: mpsc::Sender<Letter>,
    mailbox: Mutex<Option<mpsc::Receiver<Letter>>>,
}

#[derive(Clone, Copy, Debug)]
struct Address {
    shard: usize,
    connection: ConnectionKey,
}

/// There is no session of that name; perhaps it has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSession;

impl Emulation {
    pub(crate) fn new(shards: usize) -> Self {
        let shard = |_| {
            let (letters, mailbox) = mpsc::channel(LETTERS_MAX);
            Shard { letters, mailbox: Mutex::new(Some(mailbox)) }
        };
        Self {
            hasher: RandomState::new(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            shards: (0..shards).map(shard).collect(),
        }
    }

    /// What comes for the connections of a shard; once.
    pub(crate) fn mailbox(&self, shard: usize) -> Option<mpsc::Receiver<Letter>> {
        lock(&self.shards[shard].mailbox).take()
    }

    /// From here on `session` is found.
    pub(crate) fn register(&self, session: &str, shard: usize, connection: ConnectionKey) {
        self.stripe(session).insert(session.into(), Address { shard, connection });
    }

    /// The session has ended.
    pub(crate) fn forget(&self, session: &str) {
        self.stripe(session).remove(session);
    }

    /// Hands over commands, waiting while the shard has too many letters.
    ///
    /// # Errors
    /// [`NoSession`].
    pub(crate) async fn send(&self, session: &str, frame: Bytes) -> Result<(), NoSession> {
        let address = self.stripe(session).get(session).copied();
        let Address { shard, connection: to } = address.ok_or(NoSession)?;
        self.shards[shard].letters.send(Letter { to, frame }).await.map_err(|_| NoSession)
    }

    fn stripe(&self, session: &str) -> MutexGuard<'_, Stripe> {
        lock(&self.stripes[self.hasher.hash_one(session) as usize % STRIPES])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single operation, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commands_find_their_session_until_it_has_ended() {
        let emulation = Emulation::new(2);
        let mut mailbox = emulation.mailbox(1).expect("a mailbox");
        assert!(emulation.mailbox(1).is_none(), "a mailbox has one owner");
        let key = ConnectionKey { slot: 3, number: 7 };
        emulation.register("secret", 1, key);
        assert_eq!(emulation.send("other", Bytes::new()).await, Err(NoSession));
        assert_eq!(emulation.send("secret", "{}".into()).await, Ok(()));
        let letter = mailbox.recv().await.expect("a letter");
        assert_eq!((letter.to, &letter.frame[..]), (key, &b"{}"[..]));
        emulation.forget("secret");
        assert_eq!(emulation.send("secret", Bytes::new()).await, Err(NoSession));
    }
}
