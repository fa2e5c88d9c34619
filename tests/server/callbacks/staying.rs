//! Clients whose time is over: the backend says whether they may stay.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use roomcast_server::config::ApiKey;
use serde_json::{Value, json};

use super::backend::{Backend, Said};
use super::{backend, connected, say, server};
use crate::api::post;
use crate::harness::{eventually, text};
use crate::tokens::seconds_from_now;

#[test]
fn who_may_stay_stays_and_brings_no_token_and_who_may_not_goes() {
    let refreshed = AtomicUsize::new(0);
    let backend = Backend::start(move |asked| {
        Said::Json(match asked.path.as_str() {
            "/connect" => json!({"result": {"user": "42", "expire_at": seconds_from_now(2), "meta": {"n": 1}}}),
            "/refresh" if refreshed.fetch_add(1, Relaxed) == 0 => {
                json!({"result": {"expire_at": seconds_from_now(2), "info": {"name": "Ann"}}})
            }
            _ => json!({"result": {"expired": true}}),
        })
    });
    let server = server(&backend, |config| {
        config.proxies.refresh_enabled = true;
        config.proxies.refresh.include_connection_meta = true;
    });
    let mut client = server.client();
    let reply = say(&mut client, 1, &json!({"connect": {}}));
    assert_eq!((&reply["connect"]["expires"], &reply["connect"]["ttl"]), (&Value::Null, &Value::Null));
    backend.asked();
    let asked = backend.asked();
    let expected = json!({
        "client": reply["connect"]["client"], "transport": "websocket", "protocol": "json", "encoding": "json",
        "user": "42", "meta": {"n": 1},
    });
    assert_eq!((asked.path.as_str(), asked.body), ("/refresh", expected));
    client.subscribe(2, "open:a");
    assert_eq!(backend.asked().path, "/refresh");
    assert_eq!(client.closed().0, 3005);
}

#[test]
fn a_backend_that_fails_throws_nobody_out() {
    let backend = Backend::start(|asked| match asked.path.as_str() {
        "/connect" => Said::Json(json!({"result": {"user": "42", "expire_at": seconds_from_now(1)}})),
        _ => Said::Status(500, ""),
    });
    let server = server(&backend, |config| config.proxies.refresh_enabled = true);
    let mut client = connected(&server, &backend);
    assert_eq!(backend.asked().path, "/refresh");
    client.subscribe(2, "open:a");
    client.publish(3, "open:a", "1");
}

#[test]
fn without_a_callback_for_it_a_client_of_the_backends_is_closed_when_its_time_is_over() {
    let backend = Backend::start(|_| Said::Json(json!({"result": {"user": "42", "expire_at": seconds_from_now(1)}})));
    let server = server(&backend, |config| config.client.expired_close_delay = Duration::ZERO);
    let mut client = server.client();
    let reply = say(&mut client, 1, &json!({"connect": {}}));
    assert_eq!(reply["connect"]["expires"], true, "{reply}");
    assert_eq!(client.closed().0, 3005);
}

#[test]
fn a_subscription_may_stay_or_ends() {
    let asked_before = AtomicUsize::new(0);
    let backend = Backend::start(move |asked| {
        Said::Json(match asked.path.as_str() {
            "/connect" => json!({"result": {"user": "42"}}),
            "/subscribe" => json!({"result": {"expire_at": seconds_from_now(1), "info": {"role": "guest"}}}),
            _ if asked_before.fetch_add(1, Relaxed) == 0 => json!({"result": {"expire_at": seconds_from_now(2)}}),
            _ => json!({"result": {"expired": true}}),
        })
    });
    let server = server(&backend, |config| {
        let options = config.channel.namespaces.get_mut("ask").expect("it is there");
        options.sub_refresh_proxy_enabled = true;
    });
    let mut client = connected(&server, &backend);
    let reply = client.subscribe(2, "ask:a");
    assert_eq!(reply["expires"], Value::Null, "it has nothing to bring: {reply}");
    backend.asked();
    let asked = backend.asked();
    assert_eq!((asked.path.as_str(), &asked.body["channel"]), ("/sub_refresh", &json!("ask:a")));
    let presence = say(&mut client, 3, &json!({"presence": {"channel": "ask:a"}}));
    let info = &presence["presence"]["presence"][text(&json!(client.id))];
    assert_eq!(info["chan_info"], json!({"role": "guest"}), "what was said of it stays: {presence}");
    assert_eq!(backend.asked().path, "/sub_refresh");
    let push = client.push();
    assert_eq!((&push["channel"], &push["unsubscribe"]["code"]), (&json!("ask:a"), &json!(2501)), "{push}");
}

/// Whose a connection is has been said by the backend alone.
#[test]
fn a_user_of_the_backends_with_one_connection_keeps_the_newest() {
    let backend = backend(|_| Said::Nothing);
    let server = server(&backend, |config| {
        let personal = &mut config.client.subscribe_to_user_personal_channel;
        (personal.enabled, personal.single_connection) = (true, true);
    });
    let mut first = connected(&server, &backend);
    let mut second = connected(&server, &backend);
    assert_eq!(first.closed().0, 3504);
    second.subscribe(2, "open:a");
    second.publish(3, "open:a", "1");
    assert_eq!(second.publication()["data"], 1);
}

#[test]
fn who_is_disconnected_goes_at_once_whatever_the_backend_is_being_asked() {
    let backend = backend(|_| Said::Nothing);
    let server = server(&backend, |config| {
        config.http_api.key = ApiKey::new("secret");
        config.rpc.without_namespace.proxy_enabled = true;
        config.proxies.rpc.timeout = Duration::from_secs(60);
        config.proxies.subscribe.timeout = Duration::from_secs(60);
    });
    for command in [json!({"rpc": {"method": "x"}}), json!({"subscribe": {"channel": "ask:a"}})] {
        let mut client = connected(&server, &backend);
        let mut asking = command.clone();
        asking["id"] = json!(2);
        client.send(&asking.to_string());
        backend.asked();
        let body = json!({"user": "42", "disconnect": {"code": 4501, "reason": "banned"}}).to_string();
        let (status, answer) = post(&server, "/api/disconnect", "X-API-Key: secret\r\n", &body);
        assert!(status == 200 && answer.contains("result"), "{answer}");
        assert_eq!(client.closed(), (4501, "banned".to_owned()), "{command}");
        eventually("the call has ended", || server.metric("roomcast_proxy_in_flight") == 0);
    }
}
