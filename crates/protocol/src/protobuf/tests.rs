//! The protocol's Protobuf as clients write and read it: what they know of it is written down here once more, by itself.

use crate::{
    ClientInfo, CloseCode, Command, ConnectRequest, ConnectResult, CustomError, DecodeError, Encoding, ErrorCode,
    FilterWish, HistoryRequest, HistoryResult, Limits, Payload, Placed, PresenceStats, Publication, PublishRequest,
    Push, Reply, ReplyBody, Request, RoomName, StreamPosition, SubscribeRequest, SubscribeResult, UnsubscribeCode,
};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One field of a message: its number and its bytes, or its number as a varint.
fn field(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::bytes::encode(tag, &Bytes::copy_from_slice(bytes), &mut out);
    out
}

fn varint(tag: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::uint64::encode(tag, &value, &mut out);
    out
}

fn frame(commands: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for command in commands {
        prost::encode_length_delimiter(command.len(), &mut out).unwrap();
        out.extend_from_slice(command);
    }
    out
}

fn read(frame: &[u8]) -> Vec<Result<Command, DecodeError>> {
    Encoding::Protobuf.commands(frame, &Limits::default()).unwrap().collect()
}

fn command(id: u64, tag: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    [varint(1, id), field(tag, &fields.concat())].concat()
}

#[track_caller]
fn assert_reads(tag: u32, fields: &[Vec<u8>], expected: Request) {
    assert_eq!(read(&frame(&[command(7, tag, fields)])), [Ok(Command { id: 7, request: expected })]);
}

#[test]
fn every_command_is_read_by_its_numbers() {
    let room = || field(1, b"chat:1");
    let position = |offset, epoch: &str| StreamPosition { offset, epoch: epoch.to_owned() };
    let sub = [field(1, b"news"), field(2, &[varint(3, 1), field(6, b"x"), varint(7, 5)].concat())].concat();
    let not_recovering = [field(1, b"other"), field(2, &varint(7, 5))].concat();
    let map = [field(1, b"map"), field(2, &varint(15, 1))].concat();
    let filtered = [field(1, b"some"), field(2, &field(13, b""))].concat();
    assert_reads(
        4,
        &[
            field(1, b"T"),
            field(2, b"{}"),
            field(3, &sub),
            field(3, &not_recovering),
            field(3, &map),
            field(3, &filtered),
            field(6, &[field(1, b"k"), field(2, b"v")].concat()),
            field(4, b"js"),
            field(5, b"1"),
        ],
        Request::Connect(ConnectRequest {
            token: "T".to_owned(),
            data: Some("{}".into()),
            name: "js".to_owned(),
            version: "1".to_owned(),
            subs: vec![("news".to_owned(), Some(position(5, "x"))), ("other".to_owned(), None)],
            headers: vec![("k".to_owned(), "v".to_owned())],
        }),
    );
    assert_reads(
        5,
        &[
            room(),
            field(2, b"T"),
            varint(3, 1),
            field(6, b"x"),
            varint(7, 41),
            field(8, b"d"),
            varint(9, 1),
            varint(10, 1),
            varint(11, 1),
            field(12, b"fossil"),
            field(13, &field(1, b"eq")),
            varint(14, 2),
            varint(15, 1),
        ],
        Request::Subscribe(SubscribeRequest {
            room: "chat:1".to_owned(),
            token: "T".to_owned(),
            recover: true,
            position: position(41, "x"),
            data: Some("d".into()),
            positioned: true,
            recoverable: true,
            join_leave: true,
            delta: "fossil".to_owned(),
            flag: 2,
            kind: 1,
            filter: FilterWish::Malformed,
        }),
    );
    assert_reads(6, &[room()], Request::Unsubscribe { room: "chat:1".to_owned() });
    let data = Payload::opaque(Bytes::from_static(&[0xff, 0]));
    let publish = |data, is_map| Request::Publish(PublishRequest { room: "chat:1".to_owned(), data, is_map });
    assert_reads(7, &[room(), field(2, &[0xff, 0])], publish(Some(data), false));
    assert_reads(7, &[room()], publish(None, false));
    for map in [varint(3, 1), field(4, b"k"), varint(5, 1)] {
        assert_reads(7, &[room(), map], publish(None, true));
    }
    assert_reads(7, &[room(), varint(3, 0), field(4, b""), varint(5, 0)], publish(None, false));
    assert_reads(8, &[room()], Request::Presence { room: "chat:1".to_owned() });
    assert_reads(9, &[room()], Request::PresenceStats { room: "chat:1".to_owned() });
    let since = [varint(1, 3), field(2, b"x")].concat();
    assert_reads(
        10,
        // -1 as Protobuf writes it.
        &[room(), varint(7, u64::MAX), field(8, &since), varint(9, 1)],
        Request::History(HistoryRequest {
            room: "chat:1".to_owned(),
            limit: -1,
            since: Some(position(3, "x")),
            reverse: true,
        }),
    );
    assert_reads(11, &[], Request::Ping);
    assert_reads(14, &[field(1, b"T")], Request::Refresh { token: "T".to_owned() });
    assert_reads(
        15,
        &[room(), field(2, b"T")],
        Request::SubRefresh { room: "chat:1".to_owned(), token: "T".to_owned() },
    );
    assert_reads(99, &[], Request::Unknown);
}

/// Half a surrogate pair, as some clients write it, and other bytes that are no text.
#[test]
fn a_text_that_is_none_spoils_its_command_alone() {
    for text in [&[0xed, 0xa0, 0xbd][..], b"a\xff", b"\xc3"] {
        let position = field(8, &field(2, text));
        let sub = field(3, &[field(1, text), field(2, b"")].concat());
        let sub_epoch = field(3, &[field(1, b"a"), field(2, &field(6, text))].concat());
        for (tag, bad) in [
            (4, field(1, text)),
            (4, field(4, text)),
            (4, field(5, text)),
            (4, sub),
            (4, sub_epoch),
            (5, field(1, text)),
            (5, field(2, text)),
            (5, field(6, text)),
            (5, field(12, text)),
            (6, field(1, text)),
            (7, field(1, text)),
            (8, field(1, text)),
            (9, field(1, text)),
            (10, field(1, text)),
            (10, position),
            (13, field(2, text)),
            (14, field(1, text)),
            (15, field(1, text)),
            (15, field(2, text)),
        ] {
            let ping = || Command { id: 1, request: Request::Ping };
            let unreadable = Command { id: 7, request: Request::Unreadable { is_connect: tag == 4 } };
            let commands = [command(1, 11, &[]), command(7, tag, &[bad]), command(1, 11, &[])];
            assert_eq!(read(&frame(&commands)), [Ok(ping()), Ok(unreadable), Ok(ping())], "{tag} {text:?}");
        }
        // Payloads are bytes, and who expects no reply gets none.
        let data = Some(Payload::opaque(Bytes::copy_from_slice(text)));
        let publish = PublishRequest { data, ..PublishRequest::default() };
        assert_reads(7, &[field(2, text)], Request::Publish(publish));
        assert_eq!(read(&frame(&[command(0, 8, &[field(1, text)])])), [Ok(Command { id: 0, request: Request::Pong })]);
    }
}

#[test]
fn what_has_no_id_is_a_pong_or_a_send() {
    let send = field(12, &field(1, b"hi"));
    let said: Vec<_> = read(&frame(&[vec![], send, field(7, b"")])).into_iter().map(|c| c.unwrap().request).collect();
    assert_eq!(said, [Request::Pong, Request::Send { data: "hi".into() }, Request::Pong]);
}

#[test]
fn a_frame_that_turns_bad_yields_what_came_before_and_ends() {
    let good = command(1, 11, &[]);
    for bad in [&[5_u8, 1][..], &[0x80], &[2, 0x0a, 0xff], &[0xff; 11]] {
        let frame = [frame(std::slice::from_ref(&good)), bad.to_vec()].concat();
        let said = read(&frame);
        assert_eq!(said.len(), 2, "{bad:?}");
        assert!(said[0].is_ok() && matches!(said[1], Err(DecodeError::Malformed { .. })), "{bad:?}: {said:?}");
    }
    assert_eq!(Encoding::Protobuf.commands(b"", &Limits::default()).unwrap_err(), DecodeError::Empty);
    let limits = Limits { commands_per_frame_max: 2, frame_bytes_max: 3, ..Limits::default() };
    let said: Vec<_> = Encoding::Protobuf.commands(&[0, 0, 0], &limits).unwrap().collect();
    assert_eq!(said[2], Err(DecodeError::TooManyCommands { commands_max: 2 }));
    assert_eq!(said.len(), 3);
    let too_large = Encoding::Protobuf.commands(&[0; 4], &limits).unwrap_err();
    assert_eq!(too_large, DecodeError::TooLarge { bytes_max: 3 });
}

#[test]
fn no_more_headers_are_read_than_a_request_may_have() {
    let header = |name: String| field(6, &[field(1, name.as_bytes()), field(2, b"v")].concat());
    let headers: Vec<_> = (0..500).map(|n| header(n.to_string())).collect();
    let Request::Connect(connect) = read(&frame(&[command(1, 4, &headers)])).remove(0).unwrap().request else {
        panic!("a connect")
    };
    assert_eq!(connect.headers.len(), ConnectRequest::HEADERS_MAX);
}

#[test]
fn no_more_positions_are_read_than_a_client_may_have_rooms() {
    let sub = |name: String| field(3, &[field(1, name.as_bytes()), field(2, &varint(3, 1))].concat());
    let subs: Vec<_> = (0..500).map(|n| sub(n.to_string())).collect();
    let Request::Connect(connect) = read(&frame(&[command(1, 4, &subs)])).remove(0).unwrap().request else {
        panic!("a connect")
    };
    assert_eq!(connect.subs.len(), Limits::default().rooms_per_client_max);
}

/// What an SDK generates from the schema, of what we send.
mod sdk {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Reply {
        #[prost(uint32, tag = "1")]
        pub(super) id: u32,
        #[prost(message, optional, tag = "2")]
        pub(super) error: Option<Error>,
        #[prost(message, optional, tag = "4")]
        pub(super) push: Option<Push>,
        #[prost(message, optional, tag = "5")]
        pub(super) connect: Option<Connect>,
        #[prost(message, optional, tag = "6")]
        pub(super) subscribe: Option<Subscribed>,
        #[prost(message, optional, tag = "8")]
        pub(super) publish: Option<()>,
        #[prost(message, optional, tag = "9")]
        pub(super) presence: Option<Presence>,
        #[prost(message, optional, tag = "10")]
        pub(super) presence_stats: Option<PresenceStats>,
        #[prost(message, optional, tag = "11")]
        pub(super) history: Option<History>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Error {
        #[prost(uint32, tag = "1")]
        pub(super) code: u32,
        #[prost(string, tag = "2")]
        pub(super) message: String,
        #[prost(bool, tag = "3")]
        pub(super) temporary: bool,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Push {
        #[prost(string, tag = "2")]
        pub(super) room: String,
        #[prost(message, optional, tag = "4")]
        pub(super) publication: Option<Publication>,
        #[prost(message, optional, tag = "5")]
        pub(super) join: Option<Coming>,
        #[prost(message, optional, tag = "6")]
        pub(super) leave: Option<Coming>,
        #[prost(message, optional, tag = "7")]
        pub(super) unsubscribe: Option<Unsubscribe>,
        #[prost(message, optional, tag = "11")]
        pub(super) disconnect: Option<Disconnect>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Publication {
        #[prost(bytes, tag = "4")]
        pub(super) data: Vec<u8>,
        #[prost(message, optional, tag = "5")]
        pub(super) info: Option<Info>,
        #[prost(uint64, tag = "6")]
        pub(super) offset: u64,
        #[prost(map = "string, string", tag = "7")]
        pub(super) tags: HashMap<String, String>,
        #[prost(int64, tag = "9")]
        pub(super) time: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Info {
        #[prost(string, tag = "1")]
        pub(super) user: String,
        #[prost(string, tag = "2")]
        pub(super) client: String,
        #[prost(string, tag = "3")]
        pub(super) conn_info: String,
        #[prost(string, tag = "4")]
        pub(super) chan_info: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Coming {
        #[prost(message, optional, tag = "1")]
        pub(super) info: Option<Info>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Unsubscribe {
        #[prost(uint32, tag = "2")]
        pub(super) code: u32,
        #[prost(string, tag = "3")]
        pub(super) reason: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Disconnect {
        #[prost(uint32, tag = "1")]
        pub(super) code: u32,
        #[prost(string, tag = "2")]
        pub(super) reason: String,
        #[prost(bool, tag = "3")]
        pub(super) reconnect: bool,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Connect {
        #[prost(string, tag = "1")]
        pub(super) client: String,
        #[prost(map = "string, message", tag = "6")]
        pub(super) subs: HashMap<String, Subscribed>,
        #[prost(uint32, tag = "7")]
        pub(super) ping: u32,
        #[prost(bool, tag = "8")]
        pub(super) pong: bool,
        #[prost(string, tag = "9")]
        pub(super) session: String,
        #[prost(string, tag = "10")]
        pub(super) node: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Subscribed {
        #[prost(bool, tag = "3")]
        pub(super) recoverable: bool,
        #[prost(string, tag = "6")]
        pub(super) epoch: String,
        #[prost(message, repeated, tag = "7")]
        pub(super) publications: Vec<Publication>,
        #[prost(bool, tag = "8")]
        pub(super) recovered: bool,
        #[prost(uint64, tag = "9")]
        pub(super) offset: u64,
        #[prost(bool, tag = "10")]
        pub(super) positioned: bool,
        #[prost(bool, tag = "12")]
        pub(super) was_recovering: bool,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Presence {
        #[prost(map = "string, message", tag = "1")]
        pub(super) presence: HashMap<String, Info>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct PresenceStats {
        #[prost(uint32, tag = "1")]
        pub(super) num_clients: u32,
        #[prost(uint32, tag = "2")]
        pub(super) num_users: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct History {
        #[prost(message, repeated, tag = "1")]
        pub(super) publications: Vec<Publication>,
        #[prost(string, tag = "2")]
        pub(super) epoch: String,
        #[prost(uint64, tag = "3")]
        pub(super) offset: u64,
    }
}

fn reply(body: ReplyBody) -> sdk::Reply {
    let mut out = Vec::new();
    Encoding::Protobuf.encode_reply(&Reply { id: 7, body }, &mut out);
    let reply = sdk::Reply::decode_length_delimited(&out[..]).expect("a reply");
    assert_eq!(reply.id, 7);
    assert_eq!(
        reply.encode_length_delimited_to_vec().len(),
        out.len(),
        "a field nobody knows, or one of another number"
    );
    reply
}

fn push(push: &Push) -> sdk::Push {
    let mut out = Vec::new();
    Encoding::Protobuf.encode_push(push, &mut out);
    let reply = sdk::Reply::decode_length_delimited(&out[..]).expect("a reply");
    assert_eq!(
        reply.encode_length_delimited_to_vec().len(),
        out.len(),
        "a field nobody knows, or one of another number"
    );
    reply.push.expect("a push")
}

fn info() -> ClientInfo {
    ClientInfo::new("42".into(), "c1".into(), Some("{\"n\":1}".into()), Some("2".into()))
}

fn sdk_info() -> sdk::Info {
    sdk::Info { user: "42".into(), client: "c1".into(), conn_info: "{\"n\":1}".into(), chan_info: "2".into() }
}

fn placed(offset: u64) -> Placed {
    let mut publication = Publication::new(Payload::opaque(Bytes::from_static(&[0xff, b'\n'])), Some(info()));
    publication.tags = Some(Arc::new(BTreeMap::from([("a".to_owned(), "b".to_owned())])));
    Placed { offset, time_ms: 1_700_000_000_000, publication }
}

fn sdk_publication(offset: u64) -> sdk::Publication {
    sdk::Publication {
        data: vec![0xff, b'\n'],
        info: Some(sdk_info()),
        offset,
        tags: HashMap::from([("a".to_owned(), "b".to_owned())]),
        time: 1_700_000_000_000,
    }
}

fn room() -> RoomName {
    RoomName::parse("chat:1", 255).unwrap()
}

#[test]
fn replies_read_as_they_were_meant() {
    let error = reply(ReplyBody::Error(ErrorCode::TooManyRequests)).error;
    assert_eq!(error, Some(sdk::Error { code: 111, message: "too many requests".to_owned(), temporary: true }));
    let own = CustomError { code: 1000, message: "not today".to_owned(), temporary: true };
    let error = reply(ReplyBody::Failed(Box::new(own))).error;
    assert_eq!(error, Some(sdk::Error { code: 1000, message: "not today".to_owned(), temporary: true }));
    assert!(reply(ReplyBody::Publish).publish.is_some());

    let entered = SubscribeResult {
        recoverable: true,
        positioned: true,
        position: Some(StreamPosition { offset: 9, epoch: "x".to_owned() }),
        publications: vec![placed(8), placed(9)],
        was_recovering: true,
        recovered: true,
        ..SubscribeResult::default()
    };
    let expected = sdk::Subscribed {
        recoverable: true,
        epoch: "x".to_owned(),
        publications: vec![sdk_publication(8), sdk_publication(9)],
        recovered: true,
        offset: 9,
        positioned: true,
        was_recovering: true,
    };
    assert_eq!(reply(ReplyBody::Subscribe(Box::new(entered.clone()))).subscribe.as_ref(), Some(&expected));

    let connect = ConnectResult {
        client: "c1".to_owned(),
        ping_s: 25,
        pong: true,
        session: "s".to_owned(),
        node: "n".to_owned(),
        subs: vec![(room(), entered)],
        ..ConnectResult::default()
    };
    let connect = reply(ReplyBody::Connect(Box::new(connect))).connect.unwrap();
    assert_eq!((connect.client.as_str(), connect.ping, connect.pong), ("c1", 25, true));
    assert_eq!((connect.session.as_str(), connect.node.as_str()), ("s", "n"));
    assert_eq!(connect.subs["chat:1"], expected);

    let presence = reply(ReplyBody::Presence(vec![info()])).presence.unwrap().presence;
    assert_eq!(presence, HashMap::from([("c1".to_owned(), sdk_info())]));
    let stats = reply(ReplyBody::PresenceStats(PresenceStats { clients: 3, users: 2 })).presence_stats;
    assert_eq!(stats, Some(sdk::PresenceStats { num_clients: 3, num_users: 2 }));
    let history = HistoryResult::new(vec![placed(3)], StreamPosition { offset: 3, epoch: "x".to_owned() });
    let history = reply(ReplyBody::History(history)).history.unwrap();
    assert_eq!(history, sdk::History { publications: vec![sdk_publication(3)], epoch: "x".to_owned(), offset: 3 });
}

#[test]
fn pushes_read_as_they_were_meant() {
    let publication = push(&Push::Publication { room: room(), publication: placed(5) });
    assert_eq!((publication.room.as_str(), publication.publication), ("chat:1", Some(sdk_publication(5))));
    let join = push(&Push::Join { room: room(), info: info() });
    assert_eq!(join.join, Some(sdk::Coming { info: Some(sdk_info()) }));
    let leave = push(&Push::Leave { room: room(), info: info() });
    assert_eq!(leave.leave, Some(sdk::Coming { info: Some(sdk_info()) }));
    let out = push(&Push::Unsubscribe { room: room(), code: UnsubscribeCode::InsufficientState }).unsubscribe.unwrap();
    assert_eq!((out.code, out.reason.as_str()), (2500, UnsubscribeCode::InsufficientState.reason()));
    let end = push(&Push::disconnect(CloseCode::Shutdown)).disconnect.unwrap();
    assert_eq!((end.code, end.reconnect), (3001, true));
}

#[test]
fn a_ping_is_a_message_of_length_nought() {
    let mut out = Vec::new();
    Encoding::Protobuf.encode_ping(&mut out);
    assert_eq!(sdk::Reply::decode_length_delimited(&out[..]), Ok(sdk::Reply::default()));
    assert_eq!(out, [0]);
}

proptest! {
    #[test]
    fn publications_of_any_bytes_follow_each_other(payloads in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let encoder = Encoding::Protobuf.publications("chat:1");
        let mut out = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let publication = Publication::new(Payload::opaque(payload.clone().into()), None);
            encoder.encode(&publication, index as u64 + 1, 0, &mut out);
        }
        let mut rest = &out[..];
        for (index, payload) in payloads.iter().enumerate() {
            let push = sdk::Reply::decode_length_delimited(&mut rest).unwrap().push.unwrap();
            let publication = push.publication.unwrap();
            prop_assert_eq!((&publication.data, publication.offset), (payload, index as u64 + 1));
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn no_frame_is_too_strange(frame: Vec<u8>) {
        if let Ok(commands) = Encoding::Protobuf.commands(&frame, &Limits::default()) {
            let said: Vec<_> = commands.collect();
            prop_assert!(said.iter().rev().skip(1).all(Result::is_ok), "something follows an error");
        }
    }
}
