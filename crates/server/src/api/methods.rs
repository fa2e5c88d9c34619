//! The methods: their names, what they take and answer, and who does them.

use roomcast_protocol::ErrorCode;
use serde_json::Value;

use super::answer::{ApiError, Failed, json};
use super::messages::*;
use super::shape::{Shape, object};
use super::{Api, batch, connections, publish, read};

/// A method, as it is described.
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) request: fn() -> Value,
    pub(super) result: fn() -> Value,
}

/// `"name" Request => Result, what it does, who does it`
macro_rules! methods {
    ($($name:literal $request:ident => $result:ident, $about:literal, $does:expr;)*) => {
        /// All methods.
        pub(super) const METHODS: &[Method] = &[
            $(Method { name: $name, about: $about, request: $request::shape, result: $result::shape }),*
        ];

        /// Does what a command asks for.
        pub(super) async fn call(api: &Api, method: &str, body: &str) -> Result<Vec<u8>, Failed> {
            match method {
                $($name => {
                    let request = object::<$request>(body).map_err(|error| malformed(&error))?;
                    // A future of its own, so that one that calls others has an end.
                    Box::pin($does(api, request)).await
                })*
                _ if NOT_THERE.contains(&method) => Err(ErrorCode::NotAvailable.into()),
                _ => Err(Failed::NoMethod),
            }
        }
    };
}

methods! {
    "publish" PublishRequest => PublishResult, "Publishes a message into a room", publish::publish;
    "broadcast" BroadcastRequest => BroadcastResult, "Publishes a message into several rooms", publish::broadcast;
    "subscribe" SubscribeRequest => Done, "Puts a user's connections into a room", connections::subscribe;
    "unsubscribe" UnsubscribeRequest => Done, "Takes a user's connections out of a room", connections::unsubscribe;
    "disconnect" DisconnectRequest => Done, "Closes a user's connections", connections::disconnect;
    "refresh" RefreshRequest => Done, "Lets a user's connections stay for longer, or ends them", connections::refresh;
    "presence" RoomRequest => PresenceResult, "Tells who is in a room", read::presence;
    "presence_stats" RoomRequest => PresenceStatsResult, "Tells how many are in a room", read::presence_stats;
    "history" HistoryRequest => HistoryResult, "Reads a room's past", read::history;
    "history_remove" RoomRequest => Done, "Removes a room's past; its position stays", read::history_remove;
    "history_erase" HistoryEraseRequest => HistoryEraseResult, "Erases messages of a room; their places stay", read::history_erase;
    "channels" ChannelsRequest => ChannelsResult, "Lists the rooms that somebody is in", read::channels;
    "info" NoRequest => InfoResult, "Tells of the nodes", read::info;
    "rpc" RpcRequest => Done, "Calls a procedure of the server; there is none, so this answers error 104", rpc;
    "batch" BatchRequest => BatchResult, "Does several commands", batch::batch;
}

/// Methods that Centrifugo has and this server has not.
const NOT_THERE: [&str; 7] =
    ["map_publish", "map_remove", "map_read_state", "map_read_stream", "map_stats", "map_clear", "shared_poll_publish"];

/// The name of a method for those who count: one of so many, whatever was asked for.
pub(super) fn known(method: &str) -> &'static str {
    METHODS.iter().map(|it| it.name).find(|name| *name == method).unwrap_or("other")
}

fn malformed(error: &serde_json::Error) -> Failed {
    Failed::Malformed(format!("this is not what the method takes: {error}\n"))
}

async fn rpc(_: &Api, asked: RpcRequest) -> Result<Vec<u8>, Failed> {
    Err(if asked.method.is_empty() { ErrorCode::BadRequest.into() } else { Failed::Error(ApiError::NOT_FOUND) })
}

/// The result of what has none.
pub(super) fn done() -> Vec<u8> {
    json(&Done::default())
}
