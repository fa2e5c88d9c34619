//! A session driven by hand: what a client says goes in as frames, what it would hear comes out as JSON.

mod asking;
mod commands;
mod keys;
mod lifecycle;
mod order;
mod put_in;
mod rates;
mod rooms;
mod server_commands;
mod tokens;
mod turns;
mod walk;

use super::settings::ByNamespace;
use super::{Action, Ids, Session, Settings, Subscribed, Ticket};
use crate::auth::Tokens;
use crate::config::{NamespaceOptions, RecoveryMode};
use roomcast_protocol::{CloseCode, Encoding, ErrorCode, Payload, Placed, Publication, StreamPosition};
use std::collections::HashMap;
use std::sync::Arc;

/// Where the test clock starts.
const START_MS: u64 = 1_000_000;

/// A session and what it has wanted since it was last asked.
struct Harness {
    session: Session,
    now_ms: u64,
    actions: Vec<Action>,
}

impl Harness {
    /// A session nobody has spoken to.
    fn opening(settings: Settings) -> Self {
        let ids = Ids { client: "c1".to_owned(), session: "secret".to_owned(), user: None };
        let session = Session::new(Arc::new(settings), ids, START_MS);
        Self { session, now_ms: START_MS, actions: Vec::new() }
    }

    /// A connected session in development mode.
    fn connected() -> Self {
        Self::connected_with(dev_settings())
    }

    fn connected_with(settings: Settings) -> Self {
        let mut harness = Self::opening(settings);
        harness.send(r#"{"id":1,"connect":{}}"#);
        harness.heard();
        harness
    }

    fn send(&mut self, frame: &str) {
        self.session.receive_frame(Encoding::Json, frame.as_bytes(), self.now_ms, &mut self.actions);
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.session.tick(self.now_ms, &mut self.actions);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// All actions so far, as the client or a reader of the log would see them.
    fn heard(&mut self) -> Vec<String> {
        self.actions().iter().map(describe).collect()
    }

    /// The ticket of the last action, which must have one.
    #[track_caller]
    fn ticket(&self) -> Ticket {
        match self.actions.last() {
            Some(
                Action::Subscribe { ticket, .. }
                | Action::Unsubscribe { ticket, .. }
                | Action::Publish { ticket, .. }
                | Action::History { ticket, .. }
                | Action::Presence { ticket, .. }
                | Action::PresenceStats { ticket, .. }
                | Action::Ask { ticket, .. },
            ) => *ticket,
            other => panic!("no action with a ticket, but {other:?}"),
        }
    }

    /// Enters `room`, which stands at offset 0, and forgets the actions.
    #[track_caller]
    fn join(&mut self, room: &str) {
        self.send(&format!(r#"{{"id":100,"subscribe":{{"channel":"{room}"}}}}"#));
        let ticket = self.ticket();
        self.session.subscribed(ticket, Ok(entered(0, &[])), &mut self.actions);
        assert!(matches!(self.actions().last(), Some(Action::Activate { .. })), "{room}");
    }

    #[track_caller]
    fn assert_heard(&mut self, expected: &[&str]) {
        assert_eq!(self.heard(), expected);
    }

    #[track_caller]
    fn assert_closed(&mut self, code: CloseCode) {
        assert_eq!(self.actions().last(), Some(&Action::Close(code)));
        assert!(self.session.is_closed());
    }

    /// Sends `frame`, command 2, and expects the error and nothing else.
    #[track_caller]
    fn assert_error(&mut self, frame: &str, error: ErrorCode) {
        self.send(frame);
        self.assert_heard(&[&error_of(2, error)]);
    }
}

/// Replies and pushes as JSON, the rest by name and room.
fn describe(action: &Action) -> String {
    let mut out = Vec::new();
    match action {
        Action::Reply(reply) => Encoding::Json.encode_reply(reply, &mut out),
        Action::Push(push) => Encoding::Json.encode_push(push, &mut out),
        Action::Ping => Encoding::Json.encode_ping(&mut out),
        Action::Identify => return "identify".to_owned(),
        Action::Supersede => return "supersede".to_owned(),
        Action::Close(code) => return format!("close {}", code.code()),
        Action::Disconnect { code, reason } => return format!("disconnect {code} {reason}"),
        Action::Ask { question, .. } => return format!("ask {}", question.event.kind().name()),
        Action::Subscribe { room, .. } => return format!("subscribe {room}"),
        Action::Activate { room, .. } => return format!("activate {room}"),
        Action::Unsubscribe { room, .. } => return format!("unsubscribe {room}"),
        Action::Publish { room, .. } => return format!("publish {room}"),
        Action::History { room, .. } => return format!("history {room}"),
        Action::Presence { room, .. } => return format!("presence {room}"),
        Action::FetchKeys { .. } => return "fetch_keys".to_owned(),
        Action::PresenceStats { room, .. } => return format!("presence_stats {room}"),
    }
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn error_of(id: u32, error: ErrorCode) -> String {
    let temporary = if error.is_temporary() { r#","temporary":true"# } else { "" };
    format!(r#"{{"id":{id},"error":{{"code":{},"message":"{}"{temporary}}}}}"#, error.code(), error.message())
}

/// Settings of development mode, where rooms in the namespace "none" do not exist, those in "shut" allow nothing, those
/// in "cache" recover their newest message, and those in "bare" keep nothing.
fn dev_settings() -> Settings {
    let open = NamespaceOptions::dev();
    let rooms = HashMap::from([
        ("shut", NamespaceOptions { history_size: 1, presence: true, ..NamespaceOptions::default() }),
        ("cache", NamespaceOptions { force_recovery_mode: RecoveryMode::Cache, ..open.clone() }),
        ("bare", NamespaceOptions { history_size: 0, presence: false, ..open.clone() }),
    ]);
    let options = Box::new(ByNamespace { rooms, others: open });
    let mut settings = Settings::new("n1".to_owned(), options, Tokens::none());
    settings.allow_anonymous = true;
    settings.trust_display_names = true;
    settings.ignore_tokens = true;
    settings
}

/// A room entered at `top` of the incarnation "e", where `found` was read.
fn entered(top: u64, found: &[u64]) -> Subscribed {
    Subscribed { top: at(top), found: found.iter().map(|&offset| placed(offset)).collect() }
}

fn at(offset: u64) -> StreamPosition {
    StreamPosition { offset, epoch: "e".to_owned() }
}

fn placed(offset: u64) -> Placed {
    Placed { offset, time_ms: 0, publication: Publication::new(Payload::json(offset.to_string().into()), None) }
}
