//! From replies and pushes to bytes.

use super::write::{Fields, delimited};
use crate::delta::RecoveredChain;
use crate::{
    ClientInfo, CloseCode, Encoding, Link, Placed, Publication, Push, Reply, ReplyBody, StreamPosition, SubscribeResult,
};

/// Field of a `Reply` that holds a push.
const PUSH: u32 = 4;
/// Fields of a `Push`.
const ROOM: u32 = 2;
const PUBLICATION: u32 = 4;

/// Appends `reply` behind its length.
pub(crate) fn encode_reply(reply: &Reply, out: &mut Vec<u8>) {
    delimited(out, |fields| {
        fields.number(1, u64::from(reply.id));
        encode_body(fields, &reply.body);
    });
}

fn encode_body(reply: &mut Fields<'_>, body: &ReplyBody) {
    match body {
        ReplyBody::Error(error) | ReplyBody::Temporary(error) => reply.message(2, |fields| {
            fields.number(1, u64::from(error.code()));
            fields.text(2, error.message());
            fields.flag(3, body.is_temporary());
        }),
        ReplyBody::Failed(error) => reply.message(2, |fields| {
            fields.number(1, u64::from(error.code));
            fields.text(2, &error.message);
            fields.flag(3, error.temporary);
        }),
        ReplyBody::Connect(connect) => reply.message(5, |fields| {
            fields.text(1, &connect.client);
            fields.text(2, &connect.version);
            expiry(fields, [3, 4], connect.ttl_s);
            fields.bytes(5, connect.data.as_deref().unwrap_or_default());
            for (room, result) in &connect.subs {
                fields.message(6, |entry| {
                    entry.text(1, room.as_str());
                    entry.message(2, |fields| subscribed(fields, result));
                });
            }
            fields.number(7, u64::from(connect.ping_s));
            fields.flag(8, connect.pong);
            fields.text(9, &connect.session);
            fields.text(10, &connect.node);
            fields.number(11, connect.time_ms);
        }),
        ReplyBody::Subscribe(result) => reply.message(6, |fields| subscribed(fields, result)),
        ReplyBody::Unsubscribe => reply.message(7, |_| {}),
        ReplyBody::Publish => reply.message(8, |_| {}),
        ReplyBody::Presence(clients) => reply.message(9, |fields| {
            for info in clients {
                fields.message(1, |entry| {
                    entry.text(1, info.client());
                    entry.message(2, |fields| client_info(fields, info));
                });
            }
        }),
        ReplyBody::PresenceStats(stats) => reply.message(10, |fields| {
            fields.number(1, u64::from(stats.clients));
            fields.number(2, u64::from(stats.users));
        }),
        ReplyBody::History(history) => reply.message(11, |fields| {
            for publication in &history.publications {
                fields.message(1, |fields| placed(fields, publication));
            }
            position(fields, [2, 3], &history.position);
        }),
        ReplyBody::Ping => reply.message(12, |_| {}),
        ReplyBody::Rpc { data } => reply.message(13, |fields| fields.bytes(1, data.as_deref().unwrap_or_default())),
        ReplyBody::Refresh(refresh) => reply.message(14, |fields| {
            fields.text(1, &refresh.client);
            fields.text(2, &refresh.version);
            expiry(fields, [3, 4], refresh.ttl_s);
        }),
        ReplyBody::SubRefresh { ttl_s } => reply.message(15, |fields| expiry(fields, [1, 2], *ttl_s)),
    }
}

fn subscribed(fields: &mut Fields<'_>, result: &SubscribeResult) {
    expiry(fields, [1, 2], result.ttl_s);
    fields.flag(3, result.recoverable);
    let mut chain = result.delta.then(|| RecoveredChain::new(Encoding::Protobuf));
    for publication in &result.publications {
        fields.message(7, |fields| match &mut chain {
            None => placed(fields, publication),
            Some(chain) => {
                let Placed { offset, publication, .. } = publication;
                link_fields(fields, publication, &chain.append(publication), *offset);
            }
        });
    }
    fields.flag(8, result.recovered);
    if let Some(at) = &result.position {
        position(fields, [6, 9], at);
    }
    fields.flag(10, result.positioned);
    fields.bytes(11, result.data.as_deref().unwrap_or_default());
    fields.flag(12, result.was_recovering);
    fields.flag(13, result.delta);
}

/// Appends `push` as the reply that carries it, behind its length.
pub(crate) fn encode_push(push: &Push, out: &mut Vec<u8>) {
    delimited(out, |reply| reply.message(PUSH, |fields| encode_event(fields, push)));
}

fn encode_event(fields: &mut Fields<'_>, event: &Push) {
    match event {
        Push::Publication { room, publication } => {
            fields.text(ROOM, room.as_str());
            fields.message(PUBLICATION, |fields| placed(fields, publication));
        }
        Push::Join { room, info } => {
            fields.text(ROOM, room.as_str());
            fields.message(5, |fields| fields.message(1, |fields| client_info(fields, info)));
        }
        Push::Leave { room, info } => {
            fields.text(ROOM, room.as_str());
            fields.message(6, |fields| fields.message(1, |fields| client_info(fields, info)));
        }
        Push::Unsubscribe { room, code } => {
            fields.text(ROOM, room.as_str());
            fields.message(7, |fields| {
                fields.number(2, u64::from(code.code()));
                fields.text(3, code.reason());
            });
        }
        Push::Message { data } => fields.message(8, |fields| fields.bytes(1, data)),
        Push::Subscribe { room, recoverable, positioned, position: at, data } => {
            fields.text(ROOM, room.as_str());
            fields.message(9, |fields| {
                fields.flag(1, *recoverable);
                if let Some(at) = at {
                    position(fields, [4, 5], at);
                }
                fields.flag(6, *positioned);
                fields.bytes(7, data.as_deref().unwrap_or_default());
            });
        }
        Push::Disconnect { code, reason } => fields.message(11, |fields| {
            fields.number(1, u64::from(*code));
            fields.text(2, reason);
            fields.flag(3, CloseCode::reconnects_after(*code));
        }),
        Push::Refresh { ttl_s } => fields.message(12, |fields| expiry(fields, [1, 2], *ttl_s)),
    }
}

/// Writes the publications of one room.
#[derive(Debug)]
pub(crate) struct PublicationEncoder {
    room: Box<str>,
}

impl PublicationEncoder {
    pub(crate) fn new(room: &str) -> Self {
        Self { room: room.into() }
    }

    pub(crate) fn encode(&self, publication: &Publication, offset: u64, time_ms: u64, out: &mut Vec<u8>) {
        delimited(out, |reply| {
            reply.message(PUSH, |push| {
                push.text(ROOM, &self.room);
                push.message(PUBLICATION, |fields| publication_fields(fields, publication, offset, time_ms));
            });
        });
    }

    pub(crate) fn encode_link(&self, publication: &Publication, link: &Link, offset: u64, out: &mut Vec<u8>) {
        delimited(out, |reply| {
            reply.message(PUSH, |push| {
                push.text(ROOM, &self.room);
                push.message(PUBLICATION, |fields| link_fields(fields, publication, link, offset));
            });
        });
    }
}

fn placed(fields: &mut Fields<'_>, placed: &Placed) {
    publication_fields(fields, &placed.publication, placed.offset, placed.time_ms);
}

fn link_fields(fields: &mut Fields<'_>, publication: &Publication, link: &Link, offset: u64) {
    fields.bytes(4, link.as_bytes());
    beside_data(fields, publication, offset);
    fields.flag(8, link.is_delta());
}

fn publication_fields(fields: &mut Fields<'_>, publication: &Publication, offset: u64, time_ms: u64) {
    fields.bytes(4, publication.data.as_bytes());
    beside_data(fields, publication, offset);
    fields.number(9, time_ms);
}

fn beside_data(fields: &mut Fields<'_>, publication: &Publication, offset: u64) {
    if let Some(info) = &publication.info {
        fields.message(5, |fields| client_info(fields, info));
    }
    fields.number(6, offset);
    for (name, value) in publication.tags.iter().flat_map(|tags| tags.iter()) {
        fields.message(7, |entry| {
            entry.text(1, name);
            entry.text(2, value);
        });
    }
}

fn client_info(fields: &mut Fields<'_>, info: &ClientInfo) {
    fields.text(1, info.user());
    fields.text(2, info.client());
    fields.bytes(3, info.conn_info().map(|info| &**info).unwrap_or_default());
    fields.bytes(4, info.chan_info().map(|info| &**info).unwrap_or_default());
}

fn position(fields: &mut Fields<'_>, [epoch, offset]: [u32; 2], at: &StreamPosition) {
    fields.text(epoch, &at.epoch);
    fields.number(offset, at.offset);
}

fn expiry(fields: &mut Fields<'_>, [expires, ttl]: [u32; 2], ttl_s: Option<u32>) {
    if let Some(ttl_s) = ttl_s {
        fields.flag(expires, true);
        fields.number(ttl, u64::from(ttl_s));
    }
}
