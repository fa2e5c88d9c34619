//! An event: what it is, and how a backend reads it.

use std::borrow::Cow;

use serde::Serialize;

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its place in the log; events of a log count from 1, without holes but for those that a gap names.
    pub(crate) offset: u64,
    /// When it was, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    pub(crate) what: What,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A client is in a room.
    Join { room: Box<str>, client: Box<str>, user: Box<str> },
    /// It is no longer.
    Leave { room: Box<str>, client: Box<str>, user: Box<str>, reason: Reason },
    /// Somebody is in a room in which nobody was.
    Occupied { room: Box<str> },
    /// Nobody is in a room, and has not been for a while.
    Vacated { room: Box<str> },
    /// A client of a user has connected.
    Connect { client: Box<str>, user: Box<str> },
    /// It is gone.
    Disconnect { client: Box<str>, user: Box<str>, reason: Reason },
    /// Events from this offset on, to that of the gap, are missing.
    Gap { from: u64 },
}

/// Why somebody is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// The code with which the connection was closed; 0 of what is not a connection's end.
    pub(crate) code: u16,
    /// In words: a backend compares them.
    pub(crate) text: Cow<'static, str>,
}

impl Reason {
    /// The client has left the room, or was taken out of it.
    pub(crate) const UNSUBSCRIBE: Self = Self { code: 0, text: Cow::Borrowed("unsubscribe") };
    /// Its connection has ended.
    pub(crate) const DISCONNECT: Self = Self { code: 0, text: Cow::Borrowed("disconnect") };
    /// The server has begun anew and knows nobody.
    pub(super) const RESTART: Self = Self { code: 0, text: Cow::Borrowed("restart") };
    /// The process that it was connected to has handed over and closed it: it was to come back to the next one.
    pub(crate) const HAND_OVER: Self = Self { code: 0, text: Cow::Borrowed("hand_over") };
    /// It was gone when the log could be written again.
    pub(super) const OVERFLOW: Self = Self { code: 0, text: Cow::Borrowed("overflow") };
}

/// An event as the backend is told it. Fields that say nothing are left out.
#[derive(Debug, Serialize)]
struct Written<'a> {
    offset: u64,
    time_ms: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
}

impl Event {
    /// The first offset that it stands for.
    pub(super) fn first(&self) -> u64 {
        match self.what {
            What::Gap { from } => from,
            _ => self.offset,
        }
    }

    /// Appends it as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut written = Written {
            offset: self.offset,
            time_ms: self.time_ms,
            kind: self.what.name(),
            channel: None,
            client: None,
            user: None,
            code: None,
            reason: None,
            from: None,
            to: None,
        };
        match &self.what {
            What::Join { room, client, user } => {
                written.channel = Some(room);
                (written.client, written.user) = (Some(&**client), Some(&**user));
            }
            What::Leave { room, client, user, reason } => {
                (written.channel, written.reason) = (Some(&**room), Some(&*reason.text));
                (written.client, written.user) = (Some(&**client), Some(&**user));
            }
            What::Occupied { room } | What::Vacated { room } => written.channel = Some(room),
            What::Connect { client, user } => (written.client, written.user) = (Some(&**client), Some(&**user)),
            What::Disconnect { client, user, reason } => {
                (written.client, written.user) = (Some(&**client), Some(&**user));
                written.code = Some(reason.code).filter(|code| *code != 0);
                written.reason = Some(&reason.text);
            }
            What::Gap { from } => (written.from, written.to) = (Some(*from), Some(self.offset)),
        }
        // Writing into memory does not fail, nor does text.
        let _ = serde_json::to_writer(out, &written);
    }
}

impl What {
    /// What a backend knows it by.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Occupied { .. } => "occupied",
            Self::Vacated { .. } => "vacated",
            Self::Connect { .. } => "connect",
            Self::Disconnect { .. } => "disconnect",
            Self::Gap { .. } => "gap",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(what: What) -> String {
        let mut out = Vec::new();
        Event { offset: 7, time_ms: 5, what }.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_event_names_what_it_is_about_and_nothing_else() {
        let (room, client, user) = (|| "chat:1".into(), || "c".into(), || "ann\"".into());
        let head = r#"{"offset":7,"time_ms":5,"type":"#;
        assert_eq!(
            json(What::Join { room: room(), client: client(), user: user() }),
            format!(r#"{head}"join","channel":"chat:1","client":"c","user":"ann\""}}"#)
        );
        assert_eq!(
            json(What::Leave { room: room(), client: client(), user: "".into(), reason: Reason::RESTART }),
            format!(r#"{head}"leave","channel":"chat:1","client":"c","user":"","reason":"restart"}}"#)
        );
        assert_eq!(json(What::Vacated { room: room() }), format!(r#"{head}"vacated","channel":"chat:1"}}"#));
        let reason = Reason { code: 3012, text: "no pong".into() };
        assert_eq!(
            json(What::Disconnect { client: client(), user: user(), reason }),
            format!(r#"{head}"disconnect","client":"c","user":"ann\"","code":3012,"reason":"no pong"}}"#)
        );
        assert_eq!(json(What::Gap { from: 3 }), format!(r#"{head}"gap","from":3,"to":7}}"#));
    }
}
