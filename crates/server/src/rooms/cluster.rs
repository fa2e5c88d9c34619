//! The way to the connections of a server, on whatever nodes they are: one node today, which is asked as several would be.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::auth::STAY_MAX_MS;
use crate::rooms::emulation::{Emulation, NoSession};
use crate::rooms::engine::Answer;
use crate::rooms::shard_commands::{ShardCommand, ShardCommands};
use crate::rooms::users::Recipients;
use crate::session::{ServerCommand, SubscribeOptions};
use crate::wire::disconnect::Disconnect;
use roomcast_protocol::{CloseCode, RoomName, UnsubscribeCode};

/// How long nodes may take to answer. A shard takes a command in a turn; one that does not in this time has stood still.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What every node is asked to do.
#[derive(Clone, Debug)]
pub(crate) enum NodeCommand {
    /// Take a frame to the emulated session of that name.
    Frame { session: String, frame: Bytes },
    /// Command those of its connections.
    Connections { recipients: Recipients, command: ShardCommand },
    /// Count who is in which room.
    Census,
    /// Take back what is on its way to members of that room, and what that user has said there without a place.
    Recall { room: RoomName, user: Option<String> },
}

/// What a node says when it has done it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeAnswer {
    /// Its shards have been told.
    Done,
    /// It has no such session.
    NoSession,
    /// So many are in those rooms.
    Census(BTreeMap<RoomName, u32>),
}

/// The nodes that are one server.
pub(crate) trait Cluster: fmt::Debug + Send + Sync {
    /// Sends a command to all nodes, this one among them, and gathers what they answer `within` that time. A node of which there
    /// is no answer may do it all the same. Commands of one sender reach a node in their order.
    fn send(&self, command: NodeCommand, within: Duration) -> Answer<Vec<NodeAnswer>>;
}

/// The connections of this node, and the ways to them.
#[derive(Debug)]
pub(crate) struct LocalNode {
    pub(crate) commands: ShardCommands,
    pub(crate) emulation: Emulation,
}

impl LocalNode {
    pub(crate) fn new(shards: usize) -> Self {
        Self { commands: ShardCommands::new(shards), emulation: Emulation::default() }
    }

    async fn obey(&self, command: NodeCommand) -> NodeAnswer {
        match command {
            NodeCommand::Frame { session, frame } => match self.emulation.send(&self.commands, &session, frame).await {
                Ok(()) => NodeAnswer::Done,
                Err(NoSession) => NodeAnswer::NoSession,
            },
            NodeCommand::Connections { recipients, command } => {
                self.commands.send_to(&recipients, command).await;
                NodeAnswer::Done
            }
            NodeCommand::Census => NodeAnswer::Census(self.commands.census().await),
            NodeCommand::Recall { room, user } => {
                self.commands.recall(&room, user.as_deref()).await;
                NodeAnswer::Done
            }
        }
    }
}

/// A cluster of this node alone.
#[derive(Debug)]
pub(crate) struct OneNode(pub(crate) Arc<LocalNode>);

impl Cluster for OneNode {
    fn send(&self, command: NodeCommand, within: Duration) -> Answer<Vec<NodeAnswer>> {
        let node = Arc::clone(&self.0);
        Answer::later(async move { timeout(within, node.obey(command)).await.into_iter().collect() })
    }
}

/// Commands the connections of a server.
///
/// For the tests of this repository and what is built into the server; promised to nobody.
#[derive(Clone, Debug)]
pub struct Commands(Arc<dyn Cluster>);

/// Why commands of a session were not taken to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Nobody has a session of that name; perhaps it has just ended.
    NoSession,
    /// Its shard has taken nothing for [`ANSWER_WITHIN`].
    Busy,
}

/// A command was not taken in time: some of the connections that it is for have not been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold;

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("some connections have not been told: their shard takes nothing")
    }
}

impl std::error::Error for Untold {}

impl Commands {
    pub(crate) fn new(cluster: impl Cluster + 'static) -> Self {
        Self(Arc::new(cluster))
    }

    /// Takes a frame of commands to the emulated session of that name.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) async fn take_frame(&self, session: String, frame: Bytes) -> Result<(), NotTaken> {
        let answers = self.0.send(NodeCommand::Frame { session, frame }, ANSWER_WITHIN).wait().await;
        match &answers[..] {
            [] => Err(NotTaken::Busy),
            answers if answers.contains(&NodeAnswer::Done) => Ok(()),
            _ => Err(NotTaken::NoSession),
        }
    }

    /// Closes connections with `code`.
    ///
    /// This and what follows return when the shards have been told, which is before the clients are.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn disconnect(&self, recipients: &Recipients, code: CloseCode) -> Result<(), Untold> {
        self.disconnect_with(recipients, code.into()).await
    }

    /// The same with whatever is to be said.
    pub(crate) async fn disconnect_with(&self, recipients: &Recipients, disconnect: Disconnect) -> Result<(), Untold> {
        self.send(recipients, ShardCommand::Disconnect(disconnect)).await
    }

    /// How many are in each room.
    ///
    /// # Errors
    /// [`Untold`]: some could not be asked.
    pub(crate) async fn census(&self) -> Result<BTreeMap<RoomName, u32>, Untold> {
        let answers = self.0.send(NodeCommand::Census, ANSWER_WITHIN).wait().await;
        if answers.is_empty() {
            return Err(Untold);
        }
        let mut members = BTreeMap::new();
        for answer in answers {
            let NodeAnswer::Census(of_node) = answer else { continue };
            for (room, count) in of_node {
                *members.entry(room).or_insert(0) += count;
            }
        }
        Ok(members)
    }

    /// Takes back what is on its way to members of a room: something of it was erased, single messages or what that user has said.
    ///
    /// # Errors
    /// [`Untold`]: some may be given it yet.
    pub(crate) async fn recall(&self, room: RoomName, user: Option<String>) -> Result<(), Untold> {
        let answers = self.0.send(NodeCommand::Recall { room, user }, ANSWER_WITHIN).wait().await;
        if answers.is_empty() { Err(Untold) } else { Ok(()) }
    }

    /// Puts clients into a room, whether they might enter by themselves or not; who is in it stays as it is.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn subscribe(&self, recipients: &Recipients, room: RoomName) -> Result<(), Untold> {
        self.subscribe_with(recipients, room, None).await
    }

    /// The same with whatever is said of it.
    pub(crate) async fn subscribe_with(
        &self,
        recipients: &Recipients,
        room: RoomName,
        options: Option<Box<SubscribeOptions>>,
    ) -> Result<(), Untold> {
        self.send(recipients, ShardCommand::Session(ServerCommand::Subscribe { room, options })).await
    }

    /// Takes clients out of a room.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn unsubscribe(
        &self,
        recipients: &Recipients,
        room: RoomName,
        code: UnsubscribeCode,
    ) -> Result<(), Untold> {
        self.send(recipients, ShardCommand::Session(ServerCommand::Unsubscribe { room, code })).await
    }

    /// Lets connections stay for that long from now on, or for good, whatever their tokens have said.
    ///
    /// # Errors
    /// [`Untold`].
    pub async fn refresh(&self, recipients: &Recipients, ttl: Option<Duration>) -> Result<(), Untold> {
        let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self.refresh_with(recipients, ttl_ms, None).await
    }

    /// The same, with what is known of them, if that is something else.
    pub(crate) async fn refresh_with(
        &self,
        recipients: &Recipients,
        ttl_ms: Option<u64>,
        info: Option<Bytes>,
    ) -> Result<(), Untold> {
        let ttl_ms = ttl_ms.map(|ttl_ms| ttl_ms.min(STAY_MAX_MS));
        self.send(recipients, ShardCommand::Session(ServerCommand::Refresh { ttl_ms, info })).await
    }

    async fn send(&self, recipients: &Recipients, command: ShardCommand) -> Result<(), Untold> {
        let command = NodeCommand::Connections { recipients: recipients.clone(), command };
        if self.0.send(command, ANSWER_WITHIN).wait().await.is_empty() {
            tracing::warn!("a command for connections was not taken in time");
            return Err(Untold);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::key::{ConnectionAddress, ConnectionKey};

    fn session() -> String {
        "secret".to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_gathered_up_to_a_deadline() {
        let node = Arc::new(LocalNode::new(1));
        let commands = Commands::new(OneNode(Arc::clone(&node)));
        assert_eq!(commands.take_frame(session(), "{}".into()).await, Err(NotTaken::NoSession));
        let key = ConnectionKey { slot: 3, number: 7 };
        node.emulation.register("secret", ConnectionAddress { shard: 0, key });
        let large = || Bytes::from(vec![b'a'; 8 << 20]);
        assert_eq!(commands.take_frame(session(), large()).await, Ok(()), "the first one goes alone");
        assert_eq!(commands.take_frame(session(), large()).await, Err(NotTaken::Busy), "its shard stands still");
        let mut inbox = node.commands.inbox(0).expect("an inbox");
        assert!(inbox.next().await.is_some());
        assert_eq!(commands.take_frame(session(), "{}".into()).await, Ok(()), "what was given up waits for nobody");
    }
    #[tokio::test(start_paused = true)]
    async fn a_shard_that_stands_still_keeps_a_command_from_no_other_and_whoever_sent_it_is_told() {
        let node = Arc::new(LocalNode::new(3));
        let commands = Commands::new(OneNode(Arc::clone(&node)));
        let key = ConnectionKey { slot: 3, number: 7 };
        node.emulation.register("secret", ConnectionAddress { shard: 0, key });
        assert_eq!(commands.take_frame(session(), vec![b'a'; 8 << 20].into()).await, Ok(()));
        for shard in 0..3 {
            node.commands.users.register("ann", ConnectionAddress { shard, key }, "c", uuid::Uuid::nil());
        }
        let mut inboxes = [1, 2].map(|shard| node.commands.inbox(shard).expect("an inbox"));
        for user in ["ann", ""] {
            let recipients = Recipients { user: user.to_owned(), ..Recipients::default() };
            let told = commands.disconnect(&recipients, CloseCode::ForceDisconnect).await;
            assert_eq!(told, Err(Untold), "the first has not taken it");
            for inbox in &mut inboxes {
                let taken = timeout(Duration::from_millis(1), inbox.next()).await;
                assert!(taken.is_ok(), "the others have");
            }
        }
        let bob = Recipients { user: "bob".to_owned(), ..Recipients::default() };
        assert_eq!(commands.disconnect(&bob, CloseCode::ForceDisconnect).await, Ok(()), "nobody is to be told");
    }
}
