//! The way to connections from anywhere in the server: commands for them, on their way to the shards that own them.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem::size_of;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use crate::rooms::users::{Recipients, Selection, Users};
use crate::session::ServerCommand;
use crate::util::key::{ConnectionAddress, ConnectionKey};
use crate::util::panics::lock;
use crate::wire::disconnect::Disconnect;
use roomcast_protocol::{CloseCode, RoomName};

/// Bytes of commands that wait for a shard; whoever sends one more waits. Some dozens of frames of the usual largest size, or some
/// ten thousand commands without a frame; a frame that is longer than this goes alone.
const INBOX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A command for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShardCommand {
    /// Takes a frame that came in a request of its own.
    Frame(Bytes),
    /// Closes it.
    Disconnect(Disconnect),
    /// Tells its session what the server wants of it.
    Session(ServerCommand),
    /// Counts who is in which room; of the shard itself.
    Census(Census),
    /// Takes back what is on its way to members of a room; the same.
    Recall(Recall),
    /// Closes some of its connections, whichever, since their clients are to go to another process; the same.
    LetGo(LetGo),
}

impl ShardCommand {
    /// What it holds beside itself.
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.len(),
            Self::Disconnect(disconnect) => disconnect.reason().len(),
            Self::Session(command) => command.bytes(),
            Self::Census(_) | Self::LetGo(_) => 0,
            Self::Recall(Recall { room, user, .. }) => room.as_str().len() + user.as_ref().map_or(0, |user| user.len()),
        }
    }
}

/// The question how many members each room has on a shard, and where the answer goes.
#[derive(Clone, Debug)]
pub(crate) struct Census(mpsc::UnboundedSender<Vec<(RoomName, u32)>>);

impl Census {
    /// Answers it.
    pub(crate) fn answer(self, members: Vec<(RoomName, u32)>) {
        // Whoever asked may have given up.
        let _ = self.0.send(members);
    }
}

impl PartialEq for Census {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl Eq for Census {}

/// A room of which something was erased, and who waits until a shard gives none of it any more.
#[derive(Clone, Debug)]
pub(crate) struct Recall {
    pub(crate) room: RoomName,
    /// Whose messages, if it was what that user has published.
    pub(crate) user: Option<Box<str>>,
    done: mpsc::UnboundedSender<()>,
}

impl Recall {
    /// Says that it is done.
    pub(crate) fn done(self) {
        // Whoever waits may have given up.
        let _ = self.done.send(());
    }
}

impl PartialEq for Recall {
    fn eq(&self, other: &Self) -> bool {
        self.room == other.room && self.done.same_channel(&other.done)
    }
}

impl Eq for Recall {}

/// How many connections a shard is to close, and where it says how many are left then.
#[derive(Clone, Debug)]
pub(crate) struct LetGo {
    pub(crate) count: usize,
    left: mpsc::UnboundedSender<(usize, usize)>,
}

impl LetGo {
    /// So many; the shard and what is left on it is said there.
    pub(crate) fn new(count: usize, left: mpsc::UnboundedSender<(usize, usize)>) -> Self {
        Self { count, left }
    }

    /// Says that `shard` has done it.
    pub(crate) fn answer(self, shard: usize, left: usize) {
        // Whoever asked may have given up.
        let _ = self.left.send((shard, left));
    }
}

impl PartialEq for LetGo {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.left.same_channel(&other.left)
    }
}

impl Eq for LetGo {}

/// Which connections of a shard a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// This one.
    Connection(ConnectionKey),
    /// Those without a user, which are in no index; the shard looks for them.
    WithoutUser(Selection),
    /// None: it is the shard's own to do.
    Shard,
}

/// A command, and whom it is for.
#[derive(Debug)]
pub(crate) struct Addressed {
    pub(crate) to: To,
    pub(crate) command: ShardCommand,
}

impl Addressed {
    /// What it holds, in permits of an inbox.
    fn permits(&self) -> u32 {
        let to = if let To::WithoutUser(selection) = &self.to { selection.bytes() } else { 0 };
        (size_of::<Self>() + to + self.command.bytes()).min(INBOX_BYTES_MAX) as u32
    }
}

/// The shard is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardIsOver;

/// Commands the connections of this node, on whatever shards they are.
#[derive(Debug)]
pub(crate) struct ShardCommands {
    queues: Box<[Queue]>,
    pub(crate) users: Users,
}

#[derive(Debug)]
struct Queue {
    commands: mpsc::UnboundedSender<Addressed>,
    budget: Arc<Semaphore>,
    inbox: Mutex<Option<CommandInbox>>,
}

/// Where a shard's commands come in.
#[derive(Debug)]
pub(crate) struct CommandInbox {
    commands: mpsc::UnboundedReceiver<Addressed>,
    budget: Arc<Semaphore>,
}

impl ShardCommands {
    pub(crate) fn new(shards: usize) -> Self {
        let queue = |_| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let budget = Arc::new(Semaphore::new(INBOX_BYTES_MAX));
            let inbox = CommandInbox { commands: receiver, budget: Arc::clone(&budget) };
            Queue { commands: sender, budget, inbox: Mutex::new(Some(inbox)) }
        };
        Self { queues: (0..shards).map(queue).collect(), users: Users::default() }
    }

    /// What comes for the connections of a shard; once.
    pub(crate) fn inbox(&self, shard: usize) -> Option<CommandInbox> {
        lock(&self.queues[shard].inbox).take()
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.queues.len()
    }

    /// Hands over a command, waiting while too much waits for the shard. Commands of one sender arrive in their order.
    ///
    /// # Errors
    /// [`ShardIsOver`].
    ///
    /// # Cancel safety
    /// A command whose sender has been dropped was not handed over.
    pub(crate) async fn send(&self, shard: usize, to: To, command: ShardCommand) -> Result<(), ShardIsOver> {
        let Queue { commands, budget, .. } = &self.queues[shard];
        let addressed = Addressed { to, command };
        let permit = budget.acquire_many(addressed.permits()).await.map_err(|_| ShardIsOver)?;
        commands.send(addressed).map_err(|_| ShardIsOver)?;
        // The inbox gives it back.
        permit.forget();
        Ok(())
    }

    /// Asks every shard; each answers, or is over.
    async fn ask_all<T>(
        &self,
        question: impl Fn(mpsc::UnboundedSender<T>) -> ShardCommand,
    ) -> mpsc::UnboundedReceiver<T> {
        let (sender, answers) = mpsc::unbounded_channel();
        for shard in 0..self.queues.len() {
            // On a shard that is over nobody is in any room.
            let _ = self.send(shard, To::Shard, question(sender.clone())).await;
        }
        answers
    }

    /// How many members each room has, over all shards.
    pub(crate) async fn census(&self) -> BTreeMap<RoomName, u32> {
        let mut counted = self.ask_all(|sender| ShardCommand::Census(Census(sender))).await;
        let mut members = BTreeMap::new();
        while let Some(of_shard) = counted.recv().await {
            for (room, count) in of_shard {
                *members.entry(room).or_insert(0) += count;
            }
        }
        members
    }

    /// Takes back what is on its way to members of a room, on all shards, and waits for them. From then on nobody is given what was
    /// erased before.
    pub(crate) async fn recall(&self, room: &RoomName, user: Option<&str>) {
        let recall = |done| ShardCommand::Recall(Recall { room: room.clone(), user: user.map(Into::into), done });
        let mut all_done = self.ask_all(recall).await;
        while all_done.recv().await.is_some() {}
    }

    /// Ends the connections of `user` that were registered before the one at `address`; each of them is told once.
    pub(crate) async fn supersede(&self, user: &str, address: ConnectionAddress) {
        for ConnectionAddress { shard, key } in self.users.supersede(user, address) {
            let command = ShardCommand::Disconnect(CloseCode::ConnectionLimit.into());
            // On a shard that is over nobody is connected any more.
            let _ = self.send(shard, To::Connection(key), command).await;
        }
    }

    /// Hands it over for each of those connections; a shard that takes nothing keeps it from no other.
    pub(crate) async fn send_to(&self, recipients: &Recipients, command: ShardCommand) {
        let Some(selection) = Selection::of(recipients) else { return };
        let mut of_shards = vec![Vec::new(); self.queues.len()];
        if recipients.user.is_empty() {
            of_shards.fill(vec![To::WithoutUser(selection)]);
        } else {
            for ConnectionAddress { shard, key } in self.users.find(&recipients.user, &selection) {
                of_shards[shard].push(To::Connection(key));
            }
        }
        let to_shard = async |(shard, all): (usize, Vec<To>)| {
            for to in all {
                // On a shard that is over nobody is connected any more.
                let _ = self.send(shard, to, command.clone()).await;
            }
        };
        let mut left: Vec<_> = of_shards.into_iter().enumerate().map(|it| Box::pin(to_shard(it))).collect();
        poll_fn(|cx| {
            left.retain_mut(|sending| sending.as_mut().poll(cx).is_pending());
            if left.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl CommandInbox {
    /// The next command, when there is one; `None` once nobody can send any.
    pub(crate) async fn next(&mut self) -> Option<Addressed> {
        let addressed = self.commands.recv().await?;
        self.budget.add_permits(addressed.permits() as usize);
        Some(addressed)
    }
}

impl Drop for CommandInbox {
    fn drop(&mut self) {
        // Those who wait for space are told that there will be none.
        self.budget.close();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use uuid::Uuid;

    use super::*;
    use roomcast_protocol::UnsubscribeCode;

    const KEY: ConnectionKey = ConnectionKey { slot: 3, number: 7 };

    /// Whether it waits, polled once.
    fn is_pending<F: Future>(future: &mut Pin<&mut F>) -> bool {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    fn frame(bytes: usize) -> ShardCommand {
        ShardCommand::Frame(vec![b'a'; bytes].into())
    }

    #[tokio::test]
    async fn what_waits_for_a_shard_is_bounded_in_bytes() {
        let commands = ShardCommands::new(1);
        let mut inbox = commands.inbox(0).expect("an inbox");
        assert!(commands.inbox(0).is_none(), "an inbox has one owner");
        let send = |bytes| commands.send(0, To::Connection(KEY), frame(bytes));
        assert_eq!(send(10).await, Ok(()));
        {
            let mut large = pin!(send(2 * INBOX_BYTES_MAX));
            assert!(is_pending(&mut large), "it goes alone");
            assert_eq!(inbox.next().await.map(|it| it.command), Some(frame(10)));
            assert!(!is_pending(&mut large));
        }
        let mut small = pin!(send(0));
        assert!(is_pending(&mut small), "there is no space beside it");
        assert!(inbox.next().await.is_some() && !is_pending(&mut small) && inbox.next().await.is_some());
        let except = vec!["x".repeat(1_000); 2 * INBOX_BYTES_MAX / 1_000];
        let except = except.into_iter().enumerate().map(|(nth, text)| format!("{nth}{text}")).collect();
        let many = Selection::of(&Recipients { except, ..Recipients::default() }).expect("they can be meant");
        assert_eq!(commands.send(0, To::WithoutUser(many), frame(0)).await, Ok(()));
        let mut small = pin!(send(0));
        assert!(is_pending(&mut small), "whom it is for counts as well");
        drop(inbox);
        assert_eq!(small.await, Err(ShardIsOver));
        assert_eq!(send(0).await, Err(ShardIsOver));
    }

    #[tokio::test]
    async fn commands_go_to_the_shards_of_a_users_connections() {
        let commands = ShardCommands::new(2);
        let mut inboxes = [0, 1].map(|shard| commands.inbox(shard).expect("an inbox"));
        let address = |shard| ConnectionAddress { shard, key: KEY };
        for shard in [0, 1] {
            commands.users.register("ann", address(shard), &format!("c{shard}"), Uuid::from_u128(shard as u128));
        }
        let mut ann = Recipients { user: "ann".to_owned(), ..Recipients::default() };
        commands.send_to(&ann, ShardCommand::Disconnect(CloseCode::ForceDisconnect.into())).await;
        for inbox in &mut inboxes {
            let Addressed { to, command } = inbox.next().await.expect("a command");
            assert_eq!(to, To::Connection(KEY));
            assert_eq!(command, ShardCommand::Disconnect(CloseCode::ForceDisconnect.into()));
        }
        ann.client = Some("c1".to_owned());
        let room = RoomName::parse("hall", 255).expect("a name");
        let subscribe = ShardCommand::Session(ServerCommand::Subscribe { room, options: None });
        commands.send_to(&ann, subscribe.clone()).await;
        assert_eq!(inboxes[1].next().await.map(|it| it.command), Some(subscribe));
        assert!(is_pending(&mut pin!(inboxes[0].next())), "it is for the other one");
    }

    #[tokio::test]
    async fn the_shards_are_asked_for_connections_without_a_user() {
        let commands = ShardCommands::new(2);
        let mut inboxes = [0, 1].map(|shard| commands.inbox(shard).expect("an inbox"));
        let client = Some("c1".to_owned());
        let recipients = Recipients { client, ..Recipients::default() };
        let (room, code) = (RoomName::parse("hall", 255).expect("a name"), UnsubscribeCode::Server);
        commands.send_to(&recipients, ShardCommand::Session(ServerCommand::Unsubscribe { room, code })).await;
        for inbox in &mut inboxes {
            let Some(Addressed { to: To::WithoutUser(selection), .. }) = inbox.next().await else {
                panic!("no command")
            };
            assert!(selection.includes("c1", Uuid::nil()) && !selection.includes("c2", Uuid::nil()));
        }
    }
}
