//! What lies in a room: payloads, who sent them, where they stand.

use super::{Payload, json};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Named texts that travel with a publication; most have none, and then this costs a null pointer.
pub type Tags = Option<Arc<BTreeMap<String, String>>>;

/// One message as a room keeps it. Cloning copies pointers.
///
/// Its offset and its time belong to its place in the room, not to it: see [`Placed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The payload.
    pub data: Payload,
    /// Who published it; `None` for a publication of the server.
    pub info: Option<ClientInfo>,
    /// Named texts beside the payload.
    pub tags: Tags,
}

impl Publication {
    /// A publication of `data` by the client `info` (or by the server).
    pub fn new(data: Payload, info: Option<ClientInfo>) -> Self {
        Self { data, info, tags: None }
    }

    /// Whether readers that take deltas are given it as one.
    pub fn is_delta(&self) -> bool {
        self.data.is_delta
    }

    /// Has readers that take deltas given it as one, or whole.
    pub fn set_delta(&mut self, is_delta: bool) {
        self.data.is_delta = is_delta;
    }

    /// The bytes that it has in memory, about: what budgets count. What it shares with others counts in full.
    pub fn bytes_held(&self) -> usize {
        let tags = self.tags.as_deref().map_or(0, tags_bytes_held);
        size_of::<Self>() + self.data.as_bytes().len() + self.info.as_ref().map_or(0, ClientInfo::bytes_held) + tags
    }
}

/// What an allocation takes beside what is asked for, about.
const ALLOCATION_BYTES: usize = 16;

/// What a tag takes in its map beside its texts: both of their heads, which full nodes have half of empty, and an allocation each.
const TAG_BYTES: usize = 4 * size_of::<String>() + 2 * ALLOCATION_BYTES;

/// The bytes that tags have in memory, about.
pub fn tags_bytes_held(tags: &BTreeMap<String, String>) -> usize {
    tags.iter().map(|(name, value)| TAG_BYTES + name.len() + value.len()).sum()
}

/// A publication at its place in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number in the room, counted from 1; 0 where the room gives none.
    pub offset: u64,
    /// When it was published, in milliseconds since 1970; 0 where that is not known.
    pub time_ms: u64,
    /// The publication.
    pub publication: Publication,
}

impl Placed {
    /// The bytes that it has in memory, about, as [`Publication::bytes_held`] has it.
    pub fn bytes_held(&self) -> usize {
        size_of::<Self>() - size_of::<Publication>() + self.publication.bytes_held()
    }
}

/// A place in a room: "everything up to `offset` in the incarnation `epoch` of the room".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPosition {
    /// The number of the last publication, counted from 1; 0 before the first.
    pub offset: u64,
    /// Which incarnation of the room the offset counts in; empty where the client does not know.
    pub epoch: String,
}

/// Who a client is, as others see it. Cloning copies a pointer, and writing it copies bytes made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo(Arc<Info>);

#[derive(Debug, PartialEq, Eq)]
struct Info {
    user: Box<str>,
    client: Box<str>,
    /// What is known about the connection and about its place in one room; most clients have said neither.
    more: Option<Box<[Option<Bytes>; 2]>>,
    /// The whole as a JSON object: every message of the client repeats it.
    json: Box<[u8]>,
}

impl ClientInfo {
    /// The client `client` of the user `user` (empty for an anonymous one).
    ///
    /// `conn_info` says something about the connection, `chan_info` about its place in one room; both are compact
    /// JSON.
    pub fn new(user: String, client: String, conn_info: Option<Bytes>, chan_info: Option<Bytes>) -> Self {
        let json = json::client_info(&user, &client, conn_info.as_ref(), chan_info.as_ref());
        let more = (conn_info.is_some() || chan_info.is_some()).then(|| Box::new([conn_info, chan_info]));
        Self(Arc::new(Info { user: user.into(), client: client.into(), more, json }))
    }

    /// The user's id; empty for an anonymous user.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// The client's id.
    pub fn client(&self) -> &str {
        &self.0.client
    }

    /// What is known about the connection, compact JSON.
    pub fn conn_info(&self) -> Option<&Bytes> {
        self.0.more.as_ref().and_then(|more| more[0].as_ref())
    }

    /// What is known about the client in the room, compact JSON.
    pub fn chan_info(&self) -> Option<&Bytes> {
        self.0.more.as_ref().and_then(|more| more[1].as_ref())
    }

    /// The bytes that it has in memory, about.
    pub fn bytes_held(&self) -> usize {
        let Info { user, client, json, .. } = &*self.0;
        let more = [self.conn_info(), self.chan_info()].into_iter().flatten().map(Bytes::len).sum::<usize>();
        size_of::<Info>() + 4 * ALLOCATION_BYTES + user.len() + client.len() + json.len() + more
    }

    /// The whole as a JSON object of the wire.
    pub(crate) fn json(&self) -> &[u8] {
        &self.0.json
    }
}
