//! Commands as SDKs send them, and what nobody should send.

use crate::{
    Command, ConnectRequest, DecodeError, Encoding, FilterWish, HistoryRequest, Limits, Payload, PublishRequest,
    Request, RpcRequest, StreamPosition, SubscribeRequest,
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

fn decode(frame: &[u8]) -> Result<Vec<Command>, DecodeError> {
    Encoding::Json.commands(frame, &Limits::default())?.collect()
}

/// The one command of `frame`.
#[track_caller]
fn one(frame: &str) -> Command {
    let mut commands = decode(frame.as_bytes()).expect("the frame is good");
    assert_eq!(commands.len(), 1, "{frame}");
    commands.remove(0)
}

#[track_caller]
fn assert_request(frame: &str, id: u32, request: Request) {
    assert_eq!(one(frame), Command { id, request }, "{frame}");
}

fn at(offset: u64, epoch: &str) -> StreamPosition {
    StreamPosition { offset, epoch: epoch.to_owned() }
}

fn room(name: &str) -> String {
    name.to_owned()
}

#[test]
fn no_more_headers_are_read_than_a_request_may_have() {
    let headers: serde_json::Map<_, _> = (0..500).map(|n| (n.to_string(), json!("v"))).collect();
    let Request::Connect(connect) = one(&json!({"id": 1, "connect": {"headers": headers}}).to_string()).request else {
        panic!("a connect")
    };
    assert_eq!(connect.headers.len(), ConnectRequest::HEADERS_MAX);
    assert!(decode(b"{\"id\":1,\"connect\":{\"headers\":{\"k\":1}}}").is_err(), "a header is a text");
}

#[test]
fn every_command_of_the_protocol_is_understood() {
    assert_request(
        r#"{"id":1,"connect":{"token":"JWT","data":{},"name":"js","version":"1","headers":{"k":"v"},"subs":{"room":{"recover":true,"offset":5,"epoch":"x"},"other":{"offset":5},"map":{"type":1},"some":{"tf":{}}}}}"#,
        1,
        Request::Connect(ConnectRequest {
            token: "JWT".to_owned(),
            data: Some(Bytes::from("{}")),
            name: "js".to_owned(),
            version: "1".to_owned(),
            subs: vec![(room("room"), Some(at(5, "x"))), (room("other"), None)],
            headers: vec![("k".to_owned(), "v".to_owned())],
        }),
    );
    assert_request(
        r#"{"id":2,"subscribe":{"channel":"chat:1","token":"JWT","recover":true,"offset":41,"epoch":"qFhv","positioned":true,"recoverable":true,"join_leave":true,"delta":"fossil","flag":3,"type":1,"tf":{"op":"eq"}}}"#,
        2,
        Request::Subscribe(SubscribeRequest {
            room: room("chat:1"),
            token: "JWT".to_owned(),
            recover: true,
            position: at(41, "qFhv"),
            data: None,
            positioned: true,
            recoverable: true,
            join_leave: true,
            delta: "fossil".to_owned(),
            flag: 3,
            kind: 1,
            filter: FilterWish::Malformed,
        }),
    );
    assert_request(
        r#"{"id":3,"publish":{"channel":"chat:1","data":{"t":"hi"}}}"#,
        3,
        Request::Publish(PublishRequest {
            room: room("chat:1"),
            data: Some(Payload::json(r#"{"t":"hi"}"#.into())),
            is_map: false,
        }),
    );
    for (fields, is_map) in [
        (r#""type":1"#, true),
        (r#""key":"k""#, true),
        (r#""removed":true"#, true),
        (r#""type":0,"key":"","removed":false"#, false),
        (r#""type":null,"key":null,"removed":null"#, false),
    ] {
        let publish = PublishRequest { room: room("a"), data: None, is_map };
        assert_request(&format!(r#"{{"id":3,"publish":{{"channel":"a",{fields}}}}}"#), 3, Request::Publish(publish));
    }
    assert_request(
        r#"{"id":4,"history":{"channel":"chat:1","limit":-1,"since":{"offset":7,"epoch":"qFhv"},"reverse":true}}"#,
        4,
        Request::History(HistoryRequest { room: room("chat:1"), limit: -1, since: Some(at(7, "qFhv")), reverse: true }),
    );
    assert_request(r#"{"id":5,"presence":{"channel":"a"}}"#, 5, Request::Presence { room: room("a") });
    assert_request(r#"{"id":6,"presence_stats":{"channel":"a"}}"#, 6, Request::PresenceStats { room: room("a") });
    assert_request(r#"{"id":7,"unsubscribe":{"channel":"a"}}"#, 7, Request::Unsubscribe { room: room("a") });
    assert_request(
        r#"{"id":8,"rpc":{"method":"m","data":{}}}"#,
        8,
        Request::Rpc(RpcRequest { method: "m".to_owned(), data: Some(Bytes::from("{}")) }),
    );
    assert_request(r#"{"send":{"data":[1]}}"#, 0, Request::Send { data: Bytes::from("[1]") });
    assert_request(r#"{"id":9,"send":{"data":1}}"#, 9, Request::Send { data: Bytes::from("1") });
    assert_request(r#"{"id":9,"refresh":{"token":"JWT"}}"#, 9, Request::Refresh { token: "JWT".to_owned() });
    assert_request(
        r#"{"id":10,"sub_refresh":{"channel":"c","token":"JWT"}}"#,
        10,
        Request::SubRefresh { room: room("c"), token: "JWT".to_owned() },
    );
    assert_request(r#"{"id":11,"ping":{}}"#, 11, Request::Ping);
}

#[test]
fn whatever_has_neither_id_nor_send_is_a_pong() {
    for frame in ["{}", r#"{"id":0}"#, r#"{"id":null}"#, r#"{"publish":{"channel":"a","data":1}}"#, r#"{"x":1}"#] {
        assert_request(frame, 0, Request::Pong);
    }
}

#[test]
fn unknown_methods_are_told_apart_from_bad_json() {
    for frame in [r#"{"id":1}"#, r#"{"id":1,"map_subscribe":{"channel":"a"}}"#, r#"{"id":1,"publish":null}"#] {
        assert_request(frame, 1, Request::Unknown);
    }
}

#[test]
fn null_fields_count_as_missing_but_a_null_payload_is_one() {
    assert_request(
        r#"{"id":1,"connect":{"token":null,"data":null,"name":null,"subs":null}}"#,
        1,
        Request::Connect(ConnectRequest::default()),
    );
    assert_request(
        r#"{"id":1,"publish":{"channel":"a","data":null}}"#,
        1,
        Request::Publish(PublishRequest { room: room("a"), data: Some(Payload::json("null".into())), is_map: false }),
    );
    assert_request(
        r#"{"id":1,"publish":{"channel":"a"}}"#,
        1,
        Request::Publish(PublishRequest { room: room("a"), data: None, is_map: false }),
    );
}

#[test]
fn a_frame_may_hold_many_commands() {
    let commands =
        decode(b"{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\r\n\n{}\n").unwrap();
    assert_eq!(commands.iter().map(|command| command.id).collect::<Vec<_>>(), [1, 2, 0]);
}

#[test]
fn payloads_lose_their_raw_newlines_but_not_their_content() {
    let command = one("{\"id\":1,\n \"publish\": {\"channel\": \"a\",\n \"data\": {\n \"t\" :\t\"a\\n b\" }}}");
    let Request::Publish(publish) = command.request else { panic!("{command:?}") };
    assert_eq!(publish.data.unwrap().as_bytes(), br#"{"t":"a\n b"}"#);
}

#[test]
fn bytes_that_are_not_the_protocol_are_an_error() {
    for frame in [
        &b"hello"[..],
        b"[]",
        b"1",
        b"null",
        b"\"{}\"",
        b"{\"id\":1",
        b"{\"id\":-1}",
        b"{\"id\":1.5}",
        b"{\"id\":4294967296}",
        b"{\"id\":\"1\"}",
        b"{\"id\":1,\"publish\":[\"a\",1]}",
        b"{\"id\":1,\"publish\":{\"channel\":5}}",
        b"{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":{]}}",
        b"{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":\"\n\"}}",
        b"{\"id\":1,\"history\":{\"limit\":3000000000}}",
        b"{\"id\":1,\"subscribe\":{\"offset\":-1}}",
        b"{\"id\":1,\"publish\":{\"channel\":\"\xff\"}}",
        b"\xff",
    ] {
        let error = decode(frame).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { .. }), "{frame:?}: {error:?}");
    }
    for frame in [&b""[..], b" \r\n"] {
        assert_eq!(decode(frame), Err(DecodeError::Empty));
    }
}

#[test]
fn commands_before_an_error_are_read_and_none_after_it() {
    let frame = b"{\"id\":1,\"ping\":{}}\n{\"id\":\n{\"id\":2,\"ping\":{}}";
    let mut commands = Encoding::Json.commands(frame, &Limits::default()).unwrap();
    assert_eq!(commands.next(), Some(Ok(Command { id: 1, request: Request::Ping })));
    assert!(matches!(commands.next(), Some(Err(DecodeError::Malformed { .. }))));
    assert_eq!(commands.next(), None);
}

#[test]
fn commands_before_bytes_that_are_no_text_are_read() {
    let mut commands = Encoding::Json.commands(b"{\"id\":1,\"ping\":{}}\n\xff", &Limits::default()).unwrap();
    assert_eq!(commands.next(), Some(Ok(Command { id: 1, request: Request::Ping })));
    assert_eq!(commands.next(), Some(Err(DecodeError::Malformed { at: 19 })));
    assert_eq!(commands.next(), None);
}

#[test]
fn half_a_surrogate_pair_is_no_text_and_a_whole_one_is() {
    let unreadable = |is_connect| Request::Unreadable { is_connect };
    for half in ["\\ud83d", "x\\uDe00y", "\\ude00\\ud83d", "\\ud83d\\ud83d\\ude00", "\\ud83d\\\\ude00", "\\ud83dude00"]
    {
        let presence = format!(r#"{{"id":2,"presence":{{"channel":"{half}"}}}}"#);
        assert_request(&presence, 2, unreadable(false));
        assert_request(&format!(r#"{{"id":2,"connect":{{"name":"{half}"}}}}"#), 2, unreadable(true));
        assert_request(&format!(r#"{{"id":2,"connect":{{"subs":{{"{half}":{{}}}}}}}}"#), 2, unreadable(true));
        // The commands around it are read.
        let ping = r#"{"id":1,"ping":{}}"#;
        let read = decode(format!("{ping}\n {presence} {presence}{ping}").as_bytes()).unwrap();
        let requests: Vec<_> = read.into_iter().map(|command| command.request).collect();
        assert_eq!(requests, [Request::Ping, unreadable(false), unreadable(false), Request::Ping]);
        // What else is wrong stays so.
        for bad in [
            format!(r#"{{"id":2,"presence":{{"channel":"{half}"}}"#),
            format!(r#"{{"id":-2,"a":"{half}","{half}":1}}"#),
        ] {
            assert!(matches!(decode(bad.as_bytes()), Err(DecodeError::Malformed { .. })), "{bad}");
        }
        // Without an id there is nobody to tell.
        assert_request(&format!(r#"{{"presence":{{"channel":"{half}"}}}}"#), 0, Request::Pong);
    }
    for (whole, text) in
        [("\\ud83d\\ude00", "😀"), ("\\\\ud83d", "\\ud83d"), ("\\ufffd", "\u{fffd}"), ("\\\"\\ue000", "\"\u{e000}")]
    {
        let presence = format!(r#"{{"id":2,"presence":{{"channel":"{whole}"}}}}"#);
        assert_request(&presence, 2, Request::Presence { room: text.to_owned() });
    }
}

#[test]
fn frames_are_bounded_in_bytes_and_in_commands() {
    let limits = Limits { frame_bytes_max: 8, commands_per_frame_max: 2, ..Limits::default() };
    let decode = |frame: &[u8]| Encoding::Json.commands(frame, &limits)?.collect::<Result<Vec<_>, _>>();
    assert_eq!(decode(b"{}\n{}").map(|commands| commands.len()), Ok(2));
    assert_eq!(decode(b"{}\n{}\n{}"), Err(DecodeError::TooManyCommands { commands_max: 2 }));
    assert_eq!(decode(b"{}       "), Err(DecodeError::TooLarge { bytes_max: 8 }));

    // A command too many is that, whether its texts are text or not.
    let limits = Limits { commands_per_frame_max: 1, ..Limits::default() };
    let decode = |frame: &[u8]| Encoding::Json.commands(frame, &limits)?.collect::<Result<Vec<_>, _>>();
    let too_many = Err(DecodeError::TooManyCommands { commands_max: 1 });
    assert_eq!(decode(br#"{}{"send":{"\ud800":1}}"#), too_many);
    assert_eq!(decode(br#"{}{"id":2,"presence":{"channel":"\ud800"}}"#), too_many);
    assert_eq!(decode(br#"{}{"send":"\ud800"}"#), Err(DecodeError::Malformed { at: 2 }));
}

#[test]
fn connect_keeps_at_most_as_many_positions_as_a_client_has_rooms() {
    let subs: serde_json::Map<_, _> =
        (0..1_000).map(|n| (n.to_string(), json!({"recover": true, "offset": 1}))).collect();
    let Request::Connect(connect) = one(&json!({"id": 1, "connect": {"subs": subs}}).to_string()).request else {
        panic!("not a connect");
    };
    assert_eq!(connect.subs.len(), 128);
}

#[test]
fn a_connect_request_may_stand_alone() {
    let read = |request: &[u8]| Encoding::JsonPushes.commands(request, &Limits::default()).map(|mut it| it.next());
    let request = br#" {"token":"t","name":"page","subs":{"a":{"recover":true,"offset":3,"epoch":"e"},"b":{}}} "#;
    let Ok(Some(Ok(Command { id: 1, request: Request::Connect(connect) }))) = read(request) else {
        panic!("no request")
    };
    assert_eq!((connect.token.as_str(), connect.name.as_str()), ("t", "page"));
    assert_eq!(connect.subs, [("a".to_owned(), Some(at(3, "e"))), ("b".to_owned(), None)]);
    assert!(matches!(read(b"{}"), Ok(Some(Ok(_)))));
    assert!(matches!(read(b"{\n\t}\n"), Ok(Some(Ok(_)))));
    assert_eq!(Encoding::JsonPushes.commands(b"{}", &Limits::default()).unwrap().count(), 1);
    for bad in [
        &b""[..],
        b" \n",
        b"null",
        b"[]",
        b"{} {}",
        b"{\"token\":1}",
        b"{\"token\":\"\\ud800\"}",
        b"{\"name\":\"\xff\"}",
        b"{\"passed over\":\"\xff\"}",
    ] {
        assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn a_deep_payload_does_not_exhaust_the_stack() {
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    let command = one(&format!(r#"{{"id":1,"publish":{{"channel":"a","data":{deep}}}}}"#));
    assert!(
        matches!(command.request, Request::Publish(publish) if publish.data.as_ref().map(Payload::as_bytes) == Some(deep.as_bytes()))
    );
    let unknown = format!(r#"{{"id":1,"unknown":{deep}}}"#);
    assert_request(&unknown, 1, Request::Unknown);
}

/// JSON values with all that strings can hold.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|v| json!(v)),
        any::<i64>().prop_map(|v| json!(v)),
        any::<String>().prop_map(|v| json!(v)),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
            prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|v| json!(v)),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _outcome = decode(&frame);
    }

    /// Good frames with a few bytes changed reach further into the decoder than noise does.
    #[test]
    fn damaged_frames_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut frame = br#"{"id":2,"subscribe":{"channel":"a\u00e9","recover":true,"offset":41,"data":{"x":[1,"\\"]}}}
{"id":3,"history":{"channel":"a","limit":-1,"since":{"offset":1,"epoch":"e"}}}"#.to_vec();
        for (at, byte) in edits {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let _outcome = decode(&frame);
    }

    #[test]
    fn what_a_client_publishes_arrives_whatever_its_layout(
        id in 1_u32..,
        channel: String,
        data in any_json(),
    ) {
        let command = json!({"id": id, "publish": {"channel": channel, "data": data}});
        for text in [command.to_string(), serde_json::to_string_pretty(&command).unwrap()] {
            let decoded = one(&text);
            prop_assert_eq!(decoded.id, id);
            let Request::Publish(publish) = decoded.request else { panic!("{text}") };
            prop_assert_eq!(&publish.room, &channel);
            let payload = publish.data.unwrap();
            let payload = payload.as_bytes();
            prop_assert!(!payload.contains(&b'\n'));
            prop_assert_eq!(str::from_utf8(payload).unwrap(), data.to_string());
        }
    }

    #[test]
    fn subscribe_keeps_every_wish(
        (id, channel, offset, epoch, flag) in (1_u32.., any::<String>(), any::<u64>(), any::<String>(), any::<u64>()),
        (recover, positioned, recoverable, join_leave) in any::<(bool, bool, bool, bool)>(),
    ) {
        let command = json!({"id": id, "subscribe": {
            "channel": channel, "offset": offset, "epoch": epoch, "flag": flag, "recover": recover,
            "positioned": positioned, "recoverable": recoverable, "join_leave": join_leave,
        }});
        let expected = SubscribeRequest {
            room: channel, position: StreamPosition { offset, epoch }, flag, recover, positioned, recoverable,
            join_leave, ..SubscribeRequest::default()
        };
        prop_assert_eq!(one(&command.to_string()), Command { id, request: Request::Subscribe(expected) });
    }
}
