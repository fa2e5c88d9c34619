//! Replies and pushes as SDKs expect them.

use crate::{
    ClientInfo, CloseCode, ConnectResult, CustomError, Encoding, ErrorCode, HistoryResult, Payload, Placed,
    PresenceStats, Publication, Push, RefreshResult, Reply, ReplyBody, RoomName, StreamPosition, SubscribeResult,
    UnsubscribeCode,
};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;

#[track_caller]
fn assert_reply(body: ReplyBody, expected: &str) {
    let mut out = Vec::new();
    Encoding::Json.encode_reply(&Reply { id: 7, body }, &mut out);
    assert_eq!(str::from_utf8(&out).unwrap(), expected);
    serde_json::from_slice::<serde_json::Value>(&out).expect("a reply is JSON");
}

#[track_caller]
fn assert_push(push: &Push, expected: &str) {
    let mut out = Vec::new();
    Encoding::Json.encode_push(push, &mut out);
    assert_eq!(str::from_utf8(&out).unwrap(), expected);
    serde_json::from_slice::<serde_json::Value>(&out).expect("a push is JSON");
}

fn at(offset: u64, epoch: &str) -> StreamPosition {
    StreamPosition { offset, epoch: epoch.to_owned() }
}

fn placed(offset: u64, data: &'static str) -> Placed {
    Placed { offset, time_ms: 0, publication: Publication::new(Payload::json(Bytes::from(data)), None) }
}

fn info() -> ClientInfo {
    ClientInfo::new("42".to_owned(), "c1".to_owned(), Some(Bytes::from(r#"{"name":"Ada"}"#)), None)
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name, 255).unwrap()
}

#[test]
fn connect_says_who_where_and_how_often_to_ping() {
    let result = ConnectResult {
        client: "c1".to_owned(),
        version: "0.1.0".to_owned(),
        ping_s: 25,
        pong: true,
        session: "s".to_owned(),
        node: "n".to_owned(),
        ..ConnectResult::default()
    };
    assert_reply(
        ReplyBody::Connect(Box::new(result.clone())),
        r#"{"id":7,"connect":{"client":"c1","version":"0.1.0","ping":25,"pong":true,"session":"s","node":"n"}}"#,
    );
    let expiring = ConnectResult { ttl_s: Some(600), data: Some(Bytes::from("{}")), ..result };
    assert_reply(
        ReplyBody::Connect(Box::new(expiring)),
        r#"{"id":7,"connect":{"client":"c1","version":"0.1.0","expires":true,"ttl":600,"data":{},"ping":25,"pong":true,"session":"s","node":"n"}}"#,
    );
}

#[test]
fn subscribe_carries_the_position_and_what_was_missed() {
    let result = SubscribeResult {
        recoverable: true,
        positioned: true,
        position: Some(at(43, "qFhv")),
        was_recovering: true,
        recovered: true,
        publications: vec![placed(42, "{}"), placed(43, "1")],
        ..SubscribeResult::default()
    };
    assert_reply(
        ReplyBody::Subscribe(Box::new(result)),
        r#"{"id":7,"subscribe":{"recoverable":true,"positioned":true,"epoch":"qFhv","offset":43,"publications":[{"data":{},"offset":42},{"data":1,"offset":43}],"was_recovering":true,"recovered":true}}"#,
    );
    assert_reply(ReplyBody::Subscribe(Box::default()), r#"{"id":7,"subscribe":{}}"#);
}

#[test]
fn the_other_replies_are_as_the_protocol_says() {
    assert_reply(ReplyBody::Unsubscribe, r#"{"id":7,"unsubscribe":{}}"#);
    assert_reply(ReplyBody::Publish, r#"{"id":7,"publish":{}}"#);
    assert_reply(ReplyBody::Ping, r#"{"id":7,"ping":{}}"#);
    assert_reply(
        ReplyBody::Presence(vec![info()]),
        r#"{"id":7,"presence":{"presence":{"c1":{"user":"42","client":"c1","conn_info":{"name":"Ada"}}}}}"#,
    );
    assert_reply(ReplyBody::Presence(Vec::new()), r#"{"id":7,"presence":{"presence":{}}}"#);
    assert_reply(
        ReplyBody::PresenceStats(PresenceStats { clients: 3, users: 2 }),
        r#"{"id":7,"presence_stats":{"num_clients":3,"num_users":2}}"#,
    );
    assert_reply(
        ReplyBody::History(HistoryResult::new(Vec::new(), at(43, "qFhv"))),
        r#"{"id":7,"history":{"publications":[],"epoch":"qFhv","offset":43}}"#,
    );
    // SDKs read these fields without asking whether they are there.
    assert_reply(
        ReplyBody::PresenceStats(PresenceStats::default()),
        r#"{"id":7,"presence_stats":{"num_clients":0,"num_users":0}}"#,
    );
    assert_reply(
        ReplyBody::History(HistoryResult::new(Vec::new(), at(0, "qFhv"))),
        r#"{"id":7,"history":{"publications":[],"epoch":"qFhv","offset":0}}"#,
    );
    assert_reply(ReplyBody::Rpc { data: Some(Bytes::from("{}")) }, r#"{"id":7,"rpc":{"data":{}}}"#);
    let refresh = RefreshResult { client: "c1".to_owned(), ttl_s: Some(600), ..RefreshResult::default() };
    assert_reply(ReplyBody::Refresh(refresh), r#"{"id":7,"refresh":{"client":"c1","expires":true,"ttl":600}}"#);
    assert_reply(ReplyBody::SubRefresh { ttl_s: Some(60) }, r#"{"id":7,"sub_refresh":{"expires":true,"ttl":60}}"#);
}

#[test]
fn errors_carry_code_message_and_whether_to_retry() {
    for error in ErrorCode::ALL {
        let temporary = if error.is_temporary() { r#","temporary":true"# } else { "" };
        assert_reply(
            ReplyBody::Error(error),
            &format!(r#"{{"id":7,"error":{{"code":{},"message":"{}"{temporary}}}}}"#, error.code(), error.message()),
        );
    }
    let own = CustomError { code: 1000, message: "not \"today\"".to_owned(), temporary: true };
    assert_reply(
        ReplyBody::Failed(Box::new(own)),
        r#"{"id":7,"error":{"code":1000,"message":"not \"today\"","temporary":true}}"#,
    );
    assert_reply(
        ReplyBody::Error(ErrorCode::Internal),
        r#"{"id":7,"error":{"code":100,"message":"internal server error","temporary":true}}"#,
    );
}

#[test]
fn every_push_is_as_the_protocol_says() {
    let room = room("chat:\"1\"");
    let mut full = Publication::new(Payload::json(Bytes::from(r#"{"t":"hi"}"#)), Some(info()));
    full.tags = Some(Arc::new([("k".to_owned(), "v".to_owned())].into()));
    assert_push(
        &Push::Publication {
            room: room.clone(),
            publication: Placed { offset: 44, time_ms: 1_716_198_604_052, publication: full },
        },
        r#"{"push":{"channel":"chat:\"1\"","pub":{"data":{"t":"hi"},"info":{"user":"42","client":"c1","conn_info":{"name":"Ada"}},"offset":44,"tags":{"k":"v"},"time":1716198604052}}}"#,
    );
    assert_push(
        &Push::Join { room: room.clone(), info: info() },
        r#"{"push":{"channel":"chat:\"1\"","join":{"info":{"user":"42","client":"c1","conn_info":{"name":"Ada"}}}}}"#,
    );
    let anonymous = ClientInfo::new(String::new(), "c2".to_owned(), None, Some(Bytes::from("1")));
    assert_push(
        &Push::Leave { room: room.clone(), info: anonymous },
        r#"{"push":{"channel":"chat:\"1\"","leave":{"info":{"user":"","client":"c2","chan_info":1}}}}"#,
    );
    assert_push(
        &Push::Subscribe {
            room: room.clone(),
            recoverable: true,
            positioned: true,
            position: Some(at(1, "e")),
            data: None,
        },
        r#"{"push":{"channel":"chat:\"1\"","subscribe":{"recoverable":true,"positioned":true,"epoch":"e","offset":1}}}"#,
    );
    assert_push(
        &Push::Unsubscribe { room, code: UnsubscribeCode::InsufficientState },
        r#"{"push":{"channel":"chat:\"1\"","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#,
    );
    assert_push(&Push::Message { data: Bytes::from("[1]") }, r#"{"push":{"message":{"data":[1]}}}"#);
    assert_push(
        &Push::disconnect(CloseCode::Shutdown),
        r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown","reconnect":true}}}"#,
    );
    assert_push(
        &Push::disconnect(CloseCode::BadRequest),
        r#"{"push":{"disconnect":{"code":3501,"reason":"bad request"}}}"#,
    );
    assert_push(&Push::Refresh { ttl_s: Some(60) }, r#"{"push":{"refresh":{"expires":true,"ttl":60}}}"#);
}

#[test]
fn a_ping_is_an_empty_object() {
    let mut out = Vec::new();
    Encoding::Json.encode_ping(&mut out);
    assert_eq!(out, b"{}");
}

proptest! {
    /// The encoder of a room's publications and the push encoder say the same, and a reader finds what went in.
    #[test]
    fn publications_read_back(
        name in "[^\\p{Cc}]{1,40}",
        text: String,
        user: String,
        client: String,
        (offset, time_ms) in (1_u64.., 1_u64..),
    ) {
        let data = serde_json::json!({ "t": text });
        let info = ClientInfo::new(user.clone(), client.clone(), None, None);
        let publication = Publication::new(Payload::json(data.to_string().into()), Some(info));
        let mut run = b"already there".to_vec();
        Encoding::Json.publications(&name).encode(&publication, offset, time_ms, &mut run);
        let written = run.split_off(b"already there".len());
        let mut pushed = Vec::new();
        let placed = Placed { offset, time_ms, publication };
        Encoding::Json.encode_push(&Push::Publication { room: room(&name), publication: placed }, &mut pushed);
        prop_assert_eq!(&written, &pushed);
        prop_assert!(!written.contains(&b'\n'));
        let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
        let push = &read["push"];
        prop_assert_eq!(&push["channel"], &name);
        prop_assert_eq!(&push["pub"]["data"], &data);
        prop_assert_eq!(push["pub"]["offset"].as_u64(), Some(offset));
        prop_assert_eq!(push["pub"]["time"].as_u64(), Some(time_ms));
        prop_assert_eq!(push["pub"]["info"]["user"].as_str().unwrap_or_default(), user);
        prop_assert_eq!(push["pub"]["info"]["client"].as_str().unwrap_or_default(), client);
    }
}
