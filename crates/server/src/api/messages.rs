//! What can be asked, and what is answered. The names are those of Centrifugo 6.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::shape::{Always, Json, answer, request, shape};

request! {
    /// A message for a room.
    PublishRequest {
        /// The room.
        channel: String,
        /// The payload: any JSON.
        data: Json,
        /// The payload in base64, where it is anything else; stands instead of `data`.
        b64data: String,
        /// Named texts that travel with the message.
        tags: BTreeMap<String, String>,
        /// Send it to who is there now and keep it nowhere: it takes no offset.
        skip_history: bool,
        /// A name for this message: another one of this name, in this room and within five minutes, is not published.
        idempotency_key: String,
        /// Give it as what has changed since the message before to clients that take deltas.
        delta: bool,
        /// The version of what the message tells: not published unless it is above all that the room has had.
        version: u64,
        /// What `version` counts in: versions of another one are not compared.
        version_epoch: String,
    }
}

answer! {
    /// Where a message is.
    PublishResult {
        /// Its offset, in a room with history.
        offset: u64,
        /// The epoch that the offset counts in.
        epoch: String,
    }
}

request! {
    /// A message for several rooms.
    BroadcastRequest {
        /// The rooms.
        channels: Vec<String>,
        /// As of publish.
        data: Json,
        /// As of publish.
        b64data: String,
        /// As of publish.
        tags: BTreeMap<String, String>,
        /// As of publish.
        skip_history: bool,
        /// As of publish, in each room by itself.
        idempotency_key: String,
        /// As of publish.
        delta: bool,
        /// As of publish.
        version: u64,
        /// As of publish.
        version_epoch: String,
    }
}

shape! {
    BroadcastResult {
        /// What became of it, in the order of the rooms: each has a `result` or an `error`.
        responses: Vec<BroadcastPart>,
    }
}
/// See its shape.
pub(super) enum BroadcastResult {}

shape! {
    BroadcastPart {
        /// It is published.
        result: PublishResult,
        /// It is not.
        error: ErrorShape,
    }
}
/// See its shape.
pub(super) enum BroadcastPart {}

shape! {
    ErrorShape {
        /// The number of the error.
        code: u32,
        /// Its text, the same for every error of the number.
        message: String,
    }
}
/// See its shape.
pub(super) enum ErrorShape {}

request! {
    /// Puts a user's connections into a room.
    SubscribeRequest {
        /// The room.
        channel: String,
        /// Whose connections; empty for those without a user.
        user: String,
        /// Only the connection of that client.
        client: String,
        /// Only the connection of that session.
        session: String,
        /// What is known of the client in the room.
        info: Json,
        /// The same in base64.
        b64info: String,
        /// What the client is told with it.
        data: Json,
        /// The same in base64.
        b64data: String,
        /// When it ends, in seconds since 1970; 0 for never.
        expire_at: i64,
        /// What came after that position is given to it.
        recover_since: Option<Position>,
        /// Options of the room that are otherwise for it.
        r#override: Option<Override>,
    }
}

request! {
    /// Options of a room that are otherwise for one subscription.
    Override {
        /// It shows in the room's presence.
        presence: Option<Truth>,
        /// Its coming and going is told.
        join_leave: Option<Truth>,
        /// It recovers what it misses.
        force_recovery: Option<Truth>,
        /// It is told its position.
        force_positioning: Option<Truth>,
        /// It is told who comes and goes.
        force_push_join_leave: Option<Truth>,
        /// Whether it is given what it publishes itself.
        echo: Option<EchoName>,
    }
}

request! {
    /// What clients are given of their own.
    EchoName {
        /// `all`, `not_client` or `not_user`.
        value: String,
    }
}

request! {
    /// A yes or a no.
    Truth {
        /// Which of both.
        value: bool,
    }
}

request! {
    /// Lets a user's connections stay for longer.
    RefreshRequest {
        /// Whose connections; empty for those without a user.
        user: String,
        /// Only the connection of that client.
        client: String,
        /// Only the connection of that session.
        session: String,
        /// They have ended, and are closed with 3005.
        expired: bool,
        /// When they end, in seconds since 1970; 0 for never.
        expire_at: i64,
        /// What is known of the connection, if that is something else now.
        info: Json,
    }
}

request! {
    /// Takes a user's connections out of a room.
    UnsubscribeRequest {
        /// The room.
        channel: String,
        /// Whose connections; empty for those without a user.
        user: String,
        /// Only the connection of that client.
        client: String,
        /// Only the connection of that session.
        session: String,
    }
}

request! {
    /// Closes a user's connections.
    DisconnectRequest {
        /// Whose connections; empty for those without a user.
        user: String,
        /// Only the connection of that client.
        client: String,
        /// Only the connection of that session.
        session: String,
        /// Clients whose connections stay.
        whitelist: Vec<String>,
        /// With what they are closed; 3503 `force disconnect` if nothing is said.
        disconnect: Option<Goodbye>,
    }
}

request! {
    /// The last thing said on a connection.
    Goodbye {
        /// 3000 to 4999; from 3500 to 3999 and from 4500 on, SDKs do not connect again.
        code: u32,
        /// At most 123 bytes.
        reason: String,
    }
}

request! {
    /// A room, and nothing else.
    RoomRequest {
        /// The room.
        channel: String,
    }
}

request! {
    /// Nothing.
    NoRequest {}
}

answer! {
    /// It is done, and nothing is to be said of it.
    Done {}
}

shape! {
    PresenceResult {
        /// Who is there, by client.
        presence: BTreeMap<String, ClientShape>,
    }
}
/// See its shape.
pub(super) enum PresenceResult {}

shape! {
    ClientShape {
        /// The user; empty for a client without one.
        user: String,
        /// The client.
        client: String,
        /// What is known of the connection.
        conn_info: Json,
        /// What is known of its place in the room.
        chan_info: Json,
    }
}
/// See its shape.
pub(super) enum ClientShape {}

answer! {
    /// How many are there.
    PresenceStatsResult {
        /// Connections.
        num_clients: Always<u32>,
        /// Users.
        num_users: Always<u32>,
    }
}

request! {
    /// Which part of a room's past is wanted.
    HistoryRequest {
        /// The room.
        channel: String,
        /// The most messages; 0 for the position alone, -1 for as many as an answer holds.
        limit: i32,
        /// Only what lies beyond that position, in the direction of reading.
        since: Option<Position>,
        /// From the newest down.
        reverse: bool,
    }
}

request! {
    /// A position in a room.
    Position {
        /// All up to that offset.
        offset: u64,
        /// In that epoch; empty for whichever it is.
        epoch: String,
    }
}

shape! {
    HistoryResult {
        /// What was found.
        publications: Vec<PublicationShape>,
        /// The offset of the newest message.
        offset: u64,
        /// The epoch of the room.
        epoch: String,
    }
}
/// See its shape.
pub(super) enum HistoryResult {}

shape! {
    PublicationShape {
        /// The payload; in base64 where it is not JSON.
        data: Json,
        /// Which client published it.
        info: ClientShape,
        /// Its offset.
        offset: u64,
        /// Named texts.
        tags: BTreeMap<String, String>,
        /// When it was published, in milliseconds since 1970.
        time: u64,
    }
}
/// See its shape.
pub(super) enum PublicationShape {}

request! {
    /// Which messages of a room are to be erased: those at some offsets, or those of a user.
    HistoryEraseRequest {
        /// The room.
        channel: String,
        /// The offsets of the messages.
        offsets: Vec<u64>,
        /// The epoch that the offsets count in; empty for whichever it is.
        epoch: String,
        /// What this user has published so far, whatever its offset; instead of `offsets`.
        user: String,
    }
}

answer! {
    /// What has become of it.
    HistoryEraseResult {
        /// So many messages were erased; those that were before are not counted.
        erased: Always<u64>,
    }
}

request! {
    /// Which rooms are wanted.
    ChannelsRequest {
        /// `*` stands for any characters, `?` for one; empty for all rooms.
        pattern: String,
    }
}

answer! {
    /// Rooms that somebody is in.
    ChannelsResult {
        /// By name.
        channels: Always<BTreeMap<String, ChannelInfo>>,
    }
}

answer! {
    /// A room that somebody is in.
    ChannelInfo {
        /// How many connections.
        num_clients: Always<u32>,
    }
}

answer! {
    /// The nodes that are the server.
    InfoResult {
        /// One each.
        nodes: Always<Vec<NodeInfo>>,
    }
}

answer! {
    /// A node.
    NodeInfo {
        /// Its name for this run.
        uid: Always<String>,
        /// What it is called.
        name: Always<String>,
        /// Its version.
        version: Always<String>,
        /// Connections of clients.
        num_clients: Always<u32>,
        /// Users among them; those without one count as one.
        num_users: Always<u32>,
        /// Rooms that somebody is in.
        num_channels: Always<u32>,
        /// Memberships: one for each room of each connection.
        num_subs: Always<u32>,
        /// Seconds since it began.
        uptime: u32,
    }
}

request! {
    /// A procedure of the server.
    RpcRequest {
        /// Its name.
        method: String,
        /// What it is given.
        params: Json,
    }
}

request! {
    /// Several commands.
    BatchRequest {
        /// Each an object with the name of its method, and under it what that takes.
        commands: Vec<Option<Command>>,
        /// Whether they may be done at the same time. If not, each begins when the one before is done.
        parallel: bool,
    }
}

/// The method of a command, and what it is given.
pub(super) type Command = BTreeMap<String, Box<RawValue>>;

impl super::shape::Shape for Box<RawValue> {
    fn shape() -> serde_json::Value {
        // What is wrong with one command is told in its place.
        serde_json::json!({})
    }
}

shape! {
    BatchResult {
        /// What became of the commands, in their order: the name of the method and under it the result, or `error`.
        replies: Vec<BTreeMap<String, Box<RawValue>>>,
    }
}
/// See its shape.
pub(super) enum BatchResult {}
