//! Commands as a client writes them; the server itself never writes one.

use prost::encoding::{self as wire, encode_key, encode_varint};
use serde_json::Value;

use roomcast_protocol::{
    Command, ConnectRequest, Encoding, FilterWish, HistoryRequest, Request, StreamPosition, SubscribeRequest,
};

/// Appends a command, behind whatever commands there are already.
pub(super) fn write(encoding: Encoding, command: &Command, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json | Encoding::JsonPushes => {
            if !out.is_empty() {
                out.push(b'\n');
            }
            json(command, out);
        }
        Encoding::Protobuf => {
            let mut body = Vec::new();
            protobuf(command, &mut body);
            encode_varint(body.len() as u64, out);
            out.extend(body);
        }
    }
}

/// The methods as JSON names them, with the number Protobuf has for each.
fn method(request: &Request) -> Option<(&'static str, u32)> {
    Some(match request {
        Request::Connect(_) => ("connect", 4),
        Request::Subscribe(_) => ("subscribe", 5),
        Request::Unsubscribe { .. } => ("unsubscribe", 6),
        Request::Publish(_) => ("publish", 7),
        Request::Presence { .. } => ("presence", 8),
        Request::PresenceStats { .. } => ("presence_stats", 9),
        Request::History(_) => ("history", 10),
        Request::Ping => ("ping", 11),
        Request::Send { .. } => ("send", 12),
        Request::Rpc(_) => ("rpc", 13),
        Request::Refresh { .. } => ("refresh", 14),
        Request::SubRefresh { .. } => ("sub_refresh", 15),
        Request::Unreadable { is_connect: true } => ("connect", 4),
        Request::Unreadable { is_connect: false } => ("presence", 8),
        Request::Pong | Request::Unknown => return None,
    })
}

fn json(command: &Command, out: &mut Vec<u8>) {
    out.extend(format!("{{\"id\":{}", command.id).bytes());
    if let Some((name, _)) = method(&command.request) {
        out.extend(format!(",\"{name}\":{{").bytes());
        let mut fields = JsonFields { out, is_first: true };
        fields.request(&command.request);
        out.push(b'}');
    }
    out.push(b'}');
}

struct JsonFields<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl JsonFields<'_> {
    fn raw(&mut self, name: &str, value: &[u8]) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        self.out.extend(Value::from(name).to_string().bytes());
        self.out.push(b':');
        self.out.extend_from_slice(value);
    }

    fn value(&mut self, name: &str, value: impl Into<Value>) {
        self.raw(name, value.into().to_string().as_bytes());
    }

    fn data(&mut self, data: Option<&[u8]>) {
        if let Some(data) = data {
            self.raw("data", data);
        }
    }

    fn nested(&mut self, name: &str, fill: impl FnOnce(&mut JsonFields<'_>)) {
        self.raw(name, b"{");
        fill(&mut JsonFields { out: &mut *self.out, is_first: true });
        self.out.push(b'}');
    }

    fn position(&mut self, position: &StreamPosition) {
        self.value("offset", position.offset);
        self.value("epoch", &*position.epoch);
    }

    fn request(&mut self, request: &Request) {
        match request {
            Request::Connect(ConnectRequest { token, data, name, version, subs, headers }) => {
                self.value("token", &**token);
                self.data(data.as_deref());
                self.value("name", &**name);
                self.value("version", &**version);
                self.nested("subs", |all| {
                    for (room, position) in subs {
                        all.nested(room, |sub| {
                            sub.value("recover", position.is_some());
                            position.iter().for_each(|position| sub.position(position));
                        });
                    }
                });
                self.nested("headers", |all| headers.iter().for_each(|(name, value)| all.value(name, &**value)));
            }
            Request::Subscribe(request) => {
                self.value("channel", &*request.room);
                self.value("token", &*request.token);
                self.value("recover", request.recover);
                self.position(&request.position);
                self.data(request.data.as_deref());
                self.value("positioned", request.positioned);
                self.value("recoverable", request.recoverable);
                self.value("join_leave", request.join_leave);
                self.value("delta", &*request.delta);
                self.value("flag", request.flag);
                self.value("type", request.kind);
                match &request.filter {
                    FilterWish::None => {}
                    FilterWish::Tags(filter) => self.raw("tf", &filter.write(Encoding::Json)),
                    FilterWish::Malformed => self.nested("tf", |_| {}),
                }
            }
            Request::Unsubscribe { room } | Request::Presence { room } | Request::PresenceStats { room } => {
                self.value("channel", &**room);
            }
            Request::Publish(request) => {
                self.value("channel", &*request.room);
                self.data(request.data.as_ref().map(|data| data.as_bytes()));
                if request.is_map {
                    self.value("removed", true);
                }
            }
            Request::History(HistoryRequest { room, limit, since, reverse }) => {
                self.value("channel", &**room);
                self.value("limit", *limit);
                if let Some(since) = since {
                    self.nested("since", |position| position.position(since));
                }
                self.value("reverse", *reverse);
            }
            Request::Send { data } => self.data(Some(data)),
            Request::Rpc(request) => {
                self.value("method", &*request.method);
                self.data(request.data.as_deref());
            }
            Request::Refresh { token } => self.value("token", &**token),
            Request::SubRefresh { room, token } => {
                self.value("channel", &**room);
                self.value("token", &**token);
            }
            Request::Unreadable { is_connect: true } => self.raw("name", b"\"\\ud83d\""),
            Request::Unreadable { is_connect: false } => self.raw("channel", b"\"\\ud83d\""),
            Request::Ping | Request::Pong | Request::Unknown => {}
        }
    }
}

fn protobuf(command: &Command, out: &mut Vec<u8>) {
    wire::uint32::encode(1, &command.id, out);
    if let Some((_, tag)) = method(&command.request) {
        nested(tag, out, |out| protobuf_request(&command.request, out));
    }
}

fn nested(tag: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fill(&mut body);
    bytes(tag, &body, out);
}

fn bytes(tag: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, wire::WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn text(tag: u32, value: &str, out: &mut Vec<u8>) {
    bytes(tag, value.as_bytes(), out);
}

fn protobuf_request(request: &Request, out: &mut Vec<u8>) {
    match request {
        Request::Connect(ConnectRequest { token, data, name, version, subs, headers }) => {
            text(1, token, out);
            bytes(2, data.as_deref().unwrap_or_default(), out);
            for (room, position) in subs {
                let sub = SubscribeRequest {
                    recover: position.is_some(),
                    position: position.clone().unwrap_or_default(),
                    ..SubscribeRequest::default()
                };
                nested(3, out, |entry| {
                    text(1, room, entry);
                    nested(2, entry, |out| protobuf_request(&Request::Subscribe(sub), out));
                });
            }
            for (name, value) in headers {
                nested(6, out, |entry| {
                    text(1, name, entry);
                    text(2, value, entry);
                });
            }
            text(4, name, out);
            text(5, version, out);
        }
        Request::Subscribe(request) => {
            text(1, &request.room, out);
            text(2, &request.token, out);
            wire::bool::encode(3, &request.recover, out);
            text(6, &request.position.epoch, out);
            wire::uint64::encode(7, &request.position.offset, out);
            bytes(8, request.data.as_deref().unwrap_or_default(), out);
            wire::bool::encode(9, &request.positioned, out);
            wire::bool::encode(10, &request.recoverable, out);
            wire::bool::encode(11, &request.join_leave, out);
            text(12, &request.delta, out);
            wire::uint64::encode(14, &request.flag, out);
            wire::int32::encode(15, &request.kind, out);
            match &request.filter {
                FilterWish::None => {}
                FilterWish::Tags(filter) => bytes(13, &filter.write(Encoding::Protobuf), out),
                FilterWish::Malformed => bytes(13, &[], out),
            }
        }
        Request::Unsubscribe { room } | Request::Presence { room } | Request::PresenceStats { room } => {
            text(1, room, out);
        }
        Request::Publish(request) => {
            text(1, &request.room, out);
            bytes(2, request.data.as_ref().map(|data| data.as_bytes()).unwrap_or_default(), out);
            wire::bool::encode(5, &request.is_map, out);
        }
        Request::History(HistoryRequest { room, limit, since, reverse }) => {
            text(1, room, out);
            wire::int32::encode(7, limit, out);
            if let Some(StreamPosition { offset, epoch }) = since {
                nested(8, out, |out| {
                    wire::uint64::encode(1, offset, out);
                    text(2, epoch, out);
                });
            }
            wire::bool::encode(9, reverse, out);
        }
        Request::Send { data } => bytes(1, data, out),
        Request::Rpc(request) => {
            bytes(1, request.data.as_deref().unwrap_or_default(), out);
            text(2, &request.method, out);
        }
        Request::Refresh { token } => text(1, token, out),
        Request::SubRefresh { room, token } => {
            text(1, room, out);
            text(2, token, out);
        }
        Request::Unreadable { is_connect: true } => bytes(4, b"\xed\xa0\xbd", out),
        Request::Unreadable { is_connect: false } => bytes(1, b"\xed\xa0\xbd", out),
        Request::Ping | Request::Pong | Request::Unknown => {}
    }
}
