//! Clients whose tokens are of an issuer that publishes its keys, and issuers of all kinds.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roomcast_server::config::JwksEndpoint;
use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, Running, eventually, text};

/// How an issuer answers.
#[derive(Clone, Debug)]
enum Manner {
    /// With that status and body.
    Says(&'static str, String),
    /// It takes the request and says nothing.
    Silent,
    /// It hangs up.
    Gone,
    /// It sends a body without end.
    Endless,
}

struct Issuer {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    /// Requests that it was asked.
    asked: Arc<AtomicUsize>,
    pair: Ed25519KeyPair,
}

impl Issuer {
    fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (manner, asked) = (Arc::new(Mutex::new(manner)), Arc::new(AtomicUsize::new(0)));
        let (of, count) = (Arc::clone(&manner), Arc::clone(&asked));
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (of, count) = (Arc::clone(&of), Arc::clone(&count));
                std::thread::spawn(move || answer(stream, &of, &count));
            }
        });
        Self { address, manner, asked, pair: Ed25519KeyPair::generate().expect("a key") }
    }

    /// One that publishes its key by these names.
    fn with_keys(names: &[&str]) -> Self {
        let issuer = Self::new(Manner::Gone);
        issuer.publish(names);
        issuer
    }

    fn publish(&self, names: &[&str]) {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        let key =
            |name: &&str| json!({"kty": "OKP", "crv": "Ed25519", "kid": name, "x": x, "use": "sig", "alg": "EdDSA"});
        let keys: Vec<Value> = names.iter().map(key).collect();
        self.behave(Manner::Says("200 OK", json!({"keys": keys}).to_string()));
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().expect("a manner") = manner;
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    fn token(&self, key: &str, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": key}).to_string();
        let [header, claims] = [header, claims.to_string()].map(|text| URL_SAFE_NO_PAD.encode(text));
        let message = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    /// A server that lets in whom it vouches for, and anybody without a token.
    fn server(&self) -> Running {
        let endpoint = JwksEndpoint::read(&format!("http://{}/keys", self.address)).expect("an address");
        Running::with(|config| {
            config.dev = false;
            config.client.token.jwks_public_endpoint = Some(endpoint);
        })
    }
}

/// Answers the requests of one connection.
fn answer(mut stream: TcpStream, manner: &Mutex<Manner>, asked: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket"));
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line != "\r\n" {
            continue;
        }
        asked.fetch_add(1, SeqCst);
        let manner = manner.lock().expect("a manner").clone();
        let done = match manner {
            Manner::Says(status, body) => {
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
            Manner::Silent => {
                let _ = lines.read_line(&mut line);
                return;
            }
            Manner::Gone => return,
            Manner::Endless => {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while write!(stream, "4000\r\n{}\r\n", "x".repeat(0x4000)).is_ok() {}
                return;
            }
        };
        if done.is_err() {
            return;
        }
    }
}

/// What a client is answered that connects by this token.
fn connect(server: &Running, token: &str) -> (Client, Value) {
    let mut client = server.client();
    client.send(&json!({"id": 1, "connect": {"token": token}}).to_string());
    let reply = client.reply(1);
    (client, reply)
}

fn is_temporary(reply: &Value) -> bool {
    reply["error"]["code"] == 100 && reply["error"]["temporary"] == true
}

#[test]
fn whom_an_issuer_vouches_for_is_let_in_and_it_is_asked_once() {
    let issuer = Issuer::with_keys(&["k1"]);
    let server = issuer.server();
    let token = |user: usize| issuer.token("k1", &json!({"sub": user.to_string()}));
    let mut clients: Vec<Client> = (0..50).map(|_| server.client()).collect();
    for (user, client) in clients.iter_mut().enumerate() {
        client.send(&json!({"id": 1, "connect": {"token": token(user)}}).to_string());
    }
    for client in &mut clients {
        assert!(client.reply(1)["connect"].is_object());
    }
    assert_eq!(issuer.asked(), 1, "by all at once");
    let mut client = clients.remove(0);
    let private = issuer.token("k1", &json!({"sub": "0", "channel": "$hall"}));
    client.send(&json!({"id": 2, "subscribe": {"channel": "$hall", "token": private}}).to_string());
    assert!(client.reply(2)["subscribe"].is_object());
    let forged = Issuer::with_keys(&["k1"]);
    let mut stranger = server.client();
    let long_ago = forged.token("k1", &json!({"sub": "0", "iat": 1_700_000_000}));
    stranger.send(&json!({"id": 1, "connect": {"token": long_ago}}).to_string());
    assert_eq!(stranger.closed().0, 3500);
    // The issuer may have put another key under this name since it was asked.
    let mut perhaps = server.client();
    perhaps.send(&json!({"id": 1, "connect": {"token": forged.token("k1", &json!({"sub": "0"}))}}).to_string());
    assert_eq!(perhaps.reply(1)["error"]["code"], 100);
    assert_eq!(issuer.asked(), 1, "not for that");
    assert_eq!(issuer.asked(), 1);
    assert_eq!(server.metric("roomcast_key_fetches_total{outcome=\"good\"}"), 1);
}

#[test]
fn a_new_key_is_known_soon_and_invented_ones_have_nobody_asked() {
    let issuer = Issuer::with_keys(&["k1"]);
    let server = issuer.server();
    assert!(connect(&server, &issuer.token("k1", &json!({}))).1["connect"].is_object());
    issuer.publish(&["k2"]);
    for invented in 0..100 {
        let (_, reply) = connect(&server, &issuer.token(&invented.to_string(), &json!({})));
        assert!(is_temporary(&reply), "{reply}");
    }
    assert_eq!(issuer.asked(), 1);
    let by_new_key = issuer.token("k2", &json!({}));
    eventually("the new key is known", || {
        let (_, reply) = connect(&server, &by_new_key);
        std::thread::sleep(Duration::from_millis(100));
        assert!(is_temporary(&reply) || reply["connect"].is_object(), "nobody is sent away for good: {reply}");
        reply["connect"].is_object()
    });
    assert_eq!(issuer.asked(), 2);
    let mut old = server.client();
    old.send(&json!({"id": 1, "connect": {"token": issuer.token("k1", &json!({}))}}).to_string());
    assert!(is_temporary(&old.reply(1)), "one that was taken back is good no more");
}

#[test]
fn an_issuer_that_fails_harms_nobody_but_those_it_vouches_for_and_those_may_try_again() {
    let elsewhere = Issuer::with_keys(&["k1"]);
    let redirect = format!("302 Found\r\nLocation: http://{}/keys", elsewhere.address).leak();
    for manner in [
        Manner::Gone,
        Manner::Silent,
        Manner::Endless,
        Manner::Says("500 Internal Server Error", "{\"keys\":[]}".to_owned()),
        Manner::Says("200 OK", "<html>welcome</html>".to_owned()),
        Manner::Says("200 OK", format!("{{\"keys\":[{}]}}", vec!["{}"; 200].join(","))),
        Manner::Says("200 OK", format!("{{\"keys\":[\"{}\"]}}", "x".repeat(1 << 20))),
        Manner::Says(redirect, String::new()),
    ] {
        let issuer = Issuer::new(manner.clone());
        let server = issuer.server();
        let mut waiting = server.client();
        waiting.send(&json!({"id": 1, "connect": {"token": issuer.token("k1", &json!({"sub": "1"}))}}).to_string());
        let mut other = server.connected("other");
        other.subscribe(2, "hall");
        other.publish(3, "hall", "1");
        let reply = waiting.reply(1);
        assert!(is_temporary(&reply), "{manner:?}: {reply}");
        assert!((1..=2).contains(&issuer.asked()), "{manner:?}: {}", issuer.asked());
        assert_eq!(server.metric("roomcast_key_fetches_total{outcome=\"failed\"}"), 2);
        issuer.publish(&["k1"]);
        eventually("it tries again and is let in", || {
            std::thread::sleep(Duration::from_millis(50));
            waiting.send(&json!({"id": 2, "connect": {"token": issuer.token("k1", &json!({"sub": "1"}))}}).to_string());
            waiting.reply(2)["connect"].is_object()
        });
    }
    assert_eq!(elsewhere.asked(), 0, "nobody is sent elsewhere");
}

#[test]
fn who_goes_while_it_waits_leaves_the_others_waiting_for_the_same() {
    let issuer = Issuer::new(Manner::Silent);
    let server = issuer.server();
    let token = issuer.token("k1", &json!({"sub": "1"}));
    let mut first = server.client();
    first.send(&json!({"id": 1, "connect": {"token": token}}).to_string());
    let began = std::time::Instant::now();
    while issuer.asked() == 0 && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    let mut second = server.client();
    second.send(&json!({"id": 1, "connect": {"token": token}}).to_string());
    drop(first);
    issuer.publish(&["k1"]);
    let reply = second.reply(1);
    assert!(text(&reply["connect"]["client"]).len() > 8, "the second attempt has them: {reply}");
    assert_eq!(issuer.asked(), 2);
}
