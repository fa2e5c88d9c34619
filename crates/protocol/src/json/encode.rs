//! From replies and pushes to bytes.

use super::write::{self, Object};
use crate::delta::RecoveredChain;
use crate::{
    ClientInfo, CloseCode, Encoding, Link, Placed, Publication, Push, Reply, ReplyBody, StreamPosition,
    SubscribeResult, Tags,
};
use bytes::Bytes;

/// Appends `reply` as one object.
pub(crate) fn encode_reply(reply: &Reply, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.number("id", u64::from(reply.id));
    encode_body(&mut object, &reply.body);
    object.close();
}

/// Appends what is answered, without the number of the command.
pub(crate) fn encode_result(reply: &Reply, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    encode_body(&mut object, &reply.body);
    object.close();
}

fn encode_body(reply: &mut Object<'_>, body: &ReplyBody) {
    match body {
        ReplyBody::Error(error) | ReplyBody::Temporary(error) => reply.object("error", |object| {
            object.number("code", u64::from(error.code()));
            object.text("message", error.message());
            object.flag("temporary", body.is_temporary());
        }),
        ReplyBody::Failed(error) => reply.object("error", |object| {
            object.number("code", u64::from(error.code));
            object.text("message", &error.message);
            object.flag("temporary", error.temporary);
        }),
        ReplyBody::Connect(connect) => reply.object("connect", |object| {
            object.text("client", &connect.client);
            object.text("version", &connect.version);
            expiry(object, connect.ttl_s);
            object.raw("data", connect.data.as_deref());
            object.number("ping", u64::from(connect.ping_s));
            object.flag("pong", connect.pong);
            object.text("session", &connect.session);
            object.text("node", &connect.node);
            object.number("time", connect.time_ms);
            if !connect.subs.is_empty() {
                object.object("subs", |object| {
                    for (room, result) in &connect.subs {
                        write::text(room.as_str(), object.key());
                        let mut object = Object::open(object.value());
                        subscribed(&mut object, result);
                        object.close();
                    }
                });
            }
        }),
        ReplyBody::Subscribe(result) => reply.object("subscribe", |object| subscribed(object, result)),
        ReplyBody::Unsubscribe => reply.object("unsubscribe", |_| {}),
        ReplyBody::Publish => reply.object("publish", |_| {}),
        ReplyBody::Presence(clients) => reply.object("presence", |object| {
            object.object("presence", |object| {
                for info in clients {
                    write::text(info.client(), object.key());
                    object.value().extend_from_slice(info.json());
                }
            });
        }),
        ReplyBody::PresenceStats(stats) => reply.object("presence_stats", |object| {
            object.always_number("num_clients", u64::from(stats.clients));
            object.always_number("num_users", u64::from(stats.users));
        }),
        ReplyBody::History(history) => reply.object("history", |object| {
            publications(object, &history.publications);
            object.always_text("epoch", &history.position.epoch);
            object.always_number("offset", history.position.offset);
        }),
        ReplyBody::Ping => reply.object("ping", |_| {}),
        ReplyBody::Rpc { data } => reply.object("rpc", |object| object.raw("data", data.as_deref())),
        ReplyBody::Refresh(refresh) => reply.object("refresh", |object| {
            object.text("client", &refresh.client);
            object.text("version", &refresh.version);
            expiry(object, refresh.ttl_s);
        }),
        ReplyBody::SubRefresh { ttl_s } => reply.object("sub_refresh", |object| expiry(object, *ttl_s)),
    }
}

fn subscribed(object: &mut Object<'_>, result: &SubscribeResult) {
    expiry(object, result.ttl_s);
    object.flag("recoverable", result.recoverable);
    object.flag("positioned", result.positioned);
    if let Some(at) = &result.position {
        position(object, at);
    }
    if !result.publications.is_empty() {
        match result.delta {
            false => publications(object, &result.publications),
            true => chain(object, &result.publications),
        }
    }
    object.flag("was_recovering", result.was_recovering);
    object.flag("recovered", result.recovered);
    object.raw("data", result.data.as_deref());
    object.flag("delta", result.delta);
}

/// Appends `push` as one object.
pub(crate) fn encode_push(push: &Push, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.object("push", |object| encode_event(object, push));
    object.close();
}

/// Appends `push` as one object, without an envelope.
pub(crate) fn encode_bare_push(push: &Push, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    encode_event(&mut object, push);
    object.close();
}

fn encode_event(push: &mut Object<'_>, event: &Push) {
    match event {
        Push::Publication { room, publication } => {
            push.text("channel", room.as_str());
            push.object("pub", |object| placed(object, publication));
        }
        Push::Join { room, info } => {
            push.text("channel", room.as_str());
            push.object("join", |object| object.raw("info", Some(info.json())));
        }
        Push::Leave { room, info } => {
            push.text("channel", room.as_str());
            push.object("leave", |object| object.raw("info", Some(info.json())));
        }
        Push::Subscribe { room, recoverable, positioned, position: at, data } => {
            push.text("channel", room.as_str());
            push.object("subscribe", |object| {
                object.flag("recoverable", *recoverable);
                object.flag("positioned", *positioned);
                if let Some(at) = at {
                    position(object, at);
                }
                object.raw("data", data.as_deref());
            });
        }
        Push::Unsubscribe { room, code } => {
            push.text("channel", room.as_str());
            push.object("unsubscribe", |object| {
                object.number("code", u64::from(code.code()));
                object.text("reason", code.reason());
            });
        }
        Push::Message { data } => push.object("message", |object| object.raw("data", Some(data))),
        Push::Disconnect { code, reason } => push.object("disconnect", |object| {
            object.number("code", u64::from(*code));
            object.text("reason", reason);
            object.flag("reconnect", CloseCode::reconnects_after(*code));
        }),
        Push::Refresh { ttl_s } => push.object("refresh", |object| expiry(object, *ttl_s)),
    }
}

/// Writes the publications of one room; what they share is written once.
#[derive(Debug)]
pub(crate) struct PublicationEncoder {
    /// Everything up to the fields of the publication.
    head: Bytes,
    /// What closes what the head has opened.
    tail: &'static str,
}

impl PublicationEncoder {
    pub(crate) fn new(room: &str) -> Self {
        Self::within(r#"{"push":{"channel":"#, room, "}}")
    }

    /// The same without an envelope.
    pub(crate) fn bare(room: &str) -> Self {
        Self::within(r#"{"channel":"#, room, "}")
    }

    fn within(open: &str, room: &str, tail: &'static str) -> Self {
        let mut head = open.as_bytes().to_vec();
        write::text(room, &mut head);
        head.extend_from_slice(br#","pub":"#);
        Self { head: head.into(), tail }
    }

    pub(crate) fn encode(&self, publication: &Publication, offset: u64, time_ms: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        let mut object = Object::open(out);
        publication_fields(&mut object, publication, offset, time_ms);
        object.close();
        out.extend_from_slice(self.tail.as_bytes());
    }

    pub(crate) fn encode_link(&self, publication: &Publication, link: &Link, offset: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        let mut object = Object::open(out);
        link_fields(&mut object, publication, link, offset);
        object.close();
        out.extend_from_slice(self.tail.as_bytes());
    }
}

/// A client as others see it, as one object.
pub(crate) fn client_info(user: &str, client: &str, conn_info: Option<&Bytes>, chan_info: Option<&Bytes>) -> Box<[u8]> {
    let mut out = Vec::new();
    let mut object = Object::open(&mut out);
    object.always_text("user", user);
    object.always_text("client", client);
    object.raw("conn_info", conn_info.map(|info| &**info));
    object.raw("chan_info", chan_info.map(|info| &**info));
    object.close();
    out.into()
}

fn publications(object: &mut Object<'_>, found: &[Placed]) {
    list(object, found, placed);
}

/// The same as a chain of deltas.
fn chain(object: &mut Object<'_>, found: &[Placed]) {
    let mut chain = RecoveredChain::new(Encoding::Json);
    list(object, found, |object, Placed { offset, publication, .. }| {
        link_fields(object, publication, &chain.append(publication), *offset);
    });
}

fn list(object: &mut Object<'_>, found: &[Placed], mut fill: impl FnMut(&mut Object<'_>, &Placed)) {
    let out = object.field("publications");
    out.push(b'[');
    for (index, publication) in found.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let mut object = Object::open(out);
        fill(&mut object, publication);
        object.close();
    }
    out.push(b']');
}

fn placed(object: &mut Object<'_>, placed: &Placed) {
    publication_fields(object, &placed.publication, placed.offset, placed.time_ms);
}

fn publication_fields(object: &mut Object<'_>, publication: &Publication, offset: u64, time_ms: u64) {
    publication.data.write_json(object.field("data"));
    object.raw("info", publication.info.as_ref().map(ClientInfo::json));
    object.number("offset", offset);
    tags(object, &publication.tags);
    object.number("time", time_ms);
}

fn link_fields(object: &mut Object<'_>, publication: &Publication, link: &Link, offset: u64) {
    write::text_of(link.as_bytes(), object.field("data"));
    object.raw("info", publication.info.as_ref().map(ClientInfo::json));
    object.number("offset", offset);
    tags(object, &publication.tags);
    object.flag("delta", link.is_delta());
}

fn tags(object: &mut Object<'_>, tags: &Tags) {
    let Some(tags) = tags.as_ref().filter(|tags| !tags.is_empty()) else {
        return;
    };
    object.object("tags", |object| {
        for (name, value) in tags.iter() {
            write::text(name, object.key());
            write::text(value, object.value());
        }
    });
}

fn position(object: &mut Object<'_>, at: &StreamPosition) {
    object.text("epoch", &at.epoch);
    object.number("offset", at.offset);
}

fn expiry(object: &mut Object<'_>, ttl_s: Option<u32>) {
    if let Some(ttl_s) = ttl_s {
        object.flag("expires", true);
        object.number("ttl", u64::from(ttl_s));
    }
}
