//! A backend that is told of room events: it checks what it is told, keeps books, and behaves as badly as a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::harness::text;

/// What signs batches here: a key in base64, as the standard has it.
pub(crate) const SECRET: &str = "whsec_YSBzZWNyZXQgb2YgMjQgYnl0ZXMgLi4u";

/// How a backend behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It takes what it is told.
    Takes,
    /// It is not there: whoever connects is cut.
    Dead,
    /// It is killed when it has read a request, and before it has done anything about it.
    DiesBefore,
    /// It is killed when it has taken a batch, and before it says so.
    DiesAfter,
    /// It answers with that status, and takes nothing.
    Answers(u16),
    /// It sends the caller elsewhere.
    Redirects,
    /// It reads, and says nothing.
    Hangs,
    /// Its answer has that status, and hardly an end; with 200 it has taken the batch.
    Floods(u16),
    /// It says what is not HTTP.
    Babbles,
}

/// What the backend knows by what it was told. It outlives a backend that is killed.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The name of the log.
    pub(crate) epoch: String,
    /// Every event by its offset, as it was told first.
    pub(crate) events: BTreeMap<u64, Value>,
    pub(crate) members: BTreeSet<(String, String)>,
    pub(crate) connected: BTreeMap<String, String>,
    pub(crate) occupied: BTreeSet<String>,
    /// The newest event.
    pub(crate) cursor: u64,
    /// Batches, and events of them that were known.
    pub(crate) batches: u64,
    pub(crate) repeated: u64,
    /// Whether it has missed something, and nothing can contradict what it was told.
    pub(crate) has_gaps: bool,
    /// The largest batch.
    pub(crate) largest: usize,
    /// Requests that are not those of a server.
    pub(crate) wrong: Vec<String>,
}

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    books: Mutex<Books>,
    manner: Mutex<Manner>,
    /// Requests that came, however they ended.
    asked: Mutex<u64>,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = State { books: Mutex::default(), manner: Mutex::new(Manner::Takes), asked: Mutex::default() };
        let state = Arc::new(state);
        let serving = Arc::clone(&state);
        // It ends with the process: a test that fails has nothing to wait for.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&serving);
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Self { address, state }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/events", self.address)
    }

    pub(crate) fn behaves(&self, manner: Manner) {
        *self.state.manner.lock().expect("no panic") = manner;
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        let books = self.state.books.lock().expect("no panic");
        assert!(books.wrong.is_empty(), "{:?}", books.wrong);
        books
    }

    pub(crate) fn asked(&self) -> u64 {
        *self.state.asked.lock().expect("no panic")
    }
}

impl State {
    fn manner(&self) -> Manner {
        *self.manner.lock().expect("no panic")
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        loop {
            if self.manner() == Manner::Dead {
                return;
            }
            let Some((headers, body)) = request(&mut reader) else { return };
            *self.asked.lock().expect("no panic") += 1;
            let manner = self.manner();
            if matches!(manner, Manner::Takes | Manner::DiesAfter | Manner::Floods(200)) {
                let mut books = self.books.lock().expect("no panic");
                if let Err(wrong) = books.take(&headers, &body) {
                    books.wrong.push(wrong);
                }
            }
            let head = |status| format!("HTTP/1.1 {status} Whatever\r\n");
            let answer = match manner {
                Manner::Takes => head(200) + "Content-Length: 2\r\n\r\n{}",
                Manner::Dead | Manner::DiesBefore | Manner::DiesAfter => return,
                Manner::Answers(status) => head(status) + "Content-Length: 0\r\n\r\n",
                Manner::Redirects => {
                    head(307)
                        + &format!(
                            "Location: http://{}/other\r\nContent-Length: 0\r\n\r\n",
                            stream.local_addr().expect("one")
                        )
                }
                Manner::Hangs => {
                    while self.manner() == Manner::Hangs {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    return;
                }
                Manner::Floods(status) => head(status) + "Content-Length: 10000000\r\n\r\n" + &"x".repeat(10_000_000),
                Manner::Babbles => "SSH-2.0-what is this\r\n".to_owned(),
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// The headers, in small letters, and the body of a request; nothing at the end.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    if line.is_empty() {
        return None;
    }
    assert_eq!(line, "POST /events HTTP/1.1\r\n");
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().expect("a length")];
    reader.read_exact(&mut body).ok()?;
    Some((headers, body))
}

/// Whether a request is signed by who knows the secret.
fn is_signed(headers: &BTreeMap<String, String>, body: &[u8]) -> bool {
    let said = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let mut message = format!("{}.{}.", said("webhook-id"), said("webhook-timestamp")).into_bytes();
    message.extend_from_slice(body);
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").expect("its beginning")).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let is_good = |signature: &str| {
        let signature = signature.strip_prefix("v1,").and_then(|encoded| STANDARD.decode(encoded).ok());
        signature.is_some_and(|signature| hmac::verify(&key, &message, &signature).is_ok())
    };
    said("webhook-signature").split(' ').any(is_good)
}

impl Books {
    /// Takes a batch, or says what is wrong with it.
    fn take(&mut self, headers: &BTreeMap<String, String>, body: &[u8]) -> Result<(), String> {
        if !is_signed(headers, body) || headers.get("content-type").map(String::as_str) != Some("application/json") {
            return Err(format!("wrong headers: {headers:?}"));
        }
        let batch: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let epoch = text(&batch["epoch"]);
        if !self.epoch.is_empty() && self.epoch != epoch {
            return Err(format!("another log: {epoch}"));
        }
        epoch.clone_into(&mut self.epoch);
        let events = batch["events"].as_array().filter(|events| !events.is_empty()).ok_or("no events")?;
        self.batches += 1;
        self.largest = self.largest.max(events.len());
        for event in events {
            self.note(event).map_err(|wrong| format!("{wrong}: {event} behind {:?}", self.events.last_key_value()))?;
        }
        Ok(())
    }

    fn note(&mut self, event: &Value) -> Result<(), String> {
        let offset = event["offset"].as_u64().ok_or("no offset")?;
        if let Some(known) = self.events.get(&offset) {
            self.repeated += 1;
            return if known == event { Ok(()) } else { Err(format!("it was {known}")) };
        }
        let first = event["from"].as_u64().unwrap_or(offset);
        if first != self.cursor + 1 {
            return Err(format!("not the next one behind {}", self.cursor));
        }
        self.cursor = offset;
        self.events.insert(offset, event.clone());
        let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (room, client, user) = (word("channel"), word("client"), word("user"));
        let fits = match text(&event["type"]) {
            "join" => self.occupied.contains(&room) && self.members.insert((room, client)),
            "leave" => self.members.remove(&(room, client)),
            "occupied" => self.occupied.insert(room),
            "vacated" => self.occupied.remove(&room) && !self.members.iter().any(|(of, _)| *of == room),
            "connect" => self.connected.insert(client, user).is_none(),
            "disconnect" => self.connected.remove(&client) == Some(user),
            "gap" => {
                self.has_gaps = true;
                true
            }
            _ => false,
        };
        if fits || self.has_gaps { Ok(()) } else { Err("it contradicts what was told before".to_owned()) }
    }

    /// What has happened, without what is not the same each time.
    pub(crate) fn words(&self) -> Vec<String> {
        let said = |event: &Value| {
            let words = ["type", "channel", "user", "reason"].map(|name| event[name].as_str().unwrap_or_default());
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        };
        self.events.values().map(said).collect()
    }
}
