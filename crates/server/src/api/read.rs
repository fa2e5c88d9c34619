//! What a backend asks about rooms and nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::answer::{Failed, json};
use super::messages::{
    ChannelInfo, ChannelsRequest, ChannelsResult, HistoryEraseRequest, HistoryEraseResult, HistoryRequest, InfoResult,
    NoRequest, NodeInfo, PresenceStatsResult, RoomRequest,
};
use super::methods::done;
use super::publish::room;
use super::shape::Always;
use super::{ANSWER_BYTES_MAX, Api, COUNT_MAX};
use crate::rooms::engine::Erase;
use roomcast_protocol::{Encoding, ErrorCode, HistoryQuery, Reply, ReplyBody, RoomName, StreamPosition};

/// Publications of one history: what a client may have at most, however it is configured.
const PUBLICATIONS_MAX: usize = 10_000;

/// Bytes that a client takes in an answer at least.
const CLIENT_BYTES_MIN: usize = 64;

pub(super) async fn presence(api: &Api, request: RoomRequest) -> Result<Vec<u8>, Failed> {
    let room = present(api, &request.channel)?;
    let members = api.hub.presence.members(&room).wait().await?;
    if members.len() > ANSWER_BYTES_MAX / CLIENT_BYTES_MIN {
        return Err(Failed::TOO_LONG);
    }
    Ok(as_on_the_wire(ReplyBody::Presence(members)))
}

pub(super) async fn presence_stats(api: &Api, request: RoomRequest) -> Result<Vec<u8>, Failed> {
    let room = present(api, &request.channel)?;
    let stats = api.hub.presence.stats(&room).wait().await?;
    Ok(json(&PresenceStatsResult { num_clients: Always(stats.clients), num_users: Always(stats.users) }))
}

/// A room of which it is known who is in it.
fn present(api: &Api, name: &str) -> Result<RoomName, ErrorCode> {
    let room = room(api, name)?;
    let is_known = api.hub.now().options(name).is_some_and(|options| options.presence);
    if is_known { Ok(room) } else { Err(ErrorCode::NotAvailable) }
}

pub(super) async fn history(api: &Api, request: HistoryRequest) -> Result<Vec<u8>, Failed> {
    let HistoryRequest { channel, limit, since, reverse } = request;
    let room = with_history(api, &channel)?;
    let since = since.map(|since| StreamPosition { offset: since.offset, epoch: since.epoch });
    let query =
        HistoryQuery { limit: usize::try_from(limit).unwrap_or(usize::MAX).min(PUBLICATIONS_MAX), since, reverse };
    let mut history = api.hub.engine(&room)?.history(&room, &query).wait().await?;
    api.hub.hide_erased(&room, &mut history.publications);
    Ok(as_on_the_wire(ReplyBody::History(history)))
}

pub(super) async fn history_remove(api: &Api, request: RoomRequest) -> Result<Vec<u8>, Failed> {
    let room = with_history(api, &request.channel)?;
    api.hub.engine(&room)?.remove_history(&room).wait().await?;
    Ok(done())
}

pub(super) async fn history_erase(api: &Api, request: HistoryEraseRequest) -> Result<Vec<u8>, Failed> {
    let HistoryEraseRequest { channel, offsets, epoch, user } = request;
    // A room without a history, too: its members may be behind.
    let room = room(api, &channel)?;
    if offsets.is_empty() == user.is_empty() || offsets.contains(&0) {
        return Err(ErrorCode::BadRequest.into());
    }
    if offsets.len() > COUNT_MAX {
        return Err(ErrorCode::LimitExceeded.into());
    }
    let of_user = (!user.is_empty()).then(|| user.clone());
    let what = if user.is_empty() { Erase::Offsets(offsets) } else { Erase::User(user) };
    let erased = api.hub.engine(&room)?.erase(&room, &epoch, what).wait().await?;
    api.hub.commands.recall(room, of_user).await?;
    let hub = Arc::clone(&api.hub);
    // What is left then goes later.
    let _ = spawn_blocking(move || hub.go_on_erasing()).await;
    Ok(json(&HistoryEraseResult { erased: Always(erased) }))
}

/// A room that has a history.
fn with_history(api: &Api, name: &str) -> Result<RoomName, ErrorCode> {
    let room = room(api, name)?;
    let has_history = api.hub.now().options(name).is_some_and(|options| options.history_size > 0);
    if has_history { Ok(room) } else { Err(ErrorCode::NotAvailable) }
}

/// A result that is what a client would be answered.
fn as_on_the_wire(body: ReplyBody) -> Vec<u8> {
    let mut reply = Vec::new();
    Encoding::Json.encode_reply(&Reply { id: 0, body }, &mut reply);
    // `{"method":RESULT}`: the id is left out.
    let from = reply.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
    reply.pop();
    reply.drain(..from);
    reply
}

pub(super) async fn channels(api: &Api, request: ChannelsRequest) -> Result<Vec<u8>, Failed> {
    let members = members(api).await?;
    let mut channels = BTreeMap::new();
    let mut bytes = 0;
    for (room, clients) in members {
        if request.pattern.is_empty() || matches(&request.pattern, room.as_str()) {
            bytes += room.as_str().len();
            if bytes > ANSWER_BYTES_MAX {
                return Err(Failed::TOO_LONG);
            }
            channels.insert(room.as_str().to_owned(), ChannelInfo { num_clients: Always(clients) });
        }
    }
    Ok(json(&ChannelsResult { channels: Always(channels) }))
}

pub(super) async fn info(api: &Api, _: NoRequest) -> Result<Vec<u8>, Failed> {
    let hub = &api.hub;
    let members = members(api).await?;
    let users = hub.local.commands.users.count();
    let (clients, with_user) = (hub.metrics.clients(), users.connections);
    let node = NodeInfo {
        uid: Always(hub.now().settings.node.clone()),
        name: Always("roomcast".to_owned()),
        version: Always(env!("CARGO_PKG_VERSION").to_owned()),
        num_clients: Always(clients),
        num_users: Always(users.users + u32::from(clients > with_user)),
        num_channels: Always(u32::try_from(members.len()).unwrap_or(u32::MAX)),
        num_subs: Always(members.values().fold(0, |sum, clients| sum.saturating_add(*clients))),
        uptime: u32::try_from(hub.uptime().as_secs()).unwrap_or(u32::MAX),
    };
    Ok(json(&InfoResult { nodes: Always(vec![node]) }))
}

/// Who counts its members, by room.
async fn members(api: &Api) -> Result<BTreeMap<RoomName, u32>, Failed> {
    Ok(api.hub.commands.census().await?)
}

/// Whether a name is of a pattern, in which `*` stands for any characters and `?` for one. Takes at most as many steps as both are
/// long, multiplied.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where to go on when it comes to nothing: behind the last star, one character further.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(of) {
            Some('*') => {
                star = Some((of + 1, at));
                of += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[at] => {
                (at, of) = (at + 1, of + 1);
            }
            _ => {
                let Some((behind, from)) = star else { return false };
                star = Some((behind, from + 1));
                (at, of) = (from + 1, behind);
            }
        }
    }
    pattern[of..].iter().all(|left| *left == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_names() {
        for (pattern, name, is_meant) in [
            ("*", "", true),
            ("*", "chat:1", true),
            ("chat:*", "chat:1", true),
            ("chat:*", "news:1", false),
            ("*:1", "chat:1", true),
            ("*:1", "chat:11", false),
            ("c?at:*1*", "chat:0101", true),
            ("?", "ü", true),
            ("?", "", false),
            ("chat", "chat:1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(matches(pattern, name), is_meant, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(60), &"b".repeat(255)), "it comes to an end");
    }
}
