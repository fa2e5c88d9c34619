//! Connections that cannot take commands: each command comes in a request of its own, on any shard, and finds its session here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::util::key::ConnectionKey;
use roomcast::internal::Striped;

/// Commands that wait for a shard; whoever sends one more waits.
const COMMANDS_MAX: usize = 1_024;

/// Commands for a connection, on their way to its shard.
#[derive(Debug)]
pub(crate) struct ShardCommand {
    pub(crate) to: ConnectionKey,
    pub(crate) frame: Bytes,
}

/// The emulated sessions of a server, by their secret names.
#[derive(Debug)]
pub(crate) struct Emulation {
    sessions: Striped<HashMap<Box<str>, Address>>,
    shards: Box<[Shard]>,
}

#[derive(Debug)]
struct Shard {
    commands: mpsc::Sender<ShardCommand>,
    mailbox: Mutex<Option<mpsc::Receiver<ShardCommand>>>,
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
            let (commands, mailbox) = mpsc::channel(COMMANDS_MAX);
            Shard { commands, mailbox: Mutex::new(Some(mailbox)) }
        };
        Self { sessions: Striped::default(), shards: (0..shards).map(shard).collect() }
    }

    /// What comes for the connections of a shard; once.
    pub(crate) fn mailbox(&self, shard: usize) -> Option<mpsc::Receiver<ShardCommand>> {
        self.shards[shard].mailbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// From here on `session` is found.
    pub(crate) fn register(&self, session: &str, shard: usize, connection: ConnectionKey) {
        self.sessions.of(session).insert(session.into(), Address { shard, connection });
    }

    /// The session has ended.
    pub(crate) fn forget(&self, session: &str) {
        self.sessions.of(session).remove(session);
    }

    /// Hands over commands, waiting while too many wait for the shard.
    ///
    /// # Errors
    /// [`NoSession`].
    pub(crate) async fn send(&self, session: &str, frame: Bytes) -> Result<(), NoSession> {
        let address = self.sessions.of(session).get(session).copied();
        let Address { shard, connection: to } = address.ok_or(NoSession)?;
        self.shards[shard].commands.send(ShardCommand { to, frame }).await.map_err(|_| NoSession)
    }
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
        let command = mailbox.recv().await.expect("a letter");
        assert_eq!((command.to, &command.frame[..]), (key, &b"{}"[..]));
        emulation.forget("secret");
        assert_eq!(emulation.send("secret", Bytes::new()).await, Err(NoSession));
    }
}
