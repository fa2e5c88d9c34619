//! Connections that cannot take commands: each command comes in a request of its own, on any shard, and finds its session here.

use std::collections::HashMap;

use bytes::Bytes;

use crate::rooms::shard_commands::{ShardCommand, ShardCommands, To};
use crate::util::key::ConnectionAddress;
use roomcast::internal::Striped;

/// The emulated sessions of a server, by their secret names.
#[derive(Debug, Default)]
pub(crate) struct Emulation {
    sessions: Striped<HashMap<Box<str>, ConnectionAddress>>,
}

/// There is no session of that name; perhaps it has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSession;

impl Emulation {
    /// From here on `session` is found.
    pub(crate) fn register(&self, session: &str, address: ConnectionAddress) {
        self.sessions.of(session).insert(session.into(), address);
    }

    /// The session has ended.
    pub(crate) fn forget(&self, session: &str) {
        self.sessions.of(session).remove(session);
    }

    /// Hands over commands of a session's client, waiting while too many wait for its shard.
    ///
    /// # Errors
    /// [`NoSession`].
    pub(crate) async fn send(&self, shards: &ShardCommands, session: &str, frame: Bytes) -> Result<(), NoSession> {
        let address = self.sessions.of(session).get(session).copied();
        let ConnectionAddress { shard, key } = address.ok_or(NoSession)?;
        shards.send(shard, To::Connection(key), ShardCommand::Frame(frame)).await.map_err(|_| NoSession)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::key::ConnectionKey;

    #[tokio::test]
    async fn commands_find_their_session_until_it_has_ended() {
        let (emulation, shards) = (Emulation::default(), ShardCommands::new(2));
        let mut inbox = shards.inbox(1).expect("an inbox");
        let key = ConnectionKey { slot: 3, number: 7 };
        emulation.register("secret", ConnectionAddress { shard: 1, key });
        assert_eq!(emulation.send(&shards, "other", Bytes::new()).await, Err(NoSession));
        assert_eq!(emulation.send(&shards, "secret", "{}".into()).await, Ok(()));
        let sent = inbox.next().await.expect("a command");
        assert_eq!((sent.to, sent.command), (To::Connection(key), ShardCommand::Frame("{}".into())));
        emulation.forget("secret");
        assert_eq!(emulation.send(&shards, "secret", Bytes::new()).await, Err(NoSession));
    }
}
