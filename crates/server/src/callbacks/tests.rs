//! The forms of questions and answers.

use super::answer::read;
use super::*;
use crate::auth::Expiry;
use bytes::Bytes;
use roomcast_protocol::{Encoding, Payload};
use serde_json::{Value, json};

const NOW_MS: u64 = 1_000_000_000;

fn way(encoding: Encoding) -> Way {
    Way { client: "c1".to_owned(), transport: "websocket", encoding }
}

fn question(event: Event) -> Question {
    let meta = Some(Bytes::from_static(b"{\"plan\":1}"));
    let user = (event.kind() != Kind::Connect).then(|| "42".to_owned());
    Question { proxy: "default".to_owned(), user, meta, headers: Vec::new(), event }
}

fn json_data(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

#[test]
fn each_question_has_the_fields_of_the_field() {
    let asked = |event: Event, is_binary, tells_meta| -> Value {
        let body = question(event).body(&way(Encoding::Json), is_binary, tells_meta).unwrap();
        serde_json::from_slice(&body).unwrap()
    };
    let room = || "chat:1".to_owned();
    let common = json!({"client": "c1", "transport": "websocket", "protocol": "json", "encoding": "json"});
    let with = |more: Value| {
        let mut all = common.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let connect = Event::Connect {
        data: json_data("{\"a\":[1]}"),
        name: "js".to_owned(),
        version: "1.0".to_owned(),
        rooms: vec![room()],
    };
    let expected = json!({"data": {"a": [1]}, "name": "js", "version": "1.0", "channels": ["chat:1"]});
    assert_eq!(asked(connect, false, false), with(expected));
    let bare = Event::Connect { data: None, name: String::new(), version: String::new(), rooms: Vec::new() };
    assert_eq!(asked(bare, false, false), common);
    assert_eq!(asked(Event::Refresh, false, true), with(json!({"user": "42", "meta": {"plan": 1}})));
    let subscribe = Event::Subscribe { room: room(), data: json_data("1") };
    assert_eq!(asked(subscribe, false, false), with(json!({"user": "42", "channel": "chat:1", "data": 1})));
    let publish = Event::Publish { room: room(), data: Bytes::from_static(b"{\"t\":1}") };
    assert_eq!(asked(publish, false, false), with(json!({"user": "42", "channel": "chat:1", "data": {"t": 1}})));
    let sub_refresh = Event::SubRefresh { room: room() };
    assert_eq!(asked(sub_refresh, false, false), with(json!({"user": "42", "channel": "chat:1"})));
    let rpc = Event::Rpc { method: "ns:do".to_owned(), data: json_data("null") };
    assert_eq!(asked(rpc, false, false), with(json!({"user": "42", "method": "ns:do", "data": null})));
    let binary = Event::Rpc { method: "do".to_owned(), data: Some(Bytes::from_static(&[0, 255])) };
    let expected = with(json!({"user": "42", "method": "do", "b64data": "AP8=", "encoding": "binary"}));
    assert_eq!(asked(binary, true, false), expected);
}

#[test]
fn an_anonymous_client_has_the_empty_user_and_data_that_is_no_json_is_asked_in_base64_alone() {
    let anonymous = Question { user: Some(String::new()), ..question(Event::Refresh) };
    let body = anonymous.body(&way(Encoding::Protobuf), false, false).unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&asked["user"], &asked["protocol"]), (&json!(""), &json!("protobuf")));
    let binary = question(Event::Publish { room: "r".to_owned(), data: Bytes::from_static(&[0, 255]) });
    assert!(binary.body(&way(Encoding::Protobuf), false, false).is_err());
    assert!(binary.body(&way(Encoding::Protobuf), true, false).is_ok());
}

fn answered(kind: Kind, body: &Value) -> Result<Answer, &'static str> {
    read(body.to_string().as_bytes(), kind, NOW_MS, false, 1_000)
}

#[test]
fn errors_and_disconnects_are_told_but_by_those_who_are_asked_whether_somebody_may_stay() {
    let error = json!({"error": {"code": 1000, "message": "no", "temporary": true}});
    let disconnect = json!({"result": {}, "disconnect": {"code": 4500, "reason": "banned"}});
    for kind in [Kind::Connect, Kind::Subscribe, Kind::Publish, Kind::Rpc] {
        let Ok(Answer::Error(told)) = answered(kind, &error) else { panic!("{kind:?}") };
        assert_eq!((told.code, told.message.as_str(), told.temporary), (1000, "no", true));
        let expected = Answer::Disconnect { code: 4500, reason: "banned".to_owned() };
        assert_eq!(answered(kind, &disconnect), Ok(expected));
    }
    for kind in [Kind::Refresh, Kind::SubRefresh] {
        assert_eq!(answered(kind, &error), Ok(Answer::Extended(None)), "there is no result");
        let Ok(Answer::Extended(Some(extended))) = answered(kind, &disconnect) else { panic!("{kind:?}") };
        assert_eq!(extended.expiry, Expiry::Never);
    }
}

#[test]
fn no_result_is_nobody_over_or_leave_by_what_was_asked() {
    for nothing in [json!({}), json!({"result": null}), json!({"result": null, "error": null})] {
        assert_eq!(answered(Kind::Connect, &nothing), Ok(Answer::Connect(None)));
        assert_eq!(answered(Kind::Refresh, &nothing), Ok(Answer::Extended(None)));
        assert_eq!(answered(Kind::Rpc, &nothing), Ok(Answer::Rpc(None)));
        assert!(matches!(answered(Kind::Subscribe, &nothing), Ok(Answer::Subscribe(_))));
        assert!(matches!(answered(Kind::Publish, &nothing), Ok(Answer::Publish(_))));
    }
    assert_eq!(
        answered(Kind::Refresh, &json!({"result": {"expired": true, "expire_at": 9}})),
        Ok(Answer::Extended(None))
    );
}

#[test]
fn who_a_client_is_comes_with_rooms_data_and_meta() {
    let all = json!({"result": {
        "user": "42", "expire_at": 1_000_060, "info": {"name": "Ann"}, "b64data": "eyJhIjogMX0=",
        "channels": ["left out"],
        "subs": {
            "a": {"info": 1, "data": {"x": 1}, "expire_at": 1_000_010, "override": {"presence": {"value": true}}},
            "b": null,
        },
        "meta": {"plan": 1}, "caps": [{"unknown": true}],
    }});
    let Ok(Answer::Connect(Some(admitted))) = answered(Kind::Connect, &all) else { panic!() };
    let Admitted { user, expiry, info, data, rooms, meta } = *admitted;
    assert_eq!((user.as_str(), expiry), ("42", Expiry::InMs(60_000)));
    assert_eq!(info.as_deref(), Some(&b"{\"name\":\"Ann\"}"[..]));
    assert_eq!(data.as_deref(), Some(&b"{\"a\":1}"[..]));
    assert_eq!(meta.as_deref(), Some(&b"{\"plan\":1}"[..]));
    let names: Vec<_> = rooms.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((rooms[0].1.overrides.presence, rooms[0].1.ttl_ms), (Some(true), Some(10_000)));
    let past = json!({"result": {"user": "42", "expire_at": 999_999}});
    let Ok(Answer::Connect(Some(admitted))) = answered(Kind::Connect, &past) else { panic!() };
    assert_eq!(admitted.expiry, Expiry::Past);
}

#[test]
fn what_is_published_in_place_of_what_was_sent_has_the_bounds_of_what_is_sent() {
    let rewritten = json!({"result": {"data": {"t": "x"}, "skip_history": true, "tags": {"a": "b"}, "version": 7}});
    let Ok(Answer::Publish(allowed)) = answered(Kind::Publish, &rewritten) else { panic!() };
    assert_eq!(allowed.data, Some(Payload::json(Bytes::from_static(b"{\"t\":\"x\"}"))));
    assert_eq!((allowed.skip_history, allowed.version, allowed.tags["a"].as_str()), (true, 7, "b"));
    for too_much in [
        json!({"result": {"data": "x".repeat(1_000)}}),
        json!({"result": {"tags": {"a": "x".repeat(1_000)}}}),
        json!({"result": {"idempotency_key": "x".repeat(256)}}),
    ] {
        assert!(answered(Kind::Publish, &too_much).is_err(), "{too_much}");
    }
}

/// All of it stays in memory as long as the client does, and `info` goes to everybody in its rooms.
#[test]
fn what_is_held_of_a_client_is_no_more_than_a_token_says() {
    let text = |bytes: usize| "x".repeat(bytes);
    let half = || text(40_000);
    for (kind, result) in [
        (Kind::Connect, json!({"user": text(256)})),
        (Kind::Connect, json!({"user": "42", "info": text(70_000)})),
        (Kind::Connect, json!({"user": "42", "info": half(), "meta": half()})),
        (Kind::Connect, json!({"user": "42", "subs": {"a": {"info": half()}, "b": {"info": half()}}})),
        (Kind::Subscribe, json!({"info": text(70_000)})),
        (Kind::Refresh, json!({"meta": text(70_000)})),
        (Kind::SubRefresh, json!({"info": text(70_000)})),
    ] {
        assert!(answered(kind, &json!({"result": result})).is_err(), "{kind:?}");
    }
    let most = json!({"result": {"user": text(255), "info": half(), "data": text(500_000)}});
    assert!(answered(Kind::Connect, &most).is_ok(), "data is told once");
}

#[test]
fn what_has_another_form_is_no_answer() {
    for body in
        ["", "[]", "null", "{", "nonsense", "{\"result\":[]}", "{\"result\":1}", "{\"error\":[1,\"x\"]}x", "\u{0}"]
    {
        assert!(read(body.as_bytes(), Kind::Connect, NOW_MS, false, 1_000).is_err(), "{body}");
    }
    for result in [
        json!({"user": 42}),
        json!({"expire_at": "tomorrow"}),
        json!({"channels": "a"}),
        json!({"subs": {"a": [1]}}),
        json!({"subs": {"a": {"expire_at": true}}}),
        json!({"b64info": "%"}),
        json!({"b64data": "AP8="}),
    ] {
        assert!(answered(Kind::Connect, &json!({"result": result})).is_err(), "{result}");
    }
    for broken in [
        json!({"error": {"message": "no code"}}),
        json!({"error": {"code": 1, "message": "x".repeat(2_000)}}),
        json!({"disconnect": {"code": 1000, "reason": "no code of ours"}}),
        json!({"disconnect": {"code": 4000, "reason": "x".repeat(124)}}),
    ] {
        assert!(answered(Kind::Connect, &broken).is_err(), "{broken}");
    }
}

#[test]
fn bytes_are_for_clients_that_take_bytes() {
    let body = json!({"result": {"b64data": "AP8="}}).to_string();
    let rpc = |takes_bytes| read(body.as_bytes(), Kind::Rpc, NOW_MS, takes_bytes, 1_000);
    assert_eq!(rpc(true), Ok(Answer::Rpc(Some(Bytes::from_static(&[0, 255])))));
    assert!(rpc(false).is_err());
}
